//! Packets by chance, as far as their version can say what is in them.

use std::num::NonZeroU32;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::packet::*;
use crate::{QoS, ReasonCode, Text};

fn text() -> impl Strategy<Value = Text> {
    "[ -~äß€]{0,12}".prop_map(|text| Text::new(&text).unwrap())
}

fn topic() -> impl Strategy<Value = Text> {
    "[a-c/$]{1,8}".prop_map(|text| Text::new(&text).unwrap())
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn user() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|qos| QoS::from_u8(qos).unwrap())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1u16..).prop_map(|id| PacketId::new(id).unwrap())
}

fn non_zero_u32() -> impl Strategy<Value = NonZeroU32> {
    (1u32..).prop_map(|value| NonZeroU32::new(value).unwrap())
}

/// Keeps what only MQTT 5 can say where it can.
fn only_v5<T: Default>(version: Version, value: T) -> T {
    if version == Version::V5 { value } else { T::default() }
}

fn message_properties(version: Version) -> impl Strategy<Value = MessageProperties> {
    let parts = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(text()),
        option::of(binary()),
        user(),
    );
    parts.prop_map(move |parts| {
        let (payload_is_utf8, expiry_s, content_type, response_topic, correlation_data, user) =
            parts;
        let properties = MessageProperties {
            payload_is_utf8,
            expiry_s,
            content_type,
            response_topic,
            correlation_data,
            user,
        };
        only_v5(version, properties)
    })
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let will = (
        topic(),
        binary(),
        qos(),
        any::<bool>(),
        option::of(any::<u32>()),
        message_properties(version),
    )
        .prop_map(move |(topic, payload, qos, retain, delay_s, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay_s: only_v5(version, delay_s),
            properties,
        });
    let properties = (
        option::of(any::<u32>()),
        option::of(packet_id()),
        option::of(non_zero_u32()),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of((text(), option::of(binary()))),
        user(),
    )
        .prop_map(move |(expiry, receive, size, alias, response, problem, auth, user)| {
            let (method, data) = auth.map_or((None, None), |(method, data)| (Some(method), data));
            let properties = ConnectProperties {
                session_expiry_s: expiry,
                receive_max: receive,
                packet_bytes_max: size,
                topic_alias_max: alias,
                request_response_information: response,
                request_problem_information: problem,
                authentication_method: method,
                authentication_data: data,
                user,
            };
            only_v5(version, properties)
        });
    (
        any::<bool>(),
        any::<u16>(),
        text(),
        option::of(will),
        properties,
        option::of(text()),
        option::of(binary()),
    )
        .prop_map(
            move |(clean_start, keep_alive_s, client_id, will, properties, username, password)| {
                let password = password.filter(|_| username.is_some() || version == Version::V5);
                Packet::Connect(Box::new(Connect {
                    version,
                    clean_start,
                    keep_alive_s,
                    client_id,
                    username,
                    password,
                    will,
                    properties,
                }))
            },
        )
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    let first = (
        option::of(any::<u32>()),
        option::of(packet_id()),
        option::of(0u8..2),
        option::of(any::<bool>()),
        option::of(non_zero_u32()),
        option::of(text()),
        option::of(any::<u16>()),
        option::of(text()),
    );
    let second = (
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<u16>()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(binary()),
        user(),
    );
    (any::<bool>(), any::<u8>(), first, second).prop_map(
        move |(session_present, code, first, second)| {
            let properties = ConnAckProperties {
                session_expiry_s: first.0,
                receive_max: first.1,
                qos_max: first.2,
                retain_available: first.3,
                packet_bytes_max: first.4,
                assigned_client_id: first.5,
                topic_alias_max: first.6,
                reason_string: first.7,
                wildcards_available: second.0,
                subscription_ids_available: second.1,
                shared_available: second.2,
                server_keep_alive_s: second.3,
                response_information: second.4,
                server_reference: second.5,
                authentication_method: second.6,
                authentication_data: second.7,
                user: second.8,
            };
            Packet::ConnAck(Box::new(ConnAck {
                session_present,
                code: ReasonCode(code),
                properties: only_v5(version, properties),
            }))
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let alias = option::of(any::<u16>());
    let ids = vec(1u32..268_435_456, 0..3);
    (
        any::<bool>(),
        qos(),
        any::<bool>(),
        topic(),
        packet_id(),
        binary(),
        alias,
        ids,
        message_properties(version),
    )
        .prop_map(
            move |(dup, qos, retain, topic, packet_id, payload, alias, ids, properties)| {
                let has_id = qos > QoS::AtMostOnce;
                Packet::Publish(Box::new(Publish {
                    dup: dup && has_id,
                    qos,
                    retain,
                    topic,
                    packet_id: has_id.then_some(packet_id),
                    payload,
                    topic_alias: only_v5(version, alias),
                    subscription_ids: only_v5(version, ids),
                    properties,
                }))
            },
        )
}

fn reason_properties(version: Version) -> impl Strategy<Value = ReasonProperties> {
    (option::of(text()), user()).prop_map(move |(reason_string, user)| {
        only_v5(version, ReasonProperties { reason_string, user })
    })
}

fn words(version: Version) -> impl Strategy<Value = Option<Box<ReasonProperties>>> {
    reason_properties(version)
        .prop_map(|words| (words != ReasonProperties::default()).then(|| Box::new(words)))
}

fn ack(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), any::<u8>(), words(version), 0..4).prop_map(
        move |(packet_id, code, properties, kind)| {
            let ack = Ack { packet_id, reason: ReasonCode(only_v5(version, code)), properties };
            match kind {
                0 => Packet::PubAck(ack),
                1 => Packet::PubRec(ack),
                2 => Packet::PubRel(ack),
                _ => Packet::PubComp(ack),
            }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let options = (qos(), any::<bool>(), any::<bool>(), 0..3).prop_map(
        move |(qos, no_local, as_published, handling)| {
            let retain_handling = match handling {
                0 => RetainHandling::Always,
                1 => RetainHandling::WhenNew,
                _ => RetainHandling::Never,
            };
            SubscribeOptions {
                qos,
                no_local: only_v5(version, no_local),
                retain_as_published: only_v5(version, as_published),
                retain_handling: only_v5(version, retain_handling),
            }
        },
    );
    let id = option::of((1u32..268_435_456).prop_map(|id| NonZeroU32::new(id).unwrap()));
    (packet_id(), vec((text(), options), 1..4), id, user()).prop_map(
        move |(packet_id, filters, id, user)| {
            Packet::Subscribe(Box::new(Subscribe {
                packet_id,
                filters,
                subscription_id: only_v5(version, id),
                user: only_v5(version, user),
            }))
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), vec(text(), 1..4), user()).prop_map(move |(packet_id, filters, user)| {
        let user = only_v5(version, user);
        Packet::Unsubscribe(Box::new(Unsubscribe { packet_id, filters, user }))
    })
}

fn codes(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), vec(any::<u8>(), 1..4), words(version), any::<bool>()).prop_map(
        move |(packet_id, codes, properties, is_suback)| {
            let codes: Vec<_> = codes.into_iter().map(ReasonCode).collect();
            if is_suback {
                Packet::SubAck(Codes { packet_id, codes, properties })
            } else {
                Packet::UnsubAck(Codes { packet_id, codes: only_v5(version, codes), properties })
            }
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    (any::<u8>(), option::of(any::<u32>()), option::of(text()), reason_properties(version))
        .prop_map(move |(code, session_expiry_s, server_reference, properties)| {
            let reason = ReasonCode(code);
            let disconnect = Disconnect { reason, session_expiry_s, server_reference, properties };
            Packet::Disconnect(only_v5(version, disconnect))
        })
}

fn auth() -> impl Strategy<Value = Packet> {
    (any::<u8>(), option::of(text()), option::of(binary()), reason_properties(Version::V5))
        .prop_map(|(code, authentication_method, authentication_data, properties)| {
            let reason = ReasonCode(code);
            Packet::Auth(Box::new(Auth {
                reason,
                authentication_method,
                authentication_data,
                properties,
            }))
        })
}

/// Any packet of a version.
pub(super) fn packet(version: Version) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        connect(version),
        connack(version),
        publish(version),
        ack(version),
        subscribe(version),
        unsubscribe(version),
        codes(version),
        disconnect(version),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
    ];
    match version {
        Version::V311 => both.boxed(),
        Version::V5 => prop_oneof![9 => both, 1 => auth()].boxed(),
    }
}

/// Any packet of any version.
pub(super) fn versioned_packet() -> impl Strategy<Value = (Version, Packet)> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
        .prop_flat_map(|version| packet(version).prop_map(move |packet| (version, packet)))
}
