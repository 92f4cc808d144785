//! The engine: what the rest of Picket sees of Detect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::{
    BehaviorName, DeviceName, Fact, MetricDimension, Observation, ProfileName, SecurityProfile,
    Timestamp, Tripwires, WindowLen,
};

use crate::closing::Boundary;
use crate::device::{CATCH_UP_MS, Device, PlanRef, Scope};
use crate::explain::{Ending, invalidated};
use crate::fleet::Fleet;
use crate::marks::{Marks, WatchState};
use crate::plan::{Compiled, Numbers, Plan};
use crate::snapshot::{self, Orphan, RestoreError};
use crate::verdict::{Sink, Verdict};
use crate::watch::Judged;
use crate::windows::{Counter, CountsFor, start_of};

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How long after its end a window waits for stragglers before it is judged, in milliseconds.
    pub grace_ms: i64,
    /// How long nothing may be seen of a device that is not connected before its alarms are
    /// invalidated and it is forgotten, in milliseconds.
    pub silence_ms: i64,
}

/// How far back the clock may go without being taken for one that was wrong, in milliseconds: the
/// longest window, so that what is lost by waiting is one.
const TURNS_BACK_MS: i64 = 3_600_000;

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
/// what decided them: time (window end, report or breaking message), device name, place of the
/// behavior; then the datapoint, what is exported of it, and what it did to the alarm.
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
    /// In boxes, so that the map's half-empty nodes stay small.
    devices: BTreeMap<DeviceName, Box<Device>>,
    /// Restored alarms whose behaviors are no more; invalidated by the next call that may.
    orphans: BTreeMap<DeviceName, Vec<Orphan>>,
    /// Devices whose state moved on since [`Engine::take_changes`], in no order, some twice.
    changed: Vec<DeviceName>,
    /// Devices that are compared with each other, by number; empty between two windows' ends.
    fleets: Vec<Fleet>,
    /// Whose datapoints are counted for a model, by number, and how many came.
    training: Vec<(ProfileName, BehaviorName, u64)>,
    /// Datapoints for models whose behaviors changed their numbers since.
    trained: BTreeMap<(ProfileName, BehaviorName), u64>,
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
            changed: Vec::new(),
            fleets: Vec::new(),
            training: Vec::new(),
            trained: BTreeMap::new(),
            watermark: Timestamp::EPOCH,
            window_lens: BTreeSet::from([WindowLen::DEFAULT]),
            is_behind: false,
            late: 0,
        }
    }

    /// Replaces the profiles; alarms of behaviors that are gone or changed are invalidated.
    ///
    /// Behaviors whose metric, dimension and criteria are as before keep their windows and alarms.
    /// New and changed ones count from `now` on; see [`Engine::assign`] for the window that they
    /// begin in.
    pub fn set_profiles(
        &mut self,
        now: Timestamp,
        profiles: Vec<Arc<SecurityProfile>>,
    ) -> Vec<Verdict> {
        let mut numbers = Numbers::default();
        self.profiles = profiles
            .iter()
            .map(|profile| (profile.name.clone(), Compiled::new(profile, &mut numbers)))
            .collect();
        self.window_lens = self.profiles.values().flat_map(Compiled::window_lens).collect();
        self.window_lens.insert(WindowLen::DEFAULT);
        self.fleets = numbers.fleets.into_iter().map(Fleet::new).collect();
        self.set_training(numbers.trained);
        self.plans.clear();
        let mut verdicts = Vec::new();
        let names: Vec<_> = self.devices.keys().cloned().collect();
        for name in names {
            let Some(device) = self.devices.get(&name) else { continue };
            let watching = device.plan.0.profiles.clone();
            self.watch(now, &name, &watching, &mut verdicts);
        }
        self.end_orphans(now, &mut |verdict| verdicts.push(verdict));
        verdicts
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
        let mut verdicts = Vec::new();
        self.watch(now, device, profiles, &mut verdicts);
        self.end_orphans(now, &mut |verdict| verdicts.push(verdict));
        verdicts
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
    /// window that was judged already, or a report older than the device's last one, counts for
    /// nothing but [`Engine::late`]; that the device connected or disconnected is still noted.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Verdict> {
        let name = &observation.device;
        if !self.devices.contains_key(name) {
            let plan = self.plan_for(&BTreeSet::new());
            self.devices.insert(name.clone(), Box::new(Device::new(plan, observation.at)));
        }
        let Some(device) = self.devices.get_mut(name) else { return Vec::new() };
        let mut verdicts = Vec::new();
        let mut out = |verdict| verdicts.push(verdict);
        let mut sink = Sink::new(&mut out);
        // The verdicts of a report come in order; a message may break a window while the one before
        // it still waits.
        if !matches!(observation.fact, Fact::Reported(_)) {
            sink.hold();
        }
        let scope = Scope { name, watermark: self.watermark };
        self.late += u64::from(device.observe(scope, observation, &mut sink));
        if !device.plan.0.watches.is_empty() {
            note_change(&mut self.changed, name, device);
        }
        count_trained(&mut self.training, &mut sink);
        sink.release();
        verdicts
    }

    /// Judges every window that ended at least the grace before `now`, and invalidates the alarms
    /// of devices that were silent for too long.
    ///
    /// A `now` before an earlier one changes nothing. A device is found to be silent at the end of
    /// a window of [`WindowLen::DEFAULT`].
    pub fn advance(&mut self, now: Timestamp) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.advance_with(now, &mut |verdict| verdicts.push(verdict));
        verdicts
    }

    /// Does what [`Engine::advance`] does, and hands each verdict on as soon as it is made, in the
    /// same order: the verdicts of a large fleet need not be in memory at once.
    pub fn advance_with(&mut self, now: Timestamp, out: &mut dyn FnMut(Verdict)) {
        let until = self.watermark.max(now - self.config.grace_ms);
        if self.is_behind || self.next_end(self.watermark).is_some_and(|end| end <= until) {
            self.close_windows(until, out);
            self.is_behind = false;
        }
        self.watermark = until;
        self.end_orphans(now, out);
    }

    /// Begins anew at `now` if that is more than an hour, the longest window, before what was judged:
    /// the clock was ahead and was put right. Returns whether it was.
    ///
    /// Otherwise everything that happens would come too late until the clock is where it was, which
    /// may be years, and a restart would not help. Alarms stay as they are; what was counted in open
    /// windows is forgotten. Cost: a walk over all devices, if the clock was ahead.
    pub fn turn_back(&mut self, now: Timestamp) -> bool {
        if self.watermark.millis_since(now) <= TURNS_BACK_MS {
            return false;
        }
        self.watermark = now - self.config.grace_ms;
        for (name, device) in &mut self.devices {
            device.turn_back(now);
            note_change(&mut self.changed, name, device);
        }
        true
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
        self.next_end(self.watermark).map(|end| end + self.config.grace_ms)
    }

    /// The smallest limits that behaviors set on the device's metrics: crossing one is worth
    /// telling the engine at once. Behaviors that look at a dimension are told apart from these by
    /// [`Engine::slice_tripwires`].
    pub fn tripwires(&self, device: &DeviceName) -> Tripwires {
        self.devices.get(device).map_or(Tripwires::default(), |device| device.plan.0.tripwires)
    }

    /// The smallest limits that behaviors set on the device's metrics in a dimension, for each
    /// dimension that has some, in their order.
    pub fn slice_tripwires(&self, device: &DeviceName) -> Vec<(Arc<MetricDimension>, Tripwires)> {
        let device = self.devices.get(device);
        device.map(|device| device.plan.0.slice_tripwires.clone()).unwrap_or_default()
    }

    /// The dimensions that behaviors and retained metrics of any profile look at.
    pub fn slices(&self) -> BTreeSet<MetricDimension> {
        self.profiles.values().flat_map(Compiled::slices).cloned().collect()
    }

    /// Datapoints of behaviors that wait for a model, since the last call: how many new ones there
    /// are, by profile and behavior. Behaviors without new ones are left out.
    pub fn take_training(&mut self) -> Vec<(ProfileName, BehaviorName, u64)> {
        self.keep_training();
        let trained = std::mem::take(&mut self.trained);
        trained.into_iter().map(|((profile, behavior), n)| (profile, behavior, n)).collect()
    }

    /// Says that no connection is open any more, as after a restart.
    ///
    /// Windows that lie wholly in the downtime give no zeros, nobody's time away is judged in them,
    /// and a device that was connected counts as away since `now`.
    pub fn sessions_lost(&mut self, now: Timestamp) {
        for (name, device) in &mut self.devices {
            if device.presence.connections > 0 {
                device.lose_connections(Scope { name, watermark: self.watermark }, now);
                note_change(&mut self.changed, name, device);
            }
        }
        self.watermark = self.watermark.max(now - self.config.grace_ms);
        self.is_behind = true;
    }

    /// Devices whose state changed since the last call, in the order of their names, with their
    /// state. None means that there is nothing to keep: the device was forgotten or nobody watches
    /// it.
    pub fn take_changes(&mut self) -> Vec<(DeviceName, Option<Vec<u8>>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let states = changed.into_iter().map(|name| {
            let orphans = self.orphans.get(&name).map_or(&[][..], Vec::as_slice);
            let device = self.devices.get_mut(&name).map(|device| {
                device.is_changed = false;
                &*device
            });
            let device =
                device.filter(|device| !device.plan.0.watches.is_empty() || !orphans.is_empty());
            let state = device.map(|device| snapshot::encode(device, orphans, self.watermark));
            (name, state)
        });
        states.collect()
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
        self.devices.insert(device, Box::new(restored.device));
        Ok(())
    }

    /// Observations that came after their window was judged, and reports that came after a later
    /// one, since the engine was made. They counted for nothing.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// The first end of a window after `after`.
    fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        let ends = self.window_lens.iter().map(|len| {
            let len = len.as_millis();
            after.floor(len) + len
        });
        ends.min()
    }

    /// Judges what ended since the watermark and until `until`, one boundary after the other.
    fn close_windows(&mut self, until: Timestamp, out: &mut dyn FnMut(Verdict)) {
        let live_from = self.live_from(until);
        if self.is_behind || live_from > self.watermark {
            for end in self.overdue(live_from) {
                self.close_at(Boundary { end, is_live: false }, out);
            }
        }
        let mut at = live_from;
        while let Some(end) = self.next_end(at).filter(|end| *end <= until) {
            self.close_at(Boundary { end, is_live: true }, out);
            at = end;
        }
    }

    /// Where to begin to look at every boundary up to `until`: what no device that was ever connected
    /// has a part in need not be looked at, in a call that moves the time by hours.
    fn live_from(&self, until: Timestamp) -> Timestamp {
        let hour_ms = 3_600_000;
        let from = self.watermark.max(until - CATCH_UP_MS);
        if until.millis_since(from) <= hour_ms {
            return from;
        }
        let since = self.devices.values().filter_map(|device| device.presence.since()).min();
        since.map_or(until, |since| since.max(from).min(until))
    }

    /// Boundaries up to `until` at which something happens although the engine was not running or
    /// was not told the time: the ends of open windows, and when devices were silent for too long.
    fn overdue(&self, until: Timestamp) -> BTreeSet<Timestamp> {
        let tick_ms = WindowLen::DEFAULT.as_millis();
        let tick_from = |at: Timestamp| (at + (tick_ms - 1)).floor(tick_ms);
        let mut ends = BTreeSet::new();
        for device in self.devices.values() {
            let plan = &device.plan.0;
            for open in device.windows.iter() {
                let len = match open.counter.counts_for() {
                    CountsFor::Series(index) => plan.series[index as usize].len,
                    CountsFor::Watch(place) => plan.watches[place as usize].len,
                };
                let end = start_of(open.number, len) + len.as_millis();
                // An alarm that it raises may be one that silence ends on the next tick.
                ends.extend([end, tick_from(end)]);
            }
            let silent_at = self.silent_since(device).map(|(due, _)| due);
            let unreported_at = device.reports.last().map(|last| last.at + self.config.silence_ms);
            let due = [silent_at, unreported_at].into_iter().flatten();
            ends.extend(due.map(|due| tick_from(due.max(self.watermark + 1))));
        }
        ends.retain(|end| *end <= until);
        ends
    }

    /// When a device that is not connected is silent for too long, if nothing is seen of it until
    /// then, and since when it is.
    fn silent_since(&self, device: &Device) -> Option<(Timestamp, Timestamp)> {
        if device.presence.connections > 0 {
            return None;
        }
        // A behavior that takes three days away for normal would never be judged in two.
        let silence_ms = self.config.silence_ms.saturating_add(device.plan.0.absence_ms);
        Some((device.seen_at + silence_ms, device.seen_at))
    }

    /// Judges everything that ends at a boundary, device by device.
    fn close_at(&mut self, boundary: Boundary, out: &mut dyn FnMut(Verdict)) {
        let end = boundary.end;
        // INVARIANT (watermark): a boundary behind it has no ticks any more.
        let is_tick = end > self.watermark && end.floor(WindowLen::DEFAULT.as_millis()) == end;
        self.rank_fleets(boundary);
        let mut sink = Sink::new(out);
        let mut forgotten = Vec::new();
        let mut devices = std::mem::take(&mut self.devices);
        let mut ending = EndingWatches::default();
        for (name, device) in &mut devices {
            let watches = ending.of(&device.plan, end);
            if !is_tick && watches.is_empty() {
                continue;
            }
            let silence = if is_tick { self.silence(device, end) } else { None };
            // The alarms that it ends stand between what else is said of their watches.
            if silence.is_some() {
                sink.hold();
            }
            let (n_changes, n_windows) = (sink.n_changes(), device.windows.iter().len());
            let scope = Scope { name, watermark: self.watermark };
            device.close(scope, boundary, watches, &self.fleets, &mut sink);
            match silence {
                Some(silence @ Ending::Silent { .. }) => {
                    device.end_alarms(name, end, silence, |_, _| true, &mut sink);
                    forgotten.push(name.clone());
                }
                Some(silence) => {
                    let concerns = |plan: &Plan, place| plan.is_device_side(place);
                    device.end_alarms(name, end, silence, concerns, &mut sink);
                }
                None => {}
            }
            sink.release();
            if sink.n_changes() > n_changes || device.windows.iter().len() != n_windows {
                note_change(&mut self.changed, name, device);
            }
        }
        self.devices = devices;
        for name in forgotten {
            if let Some(device) = self.devices.remove(&name)
                && !device.plan.0.watches.is_empty()
            {
                self.changed.push(name);
            }
        }
        count_trained(&mut self.training, &mut sink);
        self.fleets.iter_mut().for_each(Fleet::clear);
        self.watermark = self.watermark.max(end);
    }

    /// Whether a device, or its reports, were silent for too long at a tick.
    fn silence(&self, device: &Device, at: Timestamp) -> Option<Ending> {
        if let Some((_, since)) = self.silent_since(device).filter(|(due, _)| *due <= at) {
            return Some(Ending::Silent { since });
        }
        let last = device.reports.last().filter(|_| !device.marks.is_empty())?;
        let is_silent = at.millis_since(last.at) >= self.config.silence_ms;
        is_silent.then_some(Ending::Unreported { since: last.at })
    }

    /// Gathers what devices had in the windows that end at a boundary, and finds the percentiles.
    fn rank_fleets(&mut self, boundary: Boundary) {
        if self.fleets.is_empty() {
            return;
        }
        let mut ending = EndingWatches::default();
        for device in self.devices.values() {
            if device.plan.0.has_fleets {
                let watches = ending.of(&device.plan, boundary.end);
                device.join_fleets(boundary, watches, &mut self.fleets);
            }
        }
        self.fleets.iter_mut().for_each(Fleet::decide);
    }

    /// Gives a device the plan of `profiles`, and takes over what stays the same.
    fn watch(
        &mut self,
        now: Timestamp,
        name: &DeviceName,
        profiles: &BTreeSet<ProfileName>,
        verdicts: &mut Vec<Verdict>,
    ) {
        let plan = self.plan_for(profiles);
        let Some(device) = self.devices.get_mut(name) else {
            let mut device = Box::new(Device::new(Arc::clone(&plan), now));
            if !plan.watches.is_empty() {
                note_change(&mut self.changed, name, &mut device);
            }
            self.devices.insert(name.clone(), device);
            return;
        };
        let old_plan = std::mem::replace(&mut device.plan, PlanRef(Arc::clone(&plan))).0;
        if Arc::ptr_eq(&old_plan, &plan) {
            return;
        }
        let places: Vec<_> =
            old_plan.watches.iter().map(|watch| plan.position(watch.fingerprint)).collect();
        let series: Vec<_> =
            old_plan.series.iter().map(|series| plan.series_position(series.fingerprint)).collect();
        let mut marks = Marks::default();
        for (place, watch) in plan.places() {
            if !old_plan.watches.iter().any(|old| old.fingerprint == watch.fingerprint) {
                marks.set(place, WatchState::beginning_after(now));
            }
        }
        for (old_place, state) in device.marks.iter() {
            let old = &old_plan.watches[old_place as usize];
            if let Some(place) = places[old_place as usize] {
                marks.set(place, *state);
            } else if let (Some(judged), Some(started_at)) = (&old.judged, state.alarm.started_at())
            {
                let ending = ending(&self.profiles, profiles, judged);
                verdicts.push(invalidated(name, judged, started_at, now, ending));
            }
        }
        device.marks = marks;
        device.windows.renumber(|counter| match counter {
            CountsFor::Series(index) => series[index as usize].map(Counter::series),
            CountsFor::Watch(place) => places[place as usize].map(Counter::watch),
        });
        device.reports.renumber(&old_plan.trailing, &plan.trailing);
        note_change(&mut self.changed, name, device);
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

    /// Gives the behaviors that wait for a model their numbers.
    fn set_training(&mut self, numbered: Vec<(ProfileName, BehaviorName)>) {
        self.keep_training();
        self.training =
            numbered.into_iter().map(|(profile, behavior)| (profile, behavior, 0)).collect();
    }

    /// Moves what was counted by number to where it is kept by name.
    fn keep_training(&mut self) {
        for (profile, behavior, n) in &mut self.training {
            let n = std::mem::take(n);
            if n > 0 {
                *self.trained.entry((profile.clone(), behavior.clone())).or_insert(0) += n;
            }
        }
    }

    /// Invalidates the alarms that were restored without their behaviors.
    fn end_orphans(&mut self, now: Timestamp, out: &mut dyn FnMut(Verdict)) {
        for (name, orphans) in std::mem::take(&mut self.orphans) {
            let device = self.devices.get(&name);
            let watching = device.map(|device| device.plan.0.profiles.clone()).unwrap_or_default();
            for Orphan { judged, started_at, .. } in orphans {
                let ending = ending(&self.profiles, &watching, &judged);
                out(invalidated(&name, &judged, started_at, now, ending));
            }
            self.changed.push(name);
        }
    }
}

/// The watches whose windows end at a boundary, found once for devices with the same plan that stand
/// in a row.
#[derive(Default)]
struct EndingWatches {
    plan: Option<PlanRef>,
    places: Vec<(u32, u32)>,
}

impl EndingWatches {
    /// Places of a plan's watches whose windows end at `end`, with the numbers of these windows.
    /// `end` is the same in every call.
    fn of(&mut self, plan: &PlanRef, end: Timestamp) -> &[(u32, u32)] {
        if self.plan.as_ref() != Some(plan) {
            self.places.clear();
            self.places.extend(plan.0.ending_at(end));
            self.plan = Some(plan.clone());
        }
        &self.places
    }
}

/// Notes that a device has something to store.
fn note_change(changed: &mut Vec<DeviceName>, name: &DeviceName, device: &mut Device) {
    if !device.is_changed {
        device.is_changed = true;
        changed.push(name.clone());
    }
}

/// Counts the datapoints that a call gave to models.
fn count_trained(training: &mut [(ProfileName, BehaviorName, u64)], sink: &mut Sink<'_>) {
    for number in sink.take_trained() {
        if let Some((.., n)) = training.get_mut(number as usize) {
            *n += 1;
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
