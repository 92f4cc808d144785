//! What there is to train models with.

use picket_model::{BehaviorName, DimensionOperator, Metric, MetricDimension, ProfileName};
use picket_store::model_training::{self, TrainingSummary};
use picket_store::{Page, profiles};
use serde_json::json;

use crate::scene::{NOW, Scene, behavior_of, dimension, new_profile, profile};

const HOUR: i64 = 3_600_000;

fn name(name: &str) -> BehaviorName {
    BehaviorName::parse(name).unwrap()
}

/// Writes a profile, new or not, whose behaviors are learned: `name metric` each. One of metric
/// `-` is not learned.
fn learn(scene: &Scene, who: &str, behaviors: &str, at: i64) {
    let mut written = new_profile(who, Metric::MessagesSent);
    written.modified_at = NOW + at;
    written.behaviors = behaviors
        .split(", ")
        .filter(|text| !text.is_empty())
        .map(|text| match text.split_once(' ').unwrap() {
            (name, "-") => crate::scene::behavior(name, Metric::MessagesSent, false),
            (name, metric) => {
                let (metric, narrowed) = metric
                    .split_once(" in ")
                    .map_or((metric, None), |(metric, d)| (metric, Some(d)));
                let ml = json!({"mlDetectionConfig": {"confidenceLevel": "HIGH"}});
                let mut behavior = behavior_of(name, metric, ml);
                behavior.dimension = narrowed.map(|d| MetricDimension {
                    name: dimension(d, &[]).name,
                    operator: DimensionOperator::In,
                });
                behavior
            }
        })
        .collect();
    scene
        .write(move |tx| match profiles::find(tx, &written.name)? {
            None => profiles::create(tx, &written),
            Some(_) => profiles::update(tx, &written, None),
        })
        .unwrap();
}

fn add(scene: &Scene, who: &str, behavior: &str, count: u64, at: i64) {
    let counts = vec![(profile(who), name(behavior), count)];
    scene.write(move |tx| model_training::add(tx, &counts, NOW + at)).unwrap();
}

/// `profile behavior metric since=datapoints`, each.
fn summaries(scene: &Scene, who: Option<&ProfileName>, at: i64) -> String {
    let found = scene.read(|tx| model_training::summaries(tx, who, NOW + at, &Page::first(99)));
    let in_words = |it: &TrainingSummary| {
        let since = it.started_at.millis_since(NOW);
        format!("{} {} {} {since}={}", it.profile, it.behavior, it.metric, it.datapoints)
    };
    found.items.iter().map(in_words).collect::<Vec<_>>().join(", ")
}

const SENT: &str = "aws:num-messages-sent";

#[test]
fn a_behavior_is_in_training_as_long_as_it_is_learned() {
    let scene = Scene::new();
    learn(&scene, "S", &format!("A -, B {SENT}, C aws:all-bytes-out"), 5);
    assert_eq!(summaries(&scene, None, 9), format!("S B {SENT} 5=0, S C aws:all-bytes-out 5=0"));
    add(&scene, "S", "B", 7, 9);
    // B stays as it is, C ends, A begins.
    learn(&scene, "S", &format!("A {SENT}, B {SENT}, C -"), 20);
    let scene = scene.reopen();
    assert_eq!(summaries(&scene, None, 30), format!("S A {SENT} 20=0, S B {SENT} 5=7"));
    scene.run("delete-profile S");
    assert_eq!(summaries(&scene, None, 30), "");
    learn(&scene, "S", &format!("B {SENT}"), 40);
    assert_eq!(summaries(&scene, None, 40), format!("S B {SENT} 40=0"), "nothing is inherited");
}

#[test]
fn another_metric_or_dimension_begins_anew() {
    let scene = Scene::with("dimension d x");
    learn(&scene, "S", &format!("B {SENT}"), 0);
    add(&scene, "S", "B", 7, 0);
    learn(&scene, "S", &format!("B {SENT} in d"), 10);
    assert_eq!(summaries(&scene, None, 10), format!("S B {SENT} 10=0"));
    add(&scene, "S", "B", 8, 10);
    learn(&scene, "S", &format!("B {SENT} in d"), 20);
    assert_eq!(summaries(&scene, None, 20), format!("S B {SENT} 10=8"));
    learn(&scene, "S", "B aws:num-messages-received", 30);
    assert_eq!(summaries(&scene, None, 30), "S B aws:num-messages-received 30=0");
}

#[test]
fn the_datapoints_of_14_days_count() {
    let scene = Scene::new();
    learn(&scene, "S", &format!("B {SENT}"), 0);
    for (count, at) in [(1, 0), (10, HOUR), (100, HOUR), (1_000, 24 * HOUR)] {
        add(&scene, "S", "B", count, at);
    }
    let counted = |at| summaries(&scene, None, at).rsplit_once('=').unwrap().1.to_owned();
    assert_eq!(counted(25 * HOUR), "1111");
    assert_eq!(counted(14 * 24 * HOUR - HOUR), "1111");
    assert_eq!(counted(14 * 24 * HOUR), "1110");
    assert_eq!(counted(14 * 24 * HOUR + HOUR), "1000");
    add(&scene, "S", "B", 5, 20 * 24 * HOUR);
    assert_eq!(counted(20 * 24 * HOUR), "5");
}

#[test]
fn datapoints_of_what_is_not_learned_count_for_nothing() {
    let scene = Scene::new();
    learn(&scene, "S", "A -", 0);
    add(&scene, "S", "A", 7, 0);
    add(&scene, "S", "no", 7, 0);
    add(&scene, "no", "A", 7, 0);
    learn(&scene, "S", &format!("A {SENT}"), 0);
    assert_eq!(summaries(&scene, None, 0), format!("S A {SENT} 0=0"));
}

#[test]
fn summaries_are_listed_by_profile_and_behavior() {
    let scene = Scene::new();
    learn(&scene, "S", &format!("B {SENT}, A {SENT}"), 0);
    learn(&scene, "R", &format!("C {SENT}"), 0);
    let names = |who: Option<&ProfileName>, page: &Page| {
        let found = scene.read(|tx| model_training::summaries(tx, who, NOW, page));
        let names: Vec<_> =
            found.items.iter().map(|it| format!("{}.{}", it.profile, it.behavior)).collect();
        (names.join(" "), found.next)
    };
    let (first, next) = names(None, &Page::first(2));
    assert_eq!(first, "R.C S.A");
    assert_eq!(names(None, &Page::after(2, next.unwrap())).0, "S.B");
    assert_eq!(names(Some(&profile("S")), &Page::first(9)).0, "S.A S.B");
    assert_eq!(names(Some(&profile("no")), &Page::first(9)).0, "");
}
