//! CBOR in the form that serde drives: minicbor reads the items, this hands them on.
//!
//! Tags are read over, indefinite lengths are read to their end, and a declared length is never
//! believed: elements are read one by one, and texts are slices of what is really there.
//! Source: RFC 8949.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Why bytes are not CBOR, or that the reader wants no more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Error(String);

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// Bytes that are read as CBOR.
pub(super) struct Cbor<'de> {
    items: Decoder<'de>,
}

impl<'de> Cbor<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { items: Decoder::new(bytes) }
    }

    /// Bytes that are not read yet.
    pub(super) fn left(&self) -> usize {
        self.items.input().len() - self.items.position()
    }

    /// Takes the end of an indefinite length, if that is what comes.
    fn is_at_break(&mut self) -> Result<bool, Error> {
        let is_break = self.items.datatype()? == Type::Break;
        if is_break {
            self.items.set_position(self.items.position() + 1);
        }
        Ok(is_break)
    }

    fn half(&mut self) -> Result<f64, Error> {
        let at = self.items.position() + 1;
        let Some(&[high, low]) = self.items.input().get(at..at + 2) else {
            return Err(Error("end of input bytes".to_owned()));
        };
        self.items.set_position(at + 2);
        Ok(half_to_double(u16::from_be_bytes([high, low])))
    }
}

/// Widens a number of 16 bits, exactly. Source: RFC 8949, appendix D.
fn half_to_double(bits: u16) -> f64 {
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2_f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

impl<'de> Deserializer<'de> for &mut Cbor<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A tag says how an item is meant; each takes a byte at least, so there is an end to them.
        let mut found = self.items.datatype()?;
        while found == Type::Tag {
            self.items.tag()?;
            found = self.items.datatype()?;
        }
        match found {
            Type::Null | Type::Undefined => {
                self.items.skip()?;
                visitor.visit_unit()
            }
            Type::Bool => visitor.visit_bool(self.items.bool()?),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => visitor.visit_u64(self.items.u64()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                // Down to -2^64: of what no i64 holds only sign and size matter.
                let int = i128::from(self.items.int()?);
                match i64::try_from(int) {
                    Ok(int) => visitor.visit_i64(int),
                    Err(_) => visitor.visit_f64(int as f64),
                }
            }
            Type::F16 => visitor.visit_f64(self.half()?),
            Type::F32 | Type::F64 => visitor.visit_f64(self.items.f64()?),
            Type::Bytes => visitor.visit_bytes(self.items.bytes()?),
            Type::BytesIndef => {
                for chunk in self.items.bytes_iter()? {
                    chunk?;
                }
                // Byte strings are skipped or refused, never read.
                visitor.visit_bytes(&[])
            }
            Type::String => visitor.visit_borrowed_str(self.items.str()?),
            Type::StringIndef => {
                let text = self.items.str_iter()?.collect::<Result<String, _>>()?;
                visitor.visit_str(&text)
            }
            Type::Array | Type::ArrayIndef => {
                let n_left = self.items.array()?;
                let mut part = Part { cbor: self, n_left };
                let value = visitor.visit_seq(&mut part)?;
                part.end().map(|()| value)
            }
            Type::Map | Type::MapIndef => {
                let n_left = self.items.map()?;
                let mut part = Part { cbor: self, n_left };
                let value = visitor.visit_map(&mut part)?;
                part.end().map(|()| value)
            }
            other @ (Type::Simple | Type::Break | Type::Tag | Type::Unknown(_)) => {
                let at = self.items.position();
                Err(Error(format!("unexpected {other} at byte {at}")))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// A list or a map that is being read. `None` elements left: up to the break.
struct Part<'a, 'de> {
    cbor: &'a mut Cbor<'de>,
    n_left: Option<u64>,
}

impl Part<'_, '_> {
    /// Whether another element comes.
    fn has_next(&mut self) -> Result<bool, Error> {
        match &mut self.n_left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.cbor.is_at_break()? => {
                self.n_left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Holds the reader to having read all of it.
    fn end(&mut self) -> Result<(), Error> {
        if self.has_next()? {
            return Err(Error("a list or a map is longer than its reader".to_owned()));
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Part<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.cbor).map(Some)
    }
}

impl<'de> MapAccess<'de> for &mut Part<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.cbor).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(&mut *self.cbor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_16_bits_widen_exactly() {
        // RFC 8949, appendix A.
        for (bits, expected) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0x3e00, 1.5),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x0400, 0.000_061_035_156_25),
            (0xc400, -4.0),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half_to_double(bits).to_bits(), f64::to_bits(expected), "{bits:04x}");
        }
        assert_eq!(half_to_double(0x8000).to_bits(), (-0.0_f64).to_bits());
        assert!(half_to_double(0x7e00).is_nan());
    }
}
