use insta::assert_snapshot;

use crate::harness::Server;

const ISOLATE: &str = r#"{"roleArn":"arn:aws:iam::123456789012:role/Mitigation","actionParams":{"addThingsToThingGroupParams":{"thingGroupNames":["Isolated"]}}}"#;
const DEACTIVATE: &str = r#"{"roleArn":"arn:aws:iam::123456789012:role/Mitigation","actionParams":{"updateDeviceCertificateParams":{"action":"DEACTIVATE"}}}"#;

#[tokio::test]
async fn actions_and_their_refusals() {
    let server = Server::start().await;
    server
        .given(&[
            &format!("POST /mitigationactions/actions/Isolate {ISOLATE}"),
            &format!("POST /mitigationactions/actions/Deactivate {DEACTIVATE}"),
        ])
        .await;
    assert_snapshot!(
        server
            .transcript(&[
                &format!("POST /mitigationactions/actions/Isolate {ISOLATE}"),
                &format!("POST /mitigationactions/actions/a%3Ab {ISOLATE}"),
                r#"POST /mitigationactions/actions/Other {"actionParams":{}}"#,
                r#"PATCH /mitigationactions/actions/Isolate {"roleArn":"arn:x"}"#,
                &format!("PATCH /mitigationactions/actions/Other {ISOLATE}"),
                "GET /mitigationactions/actions/Isolate",
                "GET /mitigationactions/actions/Other",
                "GET /mitigationactions/actions?actionType=UPDATE_DEVICE_CERTIFICATE",
                "GET /mitigationactions/actions?actionType=DANCE",
                "DELETE /mitigationactions/actions/Isolate",
                "DELETE /mitigationactions/actions/Isolate",
            ])
            .await
    );
}

#[tokio::test]
async fn tasks_and_their_refusals() {
    let server = Server::start().await;
    server
        .given(&[
            &format!("POST /mitigationactions/actions/Isolate {ISOLATE}"),
            &format!("POST /mitigationactions/actions/Deactivate {DEACTIVATE}"),
        ])
        .await;
    let profile = r#""target":{"securityProfileName":"P","behaviorName":"b"}"#;
    assert_snapshot!(
        server
            .transcript(&[
                &format!(r#"PUT /detect/mitigationactions/tasks/T {{{profile},"actions":["Isolate"],"clientRequestToken":"t-1"}}"#),
                &format!(r#"PUT /detect/mitigationactions/tasks/T {{{profile},"actions":["Isolate"],"clientRequestToken":"t-1"}}"#),
                &format!(r#"PUT /detect/mitigationactions/tasks/T {{{profile},"actions":["Isolate"],"clientRequestToken":"t-2"}}"#),
                &format!(r#"PUT /detect/mitigationactions/tasks/U {{{profile},"actions":["Nothing"],"clientRequestToken":"t-1"}}"#),
                &format!(r#"PUT /detect/mitigationactions/tasks/U {{{profile},"actions":["Deactivate"],"clientRequestToken":"t-1"}}"#),
                r#"PUT /detect/mitigationactions/tasks/U {"target":{"violationIds":["v"]},"actions":["Isolate"],"clientRequestToken":"t-1"}"#,
                "GET /detect/mitigationactions/tasks/T",
                "GET /detect/mitigationactions/tasks/U",
                "PUT /detect/mitigationactions/tasks/T/cancel",
                "PUT /detect/mitigationactions/tasks/U/cancel",
                "GET /detect/mitigationactions/tasks?startTime=2027-01-15T08%3A00%3A00Z&endTime=2027-01-15T08%3A00%3A00Z",
                "GET /detect/mitigationactions/tasks?startTime=2&endTime=1",
                "GET /detect/mitigationactions/executions?taskId=T",
                "GET /detect/mitigationactions/executions",
            ])
            .await
    );
}
