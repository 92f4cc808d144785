//! The shard: the task that owns the detection engine.
//!
//! It takes observations from the broker, asks the engine, plans who is told, and commits
//! everything that belongs together in one transaction: violation events, moved-on alarms,
//! datapoints, what models are to learn from, the engine's state, and the messages for the outbox.
//! Nobody is told of what is not on disk, and what is on disk is told, also after a crash.
//!
//! An alarm that changes state is committed at once; the rest is gathered for a second. What a
//! crash can lose is therefore that second of counting, and the one that sessions gather before
//! (docs/store.md).
//!
//! `watching` is what the engine is told of profiles, groups and dimensions, `exporting` which
//! behaviors it exports from, `pending` what the next commit holds, `metrics` what is counted.

mod exporting;
mod metrics;
mod pending;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use picket_broker::Broker;
use picket_detect::{Engine, EngineConfig, Verdict};
use picket_model::text::chain;
use picket_model::{Change, Fact, Observation, Timestamp};
use picket_store::{Store, StoreError};
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{error, warn};

pub(crate) use self::metrics::ShardMetrics;
use self::pending::Pending;
use self::watching::{Profiles, Watching};
use crate::clock;
use crate::export::Exports;
use crate::limits::OBSERVATIONS_AT_ONCE;

/// How long what is not urgent is gathered before it is committed.
const GATHER: Duration = Duration::from_secs(1);

/// How long to wait before a failed commit or a failed reading is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The engine with what surrounds it.
pub(crate) struct Shard {
    engine: Engine,
    store: Store,
    broker: Broker,
    exports: Exports,
    metrics: ShardMetrics,
    watching: Watching,
    pending: Pending,
}

impl Shard {
    /// Brings the engine back to where the last commit left it.
    pub(crate) fn restore(
        config: EngineConfig,
        store: Store,
        broker: Broker,
        exports: Exports,
        metrics: ShardMetrics,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut shard = Self {
            engine: Engine::new(config),
            store,
            broker,
            exports,
            metrics,
            watching: Watching::default(),
            pending: Pending::default(),
        };
        let states = shard.store.read(picket_store::engine_state::all)?;
        shard.read_profiles(now)?;
        for (device, state) in states {
            // Its alarms stay as they are: to close them unseen would be worse.
            if let Err(error) = shard.engine.restore_device(device.clone(), &state) {
                let device = device.as_str().escape_debug();
                error!(
                    device.name = %device, error = %chain(&error),
                    "the detection state of device {device} cannot be read; it begins anew"
                );
            }
        }
        shard.heed_clock(now);
        shard.engine.sessions_lost(now);
        shard.assign_all(now)?;
        Ok(shard)
    }

    /// Judges until told to stop, then takes what is still in the queue and commits.
    pub(crate) async fn run(
        mut self,
        mut observations: mpsc::Receiver<Observation>,
        mut changes: broadcast::Receiver<Arc<[Change]>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut batch = Vec::with_capacity(OBSERVATIONS_AT_ONCE);
        loop {
            self.heed_clock(clock::now());
            let wait = self.wait(clock::now());
            tokio::select! {
                biased;
                changed = changes.recv() => {
                    if matches!(changed, Err(broadcast::error::RecvError::Closed)) {
                        break;
                    }
                    self.on_changes(changed.as_deref().ok(), &mut changes);
                }
                n = observations.recv_many(&mut batch, OBSERVATIONS_AT_ONCE) => {
                    if n == 0 {
                        break;
                    }
                    self.observe(&mut batch);
                }
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.catch_up(clock::now());
            self.advance(clock::now());
            if self.pending.is_due(clock::now()) {
                self.commit().await;
            }
        }
        while let Ok(observation) = observations.try_recv() {
            batch.push(observation);
        }
        self.observe(&mut batch);
        self.commit().await;
    }

    /// Until the engine or a commit is due; a second at the most, for clocks that are set.
    fn wait(&self, now: Timestamp) -> Duration {
        let commit_at = self.pending.since.map(|since| since + millis(GATHER));
        let due = [self.engine.next_deadline(), commit_at].into_iter().flatten().min();
        let millis =
            due.map_or(millis(GATHER), |due| due.millis_since(now).clamp(0, millis(GATHER)));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn observe(&mut self, batch: &mut Vec<Observation>) {
        for observation in batch.drain(..) {
            self.metrics.observations.inc();
            let device = &observation.device;
            let is_watched = self.engine.knows(device) || self.admit(device, observation.at);
            if let Fact::Connected { .. } = observation.fact {
                // Its session hands everything on at once until it hears what is harmless.
                self.set_tripwires(device);
            }
            if is_watched {
                let verdicts = self.engine.observe(&observation);
                self.take(verdicts, None);
            }
        }
    }

    /// Goes back with a clock that was far ahead: else nothing would be judged for as long.
    fn heed_clock(&mut self, now: Timestamp) {
        if self.engine.turn_back(now) {
            warn!("the clock was set back by more than an hour; open windows are judged no more");
        }
    }

    /// Judges what is over at `now`.
    fn advance(&mut self, now: Timestamp) {
        let Self { engine, pending, watching, metrics, .. } = self;
        engine.advance_with(now, &mut |verdict| {
            pending.take(verdict, &watching.profiles, None, metrics);
        });
    }

    /// Takes verdicts into the next commit.
    fn take(&mut self, verdicts: Vec<Verdict>, before: Option<&Profiles>) {
        for verdict in verdicts {
            self.pending.take(verdict, &self.watching.profiles, before, &self.metrics);
        }
    }

    /// Stores everything pending; tries until it succeeds. Meanwhile the queue fills and the
    /// broker slows its devices down, so nothing is lost. What is to be exported leaves after that.
    async fn commit(&mut self) {
        self.pending.states.extend(self.engine.take_changes());
        self.pending.training = self.engine.take_training();
        self.metrics.late.set(i64::try_from(self.engine.late()).unwrap_or(i64::MAX));
        self.metrics.devices.set(i64::try_from(self.engine.devices().len()).unwrap_or(i64::MAX));
        let mut pending = std::mem::take(&mut self.pending);
        let exported = std::mem::take(&mut pending.exported);
        // INVARIANT (commit, then act): what is published was committed before.
        if pending.is_empty() || self.store_pending(pending).await {
            self.exports.add(exported);
        }
    }

    /// Whether it is stored: not if the store was closed before.
    async fn store_pending(&self, pending: Pending) -> bool {
        let pending = Arc::new(pending);
        loop {
            let batch = Arc::clone(&pending);
            match self.store.write(move |tx| batch.store(tx, clock::now())).await {
                Ok(()) => return true,
                Err(StoreError::Closed) => {
                    warn!("the store closed before the last verdicts were committed");
                    return false;
                }
                Err(error) => {
                    self.metrics.commit_failures.inc();
                    error!(error = %chain(&error), "verdicts cannot be committed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
