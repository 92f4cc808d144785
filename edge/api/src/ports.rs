//! What the API needs from above.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use picket_model::{ClientId, DisconnectReason, ThingName, Timestamp};
use picket_mqtt::packet::MessageProperties;
use picket_mqtt::{QoS, TopicFilter};
use thiserror::Error;

/// Wall time, for what is stored and for how old a signature is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What comes later, from behind a port.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
    fn publish(&self, message: Message) -> Later<'_, Result<(), PublishError>>;
}

/// How a client stands. Source: aws iot-data GetConnection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Since when it is connected; none if it is not.
    pub connected_at: Option<Timestamp>,
    /// When it went and why, where that is known.
    pub disconnected: Option<(Timestamp, DisconnectReason)>,
    /// Whether its session outlives its connection.
    pub is_persistent: bool,
    /// What its connection was begun with, or its last one, where that is known.
    pub details: Option<ConnectionDetails>,
}

/// What a connection was begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDetails {
    /// The thing that it was counted for.
    pub thing: Option<ThingName>,
    /// Seconds that the session outlives the connection.
    pub session_expiry_s: u32,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it came to.
    pub target: Option<SocketAddr>,
}

/// Topic filters, with the group's name where they are shared, and the highest QoS of each.
pub type Subscriptions = Vec<(TopicFilter, QoS)>;

/// A connection does not answer; trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection is too busy to answer")]
pub struct Busy;

/// Why a message did not reach its client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// It cannot go to any client.
    #[error(transparent)]
    Message(#[from] PublishError),
    /// The client is not connected.
    #[error("the client is not connected")]
    NotConnected,
    /// The client may not receive it.
    #[error("the client's policies do not allow it to receive the topic")]
    Denied,
    /// The client takes nothing of that size.
    #[error("the client takes no message of that size")]
    Unfit,
    /// The client did not confirm it; it may arrive all the same.
    #[error("the client did not confirm the message in time")]
    Unconfirmed,
}

/// The broker's clients, one by one.
pub trait Connections: Send + Sync + 'static {
    /// How a client stands; none if nothing is known of it.
    fn find(&self, client: &ClientId) -> Option<Connection>;

    /// Makes a client go, with its session and without its will if that is asked for. False if it is
    /// neither connected nor has a session.
    fn end<'a>(
        &'a self,
        client: &'a ClientId,
        ends_session: bool,
        without_will: bool,
    ) -> Later<'a, bool>;

    /// What a client is subscribed to and at which QoS, ordered by filter; none if it has no session.
    fn subscriptions<'a>(
        &'a self,
        client: &'a ClientId,
    ) -> Later<'a, Result<Option<Subscriptions>, Busy>>;

    /// Sends a message to a client that is connected; at QoS 1 it has to confirm it in time.
    fn send<'a>(
        &'a self,
        client: &'a ClientId,
        message: Message,
        timeout: Duration,
    ) -> Later<'a, Result<(), SendError>>;
}

/// A retained message. Source: aws iot-data GetRetainedMessage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The message, its payload not empty.
    pub message: Arc<picket_mqtt::Message>,
    /// When it was set.
    pub at: Timestamp,
}

/// The broker's retained messages: those whose publishers still have the right to them.
pub trait RetainedMessages: Send + Sync + 'static {
    /// The one of a topic.
    fn get(&self, topic: &str) -> Option<RetainedMessage>;

    /// At most `max` of those behind a topic, ordered by the levels of their topics.
    fn after(&self, topic: Option<&str>, max: usize) -> Vec<RetainedMessage>;
}
