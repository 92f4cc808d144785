use super::*;

/// Settings from a file's text and a command line without the program's name.
fn merged(file: &str, line: &str) -> Result<Settings, String> {
    use clap::Parser;
    let words = std::iter::once("picket-agent").chain(line.split_ascii_whitespace());
    let args = crate::cli::Cli::try_parse_from(words).unwrap().run;
    let file = toml::from_str(file).map_err(|error| error.to_string())?;
    Settings::merge(&args, file).map_err(|error| error.to_string())
}

const WHOLE: &str = r#"
endpoint = "picket.example.org"
root_ca = "/etc/ca.pem"
cert = "/etc/cert.pem"
key = "/etc/key.pem"
thing_name = "pump-7"
"#;

#[test]
fn a_short_file_is_enough() {
    let settings = merged(WHOLE, "").unwrap();
    let connection = settings.connection.unwrap();
    assert_eq!(connection.endpoint.to_string(), "picket.example.org:8883");
    assert_eq!((connection.client_id.as_str(), connection.thing.as_str()), ("pump-7", "pump-7"));
    assert_eq!(connection.version, Version::V311);
    assert_eq!(settings.interval_s, 300);
    assert_eq!(settings.writing, Writing { format: Format::Json, names: Names::Long });
    assert_eq!(settings.collector.proc, Path::new("/proc"));
    assert!(!settings.collector.loopback);
}

#[test]
fn every_key_can_be_set() {
    let file = r#"
client_id = "agent-7"
format = "cbor"
names = "short"
mqtt = "5"
interval_s = 60
keep_alive_s = 30
list_max = 10
loopback = true
proc = "/host/proc"
sockets = "proc"
metrics_socket = "/run/agent.sock"

[[metric]]
name = "queue"
type = "number"
socket = true
"#;
    let settings = merged(&format!("{WHOLE}{file}"), "").unwrap();
    let connection = settings.connection.unwrap();
    assert_eq!((connection.client_id.as_str(), connection.keep_alive_s), ("agent-7", 30));
    assert_eq!(connection.version, Version::V5);
    assert_eq!(settings.writing, Writing { format: Format::Cbor, names: Names::Short });
    assert_eq!(
        settings.collector,
        CollectorOptions {
            proc: "/host/proc".into(),
            sockets: SocketSource::Proc,
            loopback: true,
            list_max: 10,
        }
    );
    assert_eq!(settings.interval_s, 60);
    assert_eq!(settings.custom.len(), 1);
}

#[test]
fn flags_win_over_the_file() {
    let line = "--endpoint a:443 --thing_name t --client_id c --interval 30 --format cbor --mqtt 5 --proc /p --custom-metrics";
    let settings = merged(WHOLE, line).unwrap();
    let connection = settings.connection.unwrap();
    assert_eq!(connection.endpoint.to_string(), "a:443");
    assert_eq!((connection.client_id.as_str(), connection.thing.as_str()), ("c", "t"));
    assert_eq!((settings.interval_s, settings.writing.format), (30, Format::Cbor));
    assert_eq!(settings.collector.proc, Path::new("/p"));
    assert_eq!(settings.custom[0].name.as_str(), "cpu_usage");
}

#[test]
fn the_client_id_is_the_thing_name_where_only_one_is_given() {
    let file = WHOLE.replace("thing_name", "client_id");
    let connection = merged(&file, "").unwrap().connection.unwrap();
    assert_eq!((connection.client_id.as_str(), connection.thing.as_str()), ("pump-7", "pump-7"));
}

#[test]
fn printing_needs_no_server() {
    assert_eq!(merged("", "--print --once").unwrap().connection, None);
}

/// The one thing that is wrong with a file or a command line.
fn check(file: &str, line: &str, expected: &str) {
    let error = merged(file, line).unwrap_err();
    assert!(error.contains(expected), "`{expected}` is not in:\n{error}");
}

#[test]
fn what_is_missing_is_named_with_flag_and_key() {
    for key in ["endpoint", "root_ca", "cert", "key", "thing_name"] {
        let file: Vec<&str> =
            WHOLE.lines().filter(|line| !line.starts_with(&format!("{key} "))).collect();
        check(&file.join("\n"), "", &format!("`{key}` in the configuration file"));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    check(WHOLE, "--interval 4", "the interval is 4; it can be 5 to 86400");
    check(&format!("{WHOLE}interval_s = 86401"), "", "the interval is 86401");
    check(&format!("{WHOLE}keep_alive_s = 1201"), "", "it can be 30 to 1200");
    check(&format!("{WHOLE}list_max = 1001"), "", "list_max is 1001; it can be 1 to 1000");
    check(WHOLE, "--endpoint https://a", "`https://a` is no endpoint");
    check(WHOLE, "--thing_name a/b", "thing name `a/b` contains `/`");
    check(WHOLE, &format!("--client_id {}", "x".repeat(129)), "the client id must have 1 to 128");
    check("interval = 5", "", "unknown field `interval`");
    check("interval_s = \"5\"", "", "invalid type");
    check("format = \"xml\"", "", "unknown variant `xml`");
    check("[[metric]]\nnam = \"a\"", "", "unknown field `nam`");
    check("a = ", "", "line 1");
}
