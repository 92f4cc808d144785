//! Messages from one client to another: QoS, wildcards, shared subscriptions, MQTT 5's extras.

use bytes::Bytes;
use picket_broker::InternalPublish;
use picket_mqtt::packet::{Ack, MessageProperties, Packet, Publish, SubscribeOptions, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, text};
use crate::testbed::{Testbed, all_but};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

async fn peer(bed: &Testbed, client: &str, version: Version) -> Peer {
    let mut peer = Peer::plain(bed.plain).await;
    assert_eq!(peer.connect(connect(client, version)).await.code, ReasonCode::SUCCESS);
    peer
}

/// The receiver's half of every QoS, for one message.
async fn take(peer: &mut Peer) -> Publish {
    let message = peer.message().await;
    if message.qos == QoS::ExactlyOnce {
        let Packet::PubRel(ack) = peer.expect().await else { panic!("no PUBREL") };
        assert_eq!(Some(ack.packet_id), message.packet_id);
        peer.send(Packet::PubComp(ack)).await;
    }
    message
}

/// The sender's half of every QoS, for one message.
async fn give(peer: &mut Peer, publish: Publish) {
    let qos = publish.qos;
    peer.send(Packet::Publish(Box::new(publish))).await;
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => assert!(matches!(peer.expect().await, Packet::PubAck(_))),
        QoS::ExactlyOnce => {
            let Packet::PubRec(ack) = peer.expect().await else { panic!("no PUBREC") };
            peer.send(Packet::PubRel(ack)).await;
            assert!(matches!(peer.expect().await, Packet::PubComp(_)));
        }
    }
}

/// mqtt-3.1.1 [MQTT-3.8.4-6], mqtt-5 [MQTT-3.8.4-8] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
#[tokio::test]
async fn a_message_arrives_at_the_smaller_qos_in_both_versions() {
    let bed = Testbed::new().await;
    for from in [Version::V311, Version::V5] {
        for to in [Version::V311, Version::V5] {
            let mut publisher = peer(&bed, "publisher", from).await;
            let mut subscriber = peer(&bed, "subscriber", to).await;
            for subscribed in QOS {
                assert_eq!(subscriber.subscribe("a/b", subscribed).await.0, subscribed.as_u8());
                for published in QOS {
                    give(&mut publisher, publish("a/b", "x", published)).await;
                    let message = take(&mut subscriber).await;
                    assert_eq!(message.qos, published.min(subscribed));
                    assert_eq!((&*message.topic, &message.payload[..]), ("a/b", &b"x"[..]));
                    assert!(!message.retain && !message.dup);
                }
            }
            subscriber.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_routed_once() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("t", QoS::ExactlyOnce).await;
    let first = publish("t", "once", QoS::ExactlyOnce);
    let again = Publish { dup: true, ..first.clone() };
    assert_eq!(publisher.publish_with(first).await, ReasonCode::SUCCESS);
    assert_eq!(publisher.publish_with(again).await, ReasonCode::SUCCESS);
    publisher.send(Packet::PubRel(Ack::new(id(77), ReasonCode::SUCCESS))).await;
    assert!(matches!(publisher.expect().await, Packet::PubComp(_)));
    assert_eq!(take(&mut subscriber).await.payload, "once");
    subscriber.expect_nothing().await;
}

/// mqtt-3.1.1 and mqtt-5 [MQTT-3.3.2-3] [MQTT-4.7.2-1]
#[tokio::test]
async fn wildcards_find_their_topics_and_only_those() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    for (filter, wanted) in [
        ("a/+", "a/b"),
        ("a/#", "a a/b a/b/c"),
        ("#", "a a/b a/b/c b"),
        ("+/b/c", "a/b/c"),
        ("$aws/+", "$aws/x"),
        ("+", "a b"),
    ] {
        let mut subscriber = bed.plain_peer("subscriber").await;
        subscriber.subscribe(filter, QoS::AtMostOnce).await;
        for topic in ["a", "a/b", "a/b/c", "b", "$aws/x"] {
            assert_eq!(publisher.publish(topic, "").await, ReasonCode::SUCCESS);
        }
        for topic in wanted.split(' ') {
            assert_eq!(*subscriber.message().await.topic, *topic, "{filter}");
        }
        subscriber.expect_nothing().await;
    }
}

/// [MQTT-3.3.5-1], mqtt-5 [MQTT-3.3.4-2] [MQTT-3.3.4-3]
#[tokio::test]
async fn overlapping_subscriptions_bring_a_message_once_with_all_ids() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    let at = |qos| SubscribeOptions { qos, ..SubscribeOptions::default() };
    subscriber.subscribe_with("a/#", at(QoS::AtMostOnce), Some(5)).await;
    subscriber.subscribe_with("a/+", at(QoS::AtLeastOnce), Some(7)).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish("a/b", "x").await;
    let message = subscriber.message().await;
    let mut ids = message.subscription_ids.clone();
    ids.sort_unstable();
    assert_eq!((ids, message.qos), (vec![5, 7], QoS::AtLeastOnce));
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn an_unsubscribed_filter_brings_nothing() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    assert_eq!(subscriber.unsubscribe("a").await, [ReasonCode::SUCCESS]);
    assert_eq!(subscriber.unsubscribe("a").await, [ReasonCode::NO_SUBSCRIPTION_EXISTED]);
    bed.plain_peer("publisher").await.publish("a", "x").await;
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn a_shared_subscription_gives_each_message_to_one_member() {
    let bed = Testbed::new().await;
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let mut member = bed.plain_peer(name).await;
        assert_eq!(member.subscribe("$share/g/job/+", QoS::AtLeastOnce).await.0, 1);
        members.push(member);
    }
    let mut alone = bed.plain_peer("alone").await;
    alone.subscribe("$share/other/job/#", QoS::AtMostOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for number in 0..4 {
        publisher.publish("job/x", &number.to_string()).await;
    }
    let mut shared = Vec::new();
    for member in &mut members {
        for _ in 0..2 {
            shared.push(member.received().await);
        }
        member.expect_nothing().await;
    }
    shared.sort_unstable();
    assert_eq!(shared, ["job/x 0", "job/x 1", "job/x 2", "job/x 3"]);
    for number in 0..4 {
        assert_eq!(alone.received().await, format!("job/x {number}"));
    }
    // Whoever is left gets all.
    members.remove(0).disconnect(ReasonCode::SUCCESS).await;
    for number in 4..6 {
        publisher.publish("job/x", &number.to_string()).await;
        assert_eq!(members[0].received().await, format!("job/x {number}"));
    }
}

/// mqtt-5 section 4.8.2 leaves to the server who gets a message; one who may not have it does not.
#[tokio::test]
async fn a_shared_message_goes_to_a_member_that_may_have_it() {
    let bed = Testbed::new().await;
    let deny = all_but("iot:Receive", "topic/job/secret");
    let mut deaf = Vec::new();
    for name in ["deaf-1", "deaf-2"] {
        let device = bed.device(name, &deny);
        let mut peer = bed.tls_peer(&device, name).await;
        peer.subscribe("$share/g/job/+", QoS::AtLeastOnce).await;
        deaf.push(peer);
    }
    let mut able = bed.plain_peer("able").await;
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        retain_as_published: true,
        ..SubscribeOptions::default()
    };
    able.subscribe_with("$share/g/job/+", options, Some(7)).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for number in 0..9 {
        publisher.retain("job/secret", &number.to_string()).await;
        let message = able.message().await;
        assert_eq!(message.payload, number.to_string());
        assert_eq!((message.retain, &message.subscription_ids[..]), (true, &[7][..]));
    }
    assert_eq!(bed.counter(r#"dropped_total{reason="receive_denied"}"#), 0);
    // When nobody is left, it is dropped, once.
    able.disconnect(ReasonCode::SUCCESS).await;
    publisher.publish("job/secret", "x").await;
    bed.counted(r#"dropped_total{reason="receive_denied"}"#, 1).await;
    for peer in &mut deaf {
        peer.expect_nothing().await;
    }
    publisher.publish("job/open", "y").await;
    publisher.publish("job/open", "y").await;
    for peer in &mut deaf {
        assert_eq!(peer.received().await, "job/open y");
    }
}

#[tokio::test]
async fn a_shared_message_does_not_go_around_in_a_large_group_that_may_not_have_it() {
    let bed = Testbed::new().await;
    let mut deaf = Vec::new();
    for number in 0..20 {
        let name = format!("deaf-{number}");
        let device = bed.device(&name, &all_but("iot:Receive", "topic/secret"));
        let mut peer = bed.tls_peer(&device, &name).await;
        peer.subscribe("$share/g/secret", QoS::AtMostOnce).await;
        deaf.push(peer);
    }
    bed.plain_peer("publisher").await.publish("secret", "x").await;
    bed.counted(r#"dropped_total{reason="receive_denied"}"#, 1).await;
    assert_eq!(bed.counter(r#"denied_total{action="iot:Receive"}"#), 17);
}

/// mqtt-5 [MQTT-3.8.3-3], [MQTT-3.3.1-13]
#[tokio::test]
async fn no_local_and_retain_as_published_do_as_they_say() {
    let bed = Testbed::new().await;
    let mut own = bed.plain_peer("own").await;
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    own.subscribe_with("t", no_local, None).await;
    own.publish("t", "mine").await;
    own.expect_nothing().await;

    let mut keeps_flag = bed.plain_peer("keeps-flag").await;
    let as_published =
        SubscribeOptions { retain_as_published: true, ..SubscribeOptions::default() };
    keeps_flag.subscribe_with("t", as_published, None).await;
    bed.plain_peer("publisher").await.retain("t", "kept").await;
    assert!(keeps_flag.message().await.retain);
    assert!(!own.message().await.retain);
}

/// mqtt-5 [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
/// [MQTT-3.3.2-20]
#[tokio::test]
async fn what_mqtt_5_says_of_a_message_travels_with_it() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    let properties = MessageProperties {
        payload_is_utf8: Some(true),
        expiry_s: Some(100),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("answer")),
        correlation_data: Some(Bytes::from_static(b"42")),
        user: vec![(text("k"), text("1")), (text("k"), text("2"))],
    };
    let sent = Publish { properties: properties.clone(), ..publish("t", "x", QoS::AtLeastOnce) };
    bed.plain_peer("publisher").await.publish_with(sent).await;
    assert_eq!(subscriber.message().await.properties, properties);
    // The same message goes to a client of MQTT 3.1.1 without them.
    let mut old = peer(&bed, "old", Version::V311).await;
    old.subscribe("t", QoS::AtMostOnce).await;
    let sent = Publish { properties, ..publish("t", "x", QoS::AtLeastOnce) };
    bed.plain_peer("publisher").await.publish_with(sent).await;
    assert_eq!(old.received().await, "t x");
}

#[tokio::test]
async fn topic_aliases_stand_for_topics_both_ways() {
    let bed = Testbed::new().await;
    let mut subscriber = Peer::plain(bed.plain).await;
    subscriber.connect_v5("subscriber", |it| it.properties.topic_alias_max = Some(1)).await;
    subscriber.subscribe("#", QoS::AtMostOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let first = Publish { topic_alias: Some(3), ..publish("a", "1", QoS::AtLeastOnce) };
    let second = Publish { topic_alias: Some(3), ..publish("", "2", QoS::AtLeastOnce) };
    assert_eq!(publisher.publish_with(first).await, ReasonCode::SUCCESS);
    assert_eq!(publisher.publish_with(second).await, ReasonCode::SUCCESS);
    let (first, second) = (subscriber.message().await, subscriber.message().await);
    assert_eq!((&*first.topic, first.topic_alias), ("a", Some(1)));
    assert_eq!((&*second.topic, second.topic_alias, &second.payload[..]), ("", Some(1), &b"2"[..]));
}

/// mqtt-5 [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
#[tokio::test]
async fn no_more_is_in_flight_than_the_client_takes() {
    let bed = Testbed::new().await;
    let mut subscriber = Peer::plain(bed.plain).await;
    subscriber.connect_v5("subscriber", |it| it.properties.receive_max = Some(id(2))).await;
    subscriber.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for number in 0..4 {
        publisher.publish("t", &number.to_string()).await;
    }
    let mut open = Vec::new();
    for _ in 0..2 {
        let Packet::Publish(publish) = subscriber.expect().await else { panic!("no message") };
        open.extend(publish.packet_id);
    }
    subscriber.expect_nothing().await;
    subscriber.send(Packet::PubAck(Ack::new(open[0], ReasonCode::SUCCESS))).await;
    assert_eq!(subscriber.received().await, "t 2");
    assert_eq!(subscriber.received().await, "t 3");
}

#[tokio::test]
async fn the_servers_own_messages_reach_subscribers() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("$aws/things/#", QoS::AtLeastOnce).await;
    let message = |topic: &str| InternalPublish {
        topic: topic.to_owned(),
        payload: Bytes::from_static(b"x"),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: MessageProperties::default(),
    };
    bed.broker.publish(message("$aws/things/a")).unwrap();
    assert_eq!(subscriber.received().await, "$aws/things/a x");
    let mut late = bed.plain_peer("late").await;
    late.subscribe("$aws/things/#", QoS::AtLeastOnce).await;
    assert_eq!(late.received().await, "$aws/things/a x");
    let refused = bed.broker.publish(message("a/#")).unwrap_err().to_string();
    assert_eq!(refused, "topic name: `a/#` contains a wildcard");
    let large = InternalPublish { payload: vec![0; 131_073].into(), ..message("a") };
    let refused = bed.broker.publish(large).unwrap_err().to_string();
    assert_eq!(refused, "payload of 131073 bytes; at most 131072 are allowed");
}

/// A slow client fills its own queue; the publisher and its other subscribers do not wait for it.
#[tokio::test]
async fn a_client_that_does_not_acknowledge_loses_what_its_queue_does_not_hold() {
    let bed = Testbed::with(|limits| {
        limits.inflight_max = 2;
        limits.queue_messages_max = 3;
    })
    .await;
    let mut slow = bed.plain_peer("slow").await;
    slow.subscribe("t", QoS::AtLeastOnce).await;
    let mut quick = bed.plain_peer("quick").await;
    quick.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let mut open = Vec::new();
    for number in 0..8 {
        publisher.publish("t", &number.to_string()).await;
        assert_eq!(quick.received().await, format!("t {number}"));
        if number < 2 {
            let Packet::Publish(publish) = slow.expect().await else { panic!("no message") };
            open.extend(publish.packet_id);
        }
    }
    assert_eq!(bed.counter(r#"dropped_total{reason="queue_full"}"#), 3);
    for packet_id in open {
        slow.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))).await;
    }
    for number in 2..5 {
        assert_eq!(slow.received().await, format!("t {number}"));
    }
    slow.expect_nothing().await;
}
