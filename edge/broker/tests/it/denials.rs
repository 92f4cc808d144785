//! What a client meets that asks for what its policies deny.

use picket_model::{Fact, Observation};
use picket_mqtt::packet::{Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, publish};
use crate::testbed::{Testbed, all_but};

async fn denied_peer(bed: &Testbed, version: Version, action: &str, resource: &str) -> Peer {
    let device = bed.device("device", &all_but(action, resource));
    let mut peer = Peer::tls(bed, Some(&device)).await;
    assert_eq!(peer.connect(connect("device", version)).await.code, ReasonCode::SUCCESS);
    peer
}

/// Waits for so many authorization failures of `device`, and no more, for one request.
async fn failures(bed: &Testbed, action: &'static str, resource: &str, expected: u64) {
    let total = |all: &[Observation]| {
        let of_device = all.iter().filter(|it| it.device.as_str() == "device");
        let counts = of_device.filter_map(|it| match &it.fact {
            Fact::Denied(it) if it.last_action == action && *it.last_resource == *resource => {
                Some(it.count)
            }
            _ => None,
        });
        counts.sum::<u64>()
    };
    let all = bed.observed("the authorization failures", |all| total(all) >= expected).await;
    assert_eq!(total(&all), expected);
}

#[tokio::test]
async fn a_denied_publish_closes_mqtt_3_1_1() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let bed = Testbed::new().await;
        let mut peer = denied_peer(&bed, Version::V311, "iot:Publish", "topic/secret").await;
        peer.send(Packet::Publish(Box::new(publish("secret", "x", qos)))).await;
        assert_eq!(peer.next().await, None, "{qos:?}");
        failures(&bed, "iot:Publish", "secret", 1).await;
        assert_eq!(bed.counter(r#"denied_total{action="iot:Publish"}"#), 1);
    }
}

#[tokio::test]
async fn a_denied_publish_is_answered_in_mqtt_5_or_closes_at_qos_0() {
    let bed = Testbed::new().await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    let mut peer = denied_peer(&bed, Version::V5, "iot:Publish", "topic/secret").await;
    assert_eq!(peer.publish("secret", "x").await, ReasonCode::NOT_AUTHORIZED);
    let at_2 = publish("secret", "x", QoS::ExactlyOnce);
    assert_eq!(peer.publish_with(at_2).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(peer.publish("open", "x").await, ReasonCode::SUCCESS);
    peer.send(Packet::Publish(Box::new(publish("secret", "x", QoS::AtMostOnce)))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(subscriber.received().await, "open x");
    subscriber.expect_nothing().await;
    assert_eq!(bed.counter(r#"denied_total{action="iot:Publish"}"#), 3);
    assert_eq!(bed.counter("messages_in_total"), 1);
}

#[tokio::test]
async fn a_retained_publish_needs_a_right_of_its_own() {
    let bed = Testbed::new().await;
    let mut peer = denied_peer(&bed, Version::V5, "iot:RetainPublish", "topic/*").await;
    assert_eq!(peer.retain("t", "x").await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(peer.publish("t", "x").await, ReasonCode::SUCCESS);
    assert_eq!(bed.counter(r#"denied_total{action="iot:RetainPublish"}"#), 1);
    assert_eq!(bed.counter("retained"), 0);
}

#[tokio::test]
async fn a_denied_subscription_is_refused_and_the_client_stays() {
    for (version, code) in [(Version::V311, 0x80), (Version::V5, 0x87)] {
        let bed = Testbed::new().await;
        let mut peer = denied_peer(&bed, version, "iot:Subscribe", "topicfilter/secret").await;
        assert_eq!(peer.subscribe("secret", QoS::AtLeastOnce).await.0, code);
        // Sharing does not help: the filter is what policies speak of.
        assert_eq!(peer.subscribe("$share/g/secret", QoS::AtLeastOnce).await.0, code);
        assert_eq!(peer.subscribe("open", QoS::AtLeastOnce).await.0, 1);
        bed.plain_peer("publisher").await.publish("secret", "x").await;
        peer.expect_nothing().await;
        failures(&bed, "iot:Subscribe", "secret", 2).await;
    }
}

#[tokio::test]
async fn what_may_not_be_received_is_silently_not_delivered() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("a/secret", "x").await;
    let mut peer = denied_peer(&bed, Version::V5, "iot:Receive", "topic/a/secret").await;
    assert_eq!(peer.subscribe("a/#", QoS::AtLeastOnce).await.0, 1);
    publisher.publish("a/secret", "x").await;
    publisher.publish("a/open", "y").await;
    assert_eq!(peer.received().await, "a/open y");
    peer.expect_nothing().await;
    failures(&bed, "iot:Receive", "a/secret", 2).await;
    assert_eq!(bed.counter(r#"dropped_total{reason="receive_denied"}"#), 2);
}

#[tokio::test]
async fn a_denied_connect_is_refused_and_counted() {
    for (version, code) in [(Version::V311, 7), (Version::V5, 0x87)] {
        let bed = Testbed::new().await;
        let device = bed.device("device", &all_but("iot:Connect", "client/device"));
        let mut peer = Peer::tls(&bed, Some(&device)).await;
        assert_eq!(peer.connect(connect("device", version)).await.code.0, code);
        assert_eq!(peer.next().await, None);
        failures(&bed, "iot:Connect", "device", 1).await;
        let refused =
            |fact: &Fact| matches!(fact, Fact::ConnectionAttempted { accepted: false, .. });
        bed.fact("device", refused).await;
        assert_eq!(bed.counter(r#"connections_refused_total{reason="denied"}"#), 1);
        // Another client id of the same certificate is another matter.
        bed.tls_peer(&device, "device-2").await;
    }
}

/// Topics that begin with `$` are the server's, but for `$aws/`, which policies decide about.
#[tokio::test]
async fn reserved_topics_are_refused() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("peer").await;
    for topic in ["$SYS/a", "$share/g/t", "$aws", "$"] {
        assert_eq!(peer.publish(topic, "x").await, ReasonCode::TOPIC_NAME_INVALID, "{topic}");
    }
    for filter in ["$SYS/#", "$share/g/$SYS/#", "$aws"] {
        let code = peer.subscribe(filter, QoS::AtMostOnce).await;
        assert_eq!(code, ReasonCode::TOPIC_FILTER_INVALID, "{filter}");
    }
    assert_eq!(peer.publish("$aws/things/t", "x").await, ReasonCode::SUCCESS);
    assert_eq!(peer.subscribe("$aws/things/#", QoS::AtMostOnce).await.0, 0);
}

/// A decision is remembered for one topic, not for what looks like it.
#[tokio::test]
async fn decisions_about_many_topics_stay_apart() {
    let bed = Testbed::new().await;
    let mut peer = denied_peer(&bed, Version::V5, "iot:Publish", "topic/t/?3").await;
    for round in 0..2 {
        for number in 10..600 {
            let topic = format!("t/{number}");
            let denied = number < 100 && number % 10 == 3;
            let expected = if denied { ReasonCode::NOT_AUTHORIZED } else { ReasonCode::SUCCESS };
            assert_eq!(peer.publish(&topic, "").await, expected, "{topic} in round {round}");
        }
    }
}

#[tokio::test]
async fn an_alias_does_not_carry_a_right_to_another_topic() {
    let bed = Testbed::new().await;
    let mut peer = denied_peer(&bed, Version::V5, "iot:Publish", "topic/secret").await;
    let mut send = async |topic: &str| {
        let publish = publish(topic, "x", QoS::AtLeastOnce);
        peer.publish_with(Publish { topic_alias: Some(1), ..publish }).await
    };
    assert_eq!(send("open").await, ReasonCode::SUCCESS);
    assert_eq!(send("secret").await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(send("").await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(send("open").await, ReasonCode::SUCCESS);
    assert_eq!(send("").await, ReasonCode::SUCCESS);
}
