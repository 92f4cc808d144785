//! What the API needs from above.

use std::future::Future;
use std::pin::Pin;

use axum::body::Bytes;
use picket_model::Timestamp;
use picket_mqtt::QoS;
use picket_mqtt::packet::MessageProperties;
use thiserror::Error;

/// Wall time, for what is stored and for how old a signature is.
pub type Clock = std::sync::Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A message that a caller of iot-data `Publish` sends to devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The MQTT topic; checked to be one that can be published to.
    pub topic: String,
    /// The payload, within the bound of the API.
    pub payload: Bytes,
    /// How surely it is delivered.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// What MQTT 5 says of it.
    pub properties: MessageProperties,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The message itself is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The payload is larger than the broker takes.
    #[error("the payload is {len} bytes long; at most {max} are allowed")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// The broker takes nothing at the moment; trying again can help.
    #[error("messages are not taken at the moment")]
    Unavailable,
}

/// The way into the broker.
pub trait Messages: Send + Sync + 'static {
    /// Hands a message to everyone who subscribed to its topic. No policy is asked: who may call
    /// the API may publish.
    fn publish(
        &self,
        message: Message,
    ) -> Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + '_>>;
}
