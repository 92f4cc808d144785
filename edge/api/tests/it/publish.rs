use axum::body::Bytes;
use insta::assert_snapshot;
use picket_api::Message;
use picket_mqtt::packet::MessageProperties;
use picket_mqtt::{QoS, Text};

use crate::harness::Server;

#[tokio::test]
async fn a_message_arrives_with_everything_that_was_said_of_it() {
    let server = Server::start().await;
    server
        .given(&[
            "iotdata:POST /topics/a%2Fb%20c hello",
            "iotdata:POST /topics/t?qos=1&retain=true {\"t\":1}",
            "iotdata:POST /topics/t?contentType=text%2Fplain&responseTopic=r%2F1&messageExpiry=60 \
             x-amz-mqtt5-payload-format-indicator=UTF8_DATA x-amz-mqtt5-correlation-data=Yy0x \
             x-amz-mqtt5-user-properties=W3siayI6InYifSx7ImsiOiJ3In1d hi",
        ])
        .await;
    let message = |topic: &str, payload: &'static str| Message {
        topic: topic.to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
        ..Message::default()
    };
    let text = |text: &str| Text::new(text).unwrap();
    let pair = |name, value| (text(name), text(value));
    assert_eq!(
        *server.published.0.lock().unwrap(),
        [
            message("a/b c", "hello"),
            Message { qos: QoS::AtLeastOnce, retain: true, ..message("t", "{\"t\":1}") },
            Message {
                properties: MessageProperties {
                    payload_is_utf8: Some(true),
                    content_type: Some(text("text/plain")),
                    response_topic: Some(text("r/1")),
                    correlation_data: Some(Bytes::from_static(b"c-1")),
                    expiry_s: Some(60),
                    user: vec![pair("k", "v"), pair("k", "w")],
                },
                ..message("t", "hi")
            },
        ]
    );
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:POST /topics/a%2F%23 x",
                "iotdata:POST /topics/%2B x",
                "iotdata:POST /topics/a%00b x",
                "iotdata:POST /topics/%24share%2Fg%2Ft x",
                "iotdata:POST /topics/t?qos=2 x",
                "iotdata:POST /topics/t?retain=perhaps x",
                "iotdata:POST /topics/t?responseTopic=%23 x",
                "iotdata:POST /topics/t x-amz-mqtt5-correlation-data=% x",
                "iotdata:POST /topics/t x-amz-mqtt5-user-properties=e30= x",
                "iotdata:POST /topics/t x-amz-mqtt5-payload-format-indicator=TEXT x",
                "iotdata:GET /things/t/shadow",
                "iotdata:POST /topics/",
            ])
            .await
    );
    assert!(server.published.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_payload_is_at_most_as_large_as_the_broker_takes() {
    let server = Server::start().await;
    let line = |len: usize| format!("iotdata:POST /topics/t {}", "x".repeat(len));
    assert_eq!(server.call(&line(128 * 1024)).await.status, 200);
    let refused = server.call(&line(128 * 1024 + 1)).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.headers["x-amzn-errortype"], "RequestEntityTooLargeException");
    assert_eq!(server.published.0.lock().unwrap().len(), 1);
}
