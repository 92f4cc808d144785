use std::process::Command;

use super::*;

fn unit(binary: &Path) -> Unit {
    Unit {
        binary: binary.to_owned(),
        config: "/etc/picket-agent/agent.toml".into(),
        key: KEY_DEFAULT.into(),
    }
}

fn args(root: &Path) -> InstallArgs {
    InstallArgs {
        root: root.to_owned(),
        binary: Some("/usr/bin/picket-agent".into()),
        config: "/etc/picket-agent/agent.toml".into(),
        unit_dir: "/etc/systemd/system".into(),
        sysusers_dir: "/etc/sysusers.d".into(),
    }
}

#[test]
fn the_unit_is_hardened() {
    insta::assert_snapshot!(unit(Path::new("/usr/bin/picket-agent")).text().unwrap());
}

#[test]
fn systemd_understands_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket-agent.service");
    // systemd looks whether the program is there.
    fs::write(&file, unit(&std::env::current_exe().unwrap()).text().unwrap()).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&file).output();
    // On a system without systemd the snapshot has to do.
    let Ok(verified) = verified else { return };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("picket-agent")).collect();
    assert!(verified.status.success() && about_us.is_empty(), "{said}");
}

#[test]
fn a_path_that_would_change_the_unit_is_refused() {
    for path in ["relative", "/a b", "/a\nExecStart=/bin/sh", "/100%", "/a$b", "/a\"b", ""] {
        assert!(unit(Path::new(path)).text().is_err(), "{path}");
    }
}

#[test]
fn what_is_missing_is_written_and_a_configuration_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    run(&args(root.path()), &mut said).unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    let config = "etc/picket-agent/agent.toml";
    assert_eq!(read(config), EXAMPLE);
    assert_eq!(read("etc/sysusers.d/picket-agent.conf"), SYSUSERS);
    assert!(read("etc/systemd/system/picket-agent.service").contains("LoadCredential=key:/etc/"));
    assert!(String::from_utf8(said).unwrap().contains("agent.toml; fill it in"));

    // A second time, with a key of one's own: the unit follows the configuration.
    let mine = "key = \"/var/lib/keys/mine.pem\"\n";
    fs::write(root.path().join(config), mine).unwrap();
    run(&args(root.path()), &mut Vec::new()).unwrap();
    assert_eq!(read(config), mine);
    let unit = read("etc/systemd/system/picket-agent.service");
    assert!(unit.contains("LoadCredential=key:/var/lib/keys/mine.pem\n"));
}

#[test]
fn the_example_can_be_used_and_names_every_key() {
    let everything = EXAMPLE.replace("# [[", "[[").replace("\n# ", "\n");
    let keys = everything.lines().filter(|line| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with("[[")
            || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    });
    let text = keys.collect::<Vec<_>>().join("\n");
    let file: ConfigFile = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(file.metrics.len(), 4);
    // With every key there, nothing is left at `None`.
    let shown = format!("{:?}", ConfigFile { metrics: Vec::new(), ..file.clone() });
    assert!(!shown.contains("None"), "{shown}");
    let settings = crate::config::Settings::merge(&crate::cli::RunArgs::default(), file).unwrap();
    assert_eq!(settings.interval_s, 300);
}
