//! The engine: what the rest of Picket sees of Detect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::{
    DeviceName, Observation, ProfileName, SecurityProfile, Timestamp, Tripwires, WindowLen,
};

use crate::device::{Device, PlanRef, Scope, WatchState};
use crate::explain::{Ending, invalidated};
use crate::plan::{Compiled, Judged, Plan};
use crate::snapshot::{self, Orphan, RestoreError};
use crate::verdict::{Sink, Verdict};

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How long after its end a window waits for stragglers before it is judged, in milliseconds.
    pub grace_ms: i64,
    /// How long nothing may be seen of a device that is not connected before its alarms are
    /// invalidated and it is forgotten, in milliseconds.
    pub silence_ms: i64,
}

impl Default for EngineConfig {
    /// One second of grace, two days of silence. Source: AWS guide "Detect": after two days
    /// without metrics a device's alarms are dropped.
    fn default() -> Self {
        Self { grace_ms: 1_000, silence_ms: 2 * 86_400_000 }
    }
}

/// Judges devices by the security profiles that watch them.
///
/// A pure state machine: it is told what happens and what time it is, and answers with verdicts.
/// The same calls in the same order give the same verdicts. Verdicts of one call come ordered by
/// what decided them: time (window end or breaking message), device name, place of the behavior.
///
/// To bring back a stopped engine: [`Engine::set_profiles`], [`Engine::restore_device`] for each
/// state that [`Engine::take_changes`] gave, [`Engine::sessions_lost`], then [`Engine::assign`] for
/// each device, since its profiles may have changed meanwhile.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    profiles: BTreeMap<ProfileName, Compiled>,
    /// One plan per set of profiles that watches some device.
    plans: BTreeMap<BTreeSet<ProfileName>, Arc<Plan>>,
    devices: BTreeMap<DeviceName, Device>,
    /// Restored alarms whose behaviors are no more; invalidated by the next call that may.
    orphans: BTreeMap<DeviceName, Vec<Orphan>>,
    /// Devices whose state moved on since [`Engine::take_changes`].
    changed: BTreeSet<DeviceName>,
    /// INVARIANT (watermark): every window that ends here or before was judged or is about to be;
    /// never moves back.
    watermark: Timestamp,
    /// Lengths of all windows; [`WindowLen::DEFAULT`] among them, whose ends are also when silence
    /// is looked for.
    window_lens: BTreeSet<WindowLen>,
    /// Whether windows may be open that end before the watermark.
    is_behind: bool,
    late: u64,
}

impl Engine {
    /// An engine that knows no profiles and no devices.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            profiles: BTreeMap::new(),
            plans: BTreeMap::new(),
            devices: BTreeMap::new(),
            orphans: BTreeMap::new(),
            changed: BTreeSet::new(),
            watermark: Timestamp::EPOCH,
            window_lens: BTreeSet::from([WindowLen::DEFAULT]),
            is_behind: false,
            late: 0,
        }
    }

    /// Replaces the profiles; alarms of behaviors that are gone or changed are invalidated.
    ///
    /// Behaviors whose metric and criteria are as before keep their windows and alarms. New and
    /// changed ones count from `now` on; see [`Engine::assign`] for the window that they begin in.
    pub fn set_profiles(
        &mut self,
        now: Timestamp,
        profiles: Vec<Arc<SecurityProfile>>,
    ) -> Vec<Verdict> {
        self.profiles =
            profiles.iter().map(|profile| (profile.name.clone(), Compiled::new(profile))).collect();
        self.window_lens = self.profiles.values().flat_map(Compiled::window_lens).collect();
        self.window_lens.insert(WindowLen::DEFAULT);
        self.plans.clear();
        let mut sink = Sink::default();
        let names: Vec<_> = self.devices.keys().cloned().collect();
        for name in names {
            sink.next_device();
            let Some(device) = self.devices.get(&name) else { continue };
            let watching = device.plan.0.profiles.clone();
            self.watch(now, &name, &watching, &mut sink);
        }
        self.end_orphans(now, &mut sink);
        sink.into_verdicts()
    }

    /// Says which profiles watch a device, resolved by [`crate::targets::watching`]. Alarms of
    /// profiles that no longer do are invalidated.
    ///
    /// A device that was not known before is watched as if from its beginning. One that was known
    /// is, by profiles that are new to it, watched from `now` on: in the window that they begin in
    /// only what no missing data could heal is judged, such as a message that is too large.
    pub fn assign(
        &mut self,
        now: Timestamp,
        device: &DeviceName,
        profiles: &BTreeSet<ProfileName>,
    ) -> Vec<Verdict> {
        let mut sink = Sink::default();
        self.watch(now, device, profiles, &mut sink);
        self.end_orphans(now, &mut sink);
        sink.into_verdicts()
    }

    /// Whether the device was assigned or observed, and not forgotten since.
    pub fn knows(&self, device: &DeviceName) -> bool {
        self.devices.contains_key(device)
    }

    /// The devices that [`Engine::knows`] of, in the order of their names.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &DeviceName> {
        self.devices.keys()
    }

    /// Takes an observation in and gives the verdicts that need not wait for a window's end.
    ///
    /// A device that was never assigned is watched by no profile until it is. An observation of a
    /// window that was judged already counts for nothing but [`Engine::late`]; that the device
    /// connected or disconnected is still noted.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Verdict> {
        let name = &observation.device;
        if !self.devices.contains_key(name) {
            let plan = self.plan_for(&BTreeSet::new());
            self.devices.insert(name.clone(), Device::new(plan, observation.at));
        }
        let Some(device) = self.devices.get_mut(name) else { return Vec::new() };
        let mut sink = Sink::default();
        let scope = Scope { name, watermark: self.watermark };
        self.late += u64::from(device.observe(scope, observation, &mut sink));
        if !device.plan.0.watches.is_empty() && !self.changed.contains(name) {
            self.changed.insert(name.clone());
        }
        sink.into_verdicts()
    }

    /// Judges every window that ended at least the grace before `now`, and invalidates the alarms
    /// of devices that were silent for too long.
    ///
    /// A `now` before an earlier one changes nothing. A device is found to be silent at the end of
    /// a window of [`WindowLen::DEFAULT`].
    pub fn advance(&mut self, now: Timestamp) -> Vec<Verdict> {
        let mut sink = Sink::default();
        self.end_orphans(now, &mut sink);
        let watermark = self.watermark.max(now - self.config.grace_ms);
        if self.is_behind || self.ends_a_window(watermark) {
            self.close_windows(watermark, &mut sink);
            self.is_behind = false;
        }
        self.watermark = watermark;
        sink.into_verdicts()
    }

    /// When the next call of [`Engine::advance`] has something to do; none while no device is
    /// known. May be in the past.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.devices.is_empty() && self.orphans.is_empty() {
            return None;
        }
        if self.is_behind || !self.orphans.is_empty() {
            return Some(self.watermark);
        }
        let ends = self.window_lens.iter().map(|len| {
            let len = len.as_millis();
            self.watermark.floor(len) + len
        });
        ends.min().map(|end| end + self.config.grace_ms)
    }

    /// The smallest limits that behaviors set on the device's metrics: crossing one is worth
    /// telling the engine at once.
    pub fn tripwires(&self, device: &DeviceName) -> Tripwires {
        self.devices.get(device).map_or(Tripwires::default(), |device| device.plan.0.tripwires)
    }

    /// Says that no connection is open any more, as after a restart.
    ///
    /// Windows that lie wholly in the downtime give no zeros, nobody's time away is judged in them,
    /// and a device that was connected counts as away since `now`.
    pub fn sessions_lost(&mut self, now: Timestamp) {
        for (name, device) in &mut self.devices {
            if device.connections > 0 {
                device.lose_connections(Scope { name, watermark: self.watermark }, now);
                self.changed.insert(name.clone());
            }
        }
        self.watermark = self.watermark.max(now - self.config.grace_ms);
        self.is_behind = true;
    }

    /// Devices whose state changed since the last call, in the order of their names, with their
    /// state. None means that there is nothing to keep: the device was forgotten or nobody watches
    /// it.
    pub fn take_changes(&mut self) -> Vec<(DeviceName, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|name| {
                let orphans = self.orphans.get(&name).map_or(&[][..], Vec::as_slice);
                let device = self
                    .devices
                    .get(&name)
                    .filter(|device| !device.plan.0.watches.is_empty() || !orphans.is_empty());
                let state = device.map(|device| snapshot::encode(device, orphans, self.watermark));
                (name, state)
            })
            .collect()
    }

    /// Brings a device back from a state that [`Engine::take_changes`] gave. Call it after
    /// [`Engine::set_profiles`]: alarms of behaviors that changed meanwhile are invalidated by the
    /// next call that takes a `now`.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not such a state; the engine is then as it was before.
    pub fn restore_device(&mut self, device: DeviceName, state: &[u8]) -> Result<(), RestoreError> {
        let restored =
            snapshot::decode(device.as_str(), state, |profiles| self.plan_for(profiles))?;
        self.watermark = self.watermark.max(restored.watermark);
        if !restored.orphans.is_empty() {
            self.orphans.insert(device.clone(), restored.orphans);
        }
        self.devices.insert(device, restored.device);
        Ok(())
    }

    /// Observations that came after their window was judged, since the engine was made. They
    /// counted for nothing.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Whether a window or a silence may end in the time up to `watermark`.
    fn ends_a_window(&self, watermark: Timestamp) -> bool {
        self.window_lens
            .iter()
            .any(|len| watermark.floor(len.as_millis()) > self.watermark.floor(len.as_millis()))
    }

    fn close_windows(&mut self, watermark: Timestamp, sink: &mut Sink) {
        let mut forgotten = Vec::new();
        for (name, device) in &mut self.devices {
            sink.next_device();
            let silent_at =
                silent_at(&self.config, self.watermark, device).filter(|at| *at <= watermark);
            let n_changes = sink.n_changes();
            let n_windows = device.windows.len();
            let scope = Scope { name, watermark: self.watermark };
            device.advance(scope, silent_at.unwrap_or(watermark), sink);
            if let Some(at) = silent_at {
                end_alarms_of_silent(name, device, at, sink);
                forgotten.push(name.clone());
            }
            if sink.n_changes() > n_changes || device.windows.len() != n_windows {
                self.changed.insert(name.clone());
            }
        }
        for name in forgotten {
            if let Some(device) = self.devices.remove(&name)
                && !device.plan.0.watches.is_empty()
            {
                self.changed.insert(name);
            }
        }
    }

    /// Gives a device the plan of `profiles`, and takes over what stays the same.
    fn watch(
        &mut self,
        now: Timestamp,
        name: &DeviceName,
        profiles: &BTreeSet<ProfileName>,
        sink: &mut Sink,
    ) {
        let plan = self.plan_for(profiles);
        let Some(device) = self.devices.get_mut(name) else {
            if !plan.watches.is_empty() {
                self.changed.insert(name.clone());
            }
            self.devices.insert(name.clone(), Device::new(plan, now));
            return;
        };
        let old_plan = std::mem::replace(&mut device.plan, PlanRef(Arc::clone(&plan))).0;
        if Arc::ptr_eq(&old_plan, &plan) {
            return;
        }
        let places: Vec<_> =
            old_plan.watches.iter().map(|watch| plan.position(watch.fingerprint)).collect();
        let mut states = vec![WatchState::beginning_after(now); plan.watches.len()];
        for ((old, state), place) in old_plan.watches.iter().zip(&device.states).zip(&places) {
            if let Some(place) = *place {
                states[place] = *state;
            } else if let (Some(judged), Some(started_at)) = (&old.judged, state.alarm.started_at())
            {
                let ending = ending(&self.profiles, profiles, judged);
                sink.put(now, 0, invalidated(name, judged, started_at, now, ending));
            }
        }
        device.windows.retain_mut(|window| {
            let place = usize::try_from(window.watch).ok().and_then(|old| places[old]);
            window.watch = place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX);
            place.is_some()
        });
        device.windows.sort_by_key(|window| (window.watch, window.start));
        device.states = states.into();
        self.changed.insert(name.clone());
    }

    /// The plan of a set of profiles, made if no device has it yet.
    fn plan_for(&mut self, profiles: &BTreeSet<ProfileName>) -> Arc<Plan> {
        if let Some(plan) = self.plans.get(profiles) {
            return Arc::clone(plan);
        }
        // Sets of profiles come and go; keep those that some device has.
        self.plans.retain(|_, plan| Arc::strong_count(plan) > 1);
        let plan = Arc::new(Plan::new(profiles, &self.profiles));
        self.plans.insert(profiles.clone(), Arc::clone(&plan));
        plan
    }

    /// Invalidates the alarms that were restored without their behaviors.
    fn end_orphans(&mut self, now: Timestamp, sink: &mut Sink) {
        for (name, orphans) in std::mem::take(&mut self.orphans) {
            sink.next_device();
            let device = self.devices.get(&name);
            let watching = device.map(|device| device.plan.0.profiles.clone()).unwrap_or_default();
            for Orphan { judged, started_at, .. } in orphans {
                let ending = ending(&self.profiles, &watching, &judged);
                sink.put(now, 0, invalidated(&name, &judged, started_at, now, ending));
            }
            self.changed.insert(name);
        }
    }
}

/// When a device that is not connected is silent for too long, if nothing is seen of it until then:
/// a window's end after the watermark.
fn silent_at(config: &EngineConfig, watermark: Timestamp, device: &Device) -> Option<Timestamp> {
    if device.connections > 0 {
        return None;
    }
    // A behavior that takes three days away for normal would never be judged in two.
    let silence_ms = config.silence_ms.saturating_add(device.plan.0.absence_ms);
    let tick_ms = WindowLen::DEFAULT.as_millis();
    let due = (device.seen_at + silence_ms).max(watermark + 1);
    let tick = due.floor(tick_ms);
    Some(if tick < due { tick + tick_ms } else { tick })
}

fn end_alarms_of_silent(name: &DeviceName, device: &Device, at: Timestamp, sink: &mut Sink) {
    for (place, (watch, state)) in device.plan.0.watches.iter().zip(&device.states).enumerate() {
        if let (Some(judged), Some(started_at)) = (&watch.judged, state.alarm.started_at()) {
            let ending = Ending::Silent { since: device.seen_at };
            sink.put(at, place, invalidated(name, judged, started_at, at, ending));
        }
    }
}

/// Why a behavior that watched a device no longer does.
fn ending(
    profiles: &BTreeMap<ProfileName, Compiled>,
    watching: &BTreeSet<ProfileName>,
    judged: &Judged,
) -> Ending {
    match profiles.get(&judged.profile) {
        None => Ending::ProfileGone,
        Some(_) if !watching.contains(&judged.profile) => Ending::NotWatched,
        Some(profile) if profile.has_behavior(judged.behavior.name.as_str()) => {
            Ending::BehaviorChanged
        }
        Some(_) => Ending::BehaviorGone,
    }
}
