use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread::JoinHandle;

use rcgen::Issuer;

use super::*;
use crate::cli::RunArgs;
use crate::config::Settings;

/// A server that hands one answer to one request, and returns the body that it got.
fn server(
    answer: impl FnOnce(&str) -> (u16, String) + Send + 'static,
) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "POST /picket/enroll HTTP/1.1\r\n");
        let mut len = 0;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(found) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = found.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let (status, text) = answer(&body);
        let n = text.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n");
        reader.get_mut().write_all((head + &text).as_bytes()).unwrap();
        body
    });
    (url, thread)
}

fn args(server: &str, dir: &Path) -> EnrollArgs {
    EnrollArgs {
        server: server.to_owned(),
        token: "T0ken".to_owned(),
        thing_name: Some("pump-7".to_owned()),
        dir: dir.to_owned(),
        root_ca: None,
        insecure: false,
    }
}

/// An authority and a certificate of its, as PEM.
fn certificates() -> (String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let ca_params = CertificateParams::default();
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca_params, &ca_key);
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::default().signed_by(&key, &issuer).unwrap();
    (ca.pem(), made.pem())
}

fn enrolled_answer() -> String {
    let (ca, certificate) = certificates();
    serde_json::json!({
        "thingName": "pump-7", "certificatePem": certificate, "caPem": ca,
        "endpoint": "picket.example.org:8883", "certificateArn": "arn:x",
    })
    .to_string()
}

#[test]
fn an_enrolled_device_has_a_key_a_certificate_and_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new");
    let (url, thread) = server(|_| (200, enrolled_answer()));
    run(&args(&url, &dir), &mut Vec::new()).unwrap();

    let sent: serde_json::Value = serde_json::from_str(&thread.join().unwrap()).unwrap();
    assert_eq!((&sent["token"], &sent["thingName"]), (&"T0ken".into(), &"pump-7".into()));
    let request = sent["certificateSigningRequest"].as_str().unwrap();
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    let key = fs::read_to_string(dir.join("key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!sent.to_string().contains(secret), "the key stays on the device");
    let mode = fs::metadata(dir.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The key is the request's.
    KeyPair::from_pem(&key).unwrap();

    let config = dir.join("agent.toml");
    let settings = Settings::load(&RunArgs { config: Some(config), ..RunArgs::default() }).unwrap();
    let connection = settings.connection.unwrap();
    assert_eq!(connection.endpoint.to_string(), "picket.example.org:8883");
    assert_eq!(connection.thing.as_str(), "pump-7");
    assert_eq!(connection.key, dir.join("key.pem"));
}

/// What is said when the server answers so; nothing may be written then.
fn check(status: u16, answer: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let answer = answer.to_owned();
    let (url, _thread) = server(move |_| (status, answer));
    let error = run(&args(&url, dir.path()), &mut Vec::new()).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains(expected), "`{expected}` is not in `{said}`");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{said}");
}

#[test]
fn a_refusal_says_why_and_leaves_nothing_behind() {
    check(403, r#"{"message":"the token is used up"}"#, "the server refuses: the token is used up");
    check(500, "oops", "the server refuses with status 500");
    check(302, "", "status 302");
    check(200, "oops", "the server's answer is no enrolment");
    check(
        200,
        r#"{"thingName":"a","certificatePem":"x","caPem":"x","endpoint":"x"}"#,
        "is no certificate",
    );
    let escape = r#"{"message":"\u001b[2J"}"#;
    check(403, escape, "refuses: \\u{1b}[2J");
    check(
        200,
        &"x".repeat(ENROLL_ANSWER_BYTES_MAX as usize + 1),
        "cannot read what the server answers",
    );
    let answer = enrolled_answer();
    check(200, &answer.replace("pump-7", "a/b"), "the server's thing name is none");
    check(200, &answer.replace("picket.example", "a b"), "is no endpoint");
}

#[test]
fn a_device_is_enrolled_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key.pem"), "precious").unwrap();
    // Nobody is asked: there is no server at this address.
    let error = run(&args("http://127.0.0.1:1", dir.path()), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("this device is enrolled"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("key.pem")).unwrap(), "precious");
}

#[test]
fn a_device_that_cannot_keep_its_certificate_has_no_key_either() {
    // Something is in the way of the authority's file.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("root-ca.pem")).unwrap();
    let (url, _thread) = server(|_| (200, enrolled_answer()));
    let error = run(&args(&url, dir.path()), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert!(!dir.path().join("key.pem").exists() && !dir.path().join("cert.pem").exists());
}

#[test]
fn the_server_is_not_asked_where_the_key_cannot_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // There is no server at this address: asking it would be another error.
    let error = run(&args("http://127.0.0.1:1", &file.join("below")), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn a_folder_that_was_made_for_nothing_goes_again() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    run(&args("http://127.0.0.1:1", &new), &mut Vec::new()).unwrap_err();
    assert!(!new.exists());
}

#[test]
fn a_configuration_that_was_filled_in_stays() {
    for (there, stays) in [("interval_s = 60\n", true), (EXAMPLE, false)] {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("agent.toml");
        fs::write(&config, there).unwrap();
        let (url, _thread) = server(|_| (200, enrolled_answer()));
        run(&args(&url, dir.path()), &mut Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap() == there, stays);
    }
}

#[test]
fn a_token_does_not_travel_in_the_clear() {
    for (url, insecure, is_fine) in [
        ("https://picket.example.org", false, true),
        ("http://localhost:8080", false, true),
        ("http://127.0.0.1:8080/", false, true),
        ("http://[::1]:8080", false, true),
        ("http://picket.example.org", false, false),
        ("http://127.0.0.1.example.org:80", false, false),
        ("http://localhost@example.org", false, false),
        ("http://localhost:80@example.org", false, false),
        ("http://localhost:80@example.org:80/", false, false),
        ("http://example.org?@localhost", false, false),
        ("http://example.org#@localhost", false, false),
        ("http:///localhost", false, false),
        ("http://picket.example.org", true, true),
        ("ftp://localhost", true, false),
        ("localhost", true, false),
    ] {
        assert_eq!(check_url(url, insecure).is_ok(), is_fine, "{url}");
    }
}
