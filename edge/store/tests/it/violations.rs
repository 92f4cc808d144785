//! Violations: the alarms that are on, and what happened to alarms.

use std::collections::BTreeSet;
use std::sync::Arc;

use picket_model::{
    Behavior, Continuation, CriteriaType, Evidence, Explanation, Metric, MetricValue, Note,
    NoteKind, VerificationState, Violation, ViolationEvent, ViolationEventKind, ViolationId,
    WindowLen,
};
use picket_store::violations::{self, ViolationFilter};
use picket_store::{Page, RegistryError, StoreError};
use serde_json::json;

use crate::scene::{NOW, Scene, behavior, behavior_of, device, kind, profile};

pub(crate) fn event(id: &str, kind: ViolationEventKind, at: i64, who: &str) -> ViolationEvent {
    let value = MetricValue::Count(u64::try_from(at).unwrap());
    ViolationEvent {
        violation: ViolationId::parse(id).unwrap(),
        kind,
        at: NOW + at,
        device: device(who),
        profile: profile("S"),
        behavior: Arc::new(behavior("B", Metric::MessagesSent, false)),
        value: (kind != ViolationEventKind::Invalidated).then_some(value),
        explanation: explanation(at),
    }
}

fn explanation(at: i64) -> Explanation {
    Explanation {
        sentence: format!("{at} messages"),
        window_start: NOW,
        window: WindowLen::DEFAULT,
        early: true,
        evidence: Evidence::Count { count: 3, first_at: NOW, last_at: NOW + at },
        notes: vec![Note {
            kind: NoteKind::ReportIdFell,
            sentence: "the report id fell".to_owned(),
        }],
    }
}

pub(crate) fn apply(scene: &Scene, event: ViolationEvent) -> bool {
    scene.write(move |tx| violations::apply(tx, &event)).unwrap()
}

fn active(scene: &Scene, filter: &ViolationFilter) -> Vec<Violation> {
    scene.read(|tx| violations::list_active(tx, filter, &Page::first(100))).items
}

/// Ids of the active violations, the latest first.
fn active_ids(scene: &Scene, filter: &ViolationFilter) -> String {
    let ids: Vec<_> = active(scene, filter).iter().map(|v| v.id.to_string()).collect();
    ids.join(" ")
}

/// Ids and kinds of the events, the latest first.
fn event_ids(scene: &Scene, from: i64, until: i64, filter: &ViolationFilter) -> String {
    let (from, until) = (NOW + from, NOW + until);
    let page = Page::first(100);
    let events = scene.read(|tx| violations::list_events(tx, from, until, filter, &page)).items;
    let texts: Vec<_> = events
        .iter()
        .map(|(event, _, _)| format!("{}:{}", event.violation, event.kind.as_str()))
        .collect();
    texts.join(" ")
}

use ViolationEventKind::{Cleared, InAlarm, Invalidated};

#[test]
fn a_violation_is_active_from_its_alarm_until_it_is_cleared_or_invalidated() {
    let scene = Scene::new();
    assert!(apply(&scene, event("v1", InAlarm, 1, "d")));
    assert!(apply(&scene, event("v2", InAlarm, 2, "e")));
    assert!(apply(&scene, event("v3", InAlarm, 3, "d")));
    assert_eq!(active_ids(&scene, &ViolationFilter::default()), "v3 v2 v1");
    assert!(apply(&scene, event("v1", Cleared, 4, "d")));
    assert!(apply(&scene, event("v3", Invalidated, 5, "d")));
    let scene = scene.reopen();
    let left = active(&scene, &ViolationFilter::default());
    let raised = event("v2", InAlarm, 2, "e");
    assert_eq!(
        left,
        [Violation {
            id: raised.violation.clone(),
            device: raised.device.clone(),
            profile: raised.profile.clone(),
            behavior: raised.behavior.clone(),
            started_at: raised.at,
            last_violated_at: raised.at,
            last_value: MetricValue::Count(2),
            explanation: raised.explanation.clone(),
            verification: VerificationState::Unknown,
            verification_description: None,
        }]
    );
    let events = scene.read(|tx| {
        violations::list_events(tx, NOW, NOW + 9, &ViolationFilter::default(), &Page::first(9))
    });
    let expected = [
        event("v3", Invalidated, 5, "d"),
        event("v1", Cleared, 4, "d"),
        event("v3", InAlarm, 3, "d"),
        raised,
        event("v1", InAlarm, 1, "d"),
    ];
    assert_eq!(events.items, expected.map(|event| (event, VerificationState::Unknown, None)));
}

#[test]
fn an_event_applied_again_changes_nothing() {
    let scene = Scene::new();
    assert!(apply(&scene, event("v", InAlarm, 1, "d")));
    assert!(!apply(&scene, event("v", InAlarm, 1, "d")));
    assert!(apply(&scene, event("v", Cleared, 2, "d")));
    assert!(!apply(&scene, event("v", InAlarm, 1, "d")), "a cleared alarm is not raised again");
    assert_eq!(active_ids(&scene, &ViolationFilter::default()), "");
    assert_eq!(event_ids(&scene, 0, 9, &ViolationFilter::default()), "v:alarm-cleared v:in-alarm");
}

#[test]
fn an_alarm_that_goes_on_keeps_its_last_violating_datapoint() {
    let scene = Scene::new();
    apply(&scene, event("v", InAlarm, 1, "d"));
    let raised = active(&scene, &ViolationFilter::default()).remove(0);
    let continuation = Continuation {
        violation: raised.id.clone(),
        device: raised.device.clone(),
        profile: raised.profile.clone(),
        behavior: Arc::new(behavior("B", Metric::Disconnects, true)),
        last_violated_at: NOW + 7,
        last_value: MetricValue::Addresses(BTreeSet::from(["192.0.2.1".parse().unwrap()])),
        explanation: explanation(7),
    };
    let go_on = || {
        let continuation = continuation.clone();
        scene.write(move |tx| violations::continued(tx, &continuation)).unwrap()
    };
    assert!(go_on());
    let expected = Violation {
        behavior: continuation.behavior.clone(),
        last_violated_at: continuation.last_violated_at,
        last_value: continuation.last_value.clone(),
        explanation: continuation.explanation.clone(),
        ..raised
    };
    assert_eq!(active(&scene, &ViolationFilter::default()), std::slice::from_ref(&expected));
    assert_eq!(scene.read(|tx| violations::get_active(tx, &expected.id)), expected);

    apply(&scene, event("v", Cleared, 8, "d"));
    assert!(!go_on(), "what is over does not go on");
    let error = scene.refused(|tx| violations::get_active(tx, &expected.id));
    assert_eq!(error, "violation `v` does not exist");
}

#[test]
fn violations_and_events_are_listed_by_what_is_asked_for() {
    let scene = Scene::new();
    let with = |id: &str, at: i64, who: &str, change: &dyn Fn(&mut ViolationEvent)| {
        let mut raised = event(id, InAlarm, at, who);
        change(&mut raised);
        apply(&scene, raised);
    };
    let suppressed: Behavior = behavior("B", Metric::MessagesSent, true);
    with("v1", 1, "d", &|_| ());
    with("v2", 2, "e", &|event| event.profile = profile("R"));
    with("v3", 3, "d", &|event| event.behavior = Arc::new(suppressed.clone()));
    let fleet = behavior_of(
        "F",
        "aws:num-messages-sent",
        json!({
            "comparisonOperator": "less-than-equals",
            "statisticalThreshold": {"statistic": "p99"},
            "durationSeconds": 300,
        }),
    );
    with("v4", 4, "e", &|event| event.behavior = Arc::new(fleet.clone()));
    scene
        .write(|tx| {
            let id = ViolationId::parse("v2").unwrap();
            let state = VerificationState::TruePositive;
            violations::set_verification(tx, &id, state, Some("seen it"))
        })
        .unwrap();

    let none = ViolationFilter::default;
    let check = |filter: ViolationFilter, expected: &str| {
        assert_eq!(active_ids(&scene, &filter), expected, "{filter:?}");
        let events: Vec<String> =
            expected.split_whitespace().map(|id| format!("{id}:in-alarm")).collect();
        assert_eq!(event_ids(&scene, 0, 9, &filter), events.join(" "), "{filter:?}");
    };
    check(none(), "v4 v3 v2 v1");
    check(ViolationFilter { device: Some(device("d")), ..none() }, "v3 v1");
    check(ViolationFilter { profile: Some(profile("R")), ..none() }, "v2");
    check(ViolationFilter { device: Some(device("d")), profile: Some(profile("R")), ..none() }, "");
    check(ViolationFilter { suppressed: Some(true), ..none() }, "v3");
    check(ViolationFilter { suppressed: Some(false), ..none() }, "v4 v2 v1");
    let of_type = |it| ViolationFilter { criteria_type: Some(it), ..none() };
    check(of_type(CriteriaType::Static), "v3 v2 v1");
    check(of_type(CriteriaType::Statistical), "v4");
    check(of_type(CriteriaType::MachineLearning), "");
    let state = |state| ViolationFilter { verification: Some(state), ..none() };
    check(state(VerificationState::TruePositive), "v2");
    check(state(VerificationState::Unknown), "v4 v3 v1");

    assert_eq!(event_ids(&scene, 1, 3, &none()), "v2:in-alarm v1:in-alarm", "until is exclusive");
    assert_eq!(event_ids(&scene, 2, 3, &none()), "v2:in-alarm", "from is inclusive");
}

#[test]
fn a_judgement_holds_for_all_events_of_a_violation_the_later_ones_too() {
    let scene = Scene::new();
    apply(&scene, event("v", InAlarm, 1, "d"));
    let id = ViolationId::parse("v").unwrap();
    let judge = |state, words: Option<&'static str>| {
        let id = id.clone();
        scene.write(move |tx| violations::set_verification(tx, &id, state, words)).unwrap();
    };
    judge(VerificationState::BenignPositive, Some("maintenance"));
    apply(&scene, event("v", Cleared, 2, "d"));
    let judgements = || {
        let page = Page::first(9);
        let filter = ViolationFilter::default();
        let events = scene.read(|tx| violations::list_events(tx, NOW, NOW + 9, &filter, &page));
        events.items.into_iter().map(|(_, state, words)| (state, words)).collect::<Vec<_>>()
    };
    let expected = (VerificationState::BenignPositive, Some("maintenance".to_owned()));
    assert_eq!(judgements(), [expected.clone(), expected]);
    judge(VerificationState::Unknown, None);
    assert_eq!(
        judgements(),
        [(VerificationState::Unknown, None), (VerificationState::Unknown, None)]
    );

    let unknown = ViolationId::parse("w").unwrap();
    let error = scene
        .write(move |tx| {
            violations::set_verification(tx, &unknown, VerificationState::Unknown, None)
        })
        .unwrap_err();
    assert_eq!(
        (kind(&error), error.to_string().as_str()),
        ("not found", "violation `w` does not exist")
    );
}

#[test]
fn old_events_are_deleted_in_steps_and_active_violations_stay() {
    let scene = Scene::new();
    for (id, at) in [("v1", 1), ("v2", 2), ("v3", 3), ("v4", 4)] {
        apply(&scene, event(id, InAlarm, at, "d"));
    }
    apply(&scene, event("v2", Cleared, 5, "d"));
    let sweep = |before: i64, limit| {
        scene.write(move |tx| violations::delete_older_than(tx, NOW + before, limit)).unwrap()
    };
    assert_eq!(sweep(4, 2), 2);
    assert_eq!(sweep(4, 2), 1);
    assert_eq!(sweep(4, 2), 0);
    let none = ViolationFilter::default();
    assert_eq!(event_ids(&scene, 0, 9, &none), "v2:alarm-cleared v4:in-alarm");
    assert_eq!(active_ids(&scene, &none), "v4 v3 v1");
}

#[test]
fn a_judgement_goes_with_the_last_event_of_its_violation() {
    let scene = Scene::new();
    for (id, at) in [("v1", 1), ("v2", 1)] {
        apply(&scene, event(id, InAlarm, at, "d"));
        let id = ViolationId::parse(id).unwrap();
        scene
            .write(move |tx| {
                violations::set_verification(tx, &id, VerificationState::TruePositive, None)
            })
            .unwrap();
    }
    apply(&scene, event("v1", Cleared, 2, "d"));
    let filter = ViolationFilter {
        verification: Some(VerificationState::TruePositive),
        ..Default::default()
    };
    scene.write(|tx| violations::delete_older_than(tx, NOW + 2, 9)).unwrap();
    assert_eq!(event_ids(&scene, 0, 9, &filter), "v1:alarm-cleared", "one event is kept yet");
    scene.write(|tx| violations::delete_older_than(tx, NOW + 9, 9)).unwrap();
    // v2 is active still: what a person said of it is kept; v1 can be forgotten.
    assert_eq!(active_ids(&scene, &filter), "v2");
    let id = ViolationId::parse("v1").unwrap();
    let error = scene
        .write(move |tx| violations::set_verification(tx, &id, VerificationState::Unknown, None))
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }));
}

#[test]
fn an_alarm_without_a_value_is_no_alarm() {
    let scene = Scene::new();
    let mut raised = event("v", InAlarm, 1, "d");
    raised.value = None;
    let error = scene.write(move |tx| violations::apply(tx, &raised)).unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { column: "value", .. }));
    assert_eq!(event_ids(&scene, 0, 9, &ViolationFilter::default()), "");
}
