//! A message on its way through the broker.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use picket_model::Timestamp;

use crate::packet::MessageProperties;
use crate::{QoS, TopicFilter, TopicName};

/// Bytes that a waiting message takes besides its payload, topic and properties.
const OVERHEAD_BYTES: usize = 128;

/// A message, shared by all who receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: TopicName,
    /// What. Owned by this message alone, so that no read buffer is kept alive by it.
    pub payload: Bytes,
    /// As it was published.
    pub qos: QoS,
    /// What MQTT 5 says of it; `None` where it says nothing.
    pub properties: Option<Box<MessageProperties>>,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
}

impl Message {
    /// Makes a message that was received at `now`: its expiry becomes a moment.
    pub fn received(
        topic: TopicName,
        payload: Bytes,
        qos: QoS,
        properties: Option<Box<MessageProperties>>,
        now: Timestamp,
    ) -> Self {
        let expiry_s = properties.as_ref().and_then(|given| given.expiry_s);
        let expires_at = expiry_s.map(|seconds| now + i64::from(seconds) * 1000);
        Self { topic, payload, qos, properties, expires_at }
    }

    /// Bytes of memory to reckon with, for bounds.
    pub fn cost_bytes(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, MessageProperties::cost_bytes);
        OVERHEAD_BYTES + self.payload.len() + self.topic.as_str().len() + properties
    }

    /// Whether it is worthless by now. Source: mqtt-5 [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of its expiry, in seconds, rounded up. Source: mqtt-5 [MQTT-3.3.2-6].
    pub fn expiry_left_s(&self, now: Timestamp) -> Option<u32> {
        let left_ms = self.expires_at?.millis_since(now).max(0);
        Some(u32::try_from((left_ms + 999) / 1000).unwrap_or(u32::MAX))
    }
}

/// Tells one delivery of a session that is remembered from all others of all sessions. Numbers grow
/// from the oldest delivery to the newest.
pub type DeliveryNumber = NonZeroU64;

/// A message for one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What.
    pub message: Arc<Message>,
    /// The smaller of the message's and the subscription's. Source: [MQTT-3.8.4-6], mqtt-5
    /// [MQTT-3.8.4-8].
    pub qos: QoS,
    /// The retain flag that the subscriber sees.
    pub retain: bool,
    /// Ids of the subscriptions that it is for.
    pub subscription_ids: Option<Arc<[u32]>>,
    /// Set where the subscriber is one of a group, any of which could get it.
    pub shared: Option<Arc<Shared>>,
    /// Set where it is remembered over the end of the server.
    pub number: Option<DeliveryNumber>,
}

/// What passing a message on to another member of its group needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The group's filter, its name included.
    pub filter: TopicFilter,
    /// The retain flag as published.
    pub retain: bool,
    /// The members that were found not to be allowed it, by whatever numbers the caller gives them.
    pub denied_to: Vec<u64>,
}
