//! What the shard does while the store cannot be read.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use picket_broker::BrokerConfig;
use picket_model::wire::behavior_from_json;
use picket_model::{Account, Published};
use serde_json::json;

use super::*;
use crate::directory::StoreDirectory;

/// A shard over a store in `dir`, with a profile on every device: messages of up to 1,000 bytes.
async fn given_shard(dir: &Path) -> Shard {
    let store = Store::open(dir, Account::default()).unwrap();
    let size = json!({
        "name": "SmallMessages",
        "metric": "aws:message-byte-size",
        "criteria": {"comparisonOperator": "less-than-equals", "value": {"count": 1000}},
    });
    let now = clock::now();
    let profile = SecurityProfile {
        name: ProfileName::parse("MessageSize").unwrap(),
        description: None,
        behaviors: vec![behavior_from_json(&size, 1).unwrap()],
        alert_targets: vec![],
        retained_metrics: vec![],
        version: 1,
        created_at: now,
        modified_at: now,
    };
    store
        .write(move |tx| {
            picket_store::profiles::create(tx, &profile)?;
            picket_store::profiles::attach(tx, &profile.name, &ProfileTarget::AllThings)
        })
        .await
        .unwrap();
    let broker = Broker::new(
        BrokerConfig::default(),
        Arc::new(StoreDirectory::new(store.clone())),
        mpsc::channel(1).0,
        clock::shared(),
        &mut Registry::default(),
    );
    let metrics = ShardMetrics::default();
    Shard::restore(EngineConfig::default(), store, broker, metrics, now).unwrap()
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
    Observation { at, device: pump7(), fact: Fact::Published(published) }
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
    let mut shard = given_shard(dir.path()).await;
    let later = clock::now() + 10 * millis(RETRY);

    alter(dir.path(), "ALTER TABLE things RENAME TO gone");
    shard.observe(&mut vec![large_message(clock::now())]);
    shard.catch_up(later);
    assert_eq!(shard.engine.tripwires(&pump7()), Default::default());

    alter(dir.path(), "ALTER TABLE gone RENAME TO things");
    shard.catch_up(clock::now());
    assert_eq!(shard.engine.tripwires(&pump7()), Default::default(), "too early to try again");
    shard.catch_up(later);
    assert_ne!(shard.engine.tripwires(&pump7()), Default::default());
    assert_eq!(shard.behind_since, None);

    shard.observe(&mut vec![large_message(later + 1)]);
    assert!(shard.pending.is_urgent, "an alarm");
}
