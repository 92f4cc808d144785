//! A database of an earlier schema is brought up to date with all that is in it.

use picket_model::{Account, Metric, MetricValue};
use picket_store::violations::ViolationFilter;
use picket_store::{Page, Store, datapoints, profiles, violations};
use tempfile::TempDir;

use crate::scene::{NOW, Scene, behavior, device, profile, retained};

/// The schema as it was released first.
const SCHEMA_1: &str = include_str!("../../migrations/0001_first.sql");

/// A scene whose database was filled when schema 1 was the last.
fn of_schema_1(rows: &str) -> Scene {
    let dir = TempDir::new().unwrap();
    let database = rusqlite::Connection::open(dir.path().join("picket.db")).unwrap();
    database.execute_batch(SCHEMA_1).unwrap();
    database.execute_batch(rows).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    drop(database);
    let store = Store::open(dir.path(), Account::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    Scene { store, runtime, dir }
}

#[test]
fn a_profile_of_schema_1_is_read_listed_and_changed() {
    let scene = of_schema_1(
        r#"INSERT INTO profiles VALUES ('S', NULL,
            '[{"name":"B","metric":"aws:num-messages-sent","criteria":{"comparisonOperator":
              "less-than-equals","value":{"count":1000},"durationSeconds":300}}]',
            '[]', '["aws:source-ip-address","aws:num-disconnects"]', 3, 1700000000000,
            1700000000000)"#,
    );
    let found = scene.read(|tx| profiles::get(tx, &profile("S")));
    assert_eq!(found.behaviors, [behavior("B", Metric::MessagesSent, false)]);
    assert_eq!(
        found.retained_metrics,
        [Metric::SourceIpAddress, Metric::Disconnects].map(retained)
    );
    assert_eq!((found.export, found.version), (None, 3));
    let with = |metric: Metric| {
        let page = Page::first(9);
        scene.read(|tx| profiles::list(tx, Some(metric.as_str()), None, &page)).items.len()
    };
    let counts = [Metric::MessagesSent, Metric::SourceIpAddress, Metric::BytesOut].map(with);
    assert_eq!(counts, [1, 1, 0]);
    scene.run("update-profile S at 3");
    assert_eq!(with(Metric::MessagesSent), 0);
}

#[test]
fn values_of_schema_1_are_listed_and_sealed() {
    // Format 1: base 1,700,000,000,000; device `d`; messages sent at 0 ms: 7, and at 5 ms: 300.
    let scene = of_schema_1(
        "INSERT INTO datapoint_batches VALUES (4, 1700000000000, 1700000000005, \
         X'0180A0ABFEF96201640902000007020500AC02')",
    );
    let values = || {
        let page = Page::first(9);
        let metric = Metric::MessagesSent.as_str();
        let all =
            scene.read(|tx| datapoints::list(tx, &device("d"), metric, None, NOW, NOW + 9, &page));
        all.items
    };
    let expected = [(NOW + 5, MetricValue::Count(300)), (NOW, MetricValue::Count(7))];
    assert_eq!(values(), expected);
    let sealed = scene.runtime.block_on(datapoints::seal(&scene.store, NOW + 9, 99)).unwrap();
    assert_eq!((sealed, values()), (2, expected.to_vec()));
}

#[test]
fn a_violation_of_schema_1_is_listed_without_notes() {
    let scene = of_schema_1(
        r#"INSERT INTO violation_events VALUES (1, 'v', 'in-alarm', 1700000000000, 'd', 'S', 'B',
            'STATIC', 0, '{"name":"B","metric":"aws:num-messages-sent","criteria":
              {"comparisonOperator":"less-than-equals","value":{"count":1000},
               "durationSeconds":300}}', '{"count":1001}',
            '{"sentence":"1,001 messages","window_start":1699999700000,"window_s":300,
              "early":false,"evidence":{"kind":"nothing"}}')"#,
    );
    let filter = ViolationFilter::default();
    let page = Page::first(9);
    let events = scene.read(|tx| violations::list_events(tx, NOW, NOW + 1, &filter, &page)).items;
    let [(event, _, _)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.value, Some(MetricValue::Count(1001)));
    assert_eq!(event.explanation.notes, []);
}
