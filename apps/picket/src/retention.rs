//! Looks after what is over: forgets what is older than it is kept for, and packs metric values of
//! the past. Both a little at a time, so that commits never wait long.

use std::time::Duration;

use picket_model::Timestamp;
use picket_model::text::chain;
use picket_store::limits::{MITIGATIONS_KEPT_MS, SEALING_PERIOD_MS};
use picket_store::{Store, StoreError, WriteTx, datapoints, mitigation_tasks, violations};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::Kept;

/// How often it is looked for what is over.
const EVERY: Duration = Duration::from_secs(300);

/// Rows deleted in one transaction: a few milliseconds of the writer's time.
const CHUNK: usize = 500;

/// How long values of a period that is over may still come in: windows wait out their grace, and
/// half a minute of it is the longest that can be set. Later ones are sealed with the next period.
const SETTLED_MS: i64 = 60_000;

/// Transactions that seal before it is logged how it goes.
const SEALED_AT_ONCE: usize = 1_000;

/// What is counted of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetentionMetrics {
    deleted: Counter,
    sealing_steps: Counter,
    failures: Counter,
}

impl RetentionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_retention_deleted_rows",
            "Rows of violation events, metric values and mitigation tasks deleted for their age",
            metrics.deleted.clone(),
        );
        registry.register(
            "picket_sealing_steps",
            "Transactions that packed metric values of the past",
            metrics.sealing_steps.clone(),
        );
        registry.register(
            "picket_retention_failures",
            "Times that deleting or packing failed and was put off",
            metrics.failures.clone(),
        );
        metrics
    }
}

/// Deletes what is older than it is kept for, and seals metric values, until the store closes.
pub(crate) async fn run(store: Store, kept: Kept, metrics: RetentionMetrics) {
    loop {
        let now = clock::now();
        // Values that are to go need not be packed first.
        let looked_after = async {
            forget(&store, kept, &metrics, now).await?;
            seal(&store, &metrics, now).await
        };
        match looked_after.await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => {
                metrics.failures.inc();
                warn!(error = %chain(&error), "what is over cannot be looked after; trying again later");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn forget(
    store: &Store,
    kept: Kept,
    metrics: &RetentionMetrics,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut n_deleted = 0;
    let before = now - kept.violations_ms;
    n_deleted += sweep(store, "violation events", before, violations::delete_older_than).await?;
    let before = now - kept.metric_values_ms;
    n_deleted +=
        sweep(store, "rows of metric values", before, datapoints::delete_older_than).await?;
    // Somebody who still sees a violation may ask what was done about it.
    let before = now - MITIGATIONS_KEPT_MS.max(kept.violations_ms);
    n_deleted +=
        sweep(store, "rows of mitigation tasks", before, mitigation_tasks::delete_older_than)
            .await?;
    metrics.deleted.inc_by(n_deleted as u64);
    Ok(())
}

/// Packs the values of the periods that are over.
async fn seal(store: &Store, metrics: &RetentionMetrics, now: Timestamp) -> Result<(), StoreError> {
    let until = (now - SETTLED_MS).floor(SEALING_PERIOD_MS);
    loop {
        let steps = datapoints::seal(store, until, SEALED_AT_ONCE).await?;
        metrics.sealing_steps.inc_by(steps as u64);
        if steps > 0 {
            debug!("packed metric values from before {until} in {steps} steps");
        }
        if steps < SEALED_AT_ONCE {
            return Ok(());
        }
    }
}

/// Deletes a chunk at a time; gives the number of rows deleted.
async fn sweep(
    store: &Store,
    what: &str,
    before: Timestamp,
    delete: fn(&mut WriteTx, Timestamp, usize) -> Result<usize, StoreError>,
) -> Result<usize, StoreError> {
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
    Ok(n_deleted)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use picket_model::wire::behavior_from_json;
    use picket_model::{
        Account, Datapoint, DeviceName, Evidence, Explanation, Metric, MetricValue,
        MitigationStatistics, MitigationTarget, MitigationTask, MitigationTaskId,
        MitigationTaskStatus, ProfileName, ViolationEvent, ViolationEventKind, ViolationId,
        WindowLen,
    };
    use picket_store::violations::ViolationFilter;
    use picket_store::{Page, RegistryError};
    use serde_json::json;

    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn opened(folder: &Path) -> Store {
        Store::open(folder, Account::default()).unwrap()
    }

    fn pump7() -> DeviceName {
        DeviceName::parse("pump-7").unwrap()
    }

    /// Stores one value for each of these moments, each in a commit of its own.
    async fn measured(store: &Store, times: impl IntoIterator<Item = Timestamp>) {
        for at in times {
            let datapoint = Datapoint {
                device: pump7(),
                metric: Metric::MessagesSent,
                dimension: None,
                at,
                value: MetricValue::Count(1),
            };
            let appended =
                store.write::<_, StoreError>(move |tx| datapoints::append(tx, &[datapoint]));
            appended.await.unwrap();
        }
    }

    /// The moments of the values that are there, the latest first, of at most 250.
    fn values(store: &Store) -> Vec<Timestamp> {
        let read = store.read::<_, RegistryError>(|tx| {
            let (metric, page) = (Metric::MessagesSent, Page::first(250));
            let until = NOW + DAY_MS;
            let metric = metric.as_str();
            datapoints::list(tx, &pump7(), metric, None, Timestamp::EPOCH, until, &page)
        });
        read.unwrap().items.into_iter().map(|(at, _)| at).collect()
    }

    #[tokio::test]
    async fn what_is_too_old_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(folder.path());
        let old = 2 * i64::try_from(CHUNK).unwrap() + 3;
        measured(&store, (0..old + 5).map(Timestamp::from_secs)).await;
        let before = Timestamp::from_secs(old);
        let n = sweep(&store, "values", before, datapoints::delete_older_than).await.unwrap();
        assert_eq!(n, usize::try_from(old).unwrap());
        let kept: Vec<_> = (old..old + 5).rev().map(Timestamp::from_secs).collect();
        assert_eq!(values(&store), kept);
    }

    /// An alarm that was raised and cleared `days` ago.
    fn violated(days: i64) -> [ViolationEvent; 2] {
        let behavior = json!({
            "name": "B",
            "metric": "aws:message-byte-size",
            "criteria": {"comparisonOperator": "less-than", "value": {"count": 1000}},
        });
        let event = |kind| ViolationEvent {
            violation: ViolationId::parse(format!("v-{days}")).unwrap(),
            kind,
            at: NOW - days * DAY_MS,
            device: pump7(),
            profile: ProfileName::parse("P").unwrap(),
            behavior: Arc::new(behavior_from_json(&behavior, 1).unwrap()),
            value: Some(MetricValue::Count(1)),
            explanation: Explanation {
                sentence: String::new(),
                window_start: NOW,
                window: WindowLen::DEFAULT,
                early: false,
                evidence: Evidence::Nothing,
                notes: Vec::new(),
            },
        };
        [event(ViolationEventKind::InAlarm), event(ViolationEventKind::Cleared)]
    }

    /// A task that ended `days` ago.
    fn task(days: i64) -> MitigationTask {
        MitigationTask {
            id: MitigationTaskId::parse(format!("t-{days}")).unwrap(),
            client_token: String::new(),
            status: MitigationTaskStatus::Successful,
            started_at: NOW - days * DAY_MS,
            ended_at: Some(NOW - days * DAY_MS),
            target: MitigationTarget::Profile(ProfileName::parse("P").unwrap(), None),
            occurred: None,
            only_active: false,
            include_suppressed: false,
            actions: Vec::new(),
            statistics: MitigationStatistics::default(),
        }
    }

    /// Checks which of the ages, in days, are still kept of violations, values and tasks.
    async fn check(kept_days: (i64, i64), ages: &[i64], expected: [&[i64]; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(folder.path());
        measured(&store, ages.iter().map(|days| NOW - days * DAY_MS)).await;
        let (events, tasks): (Vec<_>, Vec<_>) =
            ages.iter().map(|&days| (violated(days), task(days))).unzip();
        let filled = store.write::<_, RegistryError>(move |tx| {
            for event in events.iter().flatten() {
                violations::apply(tx, event)?;
            }
            tasks.iter().try_for_each(|task| mitigation_tasks::start(tx, task).map(|_| ()))
        });
        filled.await.unwrap();
        let kept =
            Kept { violations_ms: kept_days.0 * DAY_MS, metric_values_ms: kept_days.1 * DAY_MS };
        let metrics = RetentionMetrics::default();
        forget(&store, kept, &metrics, NOW).await.unwrap();

        let age = |at: Timestamp| NOW.millis_since(at) / DAY_MS;
        let values: Vec<_> = values(&store).into_iter().map(age).collect();
        let (events, tasks) = store
            .read::<_, RegistryError>(|tx| {
                let (from, page) = (Timestamp::EPOCH, Page::first(250));
                let filter = ViolationFilter::default();
                let events = violations::list_events(tx, from, NOW, &filter, &page)?.items;
                Ok((events, mitigation_tasks::list(tx, from, NOW, &page)?.items))
            })
            .unwrap();
        let mut events: Vec<_> = events.iter().map(|(event, ..)| age(event.at)).collect();
        events.dedup();
        let tasks: Vec<_> = tasks.iter().map(|it| age(it.started_at)).collect();
        assert_eq!([&events[..], &values[..], &tasks[..]], expected);
        assert_ne!(metrics.deleted.get(), 0);
    }

    #[tokio::test]
    async fn each_noun_is_kept_as_long_as_is_set() {
        let ages = [1, 13, 15, 29, 31, 89, 91, 200];
        check((30, 14), &ages, [&[1, 13, 15, 29], &[1, 13], &[1, 13, 15, 29, 31, 89]]).await;
        check((14, 30), &ages, [&[1, 13], &[1, 13, 15, 29], &[1, 13, 15, 29, 31, 89]]).await;
        // What was done about a violation is kept as long as the violation.
        check((100, 1), &ages, [&ages[..7], &[1], &ages[..7]]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn values_of_the_past_are_packed_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(folder.path());
        let hour = NOW.floor(SEALING_PERIOD_MS);
        let times: Vec<_> = (-20..20).map(|n| hour + n * 60_000 - 1).collect();
        measured(&store, times.iter().copied()).await;
        let n_batches = || {
            let connection = rusqlite::Connection::open(folder.path().join("picket.db")).unwrap();
            let count = "SELECT count(*) FROM datapoint_batches";
            connection.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(n_batches(), 40);
        let metrics = RetentionMetrics::default();
        // The last values of the hour may still be on their way.
        seal(&store, &metrics, hour + SETTLED_MS - 1).await.unwrap();
        assert_eq!(n_batches(), 40);
        seal(&store, &metrics, hour + SETTLED_MS).await.unwrap();
        assert_eq!(n_batches(), 19, "those of the hour that has begun");
        assert_ne!(metrics.sealing_steps.get(), 0);
        let all: Vec<_> = times.into_iter().rev().collect();
        assert_eq!(values(&store), all);
        let steps = metrics.sealing_steps.get();
        seal(&store, &metrics, hour + SETTLED_MS).await.unwrap();
        assert_eq!(metrics.sealing_steps.get(), steps, "there is nothing left to pack");
    }
}
