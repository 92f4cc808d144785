//! AWS IoT's rules, where the configuration asks for them.

use picket_model::limits::MqttLimits;
use picket_mqtt::packet::{Publish, Subscribe, SubscribeOptions, Version, Will};
use picket_mqtt::{Packet, QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, text, will};
use crate::testbed::Testbed;

async fn bed() -> Testbed {
    Testbed::with(|limits| *limits = limits.within_aws()).await
}

#[test]
fn what_is_narrower_already_stays() {
    let narrow = MqttLimits {
        payload_bytes_max: 9,
        subscriptions_max: 2,
        topic_levels_max: 3,
        keep_alive_s_max: 60,
        ..MqttLimits::default()
    };
    let aws = narrow.within_aws();
    assert_eq!((aws.payload_bytes_max, aws.subscriptions_max, aws.topic_levels_max), (9, 2, 3));
    assert_eq!((aws.keep_alive_s_min, aws.keep_alive_s_max), (30, 60));
    assert_eq!((aws.filters_per_subscribe_max, aws.topic_bytes_max), (8, 256));
    let per_s = |publishes_per_s_max| {
        MqttLimits { publishes_per_s_max, ..narrow }.within_aws().publishes_per_s_max
    };
    assert_eq!([0, 99, 101].map(per_s), [100, 99, 100]);
    assert_eq!(aws.within_aws(), aws);
}

/// mqtt-5 [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11]
#[tokio::test]
async fn qos_1_is_the_highest() {
    let bed = bed().await;
    let mut peer = Peer::plain(bed.plain).await;
    let connack = peer.connect_v5("peer", |_| {}).await;
    assert_eq!(connack.properties.qos_max, Some(1));
    assert_eq!(peer.subscribe("t", QoS::ExactlyOnce).await.0, 1);
    assert_eq!(peer.publish("t", "x").await, ReasonCode::SUCCESS);
    assert_eq!(peer.message().await.qos, QoS::AtLeastOnce);
    peer.send(Packet::Publish(Box::new(publish("t", "x", QoS::ExactlyOnce)))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::QOS_NOT_SUPPORTED));
    bed.counted(r#"protocol_errors_total{reason="qos"}"#, 1).await;
    bed.counted(r#"disconnects_total{reason="CLIENT_ERROR"}"#, 1).await;

    let mut old = Peer::plain(bed.plain).await;
    old.connect(connect("old", Version::V311)).await;
    assert_eq!(old.subscribe("t", QoS::ExactlyOnce).await.0, 1);
    old.send(Packet::Publish(Box::new(publish("t", "x", QoS::ExactlyOnce)))).await;
    assert_eq!(old.closed().await, None);
}

/// mqtt-5 [MQTT-3.2.2-12]
#[tokio::test]
async fn a_will_at_qos_2_is_refused() {
    let bed = bed().await;
    let at_2 = || Some(Will { qos: QoS::ExactlyOnce, ..will("gone", "x") });
    let mut peer = Peer::plain(bed.plain).await;
    let wanted = picket_mqtt::packet::Connect { will: at_2(), ..connect("a", Version::V5) };
    assert_eq!(peer.connect(wanted).await.code, ReasonCode::QOS_NOT_SUPPORTED);
    assert_eq!(peer.next().await, None);
    let mut old = Peer::plain(bed.plain).await;
    old.version = Version::V311;
    let wanted = picket_mqtt::packet::Connect { will: at_2(), ..connect("a", Version::V311) };
    old.send(Packet::Connect(Box::new(wanted))).await;
    assert_eq!(old.next().await, None);
    bed.counted(r#"connections_refused_total{reason="will_qos"}"#, 2).await;
}

#[tokio::test]
async fn topics_have_8_levels_and_256_bytes() {
    let bed = bed().await;
    let mut peer = bed.plain_peer("peer").await;
    let long = |bytes| "x".repeat(bytes);
    for (topic, fits) in [
        ("a/b/c/d/e/f/g/h", true),
        ("a/b/c/d/e/f/g/h/i", false),
        ("a/b/c/d/e/f/g/", true),
        ("a/b/c/d/e/f/g//", false),
        (&*long(256), true),
        (&*long(257), false),
        ("$aws/things/T/defender/metrics/json/x", true),
    ] {
        let name = if fits { ReasonCode::SUCCESS } else { ReasonCode::TOPIC_NAME_INVALID };
        assert_eq!(peer.publish(topic, "x").await, name, "{topic}");
        let filter = if fits { ReasonCode::SUCCESS } else { ReasonCode::TOPIC_FILTER_INVALID };
        assert_eq!(peer.subscribe(topic, QoS::AtMostOnce).await, filter, "{topic}");
    }
}

#[tokio::test]
async fn a_number_sign_does_not_match_its_parent_level() {
    let bed = bed().await;
    let mut publisher = bed.plain_peer("publisher").await;
    for filter in ["sensor/#", "$share/g/sensor/#"] {
        let mut subscriber = bed.plain_peer("subscriber").await;
        subscriber.subscribe(filter, QoS::AtMostOnce).await;
        for topic in ["sensor", "sensor/", "sensor/a", "sensor/a/b"] {
            publisher.publish(topic, "x").await;
        }
        for topic in ["sensor/", "sensor/a", "sensor/a/b"] {
            assert_eq!(subscriber.received().await, format!("{topic} x"), "{filter}");
        }
        subscriber.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_session_has_50_subscriptions_and_a_packet_8() {
    let bed = bed().await;
    let mut peer = bed.plain_peer("peer").await;
    for n in 0..50 {
        assert_eq!(peer.subscribe(&format!("t/{n}"), QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    }
    assert_eq!(peer.subscribe("t/50", QoS::AtMostOnce).await, ReasonCode::QUOTA_EXCEEDED);
    // Of one that is there already only the options change.
    assert_eq!(peer.subscribe("t/0", QoS::AtLeastOnce).await.0, 1);

    let mut other = bed.plain_peer("other").await;
    let option = SubscribeOptions::default();
    let filters = (0..9).map(|n| (text(&format!("f/{n}")), option)).collect();
    let subscribe =
        Subscribe { packet_id: id(5), filters, subscription_id: None, user: Vec::new() };
    other.send(Packet::Subscribe(Box::new(subscribe))).await;
    let Packet::SubAck(codes) = other.expect().await else { panic!("no SUBACK") };
    let codes: Vec<_> = codes.codes.iter().map(|code| code.0).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 0x97]);
}

#[tokio::test]
async fn only_the_exact_filter_brings_a_retained_message() {
    let bed = bed().await;
    bed.plain_peer("publisher").await.retain("a/b", "kept").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    for filter in ["a/+", "a/#", "#", "+/b"] {
        subscriber.subscribe(filter, QoS::AtMostOnce).await;
        subscriber.expect_nothing().await;
    }
    subscriber.subscribe("a/b", QoS::AtMostOnce).await;
    assert_eq!(subscriber.received().await, "a/b kept");
    // What is published now comes by wildcard too, retained or not.
    bed.plain_peer("publisher").await.retain("a/c", "new").await;
    assert_eq!(subscriber.received().await, "a/c new");
}

#[tokio::test]
async fn a_payload_has_128_kib_whatever_else_is_configured() {
    let bed = Testbed::with(|limits| {
        limits.payload_bytes_max = 1024 * 1024;
        *limits = limits.within_aws();
    })
    .await;
    let mut peer = bed.plain_peer("peer").await;
    let of = |bytes: usize| Publish {
        payload: vec![7; bytes].into(),
        ..publish("t", "", QoS::AtLeastOnce)
    };
    assert_eq!(peer.publish_with(of(128 * 1024)).await, ReasonCode::SUCCESS);
    peer.send(Packet::Publish(Box::new(of(128 * 1024 + 1)))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::PACKET_TOO_LARGE));
}

/// mqtt-5 [MQTT-3.1.2-21] [MQTT-3.2.2-21] [MQTT-3.2.2-22]
#[tokio::test]
async fn keep_alive_lies_between_30_and_1200_seconds() {
    let bed = bed().await;
    for (asked, told) in
        [(0, Some(1200)), (1, Some(30)), (29, Some(30)), (30, None), (1201, Some(1200))]
    {
        let mut peer = Peer::plain(bed.plain).await;
        let connack = peer.connect_v5("peer", |it| it.keep_alive_s = asked).await;
        assert_eq!(connack.properties.server_keep_alive_s, told, "{asked}");
    }
}
