//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use std::num::NonZeroU32;

use bytes::{BufMut, BytesMut};

use super::ack::{decode_reason_properties, put_reason_properties};
use super::property as id;
use super::reader::{Reader, not_allowed, once};
use super::writer::{Properties, put_binary};
use crate::packet::{
    Codes, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, UserProperties, Version,
};
use crate::{DecodeError, QoS, ReasonCode};

pub(super) fn decode_subscribe(body: &[u8], version: Version) -> Result<Subscribe, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut user = UserProperties::new();
    let mut subscription_id = None;
    if version == Version::V5 {
        reader.properties(&mut user, |property, value| match property {
            id::SUBSCRIPTION_IDENTIFIER => {
                let id = NonZeroU32::new(value.variable_int()?)
                    .ok_or(DecodeError::Protocol("subscription identifier 0"))?;
                once(&mut subscription_id, id)
            }
            other => not_allowed(other),
        })?;
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push((reader.text()?, decode_options(reader.u8()?, version)?));
    }
    if filters.is_empty() {
        // mqtt-3.1.1 [MQTT-3.8.3-3], mqtt-5 [MQTT-3.8.3-2]
        return Err(DecodeError::Protocol("SUBSCRIBE without a filter"));
    }
    Ok(Subscribe { packet_id, filters, subscription_id, user })
}

/// Reads the options of a filter.
///
/// # Errors
/// [`DecodeError`] where bits are set that mean nothing.
pub fn decode_options(byte: u8, version: Version) -> Result<SubscribeOptions, DecodeError> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if byte & reserved != 0 {
        // mqtt-3.1.1 [MQTT-3-8.3-4], mqtt-5 [MQTT-3.8.3-5]
        return Err(DecodeError::Malformed("reserved bits of subscription options are set"));
    }
    let qos = QoS::from_u8(byte & 0b11).ok_or(DecodeError::Protocol("QoS 3"))?;
    let retain_handling = match byte >> 4 & 0b11 {
        0 => RetainHandling::Always,
        1 => RetainHandling::WhenNew,
        2 => RetainHandling::Never,
        _ => return Err(DecodeError::Protocol("retain handling 3")),
    };
    Ok(SubscribeOptions {
        qos,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

pub(super) fn encode_subscribe(subscribe: &Subscribe, version: Version, body: &mut BytesMut) {
    body.put_u16(subscribe.packet_id.get());
    if version == Version::V5 {
        let mut properties = Properties::default();
        if let Some(subscription_id) = subscribe.subscription_id {
            properties.variable_int(id::SUBSCRIPTION_IDENTIFIER, subscription_id.get());
        }
        properties.user(&subscribe.user).put(body);
    }
    for (filter, options) in &subscribe.filters {
        put_binary(body, filter.as_bytes());
        body.put_u8(encode_options(options, version));
    }
}

/// The options of a filter as a byte.
pub fn encode_options(options: &SubscribeOptions, version: Version) -> u8 {
    let retain_handling = match options.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::WhenNew => 1,
        RetainHandling::Never => 2,
    };
    let only_v5 = u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | retain_handling << 4;
    match version {
        Version::V311 => options.qos.as_u8(),
        Version::V5 => options.qos.as_u8() | only_v5,
    }
}

pub(super) fn decode_suback(body: &[u8], version: Version) -> Result<Codes, DecodeError> {
    let codes = decode_codes(body, version)?;
    if codes.codes.is_empty() {
        return Err(DecodeError::Protocol("SUBACK without a code"));
    }
    Ok(codes)
}

pub(super) fn decode_unsuback(body: &[u8], version: Version) -> Result<Codes, DecodeError> {
    let codes = decode_codes(body, version)?;
    match (version, codes.codes.is_empty()) {
        (Version::V311, true) | (Version::V5, false) => Ok(codes),
        (Version::V311, false) => Err(DecodeError::Malformed("UNSUBACK with content")),
        (Version::V5, true) => Err(DecodeError::Protocol("UNSUBACK without a code")),
    }
}

fn decode_codes(body: &[u8], version: Version) -> Result<Codes, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V311 => None,
        Version::V5 => decode_reason_properties(&mut reader)?,
    };
    let codes = reader.rest().iter().copied().map(ReasonCode).collect();
    Ok(Codes { packet_id, codes, properties })
}

pub(super) fn encode_codes(codes: &Codes, version: Version, with_codes: bool, body: &mut BytesMut) {
    body.put_u16(codes.packet_id.get());
    if version == Version::V5 {
        let mut properties = Properties::default();
        if let Some(words) = &codes.properties {
            put_reason_properties(&mut properties, words);
        }
        properties.put(body);
    }
    if with_codes {
        body.extend(codes.codes.iter().map(|code| code.0));
    }
}

pub(super) fn decode_unsubscribe(
    body: &[u8],
    version: Version,
) -> Result<Unsubscribe, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut user = UserProperties::new();
    if version == Version::V5 {
        reader.properties(&mut user, |property, _| not_allowed(property))?;
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        // mqtt-3.1.1 [MQTT-3.10.3-2], mqtt-5 [MQTT-3.10.3-2]
        return Err(DecodeError::Protocol("UNSUBSCRIBE without a filter"));
    }
    Ok(Unsubscribe { packet_id, filters, user })
}

pub(super) fn encode_unsubscribe(unsubscribe: &Unsubscribe, version: Version, body: &mut BytesMut) {
    body.put_u16(unsubscribe.packet_id.get());
    if version == Version::V5 {
        let mut properties = Properties::default();
        properties.user(&unsubscribe.user).put(body);
    }
    for filter in &unsubscribe.filters {
        put_binary(body, filter.as_bytes());
    }
}
