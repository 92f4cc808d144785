//! PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH: a reason code and perhaps words.

use bytes::{BufMut, BytesMut};

use super::property as id;
use super::reader::{Reader, not_allowed, once};
use super::writer::{Properties, put_variable_int};
use super::{PacketType, says_nothing};
use crate::packet::{Ack, Auth, Disconnect, ReasonProperties, Version};
use crate::{DecodeError, ReasonCode};

pub(super) fn decode_ack(body: &[u8], version: Version) -> Result<Ack, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut ack = Ack::new(packet_id, ReasonCode::SUCCESS);
    if version == Version::V5 && !reader.is_empty() {
        ack.reason = ReasonCode(reader.u8()?);
        if !reader.is_empty() {
            ack.properties = decode_reason_properties(&mut reader)?;
        }
    }
    reader.finish()?;
    Ok(ack)
}

/// Reads a block that has nothing but a reason string and user properties.
pub(super) fn decode_reason_properties(
    reader: &mut Reader<'_>,
) -> Result<Option<Box<ReasonProperties>>, DecodeError> {
    let ReasonProperties { mut reason_string, mut user } = ReasonProperties::default();
    reader.properties(&mut user, |property, value| match property {
        id::REASON_STRING => once(&mut reason_string, value.text()?),
        other => not_allowed(other),
    })?;
    let is_empty = reason_string.is_none() && user.is_empty();
    Ok((!is_empty).then(|| Box::new(ReasonProperties { reason_string, user })))
}

pub(super) fn encode_ack(packet_type: PacketType, ack: &Ack, version: Version, out: &mut BytesMut) {
    out.put_u8(packet_type.first_byte());
    let mut properties = Properties::default();
    if let Some(words) = &ack.properties {
        put_reason_properties(&mut properties, words);
    }
    if version == Version::V311 || says_nothing(ack.reason, properties.is_empty()) {
        out.put_u8(2);
        out.put_u16(ack.packet_id.get());
    } else if properties.is_empty() {
        out.put_u8(3);
        out.put_u16(ack.packet_id.get());
        out.put_u8(ack.reason.0);
    } else {
        put_variable_int(out, 3 + properties.len());
        out.put_u16(ack.packet_id.get());
        out.put_u8(ack.reason.0);
        properties.put(out);
    }
}

pub(super) fn put_reason_properties(properties: &mut Properties, words: &ReasonProperties) {
    properties.text(id::REASON_STRING, words.reason_string.as_ref()).user(&words.user);
}

pub(super) fn decode_disconnect(body: &[u8], version: Version) -> Result<Disconnect, DecodeError> {
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect::default();
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.u8()?);
        if !reader.is_empty() {
            let Disconnect { session_expiry_s, server_reference, properties, .. } = &mut disconnect;
            let ReasonProperties { reason_string, user } = properties;
            reader.properties(user, |property, value| match property {
                id::SESSION_EXPIRY_INTERVAL => once(session_expiry_s, value.u32()?),
                id::SERVER_REFERENCE => once(server_reference, value.text()?),
                id::REASON_STRING => once(reason_string, value.text()?),
                other => not_allowed(other),
            })?;
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

pub(super) fn encode_disconnect(disconnect: &Disconnect, version: Version, body: &mut BytesMut) {
    if version == Version::V311 {
        return;
    }
    let mut properties = Properties::default();
    properties
        .u32(id::SESSION_EXPIRY_INTERVAL, disconnect.session_expiry_s)
        .text(id::SERVER_REFERENCE, disconnect.server_reference.as_ref());
    put_reason_properties(&mut properties, &disconnect.properties);
    put_reason(disconnect.reason, &properties, body);
}

/// Appends a reason code and properties, or nothing where both say nothing.
///
/// The standard lets the length of empty properties be left out; there are clients that take such
/// a packet for an incomplete one (rumqttc 0.25), so it is always written.
fn put_reason(reason: ReasonCode, properties: &Properties, body: &mut BytesMut) {
    if says_nothing(reason, properties.is_empty()) {
        return;
    }
    body.put_u8(reason.0);
    properties.put(body);
}

pub(super) fn decode_auth(body: &[u8], version: Version) -> Result<Auth, DecodeError> {
    if version == Version::V311 {
        return Err(DecodeError::Malformed("packet type 15"));
    }
    let mut reader = Reader::new(body);
    let mut auth = Auth::default();
    if !reader.is_empty() {
        auth.reason = ReasonCode(reader.u8()?);
        if !reader.is_empty() {
            let Auth { authentication_method, authentication_data, properties, .. } = &mut auth;
            let ReasonProperties { reason_string, user } = properties;
            reader.properties(user, |property, value| match property {
                id::AUTHENTICATION_METHOD => once(authentication_method, value.text()?),
                id::AUTHENTICATION_DATA => once(authentication_data, value.binary()?),
                id::REASON_STRING => once(reason_string, value.text()?),
                other => not_allowed(other),
            })?;
        }
    }
    reader.finish()?;
    Ok(auth)
}

pub(super) fn encode_auth(auth: &Auth, body: &mut BytesMut) {
    let mut properties = Properties::default();
    properties
        .text(id::AUTHENTICATION_METHOD, auth.authentication_method.as_ref())
        .binary(id::AUTHENTICATION_DATA, auth.authentication_data.as_ref());
    put_reason_properties(&mut properties, &auth.properties);
    put_reason(auth.reason, &properties, body);
}
