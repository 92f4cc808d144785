//! Dimensions.

use picket_model::{Dimension, DimensionName, DimensionOperator, Metric, MetricDimension};
use picket_store::{Page, dimensions, profiles};

use crate::scene::{NOW, Scene, behavior, dimension, new_profile};

fn name(name: &str) -> DimensionName {
    DimensionName::parse(name).unwrap()
}

#[test]
fn a_dimension_is_kept_as_it_was_made_and_changed() {
    let scene = Scene::with("dimension logs logs/${iot:ClientId}/# log/\"é\"/+").reopen();
    let made = dimension("logs", &["logs/${iot:ClientId}/#", "log/\"é\"/+"]);
    assert_eq!(scene.read(|tx| dimensions::get(tx, &name("logs"))), made);
    scene.run("update-dimension logs +/#");
    let changed = Dimension { filters: vec!["+/#".to_owned()], modified_at: NOW + 1, ..made };
    assert_eq!(scene.read(|tx| Ok(dimensions::find(tx, &name("logs"))?)), Some(changed.clone()));
    assert_eq!(scene.read(|tx| Ok(dimensions::all(tx)?)), [changed]);
}

#[test]
fn the_same_request_again_gives_what_is_there_and_another_one_fails() {
    let scene = Scene::with("dimension d a b; update-dimension d x; dimension d a c");
    assert_eq!(scene.read(|tx| dimensions::get(tx, &name("d"))).filters, ["x"]);
    assert_eq!(scene.fails("dimension d b"), "already exists: dimension `d` already exists");
}

#[test]
fn what_is_not_there_is_not_found_but_can_be_deleted() {
    let scene = Scene::new();
    let absent = "dimension `d` does not exist";
    assert_eq!(scene.refused(|tx| dimensions::get(tx, &name("d"))), absent);
    assert_eq!(scene.fails("update-dimension d x"), format!("not found: {absent}"));
    scene.run("delete-dimension d; dimension d a; delete-dimension d; delete-dimension d");
    assert_eq!(scene.read(|tx| Ok(dimensions::find(tx, &name("d"))?)), None);
}

#[test]
fn whoever_judges_hears_of_every_change() {
    let scene = Scene::new();
    assert_eq!(scene.changes("dimension d a"), "dimension d");
    assert_eq!(scene.changes("dimension d a"), "", "the same again");
    assert_eq!(scene.changes("update-dimension d b"), "dimension d");
    assert_eq!(scene.changes("delete-dimension d"), "dimension d");
    assert_eq!(scene.changes("delete-dimension d"), "");
}

#[test]
fn a_dimension_that_a_profile_uses_stays() {
    let scene = Scene::with("dimension d a; dimension e a");
    let mut using = new_profile("S", Metric::MessagesSent);
    let mut narrowed = behavior("B", Metric::MessagesSent, false);
    let operator = DimensionOperator::NotIn;
    narrowed.dimension = Some(MetricDimension { name: name("d"), operator });
    using.behaviors = vec![narrowed];
    scene.write(move |tx| profiles::create(tx, &using)).unwrap();
    assert_eq!(
        scene.fails("delete-dimension d"),
        "invalid: dimension `d` is used by security profile `S`; take it out first"
    );
    scene.run("delete-dimension e; update-profile S; delete-dimension d");
}

#[test]
fn dimensions_are_listed_by_name() {
    let scene = Scene::with("dimension b x; dimension a x; dimension c x");
    let list = |page: Page| scene.read(|tx| dimensions::list(tx, &page));
    let first = list(Page::first(2));
    assert_eq!(first.items, [name("a"), name("b")]);
    assert_eq!(list(Page::after(2, first.next.unwrap())).items, [name("c")]);
}
