//! Pages, one after the other, are the whole list in its order.

use std::fmt::Debug;

use picket_model::{Metric, MetricValue, Timestamp, ViolationEventKind};
use picket_store::groups::GroupFilter;
use picket_store::things::ThingFilter;
use picket_store::violations::ViolationFilter;
use picket_store::{
    Page, Paged, ReadTx, RegistryError, certificates, datapoints, functions, groups, outbox,
    policies, profiles, subscriptions, thing_types, things, topics, violations,
};
use proptest::prelude::*;

use crate::datapoints::{append, datapoint};
use crate::scene::{NOW, Scene, device, group, policy, profile, thing, topic};
use crate::violations::{apply, event};

/// Asks page after page until there is no more.
pub(crate) fn pages<T>(
    scene: &Scene,
    limit: usize,
    list: impl Fn(&ReadTx, &Page) -> Result<Paged<T>, RegistryError>,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut page = Page::first(limit);
    loop {
        let found = scene.read(|tx| list(tx, &page));
        assert!(found.items.len() <= limit.max(1));
        assert!(
            found.next.is_none() || found.items.len() == limit.max(1),
            "a short page in between"
        );
        all.extend(found.items);
        // A listing that does not move on would go on for ever.
        assert!(all.len() <= 10_000, "more items than any of these tests makes");
        match found.next {
            None => return all,
            Some(token) => page = Page::after(limit, token),
        }
    }
}

/// The listing gives `count` items, ordered by `key`, in pages of any size; and refuses a token
/// that it did not give.
#[track_caller]
fn check<T: PartialEq + Debug, K: Ord>(
    scene: &Scene,
    count: usize,
    list: impl Fn(&ReadTx, &Page) -> Result<Paged<T>, RegistryError>,
    key: impl Fn(&T) -> K,
) {
    let whole = pages(scene, 1000, &list);
    assert_eq!(whole.len(), count);
    assert!(whole.is_sorted_by_key(key), "{whole:?}");
    for limit in [0, 1, 2, 3, count - 1, count, count + 1] {
        assert_eq!(pages(scene, limit, &list), whole, "in pages of {limit}");
    }
    for token in ["x", "", "00000000", "{\"a\":1}"] {
        let error = scene.refused(|tx| list(tx, &Page::after(3, token)));
        assert!(error.contains("is not one that this listing gave"), "{error}");
    }
}

#[test]
fn every_listing_is_whole_in_pages_of_any_size() {
    const COUNT: usize = 7;
    let scene = Scene::with("topic A; policy P; thing T; group G; profile S");
    for i in 0..COUNT as u32 {
        let script = format!(
            "type x{i}; thing t{i}; group g{i} in G; add t{i} g{i}; cert {i}; policy p{i}; \
             attach P {i}; profile s{i}; topic a{i}; function f{i}; subscribe A f{i}; push E{i} A"
        );
        scene.run(&script);
        scene.run(&format!("attach P g{i}; watch S g{i}"));
        // Two at a time, so that the time alone does not order them.
        apply(&scene, event(&format!("v{i}"), ViolationEventKind::InAlarm, i64::from(i / 2), "d"));
    }
    for i in 0..COUNT {
        let id = format!("E{i} dead");
        scene.run(&format!("expand E{i}"));
        let entry = format!("E{i}");
        scene
            .write(move |tx| {
                let deliveries = outbox::deliveries_of(tx, &entry)?;
                outbox::gave_up(tx, &deliveries[0].id, &id, NOW + (i as i64 / 2))
            })
            .unwrap();
    }
    let named = ThingFilter::default();
    let below = GroupFilter { parent: Some(group("G")), prefix: None, recursive: false };
    let tree = GroupFilter { recursive: true, ..below.clone() };
    let forest = GroupFilter { parent: None, ..tree.clone() };
    let of_device = ViolationFilter { device: Some(device("d")), ..ViolationFilter::default() };
    let latest = std::cmp::Reverse::<String>;
    check(&scene, COUNT, thing_types::list, |x| x.name.clone());
    check(&scene, COUNT + 1, |tx, page| things::list(tx, &named, page), |x| x.name.clone());
    check(&scene, COUNT, |tx, page| groups::list(tx, &below, page), |x| x.name.clone());
    check(&scene, COUNT, |tx, page| groups::list(tx, &tree, page), |x| x.name.clone());
    check(&scene, COUNT + 1, |tx, page| groups::list(tx, &forest, page), |x| x.name.clone());
    check(&scene, COUNT, |tx, page| groups::members(tx, &group("G"), true, page), Clone::clone);
    check(&scene, COUNT, |tx, page| certificates::list(tx, true, page), |c| c.id.clone());
    check(
        &scene,
        COUNT,
        |tx, page| certificates::list(tx, false, page),
        |c| latest(c.id.to_string()),
    );
    check(&scene, COUNT + 1, |tx, page| policies::list(tx, true, page), Clone::clone);
    check(&scene, COUNT + 1, |tx, page| policies::list(tx, false, page), |p| latest(p.to_string()));
    check(&scene, COUNT * 2, |tx, page| policies::targets(tx, &policy("P"), page), Clone::clone);
    check(&scene, COUNT + 1, |tx, page| profiles::list(tx, None, None, page), Clone::clone);
    check(&scene, COUNT, |tx, page| profiles::targets(tx, &profile("S"), page), Clone::clone);
    check(&scene, COUNT + 1, topics::list, |t| t.name.clone());
    check(&scene, COUNT, subscriptions::list, |s| s.arn.clone());
    check(
        &scene,
        COUNT,
        |tx, page| subscriptions::of_topic(tx, &topic("A"), page),
        |s| s.arn.clone(),
    );
    check(&scene, COUNT, functions::list, |f| f.name.clone());
    check(
        &scene,
        COUNT,
        |tx, page| violations::list_active(tx, &of_device, page),
        |v| latest(format!("{} {}", v.started_at, v.id)),
    );
    check(
        &scene,
        COUNT,
        |tx, page| violations::list_events(tx, NOW, NOW + 99, &of_device, page),
        |(event, _, _)| latest(format!("{} {}", event.at, event.violation)),
    );
    check(&scene, COUNT, outbox::dead_letters, |(delivery, _)| {
        latest(format!("{} {}", delivery.changed_at, delivery.id))
    });
}

#[test]
fn a_token_is_good_for_its_own_listing_only() {
    let scene = Scene::with("thing a; thing b; topic a; topic b");
    let token = scene.read(|tx| topics::list(tx, &Page::first(1))).next.unwrap();
    let filter = ThingFilter::default();
    let error = scene.refused(|tx| things::list(tx, &filter, &Page::after(1, token.clone())));
    assert_eq!(
        error,
        format!(
            "token `{token}` is not one that this listing gave; ask for the first page without a \
             token"
        )
    );
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_although_rows_came_and_went() {
    let scene = Scene::with("thing b; thing d; thing f");
    let filter = ThingFilter::default();
    let first = scene.read(|tx| things::list(tx, &filter, &Page::first(2)));
    scene.run("delete-thing d; thing a; thing c; thing e");
    let page = Page::after(9, first.next.unwrap());
    let names: Vec<_> = scene
        .read(|tx| things::list(tx, &filter, &page))
        .items
        .into_iter()
        .map(|thing| thing.name)
        .collect();
    assert_eq!(names, [thing("e"), thing("f")]);
}

/// Batches of values of device d and of another one, at times that overlap.
fn batches() -> impl Strategy<Value = Vec<Vec<(bool, i64)>>> {
    prop::collection::vec(prop::collection::vec((any::<bool>(), 0..8_i64), 1..6), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn values_in_pages_are_all_values_in_time_the_latest_first(
        batches in batches(),
        limit in 1..5_usize,
        (from, until) in (0..3_i64, 2..9_i64),
    ) {
        let scene = Scene::new();
        let mut number = 0;
        let mut expected: Vec<(Timestamp, u64)> = Vec::new();
        for batch in &batches {
            let mut points = Vec::new();
            for (is_d, at) in batch {
                number += 1;
                points.push(datapoint(if *is_d { "d" } else { "e" }, Metric::MessagesSent, *at, number));
                if *is_d && (from..until).contains(at) {
                    expected.push((NOW + *at, number));
                }
            }
            append(&scene, points);
        }
        // Values are numbered in the order they came: later ones first among equals.
        expected.sort_by(|left, right| right.cmp(left));
        let found = pages(&scene, limit, |tx, page| {
            let (from, until) = (NOW + from, NOW + until);
            datapoints::list(tx, &device("d"), Metric::MessagesSent.as_str(), None, from, until, page)
        });
        let expected: Vec<_> =
            expected.into_iter().map(|(at, count)| (at, MetricValue::Count(count))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn names_in_pages_are_all_names_in_order(
        names in prop::collection::btree_set("[a-zA-Z0-9:_-]{1,12}", 0..20),
        limit in 1..6_usize,
    ) {
        let scene = Scene::new();
        let all: Vec<String> = names.iter().cloned().collect();
        scene
            .write(move |tx| names.iter().rev().try_for_each(|name| crate::scene::run(tx, &format!("thing {name}"))))
            .unwrap();
        let filter = ThingFilter::default();
        let found = pages(&scene, limit, |tx, page| things::list(tx, &filter, page));
        let found: Vec<_> = found.into_iter().map(|thing| thing.name.to_string()).collect();
        prop_assert_eq!(found, all);
    }
}
