use insta::assert_snapshot;
use serde_json::json;

use crate::harness::{DEVICE_ARN, DEVICE_ID, Server};

/// A body with a document of one statement.
fn document(effect: &str, action: &str, resource: &str) -> String {
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": effect, "Action": action, "Resource": resource }],
    });
    json!({ "policyDocument": document.to_string() }).to_string()
}

#[tokio::test]
async fn a_policy_has_at_most_five_versions_and_one_in_force() {
    let server = Server::start().await;
    let (allow, deny) = (document("Allow", "iot:*", "*"), document("Deny", "iot:*", "*"));
    let create = format!("POST /policies/P {allow}");
    let version = format!("POST /policies/P/version {deny}");
    let version_in_force = format!("POST /policies/P/version?setAsDefault=true {deny}");
    let transcript = server
        .transcript(&[
            &create,
            &create,
            &version,
            &version_in_force,
            &version,
            &version,
            &version,
            "GET /policies/P",
            "GET /policies/P/version",
            "GET /policies/P/version/1",
            "GET /policies/P/version/9",
            "GET /policies/P/version/one",
            "PATCH /policies/P/version/2",
            "DELETE /policies/P/version/2",
            "DELETE /policies/P/version/3",
            "DELETE /policies/P",
            "DELETE /policies/P/version/1",
            "DELETE /policies/P/version/4",
            "DELETE /policies/P/version/5",
            "DELETE /policies/P",
            "DELETE /policies/P",
            "GET /policies/P",
            "GET /policies/P/version",
            "GET /policies",
        ])
        .await;
    assert_snapshot!(transcript.replace(&allow, "[allow all]").replace(&deny, "[deny all]"));
}

#[tokio::test]
async fn a_document_that_does_not_parse_is_malformed() {
    let server = Server::start().await;
    let long = "x".repeat(2100);
    let transcript = server
        .transcript(&[
            r#"POST /policies/P {"policyDocument":"{"}"#,
            r#"POST /policies/P {"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Maybe\",\"Action\":\"iot:*\",\"Resource\":\"*\"}}"}"#,
            r#"POST /policies/P {"policyDocument":7}"#,
            "POST /policies/P {}",
            &format!("POST /policies/P {}", document("Allow", "iot:*", &long)),
            &format!("POST /policies/P%20Q {}", document("Allow", "iot:*", "*")),
            &format!("POST /policies/Nothing/version {}", document("Allow", "iot:*", "*")),
        ])
        .await;
    assert_snapshot!(transcript.replace(&long, "[2,100 characters]"));
}

#[tokio::test]
async fn a_policy_is_attached_to_certificates_and_groups_and_inherited() {
    let server = Server::start().await;
    let allow = document("Allow", "iot:*", "*");
    server.given_device_certificate().await;
    server
        .given(&[
            &format!("POST /policies/A {allow}"),
            &format!("POST /policies/B {allow}"),
            "POST /thing-groups/site {}",
            r#"POST /thing-groups/floor {"parentGroupName":"site"}"#,
        ])
        .await;
    let arn = DEVICE_ARN;
    let group = |name: &str| format!("arn:aws:iot:us-east-1:123456789012:thinggroup/{name}");
    let encoded = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
    let floor = encoded(&group("floor"));
    let attach = |name: &str, target: &str| {
        format!(r#"PUT /target-policies/{name} {{"target":"{target}"}}"#)
    };
    let transcript = server
        .transcript(&[
            &attach("A", arn),
            &attach("A", arn),
            &attach("A", &group("site")),
            &attach("B", &group("floor")),
            &attach("C", arn),
            &attach("A", &group("roof")),
            &attach("A", "arn:aws:iot:us-east-1:123456789012:thing/a"),
            "PUT /target-policies/A {}",
            &format!("POST /attached-policies/{}", encoded(arn)),
            &format!("POST /attached-policies/{floor}"),
            &format!("POST /attached-policies/{floor}?recursive=true"),
            &format!("POST /attached-policies/{floor}?recursive=true&pageSize=1"),
            "POST /policy-targets/A",
            "POST /policy-targets/A?pageSize=1",
            "POST /policy-targets/C",
            &format!("GET /principal-policies x-amzn-iot-principal={arn}"),
            "GET /policy-principals x-amzn-iot-policy=A",
            &format!("PUT /principal-policies/B x-amzn-iot-principal={arn}"),
            &format!("GET /principal-policies x-amzn-iot-principal={arn}"),
            &format!("DELETE /principal-policies/B x-amzn-iot-principal={arn}"),
            "DELETE /policies/A",
            "DELETE /thing-groups/floor",
            &format!(r#"POST /target-policies/A {{"target":"{arn}"}}"#),
            &format!(r#"POST /target-policies/A {{"target":"{arn}"}}"#),
            &format!(r#"POST /target-policies/A {{"target":"{}"}}"#, group("site")),
            "DELETE /policies/A",
        ])
        .await;
    assert_snapshot!(transcript.replace(DEVICE_ID, "[id]"));
}

#[tokio::test]
async fn a_group_takes_two_policies() {
    let server = Server::start().await;
    let allow = document("Allow", "iot:*", "*");
    server.given(&["POST /thing-groups/g {}"]).await;
    for name in ["A", "B", "C"] {
        server.given(&[&format!("POST /policies/{name} {allow}")]).await;
        let group = "arn:aws:iot:us-east-1:123456789012:thinggroup/g";
        let answer =
            server.call(&format!(r#"PUT /target-policies/{name} {{"target":"{group}"}}"#)).await;
        let expected = if name == "C" { 410 } else { 200 };
        assert_eq!(answer.status, expected, "{name}: {}", answer.shown());
    }
}

#[tokio::test]
async fn what_is_in_force_and_what_it_would_allow_are_told_with_the_policies() {
    let server = Server::start().await;
    server.given_device_certificate().await;
    let (arn, group) = (DEVICE_ARN, "arn:aws:iot:us-east-1:123456789012:thinggroup/Isolated");
    let own = "arn:aws:iot:us-east-1:123456789012:topic/${iot:Connection.Thing.ThingName}/*";
    let by_name = "arn:aws:iot:us-east-1:123456789012:client/${iot:Certificate.Subject.CommonName}";
    server
        .given(&[
            "POST /things/SensorDevice01 {}",
            "POST /thing-groups/Isolated {}",
            &format!("POST /policies/Own {}", document("Allow", "iot:Publish", own)),
            &format!("POST /policies/ByName {}", document("Allow", "iot:Connect", by_name)),
            &format!("POST /policies/DenyAll {}", document("Deny", "*", "*")),
            &format!("PUT /things/SensorDevice01/principals x-amzn-principal={arn}"),
            &format!(r#"PUT /target-policies/Own {{"target":"{arn}"}}"#),
            &format!(r#"PUT /target-policies/ByName {{"target":"{arn}"}}"#),
            &format!(r#"PUT /target-policies/DenyAll {{"target":"{group}"}}"#),
        ])
        .await;
    let effective =
        format!(r#"POST /effective-policies?thingName=SensorDevice01 {{"principal":"{arn}"}}"#);
    let test = |client: &str, more: &str| {
        let topic = "arn:aws:iot:us-east-1:123456789012:topic/SensorDevice01/t";
        let connect = "arn:aws:iot:us-east-1:123456789012:client/SensorDevice01";
        format!(
            r#"POST /test-authorization{client} {{"principal":"{arn}","authInfos":[{{"actionType":"PUBLISH","resources":["{topic}"]}},{{"actionType":"CONNECT","resources":["{connect}"]}}]{more}}}"#
        )
    };
    let member = r#"{"thingName":"SensorDevice01","thingGroupName":"Isolated"}"#;
    let transcript = server
        .transcript(&[
            &effective,
            &test("?clientId=SensorDevice01", ""),
            &test("?clientId=another", ""),
            &test("", ""),
            &test("?clientId=SensorDevice01", r#","policyNamesToSkip":["Own"]"#),
            &test("?clientId=SensorDevice01", r#","policyNamesToAdd":["DenyAll"]"#),
            &test("?clientId=SensorDevice01", r#","policyNamesToAdd":["Missing"]"#),
            &format!("PUT /thing-groups/addThingToThingGroup {member}"),
            &effective,
            &test("?clientId=SensorDevice01", ""),
            &format!(r#"POST /effective-policies {{"principal":"{group}"}}"#),
            "POST /effective-policies {}",
            "POST /effective-policies?thingName=nobody {}",
            &format!(r#"POST /test-authorization {{"principal":"{arn}","authInfos":[]}}"#),
            &format!(r#"POST /test-authorization {{"principal":"{arn}","authInfos":[{{"actionType":"FLY","resources":["x"]}}]}}"#),
            &format!(r#"POST /test-authorization {{"principal":"{arn}","authInfos":[{{"actionType":"PUBLISH","resources":["x"]}}]}}"#),
            r#"POST /test-authorization {"cognitoIdentityPoolId":"x","authInfos":[{}]}"#,
        ])
        .await;
    assert_snapshot!(transcript.replace(DEVICE_ID, "[id]"));
}
