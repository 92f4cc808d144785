use insta::assert_snapshot;

use crate::harness::Server;

#[tokio::test]
async fn retained_messages_are_listed_and_given() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:GET /retainedMessage",
                "iotdata:GET /retainedMessage?maxResults=2",
                "iotdata:GET /retainedMessage?maxResults=2&nextToken=YS9iIGM",
                "iotdata:GET /retainedMessage/a",
                "iotdata:GET /retainedMessage/a%2Fb%20c",
                "iotdata:GET /retainedMessage/c",
            ])
            .await
    );
}

#[tokio::test]
async fn what_is_no_topic_page_or_token_is_refused() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "iotdata:GET /retainedMessage/a%2F%23",
                "iotdata:GET /retainedMessage/a%00",
                "iotdata:GET /retainedMessage/%FF",
                "iotdata:GET /retainedMessage?maxResults=0",
                "iotdata:GET /retainedMessage?maxResults=201",
                "iotdata:GET /retainedMessage?nextToken=%25",
                "iotdata:GET /retainedMessage?nextToken=Iw",
                "iotdata:GET /retainedMessage?nextToken=_w",
            ])
            .await
    );
    let long = format!("iotdata:GET /retainedMessage/{}", "x".repeat(2000));
    assert_eq!(server.call(&long).await.status, 400);
}
