//! A change of rights takes effect at once: one test for each place where a right can linger.

use std::sync::Arc;

use picket_model::{CertificateStatus, DisconnectReason, Fact};
use picket_mqtt::packet::{Ack, Connect, Packet, SubscribeOptions, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, will};
use crate::testbed::{ALLOW_ALL, Device, Testbed, all_but};

const DENY_ALL: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Deny","Action":"iot:*","Resource":"*"}]}"#;

const ONLY_CONNECT: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}"#;

fn persistent() -> Connect {
    let mut wanted = connect("device", Version::V5);
    wanted.clean_start = false;
    wanted.properties.session_expiry_s = Some(100);
    wanted
}

async fn kept_peer(bed: &Testbed, device: &Device) -> (Peer, bool) {
    let mut peer = Peer::tls(bed, Some(device)).await;
    let connack = peer.connect(persistent()).await;
    assert_eq!(connack.code, ReasonCode::SUCCESS);
    (peer, connack.session_present)
}

async fn disconnected(bed: &Testbed, reason: DisconnectReason) {
    let is_it =
        |fact: &Fact| matches!(fact, Fact::Disconnected { reason: is, .. } if *is == reason);
    bed.fact("device", is_it).await;
}

#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let bed = Testbed::new().await;
    let device = bed.short_lived("device");
    bed.registry.set_certificate(&device.id, CertificateStatus::Active);
    bed.registry.set_policy("device", ALLOW_ALL);
    bed.registry.attach("device", &device.id);
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    let mut other = bed.plain_peer("other").await;
    let mut wanted = connect("device", Version::V5);
    wanted.will = Some(will("wills", "gone"));
    other.subscribe("wills", QoS::AtMostOnce).await;
    assert_eq!(peer.connect(wanted).await.code, ReasonCode::SUCCESS);
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    disconnected(&bed, DisconnectReason::AuthError).await;
    other.expect_nothing().await;
}

#[tokio::test]
async fn a_session_that_may_not_stay_is_closed() {
    for (policy, reason) in [
        (DENY_ALL.to_owned(), DisconnectReason::Forbidden),
        (all_but("iot:Connect", "client/device"), DisconnectReason::Forbidden),
        (ONLY_CONNECT.to_owned(), DisconnectReason::Forbidden),
    ] {
        for version in [Version::V311, Version::V5] {
            let bed = Testbed::new().await;
            let device = bed.device("device", ALLOW_ALL);
            let mut peer = Peer::tls(&bed, Some(&device)).await;
            peer.connect(connect("device", version)).await;
            let mut other = bed.plain_peer("other").await;
            bed.changed(bed.registry.set_policy("device", &policy));
            let told = (version == Version::V5).then_some(ReasonCode::NOT_AUTHORIZED);
            assert_eq!(peer.closed().await, told);
            disconnected(&bed, reason).await;
            // A second device does not suffer.
            other.expect_nothing().await;
            assert_eq!(bed.broker.connected().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_no_longer_active_ends_its_sessions() {
    for status in [CertificateStatus::Inactive, CertificateStatus::Revoked] {
        let bed = Testbed::new().await;
        let device = bed.device("device", ALLOW_ALL);
        let mut peer = bed.tls_peer(&device, "device").await;
        bed.changed(bed.registry.set_certificate(&device.id, status));
        assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
        disconnected(&bed, DisconnectReason::AuthError).await;
    }
}

#[tokio::test]
async fn a_session_that_may_do_nothing_of_what_it_did_is_closed() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.publish("data/a", "x").await;
    peer.subscribe("data/b", QoS::AtMostOnce).await;
    // What is left lets it stay.
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Subscribe", "*")));
    assert_eq!(peer.publish("data/a", "x").await, ReasonCode::SUCCESS);
    bed.changed(bed.registry.set_policy("device", &all_but("iot:*", "topic*data/*")));
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
}

#[tokio::test]
async fn a_registry_that_cannot_be_read_denies() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    bed.registry.set_down(true);
    bed.changed(bed.registry.attach("device", &device.id));
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    let mut late = Peer::tls(&bed, Some(&device)).await;
    let connack = late.connect(connect("device", Version::V5)).await;
    assert_eq!(connack.code, ReasonCode::SERVER_UNAVAILABLE);
}

#[tokio::test]
async fn cached_decisions_are_not_used_again() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    assert_eq!(peer.publish("t", "x").await, ReasonCode::SUCCESS);
    assert_eq!(peer.publish("other", "x").await, ReasonCode::SUCCESS);
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Publish", "topic/t")));
    assert_eq!(peer.publish("t", "x").await, ReasonCode::NOT_AUTHORIZED);
    bed.changed(bed.registry.set_policy("device", ALLOW_ALL));
    assert_eq!(peer.publish("t", "x").await, ReasonCode::SUCCESS);
}

#[tokio::test]
async fn cached_decisions_about_deliveries_are_not_used_again() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.subscribe("#", QoS::AtMostOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish("t", "1").await;
    publisher.publish("other", "2").await;
    assert_eq!(peer.received().await, "t 1");
    assert_eq!(peer.received().await, "other 2");
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Receive", "topic/t")));
    publisher.publish("t", "3").await;
    publisher.publish("other", "4").await;
    assert_eq!(peer.received().await, "other 4");
    bed.changed(bed.registry.set_policy("device", ALLOW_ALL));
    publisher.publish("t", "5").await;
    assert_eq!(peer.received().await, "t 5");
}

#[tokio::test]
async fn subscriptions_that_are_denied_now_are_removed() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.subscribe("secret", QoS::AtMostOnce).await;
    peer.subscribe("open", QoS::AtMostOnce).await;
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Subscribe", "topicfilter/secret")));
    let mut publisher = bed.plain_peer("publisher").await;
    peer.expect_nothing().await;
    publisher.publish("secret", "x").await;
    publisher.publish("open", "y").await;
    assert_eq!(peer.received().await, "open y");
    // The right that comes back does not bring the subscription back.
    bed.changed(bed.registry.set_policy("device", ALLOW_ALL));
    publisher.publish("secret", "x").await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn what_waits_in_the_queue_is_decided_when_it_leaves() {
    let bed = Testbed::with(|limits| limits.inflight_max = 1).await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.subscribe("#", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for topic in ["first", "secret", "open"] {
        publisher.publish(topic, "x").await;
    }
    let Packet::Publish(first) = peer.expect().await else { panic!("no message") };
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Receive", "topic/secret")));
    peer.send(Packet::PubAck(Ack::new(first.packet_id.unwrap(), ReasonCode::SUCCESS))).await;
    assert_eq!(peer.received().await, "open x");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_closed_sessions_queue_is_not_delivered_later() {
    let bed = Testbed::with(|limits| limits.inflight_max = 1).await;
    let device = bed.device("device", ALLOW_ALL);
    let (mut peer, _) = kept_peer(&bed, &device).await;
    peer.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for payload in ["1", "2", "3"] {
        publisher.publish("t", payload).await;
    }
    bed.changed(bed.registry.set_policy("device", DENY_ALL));
    peer.closed().await;
    bed.counted(r#"dropped_total{reason="session_ended"}"#, 2).await;
    bed.changed(bed.registry.set_policy("device", ALLOW_ALL));
    let (mut peer, resumed) = kept_peer(&bed, &device).await;
    assert!(!resumed);
    publisher.publish("t", "4").await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn an_absent_clients_session_is_decided_again_when_it_is_back() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let (mut peer, _) = kept_peer(&bed, &device).await;
    peer.subscribe("secret", QoS::AtLeastOnce).await;
    peer.subscribe("a/#", QoS::AtLeastOnce).await;
    peer.disconnect(ReasonCode::SUCCESS).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for topic in ["secret", "a/secret", "a/open"] {
        publisher.publish(topic, "x").await;
    }
    // Denied altogether, it gets nothing and keeps nothing from being decided later.
    bed.changed(bed.registry.set_policy("device", DENY_ALL));
    let mut refused = Peer::tls(&bed, Some(&device)).await;
    assert_eq!(refused.connect(persistent()).await.code, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(refused.next().await, None);
    // Allowed some of it, it gets that.
    bed.changed(bed.registry.set_policy("device", &all_but("iot:*", "topic*secret")));
    let (mut peer, resumed) = kept_peer(&bed, &device).await;
    assert!(resumed);
    assert_eq!(peer.received().await, "a/open x");
    publisher.publish("secret", "y").await;
    publisher.publish("a/open", "y").await;
    assert_eq!(peer.received().await, "a/open y");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn an_absent_clients_subscription_that_is_denied_now_does_not_come_back() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let (mut peer, _) = kept_peer(&bed, &device).await;
    peer.subscribe("secret", QoS::AtLeastOnce).await;
    peer.subscribe("open", QoS::AtLeastOnce).await;
    peer.disconnect(ReasonCode::SUCCESS).await;
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Subscribe", "topicfilter/secret")));
    let (mut peer, resumed) = kept_peer(&bed, &device).await;
    assert!(resumed);
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish("secret", "x").await;
    publisher.publish("open", "y").await;
    assert_eq!(peer.received().await, "open y");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn messages_in_flight_are_decided_before_they_are_sent_again() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let (mut peer, _) = kept_peer(&bed, &device).await;
    peer.subscribe("#", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish_with(publish("secret", "x", QoS::ExactlyOnce)).await;
    publisher.publish("open", "y").await;
    assert!(matches!(peer.expect().await, Packet::Publish(_)));
    assert!(matches!(peer.expect().await, Packet::Publish(_)));
    drop(peer);
    disconnected(&bed, DisconnectReason::ConnectionLost).await;
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Receive", "topic/secret")));
    let (mut peer, resumed) = kept_peer(&bed, &device).await;
    assert!(resumed);
    assert_eq!(peer.received().await, "open y");
    peer.expect_nothing().await;
    // Nobody could say so to the client, so it is said to those who watch it.
    let is_denial =
        |fact: &Fact| matches!(fact, Fact::Denied(it) if &*it.last_resource == "secret");
    let told = bed.fact("device", is_denial).await;
    let Fact::Denied(denied) = told.fact else { panic!("denied") };
    assert_eq!((denied.count, denied.last_action), (1, "iot:Receive"));
    assert_eq!(bed.counter(r#"denied_total{action="iot:Receive"}"#), 1);
    assert_eq!(bed.counter(r#"dropped_total{reason="receive_denied"}"#), 1);
}

/// A QoS 2 message is decided and routed when it is published, not when it is released: what was
/// denied then is not let through by PUBREL, whatever is allowed by that time.
#[tokio::test]
async fn a_release_lets_nothing_through() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Publish", "topic/secret"));
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe("#", QoS::AtMostOnce).await;
    let mut peer = bed.tls_peer(&device, "device").await;
    let secret = || publish("secret", "x", QoS::ExactlyOnce);
    assert_eq!(peer.publish_with(secret()).await, ReasonCode::NOT_AUTHORIZED);
    bed.changed(bed.registry.set_policy("device", ALLOW_ALL));
    peer.send(Packet::PubRel(Ack::new(id(77), ReasonCode::SUCCESS))).await;
    let not_found = Ack::new(id(77), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    assert_eq!(peer.expect().await, Packet::PubComp(not_found));
    subscriber.expect_nothing().await;
    // And one that was allowed goes out once, also when the right goes before its release.
    assert_eq!(peer.publish_with(secret()).await, ReasonCode::SUCCESS);
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Publish", "topic/secret")));
    peer.send(Packet::PubRel(Ack::new(id(77), ReasonCode::SUCCESS))).await;
    peer.next().await;
    assert_eq!(subscriber.received().await, "secret x");
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn retained_messages_lose_their_life_with_their_publishers_right() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.retain("a/secret", "x").await;
    peer.retain("a/open", "y").await;
    bed.plain_peer("other").await.retain("a/other", "z").await;
    let received = async |client: &str, wanted: &[&str]| {
        let mut subscriber = bed.plain_peer(client).await;
        subscriber.subscribe("a/#", QoS::AtMostOnce).await;
        for wanted in wanted {
            assert_eq!(subscriber.received().await, *wanted);
        }
        subscriber.expect_nothing().await;
    };
    received("before", &["a/open y", "a/other z", "a/secret x"]).await;
    let policy = all_but("iot:RetainPublish", "topic/a/secret");
    bed.changed(bed.registry.set_policy("device", &policy));
    received("after", &["a/open y", "a/other z"]).await;
    bed.counted("retained", 2).await;
    // Also when the publisher is not there any more; and what is gone does not come back.
    peer.disconnect(ReasonCode::SUCCESS).await;
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Inactive));
    received("later", &["a/other z"]).await;
    bed.counted("retained", 1).await;
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Active));
    received("last", &["a/other z"]).await;
}

#[tokio::test]
async fn retained_messages_are_not_seen_but_survive_while_the_registry_cannot_be_read() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    bed.tls_peer(&device, "device").await.retain("t", "x").await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    bed.registry.set_down(true);
    bed.changed(bed.registry.attach("device", &device.id));
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    subscriber.expect_nothing().await;
    bed.registry.set_down(false);
    bed.changed(bed.registry.attach("device", &device.id));
    subscriber.subscribe("t", QoS::AtMostOnce).await;
    assert_eq!(subscriber.received().await, "t x");
}

#[tokio::test]
async fn a_will_is_not_sent_for_who_lost_the_right_to_be_here() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    peer.connect_v5("device", |it| it.will = Some(will("gone", "device"))).await;
    bed.changed(bed.registry.set_policy("device", DENY_ALL));
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    disconnected(&bed, DisconnectReason::Forbidden).await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_waiting_will_is_decided_when_it_is_due() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    peer.connect_v5("device", |it| {
        let mut will = will("gone", "device");
        will.delay_s = Some(1);
        it.will = Some(will);
        it.properties.session_expiry_s = Some(100);
    })
    .await;
    drop(peer);
    disconnected(&bed, DisconnectReason::ConnectionLost).await;
    bed.changed(bed.registry.set_policy("device", DENY_ALL));
    bed.counted(r#"dropped_total{reason="will_denied"}"#, 1).await;
    watcher.expect_nothing().await;
}

/// A flood does not outrun the decision: nothing that is published after the change was told is
/// accepted, however much of it was already on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_accepted_after_the_change_was_told() {
    let bed = Arc::new(Testbed::new().await);
    let device = bed.device("device", ALLOW_ALL);
    let mut subscriber = bed.plain_peer("subscriber").await;
    let options = SubscribeOptions { qos: QoS::AtMostOnce, ..SubscribeOptions::default() };
    subscriber.subscribe_with("marker", options, None).await;
    let mut peer = bed.tls_peer(&device, "device").await;
    let flood = tokio::spawn(async move {
        let mut n_accepted = 0_u64;
        loop {
            let packet = Packet::Publish(Box::new(publish("flood", "x", QoS::AtLeastOnce)));
            peer.send(packet).await;
            match peer.next().await {
                Some(Packet::PubAck(ack)) if ack.reason == ReasonCode::SUCCESS => n_accepted += 1,
                _ => return n_accepted,
            }
        }
    });
    bed.observed("a publish", |all| all.iter().any(|it| matches!(&it.fact, Fact::Published(_))))
        .await;
    bed.changed(bed.registry.set_policy("device", DENY_ALL));
    let accepted_when_told = bed.counter("messages_in_total");
    let n_accepted = flood.await.unwrap();
    disconnected(&bed, DisconnectReason::Forbidden).await;
    // One more may have been decided before the change and counted after it.
    assert!(n_accepted <= accepted_when_told + 1, "{n_accepted} > {accepted_when_told} + 1");
}
