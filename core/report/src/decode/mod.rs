//! From bytes to a report, in one pass and without a tree in between.
//!
//! [`read`] is the frame: what a value may be, where it stands, how deep. On it stand
//! [`object`] (the members of an object, by the table of names), [`scalar`] (numbers and texts),
//! [`metrics`] and [`custom`] (the report's own objects). serde_json and [`cbor`] drive them alike.

mod cbor;
mod custom;
mod metrics;
mod object;
mod read;
mod scalar;
mod skip;

use picket_model::Report;
use serde::de::{DeserializeSeed, Error as _};

use self::cbor::Cbor;
use self::metrics::{IdOnly, Whole};
use self::object::Object;
use self::read::{Context, Read, Seed};
use crate::limits::BYTES_MAX;
use crate::refusal::{Fault, Place, Refusal};
use crate::{Format, refusal};

/// Reads a report.
///
/// Long and short names are read alike, each by itself; members that are not in the table are
/// skipped; `null` is as if the member were absent. Of custom metrics, what breaks AWS's rules for
/// data is left out; [`decode_with_losses`] says how much. A member that appears twice is refused:
/// nobody could say which of the two is meant.
///
/// IPv4 addresses in IPv6 form come out as IPv4, addresses without their zone.
///
/// # Errors
/// [`Refusal`] says in one sentence what is wrong and where.
///
/// Cost: one pass; of a refused report a second one, for its id, if that had not come yet. Memory
/// grows with what is read, never with a length that is only declared.
pub fn decode(format: Format, bytes: &[u8]) -> Result<Report, Refusal> {
    decode_with_losses(format, bytes).map(|(report, _)| report)
}

/// Reads a report like [`decode`], and counts what of its custom metrics was left out: values,
/// elements and whole metrics whose names or data break the rules.
///
/// # Errors
/// As [`decode`].
pub fn decode_with_losses(format: Format, bytes: &[u8]) -> Result<(Report, u32), Refusal> {
    if bytes.len() > BYTES_MAX {
        let fault = Fault::TooManyBytes(bytes.len());
        return Err(Refusal::new(None, Place::default(), fault));
    }
    let mut context = Context::default();
    match run(format, bytes, &mut context, Object(Whole::default())) {
        Ok(report) => Ok((report, context.n_lost)),
        Err(syntax) => {
            let report_id = context.report_id.or_else(|| id_only(format, bytes));
            let fault = context.fault.unwrap_or(Fault::Syntax(format, syntax));
            Err(Refusal::new(report_id, context.place, fault))
        }
    }
}

/// The id of a report that is refused before its header was reached, if it has one.
fn id_only(format: Format, bytes: &[u8]) -> Option<u64> {
    let mut context = Context::default();
    // What is wrong was said already; the id counts even if more is wrong behind it.
    let _ = run(format, bytes, &mut context, Object(IdOnly));
    context.report_id
}

fn run_json<'de, J: serde_json::de::Read<'de>, R: Read<'de>>(
    mut json: serde_json::Deserializer<J>,
    context: &mut Context,
    read: R,
) -> Result<R::Out, String> {
    let value = Seed { context, read }.deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| error.to_string())
}

/// Reads all of `bytes`. Where the error is not the context's fault, its text says what is wrong
/// with the bytes.
fn run<'de, R: Read<'de>>(
    format: Format,
    bytes: &'de [u8],
    context: &mut Context,
    read: R,
) -> Result<R::Out, String> {
    match format {
        // Checked as a whole, UTF-8 costs less than string by string. Where it is none, the reader of
        // bytes says at which place.
        Format::Json => match str::from_utf8(bytes) {
            Ok(text) => run_json(serde_json::Deserializer::from_str(text), context, read),
            Err(_) => run_json(serde_json::Deserializer::from_slice(bytes), context, read),
        },
        Format::Cbor => {
            let mut cbor = Cbor::new(bytes);
            let value = Seed { context, read }.deserialize(&mut cbor);
            value
                .and_then(|value| match cbor.left() {
                    0 => Ok(value),
                    n => Err(cbor::Error::custom(format_args!("{n} bytes follow its end"))),
                })
                .map_err(|error| refusal::quoted(&error.to_string()))
        }
    }
}
