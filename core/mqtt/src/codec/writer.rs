//! Writes the primitive types of MQTT.

use bytes::{BufMut, Bytes, BytesMut};

use super::property::USER_PROPERTY;
use crate::Text;

/// Appends a variable byte integer; values above 268,435,455 do not occur (limits are far below).
pub(super) fn put_variable_int(out: &mut BytesMut, value: usize) {
    let mut rest = value;
    loop {
        let low = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

/// Bytes that a variable byte integer takes.
pub(super) const fn variable_int_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends binary data with its length; what is beyond 65,535 bytes is cut off.
pub(super) fn put_binary(out: &mut BytesMut, data: &[u8]) {
    let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
    out.put_u16(len);
    out.put_slice(&data[..usize::from(len)]);
}

/// Collects the properties of one packet.
#[derive(Default)]
pub(super) struct Properties {
    block: BytesMut,
}

impl Properties {
    pub(super) fn flag(&mut self, id: u8, value: Option<bool>) -> &mut Self {
        self.u8(id, value.map(u8::from))
    }

    pub(super) fn u8(&mut self, id: u8, value: Option<u8>) -> &mut Self {
        if let Some(value) = value {
            self.block.put_slice(&[id, value]);
        }
        self
    }

    pub(super) fn u16(&mut self, id: u8, value: Option<u16>) -> &mut Self {
        if let Some(value) = value {
            self.block.put_u8(id);
            self.block.put_u16(value);
        }
        self
    }

    pub(super) fn u32(&mut self, id: u8, value: Option<u32>) -> &mut Self {
        if let Some(value) = value {
            self.block.put_u8(id);
            self.block.put_u32(value);
        }
        self
    }

    pub(super) fn variable_int(&mut self, id: u8, value: u32) -> &mut Self {
        self.block.put_u8(id);
        put_variable_int(&mut self.block, value as usize);
        self
    }

    pub(super) fn text(&mut self, id: u8, value: Option<&Text>) -> &mut Self {
        if let Some(value) = value {
            self.block.put_u8(id);
            put_binary(&mut self.block, value.as_bytes());
        }
        self
    }

    pub(super) fn binary(&mut self, id: u8, value: Option<&Bytes>) -> &mut Self {
        if let Some(value) = value {
            self.block.put_u8(id);
            put_binary(&mut self.block, value);
        }
        self
    }

    pub(super) fn user(&mut self, properties: &[(Text, Text)]) -> &mut Self {
        for (name, value) in properties {
            self.text(USER_PROPERTY, Some(name));
            put_binary(&mut self.block, value.as_bytes());
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Bytes of the block with its length in front.
    pub(super) fn len(&self) -> usize {
        variable_int_len(self.block.len()) + self.block.len()
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_variable_int(out, self.block.len());
        out.put_slice(&self.block);
    }
}
