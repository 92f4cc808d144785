//! Mitigation tasks, run against a real store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use picket_model::wire::behavior_from_json;
use picket_model::{
    Account, DeviceName, Evidence, Explanation, GroupName, MetricValue, MitigationAction,
    MitigationActionName, MitigationActionParams, MitigationExecution, MitigationExecutionStatus,
    MitigationStatistics, MitigationTarget, MitigationTask, MitigationTaskId, MitigationTaskStatus,
    ProfileName, ThingName, Timestamp, ViolationEvent, ViolationEventKind, ViolationId, WindowLen,
};
use picket_respond::mitigation::{self, Runner};
use picket_respond::{Clock, Metrics};
use picket_store::groups::NewGroup;
use picket_store::mitigation_tasks::{self, ExecutionFilter};
use picket_store::things::NewThing;
use picket_store::{Page, RegistryError, Store, groups, things, violations};
use serde_json::json;
use tokio::sync::oneshot;

use crate::crash::in_another_process;
use crate::support::wait_for;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A clock that ticks a millisecond each time it is asked.
fn ticking() -> Clock {
    let asked = AtomicUsize::new(0);
    Arc::new(move || NOW + asked.fetch_add(1, Ordering::SeqCst) as i64)
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// An action that puts things into these groups.
fn isolate(name: &str, groups: &[&str]) -> MitigationAction {
    MitigationAction {
        name: MitigationActionName::parse(name).unwrap(),
        id: format!("id-of-{name}"),
        role_arn: String::new(),
        params: MitigationActionParams::AddThingsToThingGroup {
            groups: groups.iter().map(|name| group(name)).collect(),
            override_dynamic_groups: true,
        },
        created_at: NOW,
        modified_at: NOW,
    }
}

/// A task for every violation of the profile `P`.
fn task(id: &str, actions: Vec<MitigationAction>) -> MitigationTask {
    MitigationTask {
        id: MitigationTaskId::parse(id).unwrap(),
        client_token: "token".to_owned(),
        status: MitigationTaskStatus::InProgress,
        started_at: NOW,
        ended_at: None,
        target: MitigationTarget::Profile(ProfileName::parse("P").unwrap(), None),
        occurred: None,
        only_active: false,
        include_suppressed: false,
        actions,
        statistics: MitigationStatistics::default(),
    }
}

fn violation(device: &str) -> ViolationEvent {
    let behavior = json!({
        "name": "B",
        "metric": "aws:message-byte-size",
        "criteria": {"comparisonOperator": "less-than", "value": {"count": 1000}},
    });
    ViolationEvent {
        violation: ViolationId::parse(format!("of-{}", device.replace(' ', "-"))).unwrap(),
        kind: ViolationEventKind::InAlarm,
        at: NOW - 60_000,
        device: DeviceName::parse(device).unwrap(),
        profile: ProfileName::parse("P").unwrap(),
        behavior: Arc::new(behavior_from_json(&behavior, 1).unwrap()),
        value: Some(MetricValue::Count(3000)),
        explanation: Explanation {
            sentence: String::new(),
            window_start: NOW - 300_000,
            window: WindowLen::DEFAULT,
            early: true,
            evidence: Evidence::Nothing,
            notes: Vec::new(),
        },
    }
}

/// A store with the groups `A`, `B` and `C`, things, and a violation of each device.
async fn fill(store: &Store, things: &[&str], devices: &[&str]) {
    let things: Vec<_> = things.iter().map(|name| ThingName::parse(*name).unwrap()).collect();
    let events: Vec<_> = devices.iter().map(|device| violation(device)).collect();
    let filled = store.write(move |tx| {
        for name in ["A", "B", "C"] {
            let new = NewGroup {
                name: group(name),
                parent: None,
                description: None,
                attributes: BTreeMap::new(),
            };
            groups::create(tx, &new, name, NOW)?;
        }
        for name in things {
            let new = NewThing { name, thing_type: None, attributes: BTreeMap::new() };
            things::create(tx, &new, "id", NOW)?;
        }
        for event in &events {
            violations::apply(tx, event)?;
        }
        Ok::<_, RegistryError>(())
    });
    filled.await.unwrap();
}

async fn start(store: &Store, task: &MitigationTask) {
    let task = task.clone();
    store.write(move |tx| mitigation_tasks::start(tx, &task)).await.unwrap();
}

fn read(store: &Store, id: &str) -> MitigationTask {
    let id = MitigationTaskId::parse(id).unwrap();
    store.read(|tx| mitigation_tasks::get(tx, &id)).unwrap()
}

/// What a task's executions are, by violation and in their order: `of-pump-1/isolate SUCCESSFUL`.
fn executions(store: &Store, id: &str) -> Vec<MitigationExecution> {
    let filter = ExecutionFilter {
        task: Some(MitigationTaskId::parse(id).unwrap()),
        ..ExecutionFilter::default()
    };
    let read = store.read(|tx| mitigation_tasks::executions(tx, &filter, &Page::first(250)));
    let mut executions = read.unwrap().items;
    // The latest is listed first.
    executions.reverse();
    executions
}

fn told(execution: &MitigationExecution) -> String {
    let MitigationExecution { violation, action, status, error_code, message, .. } = execution;
    let mut told = format!("{violation} {action} {}", status.as_str());
    for text in [error_code, message].into_iter().flatten() {
        told = format!("{told}: {text}");
    }
    told
}

/// The things in a group.
fn members(store: &Store, name: &str) -> BTreeSet<String> {
    let page = Page::first(250);
    let read = store.read(|tx| groups::members(tx, &group(name), false, &page));
    read.unwrap().items.iter().map(ThingName::to_string).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A runner at work; ends when dropped.
struct Running {
    _stop: oneshot::Sender<()>,
}

fn run(store: &Store, clock: Clock) -> Running {
    let (stop, stopped) = oneshot::channel();
    let runner = Runner { store: store.clone(), clock, metrics: Metrics::default() };
    tokio::spawn(mitigation::run(runner, async {
        let _ = stopped.await;
    }));
    Running { _stop: stop }
}

async fn ended(store: &Store, id: &str) -> MitigationTask {
    let is_ended = || read(store, id).status != MitigationTaskStatus::InProgress;
    wait_for("the task has ended", is_ended).await;
    read(store, id)
}

/// Runs one task over a store, and checks how it ended and what its executions were.
async fn check(
    things: &[&str],
    devices: &[&str],
    actions: Vec<MitigationAction>,
    status: MitigationTaskStatus,
    expected: &[&str],
) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Account::default()).unwrap();
    fill(&store, things, devices).await;
    let _running = run(&store, ticking());
    start(&store, &task("T", actions)).await;
    let task = ended(&store, "T").await;
    let executions = executions(&store, "T");
    assert_eq!(executions.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(task.status, status);
    assert!(task.ended_at.is_some());
    let count = |status| executions.iter().filter(|it| it.status == status).count() as u64;
    let counted = MitigationStatistics {
        executed: count(MitigationExecutionStatus::Successful),
        skipped: count(MitigationExecutionStatus::Skipped),
        failed: count(MitigationExecutionStatus::Failed),
    };
    assert_eq!(task.statistics, counted);
    assert!(executions.iter().all(|it| it.ended_at.is_some_and(|at| at >= it.started_at)));
    (folder, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_is_run_for_every_violation_in_order() {
    let (_folder, store) = check(
        &["pump-1", "pump-2"],
        &["pump-1", "pump-2"],
        vec![isolate("first", &["A", "B"]), isolate("second", &["C"])],
        MitigationTaskStatus::Successful,
        &[
            "of-pump-1 first SUCCESSFUL",
            "of-pump-1 second SUCCESSFUL",
            "of-pump-2 first SUCCESSFUL",
            "of-pump-2 second SUCCESSFUL",
        ],
    )
    .await;
    for name in ["A", "B", "C"] {
        assert_eq!(members(&store, name), set(&["pump-1", "pump-2"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_action_undoes_itself_and_skips_the_rest_of_its_violation() {
    let missing = "ResourceNotFoundException: thing group `Missing` does not exist";
    let (_folder, store) = check(
        &["pump-1", "pump-2"],
        &["pump-1", "pump-2"],
        vec![
            isolate("first", &["A"]),
            isolate("second", &["B", "Missing"]),
            isolate("third", &["C"]),
            isolate("fourth", &["C"]),
        ],
        MitigationTaskStatus::Failed,
        &[
            "of-pump-1 first SUCCESSFUL",
            &format!("of-pump-1 second FAILED: {missing}"),
            "of-pump-1 third SKIPPED: action `second` failed before it",
            "of-pump-1 fourth SKIPPED: action `second` failed before it",
            "of-pump-2 first SUCCESSFUL",
            &format!("of-pump-2 second FAILED: {missing}"),
            "of-pump-2 third SKIPPED: action `second` failed before it",
            "of-pump-2 fourth SKIPPED: action `second` failed before it",
        ],
    )
    .await;
    assert_eq!(members(&store, "A"), set(&["pump-1", "pump-2"]), "what succeeded stays");
    assert_eq!(members(&store, "B"), set(&[]), "half an action is none");
    assert_eq!(members(&store, "C"), set(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_device_fails_and_the_others_do_not() {
    let (_folder, store) = check(
        &["pump-2"],
        &["pump-1", "pump-2", "the pump"],
        vec![isolate("isolate", &["A"])],
        MitigationTaskStatus::Failed,
        &[
            "of-pump-1 isolate FAILED: ResourceNotFoundException: thing `pump-1` does not exist",
            "of-pump-2 isolate SUCCESSFUL",
            "of-the-pump isolate FAILED: ResourceNotFoundException: thing `the pump` does not exist",
        ],
    )
    .await;
    assert_eq!(members(&store, "A"), set(&["pump-2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_takes_whom_add_thing_to_thing_group_takes() {
    let (_folder, store) = check(
        &["pump-1"],
        &["pump-1"],
        vec![isolate("again", &["A", "A"]), isolate("once-more", &["A"])],
        MitigationTaskStatus::Successful,
        &["of-pump-1 again SUCCESSFUL", "of-pump-1 once-more SUCCESSFUL"],
    )
    .await;
    assert_eq!(members(&store, "A"), set(&["pump-1"]), "a member stays one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_for_audit_findings_fails() {
    let mut action = isolate("deactivate", &["A"]);
    action.params = MitigationActionParams::UpdateDeviceCertificate;
    check(
        &["pump-1"],
        &["pump-1"],
        vec![action],
        MitigationTaskStatus::Failed,
        &["of-pump-1 deactivate FAILED: InvalidRequestException: action `deactivate` of type \
           UPDATE_DEVICE_CERTIFICATE is for audit findings; violations take \
           ADD_THINGS_TO_THING_GROUP alone"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_violations_is_successful() {
    let actions = vec![isolate("isolate", &["A"])];
    check(&["pump-1"], &[], actions, MitigationTaskStatus::Successful, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_were_at_work_at_the_start_go_on_and_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Account::default()).unwrap();
    let devices: Vec<String> = (0..600).map(|n| format!("pump-{n:03}")).collect();
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    fill(&store, &devices, &devices).await;
    let many = 20;
    for n in 0..many {
        let mut task = task(&format!("one-{n:02}"), vec![isolate("isolate", &["B"])]);
        let violation = ViolationId::parse("of-pump-007").unwrap();
        task.target = MitigationTarget::Violations(vec![violation]);
        task.started_at = NOW + 1;
        start(&store, &task).await;
    }
    start(&store, &task("all", vec![isolate("isolate", &["A"])])).await;
    let _running = run(&store, ticking());
    let all = ended(&store, "all").await;
    assert_eq!(all.statistics.executed, 600);
    for n in 0..many {
        let one = ended(&store, &format!("one-{n:02}")).await;
        assert_eq!(one.statistics.executed, 1);
        assert!(one.ended_at < all.ended_at, "the large task goes on meanwhile");
    }
    assert_eq!(members(&store, "A").len(), 250, "a full page");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_after_a_task_was_canceled() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Account::default()).unwrap();
    let devices: Vec<String> = (0..200).map(|n| format!("pump-{n:03}")).collect();
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    fill(&store, &devices, &devices).await;
    let _running = run(&store, ticking());
    start(&store, &task("T", vec![isolate("isolate", &["A"])])).await;
    wait_for("it is at work", || read(&store, "T").statistics.executed > 0).await;
    let id = MitigationTaskId::parse("T").unwrap();
    let canceled = store.write(move |tx| mitigation_tasks::cancel(tx, &id, NOW)).await.unwrap();
    // The runner has heard of it when it takes up the next task.
    start(&store, &task("next", Vec::new())).await;
    ended(&store, "next").await;
    let task = read(&store, "T");
    if canceled.statistics.executed < 200 {
        assert_eq!(task.status, MitigationTaskStatus::Canceled);
    }
    assert_eq!(task.statistics, canceled.statistics);
    assert_eq!(members(&store, "A").len() as u64, canceled.statistics.executed);
}

/// What the killed server works on: two violations of which one fails, and three actions.
fn small_task() -> MitigationTask {
    let actions =
        vec![isolate("first", &["A"]), isolate("second", &["B"]), isolate("third", &["C"])];
    task("T", actions)
}

const SMALL: (&[&str], &[&str]) = (&["pump-1", "pump-3"], &["pump-1", "pump-2", "pump-3"]);

/// The server that is killed: at a certain look at the clock, which is in the middle of a
/// transaction.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of a_killed_server_goes_on_and_does_nothing_twice"]
async fn child_runner_that_is_killed() {
    let folder = std::env::var("PICKET_TEST_FOLDER").unwrap();
    let kill_at: usize = std::env::var("PICKET_TEST_KILL_AT").unwrap().parse().unwrap();
    let store = Store::open(Path::new(&folder), Account::default()).unwrap();
    let asked = AtomicUsize::new(0);
    let clock = move || {
        let n = asked.fetch_add(1, Ordering::SeqCst);
        if n == kill_at {
            let pid = std::process::id().to_string();
            std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        }
        NOW + n as i64
    };
    let _running = run(&store, Arc::new(clock));
    ended(&store, "T").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_and_does_nothing_twice() {
    let mut n_killed = 0;
    for kill_at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Account::default()).unwrap();
        fill(&store, SMALL.0, SMALL.1).await;
        start(&store, &small_task()).await;
        store.close().await;
        drop(store);
        let environment = [
            ("PICKET_TEST_FOLDER", folder.path().to_str().unwrap()),
            ("PICKET_TEST_KILL_AT", &kill_at.to_string()),
        ];
        let child = in_another_process("mitigation::child_runner_that_is_killed", &environment)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();

        let store = Store::open(folder.path(), Account::default()).unwrap();
        let before = executions(&store, "T");
        for (action, group) in [("first", "A"), ("second", "B"), ("third", "C")] {
            let succeeded = before.iter().filter(|it| {
                it.action.as_str() == action && it.status == MitigationExecutionStatus::Successful
            });
            let recorded: BTreeSet<_> = succeeded.map(|it| it.device.to_string()).collect();
            assert_eq!(members(&store, group), recorded, "what is done is what is recorded");
        }
        // What is done again would be seen by its time.
        let later: Clock = Arc::new(|| NOW + 3_600_000);
        let running = run(&store, later);
        let task = ended(&store, "T").await;
        drop(running);
        let after = executions(&store, "T");
        assert_eq!(after[..before.len()], before, "killed at {kill_at}: nothing is done twice");
        let told: Vec<_> = after.iter().map(told).collect();
        assert_eq!(
            told,
            [
                "of-pump-1 first SUCCESSFUL",
                "of-pump-1 second SUCCESSFUL",
                "of-pump-1 third SUCCESSFUL",
                "of-pump-2 first FAILED: ResourceNotFoundException: thing `pump-2` does not exist",
                "of-pump-2 second SKIPPED: action `first` failed before it",
                "of-pump-2 third SKIPPED: action `first` failed before it",
                "of-pump-3 first SUCCESSFUL",
                "of-pump-3 second SUCCESSFUL",
                "of-pump-3 third SUCCESSFUL",
            ]
        );
        assert_eq!(task.statistics, MitigationStatistics { executed: 6, skipped: 2, failed: 1 });
        assert_eq!(task.status, MitigationTaskStatus::Failed);
        if child.success() {
            break;
        }
        n_killed += 1;
    }
    // Each execution looks at the clock twice, the failed one three times; then the task ends.
    assert_eq!(n_killed, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Account::default()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let runner = Runner { store: store.clone(), clock: ticking(), metrics: Metrics::default() };
    let running = tokio::spawn(mitigation::run(runner, async {
        let _ = stopped.await;
    }));
    start(&store, &task("T", Vec::new())).await;
    ended(&store, "T").await;
    drop(stop);
    running.await.unwrap();
}
