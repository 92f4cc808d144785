use serde_json::{Value, json};

use super::{answered, custom_metric, dimension, refused};
use crate::service::Service::Iot;
use crate::testing::{Api, json, pretty};

const ALL_THINGS: &str = "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Aall%2Fthings";

fn group_arn(group: &str) -> String {
    format!("arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Athinggroup%2F{group}")
}

fn profile_body() -> Value {
    json!({
        "securityProfileDescription": "messages stay small",
        "behaviors": [{
            "name": "LargeMessageSize",
            "metric": "aws:message-byte-size",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 1000},
                "consecutiveDatapointsToAlarm": 1,
                "consecutiveDatapointsToClear": 2,
            },
        }],
        "alertTargets": {"SNS": {
            "alertTargetArn": "arn:aws:sns:us-east-1:123456789012:BadIoTDevices",
            "roleArn": "arn:aws:iam::123456789012:role/BadIoTDevices",
        }},
        "additionalMetricsToRetain": ["aws:num-messages-received"],
    })
}

#[tokio::test]
async fn a_profile_lives_from_create_to_delete() {
    let api = Api::new();
    let made = json(api.rest(Iot, "POST /security-profiles/P", profile_body()).await, 200);
    assert_eq!(made["securityProfileArn"], "arn:aws:iot:us-east-1:123456789012:securityprofile/P");
    let found = json(api.rest(Iot, "GET /security-profiles/P", Value::Null).await, 200);
    insta::assert_snapshot!(pretty(&found));

    api.pass_secs(60);
    let change = json!({"behaviors": [], "deleteAlertTargets": true});
    let line = "PATCH /security-profiles/P?expectedVersion=1";
    let changed = json(api.rest(Iot, line, change).await, 200);
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["behaviors"], json!([]));
    assert_eq!(changed["alertTargets"], json!({}));
    assert_eq!(changed["securityProfileDescription"], "messages stay small");
    assert_eq!(changed["lastModifiedDate"], json!(1_795_169_160.0));
    assert_eq!(changed["creationDate"], json!(1_795_169_100.0));

    let refusal = json(api.rest(Iot, line, json!({})).await, 409);
    assert_eq!(refusal["message"], "security profile `P` is at version 2, not at version 1");
    json(api.rest(Iot, "DELETE /security-profiles/P?expectedVersion=2", Value::Null).await, 200);
    json(api.rest(Iot, "DELETE /security-profiles/P", Value::Null).await, 200);
    json(api.rest(Iot, "GET /security-profiles/P", Value::Null).await, 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_profile_is_said_and_nothing_is_made() {
    let api = Api::new();
    let check = async |body: Value, expected: &str| {
        let refusal = json(api.rest(Iot, "POST /security-profiles/P", body).await, 400);
        let message = refusal["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}\nshould contain\n{expected}");
    };
    check(json!({"behaviors": [{"name": "b"}]}), "`criteria` is missing").await;
    check(json!({"behaviors": [{"name": "b", "criteria": {}}]}), "`metric` is missing").await;
    check(json!({"behaviors": "x"}), "`behaviors` must be a list").await;
    check(json!({"alertTargets": {"SNS": 7}}), "`alertTargets.SNS.alertTargetArn` is missing")
        .await;
    check(json!([]), "not an object").await;
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let body = format!("{{\"behaviors\":{deep}}}");
    json(api.raw(Iot, "POST /security-profiles/P", &[], body.into()).await, 400);
    json(api.raw(Iot, "POST /security-profiles/P", &[], "{\"a\":\"\u{0}\"}".into()).await, 400);
    json(api.rest(Iot, "POST /security-profiles/a%20b", json!({})).await, 400);
    json(api.rest(Iot, "POST /security-profiles/a%0Ab", json!({})).await, 400);
    json(api.rest(Iot, "GET /security-profiles/P", Value::Null).await, 404);
}

#[tokio::test]
async fn a_flag_that_deletes_beside_what_it_deletes_is_refused() {
    let api = Api::new();
    json(api.rest(Iot, "POST /security-profiles/P", profile_body()).await, 200);
    let change = json!({"behaviors": [], "deleteBehaviors": true});
    let refusal = json(api.rest(Iot, "PATCH /security-profiles/P", change).await, 400);
    insta::assert_snapshot!(
        refusal["message"].as_str().unwrap(),
        @"`deleteBehaviors` is given together with what would take the place of the deleted; give one of them"
    );
    let change = json!({"deleteBehaviors": "yes"});
    json(api.rest(Iot, "PATCH /security-profiles/P", change).await, 400);
    json(api.rest(Iot, "PATCH /security-profiles/Q", json!({})).await, 404);
}

#[tokio::test]
async fn an_operator_can_refuse_windows_that_aws_does_not_know() {
    let mut api = Api::new();
    let mut body = profile_body();
    body["behaviors"][0]["criteria"]["durationSeconds"] = 30.into();
    json(api.rest(Iot, "POST /security-profiles/P", body.clone()).await, 200);
    api.state.aws_durations_only = true;
    json(api.rest(Iot, "POST /security-profiles/Q", body.clone()).await, 400);
    let line = "POST /security-profile-behaviors/validate";
    let verdict = json(api.rest(Iot, line, body).await, 200);
    assert_eq!(verdict["valid"], false);
}

#[tokio::test]
async fn behaviors_are_validated_without_a_profile() {
    let api = Api::new();
    let line = "POST /security-profile-behaviors/validate";
    let verdict = json(api.rest(Iot, line, profile_body()).await, 200);
    assert_eq!(verdict, json!({"valid": true, "validationErrors": []}));
    let wrong = json!({"behaviors": [{"name": "a"}, {"name": "b b"}]});
    let verdict = json(api.rest(Iot, line, wrong).await, 200);
    insta::assert_snapshot!(pretty(&verdict));
    json(api.rest(Iot, line, json!({})).await, 400);
}

#[tokio::test]
async fn profiles_are_attached_to_targets_and_listed_by_them() {
    let api = Api::new();
    json(api.rest(Iot, "POST /thing-groups/floor", json!({})).await, 200);
    let child = json!({"parentGroupName": "floor"});
    json(api.rest(Iot, "POST /thing-groups/room", child).await, 200);
    for profile in ["P", "Q"] {
        let line = format!("POST /security-profiles/{profile}");
        json(api.rest(Iot, &line, profile_body()).await, 200);
    }
    let attach = async |method: &str, profile: &str, target: &str, expected: u16| {
        let line = format!(
            "{method} /security-profiles/{profile}/targets?securityProfileTargetArn={target}"
        );
        json(api.rest(Iot, &line, Value::Null).await, expected)
    };
    attach("PUT", "P", &group_arn("floor"), 200).await;
    attach("PUT", "P", &group_arn("floor"), 200).await;
    attach("PUT", "P", ALL_THINGS, 200).await;
    attach("PUT", "Q", &group_arn("room"), 200).await;
    attach("PUT", "Q", &group_arn("nowhere"), 404).await;
    attach("PUT", "R", ALL_THINGS, 404).await;
    attach("PUT", "P", "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Athing%2Ft", 400).await;

    let targets = json(api.rest(Iot, "GET /security-profiles/P/targets", Value::Null).await, 200);
    assert_eq!(targets["securityProfileTargets"].as_array().unwrap().len(), 2);

    let mappings = async |target: &str, more: &str| -> Vec<String> {
        let line =
            format!("GET /security-profiles-for-target?securityProfileTargetArn={target}{more}");
        let list = json(api.rest(Iot, &line, Value::Null).await, 200);
        let name = |it: &Value| {
            let target = it["target"]["arn"].as_str().unwrap().rsplit('/').next().unwrap();
            format!("{} on {target}", it["securityProfileIdentifier"]["name"].as_str().unwrap())
        };
        list["securityProfileTargetMappings"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(mappings(&group_arn("floor"), "").await, ["P on floor"]);
    let with_children = mappings(&group_arn("floor"), "&recursive=true").await;
    assert_eq!(with_children, ["P on floor", "Q on room"]);
    assert_eq!(mappings(&group_arn("floor"), "&recursive=true&maxResults=1").await, ["P on floor"]);
    assert_eq!(mappings(ALL_THINGS, "").await, ["P on things"]);
    let line = format!(
        "GET /security-profiles-for-target?securityProfileTargetArn={}",
        group_arn("nowhere")
    );
    json(api.rest(Iot, &line, Value::Null).await, 404);

    attach("DELETE", "P", &group_arn("floor"), 200).await;
    assert!(mappings(&group_arn("floor"), "").await.is_empty());
}

#[tokio::test]
async fn every_kind_of_behavior_retained_metric_and_export_comes_back_as_it_was_given() {
    let api = Api::new();
    answered(&api, "POST /dimensions/Admin", dimension(json!(["admin/#"]))).await;
    for (name, kind) in [
        ("load", "number"),
        ("modes", "number-list"),
        ("users", "string-list"),
        ("resolvers", "ip-address-list"),
    ] {
        answered(&api, &format!("POST /custom-metric/{name}"), custom_metric(kind)).await;
    }
    let behavior = |name: &str, metric: &str, criteria: Value| {
        let mut json = json!({"name": name, "metric": metric, "criteria": criteria});
        json["criteria"]["consecutiveDatapointsToAlarm"] = 2.into();
        json["criteria"]["consecutiveDatapointsToClear"] = 3.into();
        json
    };
    let compared =
        |operator: &str, value: Value| json!({"comparisonOperator": operator, "value": value});
    let mut narrowed = behavior(
        "narrowed",
        "aws:num-authorization-failures",
        json!({"mlDetectionConfig": {"confidenceLevel": "LOW"}}),
    );
    narrowed["metricDimension"] = json!({"dimensionName": "Admin", "operator": "NOT_IN"});
    narrowed["suppressAlerts"] = true.into();
    narrowed["exportMetric"] = true.into();
    let body = json!({
        "behaviors": [
            narrowed,
            behavior("p", "aws:all-bytes-out", json!({
                "comparisonOperator": "less-than-equals",
                "statisticalThreshold": {"statistic": "p99.9"},
                "durationSeconds": 900,
            })),
            behavior("tcp", "aws:listening-tcp-ports",
                     compared("in-port-set", json!({"ports": [22, 8883]}))),
            behavior("to", "aws:destination-ip-addresses",
                     compared("not-in-cidr-set", json!({"cidrs": ["192.0.2.0/24"]}))),
            behavior("load", "load", compared("less-than", json!({"number": 0.75}))),
            behavior("modes", "modes", compared("in-set", json!({"numbers": [1, 2.5]}))),
            behavior("users", "users", compared("not-in-set", json!({"strings": ["root"]}))),
            behavior("resolvers", "resolvers",
                     compared("in-cidr-set", json!({"cidrs": ["10.0.0.0/8"]}))),
            behavior("missing", "picket:report-missing", compared("less-than", json!({"count": 15}))),
        ],
        "additionalMetricsToRetainV2": [
            {"metric": "aws:num-disconnects"},
            {"metric": "load", "exportMetric": true},
            {"metric": "aws:message-byte-size",
             "metricDimension": {"dimensionName": "Admin", "operator": "IN"}},
        ],
        "metricsExportConfig": {
            "mqttTopic": "metrics/fleet",
            "roleArn": "arn:aws:iam::123456789012:role/Export",
        },
    });
    let verdict = answered(&api, "POST /security-profile-behaviors/validate", body.clone()).await;
    assert_eq!(verdict, json!({"valid": true, "validationErrors": []}));
    answered(&api, "POST /security-profiles/P", body.clone()).await;
    let found = answered(&api, "GET /security-profiles/P", Value::Null).await;
    for member in ["behaviors", "additionalMetricsToRetainV2", "metricsExportConfig"] {
        assert_eq!(found[member], body[member], "{member}");
    }
    assert_eq!(found["additionalMetricsToRetain"], json!(["aws:num-disconnects", "load"]));

    let both = json!({
        "deleteMetricsExportConfig": true,
        "metricsExportConfig": body["metricsExportConfig"],
    });
    refused(&api, "PATCH /security-profiles/P", both, 400, "`deleteMetricsExportConfig`").await;
    let line = "PATCH /security-profiles/P";
    let kept = answered(&api, line, json!({"securityProfileDescription": "x"})).await;
    assert_eq!(kept["metricsExportConfig"], body["metricsExportConfig"]);
    let change = json!({
        "deleteMetricsExportConfig": true,
        "deleteAdditionalMetricsToRetain": true,
    });
    let changed = answered(&api, line, change).await;
    assert!(changed.get("metricsExportConfig").is_none());
    assert_eq!(changed["additionalMetricsToRetainV2"], json!([]));
    assert_eq!(changed["behaviors"], body["behaviors"]);
}

#[tokio::test]
async fn broken_and_hostile_bodies_are_refused_by_every_operation_that_takes_one() {
    let api = Api::new();
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let wide = format!("{{{}\"z\":0}}", "\"a\":[],".repeat(40_000));
    let bodies = [
        "{",
        "[]",
        "\"text\"",
        "\u{0}",
        "{\"behaviors\":[{\"name\":\"\\ud800\"}]}",
        &deep,
        &format!("{{\"behaviors\":{deep},\"stringValues\":{deep},\"actionParams\":{deep}}}"),
        &wide,
    ];
    for line in [
        "POST /security-profile-behaviors/validate",
        "POST /custom-metric/m",
        "PATCH /custom-metric/m",
        "POST /dimensions/d",
        "PATCH /dimensions/d",
        "POST /mitigationactions/actions/a",
        "PUT /detect/mitigationactions/tasks/t",
    ] {
        for body in bodies {
            let body = axum::body::Bytes::from(body.to_owned());
            json(api.raw(Iot, line, &[], body).await, 400);
        }
        let body = axum::body::Bytes::from_static(b"\xff\xfe{}");
        json(api.raw(Iot, line, &[], body).await, 400);
    }
}

#[tokio::test]
async fn a_refusal_does_not_repeat_a_body_of_any_length() {
    let api = Api::new();
    let long = "ä".repeat(100_000);
    let metric = format!("aws:{long}");
    for body in [
        json!({"additionalMetricsToRetain": [metric]}),
        json!({"behaviors": [{"name": "b", "metric": metric, "criteria": {}}]}),
        json!({"behaviors": [{"name": long, "metric": metric, "criteria": {}}]}),
        json!({ "alertTargets": { long.as_str(): {} } }),
        json!({"metricsExportConfig": {"mqttTopic": "t", "roleArn": long}}),
    ] {
        let refusal = json(api.rest(Iot, "POST /security-profiles/P", body).await, 400);
        let len = refusal["message"].as_str().unwrap().chars().count();
        assert!(len <= crate::limits::ERROR_MESSAGE_CHARS_MAX, "{len}");
    }
}
