use super::*;

/// Checks what reading `text` complains about, one `LINE: MESSAGE` per problem.
fn check(text: &str, problems: &[&str]) {
    let found: Vec<String> = match read::config(text) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|p| format!("{}: {}", p.line, p.message)).collect(),
    };
    assert_eq!(found, problems, "{text}");
}

fn listener(body: &str, problems: &[&str]) {
    check(&format!("[[mqtt.listener]]\n{body}"), problems);
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    assert_eq!(read::config(DEFAULTS), Ok(Config::default()));
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(read::config(""), Ok(Config::default()));
}

#[test]
fn every_key_can_be_set() {
    let text = r#"
[account]
id = "000000000001"
region = "eu-central-1"
[endpoint]
host = "iot.example.org"
[api]
listen = "localhost:0"
[console]
listen = "[::1]:9"
[tls]
certificate = "server.pem"
key = "/etc/picket/server.key"
authority = "our-ca.pem"
crls = ["fleet.crl"]
crl_issuers = ["fleet-ca.pem"]
[mqtt]
aws_limits = true
durable_sessions = false
[mqtt.limits]
payload_bytes_max = 0x1000
connections_max = 1
sessions_max = 2
connect_timeout_ms = 3_000
inflight_max = 4
queue_messages_max = 5
queue_bytes_max = 60_000
queues_bytes_max = 70_000
journal_bytes_max = 80_000
subscriptions_max = 8
subscriptions_in_all_max = 9
delayed_wills_bytes_max = 10
filters_per_subscribe_max = 11
topic_bytes_max = 1_200
topic_levels_max = 13
topic_aliases_max = 14
session_expiry_s_max = 15
retained_messages_max = 16
retained_bytes_max = 17
keep_alive_s_max = 60
keep_alive_s_min = 19
half_open_per_source_max = 20
publishes_per_s_max = 21
[[mqtt.listener]]
listen = "0.0.0.0:443"
protocol = "http"
allowed_origins = ["https://fleet.example.org"]
[[mqtt.listener]]
listen = "0.0.0.0:1883"
tls = false
anonymous_policy = "OldSensors"
allow_remote = true
[detect]
grace_ms = 0
aws_durations_only = true
silence_s = 300
export_interval_s = 1
violations_kept_days = 365
metric_values_kept_days = 90
[reports]
min_interval_s = 60
delegates = ["Gateway1", "gateway 2"]
[functions]
python = "/opt/python3"
"#;
    let config = read::config(text).unwrap();
    insta::assert_debug_snapshot!(config);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    check(
        "[api]\nlisten = \"127.0.0.1:1\"\nlsten = 1\n",
        &["3: unknown key `api.lsten`; the nearest there is: `api.listen`"],
    );
    check("\n[acount]\n", &["2: unknown key `acount`; the nearest there is: `account`"]);
    check(
        "[detect]\ngrace = 5",
        &["2: unknown key `detect.grace`; the nearest there is: `detect.grace_ms`"],
    );
    listener(
        "listen = \"[::1]:1\"\nanonymous = 1",
        &[
            "3: unknown key `mqtt.listener.anonymous`; the nearest there is: `mqtt.listener.anonymous_policy`",
        ],
    );
}

#[test]
fn delegates_are_names() {
    check("[reports]\ndelegates = [\"Gateway1\", \"any client/id\"]", &[]);
    check(
        "[reports]\ndelegates = \"Gateway1\"",
        &["2: `reports.delegates`: expected a list of names, found a string"],
    );
    check(
        "[reports]\ndelegates = [1]",
        &["2: `reports.delegates`: expected text in quotes, found an integer"],
    );
    check("[reports]\ndelegates = [\"\"]", &["2: `reports.delegates`: device name is empty"]);
    let many = vec!["\"g\""; 65].join(",");
    check(
        &format!("[reports]\ndelegates = [{many}]"),
        &["2: `reports.delegates`: 65 names: at most 64 can be"],
    );
}

#[test]
fn a_listener_speaks_mqtt_or_http() {
    listener("listen = \"[::1]:1\"\nprotocol = \"mqtt\"", &[]);
    listener("listen = \"[::1]:1\"\nprotocol = \"http\"", &[]);
    listener(
        "listen = \"[::1]:1\"\nprotocol = \"websocket\"",
        &["3: `mqtt.listener.protocol`: `websocket` is neither `mqtt` nor `http`"],
    );
}

#[test]
fn origins_are_those_of_web_pages() {
    listener(
        "listen = \"[::1]:1\"\nallowed_origins = [\"https://a.b\", \"http://localhost:3000\"]",
        &[],
    );
    for wrong in ["*", "a.b", "https://", "https://a.b/", "https://*.b"] {
        listener(
            &format!("listen = \"[::1]:1\"\nallowed_origins = [\"{wrong}\"]"),
            &[&format!(
                "3: `mqtt.listener.allowed_origins`: `{wrong}` is not an origin such as `https://fleet.example.org`"
            )],
        );
    }
}

#[test]
fn a_certificate_comes_with_its_key() {
    check("[tls]\ncrls = []", &[]);
    check("[tls]\ncertificate = \"c\"\nkey = \"k\"", &[]);
    for half in ["certificate", "key"] {
        check(
            &format!("[tls]\n{half} = \"x\""),
            &["1: `tls.certificate` and `tls.key` are given together or not at all"],
        );
    }
    check("[tls]\nauthority = \"a\"", &["2: `tls.authority` says who signed `tls.certificate`"]);
    check("[tls]\ncrls = \"c\"", &["2: `tls.crls`: expected a list of files, found a string"]);
    check("[tls]\ncrls = [\"\"]", &["2: `tls.crls`: the path of a file cannot be empty"]);
}

#[test]
fn relative_files_begin_where_the_configuration_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    std::fs::write(&file, "[tls]\ncrls = [\"a.crl\", \"/b.crl\"]\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.tls.crls, [dir.path().join("a.crl"), PathBuf::from("/b.crl")]);
}

#[test]
fn a_plain_listener_must_name_its_policy() {
    listener(
        "listen = \"127.0.0.1:1883\"\ntls = false",
        &[
            "1: a listener without TLS needs `anonymous_policy`, the IoT policy whose rights its sessions get",
        ],
    );
    listener("listen = \"127.0.0.1:1883\"\ntls = false\nanonymous_policy = \"P\"", &[]);
}

#[test]
fn a_plain_listener_stays_on_loopback_unless_told_otherwise() {
    let plain = "tls = false\nanonymous_policy = \"P\"\nlisten = \"0.0.0.0:1883\"\n";
    listener(
        plain,
        &["4: a listener without TLS binds to loopback only, unless it says `allow_remote = true`"],
    );
    listener(&format!("{plain}allow_remote = true"), &[]);
}

#[test]
fn a_tls_listener_has_no_anonymous_policy() {
    listener(
        "listen = \"0.0.0.0:8883\"\nanonymous_policy = \"P\"",
        &["3: `anonymous_policy` is for a listener with `tls = false`"],
    );
}

#[test]
fn a_listener_needs_an_address() {
    listener("tls = true", &["1: a listener needs `listen`, such as `listen = \"0.0.0.0:8883\"`"]);
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    check("[detect]\ngrace_ms = -1", &["2: `detect.grace_ms`: -1 is not from 0 to 30000"]);
    check("[detect]\nsilence_s = 60", &["2: `detect.silence_s`: 60 is not from 300 to 31536000"]);
    check(
        "[detect]\nexport_interval_s = 0",
        &["2: `detect.export_interval_s`: 0 is not from 1 to 3600"],
    );
    check(
        "[detect]\nviolations_kept_days = 0\nmetric_values_kept_days = 4000",
        &[
            "2: `detect.violations_kept_days`: 0 is not from 1 to 3650",
            "3: `detect.metric_values_kept_days`: 4000 is not from 1 to 3650",
        ],
    );
    check(
        "[reports]\nmin_interval_s = 3601",
        &["2: `reports.min_interval_s`: 3601 is not from 0 to 3600"],
    );
    check(
        "[mqtt.limits]\npayload_bytes_max = 99999999999999999999",
        &["2: `mqtt.limits.payload_bytes_max`: 99999999999999999999 is not from 1 to 134217728"],
    );
}

#[test]
fn every_limit_has_a_range_and_both_its_ends_are_in_it() {
    for read::limits::Key { name, range, .. } in read::limits::KEYS {
        let (least, most) = (range.start(), range.end());
        let place = format!("`mqtt.limits.{name}`");
        for n in [least - 1, most + 1] {
            let refused = format!("2: {place}: {n} is not from {least} to {most}");
            check(&format!("[mqtt.limits]\n{name} = {n}"), &[&refused]);
        }
        for n in [least, most] {
            // Some end contradicts the default of another limit; none is out of range.
            let read = read::config(&format!("[mqtt.limits]\n{name} = {n}"));
            let problems = read.err().unwrap_or_default();
            assert!(problems.iter().all(|it| it.message.contains("is less than")), "{problems:?}");
        }
    }
}

#[test]
fn the_printed_defaults_have_every_limit_with_its_range() {
    let (_, printed) = DEFAULTS.split_once("[mqtt.limits]\n").unwrap();
    let (printed, _) = printed.split_once("\n\n").unwrap();
    let mut keys = read::limits::KEYS.iter();
    let mut comment = String::new();
    for line in printed.lines() {
        if let Some(words) = line.strip_prefix("# ") {
            comment.push_str(words);
            comment.push(' ');
            continue;
        }
        let key = keys.next().unwrap();
        assert!(line.starts_with(&format!("{} = ", key.name)), "{line}");
        let range = format!("{} to {}", key.range.start(), key.range.end());
        assert!(comment.contains(&range), "{line} says nothing of {range}");
        comment.clear();
    }
    assert!(keys.next().is_none());
}

#[test]
fn limits_leave_room_for_each_other() {
    let limits = |body: &str, problems: &[&str]| check(&format!("[mqtt.limits]\n{body}"), problems);
    limits(
        "payload_bytes_max = 2000000",
        &[
            "2: `mqtt.limits.queue_bytes_max`: 1048576 is less than the largest packet takes with this `payload_bytes_max`, 2016384",
        ],
    );
    limits("payload_bytes_max = 2000000\nqueue_bytes_max = 2016384", &[]);
    limits(
        "queues_bytes_max = 2_000",
        &[
            "2: `mqtt.limits.queues_bytes_max`: 2000 is less than the `queue_bytes_max` of one session, 1048576",
        ],
    );
    limits(
        "subscriptions_max = 9\nsubscriptions_in_all_max = 8",
        &[
            "3: `mqtt.limits.subscriptions_in_all_max`: 8 is less than the `subscriptions_max` of one session, 9",
        ],
    );
    limits(
        "keep_alive_s_min = 1201",
        &["2: `mqtt.limits.keep_alive_s_max`: 1200 is less than `keep_alive_s_min`, 1201"],
    );
}

#[test]
fn aws_limits_narrow_what_is_configured() {
    let config = |limits: &str| {
        read::config(&format!("[mqtt]\naws_limits = true\n[mqtt.limits]\n{limits}")).unwrap()
    };
    let limits = config("payload_bytes_max = 200_000\nsubscriptions_max = 30").mqtt_limits;
    assert_eq!((limits.payload_bytes_max, limits.subscriptions_max), (128 * 1024, 30));
    let limits = config("keep_alive_s_max = 20").mqtt_limits;
    assert_eq!((limits.keep_alive_s_min, limits.keep_alive_s_max), (20, 20));
}

#[test]
fn a_key_that_moved_says_where_to() {
    check(
        "[mqtt]\npayload_bytes_max = 100",
        &["2: `mqtt.payload_bytes_max` is `mqtt.limits.payload_bytes_max` now"],
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_the_right_kind() {
    check("[account]\nid = 12", &["2: `account.id`: expected text in quotes, found an integer"]);
    check(
        "[detect]\naws_durations_only = \"yes\"",
        &["2: `detect.aws_durations_only`: expected true or false, found a string"],
    );
    check("api = 3", &["1: `api` is a section: write `[api]`"]);
    check(
        "[mqtt]\nlistener = 3",
        &["2: `mqtt.listener` can be repeated: write `[[mqtt.listener]]`"],
    );
    check("[mqtt]\nlistener = []", &["2: 0 of `mqtt.listener`: 1 to 64 can be"]);
}

#[test]
fn values_of_the_wrong_form_are_refused_with_what_they_are() {
    check("[account]\nid = \"12\"", &["2: `account.id`: `12` is not twelve digits"]);
    check(
        "[account]\nregion = \"Mars 1\"",
        &["2: `account.region`: `Mars 1` is not a region's name such as `us-east-1`"],
    );
    check(
        "[endpoint]\nhost = \"https://a.b:1\"",
        &[
            "2: `endpoint.host`: `https://a.b:1` is not a host name or address without scheme and port",
        ],
    );
    check(
        "[api]\nlisten = \":8080\"",
        &[
            "2: `api.listen`: `:8080` is not an address and a port such as `127.0.0.1:8080` or `[::1]:0`",
        ],
    );
    check(
        "[functions]\npython = \"\"",
        &["2: `functions.python`: the path of an interpreter cannot be empty"],
    );
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    check(
        "[reports]\nmin_interval_s = -1\n[account]\nid = \"1\"\n",
        &[
            "2: `reports.min_interval_s`: -1 is not from 0 to 3600",
            "4: `account.id`: `1` is not twelve digits",
        ],
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    let problems = read::config("[api]\nlisten = \n").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].line, 2);
}

#[test]
fn an_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    std::fs::write(&file, "[api]\nlsten = 1\n").unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    let error = error.replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(error, @r"
    the configuration file `DIR/picket.toml` has a problem:
      line 2: unknown key `api.lsten`; the nearest there is: `api.listen`
    ");
}

#[test]
fn flags_win_over_the_file_and_leave_other_listeners_alone() {
    let plain = Listener {
        listen: "127.0.0.1:1883".parse().unwrap(),
        admission: Admission::Anonymous(PolicyName::parse("P").unwrap()),
        ..Listener::tls("127.0.0.1:1883".parse().unwrap())
    };
    let web =
        Listener { protocol: Protocol::Http, ..Listener::tls("127.0.0.1:443".parse().unwrap()) };
    let mut config = Config::default();
    config.listeners.extend([plain.clone(), web.clone()]);
    let flags = ServeArgs {
        data_dir: PathBuf::from("d"),
        config: None,
        api: Some("127.0.0.1:0".parse().unwrap()),
        console: None,
        mqtts: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
    };
    let config = config.with_flags(&flags);
    assert_eq!(config.api_listen.port(), 0);
    assert_eq!(config.console_listen, Config::default().console_listen);
    let tls = flags.mqtts.iter().copied().map(Listener::tls);
    assert_eq!(config.listeners, [plain, web].into_iter().chain(tls).collect::<Vec<_>>());
}

#[test]
fn without_mqtts_flags_the_default_listener_stays() {
    let flags = ServeArgs {
        data_dir: PathBuf::from("d"),
        config: None,
        api: None,
        console: None,
        mqtts: Vec::new(),
    };
    assert_eq!(Config::default().with_flags(&flags), Config::default());
}
