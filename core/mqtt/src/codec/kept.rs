//! A message as it is kept on disk: a PUBLISH of MQTT 5, which says all of it but when it expires.

use bytes::{Bytes, BytesMut};
use picket_model::Timestamp;

use super::{PacketType, PublishParts, PublishRef, encode_publish, frame};
use crate::packet::{PacketId, Version};
use crate::{DecodeError, Message, QoS, TopicLimits, TopicName};

/// Of a message that was let in once: what topics may be may have changed since.
const TOPICS: TopicLimits =
    TopicLimits { bytes_max: u16::MAX as usize, levels_max: u16::MAX as usize + 1 };

/// A message as bytes. When it expires is the caller's to keep.
pub fn encode_message(message: &Message) -> BytesMut {
    let parts = PublishParts {
        dup: false,
        qos: message.qos,
        retain: false,
        topic: message.topic.as_str(),
        // The format wants one.
        packet_id: (message.qos > QoS::AtMostOnce).then_some(PacketId::MIN),
        payload: &message.payload,
        topic_alias: None,
        subscription_ids: &[],
        properties: message.properties.as_deref(),
        expiry_s: None,
    };
    let mut bytes = BytesMut::new();
    encode_publish(&parts, Version::V5, &mut bytes);
    bytes
}

/// Reads a message that expires at a moment.
///
/// # Errors
/// [`DecodeError`] where the bytes are not those of one message.
pub fn decode_message(bytes: &[u8], expires_at: Option<Timestamp>) -> Result<Message, DecodeError> {
    let whole = frame(bytes, usize::MAX)?.filter(|frame| frame.len == bytes.len());
    let publish = match whole {
        Some(frame) if frame.packet_type == PacketType::Publish => {
            PublishRef::decode(&frame, Version::V5)?
        }
        _ => return Err(DecodeError::Malformed("not one PUBLISH")),
    };
    let topic = TopicName::parse(publish.topic()?, &TOPICS)
        .map_err(|_| DecodeError::Malformed("not a topic name"))?;
    let properties = publish.properties.map(|given| given.message);
    Ok(Message {
        topic,
        payload: Bytes::copy_from_slice(publish.payload),
        qos: publish.qos,
        properties: properties.filter(|given| !given.is_empty()).map(Box::new),
        expires_at,
    })
}
