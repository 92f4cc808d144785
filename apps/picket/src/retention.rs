//! Forgets what is older than it is kept for, a little at a time, so that commits never wait long.

use std::time::Duration;

use picket_model::Timestamp;
use picket_model::text::chain;
use picket_store::limits::{EVENTS_KEPT_MS, VALUES_KEPT_MS};
use picket_store::{Store, StoreError, WriteTx, datapoints, violations};
use tracing::{info, warn};

use crate::clock;

/// How often it is looked for what is too old.
const EVERY: Duration = Duration::from_secs(600);

/// Rows deleted in one transaction: a few milliseconds of the writer's time.
const CHUNK: usize = 500;

/// Deletes violation events after 30 days and metric values after 14, until the store closes.
pub(crate) async fn run(store: Store) {
    loop {
        let now = clock::now();
        let swept = async {
            let before = now - EVENTS_KEPT_MS;
            sweep(&store, "violation events", before, violations::delete_older_than).await?;
            let before = now - VALUES_KEPT_MS;
            sweep(&store, "batches of metric values", before, datapoints::delete_older_than).await
        };
        match swept.await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => {
                warn!(error = %chain(&error), "what is too old cannot be deleted; trying again later");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn sweep(
    store: &Store,
    what: &str,
    before: Timestamp,
    delete: fn(&mut WriteTx, Timestamp, usize) -> Result<usize, StoreError>,
) -> Result<(), StoreError> {
    let mut n_deleted = 0;
    loop {
        let n = store.write(move |tx| delete(tx, before, CHUNK)).await?;
        n_deleted += n;
        if n < CHUNK {
            break;
        }
        // Others' writes go first.
        tokio::task::yield_now().await;
    }
    if n_deleted > 0 {
        info!("deleted {n_deleted} {what} from before {before}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use picket_model::{Account, Datapoint, DeviceName, Metric, MetricValue};
    use picket_store::{Page, RegistryError};

    use super::*;

    #[tokio::test]
    async fn what_is_too_old_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Account::default()).unwrap();
        let device = DeviceName::parse("pump-7").unwrap();
        let metric = Metric::MessagesSent;
        let old = 2 * i64::try_from(CHUNK).unwrap() + 3;
        for second in 0..old + 5 {
            let datapoint = Datapoint {
                device: device.clone(),
                metric,
                at: Timestamp::from_secs(second),
                value: MetricValue::Count(1),
            };
            store
                .write::<_, StoreError>(move |tx| datapoints::append(tx, &[datapoint]))
                .await
                .unwrap();
        }
        let before = Timestamp::from_secs(old);
        sweep(&store, "values", before, datapoints::delete_older_than).await.unwrap();
        let all = (Timestamp::EPOCH, Timestamp::from_secs(10_000));
        let page = Page::first(250);
        let kept = store
            .read::<_, RegistryError>(|tx| {
                datapoints::list(tx, &device, metric, all.0, all.1, &page)
            })
            .unwrap();
        let kept: BTreeSet<i64> = kept.items.iter().map(|(at, _)| at.as_millis() / 1000).collect();
        assert_eq!(kept, (old..old + 5).collect());
    }
}
