//! The codec against itself, against chance, and against a second opinion.

mod packets;

use std::num::NonZeroU16;

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::packet as other;
use picket_model::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use self::packets::{packet, versioned_packet};
use super::*;
use crate::packet::*;
use crate::{Message, QoS, ReasonCode, TopicLimits, TopicName};

const MAX: usize = 1 << 20;

fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes);
    bytes
}

proptest! {
    /// mqtt-3.1.1 [MQTT-2.2.2-1] [MQTT-2.3.1-5], mqtt-5 [MQTT-2.2.1-2] [MQTT-2.2.2-1] [MQTT-3.2.2-1]
    #[test]
    fn what_is_encoded_decodes_to_the_same((version, packet) in versioned_packet()) {
        let bytes = encoded(&packet, version);
        let frame = frame(&bytes, MAX).unwrap().unwrap();
        prop_assert_eq!(frame.len, bytes.len());
        prop_assert_eq!(decode(&frame, version).unwrap(), packet);
    }

    #[test]
    fn the_length_of_a_publish_is_known_before_it_is_written((version, packet) in versioned_packet()) {
        if let Packet::Publish(publish) = &packet {
            prop_assert_eq!(publish.parts().encoded_len(version), encoded(&packet, version).len());
        }
    }

    #[test]
    fn a_message_that_is_kept_comes_back_as_it_was((_, packet) in versioned_packet(), at: Option<i32>) {
        let limits = TopicLimits { bytes_max: 99, levels_max: 99 };
        let Packet::Publish(publish) = packet else { return Ok(()) };
        let Ok(topic) = TopicName::parse(&publish.topic, &limits) else { return Ok(()) };
        // When it expires is kept beside it.
        let properties = MessageProperties { expiry_s: None, ..publish.properties };
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            properties: (!properties.is_empty()).then(|| Box::new(properties)),
            expires_at: at.map(|at| Timestamp::from_millis(at.into())),
        };
        prop_assert_eq!(decode_message(&encode_message(&message), message.expires_at), Ok(message));
    }

    #[test]
    fn packets_are_found_however_the_bytes_arrive(
        packets in vec(packet(Version::V5), 1..6),
        chunks in vec(1usize..40, 1..50),
    ) {
        let mut wire = BytesMut::new();
        packets.iter().for_each(|packet| encode(packet, Version::V5, &mut wire));
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut sizes = chunks.iter().cycle();
        while !wire.is_empty() {
            let size = (*sizes.next().unwrap()).min(wire.len());
            buffer.extend_from_slice(&wire.split_to(size));
            while let Some(frame) = frame(&buffer, MAX).unwrap() {
                found.push(decode(&frame, Version::V5).unwrap());
                let len = frame.len;
                let _ = buffer.split_to(len);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, packets);
    }

    #[test]
    fn arbitrary_bytes_decode_or_do_not_but_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        look_at(&bytes);
    }

    #[test]
    fn mutated_packets_decode_or_do_not_but_never_panic(
        (version, packet) in versioned_packet(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&packet, version);
        for (index, value) in mutations {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        look_at(&bytes);
        look_at(&bytes[..cut.index(bytes.len())]);
    }

    /// What decodes at all has one form: it encodes to something that decodes to the same.
    #[test]
    fn what_decodes_has_a_form_of_its_own(
        (version, packet) in versioned_packet(),
        index in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encoded(&packet, version);
        let index = index.index(bytes.len());
        bytes[index] = value;
        let Ok(Some(found)) = frame(&bytes, MAX) else { return Ok(()) };
        let Ok(packet) = decode(&found, version) else { return Ok(()) };
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => version,
        };
        let again = encoded(&packet, version);
        prop_assert_eq!(decode(&frame(&again, MAX).unwrap().unwrap(), version).unwrap(), packet);
    }

    #[test]
    fn an_independent_parser_takes_what_we_encode((version, packet) in versioned_packet()) {
        let bytes = encoded(&packet, version);
        let frame = frame(&bytes, MAX).unwrap().unwrap();
        if second_opinion(&frame, version) == Some(false) {
            prop_assert!(is_taken_on_purpose(&packet), "{packet:?}");
        }
    }

    /// A mutated packet that the other parser refuses is refused here too.
    #[test]
    fn what_an_independent_parser_refuses_is_refused(
        (version, packet) in versioned_packet(),
        index in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encoded(&packet, version);
        let index = index.index(bytes.len());
        bytes[index] = value;
        let Ok(Some(frame)) = frame(&bytes, MAX) else { return Ok(()) };
        if decode(&frame, version).is_ok() && second_opinion(&frame, version) == Some(false) {
            prop_assert!(is_taken_on_purpose(&decode(&frame, version).unwrap()), "{frame:?}");
        }
    }
}

fn look_at(bytes: &[u8]) {
    let _ = decode_message(bytes, None);
    for max in [64, MAX] {
        if let Ok(Some(frame)) = frame(bytes, max) {
            assert!(frame.len <= max && frame.len <= bytes.len());
            for version in [Version::V311, Version::V5] {
                let _ = decode(&frame, version);
            }
        }
    }
}

/// Whether `mqtt-protocol-core` parses the packet; `None` where it has no say.
fn second_opinion(frame: &Frame<'_>, version: Version) -> Option<bool> {
    let (body, flags) = (frame.body, frame.flags);
    let whole = |consumed: usize| consumed == body.len();
    macro_rules! parses {
        ($packet:ty) => {
            <$packet>::parse(body).is_ok_and(|(_, consumed)| whole(consumed))
        };
    }
    let shared: std::sync::Arc<[u8]> = body.into();
    Some(match (version, frame.packet_type) {
        (Version::V311, PacketType::Connect) => parses!(other::v3_1_1::Connect),
        (Version::V5, PacketType::Connect) => parses!(other::v5_0::Connect),
        (Version::V311, PacketType::Publish) => {
            other::v3_1_1::Publish::parse(flags, shared).is_ok()
        }
        (Version::V5, PacketType::Publish) => other::v5_0::Publish::parse(flags, shared).is_ok(),
        (Version::V311, PacketType::PubAck) => parses!(other::v3_1_1::Puback),
        (Version::V311, PacketType::Subscribe) => parses!(other::v3_1_1::Subscribe),
        (Version::V5, PacketType::Subscribe) => parses!(other::v5_0::Subscribe),
        (Version::V311, PacketType::Unsubscribe) => parses!(other::v3_1_1::Unsubscribe),
        (Version::V5, PacketType::Unsubscribe) => parses!(other::v5_0::Unsubscribe),
        _ => return None,
    })
}

/// What we take and the other parser does not, each for a reason.
fn is_taken_on_purpose(packet: &Packet) -> bool {
    match packet {
        // Refused later, with a reason code of its own or by the session.
        Packet::Publish(publish) => {
            publish.topic.contains(['+', '#']) || publish.topic_alias == Some(0)
        }
        // MQTT 5 lets a password come without a user name (section 3.1.2.9).
        Packet::Connect(connect) => connect.username.is_none() && connect.password.is_some(),
        _ => false,
    }
}

fn check(bytes: &[u8], version: Version, expected: &str) {
    let found = match frame(bytes, 64) {
        Err(error) => error.to_string(),
        Ok(None) => "incomplete".to_owned(),
        Ok(Some(frame)) => match decode(&frame, version) {
            Err(error) => error.to_string(),
            Ok(_) => "fine".to_owned(),
        },
    };
    assert_eq!(found, expected, "{bytes:02x?}");
}

/// [MQTT-2.2.2-2], mqtt-5 [MQTT-2.1.3-1]
#[test]
fn reserved_flags_of_the_fixed_header_are_malformed() {
    for first in [0x12, 0x21, 0x41, 0x60, 0x80, 0xA0, 0xC1, 0xE1] {
        check(
            &[first, 0],
            Version::V311,
            "malformed packet: reserved flags of the fixed header are set",
        );
    }
    check(&[0x00, 0], Version::V311, "malformed packet: packet type 0");
}

#[test]
fn a_packet_over_the_limit_is_refused_before_it_is_there() {
    check(&[0x30, 0x3E], Version::V5, "incomplete");
    check(&[0x30, 0x3F], Version::V5, "packet of 65 bytes; at most 64 are allowed");
    check(
        &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
        Version::V5,
        "packet of 268435460 bytes; at most 64 are allowed",
    );
    check(
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
        Version::V5,
        "malformed packet: a length of more than four bytes",
    );
}

/// [MQTT-2.3.1-1], mqtt-5 [MQTT-2.2.1-3]
#[test]
fn a_packet_id_of_zero_is_malformed() {
    for bytes in [
        &[0x32, 5, 0, 1, b'a', 0, 0][..],
        &[0x40, 2, 0, 0],
        &[0x62, 2, 0, 0],
        &[0x82, 6, 0, 0, 0, 1, b'a', 0],
        &[0xA2, 5, 0, 0, 0, 1, b'a'],
    ] {
        check(bytes, Version::V311, "malformed packet: packet id 0");
    }
}

#[test]
fn a_publish_that_contradicts_itself_is_malformed() {
    // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
    check(&[0x36, 5, 0, 1, b'a', 0, 1], Version::V311, "malformed packet: QoS 3");
    check(&[0x38, 3, 0, 1, b'a'], Version::V311, "malformed packet: DUP is set at QoS 0");
    check(&[0x30, 2, 0, 0], Version::V311, "protocol error: neither a topic nor a topic alias");
    check(&[0x30, 3, 0, 0, 0], Version::V5, "protocol error: neither a topic nor a topic alias");
    check(&[0x30, 3, 0, 1, 0], Version::V311, "malformed packet: a string contains U+0000");
    check(&[0x30, 3, 0, 1, 0xFF], Version::V311, "malformed packet: a string is not UTF-8");
    check(&[0x30, 2, 0, 9], Version::V311, "malformed packet: the packet ends too early");
    check(&[0x30, 6, 0, 0, 3, 0x23, 0, 1], Version::V5, "fine");
    check(
        &[0x30, 7, 0, 1, b'a', 3, 0x11, 0, 1],
        Version::V5,
        "malformed packet: a property that this packet does not have",
    );
    check(
        &[0x30, 10, 0, 1, b'a', 6, 0x23, 0, 1, 0x23, 0, 1],
        Version::V5,
        "protocol error: a property comes twice",
    );
}

#[test]
fn a_subscribe_names_filters_and_leaves_reserved_bits_alone() {
    check(&[0x82, 2, 0, 1], Version::V311, "protocol error: SUBSCRIBE without a filter");
    check(
        &[0x82, 6, 0, 1, 0, 1, b'a', 4],
        Version::V311,
        "malformed packet: reserved bits of subscription options are set",
    );
    check(&[0x82, 6, 0, 1, 0, 1, b'a', 3], Version::V311, "protocol error: QoS 3");
    check(
        &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40],
        Version::V5,
        "malformed packet: reserved bits of subscription options are set",
    );
    check(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], Version::V5, "protocol error: retain handling 3");
    check(
        &[0x82, 6, 0, 1, 0, 1, 0, 0],
        Version::V311,
        "malformed packet: a string contains U+0000",
    );
    check(&[0xA2, 2, 0, 1], Version::V311, "protocol error: UNSUBSCRIBE without a filter");
}

fn connect_bytes(name: &[u8], level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, name.len() as u8];
    body.extend_from_slice(name);
    body.extend_from_slice(&[level, flags, 0, 60]);
    body.extend_from_slice(rest);
    [&[0x10, body.len() as u8][..], &body].concat()
}

#[test]
fn a_connect_is_of_a_known_protocol_and_its_flags_agree() {
    let id = &[0, 1, b'a'][..];
    let check = |name: &[u8], level, flags, rest: &[u8], expected: &str| {
        check(&connect_bytes(name, level, flags, rest), Version::V311, expected);
    };
    check(b"MQTT", 4, 2, id, "fine");
    check(b"MQIsdp", 3, 2, id, "protocol level 3 is not supported");
    check(b"MQTT", 6, 2, id, "protocol level 6 is not supported");
    check(b"HTTP", 4, 2, id, "malformed packet: the protocol is not called MQTT");
    check(b"MQTT", 4, 3, id, "malformed packet: the reserved connect flag is set");
    check(b"MQTT", 4, 0x42, id, "malformed packet: a password without a user name");
    check(b"MQTT", 4, 0x0A, id, "malformed packet: will flags without a will");
    check(b"MQTT", 4, 0x22, id, "malformed packet: will flags without a will");
    check(b"MQTT", 4, 0x1E, id, "malformed packet: QoS 3");
    check(
        b"MQTT",
        4,
        2,
        &[0, 1, b'a', 0],
        "malformed packet: something follows the packet's content",
    );
    check(b"MQTT", 4, 2, &[0, 1, 0], "malformed packet: a string contains U+0000");
    check(b"MQTT", 5, 2, &[3, 0x22, 0, 0, 0, 1, b'a'], "fine");
    check(b"MQTT", 5, 2, &[3, 0x21, 0, 0, 0, 1, b'a'], "protocol error: a maximum of 0");
    check(b"MQTT", 5, 2, &[2, 0x17, 2, 0, 1, b'a'], "protocol error: a flag is neither 0 nor 1");
    check(
        b"MQTT",
        5,
        2,
        &[0x80, 0, 0, 1, b'a'],
        "malformed packet: a variable byte integer is longer than it must be",
    );
}

#[test]
fn user_properties_are_bounded() {
    let one = [0x26, 0, 0, 0, 0];
    let block = one.repeat(REPEATED_PROPERTIES_MAX + 1);
    let mut body = vec![0, 1, b'a'];
    let mut length = BytesMut::new();
    writer::put_variable_int(&mut length, block.len());
    body.extend_from_slice(&length);
    body.extend_from_slice(&block);
    let mut bytes = BytesMut::from(&[0x30][..]);
    writer::put_variable_int(&mut bytes, body.len());
    bytes.extend_from_slice(&body);
    let frame = frame(&bytes, MAX).unwrap().unwrap();
    assert_eq!(decode(&frame, Version::V5), Err(crate::DecodeError::TooManyProperties));
}

#[test]
fn mqtt_3_1_1_has_no_auth_and_no_empty_packet_has_content() {
    check(&[0xF0, 0], Version::V311, "malformed packet: packet type 15");
    check(&[0xC0, 1, 0], Version::V311, "malformed packet: a packet without content has content");
    check(&[0xE0, 1, 0], Version::V311, "malformed packet: something follows the packet's content");
}

#[test]
fn nothing_is_said_where_success_says_it() {
    let id = NonZeroU16::new(7).unwrap();
    let ack = Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS));
    assert_eq!(encoded(&ack, Version::V5)[..], [0x40, 2, 0, 7]);
    let ack = Packet::PubAck(Ack::new(id, ReasonCode::NOT_AUTHORIZED));
    assert_eq!(encoded(&ack, Version::V5)[..], [0x40, 3, 0, 7, 0x87]);
    assert_eq!(encoded(&ack, Version::V311)[..], [0x40, 2, 0, 7]);
}

#[test]
fn what_is_kept_is_one_message_and_nothing_else() {
    let refused = |bytes: &[u8]| decode_message(bytes, None).unwrap_err().to_string();
    let limits = TopicLimits { bytes_max: 9, levels_max: 1 };
    let topic = TopicName::parse("t", &limits).unwrap();
    let at = Timestamp::EPOCH;
    let message = Message::received(topic, "x".into(), QoS::AtMostOnce, None, at);
    let bytes = encode_message(&message);
    assert!(decode_message(&bytes, None).is_ok());
    let not_one = "malformed packet: not one PUBLISH";
    assert_eq!(refused(&bytes[..bytes.len() - 1]), not_one);
    assert_eq!(refused(&[&bytes[..], &bytes[..]].concat()), not_one);
    assert_eq!(refused(&[0xC0, 0]), not_one);
    let wildcard = [0x30, 5, 0, 1, b'#', 0, b'x'];
    assert_eq!(refused(&wildcard), "malformed packet: not a topic name");
}
