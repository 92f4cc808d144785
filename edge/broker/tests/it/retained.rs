//! Retained messages.

use picket_model::limits::RETAINED_PER_CLIENT_MAX;
use picket_mqtt::packet::{MessageProperties, Publish, RetainHandling, SubscribeOptions, Will};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, publish, will};
use crate::testbed::{ALLOW_ALL, Testbed, all_but};

#[tokio::test]
async fn a_new_subscription_brings_the_last_retained_message() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("a/b", "old").await;
    publisher.retain("a/b", "new").await;
    publisher.retain("a/c", "other").await;
    publisher.publish("a/d", "not retained").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("a/#", QoS::AtLeastOnce).await;
    let first = subscriber.message().await;
    assert!(first.retain);
    assert_eq!((&*first.topic, &first.payload[..]), ("a/b", &b"new"[..]));
    assert_eq!(subscriber.received().await, "a/c other");
    subscriber.expect_nothing().await;
    assert_eq!(bed.counter("retained"), 2);
}

/// [MQTT-3.3.1-10], mqtt-5 [MQTT-3.3.1-6]
#[tokio::test]
async fn an_empty_payload_removes_the_retained_message() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("t", "x").await;
    publisher.retain("t", "").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("t", QoS::AtLeastOnce).await;
    subscriber.expect_nothing().await;
    assert_eq!((bed.counter("retained"), bed.counter("retained_bytes")), (0, 0));
}

/// mqtt-5 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[tokio::test]
async fn retain_handling_says_when_they_come() {
    let bed = Testbed::new().await;
    bed.plain_peer("publisher").await.retain("t", "x").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    for (retain_handling, comes) in [
        (RetainHandling::Never, false),
        (RetainHandling::WhenNew, false),
        (RetainHandling::Always, true),
    ] {
        let options = SubscribeOptions { retain_handling, ..SubscribeOptions::default() };
        subscriber.subscribe_with("t", options, None).await;
        if comes {
            assert_eq!(subscriber.received().await, "t x");
        }
        subscriber.expect_nothing().await;
    }
    // None comes to a shared subscription (mqtt-5 section 4.8.2).
    subscriber.subscribe("$share/g/t", QoS::AtMostOnce).await;
    subscriber.expect_nothing().await;
}

/// mqtt-5 [MQTT-3.3.2-5]
#[tokio::test]
async fn an_expired_message_is_not_brought() {
    let bed = Testbed::new().await;
    let properties = MessageProperties { expiry_s: Some(0), ..MessageProperties::default() };
    let gone = Publish { retain: true, properties, ..publish("t", "x", QoS::AtLeastOnce) };
    assert_eq!(bed.plain_peer("p").await.publish_with(gone).await, ReasonCode::SUCCESS);
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn one_client_does_not_fill_the_room_of_all() {
    let bed = Testbed::with(|limits| limits.retained_messages_max = 2).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for topic in ["a", "b", "c", "d"] {
        assert_eq!(publisher.retain(topic, "x").await, ReasonCode::SUCCESS);
    }
    assert_eq!(bed.counter("retained"), 2);
    assert_eq!(bed.counter(r#"dropped_total{reason="retained_full"}"#), 2);
    // A topic that has one may change it.
    publisher.retain("a", "y").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    assert_eq!(subscriber.received().await, "a y");
}

/// Neither does one that comes again and again.
#[tokio::test]
async fn what_a_client_retains_is_counted_over_its_connections() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let half = RETAINED_PER_CLIENT_MAX / 2;
    for connection in 0..3 {
        let mut peer = bed.tls_peer(&device, "device").await;
        for n in 0..half {
            peer.retain(&format!("{connection}/{n}"), "x").await;
        }
        peer.disconnect(ReasonCode::SUCCESS).await;
    }
    assert_eq!(bed.counter("retained"), RETAINED_PER_CLIENT_MAX as u64);
    assert_eq!(bed.counter(r#"dropped_total{reason="retained_full"}"#), half as u64);
    // What it removes makes room, whichever connection it was from; what it changes needs none.
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.retain("0/0", "").await;
    peer.retain("new", "x").await;
    peer.retain("1/1", "y").await;
    assert_eq!(bed.counter("retained"), RETAINED_PER_CLIENT_MAX as u64);
    assert_eq!(bed.counter(r#"dropped_total{reason="retained_full"}"#), half as u64);
    // Another device has room of its own.
    bed.plain_peer("other").await.retain("other", "x").await;
    assert_eq!(bed.counter("retained"), RETAINED_PER_CLIENT_MAX as u64 + 1);
}

#[tokio::test]
async fn expired_messages_make_room() {
    let bed = Testbed::with(|limits| limits.retained_messages_max = 1).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let properties = MessageProperties { expiry_s: Some(0), ..MessageProperties::default() };
    let gone = Publish { retain: true, properties, ..publish("old", "x", QoS::AtLeastOnce) };
    publisher.publish_with(gone).await;
    assert_eq!(bed.counter("retained"), 1);
    publisher.retain("new", "y").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("#", QoS::AtMostOnce).await;
    assert_eq!(subscriber.received().await, "new y");
}

/// A retained will speaks for its client as any other retained message does.
#[tokio::test]
async fn a_retained_will_is_kept_as_long_as_its_clients_right() {
    let bed = Testbed::new().await;
    let device = bed.device("mortal", ALLOW_ALL);
    let mut mortal = Peer::tls(&bed, Some(&device)).await;
    mortal
        .connect_v5("mortal", |it| it.will = Some(Will { retain: true, ..will("gone", "mortal") }))
        .await;
    drop(mortal);
    bed.counted("retained", 1).await;
    bed.changed(bed.registry.set_policy("mortal", &all_but("iot:RetainPublish", "topic/gone")));
    bed.counted("retained", 0).await;
}
