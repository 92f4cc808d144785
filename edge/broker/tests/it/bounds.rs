//! Bounds on what a client may ask for, and on what all of them hold together.

use picket_model::{DisconnectReason, Fact, Observation};
use picket_mqtt::packet::{
    Connect, Disconnect, Packet, Publish, Subscribe, SubscribeOptions, Version,
};
use picket_mqtt::session::UNRELEASED_MAX_V311;
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, text, will};
use crate::testbed::{Testbed, all_but};

fn kept(connect: &mut Connect) {
    connect.clean_start = false;
    connect.properties.session_expiry_s = Some(100);
}

fn refused(reason: &str) -> String {
    format!(r#"connections_refused_total{{reason="{reason}"}}"#)
}

/// Those of connected clients count, so that nobody is promised what is not there when it goes.
#[tokio::test]
async fn a_session_without_room_is_not_promised() {
    let bed = Testbed::with(|limits| limits.sessions_max = 2).await;
    let expiry_told = async |client: &str| {
        let mut peer = Peer::plain(bed.plain).await;
        let told = peer.connect_v5(client, kept).await.properties.session_expiry_s;
        (peer, told)
    };
    let (mut awake, told) = expiry_told("awake").await;
    assert_eq!(told, None);
    let (sleeper, told) = expiry_told("sleeper").await;
    assert_eq!(told, None);
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    bed.counted("sessions_kept", 1).await;

    let (third, told) = expiry_told("third").await;
    assert_eq!(told, Some(0));
    assert_eq!(bed.counter("sessions_not_kept_total"), 1);
    third.disconnect(ReasonCode::SUCCESS).await;
    assert_eq!(bed.counter("sessions_kept"), 1);
    let mut old = Peer::plain(bed.plain).await;
    let wanted = Connect { clean_start: false, ..connect("old", Version::V311) };
    assert_eq!(old.connect(wanted.clone()).await.code.0, 3);
    assert_eq!(old.next().await, None);
    bed.counted(&refused("sessions_full"), 1).await;

    // Who asks for none, and who has one already, is let in as ever.
    let mut old = Peer::plain(bed.plain).await;
    assert_eq!(old.connect(connect("old", Version::V311)).await.code.0, 0);
    old.disconnect(ReasonCode::SUCCESS).await;
    let mut sleeper = Peer::plain(bed.plain).await;
    let connack = sleeper.connect_v5("sleeper", kept).await;
    assert_eq!((connack.session_present, connack.properties.session_expiry_s), (true, None));
    // Whose session ends makes room.
    let for_good = Disconnect { session_expiry_s: Some(0), ..Disconnect::default() };
    sleeper.send(Packet::Disconnect(for_good)).await;
    sleeper.closed().await;
    let mut old = Peer::plain(bed.plain).await;
    assert_eq!(old.connect(wanted).await.code.0, 0);
    awake.expect_nothing().await;
}

/// Publishes in one go at a QoS, each with an id of its own.
async fn flood(peer: &mut Peer, qos: QoS, n: u16) {
    let packets = (1..=n).map(|number| {
        let packet_id = (qos > QoS::AtMostOnce).then(|| id(number));
        Packet::Publish(Box::new(Publish { packet_id, ..publish("t", "x", qos) }))
    });
    peer.send_all(packets).await;
}

/// A watcher, and a bed where a connection may publish once a second.
async fn slow_bed() -> (Testbed, Peer) {
    let bed = Testbed::with(|limits| limits.publishes_per_s_max = 1).await;
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("t", QoS::AtLeastOnce).await;
    (bed, watcher)
}

const TOO_FAST: &str = r#"dropped_total{reason="too_fast"}"#;

/// How many of a device's messages Detect was told of; waits for as many as are given.
async fn told_of(bed: &Testbed, device: &str, n: u64) {
    let count = |all: &[Observation]| -> u64 {
        let of_device = all.iter().filter(|it| it.device.as_str() == device);
        of_device.map(|it| if let Fact::Published(it) = &it.fact { it.count } else { 0 }).sum()
    };
    bed.observed("all that was published", |all| count(all) == n).await;
}

#[tokio::test]
async fn mqtt_5_is_told_what_it_publishes_too_fast() {
    let (bed, mut watcher) = slow_bed().await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let client = format!("at-{}", qos.as_u8());
        let mut peer = bed.plain_peer(&client).await;
        let before = bed.counter(TOO_FAST);
        flood(&mut peer, qos, 10).await;
        let mut n_refused = 0;
        for number in 1..=10 {
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = peer.expect().await else {
                panic!("no answer")
            };
            assert_eq!(ack.packet_id, id(number));
            let is_refused = ack.reason == ReasonCode::QUOTA_EXCEEDED;
            assert!(is_refused || ack.reason == ReasonCode::SUCCESS, "{}", ack.reason);
            assert!(!is_refused || number > 1, "the first one is in time");
            n_refused += u64::from(is_refused);
        }
        assert!(n_refused > 0);
        assert_eq!(bed.counter(TOO_FAST) - before, n_refused);
        for _ in n_refused..10 {
            assert_eq!(watcher.received().await, "t x");
        }
        watcher.expect_nothing().await;
        // It hides nothing from Detect.
        told_of(&bed, &client, 10).await;
        peer.expect_nothing().await;
    }
}

#[tokio::test]
async fn what_is_published_too_fast_at_qos_0_is_discarded() {
    let (bed, mut watcher) = slow_bed().await;
    for version in [Version::V311, Version::V5] {
        let client = format!("{version:?}");
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect(connect(&client, version)).await;
        let before = bed.counter(TOO_FAST);
        flood(&mut peer, QoS::AtMostOnce, 10).await;
        peer.expect_nothing().await;
        let n_refused = bed.counter(TOO_FAST) - before;
        assert!((1..10).contains(&n_refused), "{n_refused}");
        for _ in n_refused..10 {
            assert_eq!(watcher.received().await, "t x");
        }
        watcher.expect_nothing().await;
        told_of(&bed, &client, 10).await;
    }
}

#[tokio::test]
async fn mqtt_3_1_1_is_closed_where_no_packet_can_say_no() {
    let (bed, mut watcher) = slow_bed().await;
    for (n_closed, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect(connect("old", Version::V311)).await;
        flood(&mut peer, qos, 10).await;
        let mut n_taken = 0;
        while let Some(packet) = peer.next().await {
            assert!(matches!(packet, Packet::PubAck(_) | Packet::PubRec(_)), "{packet:?}");
            n_taken += 1;
        }
        assert!((1..10).contains(&n_taken), "{n_taken}");
        for _ in 0..n_taken {
            assert_eq!(watcher.received().await, "t x");
        }
        watcher.expect_nothing().await;
        bed.counted(r#"disconnects_total{reason="THROTTLED"}"#, n_closed).await;
        assert_eq!(bed.counter(TOO_FAST), n_closed);
    }
    let throttled = |fact: &Fact| matches!(fact, Fact::Disconnected { reason, .. } if *reason == DisconnectReason::Throttled);
    bed.fact("old", throttled).await;
}

/// Who floods what it may not publish is denied, and Detect is told of denials.
#[tokio::test]
async fn a_flood_of_denied_messages_stays_one_of_denials() {
    let bed = Testbed::with(|limits| limits.publishes_per_s_max = 1).await;
    let device = bed.device("device", &all_but("iot:Publish", "topic/t"));
    let mut peer = bed.tls_peer(&device, "device").await;
    flood(&mut peer, QoS::AtLeastOnce, 10).await;
    for _ in 0..10 {
        let Packet::PubAck(ack) = peer.expect().await else { panic!("no answer") };
        assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED);
    }
    assert_eq!(bed.counter(TOO_FAST), 0);
    assert_eq!(bed.counter(r#"denied_total{action="iot:Publish"}"#), 10);
}

/// MQTT 3.1.1 has no receive maximum to agree on.
#[tokio::test]
async fn qos_2_publishes_without_release_have_a_bound_in_mqtt_3_1_1() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect(connect("old", Version::V311)).await;
    for _ in 0..2 {
        flood(&mut peer, QoS::ExactlyOnce, UNRELEASED_MAX_V311).await;
    }
    for _ in 0..2 * u32::from(UNRELEASED_MAX_V311) {
        assert!(matches!(peer.expect().await, Packet::PubRec(_)));
    }
    let one_more = Publish {
        packet_id: Some(id(UNRELEASED_MAX_V311 + 1)),
        ..publish("t", "x", QoS::ExactlyOnce)
    };
    peer.send(Packet::Publish(Box::new(one_more))).await;
    assert_eq!(peer.closed().await, None);
    bed.counted(r#"protocol_errors_total{reason="receive_maximum"}"#, 1).await;
}

#[tokio::test]
async fn a_filter_without_room_is_refused_in_both_versions() {
    let bed = Testbed::with(|limits| {
        limits.subscriptions_max = 1;
        limits.filters_per_subscribe_max = 2;
        limits.topic_levels_max = 8;
    })
    .await;
    for (version, [room, form]) in [(Version::V311, [0x80, 0x80]), (Version::V5, [0x97, 0x8F])] {
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect(connect("peer", version)).await;
        let at_0 = SubscribeOptions::default();
        let filters = ["a", "b", "c"].map(|filter| (text(filter), at_0)).to_vec();
        let subscribe =
            Subscribe { packet_id: id(9), filters, subscription_id: None, user: Vec::new() };
        peer.send(Packet::Subscribe(Box::new(subscribe))).await;
        let Packet::SubAck(suback) = peer.expect().await else { panic!("no SUBACK") };
        assert_eq!(suback.codes.iter().map(|code| code.0).collect::<Vec<_>>(), [0, room, room]);
        assert_eq!(peer.subscribe("1/2/3/4/5/6/7/8/9", QoS::AtMostOnce).await.0, form);
        peer.disconnect(ReasonCode::SUCCESS).await;
    }
    let refused =
        |reason| bed.counter(&format!(r#"subscriptions_refused_total{{reason="{reason}"}}"#));
    assert_eq!((refused("session_full"), refused("packet_full")), (2, 2));
    assert_eq!(bed.counter(r#"protocol_errors_total{reason="topic_filter"}"#), 2);
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
