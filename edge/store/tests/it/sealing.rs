//! Values that are moved into days: none is lost, none is doubled, and no page changes.

use std::collections::BTreeMap;

use picket_model::{Datapoint, Metric, MetricValue, Timestamp};
use picket_store::{Page, Store, StoreError, datapoints};
use proptest::prelude::*;

use crate::datapoints::{append, datapoint};
use crate::paging::pages;
use crate::scene::{NOW, Scene, device};

const DAY: i64 = 24 * 3_600_000;

fn seal(scene: &Scene, until: i64, steps: usize) -> usize {
    scene.runtime.block_on(datapoints::seal(&scene.store, NOW + until, steps)).unwrap()
}

/// All values of messages sent of a device, the latest first.
fn all(scene: &Scene, who: &str, limit: usize) -> Vec<(Timestamp, MetricValue)> {
    let (from, until) = (NOW - 10 * DAY, NOW + 10 * DAY);
    let metric = Metric::MessagesSent.as_str();
    pages(scene, limit, |tx, page| {
        datapoints::list(tx, &device(who), metric, None, from, until, page)
    })
}

/// How many rows a table has, read past the store.
fn rows(scene: &Scene, table: &str) -> i64 {
    let database = rusqlite::Connection::open(scene.dir.path().join("picket.db")).unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    database.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn sent(who: &str, at: i64, count: u64) -> Datapoint {
    datapoint(who, Metric::MessagesSent, at, count)
}

#[test]
fn what_is_sealed_lies_in_a_row_for_each_device_and_day() {
    let scene = Scene::new();
    append(&scene, vec![sent("d", 0, 1), sent("e", 1, 2), sent("d", DAY, 3)]);
    append(&scene, vec![sent("d", 5, 4), sent("f", DAY, 5)]);
    append(&scene, vec![sent("d", 2 * DAY, 6)]);
    assert_eq!(seal(&scene, 0, 9), 0, "nothing is from before then");
    let before: Vec<_> = ["d", "e", "f", "g"].map(|who| all(&scene, who, 9)).to_vec();
    assert!(seal(&scene, 2 * DAY, 9) > 0);
    assert_eq!((rows(&scene, "datapoint_days"), rows(&scene, "datapoint_batches")), (4, 1));
    let after: Vec<_> = ["d", "e", "f", "g"].map(|who| all(&scene, who, 9)).to_vec();
    assert_eq!(after, before);
    assert_eq!(seal(&scene, 2 * DAY, 9), 0, "it is done");
}

#[test]
fn a_day_grows_with_what_comes_late() {
    let scene = Scene::new();
    append(&scene, vec![sent("d", 10, 1)]);
    seal(&scene, 11, 9);
    append(&scene, vec![sent("d", 20, 2), sent("d", 5, 3), sent("d", 10, 4)]);
    seal(&scene, 21, 9);
    let expected = [(20, 2), (10, 4), (10, 1), (5, 3)]
        .map(|(at, count)| (NOW + at, MetricValue::Count(count)));
    assert_eq!(all(&scene, "d", 9), expected);
    assert_eq!((rows(&scene, "datapoint_days"), rows(&scene, "datapoint_batches")), (1, 0));
}

#[test]
fn a_batch_with_later_values_waits_but_not_longer_than_those_behind_it() {
    let scene = Scene::new();
    append(&scene, vec![sent("d", 1, 1), sent("d", 50, 2)]);
    assert_eq!(seal(&scene, 20, 9), 0);
    append(&scene, vec![sent("d", 10, 3)]);
    assert!(seal(&scene, 20, 9) > 0);
    let expected =
        [(50, 2), (10, 3), (1, 1)].map(|(at, count)| (NOW + at, MetricValue::Count(count)));
    assert_eq!(all(&scene, "d", 9), expected);
    assert_eq!(rows(&scene, "datapoint_batches"), 0);
}

/// A fleet whose sealing takes several transactions of every kind.
fn fleet(devices: u64) -> Scene {
    let scene = Scene::new();
    for round in 0..12 {
        let points = (0..devices)
            .filter(|number| number % 3 != round % 3)
            .map(|number| sent(&format!("d{number:04}"), (round as i64) * 1_000, number + round))
            .collect();
        append(&scene, points);
    }
    scene
}

#[test]
fn a_process_that_dies_between_any_two_transactions_loses_and_doubles_nothing() {
    const APPENDS: i64 = 6;
    let mut scene = fleet(300);
    let names = ["d0000", "d0127", "d0128", "d0299"];
    let before = names.map(|who| all(&scene, who, 5));
    let mut steps = 0;
    loop {
        let taken = seal(&scene, DAY, 1);
        scene = scene.reopen();
        assert_eq!(names.map(|who| all(&scene, who, 5)), before, "after {steps} transactions");
        if taken == 0 {
            break;
        }
        steps += 1;
        // Appends do not wait, and are no part of what is being sealed.
        if steps <= APPENDS {
            append(&scene, vec![sent("other", steps, 1)]);
        }
    }
    assert!(steps > APPENDS, "{steps}");
    assert_eq!(all(&scene, "other", 99).len(), usize::try_from(APPENDS).unwrap());
}

#[test]
fn pages_go_on_where_they_were_while_values_are_sealed() {
    let scene = fleet(300);
    for who in ["d0001", "d0200"] {
        append(&scene, (0..3).map(|count| sent(who, 7_000, 900 + count)).collect());
        let whole = all(&scene, who, 99);
        let (metric, mut page) = (Metric::MessagesSent.as_str(), Page::first(2));
        let mut found = Vec::new();
        loop {
            let (from, until) = (NOW, NOW + DAY);
            let next = scene
                .read(|tx| datapoints::list(tx, &device(who), metric, None, from, until, &page));
            found.extend(next.items);
            seal(&scene, DAY, 1);
            let Some(token) = next.next else { break };
            page = Page::after(2, token);
        }
        assert_eq!(found, whole);
    }
}

#[test]
fn a_reader_never_sees_a_value_twice_or_not_at_all() {
    let scene = fleet(300);
    let before = all(&scene, "d0150", 99);
    let store = scene.store.clone();
    let sealing =
        scene.runtime.spawn(async move { datapoints::seal(&store, NOW + DAY, usize::MAX).await });
    while !sealing.is_finished() {
        assert_eq!(all(&scene, "d0150", 99), before);
    }
    assert!(scene.runtime.block_on(sealing).unwrap().unwrap() > 0);
    assert_eq!(all(&scene, "d0150", 99), before);
}

#[test]
fn two_that_seal_at_once_do_it_once() {
    let scene = fleet(300);
    let names = ["d0000", "d0150", "d0299"];
    let before = names.map(|who| all(&scene, who, 99));
    let both = [0, 1].map(|_| {
        let store: Store = scene.store.clone();
        scene.runtime.spawn(async move { datapoints::seal(&store, NOW + DAY, usize::MAX).await })
    });
    for sealing in both {
        scene.runtime.block_on(sealing).unwrap().unwrap();
    }
    assert_eq!(names.map(|who| all(&scene, who, 99)), before);
    assert_eq!(rows(&scene, "datapoint_batches"), 0);
}

#[test]
fn a_new_batch_is_never_taken_for_a_sealed_one() {
    let scene = Scene::new();
    for at in 0..4 {
        append(&scene, vec![sent("d", at, 1)]);
    }
    // All batches are gone, and the first of the new ones is not numbered as they were.
    seal(&scene, 9, 99);
    append(&scene, vec![sent("d", 20, 2)]);
    assert_eq!(all(&scene, "d", 9).len(), 5);
    // Neither if what was to be sealed was deleted for its age in the middle of it.
    seal(&scene, 99, 1);
    scene.write(|tx| datapoints::delete_older_than(tx, NOW + 30, 9)).unwrap();
    append(&scene, vec![sent("d", 40, 3)]);
    assert_eq!(all(&scene, "d", 9).len(), 6);
    seal(&scene, 99, 99);
    assert_eq!(all(&scene, "d", 9).len(), 6);
}

#[test]
fn a_day_of_long_lists_has_several_parts() {
    let scene = Scene::new();
    let list = |at: i64| Datapoint {
        value: MetricValue::Ports((0..5_000).map(|port| port + at as u16).collect()),
        ..sent("d", at, 0)
    };
    for at in 0..20 {
        append(&scene, vec![list(at), list(at)]);
        seal(&scene, at + 1, 99);
    }
    assert!(rows(&scene, "datapoint_days") > 1);
    for limit in [1, 7, 99] {
        let found = all(&scene, "d", limit);
        let expected: Vec<_> = (0..20).rev().flat_map(|at| [list(at), list(at)]).collect();
        let expected: Vec<_> = expected.into_iter().map(|point| (point.at, point.value)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn old_days_are_deleted_in_steps() {
    let scene = Scene::new();
    for day in 0..4 {
        append(&scene, vec![sent("d", day * DAY, 1), sent("e", day * DAY, 1)]);
    }
    seal(&scene, 3 * DAY, 99);
    // NOW lies in the middle of a day: the days of the first two values are over, the third's not.
    let sweep = |limit| {
        let before = NOW + 2 * DAY;
        scene.write(move |tx| datapoints::delete_older_than(tx, before, limit)).unwrap()
    };
    assert_eq!([sweep(3), sweep(3), sweep(3)], [3, 1, 0]);
    assert_eq!((all(&scene, "d", 9).len(), all(&scene, "e", 9).len()), (2, 2));
}

#[test]
fn a_closed_store_seals_nothing() {
    let scene = fleet(10);
    scene.runtime.block_on(scene.store.close());
    let error = scene.runtime.block_on(datapoints::seal(&scene.store, NOW + DAY, 9)).unwrap_err();
    assert!(matches!(error, StoreError::Closed));
}

#[test]
fn what_is_no_batch_or_day_is_told_by_its_row() {
    let break_it = |scene: &Scene, sql: &str| {
        let database = rusqlite::Connection::open(scene.dir.path().join("picket.db")).unwrap();
        assert_eq!(database.execute(sql, []).unwrap(), 1);
    };
    let listing = |scene: &Scene| {
        let page = Page::first(9);
        let metric = Metric::MessagesSent.as_str();
        scene.refused(|tx| datapoints::list(tx, &device("d"), metric, None, NOW, NOW + 9, &page))
    };
    let scene = Scene::new();
    append(&scene, vec![sent("d", 1, 1)]);
    break_it(&scene, "UPDATE datapoint_batches SET points = X'02020164'");
    let broken = "column `points` holds what cannot be read: row 1 is no batch of datapoints";
    assert_eq!(listing(&scene), broken);
    let error = scene.runtime.block_on(datapoints::seal(&scene.store, NOW + 9, 9)).unwrap_err();
    assert_eq!(error.to_string(), broken);

    let scene = Scene::new();
    append(&scene, vec![sent("d", 1, 1)]);
    seal(&scene, 9, 9);
    break_it(&scene, "UPDATE datapoint_days SET points = X'010102'");
    let broken = "column `points` holds what cannot be read: day 19675 of `d` is no day of \
                  datapoints";
    assert_eq!(listing(&scene), broken);
    append(&scene, vec![sent("d", 2, 1)]);
    let error = scene.runtime.block_on(datapoints::seal(&scene.store, NOW + 9, 9)).unwrap_err();
    assert_eq!(error.to_string(), broken);
}

/// What happens to a store of values.
#[derive(Clone, Debug)]
enum Event {
    /// Values of devices 0 to 3, each at some half day.
    Append(Vec<(usize, i64)>),
    /// Up to a half day, in at most so many transactions.
    Seal(i64, usize),
    Reopen,
}

fn any_event() -> impl Strategy<Value = Event> {
    let points = prop::collection::vec((0..4_usize, 0..9_i64), 0..8);
    prop_oneof![
        4 => points.prop_map(Event::Append),
        3 => (0..10_i64, 1..4_usize).prop_map(|(until, steps)| Event::Seal(until, steps)),
        1 => Just(Event::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sealed_when_the_pages_are_those_of_a_plain_list(
        events in prop::collection::vec(any_event(), 1..24),
        limit in 1..4_usize,
        (from, until) in (0..4_i64, 3..10_i64),
    ) {
        const HALF_DAY: i64 = DAY / 2;
        const NAMES: [&str; 4] = ["a", "b", "ba", "c"];
        let mut scene = Scene::new();
        let mut plain: BTreeMap<usize, Vec<(Timestamp, u64)>> = BTreeMap::new();
        let mut number = 0;
        for event in events {
            match event {
                Event::Append(points) => {
                    let mut stored = Vec::new();
                    for (who, half_day) in points {
                        number += 1;
                        let at = half_day * HALF_DAY;
                        plain.entry(who).or_default().push((NOW + at, number));
                        stored.push(sent(NAMES[who], at, number));
                    }
                    append(&scene, stored);
                }
                Event::Seal(until, steps) => drop(seal(&scene, until * HALF_DAY, steps)),
                Event::Reopen => scene = scene.reopen(),
            }
        }
        let (from, until) = (NOW + from * HALF_DAY, NOW + until * HALF_DAY);
        for (who, name) in NAMES.into_iter().enumerate() {
            let mut expected = plain.remove(&who).unwrap_or_default();
            expected.retain(|(at, _)| from <= *at && *at < until);
            // Numbered as they came: of one moment the last one first.
            expected.sort_by(|left, right| right.cmp(left));
            let expected: Vec<_> =
                expected.into_iter().map(|(at, number)| (at, MetricValue::Count(number))).collect();
            let metric = Metric::MessagesSent.as_str();
            let found = pages(&scene, limit, |tx, page| {
                datapoints::list(tx, &device(name), metric, None, from, until, page)
            });
            prop_assert_eq!(found, expected, "{}", name);
        }
    }
}
