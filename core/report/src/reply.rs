//! What the device is told about its report.

use std::fmt;

use picket_model::Timestamp;

use crate::Format;
use crate::encode::{CborWriter, JsonWriter, Writer};

/// What a rejection is called.
///
/// AWS documents `InvalidPayload` alone; the others are for what AWS does not tell its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// The report cannot be read.
    InvalidPayload,
    /// It came too soon after the one before.
    Throttled,
    /// Who sent it may not report for the thing.
    AccessDenied,
}

impl ErrorCode {
    /// The spelling of `ErrorCode` in the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPayload => "InvalidPayload",
            Self::Throttled => "Throttled",
            Self::AccessDenied => "AccessDenied",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It is accepted.
    Accepted,
    /// It is rejected.
    Rejected {
        /// What the rejection is called.
        code: ErrorCode,
        /// Why, for a person.
        message: &'a str,
    },
}

/// Writes the answer to a report on `thing`, in the report's format; `now` is when it is given.
///
/// `report_id` is left out if it could not be read.
/// Source: AWS guide "Device-side metrics", "Sending metrics from devices".
pub fn encode_reply(
    format: Format,
    thing: &str,
    report_id: Option<u64>,
    reply: Reply<'_>,
    now: Timestamp,
) -> Vec<u8> {
    match format {
        Format::Json => encode_with(JsonWriter::default(), thing, report_id, reply, now),
        Format::Cbor => encode_with(CborWriter::default(), thing, report_id, reply, now),
    }
}

fn encode_with<W: Writer>(
    mut writer: W,
    thing: &str,
    report_id: Option<u64>,
    reply: Reply<'_>,
    now: Timestamp,
) -> Vec<u8> {
    let (status, details) = match reply {
        Reply::Accepted => ("ACCEPTED", None),
        Reply::Rejected { code, message } => ("REJECTED", Some((code, message))),
    };
    // Small clients search the text for members in AWS's order; it is kept.
    writer.begin_object(3 + usize::from(report_id.is_some()) + usize::from(details.is_some()));
    writer.key("thingName");
    writer.text(thing);
    if let Some(id) = report_id {
        writer.key("reportId");
        writer.whole(id);
    }
    writer.key("status");
    writer.text(status);
    if let Some((code, message)) = details {
        writer.key("statusDetails");
        writer.begin_object(2);
        writer.key("ErrorCode");
        writer.text(code.as_str());
        writer.key("ErrorMessage");
        writer.text(message);
        writer.end_object();
    }
    writer.key("timestamp");
    writer.whole(u64::try_from(now.as_millis()).unwrap_or(0));
    writer.end_object();
    writer.into_bytes()
}
