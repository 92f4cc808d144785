//! What a client can do wrong.

use thiserror::Error;

use crate::{QoS, ReasonCode, TopicError};

/// Why bytes are not an acceptable packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes break the format.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The packet is well formed, but its content contradicts itself.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A CONNECT of a protocol level that is not spoken here; MQTT 3.1 is level 3.
    #[error("protocol level {0} is not supported")]
    UnsupportedVersion(u8),
    /// The packet is larger than the limit; found out before it is read.
    #[error("packet of {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Its whole length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// More user properties, or subscription ids, than [`crate::codec::REPEATED_PROPERTIES_MAX`].
    #[error("more than {} properties of one kind", crate::codec::REPEATED_PROPERTIES_MAX)]
    TooManyProperties,
}

impl DecodeError {
    /// The code that an MQTT 5 client is told.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Malformed(_) => ReasonCode::MALFORMED_PACKET,
            Self::Protocol(_) => ReasonCode::PROTOCOL_ERROR,
            Self::UnsupportedVersion(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::TooManyProperties => ReasonCode::QUOTA_EXCEEDED,
        }
    }
}

/// A packet that ends the connection: what a well-behaved client does not send.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The bytes are no acceptable packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The packet must not come now, or not from a client.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The topic alias is zero or above the agreed maximum.
    #[error("topic alias {alias} is outside 1 to {max}")]
    TopicAlias {
        /// The alias used.
        alias: u16,
        /// The maximum agreed.
        max: u16,
    },
    /// The topic name is not acceptable, and the packet cannot say so otherwise.
    #[error("topic name: {0}")]
    TopicName(#[source] TopicError),
    /// More QoS 2 publishes than agreed wait for their release.
    #[error("more than {max} unacknowledged publishes")]
    ReceiveMaximum {
        /// The number agreed.
        max: u16,
    },
    /// The QoS is above what is spoken here.
    #[error("QoS above {}", max.as_u8())]
    Qos {
        /// The highest there is.
        max: QoS,
    },
    /// The payload is larger than the limit.
    #[error("payload of {bytes} bytes; at most {max} are allowed")]
    PayloadTooLarge {
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// Nothing was heard for one and a half keep-alive periods.
    #[error("nothing heard for {silent_ms} ms")]
    KeepAlive {
        /// How long, in milliseconds.
        silent_ms: i64,
    },
}

impl ProtocolError {
    /// The code that an MQTT 5 client is told.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Decode(error) => error.reason(),
            Self::Protocol(_) => ReasonCode::PROTOCOL_ERROR,
            Self::TopicAlias { .. } => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::TopicName(_) => ReasonCode::TOPIC_NAME_INVALID,
            Self::ReceiveMaximum { .. } => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::Qos { .. } => ReasonCode::QOS_NOT_SUPPORTED,
            Self::PayloadTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::KeepAlive { .. } => ReasonCode::KEEP_ALIVE_TIMEOUT,
        }
    }
}
