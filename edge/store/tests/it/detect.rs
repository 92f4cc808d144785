//! Security profiles, violations, metric values and the engine's state.

use std::collections::BTreeSet;
use std::sync::Arc;

use picket_model::{
    Behavior, Continuation, Datapoint, Evidence, Explanation, Metric, MetricValue, ProfileTarget,
    VerificationState, Violation, ViolationEvent, ViolationEventKind, ViolationId, WindowLen,
};
use picket_store::violations::{self, ViolationFilter};
use picket_store::{Page, RegistryError, StoreError, datapoints, engine_state, profiles};

use crate::scene::{NOW, Scene, behavior, device, group, kind, new_profile, profile};

#[test]
fn a_profile_is_kept_as_it_was_made_and_changed() {
    let scene = Scene::with("profile S").reopen();
    let made = new_profile("S", Metric::MessagesSent);
    assert_eq!(scene.read(|tx| profiles::get(tx, &profile("S"))), made);

    let mut changed = new_profile("S", Metric::Disconnects);
    changed.description = None;
    changed.alert_targets.clear();
    changed.retained_metrics = Metric::ALL.to_vec();
    changed.created_at = NOW + 5;
    changed.modified_at = NOW + 5;
    let given = changed.clone();
    let answered = scene.write(move |tx| profiles::update(tx, &given, Some(1))).unwrap();
    changed.version = 2;
    changed.created_at = NOW;
    assert_eq!(answered, changed);
    assert_eq!(scene.read(|tx| Ok(profiles::all(tx)?)), [changed]);
}

#[test]
fn a_profile_is_made_once_changed_at_its_version_and_deleted_twice() {
    let scene = Scene::with("profile S; watch S all");
    assert_eq!(scene.fails("profile S"), "already exists: security profile `S` already exists");
    let conflict = "version conflict: security profile `S` is at version 1, not at version 3";
    assert_eq!(scene.fails("update-profile S at 3"), conflict);
    assert_eq!(scene.fails("delete-profile S at 3"), conflict);
    assert_eq!(scene.fails("update-profile R"), "not found: security profile `R` does not exist");
    scene.run("delete-profile S at 1; delete-profile S at 1");
    assert_eq!(scene.read(|tx| Ok(profiles::attachments(tx)?)), []);
}

#[test]
fn a_target_has_at_most_five_profiles() {
    let scene = Scene::with("");
    scene.run(&(0..6).map(|i| format!("profile s{i};")).collect::<String>());
    scene.run(
        &(0..5).map(|i| format!("watch s{i} all; watch s{i} registered;")).collect::<String>(),
    );
    assert_eq!(
        scene.fails("watch s5 all"),
        "limit: `arn:aws:iot:us-east-1:123456789012:all/things` has 5 security profiles attached; \
         at most 5 are allowed"
    );
    scene.run("watch s4 all; watch s5 unregistered; unwatch s0 all; watch s5 all");
    assert_eq!(scene.fails("watch s0 G"), "not found: thing group `G` does not exist");
    assert_eq!(scene.fails("watch no all"), "not found: security profile `no` does not exist");
    assert_eq!(scene.fails("unwatch no all"), "not found: security profile `no` does not exist");
}

#[test]
fn attachments_are_told_from_both_ends() {
    let scene = Scene::with(
        "group G; profile S; profile R; watch S all; watch S G; watch R G; watch S unregistered",
    );
    let all = ProfileTarget::AllThings;
    let group = ProfileTarget::Group(group("G"));
    let unregistered = ProfileTarget::UnregisteredThings;
    let targets = scene.read(|tx| profiles::targets(tx, &profile("S"), &Page::first(9))).items;
    assert_eq!(targets, [all.clone(), group.clone(), unregistered.clone()]);
    assert_eq!(
        scene.read(|tx| Ok(profiles::for_target(tx, &group)?)),
        [profile("R"), profile("S")]
    );
    assert_eq!(
        scene.read(|tx| Ok(profiles::attachments(tx)?)),
        [
            (profile("R"), group.clone()),
            (profile("S"), all),
            (profile("S"), group),
            (profile("S"), unregistered),
        ]
    );
}

#[test]
fn profiles_are_listed_by_the_metric_they_judge() {
    let scene = Scene::with("profile R; profile S; update-profile S");
    let list = |metric| scene.read(|tx| profiles::list(tx, metric, &Page::first(9))).items;
    assert_eq!(list(None), [profile("R"), profile("S")]);
    assert_eq!(list(Some(Metric::MessagesSent)), [profile("R")]);
    assert_eq!(list(Some(Metric::Disconnects)), [profile("S")]);
    assert_eq!(list(Some(Metric::SourceIpAddress)), []);
}

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
    check(none(), "v3 v2 v1");
    check(ViolationFilter { device: Some(device("d")), ..none() }, "v3 v1");
    check(ViolationFilter { profile: Some(profile("R")), ..none() }, "v2");
    check(ViolationFilter { device: Some(device("d")), profile: Some(profile("R")), ..none() }, "");
    check(ViolationFilter { suppressed: Some(true), ..none() }, "v3");
    check(ViolationFilter { suppressed: Some(false), ..none() }, "v2 v1");
    check(ViolationFilter { criteria_type: Some("STATIC".to_owned()), ..none() }, "v3 v2 v1");
    check(ViolationFilter { criteria_type: Some("STATISTICAL".to_owned()), ..none() }, "");
    let state = |state| ViolationFilter { verification: Some(state), ..none() };
    check(state(VerificationState::TruePositive), "v2");
    check(state(VerificationState::Unknown), "v3 v1");

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

pub(crate) fn datapoint(who: &str, metric: Metric, at: i64, count: u64) -> Datapoint {
    Datapoint { device: device(who), metric, at: NOW + at, value: MetricValue::Count(count) }
}

pub(crate) fn append(scene: &Scene, points: Vec<Datapoint>) {
    scene.write(move |tx| datapoints::append(tx, &points)).unwrap();
}

/// The values as `at=count`, the latest first.
fn values(scene: &Scene, who: &str, metric: Metric, from: i64, until: i64) -> String {
    let who = device(who);
    let page = Page::first(100);
    let found = scene.read(|tx| datapoints::list(tx, &who, metric, NOW + from, NOW + until, &page));
    let texts: Vec<String> = found
        .items
        .iter()
        .map(|(at, value)| match value {
            MetricValue::Count(count) => format!("{}={count}", at.millis_since(NOW)),
            MetricValue::Addresses(list) => format!("{}={list:?}", at.millis_since(NOW)),
        })
        .collect();
    texts.join(" ")
}

#[test]
fn values_are_listed_by_device_and_metric_the_latest_first() {
    use Metric::{MessagesSent, SourceIpAddress};
    let scene = Scene::new();
    append(&scene, vec![datapoint("d", MessagesSent, 10, 1), datapoint("e", MessagesSent, 10, 7)]);
    append(&scene, vec![datapoint("d", MessagesSent, 30, 3), datapoint("d", MessagesSent, 20, 2)]);
    append(&scene, vec![]);
    let mut address = datapoint("d", SourceIpAddress, 10, 0);
    address.value = MetricValue::Addresses(BTreeSet::from(["192.0.2.1".parse().unwrap()]));
    append(&scene, vec![address]);
    let scene = scene.reopen();
    assert_eq!(values(&scene, "d", MessagesSent, 0, 99), "30=3 20=2 10=1");
    assert_eq!(values(&scene, "e", MessagesSent, 0, 99), "10=7");
    assert_eq!(values(&scene, "d", SourceIpAddress, 0, 99), "10={192.0.2.1}");
    assert_eq!(values(&scene, "d", Metric::Disconnects, 0, 99), "");
    assert_eq!(values(&scene, "d", MessagesSent, 20, 30), "20=2", "until is exclusive");
    assert_eq!(values(&scene, "d", MessagesSent, 10, 11), "10=1");
    assert_eq!(values(&scene, "d", MessagesSent, 20, 20), "");
}

#[test]
fn old_values_are_deleted_in_steps() {
    let scene = Scene::new();
    for at in 0..5 {
        append(&scene, vec![datapoint("d", Metric::MessagesSent, at, 1)]);
    }
    append(
        &scene,
        vec![
            datapoint("d", Metric::MessagesSent, 1, 2),
            datapoint("d", Metric::MessagesSent, 9, 2),
        ],
    );
    let sweep = |before: i64, limit| {
        scene.write(move |tx| datapoints::delete_older_than(tx, NOW + before, limit)).unwrap()
    };
    assert_eq!(sweep(3, 2), 2);
    assert_eq!(sweep(3, 2), 1);
    assert_eq!(sweep(3, 2), 0);
    let left = "9=2 4=1 3=1 1=2";
    assert_eq!(values(&scene, "d", Metric::MessagesSent, 0, 99), left, "a row goes as a whole");
}

#[test]
fn engine_states_are_kept_until_forgotten() {
    let scene = Scene::new();
    let put = |states: Vec<(&str, Option<&[u8]>)>| {
        let states: Vec<_> =
            states.into_iter().map(|(who, s)| (device(who), s.map(<[u8]>::to_vec))).collect();
        scene.write(move |tx| engine_state::put(tx, &states)).unwrap();
    };
    put(vec![("d", Some(b"1")), ("e", Some(b"2")), ("f", None)]);
    put(vec![("d", Some(b"3")), ("e", None)]);
    let all = |scene: &Scene| scene.store.read::<_, StoreError>(engine_state::all).unwrap();
    assert_eq!(all(&scene), [(device("d"), b"3".to_vec())]);
    assert_eq!(all(&scene.reopen()), [(device("d"), b"3".to_vec())]);
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
