//! A report that is refused is refused with a sentence that says where and why.

use picket_report::{ErrorCode, Format, decode};

use crate::fixture::{hex, read, with_metrics};

#[track_caller]
fn check(text: &str, expected: &str) {
    let refusal = read(text).unwrap_err();
    assert_eq!(refusal.to_string(), expected, "{text}");
    assert_eq!(refusal.code(), ErrorCode::InvalidPayload);
}

#[track_caller]
fn check_metrics(metrics: &str, expected: &str) {
    let text = with_metrics(metrics);
    check(&text, expected);
    // The id was read before, so the answer carries it.
    assert_eq!(read(&text).unwrap_err().report_id, Some(7));
}

#[test]
fn the_report_is_an_object_with_a_header_and_something_to_say() {
    check("[]", "the report is a list; an object is expected");
    check("null", "the report is null; an object is expected");
    check("7", "the report is a number; an object is expected");
    check("{}", "`header` is missing");
    check(r#"{"header":null,"metrics":{}}"#, "`header` is missing");
    check(r#"{"header":[],"metrics":{}}"#, "`header` is a list; an object is expected");
    check(
        r#"{"hed":{"rid":7,"v":"1.0"}}"#,
        "the report has neither `metrics` nor `custom_metrics`",
    );
    check(
        r#"{"hed":{"rid":7,"v":"1.0"},"met":null,"cmet":null}"#,
        "the report has neither `metrics` nor `custom_metrics`",
    );
    check(r#"{"hed":{"rid":7,"v":"1.0"},"met":[]}"#, "`metrics` is a list; an object is expected");
    check(
        r#"{"hed":{"rid":7,"v":"1.0"},"cmet":[]}"#,
        "`custom_metrics` is a list; an object is expected",
    );
}

#[test]
fn the_header_has_an_id_and_a_version_that_is_known() {
    let check_header = |header: &str, expected: &str| {
        check(&format!(r#"{{"header":{header},"metrics":{{}}}}"#), expected);
    };
    check_header(r#"{"version":"1.0"}"#, "`header.report_id` is missing");
    check_header(r#"{"rid":null,"v":"1.0"}"#, "`header.report_id` is missing");
    check_header(
        r#"{"rid":"7","v":"1.0"}"#,
        "`header.report_id` is a string; a number is expected",
    );
    check_header(
        r#"{"rid":true,"v":"1.0"}"#,
        "`header.report_id` is a boolean; a number is expected",
    );
    check_header(r#"{"rid":-1,"v":"1.0"}"#, "`header.report_id` is negative");
    check_header(r#"{"rid":1.5,"v":"1.0"}"#, "`header.report_id` is not a whole number");
    check_header(
        r#"{"rid":18446744073709551616,"v":"1.0"}"#,
        "`header.report_id` is larger than 18446744073709551615",
    );
    check_header(
        r#"{"rid":1e300,"v":"1.0"}"#,
        "`header.report_id` is larger than 18446744073709551615",
    );
    check_header(r#"{"rid":7}"#, "`header.version` is missing");
    check_header(r#"{"rid":7,"v":1.0}"#, "`header.version` is a number; a string is expected");
    for version in ["", "1", "1.", "1.x", "2.0", "v1.0", "1.0.0", "01.0"] {
        check_header(
            &format!(r#"{{"rid":7,"v":"{version}"}}"#),
            &format!("`header.version` is `{version}`; version 1 is expected, as in `1.0`"),
        );
    }
    check_header(
        r#"{"rid":7,"v":"a\nb`"}"#,
        r"`header.version` is `a\nb``; version 1 is expected, as in `1.0`",
    );
}

#[test]
fn increments_are_not_negative_and_a_negative_one_is_told_apart() {
    for (member, name) in [
        ("bytes_in", "bytes_in"),
        ("bo", "bytes_out"),
        ("packets_in", "packets_in"),
        ("po", "packets_out"),
    ] {
        for value in ["-1", "-0.5", "-1e300", "-9223372036854775809"] {
            let metrics = format!(r#"{{"ns":{{"{member}":{value}}}}}"#);
            check_metrics(&metrics, &format!("`metrics.network_stats.{name}` is negative"));
            assert!(read(&with_metrics(&metrics)).unwrap_err().is_negative_increment());
        }
    }
    for (metrics, expected) in [
        (r#"{"tp":{"t":-1}}"#, "`metrics.listening_tcp_ports.total` is negative"),
        (r#"{"ns":{"bi":0.5}}"#, "`metrics.network_stats.bytes_in` is not a whole number"),
        (
            r#"{"ns":{"bi":"1"}}"#,
            "`metrics.network_stats.bytes_in` is a string; a number is expected",
        ),
        (r#"{"ns":[]}"#, "`metrics.network_stats` is a list; an object is expected"),
    ] {
        check_metrics(metrics, expected);
        assert!(!read(&with_metrics(metrics)).unwrap_err().is_negative_increment());
    }
}

#[test]
fn a_port_is_a_port() {
    let check_ports = |ports: &str, expected: &str| {
        check_metrics(&format!(r#"{{"listening_udp_ports":{{"ports":{ports}}}}}"#), expected);
    };
    check_ports("{}", "`metrics.listening_udp_ports.ports` is an object; a list is expected");
    check_ports(
        "[22]",
        "`metrics.listening_udp_ports.ports[0]` is a number; an object is expected",
    );
    check_ports("[null]", "`metrics.listening_udp_ports.ports[0]` is null; an object is expected");
    check_ports(
        r#"[{"pt":1},{"pt":2},{"if":"lo"}]"#,
        "`metrics.listening_udp_ports.ports[2].port` is missing",
    );
    check_ports(
        r#"[{"pt":0}]"#,
        "`metrics.listening_udp_ports.ports[0].port` is 0; ports are 1 to 65535",
    );
    check_ports(r#"[{"pt":-1}]"#, "`metrics.listening_udp_ports.ports[0].port` is negative");
    check_ports(
        r#"[{"pt":65536}]"#,
        "`metrics.listening_udp_ports.ports[0].port` is larger than 65535",
    );
    check_ports(
        r#"[{"pt":1,"if":7}]"#,
        "`metrics.listening_udp_ports.ports[0].interface` is a number; a string is expected",
    );
    let long = "x".repeat(257);
    check_ports(
        &format!(r#"[{{"pt":1,"if":"{long}"}}]"#),
        "`metrics.listening_udp_ports.ports[0].interface` is 257 bytes long; at most 256 are allowed",
    );
    let many = vec![r#"{"pt":1}"#; 4097].join(",");
    check_ports(
        &format!("[{many}]"),
        "`metrics.listening_udp_ports.ports` has more than 4096 elements",
    );
}

#[test]
fn a_connection_has_another_end() {
    let check_item = |item: &str, expected: &str| {
        let expected =
            expected.replace('@', "metrics.tcp_connections.established_connections.connections[0]");
        check_metrics(&format!(r#"{{"tc":{{"ec":{{"cs":[{item}]}}}}}}"#), &expected);
    };
    check_item("{}", "`@.remote_addr` is missing");
    check_item(r#"{"rad":null}"#, "`@.remote_addr` is missing");
    check_item(r#"{"rad":3221225985}"#, "`@.remote_addr` is a number; a string is expected");
    check_item(
        r#"{"rad":"example.org:443"}"#,
        "`@.remote_addr` is `example.org:443`; an address and a port are expected, as in \
         `192.0.2.1:443`",
    );
    let long = "9".repeat(1000);
    check_item(
        &format!(r#"{{"rad":"{long}"}}"#),
        &format!(
            "`@.remote_addr` is `{}..`; an address and a port are expected, as in `192.0.2.1:443`",
            "9".repeat(64)
        ),
    );
    check_item(r#"{"rad":"192.0.2.1:1","lp":65536}"#, "`@.local_port` is larger than 65535");
    check_item(r#"{"rad":"192.0.2.1:1","lp":-1}"#, "`@.local_port` is negative");
}

#[test]
fn a_member_comes_once_whatever_it_is_called() {
    check_metrics(r#"{"ns":{"bi":1,"bi":2}}"#, "`metrics.network_stats.bytes_in` appears twice");
    check_metrics(
        r#"{"ns":{"bi":1,"bytes_in":1}}"#,
        "`metrics.network_stats.bytes_in` appears twice",
    );
    check_metrics(r#"{"ns":{},"network_stats":null}"#, "`metrics.network_stats` appears twice");
    check(
        r#"{"hed":{"rid":1,"v":"1.0"},"header":{"rid":2,"v":"1.0"},"met":{}}"#,
        "`header` appears twice",
    );
}

#[test]
fn the_id_is_found_behind_what_is_refused() {
    for (text, expected) in [
        (r#"{"metrics":[],"header":{"report_id":9,"version":"1.0"}}"#, Some(9)),
        (r#"{"metrics":[],"header":{"version":"3.0","report_id":9}}"#, None),
        (r#"{"metrics":[],"header":{"report_id":9,"version":"3.0"}}"#, Some(9)),
        (r#"{"metrics":[],"header":{"report_id":"9","version":"1.0"}}"#, None),
        (r#"{"metrics":[]}"#, None),
        ("[]", None),
    ] {
        assert_eq!(read(text).unwrap_err().report_id, expected, "{text}");
    }
    // Behind an error of the format nothing can be found, before it everything.
    let id = |text: &str| decode(Format::Json, text.as_bytes()).unwrap_err().report_id;
    assert_eq!(id(r#"{"metrics":!,"header":{"report_id":9,"version":"1.0"}}"#), None);
    assert_eq!(id(r#"{"header":{"report_id":9,"version":"1.0"},"metrics":!}"#), Some(9));
}

#[track_caller]
fn check_bytes(format: Format, bytes: &[u8], expected: &str) {
    let refusal = decode(format, bytes).unwrap_err();
    assert_eq!(refusal.to_string(), expected, "{}", String::from_utf8_lossy(bytes));
}

#[test]
fn what_is_not_of_the_format_is_told_with_the_place() {
    let check = |text: &str, expected: &str| check_bytes(Format::Json, text.as_bytes(), expected);
    check("", "the report is not JSON: EOF while parsing a value at line 1 column 0");
    check("{", "the report is not JSON: EOF while parsing an object at line 1 column 1");
    check("hello", "the report is not JSON: expected value at line 1 column 1");
    check(
        r#"{"hed":{"rid":7,"v":"1.0"},"met":{}} x"#,
        "the report is not JSON: trailing characters at line 1 column 38",
    );
    check(
        r#"{"hed":{"rid":1e999,"v":"1.0"},"met":{}}"#,
        "the report is not JSON: number out of range at line 1 column 19",
    );
    let check = |text: &str, expected: &str| check_bytes(Format::Cbor, &hex(text), expected);
    check("", "the report is not CBOR: end of input bytes");
    check("a1", "the report is not CBOR: end of input bytes");
    check("ff", "the report is not CBOR: unexpected break at byte 0");
    check("1c", "the report is not CBOR: unexpected 0x1c at byte 0");
    check("a0 00", "`header` is missing");
    check(
        "a2 63686564 a2 63726964 07 6176 63312e30 636d6574 a0 00",
        "the report is not CBOR: 1 bytes follow its end",
    );
    check("a1 63686564 43010203", "`header` is a byte string; an object is expected");
    check("a1 63686564 a1 63726964 f97e00", "`header.report_id` is not a number");
    check(
        "a1 63686564 a1 63726964 f97c00",
        "`header.report_id` is larger than 18446744073709551615",
    );
    check("a1 63686564 a1 63726964 3bffffffffffffffff", "`header.report_id` is negative");
    check("a1 63686564 a1 63726964 fbfff0000000000000", "`header.report_id` is negative");
}
