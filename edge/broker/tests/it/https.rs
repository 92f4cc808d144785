//! Messages by HTTPS: decided, counted and routed as those of a session, without one.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use picket_model::{CertificateStatus, DeviceName, Fact, Tripwires};
use picket_mqtt::QoS;
use picket_mqtt::packet::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::disk::Disk;
use crate::peer::{Peer, Stream, connect, tls_stream};
use crate::testbed::{ALLOW_ALL, Device, Testbed, all_but, soon};

/// A connection that speaks HTTP/1.1 as it is told.
pub(crate) struct HttpClient {
    stream: Box<dyn Stream>,
    input: BytesMut,
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(answer)
}

impl HttpClient {
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), input: BytesMut::new() }
    }

    async fn of(bed: &Testbed, device: &Device) -> Self {
        Self::over(tls_stream(bed, Some(device), bed.https, &[]).await)
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a request and gives the whole answer.
    pub(crate) async fn send(&mut self, line: &str, headers: &str, body: &[u8]) -> String {
        let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        self.write(&[head.as_bytes(), body].concat()).await;
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.input).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    let whole = head.len() + 4 + length;
                    self.input.advance(whole);
                    return text[..whole].to_owned();
                }
            }
            let read = soon("an answer", self.stream.read_buf(&mut self.input)).await;
            assert!(read.unwrap_or(0) > 0, "closed instead of answering: {text}");
        }
    }

    /// Publishes and gives the status.
    async fn post(&mut self, path: &str, body: &str) -> u16 {
        let length = format!("content-length: {}\r\n", body.len());
        status(&self.send(&format!("POST /topics/{path}"), &length, body.as_bytes()).await)
    }

    /// Whether the server closes without another word.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = soon("the end", self.stream.read_buf(&mut self.input)).await;
        read.unwrap_or(0) == 0
    }
}

#[tokio::test]
async fn a_message_arrives_with_all_that_was_said_of_it() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut listener = bed.plain_peer("listener").await;
    listener.subscribe("#", QoS::AtLeastOnce).await;
    let mut client = HttpClient::of(&bed, &device).await;
    let answer =
        client.send("POST /topics/a%2Fb%20c?qos=1", "content-length: 5\r\n", b"hello").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("x-amzn-requestid: "), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["message"], body["traceId"].is_string()), (&"OK".into(), true));
    let message = listener.message().await;
    assert_eq!(
        (&*message.topic, &message.payload[..], message.qos),
        ("a/b c", &b"hello"[..], QoS::AtLeastOnce)
    );

    let headers = "content-length: 2\r\nx-amz-mqtt5-payload-format-indicator: UTF8_DATA\r\n\
        x-amz-mqtt5-correlation-data: Yy0x\r\nx-amz-mqtt5-user-properties: W3siayI6InYifV0=\r\n";
    let line = "POST /topics/t/u?contentType=text%2Fplain&responseTopic=r%2F1&messageExpiry=60";
    assert_eq!(status(&client.send(line, headers, b"hi").await), 200);
    let message = listener.message().await;
    let properties = message.properties;
    assert_eq!((&*message.topic, message.qos), ("t/u", QoS::AtMostOnce));
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.response_topic.as_deref(), Some("r/1"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"c-1"[..]));
    assert_eq!((properties.payload_is_utf8, properties.user.len()), (Some(true), 1));
    assert!(properties.expiry_s.is_some_and(|left| left <= 60));

    // In pieces, without saying how many.
    let chunked = client.send(
        "POST /topics/c",
        "transfer-encoding: chunked\r\n",
        b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    );
    assert_eq!(status(&chunked.await), 200);
    assert_eq!(listener.received().await, "c abc");
    bed.counted("https_publishes_total{reason=\"published\"}", 3).await;
    bed.counted("messages_in_total", 3).await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_with_awss_status() {
    let bed = Testbed::with(|limits| limits.payload_bytes_max = 1000).await;
    let device = bed.device("pump", &all_but("iot:Publish", "topic/secret"));
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t", "first of all").await, 200);
    for (path, expected) in [
        ("", 400),
        ("a%2F%23", 400),
        ("%2B", 400),
        ("a%00b", 400),
        ("%FF", 400),
        ("%24SYS%2Fx", 400),
        ("%24aws%2Fthings%2Fpump%2Fdefender%2Fmetrics%2Fjson%2Faccepted", 400),
        ("t?qos=2", 400),
        ("t?retain=perhaps", 400),
        ("t?responseTopic=%23", 400),
        ("secret", 403),
        ("t", 200),
    ] {
        assert_eq!(client.post(path, "x").await, expected, "{path}");
    }
    let get = client.send("GET /topics/t", "", b"").await;
    assert_eq!(status(&get), 405);
    assert!(get.contains("x-amzn-errortype: MethodNotAllowedException"), "{get}");
    let lost = client.send("POST /things/pump/shadow", "content-length: 0\r\n", b"").await;
    assert_eq!(status(&lost), 404);
    // No session begins on a connection that has been decided about.
    assert_eq!(status(&client.send("GET /mqtt", "", b"").await), 400);
    assert_eq!(client.post("t", &"x".repeat(1000)).await, 200);
    for size in [1001, 100_000] {
        let mut client = HttpClient::of(&bed, &device).await;
        assert_eq!(client.post("t", &"x".repeat(size)).await, 413, "{size}");
    }
    let mut client = HttpClient::of(&bed, &device).await;
    let endless = [b"3e9\r\n".to_vec(), vec![b'x'; 1001], b"\r\n0\r\n\r\n".to_vec()].concat();
    let chunked = client.send("POST /topics/t", "transfer-encoding: chunked\r\n", &endless).await;
    assert_eq!(status(&chunked), 413);
    assert!(chunked.contains("x-amzn-errortype: RequestEntityTooLargeException"), "{chunked}");
    bed.counted("https_publishes_total{reason=\"too_large\"}", 3).await;
    bed.counted("https_publishes_total{reason=\"denied\"}", 1).await;
}

#[tokio::test]
async fn only_a_certificate_that_is_registered_and_active_publishes() {
    let bed = Testbed::new().await;
    let pump = bed.device("pump", ALLOW_ALL);
    let stranger = bed.stranger("stranger", 2100);
    let expired = bed.stranger("expired", 2020);
    bed.registry.set_certificate(&expired.id, CertificateStatus::Active);
    let inactive = bed.device("inactive", ALLOW_ALL);
    bed.registry.set_certificate(&inactive.id, CertificateStatus::Inactive);
    let revoked = bed.device("revoked", ALLOW_ALL);
    bed.broker.revoke(bed.revocations(&[&revoked]));
    for (device, reason) in [
        (None, "no_certificate"),
        (Some(&stranger), "unknown_certificate"),
        (Some(&expired), "expired_certificate"),
        (Some(&inactive), "inactive_certificate"),
        (Some(&revoked), "revoked_certificate"),
    ] {
        let mut client = HttpClient::over(tls_stream(&bed, device, bed.https, &[]).await);
        let answer = client.send("POST /topics/t", "content-length: 1\r\n", b"x").await;
        assert_eq!(status(&answer), 403, "{reason}");
        assert!(answer.contains("x-amzn-errortype: ForbiddenException"), "{answer}");
        assert!(answer.contains("\"message\":\"Forbidden\""), "no reasons for strangers: {answer}");
        assert!(client.is_closed().await);
        bed.counted(&format!("connections_refused_total{{reason=\"{reason}\"}}"), 1).await;
    }
    let mut plain = HttpClient::over(TcpStream::connect(bed.http).await.unwrap());
    assert_eq!(plain.post("t", "x").await, 403, "a policy alone is nobody");
    let mut client = HttpClient::of(&bed, &pump).await;
    bed.registry.set_down(true);
    assert_eq!(client.post("t", "x").await, 503);
}

#[tokio::test]
async fn a_change_of_rights_reaches_a_connection_that_is_open() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut client = HttpClient::of(&bed, &device).await;
    let deny_all = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Deny","Action":"iot:*","Resource":"*"}]}"#;
    for (policy, expected) in [
        (ALLOW_ALL.to_owned(), 200),
        (deny_all.to_owned(), 403),
        (all_but("iot:Publish", "topic/t"), 403),
        (all_but("iot:RetainPublish", "topic/t"), 200),
        // Who is quarantined by a denied iot:Connect does not go on by another door.
        (all_but("iot:Connect", "client/*"), 403),
        (all_but("iot:Connect", "client/another"), 200),
        // As at AWS, who publishes by HTTPS need not be allowed to connect.
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish",
            "Resource":"arn:aws:iot:us-east-1:123456789012:topic/t"}]}"#
                .to_owned(),
            200,
        ),
        // It has no client id that a policy could speak of.
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish",
            "Resource":"arn:aws:iot:us-east-1:123456789012:topic/${iot:ClientId}"}]}"#
                .to_owned(),
            403,
        ),
    ] {
        bed.changed(bed.registry.set_policy("pump", &policy));
        assert_eq!(client.post("t", "x").await, expected, "{policy}");
    }
    assert_eq!(client.post(device.id.as_str(), "x").await, 403, "nor is it called something else");
    bed.changed(bed.registry.set_policy("pump", ALLOW_ALL));
    assert_eq!(client.post("t", "x").await, 200);
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Inactive));
    assert_eq!(client.post("t", "x").await, 403);
    bed.counted("https_publishes_total{reason=\"forbidden\"}", 1).await;
}

#[tokio::test]
async fn detect_sees_the_device_and_no_connection() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", &all_but("iot:Publish", "topic/secret"));
    bed.registry.set_thing("Pump7", None);
    bed.registry.own(&device.id, "Pump7");
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t", "12345").await, 200);
    assert_eq!(client.post("secret", "x").await, 403);
    let published = bed.fact("Pump7", |fact| matches!(fact, Fact::Published(_))).await.fact;
    let Fact::Published(published) = published else { panic!("published") };
    assert_eq!((published.count, published.bytes_total), (1, 5));
    assert_eq!(
        (&*published.largest_topic, published.source.to_string()),
        ("t", "127.0.0.1".to_owned())
    );
    let denied = bed.fact("Pump7", |fact| matches!(fact, Fact::Denied(_))).await.fact;
    let Fact::Denied(denied) = denied else { panic!("denied") };
    assert_eq!(
        (denied.count, denied.last_action, &*denied.last_resource),
        (1, "iot:Publish", "secret")
    );
    // By no thing's name, it is the certificate's.
    let nameless = bed.device("nameless", ALLOW_ALL);
    let mut client = HttpClient::of(&bed, &nameless).await;
    assert_eq!(client.post("t", "x").await, 200);
    bed.fact(nameless.id.as_str(), |fact| matches!(fact, Fact::Published(_))).await;
    let all = bed.observed("all", |all| all.len() >= 3).await;
    let is_connection =
        |fact: &Fact| matches!(fact, Fact::ConnectionAttempted { .. } | Fact::Connected { .. });
    assert!(!all.iter().any(|it| is_connection(&it.fact)), "{all:?}");
}

#[tokio::test]
async fn what_is_not_urgent_is_handed_on_within_a_second_or_so_and_not_at_the_end() {
    let bed = Testbed::with(|limits| limits.connect_timeout_ms = 600_000).await;
    let device = bed.device("pump", ALLOW_ALL);
    let name = DeviceName::parse(device.id.as_str()).unwrap();
    bed.broker.set_tripwires(&name, Tripwires::default(), &[]);
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t", "x").await, 200);
    bed.fact(device.id.as_str(), |fact| matches!(fact, Fact::Published(_))).await;
    assert_eq!(client.post("t", "x").await, 200);
}

#[tokio::test]
async fn a_connection_publishes_as_fast_as_it_may_and_is_counted_beyond() {
    let bed = Testbed::with(|limits| limits.publishes_per_s_max = 1).await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut listener = bed.plain_peer("listener").await;
    listener.subscribe("t", QoS::AtMostOnce).await;
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t", "one").await, 200);
    assert_eq!(listener.received().await, "t one");
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) {
        statuses.push(client.post("t", "more").await);
    }
    bed.counted("dropped_total{reason=\"too_fast\"}", 1).await;
    let sent = statuses.len() as u64 + 1;
    bed.observed("all of them", |all| {
        let count = |fact: &Fact| match fact {
            Fact::Published(published) => published.count,
            _ => 0,
        };
        all.iter().map(|it| count(&it.fact)).sum::<u64>() == sent
    })
    .await;
}

#[tokio::test]
async fn a_message_at_qos_1_is_answered_once_it_is_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut sleeper = Peer::plain(bed.plain).await;
    let mut wanted = connect("sleeper", Version::V5);
    wanted.properties.session_expiry_s = Some(100);
    sleeper.connect(wanted).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    let mut client = HttpClient::of(&bed, &device).await;
    disk.hold_up();
    assert_eq!(client.post("t", "x").await, 200, "nobody is promised anything");
    client.write(b"POST /topics/t?qos=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
    disk.waits().await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), client.stream.read(&mut byte));
    assert!(early.await.is_err(), "answered before it is kept");
    disk.let_go();
    assert_eq!(status(&client.answer().await), 200);
}

#[tokio::test]
async fn a_report_is_one_whichever_way_it_comes() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    bed.registry.set_thing("Pump7", None);
    bed.registry.set_thing("Other", None);
    bed.registry.own(&device.id, "Pump7");
    let mut client = HttpClient::of(&bed, &device).await;
    let report = r#"{"header":{"report_id":7,"version":"1.0"},"metrics":{}}"#;
    let topic = |thing: &str| format!("%24aws%2Fthings%2F{thing}%2Fdefender%2Fmetrics%2Fjson");
    assert_eq!(client.post(&topic("Pump7"), report).await, 200);
    bed.fact("Pump7", |fact| matches!(fact, Fact::Reported(it) if it.id == 7)).await;
    assert_eq!(client.post(&format!("{}?retain=true", topic("Pump7")), report).await, 400);
    assert_eq!(client.post(&topic("Other"), report).await, 200, "a message like any");
    bed.counted("reports_total{reason=\"denied\"}", 1).await;
    bed.fact("Pump7", |fact| matches!(fact, Fact::Denied(_))).await;
}

#[tokio::test]
async fn a_retained_message_lives_as_long_as_the_right_to_it() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t?retain=true&qos=1", "kept").await, 200);
    drop(client);
    let mut first = bed.plain_peer("first").await;
    first.subscribe("t", QoS::AtMostOnce).await;
    assert_eq!(first.received().await, "t kept");
    bed.changed(bed.registry.set_certificate(&device.id, CertificateStatus::Inactive));
    let mut second = bed.plain_peer("second").await;
    second.subscribe("t", QoS::AtMostOnce).await;
    second.expect_nothing().await;
}

#[tokio::test]
async fn who_is_slow_or_says_nothing_is_closed_at_the_deadline() {
    let bed = Testbed::with(|limits| limits.connect_timeout_ms = 300).await;
    for n in 1..=3 {
        let mut client = HttpClient::over(TcpStream::connect(bed.http).await.unwrap());
        match n {
            1 => {}
            2 => client.write(b"POST /topics/t HTTP/1.1\r\nhost: l").await,
            _ => client.write(b"POST /topics/t HTTP/1.1\r\nx: ").await,
        }
        assert!(client.is_closed().await);
        bed.counted("connections_refused_total{reason=\"timeout\"}", n).await;
    }
    // Longer than any head may be.
    let mut client = HttpClient::over(TcpStream::connect(bed.http).await.unwrap());
    let head = format!("POST /topics/t HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
    let _ = client.stream.write_all(head.as_bytes()).await;
    let answer = soon("an answer or the end", client.stream.read_buf(&mut client.input)).await;
    assert!(
        answer.is_err()
            || client.input.is_empty()
            || status(&String::from_utf8_lossy(&client.input)) == 431
    );
    bed.counted("connections", 0).await;
}

#[tokio::test]
async fn the_server_stops_while_clients_keep_their_connections() {
    let bed = Testbed::new().await;
    let device = bed.device("pump", ALLOW_ALL);
    let mut client = HttpClient::of(&bed, &device).await;
    assert_eq!(client.post("t", "x").await, 200);
    let mut silent = HttpClient::of(&bed, &device).await;
    assert!(bed.broker.shutdown(crate::testbed::PATIENCE).await);
    assert!(client.is_closed().await && silent.is_closed().await);
}
