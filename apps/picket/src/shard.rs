//! The shard: the task that owns the detection engine.
//!
//! It takes observations from the broker, asks the engine, plans who is told, and commits
//! everything that belongs together in one transaction: violation events, moved-on alarms,
//! datapoints, the engine's state, and the messages for the outbox. Nobody is told of what is not
//! on disk, and what is on disk is told, also after a crash.
//!
//! An alarm that changes state is committed at once; the rest is gathered for a second. What a
//! crash can lose is therefore that second of counting, and the one that sessions gather before
//! (docs/store.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use picket_broker::Broker;
use picket_detect::{Engine, EngineConfig, Verdict, targets};
use picket_model::text::chain;
use picket_model::{
    Change, Datapoint, DeviceName, Fact, GroupName, Observation, ProfileName, ProfileTarget,
    SecurityProfile, ThingName, Timestamp, ViolationEvent,
};
use picket_respond::plan;
use picket_store::{Store, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{error, info, warn};

use crate::clock;
use crate::limits::{DEVICES_MAX, OBSERVATIONS_AT_ONCE, VERDICTS_MAX};

/// How long what is not urgent is gathered before it is committed.
const GATHER: Duration = Duration::from_secs(1);

/// How long to wait before a failed commit or a failed reading is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the shard counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardMetrics {
    observations: Counter,
    events: Family<EventLabels, Counter>,
    late: Gauge,
    devices: Gauge,
    devices_refused: Counter,
    commit_failures: Counter,
}

/// Labels of a violation event. Profiles and behaviors are named by the operator, not by devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: &'static str,
    profile: String,
    behavior: String,
}

impl ShardMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_detect_observations",
            "Observations judged",
            metrics.observations.clone(),
        );
        registry.register(
            "picket_violation_events",
            "Alarms raised, cleared and invalidated, by profile and behavior",
            metrics.events.clone(),
        );
        registry.register(
            "picket_detect_late_observations",
            "Observations that came after their window was judged and counted for nothing",
            metrics.late.clone(),
        );
        registry.register(
            "picket_detect_devices",
            "Devices that the engine keeps state of",
            metrics.devices.clone(),
        );
        registry.register(
            "picket_detect_devices_refused",
            "Observations of new devices dropped because too many devices are known",
            metrics.devices_refused.clone(),
        );
        registry.register(
            "picket_detect_commit_failures",
            "Commits of verdicts that failed and were tried again",
            metrics.commit_failures.clone(),
        );
        metrics
    }
}

/// The engine with what surrounds it.
pub(crate) struct Shard {
    engine: Engine,
    store: Store,
    broker: Broker,
    metrics: ShardMetrics,
    profiles: BTreeMap<ProfileName, Arc<SecurityProfile>>,
    attachments: Vec<(ProfileName, ProfileTarget)>,
    /// When reading last failed what is watched. Until it succeeds, devices are watched as before,
    /// and new ones not at all.
    behind_since: Option<Timestamp>,
    pending: Pending,
}

/// What the next commit stores.
#[derive(Default)]
struct Pending {
    /// Events and moved-on alarms, in the order of the engine, each event with its messages.
    alarms: Vec<Alarm>,
    datapoints: Vec<Datapoint>,
    states: BTreeMap<DeviceName, Option<Vec<u8>>>,
    /// When the oldest of it came in.
    since: Option<Timestamp>,
    /// Whether somebody waits for it.
    is_urgent: bool,
}

#[derive(Clone)]
enum Alarm {
    Event(Box<ViolationEvent>, Vec<picket_store::OutboxEntry>),
    Continued(Box<picket_model::Continuation>),
}

impl Shard {
    /// Brings the engine back to where the last commit left it.
    pub(crate) fn restore(
        config: EngineConfig,
        store: Store,
        broker: Broker,
        metrics: ShardMetrics,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut shard = Self {
            engine: Engine::new(config),
            store,
            broker,
            metrics,
            profiles: BTreeMap::new(),
            attachments: Vec::new(),
            behind_since: None,
            pending: Pending::default(),
        };
        let states = shard.store.read(picket_store::engine_state::all)?;
        shard.read_profiles(now)?;
        for (device, state) in states {
            // Its alarms stay as they are: to close them unseen would be worse.
            if let Err(error) = shard.engine.restore_device(device.clone(), &state) {
                error!(
                    device.name = %device, error = %chain(&error),
                    "the detection state of device {device} cannot be read; it begins anew"
                );
            }
        }
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
            let verdicts = self.engine.advance(clock::now());
            self.take(verdicts, None);
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
            let is_watched = self.engine.knows(&observation.device) || self.admit(&observation);
            if let Fact::Connected { .. } = observation.fact {
                // Its session hands everything on at once until it hears what is harmless.
                let device = &observation.device;
                self.broker.set_tripwires(device, self.engine.tripwires(device));
            }
            if is_watched {
                let verdicts = self.engine.observe(&observation);
                self.take(verdicts, None);
            }
        }
    }

    /// Assigns a device that was not known before. False if there is no room for it.
    fn admit(&mut self, observation: &Observation) -> bool {
        let device = &observation.device;
        if self.engine.devices().len() >= DEVICES_MAX {
            self.metrics.devices_refused.inc();
            return false;
        }
        if let Err(error) = self.assign(device, observation.at) {
            self.fall_behind(&error);
        }
        true
    }

    /// Tells the engine which profiles watch a device, and its sessions what to look out for.
    fn assign(&mut self, device: &DeviceName, now: Timestamp) -> Result<(), StoreError> {
        let (registered, groups) = self.store.read(|tx| membership(tx, device))?;
        let watching = targets::watching(registered, &groups, &self.attachments);
        let verdicts = self.engine.assign(now, device, &watching);
        self.take(verdicts, None);
        self.broker.set_tripwires(device, self.engine.tripwires(device));
        Ok(())
    }

    fn assign_all(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let devices: Vec<_> = self.engine.devices().cloned().collect();
        devices.iter().try_for_each(|device| self.assign(device, now))
    }

    /// Gives the engine the profiles as they are now. Events of profiles that are gone go to whom
    /// these told.
    fn read_profiles(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let (profiles, attachments) = self.store.read(|tx| {
            let profiles = picket_store::profiles::all(tx)?;
            Ok::<_, StoreError>((profiles, picket_store::profiles::attachments(tx)?))
        })?;
        let profiles: BTreeMap<_, _> =
            profiles.into_iter().map(|it| (it.name.clone(), Arc::new(it))).collect();
        let before = std::mem::replace(&mut self.profiles, profiles);
        self.attachments = attachments;
        let profiles = self.profiles.values().cloned().collect();
        let verdicts = self.engine.set_profiles(now, profiles);
        self.take(verdicts, Some(&before));
        Ok(())
    }

    /// Catches up with what commits changed; `None` stands for "too much to say".
    fn on_changes(
        &mut self,
        first: Option<&[Change]>,
        more: &mut broadcast::Receiver<Arc<[Change]>>,
    ) {
        let mut everything = first.is_none();
        let mut changed: BTreeSet<Change> = first.unwrap_or_default().iter().cloned().collect();
        loop {
            match more.try_recv() {
                Ok(changes) => changed.extend(changes.iter().cloned()),
                Err(broadcast::error::TryRecvError::Lagged(_)) => everything = true,
                Err(_) => break,
            }
        }
        let now = clock::now();
        let touches_all = |change: &Change| matches!(change, Change::Profile(_) | Change::Group(_));
        let result = if everything || changed.iter().any(touches_all) {
            self.read_profiles(now).and_then(|()| self.assign_all(now))
        } else {
            changed.iter().try_for_each(|change| match change {
                Change::Thing(thing) if self.engine.knows(&thing.into()) => {
                    self.assign(&thing.into(), now)
                }
                _ => Ok(()),
            })
        };
        if let Err(error) = result {
            self.fall_behind(&error);
        }
    }

    fn fall_behind(&mut self, error: &StoreError) {
        // One line for each try, not for each device that came meanwhile.
        if self.behind_since.is_none() {
            self.behind_since = Some(clock::now());
            let error = chain(error);
            error!(%error, "cannot read what is watched; it stays as it was and is tried again");
        }
    }

    /// Reads everything that is watched anew if that failed a while ago.
    fn catch_up(&mut self, now: Timestamp) {
        // A clock that was set back must not hold it up.
        let is_due = |since| !(0..millis(RETRY)).contains(&now.millis_since(since));
        if !self.behind_since.is_some_and(is_due) {
            return;
        }
        self.behind_since = None;
        if let Err(error) = self.read_profiles(now).and_then(|()| self.assign_all(now)) {
            self.fall_behind(&error);
        }
    }

    /// Takes verdicts into the next commit and plans who is told.
    fn take(
        &mut self,
        verdicts: Vec<Verdict>,
        before: Option<&BTreeMap<ProfileName, Arc<SecurityProfile>>>,
    ) {
        for verdict in verdicts {
            match verdict {
                Verdict::Datapoint(datapoint) => self.pending.datapoints.push(datapoint),
                Verdict::Continued(continuation) => {
                    self.pending.alarms.push(Alarm::Continued(continuation));
                }
                Verdict::Event(event) => {
                    let profile = self
                        .profiles
                        .get(&event.profile)
                        .or_else(|| before.and_then(|before| before.get(&event.profile)));
                    let messages = profile.map(|it| plan(&event, it)).unwrap_or_default();
                    self.announce(&event);
                    self.pending.alarms.push(Alarm::Event(event, messages));
                    self.pending.is_urgent = true;
                }
            }
        }
        self.pending.since.get_or_insert_with(clock::now);
    }

    fn announce(&self, event: &ViolationEvent) {
        let labels = EventLabels {
            kind: event.kind.as_str(),
            profile: event.profile.to_string(),
            behavior: event.behavior.name.to_string(),
        };
        self.metrics.events.get_or_create(&labels).inc();
        info!(
            device.name = %event.device,
            profile.name = %event.profile,
            behavior.name = %event.behavior.name,
            violation.id = %event.violation,
            "{}: {}", event.kind.as_str(), event.explanation.sentence
        );
    }

    /// Stores everything pending; tries until it succeeds. Meanwhile the queue fills and the
    /// broker slows its devices down, so nothing is lost.
    async fn commit(&mut self) {
        for (device, state) in self.engine.take_changes() {
            self.pending.states.insert(device, state);
        }
        self.metrics.late.set(i64::try_from(self.engine.late()).unwrap_or(i64::MAX));
        self.metrics.devices.set(i64::try_from(self.engine.devices().len()).unwrap_or(i64::MAX));
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let pending = Arc::new(pending);
        loop {
            let batch = Arc::clone(&pending);
            match self.store.write(move |tx| store_batch(tx, &batch)).await {
                Ok(()) => return,
                Err(StoreError::Closed) => {
                    warn!("the store closed before the last verdicts were committed");
                    return;
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

impl Pending {
    fn is_due(&self, now: Timestamp) -> bool {
        self.is_urgent
            || self.alarms.len() + self.datapoints.len() >= VERDICTS_MAX
            || self.since.is_some_and(|since| {
                // A clock that was set back must not hold a commit up.
                !(0..millis(GATHER)).contains(&now.millis_since(since))
            })
    }

    fn is_empty(&self) -> bool {
        self.alarms.is_empty() && self.datapoints.is_empty() && self.states.is_empty()
    }
}

/// Everything that belongs together, in one transaction.
fn store_batch(tx: &mut picket_store::WriteTx, batch: &Pending) -> Result<(), StoreError> {
    for alarm in &batch.alarms {
        match alarm {
            Alarm::Event(event, messages) => {
                picket_store::violations::apply(tx, event)?;
                for message in messages {
                    picket_store::outbox::push(tx, message)?;
                }
            }
            Alarm::Continued(continuation) => {
                picket_store::violations::continued(tx, continuation)?;
            }
        }
    }
    if !batch.datapoints.is_empty() {
        picket_store::datapoints::append(tx, &batch.datapoints)?;
    }
    let states: Vec<_> =
        batch.states.iter().map(|(device, state)| (device.clone(), state.clone())).collect();
    picket_store::engine_state::put(tx, &states)
}

/// Whether a device is a thing, and the groups that it is in, with those above them.
fn membership(
    tx: &picket_store::ReadTx,
    device: &DeviceName,
) -> Result<(bool, BTreeSet<GroupName>), StoreError> {
    let Ok(thing) = ThingName::parse(device.as_str()) else {
        return Ok((false, BTreeSet::new()));
    };
    if picket_store::things::find(tx, &thing)?.is_none() {
        return Ok((false, BTreeSet::new()));
    }
    let groups = picket_store::groups::groups_with_ancestors(tx, &thing)?;
    Ok((true, groups.into_iter().collect()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
