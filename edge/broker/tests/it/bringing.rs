//! More retained messages than a mailbox holds.

use bytes::Bytes;
use picket_broker::InternalPublish;
use picket_mqtt::packet::{
    Ack, MessageProperties, Packet, PacketId, RetainHandling, SubscribeOptions,
};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, id};
use crate::testbed::Testbed;

/// A broker with mailboxes for so many messages, and twenty times as many retained.
async fn bed(mailbox: usize) -> (Testbed, Vec<String>) {
    let bed = Testbed::with(|limits| limits.queue_messages_max = mailbox).await;
    let topics: Vec<String> = (0..mailbox * 20).map(|n| format!("r/{n:05}")).collect();
    for topic in &topics {
        retain(&bed, topic, "x");
    }
    (bed, topics)
}

fn retain(bed: &Testbed, topic: &str, payload: &'static str) {
    let publish = InternalPublish {
        topic: topic.to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: MessageProperties::default(),
    };
    bed.broker.publish(publish).unwrap();
}

async fn topics(peer: &mut Peer, n: usize) -> Vec<String> {
    let mut topics = Vec::new();
    for _ in 0..n {
        topics.push(peer.message().await.topic.to_string());
    }
    topics
}

/// The next message, not acknowledged.
async fn unacknowledged(peer: &mut Peer) -> (String, PacketId) {
    let Packet::Publish(publish) = peer.expect().await else { panic!("no message") };
    (publish.topic.to_string(), publish.packet_id.unwrap())
}

fn always(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, retain_handling: RetainHandling::Always, ..Default::default() }
}

#[tokio::test]
async fn all_retained_messages_come_however_small_the_mailbox() {
    for mailbox in [1, 2, 50] {
        let (bed, wanted) = bed(mailbox).await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut peer = Peer::plain(bed.plain).await;
            peer.connect_v5("subscriber", |it| it.properties.receive_max = Some(id(500))).await;
            peer.subscribe("r/+", qos).await;
            let mut found = Vec::new();
            while found.len() < wanted.len() {
                match peer.expect().await {
                    Packet::Publish(publish) => {
                        assert!(publish.retain);
                        found.push(publish.topic.to_string());
                        if let Some(packet_id) = publish.packet_id {
                            let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                            let is_twice = qos == QoS::ExactlyOnce;
                            let packet =
                                if is_twice { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
                            peer.send(packet).await;
                        }
                    }
                    Packet::PubRel(ack) => {
                        peer.send(Packet::PubComp(Ack::new(ack.packet_id, ack.reason))).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(found, wanted, "{mailbox} {qos:?}");
            assert_eq!(bed.counter(r#"dropped_total{reason="queue_full"}"#), 0);
        }
    }
}

#[tokio::test]
async fn other_messages_find_room_meanwhile() {
    let (bed, wanted) = bed(8).await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("subscriber", |it| it.properties.receive_max = Some(id(1))).await;
    peer.subscribe("live", QoS::AtLeastOnce).await;
    peer.subscribe("r/#", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for payload in ["1", "2"] {
        publisher.publish("live", payload).await;
    }
    let found = topics(&mut peer, wanted.len() + 2).await;
    assert_eq!(found.iter().filter(|topic| *topic == "live").count(), 2);
    assert_eq!(found.iter().filter(|topic| *topic != "live").collect::<Vec<_>>(), {
        wanted.iter().collect::<Vec<_>>()
    });
    assert!(found.iter().position(|topic| topic == "live") < Some(10), "they do not come last");
    assert_eq!(bed.counter(r#"dropped_total{reason="queue_full"}"#), 0);
}

#[tokio::test]
async fn a_session_that_goes_on_is_brought_the_rest() {
    let (bed, wanted) = bed(4).await;
    let connect = |connect: &mut picket_mqtt::packet::Connect| {
        connect.clean_start = false;
        connect.properties.session_expiry_s = Some(100);
        connect.properties.receive_max = Some(id(2));
    };
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("sleeper", connect).await;
    peer.subscribe("r/#", QoS::AtLeastOnce).await;
    let mut found = topics(&mut peer, 10).await;
    peer.disconnect(ReasonCode::SUCCESS).await;
    let mut peer = Peer::plain(bed.plain).await;
    assert!(peer.connect_v5("sleeper", connect).await.session_present);
    while found.last() != wanted.last() {
        // What it was sent and did not acknowledge in time comes again.
        let topic = peer.message().await.topic.to_string();
        if !found.contains(&topic) {
            found.push(topic);
        }
    }
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn who_unsubscribes_is_brought_no_more_and_who_subscribes_again_all() {
    let (bed, wanted) = bed(4).await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("subscriber", |it| it.properties.receive_max = Some(id(1))).await;
    peer.subscribe("r/#", QoS::AtLeastOnce).await;
    let (topic, first) = unacknowledged(&mut peer).await;
    assert_eq!(topic, wanted[0]);
    peer.unsubscribe("r/#").await;
    peer.send(Packet::PubAck(Ack::new(first, ReasonCode::SUCCESS))).await;
    // What lay in the mailbox still comes.
    let mut n_more = 0;
    loop {
        peer.send(Packet::PingReq).await;
        match peer.expect().await {
            Packet::PingResp => break,
            Packet::Publish(publish) => {
                n_more += 1;
                let ack = Ack::new(publish.packet_id.unwrap(), ReasonCode::SUCCESS);
                peer.send(Packet::PubAck(ack)).await;
                assert_eq!(peer.expect().await, Packet::PingResp);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(n_more <= 4, "{n_more} more");
    peer.subscribe_with("r/#", always(QoS::AtLeastOnce), None).await;
    let (topic, first) = unacknowledged(&mut peer).await;
    assert_eq!(topic, wanted[0]);
    // Again in the middle of it: from the beginning, after what lies in the mailbox.
    peer.subscribe_with("r/#", always(QoS::AtLeastOnce), None).await;
    peer.send(Packet::PubAck(Ack::new(first, ReasonCode::SUCCESS))).await;
    let mut found = Vec::new();
    while found.last() != wanted.last() {
        found.extend(topics(&mut peer, 1).await);
    }
    assert_eq!(found.iter().rev().take(wanted.len()).rev().collect::<Vec<_>>(), {
        wanted.iter().collect::<Vec<_>>()
    });
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_message_too_large_for_the_mailbox_is_left_out_and_counted() {
    let bed = Testbed::with(|limits| limits.queue_bytes_max = 4096).await;
    retain(&bed, "a", "x");
    let large = "x".repeat(5000);
    bed.plain_peer("publisher").await.retain("b", &large).await;
    retain(&bed, "c", "x");
    let mut peer = bed.plain_peer("subscriber").await;
    peer.subscribe("#", QoS::AtMostOnce).await;
    assert_eq!(topics(&mut peer, 2).await, ["a", "c"]);
    assert_eq!(bed.counter(r#"dropped_total{reason="queue_full"}"#), 1);
}
