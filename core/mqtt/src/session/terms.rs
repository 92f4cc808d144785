//! What a CONNECT asks for and the server's limits, brought together.

use std::num::{NonZeroU16, NonZeroU32};

use picket_model::limits::MqttLimits;

use crate::QoS;
use crate::packet::{ConnAckProperties, Connect, Version};

/// Room in a packet besides the payload: topic, properties, lengths. MQTT 5 counts the whole packet,
/// our limit counts the payload.
pub const PACKET_OVERHEAD_BYTES: usize = 16 * 1024;

/// QoS 2 publishes of one MQTT 3.1.1 client that may wait for their release. That version has no
/// receive maximum, and clients such as MQTT.js send a whole backlog before they read an answer; an
/// id takes 2 bytes.
pub const UNRELEASED_MAX_V311: u16 = 4096;

/// The terms of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The protocol version.
    pub version: Version,
    /// Keep-alive in seconds, never 0.
    pub keep_alive_s: u16,
    /// Seconds that the session outlives the connection; 0 means not at all.
    pub session_expiry_s: u32,
    /// The longest that [`Terms::session_expiry_s`] can become with DISCONNECT.
    pub session_expiry_s_max: u32,
    /// Unacknowledged publishes towards the client.
    pub send_max: u16,
    /// Bytes of unacknowledged publishes towards the client, from which on no more are sent.
    pub unacknowledged_bytes_max: usize,
    /// Unreleased QoS 2 publishes from the client.
    pub receive_max: u16,
    /// Topic aliases that the client takes.
    pub send_aliases_max: u16,
    /// Topic aliases that the client may set up.
    pub receive_aliases_max: u16,
    /// Largest packet that the client takes, in bytes.
    pub send_bytes_max: u32,
    /// Publishes that the client may send in a second; `None` where there is no bound. A message
    /// sent again that was taken before is none.
    pub publishes_per_s_max: Option<NonZeroU32>,
    /// Highest QoS that is spoken, both ways.
    pub qos_max: QoS,
    /// Whether the session says what has to be remembered: it is kept over the end of the server too.
    pub is_durable: bool,
}

/// Largest packet that a client may send, in bytes.
pub const fn packet_bytes_max(limits: &MqttLimits) -> usize {
    limits.payload_bytes_max + PACKET_OVERHEAD_BYTES
}

impl Terms {
    /// Settles the terms; the second part is what CONNACK must tell the client of them.
    ///
    /// The assigned client id is the caller's to add, and so is whether the session is durable.
    pub fn settle(connect: &Connect, limits: &MqttLimits) -> (Self, ConnAckProperties) {
        let asked = &connect.properties;
        let keep_alive_s = match connect.keep_alive_s {
            0 => limits.keep_alive_s_max,
            seconds => seconds.min(limits.keep_alive_s_max).max(limits.keep_alive_s_min),
        }
        .max(1);
        let is_v5 = connect.version == Version::V5;
        let expiry_asked_s = match connect.version {
            Version::V5 => asked.session_expiry_s.unwrap_or(0),
            // mqtt-3.1.1 [MQTT-3.1.2-6]: a clean session ends with its connection.
            Version::V311 if connect.clean_start => 0,
            Version::V311 => u32::MAX,
        };
        let session_expiry_s = expiry_asked_s.min(limits.session_expiry_s_max);
        let inflight_max = limits.inflight_max.max(1);
        let terms = Self {
            version: connect.version,
            keep_alive_s,
            session_expiry_s,
            session_expiry_s_max: limits.session_expiry_s_max,
            // mqtt-5 [MQTT-3.3.4-9]
            send_max: asked.receive_max.map_or(inflight_max, |max| max.get().min(inflight_max)),
            unacknowledged_bytes_max: limits.queue_bytes_max,
            receive_max: if is_v5 { inflight_max } else { UNRELEASED_MAX_V311 },
            send_aliases_max: asked.topic_alias_max.unwrap_or(0).min(limits.topic_aliases_max),
            receive_aliases_max: if is_v5 { limits.topic_aliases_max } else { 0 },
            send_bytes_max: asked.packet_bytes_max.map_or(u32::MAX, NonZeroU32::get),
            publishes_per_s_max: NonZeroU32::new(limits.publishes_per_s_max),
            qos_max: if limits.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
            is_durable: false,
        };
        let packet_bytes_max = u32::try_from(packet_bytes_max(limits)).unwrap_or(u32::MAX);
        let told = ConnAckProperties {
            session_expiry_s: (session_expiry_s != expiry_asked_s).then_some(session_expiry_s),
            receive_max: NonZeroU16::new(terms.receive_max),
            packet_bytes_max: NonZeroU32::new(packet_bytes_max),
            topic_alias_max: Some(terms.receive_aliases_max),
            // mqtt-5 [MQTT-3.2.2-9]: left out, it means 2.
            qos_max: (!limits.exactly_once).then_some(terms.qos_max.as_u8()),
            // mqtt-5 [MQTT-3.1.2-21]
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            ..ConnAckProperties::default()
        };
        (terms, if is_v5 { told } else { ConnAckProperties::default() })
    }
}
