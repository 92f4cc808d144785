//! Custom metrics.

use picket_model::{CustomMetric, CustomMetricKind, CustomMetricName, Metric};
use picket_store::{Page, custom_metrics};

use crate::scene::{NOW, Scene, custom_metric, new_profile, retained};

fn name(name: &str) -> CustomMetricName {
    CustomMetricName::parse(name).unwrap()
}

/// Writes a profile that retains a custom number.
fn use_in_profile(scene: &Scene, profile: &str, metric: &str) {
    let mut using = new_profile(profile, Metric::MessagesSent);
    let metric = Metric::Custom(name(metric), CustomMetricKind::Number);
    using.retained_metrics.push(retained(metric));
    scene.write(move |tx| picket_store::profiles::create(tx, &using)).unwrap();
}

#[test]
fn a_metric_is_kept_as_it_was_made_and_renamed() {
    let scene = Scene::new();
    let new = CustomMetric {
        display_name: Some("Load of \"all\" cores".to_owned()),
        ..custom_metric("load", CustomMetricKind::NumberList)
    };
    let given = new.clone();
    let made = scene.write(move |tx| custom_metrics::create(tx, &given, "token")).unwrap();
    assert_eq!(made, new);
    let scene = scene.reopen();
    assert_eq!(scene.read(|tx| custom_metrics::get(tx, &name("load"))), new);

    scene.run("rename-metric load Load");
    let renamed =
        CustomMetric { display_name: Some("Load".to_owned()), modified_at: NOW + 1, ..new };
    assert_eq!(scene.read(|tx| Ok(custom_metrics::find(tx, &name("load"))?)), Some(renamed));
    assert_eq!(scene.read(|tx| Ok(custom_metrics::find(tx, &name("Load"))?)), None);
}

#[test]
fn every_kind_of_metric_is_kept() {
    let scene = Scene::new();
    for kind in CustomMetricKind::ALL {
        scene.run(&format!("metric of-{} {}", kind.as_str(), kind.as_str()));
        let found =
            scene.read(|tx| custom_metrics::get(tx, &name(&format!("of-{}", kind.as_str()))));
        assert_eq!(found.kind, kind);
    }
}

#[test]
fn the_same_request_again_gives_what_is_there_and_another_one_fails() {
    let scene = Scene::with("metric load number; rename-metric load Load");
    let again = scene
        .write(|tx| {
            let metric = custom_metric("load", CustomMetricKind::Number);
            custom_metrics::create(tx, &metric, "number")
        })
        .unwrap();
    assert_eq!(again.display_name.as_deref(), Some("Load"));
    assert_eq!(
        scene.fails("metric load string-list"),
        "already exists: custom metric `load` already exists"
    );
}

#[test]
fn what_is_not_there_is_not_found_but_can_be_deleted() {
    let scene = Scene::new();
    let absent = "custom metric `load` does not exist";
    assert_eq!(scene.refused(|tx| custom_metrics::get(tx, &name("load"))), absent);
    assert_eq!(scene.fails("rename-metric load x"), format!("not found: {absent}"));
    scene.run("delete-metric load; metric load number; delete-metric load; delete-metric load");
    assert_eq!(scene.refused(|tx| custom_metrics::get(tx, &name("load"))), absent);
}

#[test]
fn a_metric_that_profiles_use_stays() {
    let scene = Scene::with("metric load number; metric other number");
    use_in_profile(&scene, "p0", "load");
    assert_eq!(
        scene.fails("delete-metric load"),
        "invalid: custom metric `load` is used by security profile `p0`; take it out first"
    );
    for number in 1..6 {
        use_in_profile(&scene, &format!("p{number}"), "load");
    }
    assert_eq!(
        scene.fails("delete-metric load"),
        "invalid: custom metric `load` is used by security profiles `p0`, `p1`, `p2`, `p3`, `p4` \
         and others; take it out first"
    );
    scene.run("delete-metric other");
    // An update takes it out, and so does the end of a profile.
    scene.run("update-profile p0; delete-profile p1; delete-profile p2; delete-profile p3");
    scene.run("update-profile p4; update-profile p5; delete-metric load");
}

#[test]
fn metrics_are_listed_by_name() {
    let scene = Scene::with("metric b number; metric a string-list; metric c number");
    let list = |page: Page| scene.read(|tx| custom_metrics::list(tx, &page));
    let first = list(Page::first(2));
    assert_eq!(first.items, [name("a"), name("b")]);
    assert_eq!(list(Page::after(2, first.next.unwrap())).items, [name("c")]);
}
