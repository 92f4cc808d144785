//! What the standards say of every server, where no other test says it already.
//!
//! The ids are those of `docs/conformance.md`.

use picket_mqtt::packet::{
    Ack, Connect, Disconnect, Packet, Publish, Subscribe, SubscribeOptions, Unsubscribe, Version,
    Will,
};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, text, will};
use crate::testbed::Testbed;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

async fn peer(bed: &Testbed, client: &str, version: Version) -> Peer {
    let mut peer = Peer::plain(bed.plain).await;
    assert_eq!(peer.connect(connect(client, version)).await.code, ReasonCode::SUCCESS);
    peer
}

fn at(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

/// mqtt-3.1.1 [MQTT-1.5.3-3] [MQTT-4.7.3-4], mqtt-5 [MQTT-1.5.4-3] [MQTT-4.7.3-4]
#[tokio::test]
async fn topics_are_compared_as_they_are() {
    let bed = Testbed::new().await;
    let topics = ["a", "\u{feff}a", "A", "a/", "/a", "\u{e9}", "e\u{301}", "\u{212b}", "\u{c5}"];
    for version in VERSIONS {
        let mut publisher = peer(&bed, "publisher", version).await;
        for filter in topics {
            let mut subscriber = peer(&bed, "subscriber", version).await;
            subscriber.subscribe(filter, QoS::AtMostOnce).await;
            for topic in topics {
                publisher.publish(topic, "x").await;
            }
            assert_eq!(subscriber.received().await, format!("{filter} x"));
            subscriber.expect_nothing().await;
        }
    }
}

/// mqtt-3.1.1 [MQTT-2.3.1-6] [MQTT-2.3.1-7] [MQTT-3.3.4-1] [MQTT-3.8.4-1] [MQTT-3.8.4-2]
/// [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-4.6.0-2] [MQTT-4.6.0-3], mqtt-5 [MQTT-2.2.1-5]
/// [MQTT-2.2.1-6] [MQTT-3.3.4-1] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1] [MQTT-3.8.4-1]
/// [MQTT-3.8.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
#[tokio::test]
async fn every_answer_has_the_id_of_its_question_and_comes_in_its_turn() {
    let bed = Testbed::new().await;
    let ack = |n| Ack::new(id(n), ReasonCode::SUCCESS);
    for version in VERSIONS {
        let mut peer = peer(&bed, "peer", version).await;
        let message = |n, qos| {
            Packet::Publish(Box::new(Publish { packet_id: Some(id(n)), ..publish("t", "x", qos) }))
        };
        for n in [5, 9, 7] {
            peer.send(message(n, QoS::AtLeastOnce)).await;
        }
        for n in [30, 20] {
            peer.send(message(n, QoS::ExactlyOnce)).await;
        }
        for n in [20, 30] {
            peer.send(Packet::PubRel(ack(n))).await;
        }
        for expected in [
            Packet::PubAck(ack(5)),
            Packet::PubAck(ack(9)),
            Packet::PubAck(ack(7)),
            Packet::PubRec(ack(30)),
            Packet::PubRec(ack(20)),
            Packet::PubComp(ack(20)),
            Packet::PubComp(ack(30)),
        ] {
            assert_eq!(peer.expect().await, expected);
        }
        let filters = vec![(text("t"), at(QoS::AtMostOnce))];
        let subscribe =
            Subscribe { packet_id: id(300), filters, subscription_id: None, user: Vec::new() };
        peer.send(Packet::Subscribe(Box::new(subscribe))).await;
        let Packet::SubAck(codes) = peer.expect().await else { panic!("no SUBACK") };
        assert_eq!(codes.packet_id, id(300));
        let unsubscribe =
            Unsubscribe { packet_id: id(301), filters: vec![text("never")], user: Vec::new() };
        peer.send(Packet::Unsubscribe(Box::new(unsubscribe))).await;
        let Packet::UnsubAck(codes) = peer.expect().await else { panic!("no UNSUBACK") };
        assert_eq!(codes.packet_id, id(301));
    }
}

/// mqtt-3.1.1 [MQTT-4.6.0-4], mqtt-5 [MQTT-3.6.2-1] [MQTT-4.3.3-4]
#[tokio::test]
async fn releases_come_in_the_order_of_the_receipts() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut subscriber = peer(&bed, "subscriber", version).await;
        subscriber.subscribe("t", QoS::ExactlyOnce).await;
        let mut publisher = bed.plain_peer("publisher").await;
        let mut open = Vec::new();
        for n in 1..=3 {
            let it = Publish { packet_id: Some(id(n)), ..publish("t", "x", QoS::ExactlyOnce) };
            publisher.publish_with(it).await;
            let Packet::Publish(publish) = subscriber.expect().await else { panic!("no message") };
            open.push(publish.packet_id.unwrap());
        }
        for n in [1, 2, 0] {
            subscriber.send(Packet::PubRec(Ack::new(open[n], ReasonCode::SUCCESS))).await;
        }
        for n in [1, 2, 0] {
            let expected = Packet::PubRel(Ack::new(open[n], ReasonCode::SUCCESS));
            assert_eq!(subscriber.expect().await, expected);
        }
    }
}

/// mqtt-3.1.1 [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.10.4-1] [MQTT-3.10.4-2]
/// [MQTT-3.10.4-6], mqtt-5 [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
/// [MQTT-3.9.3-2] [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
#[tokio::test]
async fn several_filters_are_answered_in_their_order() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut peer = peer(&bed, "peer", version).await;
        let filters = [
            ("a", QoS::AtMostOnce),
            ("b", QoS::AtLeastOnce),
            ("b/#/c", QoS::AtMostOnce),
            ("c", QoS::ExactlyOnce),
            ("+/#", QoS::AtMostOnce),
        ];
        let filters = filters.map(|(filter, qos)| (text(filter), at(qos))).to_vec();
        let subscribe =
            Subscribe { packet_id: id(3), filters, subscription_id: None, user: Vec::new() };
        peer.send(Packet::Subscribe(Box::new(subscribe))).await;
        let Packet::SubAck(codes) = peer.expect().await else { panic!("no SUBACK") };
        let codes: Vec<_> = codes.codes.iter().map(|code| code.0).collect();
        let bad = if version == Version::V5 { 0x8F } else { 0x80 };
        assert_eq!(codes, [0, 1, bad, 2, 0]);
        // Only what is written in the same way is taken away.
        let filters = ["a", "never", "+/#", "+", "#", "b/", "C"].map(text).to_vec();
        let unsubscribe = Unsubscribe { packet_id: id(4), filters, user: Vec::new() };
        peer.send(Packet::Unsubscribe(Box::new(unsubscribe))).await;
        let Packet::UnsubAck(codes) = peer.expect().await else { panic!("no UNSUBACK") };
        let codes: Vec<_> = codes.codes.iter().map(|code| code.0).collect();
        match version {
            Version::V5 => assert_eq!(codes, [0, 0x11, 0, 0x11, 0x11, 0x11, 0x11]),
            Version::V311 => assert!(codes.is_empty()),
        }
        let mut publisher = bed.plain_peer("publisher").await;
        for topic in ["a", "b", "c"] {
            publisher.publish(topic, "x").await;
        }
        assert_eq!(peer.received().await, "b x");
        assert_eq!(peer.received().await, "c x");
        peer.expect_nothing().await;
    }
}

/// mqtt-3.1.1 [MQTT-3.8.4-3], mqtt-5 [MQTT-3.8.4-3] [MQTT-3.8.4-4]
#[tokio::test]
async fn the_same_filter_replaces_its_subscription() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("t", "kept").await;
    for version in VERSIONS {
        let mut peer = peer(&bed, "peer", version).await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            peer.subscribe("t", qos).await;
            assert_eq!(peer.received().await, "t kept");
        }
        publisher.publish("t", "new").await;
        let message = peer.message().await;
        assert_eq!((&message.payload[..], message.qos), (&b"new"[..], QoS::AtLeastOnce));
        peer.expect_nothing().await;
    }
}

/// mqtt-3.1.1 and mqtt-5 [MQTT-3.10.4-3]
#[tokio::test]
async fn what_was_begun_is_completed_after_unsubscribing() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut peer = peer(&bed, "peer", version).await;
        peer.subscribe("t", QoS::ExactlyOnce).await;
        let mut publisher = bed.plain_peer("publisher").await;
        publisher.publish_with(publish("t", "x", QoS::ExactlyOnce)).await;
        let Packet::Publish(begun) = peer.expect().await else { panic!("no message") };
        peer.unsubscribe("t").await;
        let ack = Ack::new(begun.packet_id.unwrap(), ReasonCode::SUCCESS);
        peer.send(Packet::PubRec(ack.clone())).await;
        assert_eq!(peer.expect().await, Packet::PubRel(ack.clone()));
        peer.send(Packet::PubComp(ack)).await;
        peer.expect_nothing().await;
    }
}

fn kept(client: &str, version: Version) -> Connect {
    let mut wanted = Connect { clean_start: false, ..connect(client, version) };
    wanted.properties.session_expiry_s = (version == Version::V5).then_some(100);
    wanted
}

/// mqtt-3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.3-2] [MQTT-3.1.4-3] [MQTT-3.1.4-4] [MQTT-3.2.2-3]
/// [MQTT-4.1.0-2], mqtt-5 [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.1.3-2]
/// [MQTT-3.1.4-4] [MQTT-3.1.4-5] [MQTT-4.1.0-1]
#[tokio::test]
async fn connack_says_whether_there_is_a_session() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        for (client, clean_start, session_present) in [
            ("one", false, false),
            ("one", false, true),
            ("two", false, false),
            ("one", false, true),
            ("one", true, false),
        ] {
            let mut peer = Peer::plain(bed.plain).await;
            let connack = peer.connect(Connect { clean_start, ..kept(client, version) }).await;
            assert_eq!(connack.code, ReasonCode::SUCCESS);
            assert_eq!(connack.session_present, session_present, "{client} {version:?}");
            if session_present {
                // Its subscription is there.
                bed.plain_peer("publisher").await.publish(client, "x").await;
                assert_eq!(peer.received().await, format!("{client} x"));
            }
            peer.subscribe(client, QoS::AtLeastOnce).await;
            peer.expect_nothing().await;
            peer.disconnect(ReasonCode::SUCCESS).await;
        }
        // Nothing is left for the other version.
        for client in ["one", "two"] {
            bed.plain_peer(client).await.disconnect(ReasonCode::SUCCESS).await;
        }
    }
}

/// mqtt-3.1.1 [MQTT-3.2.0-1], mqtt-5 [MQTT-3.2.0-1] [MQTT-3.2.0-2]
#[tokio::test]
async fn connack_comes_first_and_once() {
    let bed = Testbed::new().await;
    bed.plain_peer("publisher").await.retain("t", "x").await;
    // PINGREQ and SUBSCRIBE follow CONNECT without waiting.
    let eager = [
        &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'e'][..],
        &[0xC0, 0, 0x82, 6, 0, 1, 0, 1, b't', 0, 0xC0, 0],
    ];
    let mut peer = Peer::plain(bed.plain).await;
    peer.version = Version::V311;
    peer.send_bytes(&eager.concat()).await;
    assert!(matches!(peer.expect().await, Packet::ConnAck(_)));
    assert_eq!(peer.expect().await, Packet::PingResp);
    assert!(matches!(peer.expect().await, Packet::SubAck(_)));
    let mut rest = [peer.expect().await, peer.expect().await];
    rest.sort_by_key(|packet| *packet != Packet::PingResp);
    assert!(matches!(rest, [Packet::PingResp, Packet::Publish(_)]));
    peer.expect_nothing().await;
}

/// mqtt-3.1.1 [MQTT-3.1.4-5] [MQTT-3.2.2-4] [MQTT-3.2.2-5], mqtt-5 [MQTT-3.1.4-2] [MQTT-3.1.4-6]
/// [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.14.0-1] [MQTT-4.13.2-1]
#[tokio::test]
async fn nothing_is_taken_from_who_was_refused() {
    let bed = Testbed::new().await;
    let mut witness = bed.plain_peer("witness").await;
    witness.subscribe("#", QoS::AtMostOnce).await;
    for version in VERSIONS {
        let mut peer = Peer::plain(bed.plain).await;
        peer.version = version;
        let mut bytes = bytes::BytesMut::new();
        let refused = Packet::Connect(Box::new(connect("$refused", version)));
        picket_mqtt::codec::encode(&refused, version, &mut bytes);
        let message = Packet::Publish(Box::new(publish("t", "x", QoS::AtLeastOnce)));
        picket_mqtt::codec::encode(&message, version, &mut bytes);
        peer.send_bytes(&bytes).await;
        let Packet::ConnAck(connack) = peer.expect().await else { panic!("no CONNACK") };
        assert!(connack.code != ReasonCode::SUCCESS && !connack.session_present);
        assert_eq!(peer.next().await, None);
    }
    witness.expect_nothing().await;
}

/// mqtt-3.1.1 [MQTT-3.1.2.7] [MQTT-3.3.1-7] [MQTT-3.3.1-11] [MQTT-3.3.1-12], mqtt-5 [MQTT-3.3.1-7]
/// [MQTT-3.3.1-8]
#[tokio::test]
async fn only_a_message_with_retain_changes_what_is_retained() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut publisher = peer(&bed, "publisher", version).await;
        let check = async |expected: Option<&str>| {
            let mut late = bed.plain_peer("late").await;
            late.subscribe("t", QoS::AtMostOnce).await;
            if let Some(expected) = expected {
                assert_eq!(late.received().await, format!("t {expected}"));
            }
            late.expect_nothing().await;
        };
        publisher.retain("t", "kept").await;
        publisher.publish("t", "passing").await;
        publisher.publish("t", "").await;
        check(Some("kept")).await;
        let at_0 = Publish { retain: true, ..publish("t", "at 0", QoS::AtMostOnce) };
        publisher.send(Packet::Publish(Box::new(at_0))).await;
        publisher.expect_nothing().await;
        check(Some("at 0")).await;
        // It outlives the session of who published it.
        publisher.disconnect(ReasonCode::SUCCESS).await;
        check(Some("at 0")).await;
        let mut publisher = peer(&bed, "publisher", version).await;
        publisher.retain("t", "").await;
        check(None).await;
        assert_eq!(bed.counter("retained"), 0);
    }
}

/// mqtt-3.1.1 [MQTT-3.1.2-10] [MQTT-3.1.2-12] [MQTT-3.1.2-16] [MQTT-3.1.2-17], mqtt-5
/// [MQTT-3.1.2-7] [MQTT-3.1.2-10] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
#[tokio::test]
async fn a_will_is_published_once_and_as_it_says() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut witness = bed.plain_peer("witness").await;
        witness.subscribe("gone", QoS::AtLeastOnce).await;
        for retain in [false, true] {
            let mut mortal = Peer::plain(bed.plain).await;
            let will = Some(Will { retain, ..will("gone", "mortal") });
            mortal.connect(Connect { will, ..connect("mortal", version) }).await;
            drop(mortal);
            assert_eq!(witness.received().await, "gone mortal");
            let mut late = bed.plain_peer("late").await;
            late.subscribe("gone", QoS::AtMostOnce).await;
            if retain {
                assert_eq!(late.received().await, "gone mortal");
            }
            late.expect_nothing().await;
        }
        // Who comes back without a will leaves none.
        drop(peer(&bed, "mortal", version).await);
        bed.counted("connections", 2).await;
        witness.expect_nothing().await;
        bed.plain_peer("late").await.retain("gone", "").await;
        assert_eq!(witness.received().await, "gone ");
    }
}

/// mqtt-5 [MQTT-3.1.3-10]
#[tokio::test]
async fn user_properties_of_a_will_keep_their_order() {
    let bed = Testbed::new().await;
    let mut witness = bed.plain_peer("witness").await;
    witness.subscribe("gone", QoS::AtLeastOnce).await;
    let user = vec![(text("b"), text("1")), (text("a"), text("2")), (text("b"), text("0"))];
    let mut mortal = Peer::plain(bed.plain).await;
    let mut will = will("gone", "x");
    will.properties.user.clone_from(&user);
    mortal.connect_v5("mortal", |it| it.will = Some(will)).await;
    drop(mortal);
    assert_eq!(witness.message().await.properties.user, user);
}

/// mqtt-3.1.1 and mqtt-5 [MQTT-3.3.1-3]
#[tokio::test]
async fn dup_is_not_passed_on() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        let mut peer = peer(&bed, "peer", version).await;
        peer.subscribe("t", QoS::AtLeastOnce).await;
        let again = Publish { dup: true, ..publish("t", "x", QoS::AtLeastOnce) };
        bed.plain_peer("publisher").await.publish_with(again).await;
        assert!(!peer.message().await.dup);
    }
}

/// mqtt-5 [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-12]
#[tokio::test]
async fn aliases_stay_within_what_each_side_takes() {
    let bed = Testbed::new().await;
    let mut none = bed.plain_peer("none").await;
    none.subscribe("#", QoS::AtMostOnce).await;
    let mut two = Peer::plain(bed.plain).await;
    two.connect_v5("two", |it| it.properties.topic_alias_max = Some(2)).await;
    two.subscribe("#", QoS::AtMostOnce).await;
    let mut publisher = Peer::plain(bed.plain).await;
    let max = publisher.connect_v5("publisher", |_| {}).await.properties.topic_alias_max.unwrap();
    for _ in 0..2 {
        for alias in 1..=max {
            let topic = format!("t/{alias}");
            let named =
                Publish { topic_alias: Some(alias), ..publish(&topic, "x", QoS::AtLeastOnce) };
            assert_eq!(publisher.publish_with(named).await, ReasonCode::SUCCESS);
            let message = none.message().await;
            assert_eq!((&*message.topic, message.topic_alias), (&*topic, None));
            let alias = two.message().await.topic_alias;
            assert!(alias.is_none_or(|alias| (1..=2).contains(&alias)));
        }
    }
}

/// mqtt-5 [MQTT-3.1.2-25]
#[tokio::test]
async fn what_is_too_large_for_a_client_counts_as_sent() {
    let bed = Testbed::new().await;
    let mut small = Peer::plain(bed.plain).await;
    small
        .connect_v5("small", |it| {
            it.properties.packet_bytes_max = 100.try_into().ok();
            it.properties.receive_max = Some(id(1));
        })
        .await;
    small.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for payload in ["1", &"x".repeat(100), "2"] {
        assert_eq!(publisher.publish("t", payload).await, ReasonCode::SUCCESS);
    }
    assert_eq!(small.received().await, "t 1");
    assert_eq!(small.received().await, "t 2");
    bed.counted(r#"dropped_total{reason="too_large"}"#, 1).await;
}

/// mqtt-5 [MQTT-3.1.2-28] [MQTT-3.1.2-29] [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2]
/// [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
/// [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
#[tokio::test]
async fn answers_have_codes_and_no_words() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    let connack = peer
        .connect_v5("peer", |it| {
            it.properties.request_problem_information = Some(false);
            it.properties.request_response_information = Some(false);
        })
        .await;
    let told = connack.properties;
    assert_eq!((told.response_information, told.reason_string, told.user), (None, None, vec![]));
    let ack = |n| Ack::new(id(n), ReasonCode::SUCCESS);
    for topic in ["t", "t/+"] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            peer.send(Packet::Publish(Box::new(publish(topic, "x", qos)))).await;
            let (Packet::PubAck(answer) | Packet::PubRec(answer)) = peer.expect().await else {
                panic!("no answer")
            };
            assert_eq!(answer.properties, None);
        }
    }
    peer.send(Packet::PubRel(ack(77))).await;
    assert_eq!(peer.expect().await, Packet::PubComp(ack(77)));
    peer.send(Packet::PubRec(ack(9))).await;
    let Packet::PubRel(answer) = peer.expect().await else { panic!("no PUBREL") };
    assert_eq!((answer.reason.0, answer.properties), (0x92, None));
    let filters = ["a", "a/#/b"].map(|filter| (text(filter), at(QoS::AtMostOnce))).to_vec();
    let subscribe =
        Subscribe { packet_id: id(1), filters, subscription_id: None, user: Vec::new() };
    peer.send(Packet::Subscribe(Box::new(subscribe))).await;
    let Packet::SubAck(answer) = peer.expect().await else { panic!("no SUBACK") };
    assert_eq!(answer.properties, None);
    let filters = vec![text("never")];
    let unsubscribe = Unsubscribe { packet_id: id(2), filters, user: Vec::new() };
    peer.send(Packet::Unsubscribe(Box::new(unsubscribe))).await;
    let Packet::UnsubAck(answer) = peer.expect().await else { panic!("no UNSUBACK") };
    assert_eq!(answer.properties, None);
}

/// mqtt-5 [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.14.4-1]
/// [MQTT-3.14.4-2] [MQTT-4.13.1-1]
#[tokio::test]
async fn a_closing_server_says_why_as_far_as_it_fits() {
    let bed = Testbed::new().await;
    for (bytes_max, words) in
        [(None, Some("malformed packet: packet type 0")), (Some(30), None), (Some(50), Some(""))]
    {
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect_v5("peer", |it| {
            it.properties.packet_bytes_max = bytes_max.and_then(|max: u32| max.try_into().ok());
        })
        .await;
        peer.send_bytes(&[0, 0]).await;
        let Packet::Disconnect(disconnect) = peer.expect().await else { panic!("no DISCONNECT") };
        let Disconnect { reason, session_expiry_s, properties, .. } = disconnect;
        assert_eq!((reason, session_expiry_s), (ReasonCode::MALFORMED_PACKET, None));
        let found = properties.reason_string.as_deref();
        assert_eq!(found.is_some(), words.is_some(), "{bytes_max:?}");
        assert!(found.is_none_or(|found| words.is_some_and(|words| found.starts_with(words))));
        assert!(properties.user.is_empty());
        assert_eq!(peer.next().await, None);
    }
}

/// mqtt-5 [MQTT-4.3.3-9] [MQTT-4.3.3-13]
#[tokio::test]
async fn a_refused_qos_2_publish_leaves_its_id_free() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let refused = publisher.publish_with(publish("t/#", "x", QoS::ExactlyOnce)).await;
    assert_eq!(refused, ReasonCode::TOPIC_NAME_INVALID);
    let fresh = publisher.publish_with(publish("t", "x", QoS::ExactlyOnce)).await;
    assert_eq!(fresh, ReasonCode::SUCCESS);
    assert_eq!(subscriber.received().await, "t x");
    let ack = Ack::new(id(77), ReasonCode::SUCCESS);
    publisher.send(Packet::PubRel(ack.clone())).await;
    assert_eq!(publisher.expect().await, Packet::PubComp(ack.clone()));
    // What expires at once is not delivered, and its exchange goes on.
    let mut gone = publish("t", "gone", QoS::ExactlyOnce);
    gone.properties.expiry_s = Some(0);
    assert_eq!(publisher.publish_with(gone).await, ReasonCode::SUCCESS);
    publisher.send(Packet::PubRel(ack.clone())).await;
    assert_eq!(publisher.expect().await, Packet::PubComp(ack));
    subscriber.expect_nothing().await;
}

/// mqtt-5 [MQTT-4.4.0-2]
#[tokio::test]
async fn what_a_client_refused_is_not_sent_again() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect(kept("peer", Version::V5)).await;
    peer.subscribe("t", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.publish_with(publish("t", "x", qos)).await;
        let Packet::Publish(message) = peer.expect().await else { panic!("no message") };
        let ack = Ack::new(message.packet_id.unwrap(), ReasonCode::QUOTA_EXCEEDED);
        peer.send(if qos == QoS::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) })
            .await;
    }
    peer.expect_nothing().await;
    drop(peer);
    let mut peer = Peer::plain(bed.plain).await;
    assert!(peer.connect(kept("peer", Version::V5)).await.session_present);
    peer.expect_nothing().await;
}

/// mqtt-5 [MQTT-4.8.2-3] [MQTT-4.8.2-6]
#[tokio::test]
async fn a_member_has_its_own_qos_and_its_refusal_counts_for_all() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    let mut one = bed.plain_peer("one").await;
    assert_eq!(one.subscribe("$share/g/t", QoS::AtMostOnce).await.0, 0);
    publisher.publish("t", "1").await;
    assert_eq!(one.message().await.qos, QoS::AtMostOnce);
    one.unsubscribe("$share/g/t").await;
    assert_eq!(one.subscribe("$share/g/t", QoS::AtLeastOnce).await.0, 1);
    publisher.publish("t", "2").await;
    let Packet::Publish(message) = one.expect().await else { panic!("no message") };
    assert_eq!(message.qos, QoS::AtLeastOnce);
    let mut two = bed.plain_peer("two").await;
    two.subscribe("$share/g/t", QoS::AtLeastOnce).await;
    let refusal = Ack::new(message.packet_id.unwrap(), ReasonCode::UNSPECIFIED_ERROR);
    one.send(Packet::PubAck(refusal)).await;
    one.expect_nothing().await;
    two.expect_nothing().await;
}

/// mqtt-3.1.1 and mqtt-5 [MQTT-3.1.3-5]
#[tokio::test]
async fn short_plain_client_ids_are_taken() {
    let bed = Testbed::new().await;
    for version in VERSIONS {
        for client in
            ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"]
        {
            peer(&bed, client, version).await.expect_nothing().await;
        }
    }
}
