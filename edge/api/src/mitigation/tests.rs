use std::sync::Arc;

use picket_model::{
    Behavior, BehaviorName, Comparison, Criteria, DeviceName, Evidence, Explanation, Metric,
    MetricValue, MitigationActionName, MitigationExecution, MitigationExecutionStatus,
    MitigationTaskId, MitigationTaskStatus, Operator, ProfileName, Quantity, ViolationEvent,
    ViolationEventKind, ViolationId, WindowLen,
};
use picket_store::{RegistryError, mitigation_tasks, violations};
use serde_json::{Value, json};

use crate::service::Service::Iot;
use crate::testing::{Api, NOON, answered, json, paged, pretty, refused};

const ROLE: &str = "arn:aws:iam::123456789012:role/Mitigation";

fn isolate() -> Value {
    json!({
        "roleArn": ROLE,
        "actionParams": {"addThingsToThingGroupParams": {"thingGroupNames": ["Isolated"]}},
    })
}

fn deactivate() -> Value {
    json!({
        "roleArn": ROLE,
        "actionParams": {"updateDeviceCertificateParams": {"action": "DEACTIVATE"}},
    })
}

fn task(target: Value) -> Value {
    json!({"target": target, "actions": ["Isolate"], "clientRequestToken": "t-1"})
}

/// A violation of `SensorDevice01` that is on.
fn violation(id: &str) -> ViolationEvent {
    ViolationEvent {
        violation: ViolationId::parse(id).unwrap(),
        kind: ViolationEventKind::InAlarm,
        at: NOON,
        device: DeviceName::parse("SensorDevice01").unwrap(),
        profile: ProfileName::parse("P").unwrap(),
        behavior: Arc::new(Behavior {
            name: BehaviorName::parse("LargeMessageSize").unwrap(),
            metric: Metric::MessageByteSize,
            dimension: None,
            criteria: Criteria {
                comparison: Comparison::Limit(Operator::LessThanEquals, Quantity::Count(1000)),
                window: None,
                datapoints_to_alarm: 1,
                datapoints_to_clear: 1,
            },
            suppress_alerts: false,
            export: false,
        }),
        value: Some(MetricValue::Count(3000)),
        explanation: Explanation {
            sentence: "a message of 3,000 bytes".to_owned(),
            window_start: NOON,
            window: WindowLen::DEFAULT,
            early: true,
            evidence: Evidence::Nothing,
            notes: Vec::new(),
        },
    }
}

/// An API with the action `Isolate` and the violations `v1` and `v2`.
async fn with_an_action_and_violations() -> Api {
    let api = Api::new();
    answered(&api, "POST /mitigationactions/actions/Isolate", isolate()).await;
    api.state
        .store
        .write(|tx| {
            violations::apply(tx, &violation("v1"))?;
            violations::apply(tx, &violation("v2"))
        })
        .await
        .unwrap();
    api
}

#[tokio::test]
async fn an_action_lives_from_create_to_delete() {
    let api = Api::new();
    let line = "/mitigationactions/actions/Isolate";
    let made = answered(&api, &format!("POST {line}"), isolate()).await;
    let arn = "arn:aws:iot:us-east-1:123456789012:mitigationaction/Isolate";
    assert_eq!(made["actionArn"], arn);
    refused(&api, &format!("POST {line}"), isolate(), 409, "`Isolate` already exists").await;
    api.pass_secs(60);
    let other_role = "arn:aws:iam::123456789012:role/Other";
    let changed = answered(&api, &format!("PATCH {line}"), json!({"roleArn": other_role})).await;
    assert_eq!(changed, made);
    let found = answered(&api, &format!("GET {line}"), Value::Null).await;
    assert_eq!(
        found,
        json!({
            "actionName": "Isolate",
            "actionType": "ADD_THINGS_TO_THING_GROUP",
            "actionArn": arn,
            "actionId": made["actionId"],
            "roleArn": other_role,
            "actionParams": {"addThingsToThingGroupParams": {
                "thingGroupNames": ["Isolated"],
                "overrideDynamicGroups": false,
            }},
            "creationDate": 1_795_169_100.0,
            "lastModifiedDate": 1_795_169_160.0,
        })
    );
    let change = json!({"actionParams": deactivate()["actionParams"]});
    answered(&api, &format!("PATCH {line}"), change).await;
    let found = answered(&api, &format!("GET {line}"), Value::Null).await;
    assert_eq!(found["actionType"], "UPDATE_DEVICE_CERTIFICATE");
    assert_eq!(found["roleArn"], other_role);
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    refused(&api, &format!("GET {line}"), Value::Null, 404, "`Isolate` does not exist").await;
    refused(&api, &format!("PATCH {line}"), json!({}), 404, "`Isolate` does not exist").await;
}

#[tokio::test]
async fn what_is_wrong_with_an_action_is_said() {
    let api = Api::new();
    let check = async |body: Value, expected: &str| {
        refused(&api, "POST /mitigationactions/actions/A", body, 400, expected).await;
    };
    let without = |member: &str| {
        let mut body = isolate();
        body[member] = Value::Null;
        body
    };
    check(without("roleArn"), "'roleArn' failed to satisfy").await;
    check(without("actionParams"), "'actionParams' failed to satisfy").await;
    let mut body = isolate();
    body["roleArn"] = "arn:x".into();
    check(body.clone(), "`roleArn`: `arn:x` is not the ARN of a role").await;
    body["roleArn"] = json!({});
    check(body, "must be a string").await;
    check(json!({"roleArn": ROLE, "actionParams": {}}), "exactly one of the members").await;
    check(json!({"roleArn": ROLE, "actionParams": []}), "must be an object").await;
    for name in ["a%20b", "a:b", "%0A", &"x".repeat(129)] {
        let line = format!("POST /mitigationactions/actions/{name}");
        refused(&api, &line, isolate(), 400, "'actionName'").await;
    }
    let list = answered(&api, "GET /mitigationactions/actions", Value::Null).await;
    assert_eq!(list, json!({"actionIdentifiers": []}));
}

#[tokio::test]
async fn actions_are_listed_by_type_and_in_pages() {
    let api = Api::new();
    for n in 0..5 {
        let body = if n == 3 { deactivate() } else { isolate() };
        answered(&api, &format!("POST /mitigationactions/actions/a{n}"), body).await;
    }
    let names = async |query: &str| {
        let line = format!("/mitigationactions/actions?maxResults=2{query}");
        let list = paged(&api, &line, "actionIdentifiers").await;
        list.iter().map(|it| it["actionName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(names("&actionType=UPDATE_DEVICE_CERTIFICATE").await, ["a3"]);
    assert_eq!(names("&actionType=ADD_THINGS_TO_THING_GROUP").await, ["a0", "a1", "a2", "a4"]);
    assert!(names("&actionType=ENABLE_IOT_LOGGING").await.is_empty());
    for wrong in ["actionType=DANCE", "maxResults=0", "nextToken=zzz"] {
        let line = format!("GET /mitigationactions/actions?{wrong}");
        json(api.rest(Iot, &line, Value::Null).await, 400);
    }
}

#[tokio::test]
async fn a_task_is_started_once_shown_and_canceled() {
    let api = with_an_action_and_violations().await;
    let line = "PUT /detect/mitigationactions/tasks/T";
    let mut body = task(json!({"violationIds": ["v2", "v1"]}));
    body["violationEventOccurrenceRange"] =
        json!({"startTime": 1_795_000_000, "endTime": 1_795_169_100.5});
    body["includeOnlyActiveViolations"] = true.into();
    assert_eq!(answered(&api, line, body.clone()).await, json!({"taskId": "T"}));
    assert_eq!(answered(&api, line, body.clone()).await, json!({"taskId": "T"}));
    // A task keeps its actions, and the same request is the same although they are gone.
    answered(&api, "DELETE /mitigationactions/actions/Isolate", Value::Null).await;
    assert_eq!(answered(&api, line, body.clone()).await, json!({"taskId": "T"}));
    body["clientRequestToken"] = "t-2".into();
    let (status, name) = api.error(Iot, line, body).await;
    assert_eq!((status, name.as_str()), (400, "TaskAlreadyExistsException"));

    let show = "GET /detect/mitigationactions/tasks/T";
    let mut found = answered(&api, show, Value::Null).await;
    found["taskSummary"]["actionsDefinition"][0]["id"] = "[id]".into();
    insta::assert_snapshot!(pretty(&found));
    api.pass_secs(60);
    let cancel = "PUT /detect/mitigationactions/tasks/T/cancel";
    answered(&api, cancel, json!({})).await;
    api.pass_secs(60);
    answered(&api, cancel, json!({})).await;
    let found = answered(&api, show, Value::Null).await;
    assert_eq!(found["taskSummary"]["taskStatus"], "CANCELED");
    assert_eq!(found["taskSummary"]["taskEndTime"], json!(1_795_169_160.0));
    for line in [
        "GET /detect/mitigationactions/tasks/Nowhere",
        "PUT /detect/mitigationactions/tasks/Nowhere/cancel",
    ] {
        refused(&api, line, Value::Null, 404, "`Nowhere` does not exist").await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_task_is_said_and_nothing_is_started() {
    let api = with_an_action_and_violations().await;
    answered(&api, "POST /mitigationactions/actions/Deactivate", deactivate()).await;
    let check = async |change: Value, expected: &str| {
        let mut body = task(json!({"securityProfileName": "P"}));
        for (member, value) in change.as_object().unwrap() {
            body[member] = value.clone();
        }
        refused(&api, "PUT /detect/mitigationactions/tasks/T", body, 400, expected).await;
    };
    check(json!({"target": null}), "'target' failed").await;
    check(json!({"target": {}}), "must have either `violationIds`").await;
    check(json!({"target": {"violationIds": ["v1", "v3"]}}), "violation `v3` does not exist").await;
    check(json!({"actions": null}), "'actions' failed").await;
    check(json!({"actions": []}), "has 0 elements; 1 to 5 are allowed").await;
    check(json!({"actions": ["a", "b", "c", "d", "e", "f"]}), "has 6 elements").await;
    check(json!({"actions": ["Isolate", "Isolate"]}), "names `Isolate` twice").await;
    check(json!({"actions": ["a b"]}), "contains ` `").await;
    check(json!({"actions": ["Nowhere"]}), "mitigation action `Nowhere` does not exist").await;
    check(
        json!({"actions": ["Isolate", "Deactivate"]}),
        "`Deactivate` is of type UPDATE_DEVICE_CERTIFICATE; for violations only \
         ADD_THINGS_TO_THING_GROUP can be run",
    )
    .await;
    check(json!({"clientRequestToken": null}), "'clientRequestToken' failed").await;
    check(json!({"includeOnlyActiveViolations": "yes"}), "must be true or false").await;
    check(json!({"includeSuppressedAlerts": 1}), "must be true or false").await;
    let range = |from: Value, until: Value| json!({"violationEventOccurrenceRange": {"startTime": from, "endTime": until}});
    check(range(json!(2), json!(1)), "`endTime` is before `startTime`").await;
    check(range(json!(2), Value::Null), "'violationEventOccurrenceRange.endTime' failed").await;
    check(range(json!("2026-11-20T10:05:00Z"), json!(1)), "a time in seconds").await;
    let body = task(json!({"securityProfileName": "P"}));
    refused(&api, "PUT /detect/mitigationactions/tasks/a%20b", body, 400, "contains ` `").await;

    let tasks = "GET /detect/mitigationactions/tasks?startTime=0&endTime=1900000000";
    assert_eq!(answered(&api, tasks, Value::Null).await, json!({"tasks": []}));
}

#[tokio::test]
async fn a_loop_that_starts_tasks_comes_to_an_end() {
    let api = with_an_action_and_violations().await;
    let start = |n: usize| {
        let line = format!("PUT /detect/mitigationactions/tasks/t{n}");
        (line, task(json!({"securityProfileName": "P"})))
    };
    for n in 0..crate::limits::MITIGATION_TASKS_UNFINISHED_MAX {
        let (line, body) = start(n);
        answered(&api, &line, body).await;
    }
    let (line, body) = start(1_000);
    refused(&api, &line, body.clone(), 410, "100 tasks are in progress; at most 100").await;
    // The same request again is not one more.
    let (first, again) = start(0);
    answered(&api, &first, again).await;
    answered(&api, "PUT /detect/mitigationactions/tasks/t0/cancel", Value::Null).await;
    answered(&api, &line, body).await;
}

#[tokio::test]
async fn tasks_are_listed_by_the_time_they_started() {
    let api = with_an_action_and_violations().await;
    for n in 0..4 {
        let line = format!("PUT /detect/mitigationactions/tasks/t{n}");
        answered(&api, &line, task(json!({"securityProfileName": "P"}))).await;
        api.pass_secs(10);
    }
    let ids = async |from: &str, until: &str| {
        let line = format!(
            "/detect/mitigationactions/tasks?startTime=2026-11-20T10:05:{from}Z\
             &endTime=2026-11-20T10:05:{until}Z&maxResults=1"
        );
        let tasks = paged(&api, &line, "tasks").await;
        tasks.iter().map(|it| it["taskId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("00", "59").await, ["t3", "t2", "t1", "t0"]);
    assert_eq!(ids("10", "20").await, ["t2", "t1"], "both ends count");
    assert!(ids("11", "19").await.is_empty());
    for wrong in [
        "",
        "startTime=1",
        "endTime=1",
        "startTime=2&endTime=1",
        "startTime=x&endTime=y",
        "startTime=1&endTime=2&maxResults=0",
        "startTime=1&endTime=2&nextToken=zzz",
    ] {
        let line = format!("GET /detect/mitigationactions/tasks?{wrong}");
        json(api.rest(Iot, &line, Value::Null).await, 400);
    }
}

#[tokio::test]
async fn executions_are_listed_by_what_they_belong_to() {
    let api = with_an_action_and_violations().await;
    let start = "PUT /detect/mitigationactions/tasks/T";
    answered(&api, start, task(json!({"violationIds": ["v1", "v2"]}))).await;
    let execution = |violation: &str, secs: i64, status| MitigationExecution {
        task: MitigationTaskId::parse("T").unwrap(),
        violation: ViolationId::parse(violation).unwrap(),
        action: MitigationActionName::parse("Isolate").unwrap(),
        device: DeviceName::parse("SensorDevice01").unwrap(),
        started_at: NOON + secs * 1000,
        ended_at: Some(NOON + secs * 1000 + 250),
        status,
        error_code: None,
        message: None,
    };
    let done = execution("v1", 0, MitigationExecutionStatus::Successful);
    let failed = MitigationExecution {
        error_code: Some("ResourceNotFoundException".to_owned()),
        message: Some("thing group `Isolated` does not exist".to_owned()),
        ..execution("v2", 10, MitigationExecutionStatus::Failed)
    };
    api.state
        .store
        .write(move |tx| {
            mitigation_tasks::record(tx, &done)?;
            mitigation_tasks::record(tx, &failed)?;
            let id = &done.task;
            mitigation_tasks::finish(tx, id, MitigationTaskStatus::Failed, NOON + 20_000)?;
            Ok::<_, RegistryError>(())
        })
        .await
        .unwrap();

    let base = "/detect/mitigationactions/executions";
    let all = answered(&api, &format!("GET {base}?taskId=T"), Value::Null).await;
    insta::assert_snapshot!(pretty(&all));
    let check = async |query: &str, expected: &[&str]| {
        let list = paged(&api, &format!("{base}?maxResults=1&{query}"), "actionsExecutions").await;
        let mut ids: Vec<&str> =
            list.iter().map(|it| it["violationId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{query}");
    };
    check("taskId=T", &["v1", "v2"]).await;
    check("taskId=Nowhere", &[]).await;
    check("violationId=v2", &["v2"]).await;
    check("taskId=T&violationId=v1", &["v1"]).await;
    check("thingName=SensorDevice01", &["v1", "v2"]).await;
    check("thingName=nobody", &[]).await;
    check("startTime=2026-11-20T10:05:00Z&endTime=2026-11-20T10:05:10Z", &["v1", "v2"]).await;
    check("startTime=2026-11-20T10:05:01Z&endTime=2026-11-20T10:05:10Z", &["v2"]).await;
    check("startTime=2026-11-20T10:05:00Z&endTime=2026-11-20T10:05:09Z", &["v1"]).await;
    for (wrong, expected) in [
        ("", "say which executions"),
        ("taskId=T&startTime=0&endTime=1", "but not both"),
        ("startTime=0", "'endTime' failed"),
        ("endTime=0", "'startTime' failed"),
        ("taskId=a%20b", "contains ` `"),
        ("violationId=a%20b", "contains ` `"),
        ("thingName=", "is empty"),
        ("taskId=T&nextToken=zzz", "token"),
        ("taskId=T&maxResults=251", "maxResults"),
    ] {
        refused(&api, &format!("GET {base}?{wrong}"), Value::Null, 400, expected).await;
    }
    let task = answered(&api, "GET /detect/mitigationactions/tasks/T", Value::Null).await;
    let task = &task["taskSummary"];
    assert_eq!(task["taskStatus"], "FAILED");
    let statistics = json!({"actionsExecuted": 1, "actionsSkipped": 0, "actionsFailed": 1});
    assert_eq!(task["taskStatistics"], statistics);
}
