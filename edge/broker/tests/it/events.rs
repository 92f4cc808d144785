//! Lifecycle events, as who subscribed to them sees them.

use std::time::SystemTime;

use picket_model::{CertificateStatus, Fact};
use picket_mqtt::packet::{Connect, Packet, Subscribe, SubscribeOptions, Version};
use picket_mqtt::{QoS, ReasonCode};
use serde_json::{Value, json};

use crate::peer::{Peer, connect, id, publish, text, will};
use crate::testbed::{ALLOW_ALL, Testbed, all_but};

/// Somebody who hears of all clients but itself.
async fn watcher(bed: &Testbed) -> Peer {
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("$aws/events/presence/#", QoS::AtLeastOnce).await;
    watcher.subscribe("$aws/events/subscriptions/+/device", QoS::AtLeastOnce).await;
    watcher
}

/// The next event, which must be of the topic.
async fn event(watcher: &mut Peer, topic: &str) -> Value {
    let message = watcher.message().await;
    assert_eq!(&*message.topic, format!("$aws/events/{topic}"));
    assert!(!message.retain);
    serde_json::from_slice(&message.payload).unwrap()
}

/// The topic of the next event behind `$aws/events/`, and one member of it.
async fn next(watcher: &mut Peer, member: &str) -> (String, Value) {
    let message = watcher.message().await;
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    let topic = message.topic.strip_prefix("$aws/events/").unwrap().to_owned();
    (topic, event[member].clone())
}

fn members(event: &Value) -> Vec<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_events_of_a_connection_come_in_their_order_and_belong_together() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut watcher = watcher(&bed).await;
    let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    for version in 0..3 {
        let mut peer = bed.tls_peer(&device, "device").await;
        peer.subscribe("a/+", QoS::AtMostOnce).await;
        peer.unsubscribe("a/+").await;
        peer.disconnect(ReasonCode::SUCCESS).await;

        let connected = event(&mut watcher, "presence/connected/device").await;
        let common = ["clientId", "eventType"];
        let common = [&common[..], &["principalIdentifier", "sessionIdentifier"]].concat();
        assert_eq!(
            members(&connected),
            [
                "clientId",
                "eventType",
                "ipAddress",
                "principalIdentifier",
                "sessionIdentifier",
                "timestamp",
                "versionNumber"
            ]
        );
        assert_eq!(connected["ipAddress"], "127.0.0.1");
        assert_eq!(connected["versionNumber"], version);
        assert_eq!(connected["principalIdentifier"], device.id.as_str());
        assert!(connected["timestamp"].as_u64().unwrap() >= before);
        let subscribed = event(&mut watcher, "subscriptions/subscribed/device").await;
        assert_eq!(subscribed["topics"], json!(["a/+"]));
        let unsubscribed = event(&mut watcher, "subscriptions/unsubscribed/device").await;
        assert_eq!(unsubscribed["topics"], json!(["a/+"]));
        let disconnected = event(&mut watcher, "presence/disconnected/device").await;
        assert_eq!(disconnected["versionNumber"], version);
        assert_eq!(disconnected["clientInitiatedDisconnect"], true);
        assert_eq!(disconnected["disconnectReason"], "CLIENT_INITIATED_DISCONNECT");
        assert_eq!(disconnected.get("ipAddress"), None);
        for other in [&subscribed, &unsubscribed, &disconnected] {
            for member in &common {
                if *member != "eventType" {
                    assert_eq!(other[member], connected[member], "{member}");
                }
            }
        }
    }
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_session_keeps_its_identifier_for_as_long_as_it_lives() {
    let bed = Testbed::new().await;
    let mut watcher = watcher(&bed).await;
    let mut identifiers = Vec::new();
    for clean_start in [true, false, true] {
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect_v5("device", |it| {
            it.clean_start = clean_start;
            it.properties.session_expiry_s = Some(100);
        })
        .await;
        peer.disconnect(ReasonCode::SUCCESS).await;
        let connected = event(&mut watcher, "presence/connected/device").await;
        assert_eq!(connected["principalIdentifier"], "open", "the listener's policy");
        event(&mut watcher, "presence/disconnected/device").await;
        identifiers.push(connected["sessionIdentifier"].clone());
    }
    assert_eq!(identifiers[0], identifiers[1], "it went on");
    assert_ne!(identifiers[1], identifiers[2], "it began anew");
}

#[tokio::test]
async fn an_end_says_why_in_awss_words() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut watcher = watcher(&bed).await;
    let check = async |watcher: &mut Peer, version: u64, reason: &str| {
        let (topic, is) = next(watcher, "versionNumber").await;
        assert_eq!((topic.as_str(), is), ("presence/connected/device", json!(version)));
        let gone = event(watcher, "presence/disconnected/device").await;
        assert_eq!(gone["disconnectReason"], reason);
        assert_eq!(gone["clientInitiatedDisconnect"], false);
        assert_eq!(gone["versionNumber"], version);
    };
    drop(bed.tls_peer(&device, "device").await);
    check(&mut watcher, 0, "CONNECTION_LOST").await;

    let mut peer = bed.tls_peer(&device, "device").await;
    peer.send_bytes(&[0, 0]).await;
    peer.closed().await;
    check(&mut watcher, 1, "CLIENT_ERROR").await;

    let mut old = bed.tls_peer(&device, "device").await;
    let mut peer = bed.tls_peer(&device, "device").await;
    old.closed().await;
    check(&mut watcher, 2, "DUPLICATE_CLIENTID").await;
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Inactive));
    peer.closed().await;
    check(&mut watcher, 3, "AUTH_ERROR").await;

    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Active));
    let mut peer = bed.tls_peer(&device, "device").await;
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Connect", "client/device")));
    peer.closed().await;
    check(&mut watcher, 4, "FORBIDDEN_ACCESS").await;
    watcher.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_its_own_reason() {
    let bed = Testbed::new().await;
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("$aws/events/presence/disconnected/device", QoS::AtMostOnce).await;
    let mut silent = Peer::plain(bed.plain).await;
    silent.connect_v5("device", |it| it.keep_alive_s = 10).await;
    assert_eq!(silent.closed().await, Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
    let gone = event(&mut watcher, "presence/disconnected/device").await;
    assert_eq!(gone["disconnectReason"], "MQTT_KEEP_ALIVE_TIMEOUT");
}

/// A watcher that is kept for a while, away until it connects without a clean start.
async fn away_watcher(bed: &Testbed) -> Connect {
    let mut wanted = connect("watcher", Version::V5);
    wanted.properties.session_expiry_s = Some(100);
    let mut watcher = Peer::plain(bed.plain).await;
    watcher.connect(wanted.clone()).await;
    watcher.subscribe("$aws/events/presence/#", QoS::AtLeastOnce).await;
    watcher.disconnect(ReasonCode::SUCCESS).await;
    wanted.clean_start = false;
    wanted
}

/// The end is told by the guard, since the task that would tell it is gone.
#[tokio::test]
async fn a_connection_that_panics_is_told_of_all_the_same() {
    let bed = Testbed::new().await;
    let back = away_watcher(&bed).await;
    let mut peer = bed.plain_peer("device").await;
    *bed.broken_clock.lock().unwrap() = true;
    peer.send(Packet::PingReq).await;
    peer.closed().await;
    bed.fact("device", |fact| matches!(fact, Fact::Disconnected { .. })).await;
    let mut watcher = Peer::plain(bed.plain).await;
    assert!(watcher.connect(back).await.session_present);
    event(&mut watcher, "presence/disconnected/watcher").await;
    event(&mut watcher, "presence/connected/device").await;
    let gone = event(&mut watcher, "presence/disconnected/device").await;
    assert_eq!(gone["disconnectReason"], "SERVER_INITIATED_DISCONNECT");
    assert_eq!(gone["versionNumber"], 0);
}

#[tokio::test]
async fn a_connect_that_the_policies_refuse_is_told() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Connect", "client/device"));
    let mut watcher = watcher(&bed).await;
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    let refused = peer.connect(connect("device", Version::V5)).await;
    assert_eq!(refused.code, ReasonCode::NOT_AUTHORIZED);
    let failed = event(&mut watcher, "presence/connect_failed/device").await;
    assert_eq!(failed["connectFailureReason"], "AUTHORIZATION_FAILED");
    assert_eq!(failed["eventType"], "connect_failed");
    assert_eq!(failed["principalIdentifier"], device.id.as_str());
    assert_eq!(failed["ipAddress"], "127.0.0.1");
    // Of a stranger nobody knows who it is.
    let mut stranger = Peer::tls(&bed, Some(&bed.stranger("stranger", 2100))).await;
    stranger.connect(connect("device", Version::V5)).await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn subscriptions_are_told_as_they_were_granted_and_in_portions() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Subscribe", "topicfilter/no"));
    let mut watcher = watcher(&bed).await;
    let mut peer = bed.tls_peer(&device, "device").await;
    event(&mut watcher, "presence/connected/device").await;
    let mut filters: Vec<String> = (0..9).map(|n| format!("t/{n}")).collect();
    filters.insert(3, "no".to_owned());
    filters.insert(5, "bad/#/filter".to_owned());
    filters[0] = "$share/g/\"t\"/#".to_owned();
    let options = SubscribeOptions::default();
    let subscribe = Subscribe {
        packet_id: id(9),
        filters: filters.iter().map(|filter| (text(filter), options)).collect(),
        subscription_id: None,
        user: Vec::new(),
    };
    peer.send(Packet::Subscribe(Box::new(subscribe))).await;
    peer.expect().await;
    let first = event(&mut watcher, "subscriptions/subscribed/device").await;
    let expected = ["$share/g/\"t\"/#", "t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7"];
    assert_eq!(first["topics"], json!(expected));
    let second = event(&mut watcher, "subscriptions/subscribed/device").await;
    assert_eq!(second["topics"], json!(["t/8"]));
    // What was not subscribed to is not told to be over.
    peer.unsubscribe("never").await;
    // A right that goes takes subscriptions with it.
    bed.changed(bed.registry.set_policy("device", &all_but("iot:Subscribe", "topicfilter/t/*")));
    let (topic, topics) = next(&mut watcher, "topics").await;
    assert_eq!(topic, "subscriptions/unsubscribed/device");
    assert_eq!(topics, json!((1..9).map(|n| format!("t/{n}")).collect::<Vec<_>>()));
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn client_ids_with_wildcards_are_not_told_of_and_others_are_whatever_they_hold() {
    let bed = Testbed::new().await;
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("$aws/events/#", QoS::AtMostOnce).await;
    // Of its own subscription.
    watcher.message().await;
    for client in ["a+b", "#", "a/#"] {
        let mut peer = bed.plain_peer(client).await;
        peer.subscribe("t", QoS::AtMostOnce).await;
        peer.disconnect(ReasonCode::SUCCESS).await;
    }
    watcher.expect_nothing().await;
    let slashes = "/".repeat(128);
    for client in ["a/b", "ü\"\\", slashes.as_str()] {
        bed.plain_peer(client).await.disconnect(ReasonCode::SUCCESS).await;
        for happened in ["connected", "disconnected"] {
            let told = event(&mut watcher, &format!("presence/{happened}/{client}")).await;
            assert_eq!(told["clientId"], client);
        }
    }
}

#[tokio::test]
async fn clients_do_not_publish_events() {
    let bed = Testbed::new().await;
    let mut watcher = watcher(&bed).await;
    let mut liar = bed.plain_peer("liar").await;
    event(&mut watcher, "presence/connected/liar").await;
    for topic in ["presence/connected/device", "thing/t/created", ""] {
        let topic = format!("$aws/events/{topic}");
        assert_eq!(liar.publish(&topic, "{}").await, ReasonCode::TOPIC_NAME_INVALID, "{topic}");
    }
    let mut old = Peer::plain(bed.plain).await;
    old.connect(connect("old", Version::V311)).await;
    let lie = publish("$aws/events/presence/connected/device", "{}", QoS::AtLeastOnce);
    old.send(Packet::Publish(Box::new(lie))).await;
    assert_eq!(old.closed().await, None);
    // Nor by testament.
    let mut mortal = Peer::plain(bed.plain).await;
    let mut wanted = connect("mortal", Version::V5);
    wanted.will = Some(will("$aws/events/presence/disconnected/device", "{}"));
    assert_eq!(mortal.connect(wanted).await.code, ReasonCode::TOPIC_NAME_INVALID);
    event(&mut watcher, "presence/connected/old").await;
    event(&mut watcher, "presence/disconnected/old").await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn who_may_not_receive_events_gets_none() {
    let bed = Testbed::new().await;
    let nosy = bed.device("nosy", &all_but("iot:Receive", "topic/$aws/events/presence/*/other"));
    let mut nosy = bed.tls_peer(&nosy, "nosy").await;
    nosy.subscribe("$aws/events/presence/+/+", QoS::AtMostOnce).await;
    bed.plain_peer("other").await.disconnect(ReasonCode::SUCCESS).await;
    bed.plain_peer("third").await.disconnect(ReasonCode::SUCCESS).await;
    event(&mut nosy, "presence/connected/third").await;
    event(&mut nosy, "presence/disconnected/third").await;
    nosy.expect_nothing().await;
}

/// A storm costs a watcher that does not read its bound, and nobody else anything.
#[tokio::test]
async fn a_storm_of_connections_is_bounded_by_the_mailboxes_of_those_who_watch() {
    let bed = Testbed::with(|limits| limits.queue_messages_max = 10).await;
    let back = away_watcher(&bed).await;
    for n in 0..20 {
        bed.plain_peer(&format!("c-{n}")).await.disconnect(ReasonCode::SUCCESS).await;
    }
    // Its own end and forty more, less the ten that wait.
    bed.counted(r#"dropped_total{reason="queue_full"}"#, 31).await;
    let mut watcher = Peer::plain(bed.plain).await;
    assert!(watcher.connect(back).await.session_present);
    for _ in 0..10 {
        watcher.message().await;
    }
}
