//! The packets of MQTT 3.1.1 and 5: one type each, what only version 5 has is optional.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::{QoS, ReasonCode, Text};

/// Pairs a request with its acknowledgement; never zero.
///
/// Source: mqtt-3.1.1 [MQTT-2.3.1-1], mqtt-5 [MQTT-2.2.1-3].
pub type PacketId = NonZeroU16;

/// Name and value, both chosen by the sender, in the sender's order.
pub type UserProperties = Vec<(Text, Text)>;

/// The protocol versions spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5, protocol level 5.
    V5,
}

/// A control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A client wants in.
    Connect(Box<Connect>),
    /// The server's answer to CONNECT.
    ConnAck(Box<ConnAck>),
    /// A message, either way.
    Publish(Box<Publish>),
    /// Answers a PUBLISH of QoS 1.
    PubAck(Ack),
    /// Answers a PUBLISH of QoS 2.
    PubRec(Ack),
    /// Answers a PUBREC.
    PubRel(Ack),
    /// Answers a PUBREL.
    PubComp(Ack),
    /// A client wants messages.
    Subscribe(Box<Subscribe>),
    /// Answers a SUBSCRIBE.
    SubAck(Codes),
    /// A client wants them no longer.
    Unsubscribe(Box<Unsubscribe>),
    /// Answers an UNSUBSCRIBE. In MQTT 3.1.1 it carries no codes.
    UnsubAck(Codes),
    /// A client says that it lives.
    PingReq,
    /// Answers a PINGREQ.
    PingResp,
    /// Ends the connection; the server sends it in MQTT 5 only.
    Disconnect(Disconnect),
    /// Extended authentication, MQTT 5 only.
    Auth(Box<Auth>),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Which protocol the connection speaks from here on.
    pub version: Version,
    /// Begin with no session: "clean session" in MQTT 3.1.1.
    pub clean_start: bool,
    /// Seconds; 0 means none.
    pub keep_alive_s: u16,
    /// May be empty: the server makes one.
    pub client_id: Text,
    /// Carries software versions with some clients, never an identity here.
    pub username: Option<Text>,
    /// Never used here.
    pub password: Option<Bytes>,
    /// What is published for the client when it goes without goodbye.
    pub will: Option<Will>,
    /// What only MQTT 5 says.
    pub properties: ConnectProperties,
}

/// What only MQTT 5's CONNECT says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds that the session outlives the connection; `u32::MAX` is for ever.
    pub session_expiry_s: Option<u32>,
    /// Unacknowledged publishes that the client takes at a time.
    pub receive_max: Option<NonZeroU16>,
    /// Largest packet that the client takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// Topic aliases that the client takes.
    pub topic_alias_max: Option<u16>,
    /// Whether the client wants response information.
    pub request_response_information: Option<bool>,
    /// Whether the client wants reason strings.
    pub request_problem_information: Option<bool>,
    /// Extended authentication.
    pub authentication_method: Option<Text>,
    /// Extended authentication.
    pub authentication_data: Option<Bytes>,
    /// The sender's own.
    pub user: UserProperties,
}

/// A message left with the server for the case that the client goes without goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: Text,
    /// What.
    pub payload: Bytes,
    /// How surely.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// Seconds to wait before it is sent (MQTT 5).
    pub delay_s: Option<u32>,
    /// What only MQTT 5 says of the message.
    pub properties: MessageProperties,
}

/// What only MQTT 5 says of a message, and what travels with it to its receivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    /// Whether the payload is said to be UTF-8.
    pub payload_is_utf8: Option<bool>,
    /// Seconds after which the message is worthless.
    pub expiry_s: Option<u32>,
    /// A MIME type or the like.
    pub content_type: Option<Text>,
    /// Where an answer is wanted.
    pub response_topic: Option<Text>,
    /// Pairs an answer with its request.
    pub correlation_data: Option<Bytes>,
    /// The sender's own.
    pub user: UserProperties,
}

impl MessageProperties {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes of memory to reckon with, for bounds.
    pub fn cost_bytes(&self) -> usize {
        let text = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        let user = self.user.iter().map(|(name, value)| name.len() + value.len() + 64);
        text(&self.content_type)
            + text(&self.response_topic)
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + user.sum::<usize>()
    }
}

/// CONNACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether a session of before goes on.
    pub session_present: bool,
    /// MQTT 5's reason code; in MQTT 3.1.1 the return code 0 to 5 itself.
    pub code: ReasonCode,
    /// What only MQTT 5 says.
    pub properties: ConnAckProperties,
}

/// What only MQTT 5's CONNACK says: what the server grants where it differs from what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Seconds that the session outlives the connection.
    pub session_expiry_s: Option<u32>,
    /// Unacknowledged publishes that the server takes at a time.
    pub receive_max: Option<NonZeroU16>,
    /// 0 or 1, where QoS 2 is not taken.
    pub qos_max: Option<u8>,
    /// Whether retained messages are kept.
    pub retain_available: Option<bool>,
    /// Largest packet that the server takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The client id, where the client left it to the server.
    pub assigned_client_id: Option<Text>,
    /// Topic aliases that the server takes.
    pub topic_alias_max: Option<u16>,
    /// For people.
    pub reason_string: Option<Text>,
    /// Whether filters may have wildcards.
    pub wildcards_available: Option<bool>,
    /// Whether subscriptions may have ids.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions may be shared.
    pub shared_available: Option<bool>,
    /// Seconds of keep-alive, in place of those asked for.
    pub server_keep_alive_s: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<Text>,
    /// Another server to use.
    pub server_reference: Option<Text>,
    /// Extended authentication.
    pub authentication_method: Option<Text>,
    /// Extended authentication.
    pub authentication_data: Option<Bytes>,
    /// The sender's own.
    pub user: UserProperties,
}

/// PUBLISH, as it is on the wire. The broker's own path uses [`crate::codec::PublishRef`], which
/// borrows, and [`crate::Delivery`], which shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Whether it was sent before.
    pub dup: bool,
    /// How surely, and the packet id where there is one.
    pub qos: QoS,
    /// To the server: keep it. To a client: it was kept.
    pub retain: bool,
    /// Where to; empty where a topic alias says it.
    pub topic: Text,
    /// There exactly when the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// What.
    pub payload: Bytes,
    /// Stands for the topic (MQTT 5). Zero is decoded, so that its own reason code can be given.
    pub topic_alias: Option<u16>,
    /// Subscriptions that this is for (MQTT 5, to a client only).
    pub subscription_ids: Vec<u32>,
    /// What only MQTT 5 says of the message.
    pub properties: MessageProperties,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What is acknowledged.
    pub packet_id: PacketId,
    /// How it went (MQTT 5; always success in MQTT 3.1.1).
    pub reason: ReasonCode,
    /// What only MQTT 5 says, seldom there.
    pub properties: Option<Box<ReasonProperties>>,
}

impl Ack {
    /// An acknowledgement with nothing but its reason.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: None }
    }
}

/// Words that go with a reason code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonProperties {
    /// For people.
    pub reason_string: Option<Text>,
    /// The sender's own.
    pub user: UserProperties,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Returned in the SUBACK.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<(Text, SubscribeOptions)>,
    /// Goes with every message of these subscriptions (MQTT 5), 1 to 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
    /// The sender's own.
    pub user: UserProperties,
}

/// How one filter is subscribed to. In MQTT 3.1.1 there is only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// At most this QoS.
    pub qos: QoS,
    /// Not what the same client published.
    pub no_local: bool,
    /// Leave the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// Whether retained messages are wanted.
    pub retain_handling: RetainHandling,
}

/// When a subscription brings the retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// With every SUBSCRIBE.
    #[default]
    Always,
    /// When the subscription is new.
    WhenNew,
    /// Never.
    Never,
}

/// SUBACK and UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Which request is answered.
    pub packet_id: PacketId,
    /// One for each filter, in its order. SUBACK in MQTT 3.1.1: 0, 1, 2 or 0x80.
    pub codes: Vec<ReasonCode>,
    /// What only MQTT 5 says.
    pub properties: Option<Box<ReasonProperties>>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Returned in the UNSUBACK.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<Text>,
    /// The sender's own.
    pub user: UserProperties,
}

/// DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Why (MQTT 5; always success in MQTT 3.1.1).
    pub reason: ReasonCode,
    /// Seconds that the session outlives the connection, in place of what CONNECT said.
    pub session_expiry_s: Option<u32>,
    /// Another server to use.
    pub server_reference: Option<Text>,
    /// What only MQTT 5 says.
    pub properties: ReasonProperties,
}

/// AUTH, MQTT 5 only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Which step.
    pub reason: ReasonCode,
    /// Extended authentication.
    pub authentication_method: Option<Text>,
    /// Extended authentication.
    pub authentication_data: Option<Bytes>,
    /// What goes with every reason.
    pub properties: ReasonProperties,
}
