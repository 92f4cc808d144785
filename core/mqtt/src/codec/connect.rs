//! CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};

use super::property as id;
use super::reader::{Reader, not_allowed, once};
use super::writer::{Properties, put_binary};
use crate::packet::{
    ConnAck, ConnAckProperties, Connect, ConnectProperties, MessageProperties, Version, Will,
};
use crate::{DecodeError, QoS, ReasonCode};

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

pub(super) fn decode_connect(body: &[u8]) -> Result<Connect, DecodeError> {
    let mut reader = Reader::new(body);
    let version = decode_version(&mut reader)?;
    let flags = reader.u8()?;
    if flags & 1 != 0 {
        // mqtt-3.1.1 [MQTT-3.1.2-3], mqtt-5 [MQTT-3.1.2-3]
        return Err(DecodeError::Malformed("the reserved connect flag is set"));
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        // mqtt-3.1.1 [MQTT-3.1.2-22]; MQTT 5 allows it.
        return Err(DecodeError::Malformed("a password without a user name"));
    }
    let keep_alive_s = reader.u16()?;
    let properties = match version {
        Version::V311 => ConnectProperties::default(),
        Version::V5 => decode_connect_properties(&mut reader)?,
    };
    let client_id = reader.text()?;
    let will = decode_will(&mut reader, flags, version)?;
    let username = (flags & USERNAME != 0).then(|| reader.text()).transpose()?;
    let password = (flags & PASSWORD != 0).then(|| reader.binary()).transpose()?;
    reader.finish()?;
    let clean_start = flags & CLEAN_START != 0;
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s,
        client_id,
        username,
        password,
        will,
        properties,
    })
}

fn decode_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    match (reader.slice()?, reader.u8()?) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        // mqtt-3.1.1 [MQTT-3.1.2-2], mqtt-5 [MQTT-3.1.2-2]. MQTT 3.1 calls itself otherwise.
        (b"MQTT", level) | (b"MQIsdp", level) => Err(DecodeError::UnsupportedVersion(level)),
        // mqtt-3.1.1 [MQTT-3.1.2-1], mqtt-5 [MQTT-3.1.2-1]
        _ => Err(DecodeError::Malformed("the protocol is not called MQTT")),
    }
}

/// A property that must not be zero.
fn non_zero<T>(value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Protocol("a maximum of 0"))
}

fn decode_connect_properties(reader: &mut Reader<'_>) -> Result<ConnectProperties, DecodeError> {
    let mut properties = ConnectProperties::default();
    let p = &mut properties;
    reader.properties(&mut p.user, |property, value| match property {
        id::SESSION_EXPIRY_INTERVAL => once(&mut p.session_expiry_s, value.u32()?),
        id::RECEIVE_MAXIMUM => once(&mut p.receive_max, non_zero(NonZeroU16::new(value.u16()?))?),
        id::MAXIMUM_PACKET_SIZE => {
            once(&mut p.packet_bytes_max, non_zero(NonZeroU32::new(value.u32()?))?)
        }
        id::TOPIC_ALIAS_MAXIMUM => once(&mut p.topic_alias_max, value.u16()?),
        id::REQUEST_RESPONSE_INFORMATION => {
            once(&mut p.request_response_information, value.flag()?)
        }
        id::REQUEST_PROBLEM_INFORMATION => once(&mut p.request_problem_information, value.flag()?),
        id::AUTHENTICATION_METHOD => once(&mut p.authentication_method, value.text()?),
        id::AUTHENTICATION_DATA => once(&mut p.authentication_data, value.binary()?),
        other => not_allowed(other),
    })?;
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        // mqtt-5 section 3.1.2.11.10
        return Err(DecodeError::Protocol("authentication data without a method"));
    }
    Ok(properties)
}

fn decode_will(
    reader: &mut Reader<'_>,
    flags: u8,
    version: Version,
) -> Result<Option<Will>, DecodeError> {
    let qos = flags >> 3 & 0b11;
    let retain = flags & WILL_RETAIN != 0;
    if flags & WILL == 0 {
        if qos != 0 || retain {
            // mqtt-3.1.1 [MQTT-3.1.2-13] [MQTT-3.1.2-15], mqtt-5 [MQTT-3.1.2-11] [MQTT-3.1.2-13]
            return Err(DecodeError::Malformed("will flags without a will"));
        }
        return Ok(None);
    }
    // mqtt-3.1.1 [MQTT-3.1.2-14], mqtt-5 [MQTT-3.1.2-12]
    let qos = QoS::from_u8(qos).ok_or(DecodeError::Malformed("QoS 3"))?;
    let mut delay_s = None;
    let mut properties = MessageProperties::default();
    if version == Version::V5 {
        let p = &mut properties;
        reader.properties(&mut p.user, |property, value| match property {
            id::WILL_DELAY_INTERVAL => once(&mut delay_s, value.u32()?),
            id::PAYLOAD_FORMAT_INDICATOR => once(&mut p.payload_is_utf8, value.flag()?),
            id::MESSAGE_EXPIRY_INTERVAL => once(&mut p.expiry_s, value.u32()?),
            id::CONTENT_TYPE => once(&mut p.content_type, value.text()?),
            id::RESPONSE_TOPIC => once(&mut p.response_topic, value.text()?),
            id::CORRELATION_DATA => once(&mut p.correlation_data, value.binary()?),
            other => not_allowed(other),
        })?;
    }
    let (topic, payload) = (reader.text()?, reader.binary()?);
    Ok(Some(Will { topic, payload, qos, retain, delay_s, properties }))
}

pub(super) fn encode_connect(connect: &Connect, body: &mut BytesMut) {
    put_binary(body, b"MQTT");
    let is_v5 = connect.version == Version::V5;
    body.put_u8(if is_v5 { 5 } else { 4 });
    let will_flags = connect
        .will
        .as_ref()
        .map_or(0, |will| WILL | will.qos.as_u8() << 3 | if will.retain { WILL_RETAIN } else { 0 });
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    body.put_u8(
        flag(connect.clean_start, CLEAN_START)
            | will_flags
            | flag(connect.password.is_some(), PASSWORD)
            | flag(connect.username.is_some(), USERNAME),
    );
    body.put_u16(connect.keep_alive_s);
    if is_v5 {
        let p = &connect.properties;
        let mut properties = Properties::default();
        properties
            .u32(id::SESSION_EXPIRY_INTERVAL, p.session_expiry_s)
            .u16(id::RECEIVE_MAXIMUM, p.receive_max.map(NonZeroU16::get))
            .u32(id::MAXIMUM_PACKET_SIZE, p.packet_bytes_max.map(NonZeroU32::get))
            .u16(id::TOPIC_ALIAS_MAXIMUM, p.topic_alias_max)
            .flag(id::REQUEST_RESPONSE_INFORMATION, p.request_response_information)
            .flag(id::REQUEST_PROBLEM_INFORMATION, p.request_problem_information)
            .text(id::AUTHENTICATION_METHOD, p.authentication_method.as_ref())
            .binary(id::AUTHENTICATION_DATA, p.authentication_data.as_ref())
            .user(&p.user)
            .put(body);
    }
    put_binary(body, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        if is_v5 {
            let p = &will.properties;
            let mut properties = Properties::default();
            properties
                .u32(id::WILL_DELAY_INTERVAL, will.delay_s)
                .flag(id::PAYLOAD_FORMAT_INDICATOR, p.payload_is_utf8)
                .u32(id::MESSAGE_EXPIRY_INTERVAL, p.expiry_s)
                .text(id::CONTENT_TYPE, p.content_type.as_ref())
                .text(id::RESPONSE_TOPIC, p.response_topic.as_ref())
                .binary(id::CORRELATION_DATA, p.correlation_data.as_ref())
                .user(&p.user)
                .put(body);
        }
        put_binary(body, will.topic.as_bytes());
        put_binary(body, &will.payload);
    }
    if let Some(username) = &connect.username {
        put_binary(body, username.as_bytes());
    }
    if let Some(password) = &connect.password {
        put_binary(body, password);
    }
}

pub(super) fn decode_connack(body: &[u8], version: Version) -> Result<ConnAck, DecodeError> {
    let mut reader = Reader::new(body);
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Malformed("reserved connect acknowledge flags are set")),
    };
    let code = ReasonCode(reader.u8()?);
    let properties = match version {
        Version::V311 => ConnAckProperties::default(),
        Version::V5 => decode_connack_properties(&mut reader)?,
    };
    reader.finish()?;
    Ok(ConnAck { session_present, code, properties })
}

fn decode_connack_properties(reader: &mut Reader<'_>) -> Result<ConnAckProperties, DecodeError> {
    let mut properties = ConnAckProperties::default();
    let p = &mut properties;
    reader.properties(&mut p.user, |property, value| match property {
        id::SESSION_EXPIRY_INTERVAL => once(&mut p.session_expiry_s, value.u32()?),
        id::RECEIVE_MAXIMUM => once(&mut p.receive_max, non_zero(NonZeroU16::new(value.u16()?))?),
        id::MAXIMUM_QOS => once(&mut p.qos_max, u8::from(value.flag()?)),
        id::RETAIN_AVAILABLE => once(&mut p.retain_available, value.flag()?),
        id::MAXIMUM_PACKET_SIZE => {
            once(&mut p.packet_bytes_max, non_zero(NonZeroU32::new(value.u32()?))?)
        }
        id::ASSIGNED_CLIENT_IDENTIFIER => once(&mut p.assigned_client_id, value.text()?),
        id::TOPIC_ALIAS_MAXIMUM => once(&mut p.topic_alias_max, value.u16()?),
        id::REASON_STRING => once(&mut p.reason_string, value.text()?),
        id::WILDCARD_SUBSCRIPTION_AVAILABLE => once(&mut p.wildcards_available, value.flag()?),
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
            once(&mut p.subscription_ids_available, value.flag()?)
        }
        id::SHARED_SUBSCRIPTION_AVAILABLE => once(&mut p.shared_available, value.flag()?),
        id::SERVER_KEEP_ALIVE => once(&mut p.server_keep_alive_s, value.u16()?),
        id::RESPONSE_INFORMATION => once(&mut p.response_information, value.text()?),
        id::SERVER_REFERENCE => once(&mut p.server_reference, value.text()?),
        id::AUTHENTICATION_METHOD => once(&mut p.authentication_method, value.text()?),
        id::AUTHENTICATION_DATA => once(&mut p.authentication_data, value.binary()?),
        other => not_allowed(other),
    })?;
    Ok(properties)
}

pub(super) fn encode_connack(connack: &ConnAck, version: Version, body: &mut BytesMut) {
    body.put_slice(&[u8::from(connack.session_present), connack.code.0]);
    if version == Version::V311 {
        return;
    }
    let p = &connack.properties;
    let mut properties = Properties::default();
    properties
        .u32(id::SESSION_EXPIRY_INTERVAL, p.session_expiry_s)
        .u16(id::RECEIVE_MAXIMUM, p.receive_max.map(NonZeroU16::get))
        .u8(id::MAXIMUM_QOS, p.qos_max)
        .flag(id::RETAIN_AVAILABLE, p.retain_available)
        .u32(id::MAXIMUM_PACKET_SIZE, p.packet_bytes_max.map(NonZeroU32::get))
        .text(id::ASSIGNED_CLIENT_IDENTIFIER, p.assigned_client_id.as_ref())
        .u16(id::TOPIC_ALIAS_MAXIMUM, p.topic_alias_max)
        .text(id::REASON_STRING, p.reason_string.as_ref())
        .flag(id::WILDCARD_SUBSCRIPTION_AVAILABLE, p.wildcards_available)
        .flag(id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, p.subscription_ids_available)
        .flag(id::SHARED_SUBSCRIPTION_AVAILABLE, p.shared_available)
        .u16(id::SERVER_KEEP_ALIVE, p.server_keep_alive_s)
        .text(id::RESPONSE_INFORMATION, p.response_information.as_ref())
        .text(id::SERVER_REFERENCE, p.server_reference.as_ref())
        .text(id::AUTHENTICATION_METHOD, p.authentication_method.as_ref())
        .binary(id::AUTHENTICATION_DATA, p.authentication_data.as_ref())
        .user(&p.user)
        .put(body);
}
