//! The deliverator: attempts at what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use picket_model::Timestamp;
use picket_model::text::chain;
use picket_store::{Delivery, OutboxEntry, Store, StoreError, outbox};
use tokio::task::{Id, JoinSet};

use super::{AttemptError, DeliverConfig, Deliverer, Jitter, LOOK_AGAIN, Subscribers};
use crate::metrics::{DeliveryEnd, Metrics};
use crate::ports::Clock;

/// Makes attempts and keeps count of those under way.
pub(super) struct Deliverator<S> {
    shared: Arc<Shared<S>>,
    jitter: Jitter,
    attempts: JoinSet<()>,
    /// The deliveries that are being attempted, with their endpoints.
    under_way: BTreeMap<Id, (String, String)>,
}

struct Shared<S> {
    config: DeliverConfig,
    store: Store,
    subscribers: S,
    clock: Clock,
    metrics: Metrics,
}

impl<S: Subscribers> Deliverator<S> {
    pub(super) fn new(deliverer: Deliverer<S>) -> Self {
        let Deliverer { config, store, subscribers, clock, jitter, metrics } = deliverer;
        Self {
            shared: Arc::new(Shared { config, store, subscribers, clock, metrics }),
            jitter,
            attempts: JoinSet::new(),
            under_way: BTreeMap::new(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// Starts every attempt that is due and has room, and says how long there will be no other
    /// unless one ends.
    pub(super) async fn start_due(&mut self) -> Result<Duration, StoreError> {
        /// Deliveries read at once beyond those that are under way.
        const BATCH: usize = 64;
        loop {
            while let Some(ended) = self.attempts.try_join_next_with_id() {
                self.forget(ended);
            }
            let room = self.shared.config.attempts_max.saturating_sub(self.under_way.len());
            if room == 0 {
                return Ok(LOOK_AGAIN);
            }
            let now = self.now();
            // Those under way are due as well, until they are recorded.
            let (busy, limit) = (self.busy_endpoints(), self.under_way.len() + BATCH);
            let store = self.shared.store.clone();
            let read = tokio::task::spawn_blocking(move || {
                store.read(|tx| {
                    let due = outbox::due_elsewhere(tx, now, &busy, limit)?;
                    Ok::<_, StoreError>((due, outbox::next_due_after(tx, now)?))
                })
            });
            let (due, next_due) = read.await.map_err(|_| StoreError::Closed)??;
            let mut n_started = 0;
            for (delivery, entry) in due {
                if n_started < room && self.may_start(&delivery) {
                    self.start(delivery, entry);
                    n_started += 1;
                }
            }
            // What an endpoint has too much of may have hidden what others have.
            if n_started == 0 {
                let wait_ms = next_due.map_or(i64::MAX, |at| at.millis_since(now)).max(1);
                return Ok(Duration::from_millis(wait_ms.unsigned_abs()));
            }
        }
    }

    /// Endpoints that have as many attempts under way as they may.
    fn busy_endpoints(&self) -> BTreeSet<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, endpoint) in self.under_way.values() {
            *counts.entry(endpoint).or_default() += 1;
        }
        counts
            .into_iter()
            .filter(|(_, count)| *count >= self.shared.config.attempts_per_endpoint_max)
            .map(|(endpoint, _)| endpoint.to_owned())
            .collect()
    }

    fn may_start(&self, delivery: &Delivery) -> bool {
        let of_endpoint = self.under_way.values().filter(|(_, at)| *at == delivery.endpoint);
        of_endpoint.count() < self.shared.config.attempts_per_endpoint_max
            && !self.under_way.values().any(|(id, _)| *id == delivery.id)
    }

    fn start(&mut self, delivery: Delivery, entry: OutboxEntry) {
        let (shared, jitter) = (Arc::clone(&self.shared), (self.jitter)());
        let names = (delivery.id.clone(), delivery.endpoint.clone());
        let task =
            self.attempts.spawn(async move { shared.attempt(delivery, entry, jitter).await });
        self.under_way.insert(task.id(), names);
    }

    /// Waits until an attempt under way has ended; for ever if there is none.
    pub(super) async fn attempt_ended(&mut self) {
        match self.attempts.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                // The delivery is still pending, and is tried again.
                tracing::error!(%error, "an attempt to deliver panicked");
                error.id()
            }
        };
        self.under_way.remove(&id);
    }

    /// Waits a while for the attempts under way; those that take longer are not recorded.
    pub(super) async fn stop(mut self) {
        let all_ended = async { while self.attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.shared.config.stop_timeout, all_ended).await.is_err() {
            tracing::info!("deliveries under way are made again by the next start");
        }
    }
}

impl<S: Subscribers> Shared<S> {
    /// Makes one attempt and records how it ended.
    async fn attempt(&self, delivery: Delivery, entry: OutboxEntry, jitter: f64) {
        let result = self.subscribers.attempt(&delivery, &entry).await;
        let now = (self.clock)();
        let n_attempts = delivery.attempts.saturating_add(1);
        let again_at = self.config.backoff.next_at(n_attempts, entry.at, now, jitter);
        let (id, endpoint) = (delivery.id.clone(), &delivery.endpoint);
        let (end, recorded) = match (result, again_at) {
            (Ok(()), _) => {
                tracing::info!(delivery.id = id, "told {endpoint}");
                let written = self.store.write(move |tx| outbox::succeeded(tx, &id, now));
                (DeliveryEnd::Done, written.await)
            }
            (Err(AttemptError::Again(error)), Some(again_at)) => {
                tracing::warn!(
                    delivery.id = id,
                    retry_at = %again_at,
                    "could not tell {endpoint}, will try again: {}",
                    error.escape_debug()
                );
                let written =
                    self.store.write(move |tx| outbox::failed(tx, &id, &error, again_at, now));
                (DeliveryEnd::Retried, written.await)
            }
            (Err(AttemptError::Again(error) | AttemptError::Never(error)), _) => {
                tracing::error!(
                    delivery.id = id,
                    "gave up telling {endpoint} after {n_attempts} attempts: {}",
                    error.escape_debug()
                );
                let written = self.store.write(move |tx| outbox::gave_up(tx, &id, &error, now));
                (DeliveryEnd::Dead, written.await)
            }
            (Err(AttemptError::Stopping), _) => return,
        };
        match recorded {
            Ok(()) => self.metrics.count_delivery(end),
            Err(error) => {
                // It is still pending and due: made again, but not at once.
                let error = chain(&error);
                tracing::error!(%error, delivery.id = delivery.id, "an attempt is not recorded");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
