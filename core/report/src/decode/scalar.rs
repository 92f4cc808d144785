//! Numbers and texts.

use std::net::SocketAddr;

use super::read::{Num, Read};
use crate::address;
use crate::limits::INTERFACE_BYTES_MAX;
use crate::refusal::{Fault, quoted};

/// The first power of two that is no `u64`, exact as an `f64`.
const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;

/// A whole number of at least 0. A float will do if it is whole: some agents write all their
/// numbers through one.
fn whole(num: Num) -> Result<u64, Fault> {
    match num {
        Num::Whole(n) => Ok(n),
        Num::Below(_) => Err(Fault::Negative),
        Num::Float(x) if x.is_nan() => Err(Fault::NotANumber),
        Num::Float(x) if x < 0.0 => Err(Fault::Negative),
        Num::Float(x) if x >= TWO_TO_THE_64 => Err(Fault::Above(u64::MAX)),
        Num::Float(x) if x.fract() != 0.0 => Err(Fault::NotWhole),
        // Whole and in the range: nothing is lost.
        Num::Float(x) => Ok(x as u64),
    }
}

/// A count, an increment or an id.
#[derive(Default)]
pub(super) struct Count;

impl Read<'_> for Count {
    type Out = u64;
    const EXPECTED: &'static str = "a number";

    fn number(self, num: Num) -> Result<u64, Fault> {
        whole(num)
    }
}

/// A port, 0 included: a socket that is not bound has it.
#[derive(Default)]
pub(super) struct AnyPort;

impl Read<'_> for AnyPort {
    type Out = u16;
    const EXPECTED: &'static str = "a number";

    fn number(self, num: Num) -> Result<u16, Fault> {
        u16::try_from(whole(num)?).map_err(|_| Fault::Above(u16::MAX.into()))
    }
}

/// A port that something can listen on.
#[derive(Default)]
pub(super) struct RealPort;

impl Read<'_> for RealPort {
    type Out = u16;
    const EXPECTED: &'static str = "a number";

    fn number(self, num: Num) -> Result<u16, Fault> {
        match AnyPort.number(num)? {
            0 => Err(Fault::NotAPort),
            port => Ok(port),
        }
    }
}

/// The name or address of an interface.
#[derive(Default)]
pub(super) struct Interface;

impl Read<'_> for Interface {
    type Out = Box<str>;
    const EXPECTED: &'static str = "a string";

    fn text(self, text: &str) -> Result<Box<str>, Fault> {
        if text.len() > INTERFACE_BYTES_MAX {
            return Err(Fault::TooLong { len: text.len(), max: INTERFACE_BYTES_MAX });
        }
        Ok(text.into())
    }
}

/// The other end of a connection.
#[derive(Default)]
pub(super) struct Remote;

impl Read<'_> for Remote {
    type Out = SocketAddr;
    const EXPECTED: &'static str = "a string";

    fn text(self, text: &str) -> Result<SocketAddr, Fault> {
        address::socket(text).ok_or_else(|| Fault::NotAnAddress(quoted(text)))
    }
}

/// The version of the report's form: `1.MINOR`.
#[derive(Default)]
pub(super) struct Version;

impl Read<'_> for Version {
    type Out = ();
    const EXPECTED: &'static str = "a string";

    fn text(self, text: &str) -> Result<(), Fault> {
        // A minor version adds members, and those that are not known are skipped.
        let minor = text.strip_prefix("1.");
        if minor.is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit()))
        {
            return Ok(());
        }
        Err(Fault::Version(quoted(text)))
    }
}
