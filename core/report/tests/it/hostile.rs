//! Bytes that are made to hurt are refused, soon and with little memory.

use picket_report::limits::{BYTES_MAX, DEPTH_MAX};
use picket_report::{Format, Names, decode, encode};

use crate::fixture::hex;

const SAMPLES: [(Format, &[u8]); 6] = [
    (Format::Json, include_bytes!("../samples/python-agent-2.0.0-long.json")),
    (Format::Json, include_bytes!("../samples/embedded-c-demo-long-custom-metrics.json")),
    (Format::Json, include_bytes!("../samples/embedded-c-demo-short-custom-metrics.json")),
    (Format::Json, include_bytes!("../samples/python-agent-2.0.0-short-first-sample-ipv6.json")),
    (Format::Cbor, include_bytes!("../samples/python-agent-2.0.0-long.cbor")),
    (Format::Cbor, include_bytes!("../samples/python-agent-2.0.0-short-first-sample-ipv6.cbor")),
];

#[track_caller]
fn check(format: Format, bytes: &[u8], expected: &str) {
    assert_eq!(decode(format, bytes).unwrap_err().to_string(), expected);
}

/// An unknown member whose value is `n` lists within each other.
fn nested(n: usize) -> [(Format, Vec<u8>); 2] {
    let json = format!(
        r#"{{"x":{}{},"hed":{{"rid":7,"v":"1.0"}},"met":{{}}}}"#,
        "[".repeat(n),
        "]".repeat(n)
    );
    let cbor = hex(&format!(
        "a3 6178 {} 80 63686564 a2 63726964 07 6176 63312e30 636d6574 a0",
        "81".repeat(n - 1)
    ));
    [(Format::Json, json.into_bytes()), (Format::Cbor, cbor)]
}

#[test]
fn depth_is_bounded_to_the_level() {
    for (format, bytes) in nested(DEPTH_MAX - 1) {
        assert_eq!(decode(format, &bytes).unwrap().id, 7);
    }
    for (format, bytes) in nested(DEPTH_MAX) {
        let expected = "the report has objects and lists more than 16 deep within each other";
        check(format, &bytes, expected);
    }
}

#[test]
fn a_bomb_of_brackets_goes_off_at_the_bound() {
    let expected = "the report has objects and lists more than 16 deep within each other";
    for (format, head, level) in [
        (Format::Json, &br#"{"x":"#[..], &b"["[..]),
        (Format::Json, &br#"{"x":"#[..], &br#"{"x":"#[..]),
        (Format::Cbor, &b"\xa1\x61x"[..], &b"\x81"[..]),
        (Format::Cbor, &b"\xa1\x61x"[..], &b"\x9f"[..]),
        (Format::Cbor, &b"\xa1\x61x"[..], &b"\xa1\x61x"[..]),
        // Maps whose keys are maps.
        (Format::Cbor, &b"\xa1"[..], &b"\xa1"[..]),
        (Format::Cbor, &b"\xbf"[..], &b"\xbf"[..]),
    ] {
        let n = (BYTES_MAX - head.len()) / level.len();
        check(format, &[head, &level.repeat(n)].concat(), expected);
    }
    check(Format::Json, &b"[".repeat(BYTES_MAX), "the report is a list; an object is expected");
    check(Format::Cbor, &b"\x81".repeat(BYTES_MAX), "the report is a list; an object is expected");
}

#[test]
fn tags_without_end_are_read_to_the_end() {
    check(Format::Cbor, &b"\xc1".repeat(BYTES_MAX), "the report is not CBOR: end of input bytes");
}

#[test]
fn a_declared_length_is_not_believed() {
    let end = "the report is not CBOR: end of input bytes";
    for bytes in [
        // A map, a text, bytes, a list of 2^64 - 1.
        "bb ffffffffffffffff",
        "a1 7b ffffffffffffffff 61",
        "a1 6178 5b ffffffffffffffff 61",
        "a1 6178 9b ffffffffffffffff 01",
        // The same of 2^32 - 1, and where the report's own lists stand.
        "a1 6178 9a ffffffff 01",
        "a1 63686564 bb ffffffffffffffff",
        "a1 636d6574 a1 627470 a1 63707473 9b ffffffffffffffff",
        "a1 64636d6574 a1 6161 9b ffffffffffffffff",
        "a1 64636d6574 a1 6161 81 a1 6b6e756d6265725f6c697374 9b ffffffffffffffff 01",
        "a1 6176 7f 7b ffffffffffffffff",
        "a1 6176 5f 5b ffffffffffffffff",
    ] {
        let bytes = hex(bytes);
        check(Format::Cbor, &bytes, end);
    }
}

#[test]
fn a_report_has_a_size() {
    let padded = |n: usize| {
        let text = r#"{"hed":{"rid":7,"v":"1.0"},"met":{}}"#;
        format!("{text}{}", " ".repeat(n - text.len()))
    };
    assert!(decode(Format::Json, padded(BYTES_MAX).as_bytes()).is_ok());
    check(
        Format::Json,
        padded(BYTES_MAX + 1).as_bytes(),
        "the report is 131073 bytes long; at most 131072 are allowed",
    );
}

#[test]
fn texts_must_be_texts() {
    for bytes in [
        &b"{\"hed\":{\"rid\":7,\"v\":\"1.\xff\"},\"met\":{}}"[..],
        b"{\"x\":\"\xc3\",\"hed\":{\"rid\":7,\"v\":\"1.0\"},\"met\":{}}",
        b"{\"x\":\"\\ud800\",\"hed\":{\"rid\":7,\"v\":\"1.0\"},\"met\":{}}",
        b"{\"\xff\":1,\"hed\":{\"rid\":7,\"v\":\"1.0\"},\"met\":{}}",
        b"\xef\xbb\xbf{\"hed\":{\"rid\":7,\"v\":\"1.0\"},\"met\":{}}",
        b"{\"x\":\"\x00\",\"hed\":{\"rid\":7,\"v\":\"1.0\"},\"met\":{}}",
    ] {
        let refusal = decode(Format::Json, bytes).unwrap_err().to_string();
        assert!(refusal.starts_with("the report is not JSON: "), "{refusal}");
    }
    for bytes in ["a1 6178 61ff", "a1 61ff 00", "a1 6178 7f 61ff ff", "a1 6178 7f 4161 ff"] {
        let refusal = decode(Format::Cbor, &hex(bytes)).unwrap_err().to_string();
        assert!(refusal.starts_with("the report is not CBOR: "), "{refusal}");
    }
}

#[test]
fn a_report_that_is_cut_off_anywhere_is_refused() {
    for (format, sample) in SAMPLES {
        assert!(decode(format, sample).is_ok());
        let whole = sample.trim_ascii_end();
        for end in 0..whole.len() {
            assert!(decode(format, &whole[..end]).is_err(), "{format:?} cut at {end}");
        }
    }
}

#[test]
fn a_changed_byte_never_hurts_and_what_is_read_is_written_back() {
    for (format, sample) in SAMPLES {
        for at in 0..sample.len() {
            let mut bytes = sample.to_vec();
            for value in [0x00, b'"', b'-', b'[', b'e', 0x5f, 0x7f, 0x9f, 0xbf, 0xf9, 0xff] {
                bytes[at] = value;
                if let Ok(report) = decode(format, &bytes) {
                    let again = encode(&report, format, Names::Short);
                    assert_eq!(decode(format, &again).as_ref(), Ok(&report), "{at} {value:02x}");
                }
            }
        }
    }
}

#[test]
fn a_flood_of_small_things_is_cut_short() {
    let many = |item: &str, n: usize| vec![item; n].join(",");
    let report = format!(
        r#"{{"hed":{{"rid":7,"v":"1.0"}},"met":{{"tc":{{"ec":{{"cs":[{}]}}}}}}}}"#,
        many(r#"{"rad":"1.1.1.1:1"}"#, 5000)
    );
    check(
        Format::Json,
        report.as_bytes(),
        "`metrics.tcp_connections.established_connections.connections` has more than 4096 elements",
    );
    // Unknown members may be many: they are bounded by the report's size and kept nowhere.
    let report =
        format!(r#"{{{},"hed":{{"rid":7,"v":"1.0"}},"met":{{}}}}"#, many(r#""x":0"#, 20_000));
    assert_eq!(decode(Format::Json, report.as_bytes()).unwrap().id, 7);
}
