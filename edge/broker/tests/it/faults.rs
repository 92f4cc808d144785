//! Clients that break the protocol or a limit: closed with a reason, counted, and nobody else notices.

use picket_mqtt::packet::{Disconnect, Packet, Publish, Subscribe, SubscribeOptions, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, id, publish, text};
use crate::testbed::Testbed;

/// Sends bytes on a connection and gives the code that it is closed with.
async fn check(bytes: &[u8], code: ReasonCode, counter: &str) {
    for version in [Version::V311, Version::V5] {
        let bed = Testbed::new().await;
        let mut other = bed.plain_peer("other").await;
        let mut peer = Peer::plain(bed.plain).await;
        peer.connect(connect("peer", version)).await;
        peer.send_bytes(bytes).await;
        let told = (version == Version::V5).then_some(code);
        assert_eq!(peer.closed().await, told, "{bytes:02x?}");
        bed.counted(&format!(r#"protocol_errors_total{{reason="{counter}"}}"#), 1).await;
        bed.counted(r#"disconnects_total{reason="CLIENT_ERROR"}"#, 1).await;
        other.expect_nothing().await;
    }
}

#[tokio::test]
async fn malformed_packets_close() {
    let malformed = ReasonCode::MALFORMED_PACKET;
    check(&[0x00, 0], malformed, "malformed").await;
    check(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], malformed, "malformed").await;
    check(&[0x36, 5, 0, 1, b'a', 0, 1], malformed, "malformed").await;
    // Packet id 0. [MQTT-2.3.1-1]
    check(&[0x62, 2, 0, 0], malformed, "malformed").await;
    // Reserved flags. [MQTT-3.8.1-1]
    check(&[0x80, 6, 0, 1, 0, 1, b'a', 0], malformed, "malformed").await;
    // A topic that is no UTF-8. [MQTT-1.5.3-1]
    check(&[0x30, 4, 0, 2, 0xC0, 0x80], malformed, "malformed").await;
}

#[tokio::test]
async fn packets_at_the_wrong_time_close() {
    // A second CONNECT. [MQTT-3.1.0-2]
    let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'a'];
    check(&connect, ReasonCode::PROTOCOL_ERROR, "protocol").await;
    check(&[0xD0, 0], ReasonCode::PROTOCOL_ERROR, "protocol").await;
}

#[tokio::test]
async fn a_packet_over_the_limit_closes_before_it_is_sent() {
    check(&[0x30, 0xFF, 0xFF, 0x7F], ReasonCode::PACKET_TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn a_payload_over_the_limit_closes() {
    let bed = Testbed::new().await;
    let mut other = bed.plain_peer("other").await;
    other.subscribe("t", QoS::AtMostOnce).await;
    let mut peer = bed.plain_peer("peer").await;
    let of = |bytes: usize| Publish {
        payload: vec![7; bytes].into(),
        ..publish("t", "", QoS::AtLeastOnce)
    };
    assert_eq!(peer.publish_with(of(128 * 1024)).await, ReasonCode::SUCCESS);
    assert_eq!(other.message().await.payload.len(), 128 * 1024);
    peer.send(Packet::Publish(Box::new(of(128 * 1024 + 1)))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::PACKET_TOO_LARGE));
    bed.counted(r#"protocol_errors_total{reason="too_large"}"#, 1).await;
    other.expect_nothing().await;
}

#[tokio::test]
async fn a_topic_with_control_characters_is_refused() {
    let bed = Testbed::new().await;
    let mut other = bed.plain_peer("other").await;
    other.subscribe("#", QoS::AtMostOnce).await;
    let mut peer = bed.plain_peer("peer").await;
    assert_eq!(peer.publish("a\u{1b}[2J", "x").await, ReasonCode::TOPIC_NAME_INVALID);
    assert_eq!(peer.publish("a/+", "x").await, ReasonCode::TOPIC_NAME_INVALID);
    let filter = peer.subscribe("a\u{7}", QoS::AtMostOnce).await;
    assert_eq!(filter, ReasonCode::TOPIC_FILTER_INVALID);
    peer.send(Packet::Publish(Box::new(publish("a\u{7}", "x", QoS::AtMostOnce)))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::TOPIC_NAME_INVALID));
    bed.counted(r#"protocol_errors_total{reason="topic_name"}"#, 3).await;

    let mut old = Peer::plain(bed.plain).await;
    old.connect(connect("old", Version::V311)).await;
    assert_eq!(old.subscribe("a\u{7}", QoS::AtMostOnce).await.0, 0x80);
    old.send(Packet::Publish(Box::new(publish("a\u{7}", "x", QoS::AtLeastOnce)))).await;
    assert_eq!(old.closed().await, None);
    other.expect_nothing().await;
}

/// mqtt-5 [MQTT-3.3.4-7], [MQTT-3.3.2-8], [MQTT-3.3.2-14]
#[tokio::test]
async fn mqtt_5_says_which_agreement_was_broken() {
    let bed = Testbed::with(|limits| limits.inflight_max = 2).await;
    let check = async |packets: Vec<Publish>, code: ReasonCode| {
        let mut peer = bed.plain_peer("peer").await;
        for packet in packets {
            peer.send(Packet::Publish(Box::new(packet))).await;
        }
        assert_eq!(peer.closed().await, Some(code));
    };
    let at_2 = |n| Publish { packet_id: Some(id(n)), ..publish("t", "", QoS::ExactlyOnce) };
    check(vec![at_2(1), at_2(2), at_2(3)], ReasonCode::RECEIVE_MAXIMUM_EXCEEDED).await;
    let alias =
        |topic, alias| Publish { topic_alias: Some(alias), ..publish(topic, "", QoS::AtMostOnce) };
    check(vec![alias("t", 0)], ReasonCode::TOPIC_ALIAS_INVALID).await;
    check(vec![alias("t", 17)], ReasonCode::TOPIC_ALIAS_INVALID).await;
    check(vec![alias("", 1)], ReasonCode::PROTOCOL_ERROR).await;
    let mut answer = publish("t", "", QoS::AtMostOnce);
    answer.properties.response_topic = Some(text("a/#"));
    check(vec![answer], ReasonCode::PROTOCOL_ERROR).await;
}

/// mqtt-5 [MQTT-3.8.3-4]
#[tokio::test]
async fn a_shared_subscription_with_no_local_closes() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("peer").await;
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    let filters = vec![(text("$share/g/t"), no_local)];
    let subscribe =
        Subscribe { packet_id: id(9), filters, subscription_id: None, user: Vec::new() };
    peer.send(Packet::Subscribe(Box::new(subscribe))).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::PROTOCOL_ERROR));
    bed.counted(r#"protocol_errors_total{reason="protocol"}"#, 1).await;
}

/// [MQTT-3.1.2-24], mqtt-5 [MQTT-3.1.2-22]
#[tokio::test]
async fn a_silent_client_is_closed_after_one_and_a_half_keep_alive_periods() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("peer", |it| it.keep_alive_s = 1).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
    bed.counted(r#"disconnects_total{reason="MQTT_KEEP_ALIVE_TIMEOUT"}"#, 1).await;
}

#[tokio::test]
async fn limits_of_subscriptions_hold() {
    let bed = Testbed::with(|limits| {
        limits.subscriptions_max = 2;
        limits.topic_levels_max = 3;
    })
    .await;
    let mut peer = bed.plain_peer("peer").await;
    for (filter, code) in [("a", 0), ("b", 0), ("a", 0), ("c", 0x97), ("a/b/c/d", 0x8F)] {
        assert_eq!(peer.subscribe(filter, QoS::AtMostOnce).await.0, code, "{filter}");
    }
    assert_eq!(peer.publish("a/b/c/d", "x").await, ReasonCode::TOPIC_NAME_INVALID);
}

#[tokio::test]
async fn a_session_cannot_be_made_to_last_at_the_end() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("peer").await;
    let later = Disconnect { session_expiry_s: Some(100), ..Disconnect::default() };
    peer.send(Packet::Disconnect(later)).await;
    assert_eq!(peer.closed().await, Some(ReasonCode::PROTOCOL_ERROR));
}
