//! The shard over a real store, and with real clients before it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use picket_model::{
    DeviceName, Dimension, DimensionName, Evidence, GroupName, MetricsExport, ProfileName,
    Published, ThingName, Tripwires,
};
use picket_store::{Page, RegistryError, dimensions, model_training, profiles};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::export::ExportMetrics;
use crate::limits::{DEVICES_MAX, UNREGISTERED_UP_TO};
use crate::testing::{Bed, PATIENCE};

/// Messages of up to 1,000 bytes, with more members of the behavior.
fn small_messages(more: Value) -> Value {
    let mut behavior = json!({
        "name": "SmallMessages",
        "metric": "aws:message-byte-size",
        "criteria": {"comparisonOperator": "less-than-equals", "value": {"count": 1000}},
    });
    behavior.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    behavior
}

fn restored(bed: &Bed) -> Shard {
    Shard::restore(
        EngineConfig::default(),
        bed.store.clone(),
        bed.broker.clone(),
        Exports::new(ExportMetrics::default()),
        ShardMetrics::default(),
        clock::now(),
    )
    .unwrap()
}

/// A shard with a profile on every device that takes these messages for normal.
async fn given_shard(dir: &Path, behavior: Value) -> (Bed, Shard) {
    let (bed, _) = Bed::new(dir).await;
    let export = MetricsExport { mqtt_topic: "values".to_owned(), role_arn: String::new() };
    bed.watch("MessageSize", &[behavior], |profile| profile.export = Some(export)).await;
    let shard = restored(&bed);
    (bed, shard)
}

/// Pump7 publishes one message of 3,000 bytes.
fn large_message(at: Timestamp) -> Observation {
    let published = Published {
        count: 1,
        bytes_total: 3000,
        bytes_min: 3000,
        bytes_max: 3000,
        first_at: at,
        last_at: at,
        largest_topic: "pumps/7".into(),
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Observation { at, device: pump7(), slice: None, fact: Fact::Published(published) }
}

fn pump7() -> DeviceName {
    DeviceName::parse("Pump7").unwrap()
}

fn alter(dir: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(dir.join("picket.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_device_that_came_while_the_store_was_unreadable_is_watched_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (_bed, mut shard) = given_shard(dir.path(), small_messages(json!({}))).await;
    let later = clock::now() + 10 * millis(RETRY);

    alter(dir.path(), "ALTER TABLE things RENAME TO gone");
    shard.observe(&mut vec![large_message(clock::now())]);
    shard.catch_up(later);
    assert_eq!(shard.engine.tripwires(&pump7()), Tripwires::default());

    alter(dir.path(), "ALTER TABLE gone RENAME TO things");
    shard.catch_up(clock::now());
    assert_eq!(shard.engine.tripwires(&pump7()), Tripwires::default(), "too early to try again");
    shard.catch_up(later);
    assert_ne!(shard.engine.tripwires(&pump7()), Tripwires::default());
    assert_eq!(shard.watching.behind_since, None);

    shard.observe(&mut vec![large_message(later + 1)]);
    assert!(shard.pending.is_urgent, "an alarm");
}

#[tokio::test]
async fn names_that_nobody_registered_leave_room_for_things() {
    let dir = tempfile::tempdir().unwrap();
    let (_bed, shard) = given_shard(dir.path(), small_messages(json!({}))).await;
    alter(dir.path(), "INSERT INTO things VALUES ('Pump7', 'an-id', NULL, '{}', 1, 0)");
    let stranger = DeviceName::parse("any client id").unwrap();
    for (device, watched, expected) in [
        (&stranger, 0, true),
        (&stranger, UNREGISTERED_UP_TO, false),
        (&pump7(), UNREGISTERED_UP_TO, true),
        (&pump7(), DEVICES_MAX, false),
    ] {
        assert_eq!(shard.has_room(device, watched), expected, "{device} beside {watched}");
    }
}

/// Whoever could set the clock years ahead once would have nothing judged until then.
#[tokio::test]
async fn a_clock_that_was_years_ahead_mutes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_bed, mut shard) = given_shard(dir.path(), small_messages(json!({}))).await;
    let years = 10 * 365 * 86_400_000;
    shard.advance(clock::now() + years);
    shard.heed_clock(clock::now());
    shard.observe(&mut vec![large_message(clock::now())]);
    assert!(shard.pending.is_urgent, "an alarm");
}

#[tokio::test]
async fn only_what_was_touched_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (_bed, mut shard) = given_shard(dir.path(), small_messages(json!({}))).await;
    shard.observe(&mut vec![large_message(clock::now())]);
    let mut reads = |sql: &str, change: Change| {
        alter(dir.path(), sql);
        let (_, mut none) = broadcast::channel(1);
        shard.on_changes(Some(&[change]), &mut none);
        shard.watching.behind_since.take().is_some()
    };
    let group = Change::Group(GroupName::parse("G").unwrap());
    let other = Change::Thing(ThingName::parse("Pump8").unwrap());
    let thing = Change::Thing(ThingName::parse("Pump7").unwrap());
    let profile = Change::Profile(ProfileName::parse("MessageSize").unwrap());
    let dimension = Change::Dimension(DimensionName::parse("D").unwrap());
    // What is read of a table that is not there fails.
    assert!(!reads("ALTER TABLE things RENAME TO gone", group));
    assert!(!reads("", other), "a thing that is no known device");
    assert!(!reads("", profile.clone()), "who is in which group did not change");
    assert!(reads("", thing));
    assert!(reads("ALTER TABLE dimensions RENAME TO gone_too", dimension));
    assert!(!reads("", profile.clone()));
    assert!(reads("ALTER TABLE profiles RENAME TO gone_as_well", profile));
}

#[tokio::test]
async fn what_is_exported_leaves_after_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let exporting = small_messages(json!({"exportMetric": true}));
    let (_bed, mut shard) = given_shard(dir.path(), exporting).await;
    let at = clock::now();
    shard.observe(&mut vec![large_message(at)]);
    shard.advance(at + 400_000);
    assert_eq!(shard.pending.exported.len(), 3, "the smallest, the largest, all together");
    assert_eq!(shard.exports.n_waiting(), 0);
    shard.commit().await;
    assert_eq!(shard.exports.n_waiting(), 3);

    // What cannot be committed any more is not told.
    shard.observe(&mut vec![large_message(at + 500_000)]);
    shard.advance(at + 1_000_000);
    assert_ne!(shard.pending.exported.len(), 0);
    shard.store.close().await;
    shard.commit().await;
    assert_eq!(shard.exports.n_waiting(), 3);
}

#[tokio::test]
async fn without_a_topic_nothing_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _) = Bed::new(dir.path()).await;
    let exporting = small_messages(json!({"exportMetric": true}));
    bed.watch("MessageSize", &[exporting], |_| ()).await;
    let mut shard = restored(&bed);
    let at = clock::now();
    shard.observe(&mut vec![large_message(at)]);
    shard.advance(at + 400_000);
    assert_ne!(shard.pending.datapoints.len(), 0, "it is measured");
    assert_eq!(shard.pending.exported.len(), 0);
}

#[tokio::test]
async fn what_models_learn_from_is_counted_in_the_same_commit() {
    let dir = tempfile::tempdir().unwrap();
    let learned = json!({"criteria": {"mlDetectionConfig": {"confidenceLevel": "HIGH"}}});
    let (bed, mut shard) = given_shard(dir.path(), small_messages(learned)).await;
    let at = clock::now();
    for n in 0..3 {
        shard.observe(&mut vec![large_message(at + n * 300_000)]);
    }
    shard.advance(at + 2_000_000);
    let datapoints = || {
        let page = Page::first(25);
        let read = bed.store.read(|tx| model_training::summaries(tx, None, clock::now(), &page));
        read.unwrap().items[0].datapoints
    };
    assert_eq!(datapoints(), 0);
    shard.commit().await;
    assert_eq!(datapoints(), 3);
    shard.commit().await;
    assert_eq!(datapoints(), 3, "counted once");
}

/// A server's middle: clients, broker, shard and store.
struct Middle {
    bed: Bed,
    _dir: TempDir,
    _stop: watch::Sender<bool>,
}

impl Middle {
    /// Where a dimension `Firmware` with one filter is, and large messages are normal outside it.
    async fn new(filter: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (bed, observations) = Bed::new(dir.path()).await;
        let dimension = Dimension {
            name: DimensionName::parse("Firmware").unwrap(),
            filters: vec![filter.to_owned()],
            created_at: clock::now(),
            modified_at: clock::now(),
        };
        bed.write(move |tx| dimensions::create(tx, &dimension, "token")).await;
        let changes = bed.store.changes();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(restored(&bed).run(observations, changes, stopping));
        let narrowed = small_messages(json!({"metricDimension": {"dimensionName": "Firmware"}}));
        bed.watch("FirmwareSize", &[narrowed], |_| ()).await;
        Self { bed, _dir: dir, _stop: stop }
    }

    /// Lets a device send 3,000 bytes to the topics in turn until it is in alarm; gives the topic
    /// that the alarm names.
    async fn alarmed(&self, device: &str, topics: &[&str]) -> String {
        let mut client = self.bed.connect(device).await;
        let alarmed = async {
            loop {
                for topic in topics {
                    client.publish(topic, vec![b'x'; 3_000]).await;
                }
                if let [alarm] = &self.bed.alarms(device)[..] {
                    let Evidence::Messages { largest_topic, .. } = &alarm.explanation.evidence
                    else {
                        panic!("an alarm without messages: {alarm:?}")
                    };
                    return largest_topic.to_string();
                }
            }
        };
        tokio::time::timeout(PATIENCE, alarmed).await.expect("in alarm in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_behavior_judges_what_lies_in_its_dimension() {
    let middle = Middle::new("firmware/${iot:ClientId}/#").await;
    let topics = ["pumps/7", "firmware/Pump8/a", "firmware/Pump7/a", "firmware"];
    assert_eq!(middle.alarmed("Pump7", &topics).await, "firmware/Pump7/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_filters_of_a_dimension_count_from_the_next_message_on() {
    let middle = Middle::new("firmware/#").await;
    assert_eq!(middle.alarmed("Pump7", &["pumps/7", "firmware/7"]).await, "firmware/7");
    let changed = |tx: &mut picket_store::WriteTx| {
        let name = DimensionName::parse("Firmware").unwrap();
        dimensions::set_filters(tx, &name, vec!["pumps/#".to_owned()], clock::now())
    };
    middle.bed.write(changed).await;
    assert_eq!(middle.alarmed("Pump8", &["pumps/8"]).await, "pumps/8");
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_a_profile_that_is_gone_end() {
    let middle = Middle::new("firmware/#").await;
    middle.alarmed("Pump7", &["firmware/7"]).await;
    let delete = |tx: &mut picket_store::WriteTx| {
        let name = ProfileName::parse("FirmwareSize").unwrap();
        profiles::delete(tx, &name, None)?;
        Ok::<_, RegistryError>(())
    };
    middle.bed.write(delete).await;
    let ended = async {
        while !middle.bed.alarms("Pump7").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("ended in time");
}
