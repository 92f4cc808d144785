//! Bounds on what all sessions hold together.

use picket_mqtt::packet::{Connect, Packet, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, will};
use crate::testbed::Testbed;

fn kept(connect: &mut Connect) {
    connect.clean_start = false;
    connect.properties.session_expiry_s = Some(100);
}

#[tokio::test]
async fn subscriptions_of_all_sessions_have_a_bound() {
    let bed = Testbed::with(|limits| limits.subscriptions_in_all_max = 3).await;
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect_v5("sleeper", kept).await;
    let mut old = Peer::plain(bed.plain).await;
    old.connect(connect("old", Version::V311)).await;
    for filter in ["a", "$share/g/a"] {
        assert_eq!(sleeper.subscribe(filter, QoS::AtMostOnce).await.0, 0);
    }
    // Those of absent clients count.
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    for (filter, code) in [("$share/g/a", 0), ("b", 0x80), ("$share/g/a", 0), ("$share/h/a", 0x80)]
    {
        assert_eq!(old.subscribe(filter, QoS::AtMostOnce).await.0, code, "{filter}");
    }
    assert_eq!(bed.counter(r#"subscriptions_refused_total{reason="all_full"}"#), 2);
    // What is given up makes room: by unsubscribing, and by the end of a session.
    old.unsubscribe("$share/g/a").await;
    assert_eq!(old.subscribe("b", QoS::AtMostOnce).await.0, 0);
    let mut other = bed.plain_peer("other").await;
    assert_eq!(other.subscribe("c", QoS::AtMostOnce).await, ReasonCode::QUOTA_EXCEEDED);
    let anew = bed.plain_peer("sleeper").await;
    for filter in ["c", "$share/g/c"] {
        assert_eq!(other.subscribe(filter, QoS::AtMostOnce).await.0, 0, "{filter}");
    }
    assert_eq!(other.subscribe("d", QoS::AtMostOnce).await, ReasonCode::QUOTA_EXCEEDED);
    anew.disconnect(ReasonCode::SUCCESS).await;
}

#[tokio::test]
async fn what_waits_for_all_clients_has_a_bound() {
    let bed = Testbed::with(|limits| limits.queues_bytes_max = 64 * 1024).await;
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect_v5("sleeper", kept).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let payload = "x".repeat(10_000);
    for _ in 0..8 {
        assert_eq!(publisher.publish("t", &payload).await, ReasonCode::SUCCESS);
    }
    assert_eq!(bed.counter(r#"dropped_total{reason="all_queues_full"}"#), 2);
    assert_eq!(bed.counter("queues_bytes"), 60 * 1024);
    // Who takes its messages at once still gets them: a few small ones need no room of all's.
    let mut awake = bed.plain_peer("awake").await;
    awake.subscribe("u", QoS::AtLeastOnce).await;
    for number in 0..100 {
        publisher.publish("u", &number.to_string()).await;
        assert_eq!(awake.received().await, format!("u {number}"));
    }
    // The end of the session makes room.
    bed.plain_peer("sleeper").await;
    bed.counted("queues_bytes", 0).await;
    awake.disconnect(ReasonCode::SUCCESS).await;
}

/// What was sent and not acknowledged is held as well.
#[tokio::test]
async fn what_is_not_acknowledged_counts() {
    let bed = Testbed::with(|limits| limits.queues_bytes_max = 64 * 1024).await;
    let mut lazy = Peer::plain(bed.plain).await;
    lazy.connect_v5("lazy", |it| it.properties.receive_max = Some(id(100))).await;
    lazy.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let payload = "x".repeat(10_000);
    let mut open = Vec::new();
    for _ in 0..8 {
        publisher.publish("t", &payload).await;
        if open.len() < 6 {
            let Packet::Publish(publish) = lazy.expect().await else { panic!("no message") };
            open.extend(publish.packet_id);
        }
    }
    assert_eq!(bed.counter(r#"dropped_total{reason="all_queues_full"}"#), 2);
    for packet_id in open {
        let ack = picket_mqtt::packet::Ack::new(packet_id, ReasonCode::SUCCESS);
        lazy.send(Packet::PubAck(ack)).await;
    }
    bed.counted("queues_bytes", 0).await;
    publisher.publish("t", &payload).await;
    assert_eq!(lazy.message().await.payload, payload);
}

#[tokio::test]
async fn a_delayed_will_without_room_is_sent_at_once() {
    let bed = Testbed::with(|limits| limits.delayed_wills_bytes_max = 3_000).await;
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let mortal = async |name: &str, bytes: usize| {
        let mut mortal = Peer::plain(bed.plain).await;
        mortal
            .connect_v5(name, |it| {
                kept(it);
                let mut will = will("gone", &name.repeat(bytes));
                will.delay_s = Some(50);
                it.will = Some(will);
            })
            .await;
    };
    mortal("a", 1000).await;
    bed.counted("sessions_kept", 1).await;
    mortal("b", 1000).await;
    assert_eq!(watcher.received().await, format!("gone {}", "b".repeat(1000)));
    assert_eq!(bed.counter("wills_hurried_total"), 1);
    // Who is back in time makes room.
    let mut back = Peer::plain(bed.plain).await;
    assert!(back.connect_v5("a", kept).await.session_present);
    mortal("c", 1000).await;
    bed.counted("sessions_kept", 2).await;
    watcher.expect_nothing().await;
    assert_eq!(bed.counter("wills_hurried_total"), 1);
}
