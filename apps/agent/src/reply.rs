//! What the server says to a report.

use std::fmt;

use minicbor::data::Type;
use picket_report::Format;
use serde_json::Value;

use crate::limits::REPLY_TEXT_CHARS_MAX;

/// The server's answer to a report, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Which report is answered.
    pub report_id: Option<u64>,
    /// Why it is refused: the name of the error and a sentence, both the server's.
    pub reason: Option<String>,
}

impl Reply {
    /// Reads an answer. What cannot be read is left out: that there is an answer, and on which
    /// topic, says the most important thing already.
    pub fn read(format: Format, payload: &[u8]) -> Self {
        match format {
            Format::Json => serde_json::from_slice(payload).map(|value| of_json(&value)).ok(),
            Format::Cbor => of_cbor(payload).ok(),
        }
        .unwrap_or_default()
    }

    fn of(report_id: Option<u64>, code: Option<&str>, message: Option<&str>) -> Self {
        let words: Vec<&str> = [code, message].into_iter().flatten().collect();
        let reason: String = words.join(": ").chars().take(REPLY_TEXT_CHARS_MAX).collect();
        Self { report_id, reason: (!words.is_empty()).then_some(reason) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => reason.escape_debug().fmt(f),
            None => f.write_str("the server gives no reason"),
        }
    }
}

fn of_json(value: &Value) -> Reply {
    let details = value.get("statusDetails");
    let text = |key| details.and_then(|details| details.get(key)).and_then(Value::as_str);
    let id = value.get("reportId").and_then(Value::as_u64);
    Reply::of(id, text("ErrorCode"), text("ErrorMessage"))
}

/// Reads the map; texts stay where they are.
fn of_cbor(payload: &[u8]) -> Result<Reply, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(payload);
    let (mut id, mut code, mut message) = (None, None, None);
    let mut left = decoder.map()?;
    while has_more(&mut decoder, &mut left)? {
        match decoder.str()? {
            "reportId" => id = Some(decoder.u64()?),
            "statusDetails" => {
                let mut left = decoder.map()?;
                while has_more(&mut decoder, &mut left)? {
                    match decoder.str()? {
                        "ErrorCode" => code = Some(decoder.str()?),
                        "ErrorMessage" => message = Some(decoder.str()?),
                        _ => decoder.skip()?,
                    }
                }
            }
            _ => decoder.skip()?,
        }
    }
    Ok(Reply::of(id, code, message))
}

/// Whether a map has another entry: by its count, or until its end sign.
fn has_more(
    decoder: &mut minicbor::Decoder<'_>,
    left: &mut Option<u64>,
) -> Result<bool, minicbor::decode::Error> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use picket_model::Timestamp;
    use picket_report::{ErrorCode, encode_reply};
    use proptest::prelude::*;

    use super::*;

    fn check(format: Format, payload: &[u8], id: Option<u64>, text: &str) {
        let reply = Reply::read(format, payload);
        assert_eq!((reply.report_id, reply.to_string().as_str()), (id, text));
    }

    #[test]
    fn the_reason_of_a_refusal_is_read_in_both_formats() {
        let code = ErrorCode::InvalidPayload;
        let refused = picket_report::Reply::Rejected { code, message: "port 0 is none" };
        let accepted = picket_report::Reply::Accepted;
        let now = Timestamp::from_millis(1);
        for format in Format::ALL {
            let written = |id, reply| encode_reply(format, "pump", id, reply, now);
            let expected = "InvalidPayload: port 0 is none";
            check(format, &written(Some(7), refused), Some(7), expected);
            check(format, &written(None, refused), None, expected);
            check(format, &written(Some(7), accepted), Some(7), "the server gives no reason");
        }
    }

    #[test]
    fn aws_words_are_read() {
        let text = br#"{"thingName":"T","reportId":5,"status":"REJECTED","statusDetails":{"ErrorCode":"InvalidPayload","ErrorMessage":"Malformed metrics report"},"timestamp":1}"#;
        check(Format::Json, text, Some(5), "InvalidPayload: Malformed metrics report");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_answer_without_a_reason() {
        for format in Format::ALL {
            for payload in [&b""[..], b"nonsense", b"[1]", b"{}", &[0xBF], &[0xA1, 0x61]] {
                check(format, payload, None, "the server gives no reason");
            }
        }
        let odd = br#"{"reportId":"x","statusDetails":{"ErrorCode":5}}"#;
        check(Format::Json, odd, None, "the server gives no reason");
    }

    #[test]
    fn what_the_server_says_cannot_fill_or_forge_the_log() {
        let long =
            format!(r#"{{"statusDetails":{{"ErrorMessage":"\n\u001b[2J{}"}}}}"#, "x".repeat(9_999));
        let shown = Reply::read(Format::Json, long.as_bytes()).to_string();
        assert!(!shown.contains(char::is_control) && shown.len() < 400, "{shown}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            for format in Format::ALL {
                let _ = Reply::read(format, &bytes).to_string();
            }
        }
    }
}
