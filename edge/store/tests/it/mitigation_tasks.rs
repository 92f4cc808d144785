//! Tasks that run mitigation actions, and their executions.

use std::sync::Arc;

use picket_model::{
    BehaviorName, MitigationExecution, MitigationExecutionStatus, MitigationStatistics,
    MitigationTarget, MitigationTask, MitigationTaskId, MitigationTaskStatus, ViolationEventKind,
    ViolationId,
};
use picket_store::mitigation_tasks::{self, ExecutionFilter};
use picket_store::{Page, RegistryError, violations};
use proptest::prelude::*;

use crate::mitigation_actions::{action, isolate};
use crate::scene::{NOW, Scene, device, kind, profile};
use crate::violations::{apply, event};

use MitigationExecutionStatus::{Failed, InProgress, Skipped, Successful};
use ViolationEventKind::{Cleared, InAlarm};

fn id(text: &str) -> MitigationTaskId {
    MitigationTaskId::parse(text).unwrap()
}

fn violation(text: &str) -> ViolationId {
    ViolationId::parse(text).unwrap()
}

/// A task for all of profile S, started at `at`.
fn task(name: &str, at: i64) -> MitigationTask {
    MitigationTask {
        id: id(name),
        client_token: "token".to_owned(),
        status: MitigationTaskStatus::InProgress,
        started_at: NOW + at,
        ended_at: None,
        target: MitigationTarget::Profile(profile("S"), None),
        occurred: None,
        only_active: false,
        include_suppressed: false,
        actions: vec![action("isolate", isolate()), action("again", isolate())],
        statistics: MitigationStatistics::default(),
    }
}

fn start(scene: &Scene, task: &MitigationTask) -> Result<MitigationTask, RegistryError> {
    let task = task.clone();
    scene.write(move |tx| mitigation_tasks::start(tx, &task))
}

fn execution(of: &str, what: &str, at: i64) -> MitigationExecution {
    MitigationExecution {
        task: id(of),
        violation: violation(what),
        action: action("isolate", isolate()).name,
        device: device("d"),
        started_at: NOW + at,
        ended_at: None,
        status: InProgress,
        error_code: None,
        message: None,
    }
}

fn record(scene: &Scene, execution: &MitigationExecution) {
    let execution = execution.clone();
    scene.write(move |tx| mitigation_tasks::record(tx, &execution)).unwrap();
}

/// The violations that a task is for, asked for `limit` at a time.
fn meant(scene: &Scene, task: &MitigationTask, limit: usize) -> String {
    let mut all: Vec<ViolationId> = Vec::new();
    loop {
        let after = all.last();
        let found = scene.read(|tx| Ok(mitigation_tasks::violations(tx, task, after, limit)?));
        assert!(found.len() <= limit);
        let is_last = found.len() < limit;
        all.extend(found.into_iter().map(|(id, _)| id));
        if is_last {
            return all.iter().map(ViolationId::as_str).collect::<Vec<_>>().join(" ");
        }
    }
}

#[test]
fn a_task_is_kept_as_it_was_started() {
    let scene = Scene::new();
    let mut of_violations = task("of-violations", 2);
    of_violations.target = MitigationTarget::Violations(vec![violation("v2"), violation("v1")]);
    of_violations.occurred = Some((NOW, NOW + 9));
    of_violations.only_active = true;
    let mut of_behavior = task("of-behavior", 1);
    let behavior = BehaviorName::parse("B").unwrap();
    of_behavior.target = MitigationTarget::Profile(profile("S"), Some(behavior));
    of_behavior.include_suppressed = true;
    let tasks = [of_violations, of_behavior, task("of-profile", 0)];
    for task in &tasks {
        assert_eq!(start(&scene, task).unwrap(), *task);
    }
    let scene = scene.reopen();
    for task in &tasks {
        assert_eq!(scene.read(|tx| mitigation_tasks::get(tx, &task.id)), *task);
    }
    let all = scene.read(|tx| mitigation_tasks::list(tx, NOW, NOW + 2, &Page::first(9)));
    assert_eq!(all.items, tasks, "the latest first");
    let oldest_first: Vec<_> = tasks.iter().rev().cloned().collect();
    assert_eq!(scene.read(|tx| Ok(mitigation_tasks::unfinished(tx)?)), oldest_first);
}

#[test]
fn the_same_request_again_starts_nothing_and_another_one_fails() {
    let scene = Scene::new();
    start(&scene, &task("t", 0)).unwrap();
    let mut changes = scene.store.changes();
    assert_eq!(start(&scene, &task("t", 5)).unwrap().started_at, NOW);
    assert!(changes.try_recv().is_err(), "nothing happened");
    let other = MitigationTask { client_token: "other".to_owned(), ..task("t", 5) };
    let error = start(&scene, &other).unwrap_err();
    assert!(matches!(error, RegistryError::AlreadyExists { what: "task", .. }), "{error}");
    assert_eq!(error.to_string(), "task `t` already exists");
}

#[test]
fn a_task_ends_once() {
    let scene = Scene::new();
    for name in ["canceled", "finished"] {
        start(&scene, &task(name, 0)).unwrap();
    }
    let finish = |name: &str, status, at| {
        let id = id(name);
        scene.write(move |tx| mitigation_tasks::finish(tx, &id, status, NOW + at)).unwrap()
    };
    let cancel = |name: &str, at| {
        let id = id(name);
        scene.write(move |tx| mitigation_tasks::cancel(tx, &id, NOW + at)).unwrap()
    };
    let ends = |task: MitigationTask| (task.status.as_str(), task.ended_at);
    assert_eq!(ends(cancel("canceled", 1)), ("CANCELED", Some(NOW + 1)));
    assert_eq!(
        ends(finish("canceled", MitigationTaskStatus::Successful, 2)),
        ("CANCELED", Some(NOW + 1))
    );
    assert_eq!(
        ends(finish("finished", MitigationTaskStatus::Failed, 3)),
        ("FAILED", Some(NOW + 3))
    );
    assert_eq!(ends(cancel("finished", 4)), ("FAILED", Some(NOW + 3)));
    assert_eq!(scene.read(|tx| Ok(mitigation_tasks::unfinished(tx)?)), []);

    let absent = scene.write(|tx| mitigation_tasks::cancel(tx, &id("no"), NOW)).unwrap_err();
    assert_eq!(
        (kind(&absent), absent.to_string().as_str()),
        ("not found", "task `no` does not exist")
    );
}

#[test]
fn the_runner_hears_of_tasks_that_start_or_are_canceled() {
    let scene = Scene::new();
    let mut changes = scene.store.changes();
    let mut told = || crate::scene::in_words(&crate::scene::received(&mut changes));
    start(&scene, &task("t", 0)).unwrap();
    assert_eq!(told(), "mitigation task");
    scene.write(|tx| mitigation_tasks::cancel(tx, &id("t"), NOW)).unwrap();
    assert_eq!(told(), "mitigation task");
    scene.write(|tx| mitigation_tasks::cancel(tx, &id("t"), NOW)).unwrap();
    assert_eq!(told(), "");
}

#[test]
fn tasks_are_listed_by_their_time() {
    let scene = Scene::new();
    for (name, at) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
        start(&scene, &task(name, at)).unwrap();
    }
    let list = |from, until, page: Page| {
        let found = scene.read(|tx| mitigation_tasks::list(tx, NOW + from, NOW + until, &page));
        let names: Vec<_> = found.items.iter().map(|task| task.id.to_string()).collect();
        (names.join(" "), found.next)
    };
    assert_eq!(list(0, 9, Page::first(9)).0, "d c b a");
    assert_eq!(list(2, 3, Page::first(9)).0, "d c b", "both ends belong to it");
    assert_eq!(list(4, 9, Page::first(9)).0, "");
    let (first, next) = list(0, 9, Page::first(2));
    assert_eq!(
        (first.as_str(), list(0, 9, Page::after(9, next.unwrap())).0.as_str()),
        ("d c", "b a")
    );
}

#[test]
fn a_task_is_for_the_violations_that_its_conditions_hold_for() {
    let scene = Scene::new();
    let raise = |name: &str, at, change: &dyn Fn(&mut picket_model::ViolationEvent)| {
        let mut raised = event(name, InAlarm, at, "d");
        change(&mut raised);
        apply(&scene, raised);
    };
    raise("v1", 10, &|_| ());
    raise("v2", 20, &|_| ());
    apply(&scene, event("v2", Cleared, 30, "d"));
    raise("v3", 30, &|event| {
        event.behavior =
            Arc::new(crate::scene::behavior("Quiet", picket_model::Metric::Disconnects, true));
    });
    raise("v4", 40, &|event| event.profile = profile("R"));
    raise("v5", 50, &|event| {
        event.behavior =
            Arc::new(crate::scene::behavior("C", picket_model::Metric::Disconnects, false));
    });
    let check = |change: &dyn Fn(&mut MitigationTask), expected: &str| {
        let mut task = task("t", 60);
        change(&mut task);
        for limit in [1, 2, 3, 9] {
            assert_eq!(meant(&scene, &task, limit), expected, "{limit} at a time");
        }
    };
    check(&|_| (), "v1 v2 v5");
    check(&|task| task.include_suppressed = true, "v1 v2 v3 v5");
    check(&|task| task.only_active = true, "v1 v5");
    check(&|task| task.target = MitigationTarget::Profile(profile("R"), None), "v4");
    check(&|task| task.target = MitigationTarget::Profile(profile("no"), None), "");
    let of = |name: &str| {
        MitigationTarget::Profile(profile("S"), Some(BehaviorName::parse(name).unwrap()))
    };
    check(&|task| task.target = of("B"), "v1 v2");
    check(&|task| task.target = of("C"), "v5");
    check(&|task| task.target = of("Quiet"), "");
    let ids = |names: &str| MitigationTarget::Violations(names.split(' ').map(violation).collect());
    check(&|task| task.target = ids("v4 v2 v1 v3 no v2"), "v1 v2 v4");
    check(&|task| (task.target, task.only_active) = (ids("v2 v1"), true), "v1");
    let between = |from: i64, until: i64| Some((NOW + from, NOW + until));
    check(&|task| task.occurred = between(20, 29), "v2");
    check(&|task| task.occurred = between(21, 30), "v2");
    check(&|task| task.occurred = between(31, 49), "");
    check(&|task| task.occurred = between(0, 10), "v1");
    // What began later, or was still on then, does not change what a task is for.
    check(&|task| task.started_at = NOW + 25, "v1 v2");
    check(&|task| (task.started_at, task.only_active) = (NOW + 25, true), "v1 v2");
    check(&|task| (task.started_at, task.only_active) = (NOW + 30, true), "v1");

    // Events are forgotten before an alarm ends: what is on is known all the same.
    scene.write(|tx| violations::delete_older_than(tx, NOW + 99, 99)).unwrap();
    check(&|_| (), "v1 v5");
    check(&|task| task.target = ids("v1 v2"), "v1");
}

#[test]
fn a_task_finds_its_few_among_many() {
    let scene = Scene::new();
    scene
        .write(|tx| {
            for number in 0..1_000 {
                let raised = event(&format!("v{number:04}"), InAlarm, number, "d");
                violations::apply(tx, &raised)?;
                if number % 300 != 7 {
                    violations::apply(tx, &event(&format!("v{number:04}"), Cleared, number, "d"))?;
                }
            }
            Ok::<_, picket_store::StoreError>(())
        })
        .unwrap();
    let task = MitigationTask { only_active: true, ..task("t", 5_000) };
    assert_eq!(meant(&scene, &task, 2), "v0007 v0307 v0607 v0907");
}

#[test]
fn an_execution_is_written_over_and_counted_once() {
    let scene = Scene::new();
    start(&scene, &task("t", 0)).unwrap();
    let statistics = || scene.read(|tx| mitigation_tasks::get(tx, &id("t"))).statistics;
    let mut running = execution("t", "v1", 1);
    record(&scene, &running);
    assert_eq!(statistics(), MitigationStatistics::default());
    running.ended_at = Some(NOW + 2);
    running.status = Failed;
    running.error_code = Some("ResourceNotFoundException".to_owned());
    running.message = Some("thing group `Isolated` does not exist".to_owned());
    for _ in 0..2 {
        record(&scene, &running);
        assert_eq!(statistics(), MitigationStatistics { failed: 1, ..Default::default() });
    }
    let filter = ExecutionFilter::default();
    let all = scene.read(|tx| mitigation_tasks::executions(tx, &filter, &Page::first(9)));
    assert_eq!(all.items, [running.clone()]);
    running.status = Successful;
    record(&scene, &running);
    let mut other = execution("t", "v2", 3);
    other.status = Skipped;
    record(&scene, &other);
    let expected = MitigationStatistics { executed: 1, skipped: 1, failed: 0 };
    assert_eq!(statistics(), expected);

    let stray = execution("no", "v1", 1);
    let error = scene.write(move |tx| mitigation_tasks::record(tx, &stray)).unwrap_err();
    assert_eq!(error.to_string(), "task `no` does not exist");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn statistics_are_the_counts_of_the_executions(
        records in prop::collection::vec((0..3_u8, prop::sample::select(&MitigationExecutionStatus::ALL[..])), 0..24),
    ) {
        let scene = Scene::new();
        start(&scene, &task("t", 0)).unwrap();
        let mut last = std::collections::BTreeMap::new();
        for (what, status) in records {
            let recorded = MitigationExecution { status, ..execution("t", &format!("v{what}"), 1) };
            record(&scene, &recorded);
            last.insert(what, status);
        }
        let count = |status| last.values().filter(|it| **it == status).count() as u64;
        let expected = MitigationStatistics {
            executed: count(Successful),
            skipped: count(Skipped),
            failed: count(Failed),
        };
        prop_assert_eq!(scene.read(|tx| mitigation_tasks::get(tx, &id("t"))).statistics, expected);
    }
}

#[test]
fn executions_are_listed_by_what_is_asked_for_the_latest_first() {
    let scene = Scene::new();
    for name in ["t", "u"] {
        start(&scene, &task(name, 0)).unwrap();
    }
    for (of, what, who, at) in
        [("t", "v1", "d", 1), ("t", "v2", "e", 2), ("u", "v1", "d", 2), ("u", "v3", "e", 3)]
    {
        record(&scene, &MitigationExecution { device: device(who), ..execution(of, what, at) });
    }
    let list = |filter: &ExecutionFilter, page: Page| {
        let found = scene.read(|tx| mitigation_tasks::executions(tx, filter, &page));
        let names: Vec<_> =
            found.items.iter().map(|it| format!("{}.{}", it.task, it.violation)).collect();
        (names.join(" "), found.next)
    };
    let check = |filter: ExecutionFilter, expected: &str| {
        assert_eq!(list(&filter, Page::first(9)).0, expected, "{filter:?}");
    };
    let all = ExecutionFilter::default;
    check(all(), "u.v3 u.v1 t.v2 t.v1");
    check(ExecutionFilter { task: Some(id("t")), ..all() }, "t.v2 t.v1");
    check(ExecutionFilter { violation: Some(violation("v1")), ..all() }, "u.v1 t.v1");
    check(ExecutionFilter { device: Some(device("e")), ..all() }, "u.v3 t.v2");
    check(ExecutionFilter { from: Some(NOW + 2), ..all() }, "u.v3 u.v1 t.v2");
    check(ExecutionFilter { until: Some(NOW + 2), ..all() }, "u.v1 t.v2 t.v1");
    let both = ExecutionFilter { device: Some(device("d")), task: Some(id("u")), ..all() };
    check(both, "u.v1");
    let (first, next) = list(&all(), Page::first(2));
    let (second, next) = list(&all(), Page::after(1, next.unwrap()));
    let (third, next) = list(&all(), Page::after(1, next.unwrap()));
    assert_eq!([first, second, third].join(" "), "u.v3 u.v1 t.v2 t.v1");
    assert_eq!(next, None);
}

#[test]
fn old_tasks_go_in_steps_with_their_executions() {
    let scene = Scene::new();
    for (name, ended_at) in [("old", Some(1)), ("new", Some(9)), ("at-work", None)] {
        start(&scene, &task(name, 0)).unwrap();
        for what in ["v1", "v2", "v3"] {
            record(&scene, &execution(name, what, 0));
        }
        if let Some(at) = ended_at {
            let status = MitigationTaskStatus::Successful;
            scene
                .write(move |tx| mitigation_tasks::finish(tx, &id(name), status, NOW + at))
                .unwrap();
        }
    }
    let sweep = || scene.write(|tx| mitigation_tasks::delete_older_than(tx, NOW + 5, 2)).unwrap();
    assert_eq!([sweep(), sweep(), sweep()], [2, 2, 0]);
    let left = scene.read(|tx| mitigation_tasks::list(tx, NOW, NOW, &Page::first(9)));
    let left: Vec<_> = left.items.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(left, ["new", "at-work"]);
    let filter = ExecutionFilter::default();
    let left = scene.read(|tx| mitigation_tasks::executions(tx, &filter, &Page::first(9)));
    assert_eq!(left.items.len(), 6);
}
