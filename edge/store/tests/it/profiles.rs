//! Security profiles: what they are made of, what they use, and what they are attached to.

use picket_model::{
    CustomMetricKind, CustomMetricName, DimensionName, DimensionOperator, Metric, MetricDimension,
    MetricsExport, ProfileTarget, RetainedMetric,
};
use picket_store::{Page, profiles};
use serde_json::json;

use crate::scene::{NOW, Scene, behavior_of, group, kind, new_profile, profile, retained};

#[test]
fn a_profile_is_kept_as_it_was_made_and_changed() {
    let scene = Scene::with("profile S").reopen();
    let made = new_profile("S", Metric::MessagesSent);
    assert_eq!(scene.read(|tx| profiles::get(tx, &profile("S"))), made);

    let mut changed = new_profile("S", Metric::Disconnects);
    changed.description = None;
    changed.alert_targets.clear();
    changed.retained_metrics = Metric::BUILT_IN.map(retained).to_vec();
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
fn profiles_are_listed_by_the_metric_and_dimension_they_are_about() {
    let scene = Scene::with("profile R; profile S; update-profile S; dimension d x; dimension e x");
    let mut narrowed = new_profile("N", Metric::MessagesSent);
    narrowed.behaviors[0].dimension = Some(inside("d"));
    scene.write(move |tx| profiles::create(tx, &narrowed)).unwrap();
    let check = |metric: Option<Metric>, dimension: Option<&str>, expected: &str| {
        let metric = metric.as_ref().map(Metric::as_str);
        let dimension = dimension.map(|name| DimensionName::parse(name).unwrap());
        let page = Page::first(9);
        let found = scene.read(|tx| profiles::list(tx, metric, dimension.as_ref(), &page));
        let names: Vec<_> = found.items.iter().map(|name| name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{metric:?} {dimension:?}");
    };
    check(None, None, "N R S");
    check(Some(Metric::MessagesSent), None, "N R");
    check(Some(Metric::Disconnects), None, "S");
    check(Some(Metric::SourceIpAddress), None, "N R S");
    check(Some(Metric::BytesOut), None, "");
    check(None, Some("d"), "N");
    check(None, Some("e"), "");
    check(None, Some("no"), "");
    check(Some(Metric::MessagesSent), Some("d"), "N");
    check(Some(Metric::Disconnects), Some("d"), "");
    scene.run("delete-profile N");
    check(None, Some("d"), "");
}

fn inside(name: &str) -> MetricDimension {
    let operator = DimensionOperator::In;
    MetricDimension { name: DimensionName::parse(name).unwrap(), operator }
}

fn custom(name: &str, kind: CustomMetricKind) -> Metric {
    Metric::Custom(CustomMetricName::parse(name).unwrap(), kind)
}

#[test]
fn everything_that_a_profile_can_say_is_kept() {
    let mut script = "dimension d logs/#".to_owned();
    for kind in CustomMetricKind::ALL {
        script += &format!("; metric of-{} {}", kind.as_str(), kind.as_str());
    }
    let scene = Scene::with(&script);
    let mut made = new_profile("S", Metric::MessagesSent);
    made.behaviors[0].dimension = Some(inside("d"));
    made.behaviors[0].export = true;
    let limit = |value| json!({"comparisonOperator": "less-than", "value": value});
    let set = |value| json!({"comparisonOperator": "in-set", "value": value});
    let fleet = json!({
        "comparisonOperator": "greater-than-equals",
        "statisticalThreshold": {"statistic": "p0.01"},
        "durationSeconds": 3600,
    });
    let cidrs = json!({"comparisonOperator": "in-cidr-set", "value": {"cidrs": ["10.0.0.0/8"]}});
    let ports = json!({"comparisonOperator": "not-in-port-set", "value": {"ports": [22]}});
    made.behaviors.extend([
        behavior_of("Fleet", "aws:all-bytes-out", fleet.clone()),
        behavior_of(
            "Learned",
            "of-number",
            json!({"mlDetectionConfig": {"confidenceLevel": "LOW"}}),
        ),
        behavior_of("Ports", "aws:listening-udp-ports", ports),
        behavior_of("Number", "of-number", limit(json!({"number": -1.5}))),
        behavior_of("FleetNumber", "of-number", fleet),
        behavior_of("Numbers", "of-number-list", set(json!({"numbers": [1, 2.5]}))),
        behavior_of("Strings", "of-string-list", set(json!({"strings": ["a", ""]}))),
        behavior_of("Addresses", "of-ip-address-list", cidrs),
    ]);
    let all = CustomMetricKind::ALL;
    made.retained_metrics =
        all.map(|kind| retained(custom(&format!("of-{}", kind.as_str()), kind))).to_vec();
    let dimension = MetricDimension { operator: DimensionOperator::NotIn, ..inside("d") };
    let metric = Metric::MessageByteSize;
    made.retained_metrics.push(RetainedMetric { metric, dimension: Some(dimension), export: true });
    made.export = Some(MetricsExport {
        mqtt_topic: "values/\"all\"".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/E".to_owned(),
    });
    let given = made.clone();
    scene.write(move |tx| profiles::create(tx, &given)).unwrap();
    let scene = scene.reopen();
    assert_eq!(scene.read(|tx| profiles::get(tx, &profile("S"))), made);

    scene.run("update-profile S");
    let changed = scene.read(|tx| profiles::get(tx, &profile("S")));
    assert_eq!((changed.export, changed.retained_metrics.len()), (None, 1));
}

#[test]
fn a_profile_uses_only_what_there_is() {
    let scene = Scene::with("metric load number; dimension d x; profile S");
    let check = |change: &dyn Fn(&mut picket_model::SecurityProfile), expected: &str| {
        let mut changed = new_profile("S", Metric::MessagesSent);
        change(&mut changed);
        let mut new = changed.clone();
        new.name = profile("new");
        let made = scene.write(move |tx| profiles::create(tx, &new)).unwrap_err();
        let updated = scene.write(move |tx| profiles::update(tx, &changed, None)).unwrap_err();
        for error in [made, updated] {
            assert_eq!((kind(&error), error.to_string().as_str()), ("invalid", expected));
        }
        assert_eq!(scene.read(|tx| Ok(profiles::find(tx, &profile("new"))?)), None);
    };
    let number = CustomMetricKind::Number;
    check(
        &|it| it.retained_metrics.push(retained(custom("loud", number))),
        "custom metric `loud` does not exist; make it first",
    );
    check(
        &|it| it.behaviors[0].metric = custom("loud", number),
        "custom metric `loud` does not exist; make it first",
    );
    check(
        &|it| it.behaviors[0].metric = custom("load", CustomMetricKind::StringList),
        "custom metric `load` is a number and cannot be used as a string-list",
    );
    check(
        &|it| it.behaviors[0].dimension = Some(inside("e")),
        "dimension `e` does not exist; make it first",
    );
    check(
        &|it| {
            let dimension = Some(inside("e"));
            let metric = Metric::Disconnects;
            it.retained_metrics.push(RetainedMetric { metric, dimension, export: false });
        },
        "dimension `e` does not exist; make it first",
    );
}
