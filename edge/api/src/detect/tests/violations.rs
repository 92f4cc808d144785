use std::sync::Arc;

use picket_model::{
    Behavior, BehaviorName, Comparison, Criteria, DeviceName, Evidence, Explanation, Metric,
    MetricValue, Operator, Percentile, ProfileName, Quantity, ViolationEvent, ViolationEventKind,
    ViolationId, WindowLen,
};
use picket_store::{StoreError, violations};
use serde_json::{Value, json};

use crate::service::Service::Iot;
use crate::testing::{Api, NOON, json, pretty};

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
            dimension: None,
            criteria: Criteria {
                comparison: Comparison::Limit(Operator::LessThanEquals, Quantity::Count(1000)),
                window: None,
                datapoints_to_alarm: 1,
                datapoints_to_clear: 1,
            },
            suppress_alerts: is_suppressed,
            export: false,
        }),
        value: Some(MetricValue::Count(3000)),
        explanation: Explanation {
            sentence: "a message of 3,000 bytes".to_owned(),
            window_start: NOON,
            window: WindowLen::DEFAULT,
            early: true,
            evidence: Evidence::Count { count: 1, first_at: at, last_at: at },
            notes: Vec::new(),
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
async fn active_violations_pass_every_filter() {
    let mut events: Vec<_> =
        (0..6).map(|n| event(n, ViolationEventKind::InAlarm, n == 5)).collect();
    let mut statistical = Behavior::clone(&events[3].behavior);
    statistical.criteria.comparison =
        Comparison::Percentile(Operator::LessThanEquals, Percentile::P90);
    statistical.criteria.window = Some(WindowLen::DEFAULT);
    events[3].behavior = Arc::new(statistical);
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
    check("behaviorCriteriaType=STATIC", &[0, 1, 2]).await;
    check("behaviorCriteriaType=STATISTICAL", &[3]).await;
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
