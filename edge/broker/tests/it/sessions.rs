//! Sessions that outlive their connections, and client ids that change hands.

use picket_mqtt::packet::{Connect, MessageProperties, Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, publish};
use crate::testbed::{ALLOW_ALL, Testbed};

fn persistent(version: Version) -> Connect {
    let mut wanted = connect("sleeper", version);
    wanted.clean_start = false;
    if version == Version::V5 {
        wanted.properties.session_expiry_s = Some(100);
    }
    wanted
}

#[tokio::test]
async fn a_kept_session_brings_what_waited() {
    let bed = Testbed::new().await;
    let mut publisher = bed.plain_peer("publisher").await;
    for version in [Version::V311, Version::V5] {
        let mut sleeper = Peer::plain(bed.plain).await;
        assert!(!sleeper.connect(persistent(version)).await.session_present);
        sleeper.subscribe("t", QoS::AtLeastOnce).await;
        sleeper.disconnect(ReasonCode::SUCCESS).await;
        publisher.publish("t", "1").await;
        publisher.send(Packet::Publish(Box::new(publish("t", "lost", QoS::AtMostOnce)))).await;
        publisher.publish("t", "2").await;
        let mut sleeper = Peer::plain(bed.plain).await;
        assert!(sleeper.connect(persistent(version)).await.session_present);
        assert_eq!(sleeper.received().await, "t 1");
        assert_eq!(sleeper.received().await, "t 2");
        sleeper.expect_nothing().await;
        // A clean start forgets it. [MQTT-3.1.2-6], mqtt-5 [MQTT-3.1.2-4]
        drop(sleeper);
        let mut anew = bed.plain_peer("sleeper").await;
        publisher.publish("t", "3").await;
        anew.expect_nothing().await;
        anew.disconnect(ReasonCode::SUCCESS).await;
    }
}

/// mqtt-3.1.1 [MQTT-2.3.1-3] [MQTT-4.4.0-1], mqtt-5 [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]
/// [MQTT-4.3.3-6] [MQTT-4.4.0-1]
#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again() {
    let bed = Testbed::new().await;
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect(persistent(Version::V5)).await;
    sleeper.subscribe("t", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish("t", "1").await;
    publisher.publish_with(publish("t", "2", QoS::ExactlyOnce)).await;
    let Packet::Publish(first) = sleeper.expect().await else { panic!("no message") };
    let second = sleeper.message().await;
    let Packet::PubRel(_) = sleeper.expect().await else { panic!("no PUBREL") };
    drop(sleeper);
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect(persistent(Version::V5)).await;
    let again = sleeper.message().await;
    assert_eq!(
        (again.dup, again.packet_id, &again.payload[..]),
        (true, first.packet_id, &b"1"[..])
    );
    let Packet::PubRel(ack) = sleeper.expect().await else { panic!("no PUBREL") };
    assert_eq!(Some(ack.packet_id), second.packet_id);
}

/// mqtt-5 [MQTT-4.1.0-2]
#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let bed = Testbed::new().await;
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect_v5("sleeper", |it| it.properties.session_expiry_s = Some(1)).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    bed.counted("sessions_kept", 1).await;
    bed.counted("sessions_kept", 0).await;
    let mut sleeper = Peer::plain(bed.plain).await;
    assert!(!sleeper.connect(persistent(Version::V5)).await.session_present);
}

/// [MQTT-3.1.4-2], mqtt-5 [MQTT-3.1.4-3]
#[tokio::test]
async fn a_newcomer_takes_the_client_id_over_with_its_session() {
    let bed = Testbed::new().await;
    for version in [Version::V311, Version::V5] {
        let mut old = Peer::plain(bed.plain).await;
        old.connect(persistent(version)).await;
        old.subscribe("t", QoS::AtLeastOnce).await;
        let mut new = Peer::plain(bed.plain).await;
        assert!(new.connect(persistent(version)).await.session_present);
        let told = (version == Version::V5).then_some(ReasonCode::SESSION_TAKEN_OVER);
        assert_eq!(old.closed().await, told);
        bed.plain_peer("publisher").await.publish("t", "x").await;
        assert_eq!(new.received().await, "t x");
        new.disconnect(ReasonCode::SUCCESS).await;
        bed.plain_peer("sleeper").await.disconnect(ReasonCode::SUCCESS).await;
    }
}

#[tokio::test]
async fn many_newcomers_at_once_leave_one() {
    let bed = Testbed::new().await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(Peer::plain(bed.plain).await);
    }
    for peer in &mut all {
        peer.version = Version::V5;
        peer.send(Packet::Connect(Box::new(persistent(Version::V5)))).await;
    }
    bed.counted("connections_admitted_total", 8).await;
    bed.counted(r#"disconnects_total{reason="DUPLICATE_CLIENTID"}"#, 7).await;
    assert_eq!(bed.broker.sessions().live, 1);
}

#[tokio::test]
async fn a_session_goes_on_only_for_the_principal_that_began_it() {
    let bed = Testbed::new().await;
    let owner = bed.device("owner", ALLOW_ALL);
    let other = bed.device("other", ALLOW_ALL);
    let mut sleeper = Peer::tls(&bed, Some(&owner)).await;
    sleeper.connect(persistent(Version::V5)).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    bed.plain_peer("publisher").await.publish("t", "for the owner").await;
    let mut thief = Peer::tls(&bed, Some(&other)).await;
    assert!(!thief.connect(persistent(Version::V5)).await.session_present);
    thief.expect_nothing().await;
}

/// mqtt-5 [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[tokio::test]
async fn what_expired_while_its_client_was_away_does_not_come() {
    let bed = Testbed::new().await;
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.connect(persistent(Version::V5)).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for (payload, expiry_s) in [("gone", Some(0)), ("fresh", Some(1_000)), ("for ever", None)] {
        let properties = MessageProperties { expiry_s, ..MessageProperties::default() };
        let sent = Publish { properties, ..publish("t", payload, QoS::AtLeastOnce) };
        assert_eq!(publisher.publish_with(sent).await, ReasonCode::SUCCESS);
    }
    let mut sleeper = Peer::plain(bed.plain).await;
    assert!(sleeper.connect(persistent(Version::V5)).await.session_present);
    let fresh = sleeper.message().await;
    assert_eq!(fresh.payload, "fresh");
    assert!(fresh.properties.expiry_s.is_some_and(|left_s| left_s <= 1_000));
    let for_ever = sleeper.message().await;
    assert_eq!((&for_ever.payload[..], for_ever.properties.expiry_s), (&b"for ever"[..], None));
    sleeper.expect_nothing().await;
    bed.counted(r#"dropped_total{reason="expired"}"#, 1).await;
}

/// [MQTT-4.8.0-2]
#[tokio::test]
async fn a_panic_leaves_no_session_behind() {
    let bed = Testbed::new().await;
    let mut victim = bed.plain_peer("victim").await;
    victim.subscribe("t", QoS::AtLeastOnce).await;
    *bed.broken_clock.lock().unwrap() = true;
    victim.send(Packet::PingReq).await;
    assert_eq!(victim.closed().await, None);
    bed.fact("victim", |fact| matches!(fact, picket_model::Fact::Disconnected { .. })).await;
    bed.counted("connections", 0).await;
    assert_eq!(bed.broker.sessions().live, 0);
    // The client id is free, and the broker lives on.
    bed.plain_peer("victim").await.expect_nothing().await;
}

#[tokio::test]
async fn a_stopping_broker_tells_everybody_and_ends() {
    let bed = Testbed::new().await;
    let mut client = bed.plain_peer("client").await;
    let mut silent = Peer::plain(bed.plain).await;
    let stopped = tokio::spawn({
        let broker = bed.broker.clone();
        async move { broker.shutdown(crate::testbed::PATIENCE).await }
    });
    assert_eq!(client.closed().await, Some(ReasonCode::SERVER_SHUTTING_DOWN));
    drop(client);
    assert_eq!(silent.closed().await, None);
    assert!(stopped.await.unwrap());
}
