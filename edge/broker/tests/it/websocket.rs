//! MQTT in WebSockets: the same sessions, through another door.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use picket_model::{CertificateStatus, DisconnectReason, Fact};
use picket_mqtt::packet::Version;
use picket_mqtt::{QoS, ReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::https::{HttpClient, status};
use crate::peer::{Peer, Stream, connect, tls_stream, will};
use crate::testbed::{ALLOW_ALL, Testbed, all_but, soon};

/// The opening handshake over a connection; the status where it is refused.
async fn open<S: Stream + 'static>(stream: S) -> Result<WebSocketStream<S>, u16> {
    let mut request = "wss://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((stream, answer)) => {
            // mqtt-3.1.1 [MQTT-6.0.0-4], mqtt-5 [MQTT-6.0.0-4]
            assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
            Ok(stream)
        }
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A client whose every frame has at most so many bytes.
fn peer<S: Stream + 'static>(mut websocket: WebSocketStream<S>, frame_bytes: usize) -> Peer {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut buffer = vec![0; frame_bytes];
        loop {
            tokio::select! {
                read = far.read(&mut buffer) => match read.unwrap() {
                    0 => return drop(websocket.close(None).await),
                    n => {
                        let frame = Message::Binary(Bytes::copy_from_slice(&buffer[..n]));
                        if websocket.send(frame).await.is_err() {
                            return;
                        }
                    }
                },
                message = websocket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => far.write_all(&bytes).await.unwrap(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    });
    Peer::over(near)
}

async fn plain(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn a_session_is_a_session_whatever_the_frames_are() {
    // mqtt-3.1.1 [MQTT-6.0.0-2], mqtt-5 [MQTT-6.0.0-2]
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    for frame_bytes in [1, 7, 64 * 1024] {
        let stream = tls_stream(&bed, Some(&device), bed.https, &[]).await;
        let mut peer = peer(open(stream).await.unwrap(), frame_bytes);
        peer.connect_v5("pump", |_| {}).await;
        assert_eq!(peer.subscribe("a/#", QoS::ExactlyOnce).await, ReasonCode(2));
        assert_eq!(peer.publish("a/b", "hello").await, ReasonCode::SUCCESS);
        assert_eq!(peer.received().await, "a/b hello");
        let large = "x".repeat(100_000);
        peer.publish("a/large", &large).await;
        assert_eq!(peer.received().await, format!("a/large {large}"));
        peer.disconnect(ReasonCode::SUCCESS).await;
    }
    let fact = bed.fact("pump", |fact| matches!(fact, Fact::Disconnected { .. })).await.fact;
    let Fact::Disconnected { reason, .. } = fact else { panic!("disconnected") };
    assert_eq!(reason, DisconnectReason::ClientInitiated);
}

#[tokio::test]
async fn a_tls_listener_hears_what_the_hello_names() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    for address in [bed.tls, bed.https] {
        for protocols in [&["http/1.1"][..], &["h2", "http/1.1"], &["x-amzn-http-ca"]] {
            let stream = tls_stream(&bed, Some(&device), address, protocols).await;
            let mut peer = peer(open(stream).await.unwrap(), 1024);
            peer.connect_v5("pump", |_| {}).await;
        }
        for protocols in [&["mqtt"][..], &["x-amzn-mqtt-ca"]] {
            let mut peer = Peer::over(tls_stream(&bed, Some(&device), address, protocols).await);
            peer.connect_v5("pump", |_| {}).await;
        }
    }
}

#[tokio::test]
async fn a_plain_listener_gives_its_policys_rights() {
    let bed = Testbed::new().await;
    let mut peer = peer(open(plain(bed.http).await).await.unwrap(), 1024);
    peer.version = Version::V311;
    peer.connect(connect("old", Version::V311)).await;
    peer.publish("a", "b").await;
    bed.changed(bed.registry.set_policy("open", &all_but("iot:Connect", "client/old")));
    peer.closed().await;
}

#[tokio::test]
async fn rights_that_are_gone_close_it() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    let stream = tls_stream(&bed, Some(&device), bed.https, &[]).await;
    let mut peer = peer(open(stream).await.unwrap(), 1024);
    peer.connect_v5("pump", |_| {}).await;
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Inactive));
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    let stream = tls_stream(&bed, Some(&device), bed.https, &[]).await;
    let mut again = self::peer(open(stream).await.unwrap(), 1024);
    let connack = again.connect(connect("pump", Version::V5)).await;
    assert_eq!(connack.code, ReasonCode::NOT_AUTHORIZED);
    bed.counted("connections_refused_total{reason=\"inactive_certificate\"}", 1).await;
}

#[tokio::test]
async fn a_text_frame_closes_it() {
    // mqtt-3.1.1 [MQTT-6.0.0-1], mqtt-5 [MQTT-6.0.0-1]
    let bed = Testbed::new().await;
    let mut websocket = open(plain(bed.http).await).await.unwrap();
    websocket.send(Message::text("hello")).await.unwrap();
    let end = soon("the end", async {
        while let Some(Ok(message)) = websocket.next().await {
            if message.is_close() {
                return true;
            }
        }
        false
    });
    assert!(end.await);
    bed.counted("connections_refused_total{reason=\"lost\"}", 1).await;
    bed.counted("connections", 0).await;
}

#[tokio::test]
async fn who_goes_without_a_close_frame_leaves_its_will() {
    let bed = Testbed::new().await;
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("wills", QoS::AtMostOnce).await;
    let mut websocket = open(plain(bed.http).await).await.unwrap();
    let mut wanted = connect("goner", Version::V5);
    wanted.will = Some(will("wills", "gone"));
    let mut bytes = bytes::BytesMut::new();
    let packet = picket_mqtt::Packet::Connect(Box::new(wanted));
    picket_mqtt::codec::encode(&packet, Version::V5, &mut bytes);
    websocket.send(Message::Binary(bytes.freeze())).await.unwrap();
    websocket.next().await.unwrap().unwrap();
    drop(websocket);
    assert_eq!(watcher.received().await, "wills gone");
}

#[tokio::test]
async fn a_websocket_without_connect_ends_at_the_deadline_and_takes_a_newcomers_place() {
    let bed = Testbed::with(|limits| {
        limits.connect_timeout_ms = 300;
        limits.half_open_per_source_max = 1;
    })
    .await;
    let mut websocket = open(plain(bed.http).await).await.unwrap();
    let mut second = plain(bed.http).await;
    assert_eq!(soon("a close", second.read(&mut [0; 1])).await.unwrap_or(0), 0);
    bed.counted("connections_refused_total{reason=\"half_open\"}", 1).await;
    let end = soon("the end", async { while let Some(Ok(_)) = websocket.next().await {} });
    end.await;
    bed.counted("connections_refused_total{reason=\"timeout\"}", 1).await;
    let mut peer = peer(open(plain(bed.http).await).await.unwrap(), 1024);
    peer.connect_v5("in-time", |_| {}).await;
}

#[tokio::test]
async fn what_is_no_websocket_with_mqtt_is_refused_and_closed() {
    let bed = Testbed::new().await;
    let usual = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mqtt = "sec-websocket-protocol: mqtt\r\n";
    let cases = [
        ("GET /mqtt", String::new(), 400),
        ("GET /mqtt", usual.to_owned(), 400),
        ("GET /mqtt", format!("{usual}sec-websocket-protocol: mqttv3.1\r\n"), 400),
        ("GET /", format!("{usual}{mqtt}"), 404),
        ("GET /mqtt/", format!("{usual}{mqtt}"), 404),
        ("POST /mqtt", format!("{usual}{mqtt}content-length: 0\r\n"), 405),
        ("GET /mqtt", format!("{usual}{mqtt}origin: https://evil.example\r\n"), 403),
    ];
    let n_cases = cases.len();
    for (n, (line, headers, expected)) in cases.into_iter().enumerate() {
        let mut client = HttpClient::over(plain(bed.http).await);
        let answer = client.send(line, &headers, b"").await;
        assert_eq!(status(&answer), expected, "{line} {headers}");
        assert!(client.is_closed().await);
        let reason = if n + 1 == n_cases { "origin" } else { "http_request" };
        let so_far = if n + 1 == n_cases { 1 } else { n as u64 + 1 };
        bed.counted(&format!("connections_refused_total{{reason=\"{reason}\"}}"), so_far).await;
    }
    for origin in ["http://localhost", "https://fleet.example.org"] {
        let mut client = HttpClient::over(plain(bed.http).await);
        let headers = format!("{usual}{mqtt}origin: {origin}\r\n");
        let answer = client.send("GET /mqtt", &headers, b"").await;
        assert_eq!(status(&answer), 101, "{origin}");
    }
}
