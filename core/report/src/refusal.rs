//! Why a report is refused.

use std::fmt::{self, Write as _};

use thiserror::Error;

use crate::fields::Field;
use crate::limits::{BYTES_MAX, DEPTH_MAX, QUOTED_CHARS_MAX};
use crate::{ErrorCode, Format, Names};

/// Why a report is refused, as one sentence for whoever builds the device.
///
/// The sentence spells members in full, whichever names the report has:
/// "`metrics.network_stats.bytes_in` is negative".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Refusal {
    /// The report's id, if it could be read.
    pub report_id: Option<u64>,
    place: Place,
    fault: Fault,
}

impl Refusal {
    pub(crate) fn new(report_id: Option<u64>, place: Place, fault: Fault) -> Self {
        Self { report_id, place, fault }
    }

    /// What the answer to the device calls it.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::InvalidPayload
    }

    /// Whether an increment of the network's counters is negative: a counter ran backward, which an
    /// honest agent does not send.
    pub fn is_negative_increment(&self) -> bool {
        self.fault == Fault::Negative
            && matches!(self.place.inner_first.first(), Some(Step::Field(field)) if field.is_increment())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            // These are about the whole.
            Fault::Syntax(..)
            | Fault::TooManyBytes(_)
            | Fault::TooDeep
            | Fault::NothingReported => {
                write!(f, "the report {}", self.fault)
            }
            fault if self.place.inner_first.is_empty() => write!(f, "the report {fault}"),
            fault => write!(f, "`{}` {fault}", self.place),
        }
    }
}

/// Where in a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Steps from the place out to the report: they are collected on the way out.
    pub(crate) inner_first: Vec<Step>,
}

/// One step into a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Field(Field),
    Metric(String),
    Index(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.inner_first.iter().rev().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match step {
                Step::Field(field) => write!(f, "{dot}{}", field.name(Names::Long))?,
                Step::Metric(name) => write!(f, "{dot}{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What is wrong there. `Display` is the rest of a sentence that begins with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes are not of the format.
    Syntax(Format, String),
    TooManyBytes(usize),
    TooDeep,
    /// Neither metrics nor custom metrics.
    NothingReported,
    Kind {
        found: Kind,
        expected: &'static str,
    },
    Missing,
    Twice,
    Negative,
    NotWhole,
    NotANumber,
    NotAPort,
    Above(u64),
    TooLong {
        len: usize,
        max: usize,
    },
    TooMany {
        max: usize,
    },
    /// More than one object in the list of a custom metric, or more than one type in the object.
    NotOneValue,
    NotAnAddress(String),
    Version(String),
}

/// What a value turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Bytes => "a byte string",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(Format::Json, why) => write!(f, "is not JSON: {why}"),
            Self::Syntax(Format::Cbor, why) => write!(f, "is not CBOR: {why}"),
            Self::TooManyBytes(len) => {
                write!(f, "is {len} bytes long; at most {BYTES_MAX} are allowed")
            }
            Self::TooDeep => {
                write!(f, "has objects and lists more than {DEPTH_MAX} deep within each other")
            }
            Self::NothingReported => f.write_str("has neither `metrics` nor `custom_metrics`"),
            Self::Kind { found, expected } => write!(f, "is {found}; {expected} is expected"),
            Self::Missing => f.write_str("is missing"),
            Self::Twice => f.write_str("appears twice"),
            Self::Negative => f.write_str("is negative"),
            Self::NotWhole => f.write_str("is not a whole number"),
            Self::NotANumber => f.write_str("is not a number"),
            Self::NotAPort => f.write_str("is 0; ports are 1 to 65535"),
            Self::Above(max) => write!(f, "is larger than {max}"),
            Self::TooLong { len, max } => {
                write!(f, "is {len} bytes long; at most {max} are allowed")
            }
            Self::TooMany { max } => write!(f, "has more than {max} elements"),
            Self::NotOneValue => f.write_str("has more than one value"),
            Self::NotAnAddress(text) => {
                write!(f, "is `{text}`; an address and a port are expected, as in `192.0.2.1:443`")
            }
            Self::Version(text) => write!(f, "is `{text}`; version 1 is expected, as in `1.0`"),
        }
    }
}

/// A piece of a report for a sentence: escaped, and cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == QUOTED_CHARS_MAX {
            quoted.push_str("..");
            break;
        }
        // A string takes whatever is written to it.
        let _ = write!(quoted, "{}", c.escape_debug());
    }
    quoted
}
