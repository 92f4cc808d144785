//! Metric values: stored, sealed, listed and deleted.

use std::collections::BTreeSet;

use picket_model::{
    CustomMetricKind, CustomMetricName, Datapoint, DimensionName, DimensionOperator, Metric,
    MetricDimension, MetricValue, Number, Timestamp,
};
use picket_store::{Page, datapoints};

use crate::scene::{NOW, Scene, device};

pub(crate) fn dimension(name: &str, operator: DimensionOperator) -> MetricDimension {
    MetricDimension { name: DimensionName::parse(name).unwrap(), operator }
}

fn custom(name: &str, kind: CustomMetricKind) -> Metric {
    Metric::Custom(CustomMetricName::parse(name).unwrap(), kind)
}

pub(crate) fn datapoint(who: &str, metric: Metric, at: i64, count: u64) -> Datapoint {
    Datapoint {
        device: device(who),
        metric,
        dimension: None,
        at: NOW + at,
        value: MetricValue::Count(count),
    }
}

pub(crate) fn append(scene: &Scene, points: Vec<Datapoint>) {
    scene.write(move |tx| datapoints::append(tx, &points)).unwrap();
}

/// The values as `at=count`, the latest first.
fn values(scene: &Scene, who: &str, metric: Metric, from: i64, until: i64) -> String {
    let who = device(who);
    let page = Page::first(100);
    let (from, until) = (NOW + from, NOW + until);
    let metric = metric.as_str();
    let found = scene.read(|tx| datapoints::list(tx, &who, metric, None, from, until, &page));
    let texts: Vec<String> = found
        .items
        .iter()
        .map(|(at, value)| match value {
            MetricValue::Count(count) => format!("{}={count}", at.millis_since(NOW)),
            MetricValue::Addresses(list) => format!("{}={list:?}", at.millis_since(NOW)),
            other => format!("{}={other:?}", at.millis_since(NOW)),
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

/// The values of a series with their moments, the latest first.
fn series(
    scene: &Scene,
    metric: &str,
    dimension: Option<&MetricDimension>,
) -> Vec<(Timestamp, MetricValue)> {
    let page = Page::first(100);
    let (from, until) = (NOW, NOW + 99);
    scene.read(|tx| datapoints::list(tx, &device("d"), metric, dimension, from, until, &page)).items
}

#[test]
fn every_metric_is_a_series_of_its_own_with_values_of_its_kind() {
    let scene = Scene::new();
    let mut points: Vec<Datapoint> = (1..)
        .zip(Metric::BUILT_IN)
        .map(|(count, metric)| datapoint("d", metric, 1, count))
        .collect();
    let number = |number| Number::new(number).unwrap();
    let values = [
        MetricValue::Number(number(-1.5)),
        MetricValue::Numbers([number(0.1), number(1e300)].into()),
        MetricValue::Strings(["".into(), "eth0/\"é\"".into()].into()),
        MetricValue::Addresses(["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()].into()),
    ];
    for (kind, value) in CustomMetricKind::ALL.into_iter().zip(values) {
        scene.run(&format!("metric of-{} {}", kind.as_str(), kind.as_str()));
        let metric = custom(&format!("of-{}", kind.as_str()), kind);
        points.push(Datapoint { value, ..datapoint("d", metric, 2, 0) });
    }
    points.push(Datapoint {
        value: MetricValue::Ports([0, 22, 65_535].into()),
        ..datapoint("d", Metric::ListeningTcpPorts, 3, 0)
    });
    append(&scene, points.clone());
    let scene = scene.reopen();
    let check = || {
        for point in &points {
            let found = series(&scene, point.metric.as_str(), None);
            let expected = (point.at, point.value.clone());
            assert!(found.contains(&expected), "{} has {found:?}", point.metric);
            let many = 1 + usize::from(point.metric == Metric::ListeningTcpPorts);
            assert_eq!(found.len(), many, "{}", point.metric);
        }
    };
    check();
    scene.runtime.block_on(datapoints::seal(&scene.store, NOW + 99, 99)).unwrap();
    check();
}

#[test]
fn the_whole_and_both_sides_of_a_dimension_are_series_of_their_own() {
    use DimensionOperator::{In, NotIn};
    let scene = Scene::with("dimension c x; dimension d x");
    let narrowed = [None, Some(("c", In)), Some(("d", In)), Some(("d", NotIn))]
        .map(|it| it.map(|(name, operator)| dimension(name, operator)));
    let mut points = Vec::new();
    for (count, dimension) in (0..).zip(&narrowed) {
        let mut point = datapoint("d", Metric::MessagesSent, 1, count);
        point.dimension = dimension.clone().map(Into::into);
        points.push(point);
    }
    append(&scene, points);
    let name = Metric::MessagesSent.as_str();
    for (count, dimension) in (0..).zip(&narrowed) {
        let expected = [(NOW + 1, MetricValue::Count(count))];
        assert_eq!(series(&scene, name, dimension.as_ref()), expected, "{dimension:?}");
    }
    assert_eq!(series(&scene, name, Some(&dimension("no", In))), []);
    assert_eq!(series(&scene, Metric::Disconnects.as_str(), None), []);
    assert_eq!(series(&scene, "aws:no-such-metric", None), []);
}

#[test]
fn what_is_deleted_leaves_no_values_to_one_of_the_same_name() {
    let scene = Scene::with("metric load number; dimension d x");
    let number = MetricValue::Number(Number::new(1.0).unwrap());
    let load = |at| Datapoint {
        value: number.clone(),
        ..datapoint("d", custom("load", CustomMetricKind::Number), at, 0)
    };
    let inside = dimension("d", DimensionOperator::In);
    let narrowed = |at| Datapoint {
        dimension: Some(inside.clone().into()),
        ..datapoint("d", Metric::MessagesSent, at, 7)
    };
    let both = || {
        let sent = Metric::MessagesSent.as_str();
        (series(&scene, "load", None).len(), series(&scene, sent, Some(&inside)).len())
    };
    append(&scene, vec![load(1), narrowed(1)]);
    scene.runtime.block_on(datapoints::seal(&scene.store, NOW + 2, 99)).unwrap();
    append(&scene, vec![load(2), narrowed(2)]);
    assert_eq!(both(), (2, 2));
    scene.run("delete-metric load; delete-dimension d");
    assert_eq!(both(), (0, 0));
    // What was on its way when they went is not kept either.
    append(&scene, vec![load(3), narrowed(3)]);
    scene.run("metric load number; dimension d x");
    assert_eq!(both(), (0, 0));
    append(&scene, vec![load(4), narrowed(4)]);
    assert_eq!(both(), (1, 1));
}
