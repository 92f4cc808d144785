//! MQTT 3.1.1 and 5 without a socket: packets, topics, and the session as a state machine.
//!
//! The cast: [`codec`] turns bytes into [`packet::Packet`]s and back, one packet type for both
//! versions with the [`Version`] as data. [`topic`] says what a topic name and a topic filter are,
//! [`trie`] finds the filters that match a name and the names that match a filter. [`session`] is
//! one client's MQTT state, which may outlive its connection: packet ids, messages in flight,
//! aliases, keep-alive, will. [`queue`] holds what waits for a client, bounded. [`http`] reads the
//! messages that come by HTTP instead.
//!
//! Architecture invariant: nothing here does IO, reads a clock or knows of policies. Whether a
//! client may do what it asks is the caller's to decide; the session acknowledges only after it did.

pub mod codec;
pub mod error;
pub mod http;
pub mod message;
pub mod packet;
pub mod qos;
pub mod queue;
pub mod reason;
pub mod session;
pub mod text;
pub mod topic;
pub mod trie;

pub use error::{DecodeError, ProtocolError};
pub use message::{Delivery, DeliveryNumber, Message, Shared};
pub use packet::{Packet, PacketId, Version};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use text::Text;
pub use topic::{TopicError, TopicFilter, TopicLimits, TopicName};
