//! What agents send and no table promises is read all the same.

use picket_model::{ListeningPorts, NetworkStats, Report};
use picket_report::{Format, decode};

use crate::fixture::{hex, read, with_metrics};

fn metrics(text: &str) -> Report {
    read(&with_metrics(text)).unwrap()
}

#[track_caller]
fn check_id(id: &str, expected: u64) {
    let text = format!(r#"{{"header":{{"report_id":{id},"version":"1.0"}},"metrics":{{}}}}"#);
    assert_eq!(read(&text).unwrap().id, expected, "{id}");
}

#[test]
fn an_id_is_whole_however_it_is_written() {
    check_id("0", 0);
    check_id("1795162837", 1_795_162_837);
    check_id("1795162837.0", 1_795_162_837);
    check_id("1.795162837123e12", 1_795_162_837_123);
    check_id("1E3", 1_000);
    check_id("-0.0", 0);
    check_id("9007199254740992", 1 << 53);
    check_id("9007199254740993", (1 << 53) + 1);
    check_id("9007199254740992.0", 1 << 53);
    check_id("18446744073709549568.0", u64::MAX - 2047);
    check_id("18446744073709551615", u64::MAX);
}

#[test]
fn a_newer_minor_version_is_read() {
    for version in ["1.0", "1.1", "1.25"] {
        let text = format!(r#"{{"hed":{{"rid":1,"v":"{version}"}},"met":{{}}}}"#);
        assert_eq!(read(&text).unwrap().id, 1, "{version}");
    }
}

#[test]
fn names_may_be_mixed_in_one_report() {
    let text = r#"{"hed":{"report_id":7,"v":"1.0"},"metrics":{"tp":{"pts":[{"port":22,"if":"lo"},
        {"pt":23,"interface":"eth0"}],"total":9},"network_stats":{"bi":1,"bytes_out":2}}}"#;
    let report = read(text).unwrap();
    let ports = report.listening_tcp_ports.unwrap();
    assert_eq!(ports.total, 9);
    let ports: Vec<_> = ports.ports.unwrap().iter().map(|port| port.port).collect();
    assert_eq!(ports, [22, 23]);
    assert_eq!(report.network.bytes_in, Some(1));
    assert_eq!(report.network.bytes_out, Some(2));
    assert_eq!(report.network.packets_in, None);
}

#[test]
fn a_section_that_says_nothing_is_no_section() {
    for text in [
        "{}",
        r#"{"tcp_connections":null,"listening_tcp_ports":null,"network_stats":null}"#,
        r#"{"tcp_connections":{},"listening_udp_ports":{},"network_stats":{}}"#,
        r#"{"tcp_connections":{"established_connections":null}}"#,
        r#"{"tcp_connections":{"established_connections":{}}}"#,
        r#"{"listening_tcp_ports":{"ports":null,"total":null}}"#,
        r#"{"network_stats":{"bytes_in":null}}"#,
    ] {
        let expected = Report { id: 7, ..Report::default() };
        assert_eq!(metrics(text), expected, "{text}");
    }
}

#[test]
fn an_empty_list_and_a_zero_are_something() {
    let none = Some(ListeningPorts { ports: Some(vec![]), total: 0 });
    assert_eq!(metrics(r#"{"tp":{"pts":[],"t":0}}"#).listening_tcp_ports, none);
    assert_eq!(metrics(r#"{"tp":{"pts":[]}}"#).listening_tcp_ports, none);
    let unnamed = Some(ListeningPorts { ports: None, total: 0 });
    assert_eq!(metrics(r#"{"up":{"t":0}}"#).listening_udp_ports, unnamed);
    let zero = NetworkStats { bytes_in: Some(0), ..NetworkStats::default() };
    assert_eq!(metrics(r#"{"ns":{"bi":0}}"#).network, zero);
}

#[test]
fn the_total_is_the_reports_own_and_else_the_lists_length() {
    for (text, total) in [
        (r#"{"tp":{"pts":[{"pt":1},{"pt":2}],"t":70}}"#, 70),
        (r#"{"tp":{"pts":[{"pt":1},{"pt":2}],"t":1}}"#, 1),
        (r#"{"tp":{"pts":[{"pt":1},{"pt":2}]}}"#, 2),
        (r#"{"tp":{"pts":[{"pt":1},{"pt":2}],"t":null}}"#, 2),
        (r#"{"tp":{"t":3.0}}"#, 3),
    ] {
        assert_eq!(metrics(text).listening_tcp_ports.unwrap().total, total, "{text}");
    }
}

#[test]
fn interfaces_and_local_ports_may_be_missing_or_null() {
    for item in [
        r#"{"remote_addr":"[2001:db8::7]:443"}"#,
        r#"{"remote_addr":"[2001:db8::7]:443","local_port":null,"local_interface":null}"#,
        r#"{"rad":"2001:db8::7:443","li":null}"#,
    ] {
        let report = metrics(&format!(r#"{{"tc":{{"ec":{{"cs":[{item}],"t":1}}}}}}"#));
        let connection = report.tcp_connections.unwrap().connections.unwrap().remove(0);
        assert_eq!(connection.remote.to_string(), "[2001:db8::7]:443");
        assert_eq!((connection.local_port, connection.local_interface), (None, None));
    }
    let report = metrics(r#"{"tp":{"pts":[{"pt":22,"interface":null}]}}"#);
    assert_eq!(report.listening_tcp_ports.unwrap().ports.unwrap()[0].interface, None);
}

#[test]
fn members_that_nobody_knows_are_skipped_at_every_level() {
    let extra = r#""extra":{"a":[1,-2.5,"\u00e9",null,true,{"b":[]}],"a2":{}}"#;
    let text = format!(
        r#"{{{extra},"header":{{{extra},"report_id":7,"version":"1.0"}},"metrics":{{{extra},
        "tcp_connections":{{{extra},"established_connections":{{{extra},"connections":
        [{{{extra},"remote_addr":"192.0.2.1:443"}}]}}}},"listening_tcp_ports":{{{extra},"ports":
        [{{{extra},"port":22}}]}},"network_stats":{{{extra},"bytes_in":1}}}},
        "custom_metrics":{{"x":[{{{extra},"number":1}}]}}}}"#
    );
    let report = read(&text).unwrap();
    assert_eq!(report.id, 7);
    assert_eq!(report.tcp_connections.unwrap().total, 1);
    assert_eq!(report.listening_tcp_ports.unwrap().total, 1);
    assert_eq!(report.network.bytes_in, Some(1));
    assert_eq!(report.custom.len(), 1);
}

#[test]
fn an_unknown_member_may_come_twice() {
    let text = r#"{"x":1,"x":2,"hed":{"rid":7,"v":"1.0"},"met":{}}"#;
    assert_eq!(decode(Format::Json, text.as_bytes()).unwrap().id, 7);
}

#[track_caller]
fn check_cbor(bytes: &str, expected: Report) {
    assert_eq!(decode(Format::Cbor, &hex(bytes)), Ok(expected), "{bytes}");
}

#[test]
fn cbor_comes_in_all_its_forms() {
    let report = |id| Report { id, ..Report::default() };
    // {"hed": {"rid": 7, "v": "1.0"}, "met": {}} plainly.
    check_cbor("a2 63686564 a2 63726964 07 6176 63312e30 636d6574 a0", report(7));
    // With indefinite lengths: maps, and a text in pieces.
    check_cbor("bf 63686564 bf 63726964 07 6176 7f 6131 622e30 ff ff 636d6574 bf ff ff", report(7));
    // A key in pieces.
    check_cbor("a2 7f 6168 626564 ff a2 63726964 07 6176 63312e30 636d6574 a0", report(7));
    // The integer in longer heads than it needs.
    check_cbor("a2 63686564 a2 63726964 1b0000000000000007 6176 63312e30 636d6574 a0", report(7));
    // As a half, a single and a double.
    check_cbor("a2 63686564 a2 63726964 f94700 6176 63312e30 636d6574 a0", report(7));
    check_cbor("a2 63686564 a2 63726964 fa40e00000 6176 63312e30 636d6574 a0", report(7));
    check_cbor("a2 63686564 a2 63726964 fb401c000000000000 6176 63312e30 636d6574 a0", report(7));
    // Tagged: the whole as self-described CBOR, the id as a time, nested tags.
    check_cbor("d9d9f7 a2 63686564 a2 63726964 c107 6176 63312e30 636d6574 c1c2a0", report(7));
    // `undefined` is as good as null.
    check_cbor("a3 63686564 a2 63726964 07 6176 63312e30 636d6574 a0 64636d6574 f7", report(7));
    // Keys that are no text name nothing: a number, bytes, a list, a map, a float.
    check_cbor(
        "a7 01 02 41ff 03 8101 04 a10102 05 f94700 06 63686564 a2 63726964 07 6176 63312e30 \
         636d6574 a0",
        report(7),
    );
    // Unknown members of every type: bytes whole and in pieces, a simple `true`, -2^64.
    check_cbor(
        "a6 6161 43010203 6162 5f 4101 4102 ff 6163 f5 6164 3bffffffffffffffff \
         63686564 a2 63726964 07 6176 63312e30 636d6574 a0",
        report(7),
    );
}

#[test]
fn json_may_be_laid_out_and_escaped() {
    let text = "\n{ \"h\\u0065d\" :\t{\"rid\":7, \"v\" : \"1\\u002e0\"},\r\n \"met\":{} }\n ";
    assert_eq!(decode(Format::Json, text.as_bytes()).unwrap().id, 7);
}
