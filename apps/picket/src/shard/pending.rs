//! What the next commit stores, and what leaves once it is stored.

use std::collections::BTreeMap;

use picket_detect::{Exported, Verdict};
use picket_model::{
    BehaviorName, Continuation, Datapoint, DeviceName, ProfileName, Timestamp, ViolationEvent,
};
use picket_respond::plan;
use picket_store::{OutboxEntry, StoreError, WriteTx};
use tracing::info;

use super::metrics::ShardMetrics;
use super::watching::Profiles;
use super::{GATHER, millis};
use crate::clock;
use crate::limits::{DATAPOINTS_PER_ROW, VERDICTS_MAX};

/// What the next commit stores.
#[derive(Default)]
pub(super) struct Pending {
    /// Events and moved-on alarms, in the order of the engine, each event with its messages.
    pub(super) alarms: Vec<Alarm>,
    pub(super) datapoints: Vec<Datapoint>,
    pub(super) states: BTreeMap<DeviceName, Option<Vec<u8>>>,
    /// New datapoints of behaviors that a model is to learn.
    pub(super) training: Vec<(ProfileName, BehaviorName, u64)>,
    /// Not stored: handed to the exporter after the commit.
    pub(super) exported: Vec<Exported>,
    /// When the oldest of it came in.
    pub(super) since: Option<Timestamp>,
    /// Whether somebody waits for it.
    pub(super) is_urgent: bool,
}

/// Something about an alarm.
pub(super) enum Alarm {
    Event(Box<ViolationEvent>, Vec<OutboxEntry>),
    Continued(Box<Continuation>),
}

impl Pending {
    /// Takes a verdict in and plans who is told: those whom its profile names, as it is or, if it is
    /// gone, as it was `before`.
    pub(super) fn take(
        &mut self,
        verdict: Verdict,
        profiles: &Profiles,
        before: Option<&Profiles>,
        metrics: &ShardMetrics,
    ) {
        match verdict {
            Verdict::Datapoint(datapoint) => self.datapoints.push(datapoint),
            // Without a topic the flag is kept and means nothing.
            Verdict::Exported(exported) => {
                if profiles.get(&exported.profile).is_some_and(|it| it.export.is_some()) {
                    self.exported.push(*exported);
                }
            }
            Verdict::Continued(continuation) => self.alarms.push(Alarm::Continued(continuation)),
            Verdict::Event(event) => {
                let profile = profiles
                    .get(&event.profile)
                    .or_else(|| before.and_then(|before| before.get(&event.profile)));
                let messages = profile.map(|it| plan(&event, it)).unwrap_or_default();
                metrics.count_event(&event);
                announce(&event);
                self.alarms.push(Alarm::Event(event, messages));
                self.is_urgent = true;
            }
        }
        self.since.get_or_insert_with(clock::now);
    }

    /// Whether it has waited long enough, or is enough to be worth a commit.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.is_urgent
            || self.alarms.len() + self.datapoints.len() + self.exported.len() >= VERDICTS_MAX
            || self.since.is_some_and(|since| {
                // A clock that was set back must not hold a commit up.
                !(0..millis(GATHER)).contains(&now.millis_since(since))
            })
    }

    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.alarms.is_empty()
            && self.datapoints.is_empty()
            && self.states.is_empty()
            && self.training.is_empty()
    }

    /// Stores everything that belongs together, in one transaction, as of `now`.
    pub(super) fn store(&self, tx: &mut WriteTx, now: Timestamp) -> Result<(), StoreError> {
        for alarm in &self.alarms {
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
        for datapoints in self.datapoints.chunks(DATAPOINTS_PER_ROW) {
            picket_store::datapoints::append(tx, datapoints)?;
        }
        if !self.training.is_empty() {
            picket_store::model_training::add(tx, &self.training, now)?;
        }
        let states: Vec<_> =
            self.states.iter().map(|(device, state)| (device.clone(), state.clone())).collect();
        picket_store::engine_state::put(tx, &states)
    }
}

fn announce(event: &ViolationEvent) {
    info!(
        device.name = %event.device.as_str().escape_debug(),
        profile.name = %event.profile,
        behavior.name = %event.behavior.name,
        violation.id = %event.violation,
        "{}: {}", event.kind.as_str(), event.explanation.sentence
    );
}
