use std::sync::Arc;

use picket_model::{
    Behavior, BehaviorName, Comparison, Criteria, Datapoint, DeviceName, Evidence, Explanation,
    Metric, MetricValue, ProfileName, ViolationEvent, ViolationEventKind, ViolationId, WindowLen,
};
use picket_store::{StoreError, datapoints, violations};
use serde_json::{Value, json};

use crate::service::Service::Iot;
use crate::testing::{Api, NOON, json, pretty};

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

/// An event of violation number `n`, `n` seconds after [`NOON`].
fn event(n: u8, kind: ViolationEventKind, is_suppressed: bool) -> ViolationEvent {
    let at = NOON + i64::from(n) * 1000;
    ViolationEvent {
        violation: ViolationId::parse(format!("{n:032x}")).unwrap(),
        kind,
        at,
        device: DeviceName::parse(format!("SensorDevice{n:02}")).unwrap(),
        profile: ProfileName::parse(if n.is_multiple_of(2) { "even" } else { "odd" }).unwrap(),
        behavior: Arc::new(Behavior {
            name: BehaviorName::parse("LargeMessageSize").unwrap(),
            metric: Metric::MessageByteSize,
            criteria: Criteria {
                comparison: Comparison::LessThanEquals(1000),
                window: None,
                datapoints_to_alarm: 1,
                datapoints_to_clear: 1,
            },
            suppress_alerts: is_suppressed,
        }),
        value: Some(MetricValue::Count(3000)),
        explanation: Explanation {
            sentence: "a message of 3,000 bytes".to_owned(),
            window_start: NOON,
            window: WindowLen::DEFAULT,
            early: true,
            evidence: Evidence::Count { count: 1, first_at: at, last_at: at },
        },
    }
}

async fn with_violations(events: Vec<ViolationEvent>) -> Api {
    let api = Api::new();
    api.state
        .store
        .write(move |tx| {
            for event in &events {
                violations::apply(tx, event)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    api
}

/// The device numbers that a list gives, in its order.
async fn devices(api: &Api, line: &str, member: &str) -> Vec<u32> {
    let list = json(api.rest(Iot, &format!("GET {line}"), Value::Null).await, 200);
    let number = |item: &Value| {
        item["thingName"].as_str().unwrap().trim_start_matches("SensorDevice").parse().unwrap()
    };
    list[member].as_array().unwrap().iter().map(number).collect()
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
    check(json!({"behaviors": [{"name": "b"}]}), "`metric` is missing").await;
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
async fn active_violations_pass_every_filter() {
    let mut events: Vec<_> =
        (0..6).map(|n| event(n, ViolationEventKind::InAlarm, n == 5)).collect();
    events.push(event(4, ViolationEventKind::Cleared, false));
    let api = with_violations(events).await;
    let check = async |query: &str, expected: &[u32]| {
        let line = format!("/active-violations?{query}");
        let mut found = devices(&api, &line, "activeViolations").await;
        found.sort_unstable();
        assert_eq!(found, expected, "{query}");
    };
    check("", &[0, 1, 2, 3]).await;
    check("listSuppressedAlerts=true", &[0, 1, 2, 3, 5]).await;
    check("listSuppressedAlerts=false", &[0, 1, 2, 3]).await;
    check("thingName=SensorDevice02", &[2]).await;
    check("securityProfileName=odd", &[1, 3]).await;
    check("securityProfileName=odd&listSuppressedAlerts=true", &[1, 3, 5]).await;
    check("behaviorCriteriaType=STATIC", &[0, 1, 2, 3]).await;
    check("behaviorCriteriaType=STATISTICAL", &[]).await;
    check("behaviorCriteriaType=MACHINE_LEARNING", &[]).await;
    check("verificationState=UNKNOWN", &[0, 1, 2, 3]).await;
    check("verificationState=TRUE_POSITIVE", &[]).await;
    check("thingName=nobody", &[]).await;
    for wrong in [
        "thingName=",
        "securityProfileName=a%20b",
        "behaviorCriteriaType=OTHER",
        "verificationState=true",
        "listSuppressedAlerts=maybe",
        "maxResults=0",
        "maxResults=251",
        "maxResults=x",
        "nextToken=zzz",
    ] {
        let line = format!("GET /active-violations?{wrong}");
        json(api.rest(Iot, &line, Value::Null).await, 400);
    }
}

#[tokio::test]
async fn events_are_listed_by_time_and_in_pages() {
    let events = (0..7).map(|n| event(n, ViolationEventKind::InAlarm, false)).collect();
    let api = with_violations(events).await;
    let base = "/violation-events?startTime=2026-11-20T10:05:01Z&endTime=2026-11-20T10:05:05Z";
    let all = devices(&api, base, "violationEvents").await;
    assert_eq!(all, [5, 4, 3, 2, 1], "both ends count");

    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let line = format!("GET {base}&maxResults=2&nextToken={token}");
        let page = json(api.rest(Iot, &line, Value::Null).await, 200);
        let items = page["violationEvents"].as_array().unwrap();
        assert!(items.len() <= 2);
        paged.extend(items.iter().map(|item| item["thingName"].clone()));
        match page["nextToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged.len(), 5);

    let body = json(api.rest(Iot, &format!("GET {base}&maxResults=1"), Value::Null).await, 200);
    insta::assert_snapshot!(pretty(&body["violationEvents"]));

    for wrong in [
        "startTime=2026-11-20T10:05:01Z",
        "endTime=2026-11-20T10:05:01Z",
        "startTime=2026-11-20T10:05:01Z&endTime=2026-11-20T10:05:00Z",
        "startTime=yesterday&endTime=today",
        "startTime=NaN&endTime=inf",
    ] {
        let line = format!("GET /violation-events?{wrong}");
        json(api.rest(Iot, &line, Value::Null).await, 400);
    }
}

#[tokio::test]
async fn a_persons_judgement_is_kept_with_the_violation_and_its_events() {
    let api = with_violations(vec![event(1, ViolationEventKind::InAlarm, false)]).await;
    let line = format!("POST /violations/verification-state/{:032x}", 1);
    let judgement = json!({
        "verificationState": "FALSE_POSITIVE",
        "verificationStateDescription": "a test of the bench",
    });
    json(api.rest(Iot, &line, judgement).await, 200);
    let active = json(api.rest(Iot, "GET /active-violations", Value::Null).await, 200);
    assert_eq!(active["activeViolations"][0]["verificationState"], "FALSE_POSITIVE");
    assert_eq!(
        active["activeViolations"][0]["verificationStateDescription"],
        "a test of the bench"
    );
    let events =
        "/violation-events?startTime=0&endTime=1900000000&verificationState=FALSE_POSITIVE";
    assert_eq!(devices(&api, events, "violationEvents").await, [1]);

    for wrong in [
        json!({}),
        json!({"verificationState": "MAYBE"}),
        json!({"verificationState": "UNKNOWN", "verificationStateDescription": "x".repeat(1001)}),
        json!({"verificationState": "UNKNOWN", "verificationStateDescription": "a\u{7}"}),
    ] {
        json(api.rest(Iot, &line, wrong).await, 400);
    }
    let nowhere = "POST /violations/verification-state/ffff";
    let refusal = json(api.rest(Iot, nowhere, json!({"verificationState": "UNKNOWN"})).await, 400);
    assert_eq!(refusal["message"], "violation `ffff` does not exist");
}

#[tokio::test]
async fn values_of_a_metric_are_listed_newest_first() {
    let api = Api::new();
    let device = DeviceName::parse("SensorDevice01").unwrap();
    let values = [
        (0, Metric::MessageByteSize, MetricValue::Count(120)),
        (300, Metric::MessageByteSize, MetricValue::Count(3000)),
        (600, Metric::MessageByteSize, MetricValue::Count(121)),
        (
            300,
            Metric::SourceIpAddress,
            MetricValue::Addresses(["192.0.2.1".parse().unwrap()].into()),
        ),
    ];
    let points: Vec<Datapoint> = values
        .into_iter()
        .map(|(secs, metric, value)| Datapoint {
            device: device.clone(),
            metric,
            at: NOON + secs * 1000,
            value,
        })
        .collect();
    api.state.store.write(move |tx| datapoints::append(tx, &points)).await.unwrap();

    let base = "GET /metric-values?thingName=SensorDevice01\
                &startTime=2026-11-20T10:05:00Z&endTime=2026-11-20T10:10:00Z";
    let line = format!("{base}&metricName=aws:message-byte-size");
    let list = json(api.rest(Iot, &line, Value::Null).await, 200);
    assert_eq!(
        list,
        json!({"metricDatumList": [
            {"timestamp": 1_795_169_400.0, "value": {"count": 3000}},
            {"timestamp": 1_795_169_100.0, "value": {"count": 120}},
        ]})
    );
    let line = format!("{base}&metricName=aws:source-ip-address");
    let list = json(api.rest(Iot, &line, Value::Null).await, 200);
    assert_eq!(list["metricDatumList"][0]["value"], json!({"cidrs": ["192.0.2.1/32"]}));

    for (more, status) in [
        ("&metricName=aws:nonsense", 400),
        ("", 400),
        ("&metricName=aws:num-disconnects&dimensionName=d", 404),
        ("&metricName=aws:num-disconnects&dimensionValueOperator=NEAR", 400),
    ] {
        json(api.rest(Iot, &format!("{base}{more}"), Value::Null).await, status);
    }
}
