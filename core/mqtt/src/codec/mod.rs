//! Bytes to packets and back.
//!
//! [`frame`] finds where a packet ends, [`decode`] reads one, [`encode`] appends one. A PUBLISH has a
//! path of its own, [`PublishRef`] and [`encode_publish`], that borrows and copies nothing twice.
//!
//! The decoder checks everything that the format says about a single packet, reserved bits and
//! packet ids of zero too; what depends on the state of the session is [`crate::session`]'s.

mod ack;
mod connect;
mod kept;
mod property;
mod publish;
mod reader;
mod subscribe;
mod writer;

#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};

pub use kept::{decode_message, encode_message};
pub use publish::{PublishParts, PublishProperties, PublishRef, encode_publish};
pub use subscribe::{decode_options, encode_options};

use crate::packet::{Packet, Version};
use crate::{DecodeError, ReasonCode};

/// User properties, and subscription ids, in one packet: far more than anybody uses, far fewer than
/// would fit into a packet of the largest size to make the server allocate.
pub const REPEATED_PROPERTIES_MAX: usize = 128;

/// The types of packet, as the upper half of the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// See [`Packet::Connect`].
    Connect = 1,
    /// See [`Packet::ConnAck`].
    ConnAck = 2,
    /// See [`Packet::Publish`].
    Publish = 3,
    /// See [`Packet::PubAck`].
    PubAck = 4,
    /// See [`Packet::PubRec`].
    PubRec = 5,
    /// See [`Packet::PubRel`].
    PubRel = 6,
    /// See [`Packet::PubComp`].
    PubComp = 7,
    /// See [`Packet::Subscribe`].
    Subscribe = 8,
    /// See [`Packet::SubAck`].
    SubAck = 9,
    /// See [`Packet::Unsubscribe`].
    Unsubscribe = 10,
    /// See [`Packet::UnsubAck`].
    UnsubAck = 11,
    /// See [`Packet::PingReq`].
    PingReq = 12,
    /// See [`Packet::PingResp`].
    PingResp = 13,
    /// See [`Packet::Disconnect`].
    Disconnect = 14,
    /// See [`Packet::Auth`].
    Auth = 15,
}

impl PacketType {
    const ALL: [PacketType; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The first byte of a packet of this type, without the flags of PUBLISH.
    const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }

    /// The lower half of the first byte, which only PUBLISH uses for something.
    const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// A packet that is complete in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub packet_type: PacketType,
    /// The lower half of the first byte.
    pub flags: u8,
    /// Everything behind the remaining length.
    pub body: &'a [u8],
    /// Bytes from the first to the last of the packet.
    pub len: usize,
}

/// Finds the first packet of `buffer`; `None` where it is not complete.
///
/// # Errors
/// A packet of type 0, with reserved flags, with a remaining length of more than four bytes, or
/// longer than `packet_bytes_max`: found as soon as the header is there, before the rest is read.
pub fn frame(buffer: &[u8], packet_bytes_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, behind)) = buffer.split_first() else { return Ok(None) };
    let Some(&packet_type) =
        usize::from(first >> 4).checked_sub(1).and_then(|n| PacketType::ALL.get(n))
    else {
        // mqtt-3.1.1 table 2.1: 0 is forbidden.
        return Err(DecodeError::Malformed("packet type 0"));
    };
    let flags = first & 0x0F;
    if packet_type != PacketType::Publish && flags != packet_type.fixed_flags() {
        // mqtt-3.1.1 [MQTT-2.2.2-2], mqtt-5 [MQTT-2.1.3-1]
        return Err(DecodeError::Malformed("reserved flags of the fixed header are set"));
    }
    let Some((remaining, length_bytes)) = reader::variable_int(behind)? else { return Ok(None) };
    let len = 1 + length_bytes + remaining as usize;
    if len > packet_bytes_max {
        return Err(DecodeError::TooLarge { bytes: len, max: packet_bytes_max });
    }
    Ok(buffer.get(1 + length_bytes..len).map(|body| Frame { packet_type, flags, body, len }))
}

/// Reads one packet.
///
/// A CONNECT says its version itself; `version` is that of the connection for all others.
///
/// # Errors
/// [`DecodeError`] says what is wrong with it. Nothing is allocated that is not in the packet.
pub fn decode(frame: &Frame<'_>, version: Version) -> Result<Packet, DecodeError> {
    let body = frame.body;
    let no_body = |packet| match body {
        [] => Ok(packet),
        _ => Err(DecodeError::Malformed("a packet without content has content")),
    };
    match frame.packet_type {
        PacketType::Connect => connect::decode_connect(body).map(Box::new).map(Packet::Connect),
        PacketType::ConnAck => {
            connect::decode_connack(body, version).map(Box::new).map(Packet::ConnAck)
        }
        PacketType::Publish => {
            PublishRef::decode(frame, version)?.into_publish().map(Box::new).map(Packet::Publish)
        }
        PacketType::PubAck => ack::decode_ack(body, version).map(Packet::PubAck),
        PacketType::PubRec => ack::decode_ack(body, version).map(Packet::PubRec),
        PacketType::PubRel => ack::decode_ack(body, version).map(Packet::PubRel),
        PacketType::PubComp => ack::decode_ack(body, version).map(Packet::PubComp),
        PacketType::Subscribe => {
            subscribe::decode_subscribe(body, version).map(Box::new).map(Packet::Subscribe)
        }
        PacketType::SubAck => subscribe::decode_suback(body, version).map(Packet::SubAck),
        PacketType::Unsubscribe => {
            subscribe::decode_unsubscribe(body, version).map(Box::new).map(Packet::Unsubscribe)
        }
        PacketType::UnsubAck => subscribe::decode_unsuback(body, version).map(Packet::UnsubAck),
        PacketType::PingReq => no_body(Packet::PingReq),
        PacketType::PingResp => no_body(Packet::PingResp),
        PacketType::Disconnect => ack::decode_disconnect(body, version).map(Packet::Disconnect),
        PacketType::Auth => ack::decode_auth(body, version).map(Box::new).map(Packet::Auth),
    }
}

/// Appends one packet. What `version` cannot say is left out.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) {
    match packet {
        Packet::Connect(connect) => {
            framed(PacketType::Connect, out, |body| connect::encode_connect(connect, body));
        }
        Packet::ConnAck(connack) => {
            framed(PacketType::ConnAck, out, |body| {
                connect::encode_connack(connack, version, body)
            });
        }
        Packet::Publish(publish) => encode_publish(&publish.parts(), version, out),
        Packet::PubAck(ack) => ack::encode_ack(PacketType::PubAck, ack, version, out),
        Packet::PubRec(ack) => ack::encode_ack(PacketType::PubRec, ack, version, out),
        Packet::PubRel(ack) => ack::encode_ack(PacketType::PubRel, ack, version, out),
        Packet::PubComp(ack) => ack::encode_ack(PacketType::PubComp, ack, version, out),
        Packet::Subscribe(subscribe) => framed(PacketType::Subscribe, out, |body| {
            subscribe::encode_subscribe(subscribe, version, body);
        }),
        Packet::SubAck(codes) => framed(PacketType::SubAck, out, |body| {
            subscribe::encode_codes(codes, version, true, body);
        }),
        Packet::Unsubscribe(unsubscribe) => framed(PacketType::Unsubscribe, out, |body| {
            subscribe::encode_unsubscribe(unsubscribe, version, body);
        }),
        Packet::UnsubAck(codes) => framed(PacketType::UnsubAck, out, |body| {
            subscribe::encode_codes(codes, version, version == Version::V5, body);
        }),
        Packet::PingReq => out.put_slice(&[PacketType::PingReq.first_byte(), 0]),
        Packet::PingResp => out.put_slice(&[PacketType::PingResp.first_byte(), 0]),
        Packet::Disconnect(disconnect) => framed(PacketType::Disconnect, out, |body| {
            ack::encode_disconnect(disconnect, version, body);
        }),
        Packet::Auth(auth) => framed(PacketType::Auth, out, |body| ack::encode_auth(auth, body)),
    }
}

/// Appends the fixed header and what `write` writes.
fn framed(packet_type: PacketType, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let mut body = BytesMut::new();
    write(&mut body);
    out.put_u8(packet_type.first_byte());
    writer::put_variable_int(out, body.len());
    out.put_slice(&body);
}

/// Whether a reason code is worth a byte: MQTT 5 leaves success out where nothing follows.
fn says_nothing(reason: ReasonCode, properties_are_empty: bool) -> bool {
    reason == ReasonCode::SUCCESS && properties_are_empty
}
