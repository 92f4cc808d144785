//! Who is let in, and how the others hear of it.

use picket_model::CertificateStatus;
use picket_mqtt::ReasonCode;
use picket_mqtt::packet::Version;

use crate::peer::{Peer, connect, text, will};
use crate::testbed::{ALLOW_ALL, Device, Testbed};

async fn refused(bed: &Testbed, device: Option<&Device>, counter: &str) {
    for (version, code) in [(Version::V311, 5), (Version::V5, 0x87)] {
        let counter = format!(r#"connections_refused_total{{reason="{counter}"}}"#);
        let before = bed.counter(&counter);
        let mut peer = Peer::tls(bed, device).await;
        assert_eq!(peer.connect(connect("device", version)).await.code.0, code);
        assert_eq!(peer.next().await, None);
        bed.counted(&counter, before + 1).await;
    }
    assert_eq!(bed.counter("connections_admitted_total"), 0);
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let bed = Testbed::new().await;
    refused(&bed, None, "no_certificate").await;
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let bed = Testbed::new().await;
    let stranger = bed.stranger("stranger", 2100);
    refused(&bed, Some(&stranger), "unknown_certificate").await;
    // A stranger raises nobody's numbers.
    let seen = bed.observed("nothing", |_| true).await;
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let bed = Testbed::new().await;
    let expired = bed.stranger("expired", 2020);
    bed.registry.set_certificate(&expired.id, CertificateStatus::Active);
    bed.registry.set_policy("expired", ALLOW_ALL);
    bed.registry.attach("expired", &expired.id);
    refused(&bed, Some(&expired), "expired_certificate").await;
}

#[tokio::test]
async fn a_certificate_that_is_not_active_is_refused() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    for status in [CertificateStatus::Inactive, CertificateStatus::PendingActivation] {
        bed.registry.set_certificate(&device.id, status);
        refused(&bed, Some(&device), "inactive_certificate").await;
    }
    bed.registry.set_certificate(&device.id, CertificateStatus::Active);
    bed.tls_peer(&device, "device").await.expect_nothing().await;
}

#[tokio::test]
async fn client_ids_follow_their_rules() {
    let bed = Testbed::new().await;
    let long = "x".repeat(129);
    for (client, version, clean_start, code) in [
        ("$a", Version::V311, true, 2),
        ("$a", Version::V5, true, 0x85),
        (&*long, Version::V311, true, 2),
        ("a\u{1b}", Version::V5, true, 0x85),
        // [MQTT-3.1.3-8]
        ("", Version::V311, false, 2),
        ("", Version::V311, true, 0),
        ("", Version::V5, false, 0),
        ("sensor/1 +#", Version::V311, true, 0),
    ] {
        let mut peer = Peer::plain(bed.plain).await;
        let wanted = picket_mqtt::packet::Connect { clean_start, ..connect(client, version) };
        let connack = peer.connect(wanted).await;
        assert_eq!(connack.code.0, code, "{client:?} {version:?} {clean_start}");
        // mqtt-5 [MQTT-3.2.2-16]
        let assigned = connack.properties.assigned_client_id.is_some();
        assert_eq!(assigned, client.is_empty() && version == Version::V5);
    }
}

/// mqtt-5 [MQTT-3.1.3-7]
#[tokio::test]
async fn a_client_that_was_given_its_id_can_come_back_with_it() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    let connack = peer.connect_v5("", |it| it.properties.session_expiry_s = Some(100)).await;
    let assigned = connack.properties.assigned_client_id.unwrap();
    let mut back = Peer::plain(bed.plain).await;
    assert!(back.connect_v5(&assigned, |it| it.clean_start = false).await.session_present);
}

/// [MQTT-3.1.2-2]: MQTT 3.1 is told that it is too old; [MQTT-3.1.4-1]: others are not answered.
#[tokio::test]
async fn what_is_no_proper_connect_is_refused() {
    let bed = Testbed::new().await;
    let old = [&[0x10, 15, 0, 6][..], b"MQIsdp", &[3, 2, 0, 60, 0, 1, b'a']].concat();
    let unreserved = [&[0x10, 13, 0, 4][..], b"MQTT", &[4, 3, 0, 60, 0, 1, b'a']].concat();
    for (bytes, answer, counter) in [
        (old.as_slice(), Some(1), "version"),
        (&unreserved, None, "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", None, "malformed"),
        (&[0xC0, 0], None, "malformed"),
    ] {
        let counter = format!(r#"connections_refused_total{{reason="{counter}"}}"#);
        let before = bed.counter(&counter);
        let mut peer = Peer::plain(bed.plain).await;
        peer.version = Version::V311;
        peer.send_bytes(bytes).await;
        let code = peer.next().await.map(|packet| match packet {
            picket_mqtt::Packet::ConnAck(connack) => connack.code.0,
            other => panic!("{other:?}"),
        });
        assert_eq!(code, answer);
        assert_eq!(peer.next().await, None);
        bed.counted(&counter, before + 1).await;
    }
}

#[tokio::test]
async fn extended_authentication_and_impossible_wills_are_refused() {
    let bed = Testbed::new().await;
    let mut wanted = connect("a", Version::V5);
    wanted.properties.authentication_method = Some(text("SCRAM"));
    let mut peer = Peer::plain(bed.plain).await;
    assert_eq!(peer.connect(wanted).await.code, ReasonCode::BAD_AUTHENTICATION_METHOD);
    for topic in ["a/#", "$SYS/a", "a\u{7}"] {
        let mut wanted = connect("a", Version::V5);
        wanted.will = Some(will(topic, "x"));
        let mut peer = Peer::plain(bed.plain).await;
        assert_eq!(peer.connect(wanted).await.code, ReasonCode::TOPIC_NAME_INVALID, "{topic}");
    }
}

#[tokio::test]
async fn who_takes_too_long_to_introduce_itself_is_closed() {
    let bed = Testbed::with(|limits| limits.connect_timeout_ms = 100).await;
    let mut silent = Peer::plain(bed.plain).await;
    silent.send_bytes(&[0x10]).await;
    assert_eq!(silent.next().await, None);
    bed.counted(r#"connections_refused_total{reason="timeout"}"#, 1).await;
    // The same on the TLS listener, where the handshake is what does not come.
    let mut no_tls = Peer::plain(bed.tls).await;
    assert_eq!(no_tls.next().await, None);
    bed.counted(r#"connections_refused_total{reason="timeout"}"#, 2).await;
    bed.counted("connections", 0).await;
}

#[tokio::test]
async fn what_does_not_speak_tls_is_refused() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.tls).await;
    peer.send_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    while peer.next_byte().await.is_some() {}
    bed.counted(r#"connections_refused_total{reason="handshake"}"#, 1).await;
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed() {
    let bed = Testbed::with(|limits| limits.connections_max = 1).await;
    let mut first = bed.plain_peer("first").await;
    let mut second = Peer::plain(bed.plain).await;
    assert_eq!(second.next().await, None);
    bed.counted(r#"connections_refused_total{reason="too_many_connections"}"#, 1).await;
    first.expect_nothing().await;
    first.disconnect(ReasonCode::SUCCESS).await;
    bed.counted("connections", 0).await;
    bed.plain_peer("third").await.expect_nothing().await;
}

#[tokio::test]
async fn the_terms_are_told_in_connack() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    let connack = peer
        .connect_v5("peer", |it| {
            it.keep_alive_s = 0;
            it.properties.session_expiry_s = Some(u32::MAX);
        })
        .await;
    let told = connack.properties;
    assert_eq!(told.server_keep_alive_s, Some(1200));
    assert_eq!(told.session_expiry_s, Some(3600));
    assert_eq!(told.receive_max.map(u16::from), Some(100));
    assert_eq!(told.topic_alias_max, Some(16));
    assert_eq!(told.packet_bytes_max.map(u32::from), Some(128 * 1024 + 16 * 1024));
}
