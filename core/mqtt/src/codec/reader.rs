//! Reads the primitive types of MQTT from a slice.

use bytes::Bytes;

use super::REPEATED_PROPERTIES_MAX;
use super::property::USER_PROPERTY;
use crate::packet::{PacketId, UserProperties};
use crate::{DecodeError, Text};

/// What is left of a packet's body.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

const TOO_SHORT: DecodeError = DecodeError::Malformed("the packet ends too early");

/// Reads a variable byte integer: its value and its length, `None` where it is not complete.
pub(super) fn variable_int(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(DecodeError::Malformed("a length of more than four bytes"));
    }
    Ok(None)
}

impl<'a> Reader<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A property that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Protocol("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn variable_int(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = variable_int(self.rest)?.ok_or(TOO_SHORT)?;
        self.rest = &self.rest[len..];
        // mqtt-5 [MQTT-1.5.5-1]
        if len > 1 && value >> (7 * (len - 1)) == 0 {
            return Err(DecodeError::Malformed(
                "a variable byte integer is longer than it must be",
            ));
        }
        Ok(value)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        // mqtt-3.1.1 [MQTT-2.3.1-1], mqtt-5 [MQTT-2.2.1-3]
        PacketId::new(self.u16()?).ok_or(DecodeError::Malformed("packet id 0"))
    }

    /// Binary data with its length in front.
    pub(super) fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        self.slice().map(Bytes::copy_from_slice)
    }

    /// A UTF-8 string, borrowed.
    pub(super) fn str(&mut self) -> Result<&'a str, DecodeError> {
        // mqtt-3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2], mqtt-5 [MQTT-1.5.4-1] [MQTT-1.5.4-2]; Rust's
        // UTF-8 has no surrogates, and a byte order mark stays what it is ([MQTT-1.5.4-3]).
        let text = std::str::from_utf8(self.slice()?)
            .map_err(|_| DecodeError::Malformed("a string is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::Malformed("a string contains U+0000"));
        }
        Ok(text)
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        Text::new(self.str()?).ok_or(DecodeError::Malformed("a string contains U+0000"))
    }

    /// Fails where something is left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Malformed("something follows the packet's content"))
    }

    /// Cuts off a block of properties and gives each to `each`, which reads its value.
    ///
    /// User properties go to `user`. `each` refuses an identifier with [`not_allowed`].
    pub(super) fn properties(
        &mut self,
        user: &mut UserProperties,
        mut each: impl FnMut(u8, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let len = self.variable_int()?;
        let mut block = Reader::new(self.take(len as usize)?);
        while !block.is_empty() {
            let id = block.u8()?;
            if id != USER_PROPERTY {
                each(id, &mut block)?;
                continue;
            }
            if user.len() == REPEATED_PROPERTIES_MAX {
                return Err(DecodeError::TooManyProperties);
            }
            user.push((block.text()?, block.text()?));
        }
        Ok(())
    }
}

/// The error for a property that its packet must not have.
pub(super) const fn not_allowed(_id: u8) -> Result<(), DecodeError> {
    Err(DecodeError::Malformed("a property that this packet does not have"))
}

/// Stores a property that may come only once.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::Protocol("a property comes twice")),
    }
}
