//! What nobody sends by mistake: refused, counted, and nobody else notices.

use std::net::SocketAddr;

use picket_mqtt::packet::{Connect, ConnectProperties, Version};
use picket_mqtt::{Packet, QoS, ReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::peer::{Peer, connect, publish, text};
use crate::testbed::{Testbed, soon};

fn refused(reason: &str) -> String {
    format!(r#"connections_refused_total{{reason="{reason}"}}"#)
}

/// Sends bytes as the first ones of connections; none may be answered.
async fn check_first(bed: &Testbed, bytes: &[u8]) {
    let before = bed.counter(&refused("malformed"));
    let mut peer = Peer::plain(bed.plain).await;
    peer.send_bytes(bytes).await;
    assert_eq!(peer.next_byte().await, None, "{bytes:02x?}");
    bed.counted(&refused("malformed"), before + 1).await;
}

/// mqtt-3.1.1 [MQTT-3.1.0-1], mqtt-5 [MQTT-3.1.0-1]
#[tokio::test]
async fn every_other_packet_than_connect_is_refused_first() {
    let bed = Testbed::new().await;
    for bytes in [
        &[0x20, 2, 0, 0][..],
        &[0x30, 3, 0, 1, b'a'],
        &[0x40, 2, 0, 1],
        &[0x50, 2, 0, 1],
        &[0x62, 2, 0, 1],
        &[0x70, 2, 0, 1],
        &[0x82, 6, 0, 1, 0, 1, b'a', 0],
        &[0x90, 3, 0, 1, 0],
        &[0xA2, 5, 0, 1, 0, 1, b'a'],
        &[0xB0, 2, 0, 1],
        &[0xC0, 0],
        &[0xD0, 0],
        &[0xE0, 0],
        &[0xF0, 0],
        &[0x00, 0],
        &[0xFF; 64],
        // The beginning of a TLS handshake at the wrong door.
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
    ] {
        check_first(&bed, bytes).await;
    }
    assert_eq!(bed.counter("connections_admitted_total"), 0);
    bed.plain_peer("other").await.expect_nothing().await;
}

fn connect_bytes(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let body = [&[0, 4][..], b"MQTT", &[level, flags, 0, 60], rest].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// mqtt-3.1.1 [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20]
/// [MQTT-3.1.2-21] [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11]
/// [MQTT-3.1.4-1], mqtt-5 [MQTT-3.1.2-9] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18]
/// [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12]
/// [MQTT-3.1.4-1]
#[tokio::test]
async fn a_malformed_connect_is_refused_without_a_word() {
    let bed = Testbed::new().await;
    for bytes in [
        // A client id of no UTF-8, with U+0000, longer than the packet.
        connect_bytes(4, 2, &[0, 2, 0xC0, 0x80]),
        connect_bytes(4, 2, &[0, 3, 0xED, 0xA0, 0x80]),
        connect_bytes(4, 2, &[0, 1, 0]),
        connect_bytes(4, 2, &[0, 9, b'a']),
        // The reserved flag; will flags without a will; QoS 3 of a will; a password alone.
        connect_bytes(4, 3, &[0, 1, b'a']),
        connect_bytes(4, 0x22, &[0, 1, b'a']),
        connect_bytes(4, 0x1E, &[0, 1, b'a', 0, 1, b'w', 0, 0]),
        connect_bytes(4, 0x42, &[0, 1, b'a', 0, 1, b'p']),
        // Flags that promise what is not there: a client id, a will, its payload, a user name, a
        // password.
        connect_bytes(4, 2, &[]),
        connect_bytes(4, 0x06, &[0, 1, b'a']),
        connect_bytes(4, 0x06, &[0, 1, b'a', 0, 1, b'w']),
        connect_bytes(4, 0x82, &[0, 1, b'a']),
        connect_bytes(4, 0xC2, &[0, 1, b'a', 0, 1, b'u']),
        connect_bytes(5, 0x06, &[0, 0, 1, b'a', 0]),
        connect_bytes(5, 0x82, &[0, 0, 1, b'a']),
        connect_bytes(5, 0x42, &[0, 0, 1, b'a']),
        // And what no flag promises: a will, a user name, a password.
        connect_bytes(4, 2, &[0, 1, b'a', 0]),
        connect_bytes(4, 2, &[0, 1, b'a', 0, 1, b'w', 0, 1, b'p']),
        connect_bytes(4, 0x82, &[0, 1, b'a', 0, 1, b'u', 0, 1, b'p']),
        connect_bytes(5, 2, &[0, 0, 1, b'a', 0, 1, b'u']),
        connect_bytes(5, 0x82, &[0, 0, 1, b'a', 0, 1, b'u', 0, 1, b'p']),
        // No UTF-8: a will topic, a user name.
        connect_bytes(4, 0x06, &[0, 1, b'a', 0, 1, 0xFF, 0, 0]),
        connect_bytes(4, 0x82, &[0, 1, b'a', 0, 1, 0xFF]),
        connect_bytes(5, 0x06, &[0, 0, 1, b'a', 0, 0, 1, 0xFF, 0, 0]),
        connect_bytes(5, 0x82, &[0, 0, 1, b'a', 0, 1, 0xFF]),
        // Properties: twice, unknown, of another packet, longer than the packet, a receive maximum
        // of 0.
        connect_bytes(5, 2, &[6, 0x21, 0, 9, 0x21, 0, 9, 0, 1, b'a']),
        connect_bytes(5, 2, &[2, 0x7F, 0, 0, 1, b'a']),
        connect_bytes(5, 2, &[3, 0x23, 0, 1, 0, 1, b'a']),
        connect_bytes(5, 2, &[0x7F, 0, 1, b'a']),
        connect_bytes(5, 2, &[3, 0x21, 0, 0, 0, 1, b'a']),
        connect_bytes(5, 2, &[0x80, 0x80, 0x80, 0x80, 1]),
    ] {
        check_first(&bed, &bytes).await;
    }
    // A length that no CONNECT has is refused before anything of it is read.
    check_first(&bed, &[0x10, 0xFF, 0xFF, 0xFF, 0x7F]).await;
}

/// mqtt-5 [MQTT-4.12.0-1] [MQTT-4.12.0-4]
#[tokio::test]
async fn extended_authentication_is_refused_with_its_code() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    let properties = ConnectProperties {
        authentication_method: Some(text("SCRAM-SHA-1")),
        ..ConnectProperties::default()
    };
    let connack = peer.connect(Connect { properties, ..connect("a", Version::V5) }).await;
    assert_eq!(connack.code, ReasonCode::BAD_AUTHENTICATION_METHOD);
    assert!(!connack.session_present);
    assert_eq!(peer.next().await, None);
    bed.counted(&refused("authentication_method"), 1).await;
}

/// Sends bytes after CONNECT in a version and gives the code that the connection is closed with.
async fn check(bed: &Testbed, version: Version, bytes: &[u8], code: ReasonCode) {
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect(connect("peer", version)).await;
    peer.send_bytes(bytes).await;
    let told = (version == Version::V5).then_some(code);
    assert_eq!(peer.closed().await, told, "{bytes:02x?}");
}

#[tokio::test]
async fn what_only_a_server_sends_closes() {
    let bed = Testbed::new().await;
    for (v311, v5) in [
        (&[0x20, 2, 0, 0][..], &[0x20, 3, 0, 0, 0][..]),
        (&[0x90, 3, 0, 1, 0], &[0x90, 4, 0, 1, 0, 0]),
        (&[0xB0, 2, 0, 1], &[0xB0, 4, 0, 1, 0, 0]),
        (&[0xD0, 0], &[0xD0, 0]),
    ] {
        check(&bed, Version::V311, v311, ReasonCode::PROTOCOL_ERROR).await;
        check(&bed, Version::V5, v5, ReasonCode::PROTOCOL_ERROR).await;
    }
    // mqtt-5 [MQTT-4.12.0-6]: nobody agreed on a method.
    check(&bed, Version::V5, &[0xF0, 0], ReasonCode::PROTOCOL_ERROR).await;
    check(&bed, Version::V311, &[0xF0, 0], ReasonCode::MALFORMED_PACKET).await;
    bed.counted(r#"disconnects_total{reason="CLIENT_ERROR"}"#, 10).await;
}

#[tokio::test]
async fn properties_that_come_twice_or_do_not_belong_close() {
    let bed = Testbed::new().await;
    let v5 = Version::V5;
    // mqtt-5 section 2.2.2: once, unless said otherwise.
    for bytes in [
        // PUBLISH: payload format, expiry, content type, response topic, correlation data, alias.
        &[0x30, 8, 0, 1, b't', 4, 1, 0, 1, 0][..],
        &[0x30, 14, 0, 1, b't', 10, 2, 0, 0, 0, 9, 2, 0, 0, 0, 9],
        &[0x30, 10, 0, 1, b't', 6, 3, 0, 0, 3, 0, 0],
        &[0x30, 12, 0, 1, b't', 8, 8, 0, 1, b'r', 8, 0, 1, b'r'],
        &[0x30, 10, 0, 1, b't', 6, 9, 0, 0, 9, 0, 0],
        // SUBSCRIBE: the subscription identifier.
        &[0x82, 11, 0, 1, 4, 0x0B, 1, 0x0B, 1, 0, 1, b'a', 0],
        // PUBACK: the reason string.
        &[0x40, 10, 0, 1, 0, 6, 0x1F, 0, 0, 0x1F, 0, 0],
        // DISCONNECT: the session expiry.
        &[0xE0, 12, 0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0],
        // A subscription identifier of 0; a payload format of 2.
        &[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b'a', 0],
        &[0x30, 6, 0, 1, b't', 2, 1, 2],
    ] {
        check(&bed, v5, bytes, ReasonCode::PROTOCOL_ERROR).await;
    }
    for bytes in [
        // A will delay in a PUBLISH; an alias in a SUBSCRIBE; a topic alias maximum in a PUBACK; an
        // identifier that there is not; a block longer than the packet.
        &[0x30, 9, 0, 1, b't', 5, 0x18, 0, 0, 0, 1][..],
        &[0x82, 10, 0, 1, 3, 0x23, 0, 1, 0, 1, b'a', 0],
        &[0x40, 7, 0, 1, 0, 3, 0x22, 0, 1],
        &[0x30, 6, 0, 1, b't', 2, 0x7E, 0],
        &[0x30, 5, 0, 1, b't', 9, 1],
    ] {
        check(&bed, v5, bytes, ReasonCode::MALFORMED_PACKET).await;
    }
}

/// mqtt-3.1.1 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3-8.3-4] [MQTT-3.10.1-1] [MQTT-3.14.1-1],
/// mqtt-5 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.8.3-5] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
/// [MQTT-3.15.1-1]
#[tokio::test]
async fn wrong_lengths_and_reserved_bits_close() {
    let bed = Testbed::new().await;
    let malformed = ReasonCode::MALFORMED_PACKET;
    for bytes in [
        // PINGREQ with content; a PUBACK too short and one too long; a topic longer than its packet.
        &[0xC0, 1, 0][..],
        &[0x40, 1, 0],
        &[0x30, 3, 0, 9, b't'],
        &[0x30, 1, 0],
        // Reserved flags in the fixed header of every packet that has some.
        &[0x41, 2, 0, 1],
        &[0x51, 2, 0, 1],
        &[0x60, 2, 0, 1],
        &[0x71, 2, 0, 1],
        &[0x83, 6, 0, 1, 0, 1, b'a', 0],
        &[0xA0, 5, 0, 1, 0, 1, b'a'],
        &[0xC8, 0],
        &[0xE1, 0],
    ] {
        check(&bed, Version::V311, bytes, malformed).await;
        check(&bed, Version::V5, bytes, malformed).await;
    }
    check(&bed, Version::V5, &[0xF1, 0], malformed).await;
    check(&bed, Version::V311, &[0x40, 3, 0, 1, 0], malformed).await;
    check(&bed, Version::V311, &[0xE0, 1, 0], malformed).await;
    check(&bed, Version::V311, &[0x82, 6, 0, 1, 0, 1, b'a', 4], malformed).await;
    check(&bed, Version::V5, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0xC0], malformed).await;
    check(&bed, Version::V5, &[0x82, 8, 0, 1, 0, 0, 2, 0xC3, b'a', 0], malformed).await;
}

/// mqtt-3.1.1 [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1], mqtt-5 [MQTT-1.5.7-1] [MQTT-3.3.2-1]
/// [MQTT-3.3.2-13] [MQTT-3.3.2-19] [MQTT-3.8.3-1] [MQTT-3.10.3-1]
#[tokio::test]
async fn strings_that_are_no_utf_8_close() {
    let bed = Testbed::new().await;
    // A byte that never is, an overlong slash, half a surrogate, a character cut short, U+0000.
    for bad in [&[0xFF, b'a', b'a'][..], &[0xC0, 0xAF], &[0xED, 0xA0, 0x80], &[0xE2, 0x82], &[0]] {
        let string = [&[0, u8::try_from(bad.len()).unwrap()][..], bad].concat();
        let packet = |first: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            [&[first, u8::try_from(body.len()).unwrap()][..], &body].concat()
        };
        let with_property = |id: u8, value: &[u8]| {
            let block = [&[id][..], value].concat();
            packet(0x30, &[&[0, 1, b't'], &[u8::try_from(block.len()).unwrap()], &block])
        };
        let malformed = ReasonCode::MALFORMED_PACKET;
        let good = &[0, 1, b'k'];
        for bytes in [
            packet(0x30, &[&string, &[0]]),
            packet(0x82, &[&[0, 1, 0], &string, &[0]]),
            packet(0xA2, &[&[0, 1, 0], &string]),
            // Response topic, content type, both halves of a user property.
            with_property(8, &string),
            with_property(3, &string),
            with_property(0x26, &[&string[..], good].concat()),
            with_property(0x26, &[good, &string[..]].concat()),
        ] {
            check(&bed, Version::V5, &bytes, malformed).await;
        }
        for bytes in [
            packet(0x30, &[&string]),
            packet(0x82, &[&[0, 1], &string, &[0]]),
            packet(0xA2, &[&[0, 1], &string]),
        ] {
            check(&bed, Version::V311, &bytes, malformed).await;
        }
    }
}

/// An acknowledgement of nothing, in any order and number, ends nothing and costs nothing.
#[tokio::test]
async fn packet_ids_out_of_turn_are_ignored_or_answered() {
    let bed = Testbed::new().await;
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect(connect("peer", Version::V311)).await;
    for id in [1_u16, 7, u16::MAX] {
        let [high, low] = id.to_be_bytes();
        peer.send_bytes(&[0x40, 2, high, low]).await;
        peer.send_bytes(&[0x70, 2, high, low]).await;
        peer.send_bytes(&[0x50, 2, high, low]).await;
        assert!(matches!(peer.expect().await, Packet::PubRel(_)));
        // mqtt-3.1.1 [MQTT-4.3.3-2]
        peer.send_bytes(&[0x62, 2, high, low]).await;
        assert!(matches!(peer.expect().await, Packet::PubComp(_)));
    }
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_client_id_with_control_characters_is_refused() {
    let bed = Testbed::new().await;
    for client in ["a\u{1b}[2J", "a\nb", "a\u{85}", "\u{7f}"] {
        for (version, code) in [(Version::V311, 2), (Version::V5, 0x85)] {
            let mut peer = Peer::plain(bed.plain).await;
            assert_eq!(peer.connect(connect(client, version)).await.code.0, code, "{client:?}");
        }
    }
    bed.counted(&refused("client_id"), 8).await;
}

/// Slow senders: before CONNECT a deadline ends them, whatever they drip; after it the keep-alive
/// does, for only whole packets count as life.
#[tokio::test]
async fn who_never_finishes_a_packet_is_closed() {
    let bed = Testbed::with(|limits| limits.connect_timeout_ms = 100).await;
    let mut silent = TcpStream::connect(bed.plain).await.unwrap();
    let mut dripping = TcpStream::connect(bed.plain).await.unwrap();
    dripping.write_all(&[0x10, 13, 0, 4, b'M']).await.unwrap();
    let mut no_handshake = TcpStream::connect(bed.tls).await.unwrap();
    for stream in [&mut silent, &mut dripping, &mut no_handshake] {
        let read = soon("the close", stream.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap_or(0), 0);
    }
    bed.counted(&refused("timeout"), 3).await;
    bed.counted("connections", 0).await;

    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("peer", |it| it.keep_alive_s = 1).await;
    // The beginning of a PUBLISH, and one byte more of it as long as the server takes them.
    peer.send_bytes(&[0x30, 0x7F, 0, 1, b't', 0]).await;
    let closed = async { peer.closed().await };
    assert_eq!(closed.await, Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
}

#[tokio::test]
async fn a_source_has_its_share_of_half_open_connections() {
    let bed = Testbed::with(|limits| {
        limits.half_open_per_source_max = 2;
        limits.connect_timeout_ms = 3_600_000;
    })
    .await;
    // Introduced clients do not count.
    let mut one = bed.plain_peer("one").await;
    let mut two = bed.plain_peer("two").await;
    let mut silent = Vec::new();
    for n in 1..=2 {
        silent.push(TcpStream::connect(bed.plain).await.unwrap());
        bed.counted("connections", 2 + n).await;
    }
    let mut third = TcpStream::connect(bed.tls).await.unwrap();
    assert_eq!(soon("the close", third.read(&mut [0; 8])).await.unwrap_or(0), 0);
    bed.counted(&refused("half_open"), 1).await;
    one.expect_nothing().await;
    two.expect_nothing().await;
    // Room again once one is gone.
    silent.pop();
    bed.counted("connections", 3).await;
    bed.plain_peer("three").await.expect_nothing().await;
}

/// Bytes of this process that lie in memory.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// 10,000 connections that come, do something wrong and go: after the first thousands nothing more is
/// kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_under_a_flood_of_bad_connections() {
    const AT_ONCE: usize = 100;
    let bed = Testbed::new().await;
    let flood = async |n: usize| {
        for _ in 0..n / AT_ONCE {
            let address = bed.plain;
            let bad = (0..AT_ONCE).map(|n| async move {
                let Ok(mut stream) = TcpStream::connect(address).await else { return };
                let bytes: &[u8] = match n % 4 {
                    // A CONNECT that never comes whole, of the largest size.
                    0 => &[0x10, 0xFF, 0xFF, 0x08, 0, 4, b'M', b'Q', b'T', b'T'],
                    1 => b"GET / HTTP/1.1\r\n\r\n",
                    2 => &[0xC0, 0],
                    _ => &[],
                };
                let _ = stream.write_all(bytes).await;
            });
            bad.collect::<JoinSet<()>>().join_all().await;
        }
        bed.counted("connections", 0).await;
    };
    flood(2_000).await;
    let before = resident_bytes();
    flood(10_000).await;
    let grown = resident_bytes().saturating_sub(before);
    // A leak of 1 KB for each would be 10 MB.
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more");
    let mut other = bed.plain_peer("other").await;
    assert_eq!(other.publish("t", "x").await, ReasonCode::SUCCESS);
    other.send(Packet::Publish(Box::new(publish("t", "x", QoS::AtMostOnce)))).await;
    other.expect_nothing().await;
}

/// The first bytes of a TLS handshake whose rest never comes.
const BEGUN_HANDSHAKE: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];

/// Opens a connection from an address of this machine.
async fn open(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    soon("the connection", socket.connect(to)).await.unwrap()
}

/// Opens as many connections, some at once, each of which must be closed without a word.
async fn refuse_each(from: [u8; 4], to: SocketAddr, n: usize) {
    // As many as the kernel lets wait to be accepted: of more, some would try again after a second.
    const AT_ONCE: usize = 100;
    for _ in 0..n / AT_ONCE {
        let refused = (0..AT_ONCE).map(|_| async move {
            let mut stream = open(from, to).await;
            let _ = stream.write_all(&BEGUN_HANDSHAKE).await;
            assert_eq!(soon("the close", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
        });
        refused.collect::<JoinSet<()>>().join_all().await;
    }
}

/// Handshakes that are begun and never ended take all places of their sources; 10,000 connections of
/// one source beyond its share are refused, then 10,000 while there is no place at all. Who was there
/// before is served throughout, each refusal is counted, and nothing is kept of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: tens of thousands of connections, 4,000 of them at once"]
async fn a_flood_of_connections_is_refused_and_counted_and_memory_stays_flat() {
    const PLACES: usize = 2_000;
    const SHARE: usize = PLACES / 4;
    let bed = Testbed::with(|limits| {
        limits.connections_max = PLACES;
        limits.half_open_per_source_max = PLACES;
        limits.connect_timeout_ms = 3_600_000;
    })
    .await;
    let mut other = bed.plain_peer("other").await;
    let mut n_refused = 0;
    let mut flood = async |n: usize| {
        let mut silent = Vec::new();
        let mut take_places = async |last: u8, n: usize| {
            for _ in 0..n {
                let mut stream = open([127, 0, 0, last], bed.tls).await;
                stream.write_all(&BEGUN_HANDSHAKE).await.unwrap();
                silent.push(stream);
            }
            bed.counted("connections", 1 + silent.len() as u64).await;
        };
        take_places(2, SHARE).await;
        refuse_each([127, 0, 0, 2], bed.tls, n).await;
        for (last, n) in [(3, SHARE), (4, SHARE), (5, SHARE - 1)] {
            take_places(last, n).await;
        }
        refuse_each([127, 0, 0, 6], bed.tls, n).await;
        n_refused += n as u64;
        for reason in ["half_open", "too_many_connections"] {
            bed.counted(&refused(reason), n_refused).await;
        }
        other.expect_nothing().await;
        drop(silent);
        bed.counted("connections", 1).await;
    };
    flood(2_000).await;
    let before = resident_bytes();
    flood(10_000).await;
    let grown = resident_bytes().saturating_sub(before);
    // A leak of 1 KB for each would be 20 MB.
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more");
    // Those whose handshakes were begun were lost.
    bed.counted(&refused("handshake"), 2 * (PLACES as u64 - 1)).await;
    assert_eq!(bed.counter("connections_admitted_total"), 1);
    bed.plain_peer("new").await.expect_nothing().await;
}
