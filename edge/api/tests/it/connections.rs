use axum::body::Bytes;
use insta::assert_snapshot;
use picket_api::Message;
use picket_mqtt::packet::MessageProperties;
use picket_mqtt::{QoS, Text};

use crate::harness::Server;

#[tokio::test]
async fn a_connection_is_described() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:GET /connections/here",
                "iotdata:GET /connections/here?includeSocketInformation=true",
                "iotdata:GET /connections/away?includeSocketInformation=true",
                "iotdata:GET /connections/from%2Fbefore",
                "iotdata:GET /connections/nobody",
            ])
            .await
    );
}

#[tokio::test]
async fn a_connection_is_ended_as_asked() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:DELETE /connections/here",
                "iotdata:DELETE /connections/away?cleanSession=true&preventWillMessage=true",
                "iotdata:DELETE /connections/nobody?cleanSession=true",
                "iotdata:DELETE /connections/here?cleanSession=perhaps",
            ])
            .await
    );
    assert_eq!(
        *server.clients.asked.lock().unwrap(),
        [
            "end here session false without will false",
            "end away session true without will true",
            "end nobody session true without will false",
        ]
    );
}

#[tokio::test]
async fn subscriptions_come_in_pages_of_twenty() {
    let server = Server::start().await;
    let mut found = Vec::new();
    let mut token = String::new();
    for expected in [20, 5] {
        let line = format!("iotdata:GET /connections/here/subscriptions?nextToken={token}");
        let page = server.call(&line).await.json();
        let subscriptions = page["subscriptions"].as_array().unwrap().clone();
        assert_eq!(subscriptions.len(), expected);
        found.extend(subscriptions);
        token = page["nextToken"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((found.len(), token.as_str()), (25, ""));
    assert_eq!(found[24]["topicFilter"], "a/24/#");
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:GET /connections/away/subscriptions?maxResults=2",
                "iotdata:GET /connections/away/subscriptions?maxResults=201",
                "iotdata:GET /connections/away/subscriptions?maxResults=0",
                "iotdata:GET /connections/away/subscriptions?nextToken=%23",
                "iotdata:GET /connections/busy/subscriptions",
                "iotdata:GET /connections/nobody/subscriptions",
            ])
            .await
    );
}

#[tokio::test]
async fn a_message_is_sent_to_one_client_with_everything_that_was_said_of_it() {
    let server = Server::start().await;
    server
        .given(&[
            "iotdata:POST /connections/here/messages?topic=a%2Fb hello",
            "iotdata:POST /connections/here/messages?topic=t&confirmation=true",
            "iotdata:POST /connections/here/messages?topic=t&confirmation=true&timeout=15",
            // Ignored, as nothing is waited for.
            "iotdata:POST /connections/here/messages?topic=t&timeout=99",
            "iotdata:POST /connections/here/messages?topic=t&contentType=text%2Fplain&responseTopic=r \
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
    let pair = |name: &str, value: &str| (text(name), text(value));
    assert_eq!(
        *server.clients.sent.lock().unwrap(),
        [
            message("a/b", "hello"),
            Message { qos: QoS::AtLeastOnce, ..message("t", "") },
            Message { qos: QoS::AtLeastOnce, ..message("t", "") },
            message("t", ""),
            Message {
                properties: MessageProperties {
                    payload_is_utf8: Some(true),
                    content_type: Some(text("text/plain")),
                    response_topic: Some(text("r")),
                    correlation_data: Some(Bytes::from_static(b"c-1")),
                    expiry_s: None,
                    user: vec![pair("k", "v"), pair("k", "w")],
                },
                ..message("t", "hi")
            },
        ]
    );
    let asked = server.clients.asked.lock().unwrap().join(", ");
    let within = |s: u8| format!("send here within {s}s");
    assert_eq!(asked, [5, 5, 15, 5, 5].map(within).join(", "));
}

#[tokio::test]
async fn a_message_that_is_not_sent_says_why() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:POST /connections/nobody/messages?topic=t x",
                "iotdata:POST /connections/denied/messages?topic=t x",
                "iotdata:POST /connections/small/messages?topic=t x",
                "iotdata:POST /connections/busy/messages?topic=t&confirmation=true x",
                "iotdata:POST /connections/here/messages x",
                "iotdata:POST /connections/here/messages?topic= x",
                "iotdata:POST /connections/here/messages?topic=a%2F%23 x",
                "iotdata:POST /connections/here/messages?topic=%24share%2Fg%2Ft x",
                "iotdata:POST /connections/here/messages?topic=t&confirmation=true&timeout=0 x",
                "iotdata:POST /connections/here/messages?topic=t&confirmation=true&timeout=16 x",
                "iotdata:POST /connections/here/messages?topic=t&confirmation=1 x",
                "iotdata:POST /connections/here/messages?topic=t x-amz-mqtt5-user-properties=e30= x",
            ])
            .await
    );
    let large = "x".repeat(128 * 1024 + 1);
    let line = format!("iotdata:POST /connections/here/messages?topic=t {large}");
    let refused = server.call(&line).await;
    assert_eq!(refused.headers["x-amzn-errortype"], "RequestEntityTooLargeException");
    assert!(server.clients.sent.lock().unwrap().is_empty());
}

/// None of these is a client id, so nobody is asked about it.
#[tokio::test]
async fn what_is_no_client_id_is_refused_by_every_operation() {
    let server = Server::start().await;
    let long = "x".repeat(129);
    for id in ["%24aws", "a%00b", "a%0Ab", "%C3%28", "%FF", &long, "%F0%9F%98%80%1B"] {
        for line in [
            format!("iotdata:GET /connections/{id}"),
            format!("iotdata:DELETE /connections/{id}?cleanSession=true"),
            format!("iotdata:GET /connections/{id}/subscriptions"),
            format!("iotdata:POST /connections/{id}/messages?topic=t x"),
        ] {
            let answer = server.call(&line).await;
            assert_eq!(answer.status, 400, "{line}");
            assert_eq!(answer.headers["x-amzn-errortype"], "InvalidRequestException", "{line}");
        }
    }
    assert!(server.clients.asked.lock().unwrap().is_empty());
    // Odd, but client ids.
    for id in ["%23", "a%2B%2F%25", "%2F", "%C3%BC", &long[..128]] {
        let answer = server.call(&format!("iotdata:GET /connections/{id}")).await;
        assert_eq!(answer.status, 404, "{id}: {}", answer.shown());
        assert_eq!(answer.headers["x-amzn-errortype"], "ResourceNotFoundException", "{id}");
    }
}
