//! The answers are AWS's, to the byte where AWS's are known.

use picket_model::Timestamp;
use picket_report::{ErrorCode, Format, Reply, encode_reply};

const AT: Timestamp = Timestamp::from_millis(1_542_697_506_269);

fn json(thing: &str, id: Option<u64>, reply: Reply<'_>) -> String {
    String::from_utf8(encode_reply(Format::Json, thing, id, reply, AT)).unwrap()
}

#[test]
fn acceptance_is_the_one_that_aws_sends() {
    let captured = include_str!("../samples/accepted-response-aws-workshop.json").trim_end();
    assert_eq!(json("DefenderWorkshopThing", Some(1_542_697_506), Reply::Accepted), captured);
}

#[test]
fn rejection_says_what_and_why() {
    let reply = Reply::Rejected { code: ErrorCode::InvalidPayload, message: "it is \"odd\"" };
    assert_eq!(
        json("T", Some(7), reply),
        r#"{"thingName":"T","reportId":7,"status":"REJECTED","statusDetails":{"ErrorCode":"InvalidPayload","ErrorMessage":"it is \"odd\""},"timestamp":1542697506269}"#
    );
    for (code, name) in [
        (ErrorCode::InvalidPayload, "InvalidPayload"),
        (ErrorCode::Throttled, "Throttled"),
        (ErrorCode::AccessDenied, "AccessDenied"),
    ] {
        assert!(json("T", None, Reply::Rejected { code, message: "" }).contains(name));
    }
}

#[test]
fn an_id_that_could_not_be_read_is_left_out() {
    let reply = Reply::Rejected { code: ErrorCode::Throttled, message: "m" };
    assert_eq!(
        json("T", None, reply),
        r#"{"thingName":"T","status":"REJECTED","statusDetails":{"ErrorCode":"Throttled","ErrorMessage":"m"},"timestamp":1542697506269}"#
    );
}

#[test]
fn a_cbor_report_is_answered_in_cbor() {
    let accepted = [
        &b"\xa4\x69thingName\x61T\x68reportId\x07\x66status\x68ACCEPTED"[..],
        b"\x69timestamp\x1b\x00\x00\x01\x67\x2f\xef\xd5\xdd",
    ];
    assert_eq!(encode_reply(Format::Cbor, "T", Some(7), Reply::Accepted, AT), accepted.concat());
    let rejected = [
        &b"\xa4\x69thingName\x61T\x66status\x68REJECTED\x6dstatusDetails"[..],
        b"\xa2\x69ErrorCode\x6eInvalidPayload\x6cErrorMessage\x61m",
        b"\x69timestamp\x1b\x00\x00\x01\x67\x2f\xef\xd5\xdd",
    ];
    let reply = Reply::Rejected { code: ErrorCode::InvalidPayload, message: "m" };
    assert_eq!(encode_reply(Format::Cbor, "T", None, reply, AT), rejected.concat());
}
