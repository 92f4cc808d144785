//! PUBLISH: the packet that nearly all traffic consists of, so it has a path of its own.

use bytes::{BufMut, Bytes, BytesMut};

use super::property as id;
use super::reader::{Reader, not_allowed, once};
use super::writer::{Properties, put_binary, put_variable_int};
use super::{Frame, PacketType};
use crate::packet::{MessageProperties, PacketId, Publish, Version};
use crate::{DecodeError, QoS, Text};

/// A PUBLISH that borrows from the buffer it was read into.
///
/// The topic is checked to be UTF-8 without U+0000 only by [`PublishRef::topic`]: who knows the
/// topic's bytes from before, as a cache does, need not check them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// Whether it was sent before.
    pub dup: bool,
    /// How surely.
    pub qos: QoS,
    /// Whether it is to be kept.
    pub retain: bool,
    /// Where to, not yet checked; empty where a topic alias says it.
    pub topic_bytes: &'a [u8],
    /// There exactly when the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// What.
    pub payload: &'a [u8],
    /// What only MQTT 5 says; `None` where it says nothing.
    pub properties: Option<Box<PublishProperties>>,
}

/// Properties of a PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Stands for the topic.
    pub topic_alias: Option<u16>,
    /// Subscriptions that this is for.
    pub subscription_ids: Vec<u32>,
    /// What travels with the message.
    pub message: MessageProperties,
}

impl<'a> PublishRef<'a> {
    /// Reads a frame of type PUBLISH.
    ///
    /// # Errors
    /// [`DecodeError`]; the topic's characters are looked at by [`PublishRef::topic`].
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        let dup = frame.flags & 0b1000 != 0;
        let retain = frame.flags & 1 != 0;
        // mqtt-3.1.1 [MQTT-3.3.1-4], mqtt-5 [MQTT-3.3.1-4]
        let qos = QoS::from_u8(frame.flags >> 1 & 0b11).ok_or(DecodeError::Malformed("QoS 3"))?;
        if dup && qos == QoS::AtMostOnce {
            // mqtt-3.1.1 [MQTT-3.3.1-2], mqtt-5 [MQTT-3.3.1-2]
            return Err(DecodeError::Malformed("DUP is set at QoS 0"));
        }
        let mut reader = Reader::new(frame.body);
        let topic_bytes = reader.slice()?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let properties = match version {
            Version::V311 => None,
            Version::V5 => decode_properties(&mut reader)?,
        };
        let has_alias = properties.as_ref().is_some_and(|given| given.topic_alias.is_some());
        if topic_bytes.is_empty() && !has_alias {
            // mqtt-3.1.1 [MQTT-4.7.3-1]; mqtt-5 section 3.3.2.1
            return Err(DecodeError::Protocol("neither a topic nor a topic alias"));
        }
        Ok(Self { dup, qos, retain, topic_bytes, packet_id, payload: reader.rest(), properties })
    }

    /// The topic.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] where it is not UTF-8 or contains U+0000.
    pub fn topic(&self) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.topic_bytes)
            .map_err(|_| DecodeError::Malformed("a string is not UTF-8"))?;
        if self.topic_bytes.contains(&0) {
            return Err(DecodeError::Malformed("a string contains U+0000"));
        }
        Ok(text)
    }

    /// A copy that owns what it holds.
    ///
    /// # Errors
    /// As [`PublishRef::topic`].
    pub fn into_publish(self) -> Result<Publish, DecodeError> {
        let topic =
            Text::new(self.topic()?).ok_or(DecodeError::Malformed("a string contains U+0000"))?;
        let properties = self.properties.map(|given| *given).unwrap_or_default();
        Ok(Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic,
            packet_id: self.packet_id,
            payload: Bytes::copy_from_slice(self.payload),
            topic_alias: properties.topic_alias,
            subscription_ids: properties.subscription_ids,
            properties: properties.message,
        })
    }
}

fn decode_properties(
    reader: &mut Reader<'_>,
) -> Result<Option<Box<PublishProperties>>, DecodeError> {
    if reader.rest().first() == Some(&0) {
        reader.u8()?;
        return Ok(None);
    }
    let mut properties = Box::<PublishProperties>::default();
    let PublishProperties { topic_alias, subscription_ids, message } = &mut *properties;
    let MessageProperties {
        payload_is_utf8,
        expiry_s,
        content_type,
        response_topic,
        correlation_data,
        user,
    } = message;
    reader.properties(user, |property, value| match property {
        id::TOPIC_ALIAS => once(topic_alias, value.u16()?),
        id::SUBSCRIPTION_IDENTIFIER => {
            if subscription_ids.len() == super::REPEATED_PROPERTIES_MAX {
                return Err(DecodeError::TooManyProperties);
            }
            match value.variable_int()? {
                0 => Err(DecodeError::Protocol("subscription identifier 0")),
                id => {
                    subscription_ids.push(id);
                    Ok(())
                }
            }
        }
        id::PAYLOAD_FORMAT_INDICATOR => once(payload_is_utf8, value.flag()?),
        id::MESSAGE_EXPIRY_INTERVAL => once(expiry_s, value.u32()?),
        id::CONTENT_TYPE => once(content_type, value.text()?),
        id::RESPONSE_TOPIC => once(response_topic, value.text()?),
        id::CORRELATION_DATA => once(correlation_data, value.binary()?),
        other => not_allowed(other),
    })?;
    Ok(Some(properties))
}

/// What a PUBLISH is written from, borrowed from wherever it lies.
#[derive(Clone, Copy, Debug)]
pub struct PublishParts<'a> {
    /// Whether it was sent before.
    pub dup: bool,
    /// How surely.
    pub qos: QoS,
    /// Whether it was kept.
    pub retain: bool,
    /// Where to; empty where the alias says it.
    pub topic: &'a str,
    /// There exactly when the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// What.
    pub payload: &'a [u8],
    /// Stands for the topic.
    pub topic_alias: Option<u16>,
    /// Subscriptions that this is for.
    pub subscription_ids: &'a [u32],
    /// What travels with the message.
    pub properties: Option<&'a MessageProperties>,
    /// In place of the properties' expiry: what is left of it.
    pub expiry_s: Option<u32>,
}

impl Publish {
    /// Borrows what is written.
    pub fn parts(&self) -> PublishParts<'_> {
        PublishParts {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: self.packet_id,
            payload: &self.payload,
            topic_alias: self.topic_alias,
            subscription_ids: &self.subscription_ids,
            properties: Some(&self.properties),
            expiry_s: self.properties.expiry_s,
        }
    }
}

impl PublishParts<'_> {
    fn properties(&self) -> Properties {
        let mut properties = Properties::default();
        properties
            .u16(id::TOPIC_ALIAS, self.topic_alias)
            .u32(id::MESSAGE_EXPIRY_INTERVAL, self.expiry_s);
        for &subscription_id in self.subscription_ids {
            properties.variable_int(id::SUBSCRIPTION_IDENTIFIER, subscription_id);
        }
        if let Some(message) = self.properties {
            properties
                .flag(id::PAYLOAD_FORMAT_INDICATOR, message.payload_is_utf8)
                .text(id::CONTENT_TYPE, message.content_type.as_ref())
                .text(id::RESPONSE_TOPIC, message.response_topic.as_ref())
                .binary(id::CORRELATION_DATA, message.correlation_data.as_ref())
                .user(&message.user);
        }
        properties
    }

    /// Bytes behind the remaining length.
    fn body_len(&self, properties: Option<&Properties>) -> usize {
        2 + self.topic.len()
            + self.packet_id.map_or(0, |_| 2)
            + properties.map_or(0, Properties::len)
            + self.payload.len()
    }

    /// Bytes that the whole packet takes.
    pub fn encoded_len(&self, version: Version) -> usize {
        let properties = (version == Version::V5).then(|| self.properties());
        let body_len = self.body_len(properties.as_ref());
        1 + super::writer::variable_int_len(body_len) + body_len
    }
}

/// Appends a PUBLISH.
pub fn encode_publish(parts: &PublishParts<'_>, version: Version, out: &mut BytesMut) {
    let properties = (version == Version::V5).then(|| parts.properties());
    let body_len = parts.body_len(properties.as_ref());
    out.reserve(5 + body_len);
    let flags = u8::from(parts.dup) << 3 | parts.qos.as_u8() << 1 | u8::from(parts.retain);
    out.put_u8((PacketType::Publish as u8) << 4 | flags);
    put_variable_int(out, body_len);
    put_binary(out, parts.topic.as_bytes());
    if let Some(packet_id) = parts.packet_id {
        out.put_u16(packet_id.get());
    }
    if let Some(properties) = properties {
        properties.put(out);
    }
    out.put_slice(parts.payload);
}
