use insta::assert_snapshot;

use crate::harness::Server;

#[tokio::test]
async fn events_are_switched_on_one_by_one() {
    let server = Server::start().await;
    let mut text = server.transcript(&["GET /event-configurations"]).await;
    text += &server
        .transcript(&[
            r#"PATCH /event-configurations {"eventConfigurations":{"THING":{"Enabled":true},"JOB":{"Enabled":true}}}"#,
            "GET /event-configurations",
        ])
        .await;
    server.advance(60);
    text += &server
        .transcript(&[
            r#"PATCH /event-configurations {"eventConfigurations":{"THING":{}}}"#,
            "PATCH /event-configurations {}",
            "GET /event-configurations",
        ])
        .await;
    assert_snapshot!(text);
}

#[tokio::test]
async fn what_is_no_event_configuration_is_refused_as_a_whole() {
    let server = Server::start().await;
    let before = server.transcript(&["GET /event-configurations"]).await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"PATCH /event-configurations {"eventConfigurations":{"THING":{"Enabled":true},"SHADOW":{"Enabled":true}}}"#,
                r#"PATCH /event-configurations {"eventConfigurations":{"THING":true}}"#,
                r#"PATCH /event-configurations {"eventConfigurations":{"THING":null}}"#,
                r#"PATCH /event-configurations {"eventConfigurations":{"THING":{"Enabled":"yes"}}}"#,
                r#"PATCH /event-configurations {"eventConfigurations":[]}"#,
                "PATCH /event-configurations nonsense",
            ])
            .await
    );
    assert_eq!(server.transcript(&["GET /event-configurations"]).await, before);
}
