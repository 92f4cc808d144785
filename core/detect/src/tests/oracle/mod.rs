//! A naive engine: it keeps every observation and computes everything anew whenever it is asked.
//!
//! No accumulators, no counters of runs, no rings, no fingerprints, no snapshots: a window's value
//! is a scan over the observations, a sum a scan over all reports, an alarm a scan over all
//! judgements so far. Written from docs/detect.md, so where it and the engine differ, one of them
//! or the page is wrong.

mod known;
mod values;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::catalogue::Source;
use picket_model::{
    Behavior, BehaviorName, Comparison, DeviceName, Evidence, Fact, Metric, MetricDimension,
    MetricValue, Observation, Operator, ProfileName, Quantity, Report, SecurityProfile, Timestamp,
    WindowLen,
};

use self::known::Known;
use self::values::{is_normal, percentile, said, violating};
use self::watch::{Judgement, Watch};
use crate::{EngineConfig, ExportPart, Verdict};

/// Verdicts with what they are ordered by: time, device, place of the behavior.
type Keyed = Vec<((i64, usize, usize), Verdict)>;

/// Datapoints that ML behaviors learn from.
type Trained = BTreeMap<(ProfileName, BehaviorName), u64>;

pub(super) struct Oracle {
    config: EngineConfig,
    profiles: Vec<Arc<SecurityProfile>>,
    devices: BTreeMap<DeviceName, Known>,
    watermark: i64,
    trained: Trained,
}

/// What one device had in a window that its fleet is compared over.
struct Member {
    device: DeviceName,
    nth: usize,
    place: usize,
    value: Quantity,
}

/// Members by profile, behavior and start of the window.
type Fleets = BTreeMap<(ProfileName, BehaviorName, i64), Vec<Member>>;

fn floor(at: i64, len: i64) -> i64 {
    at.div_euclid(len) * len
}

fn millis(at: i64) -> Timestamp {
    Timestamp::from_millis(at)
}

/// The first end of a window of five minutes at a moment or after it.
fn tick_from(at: i64) -> i64 {
    let tick_ms = WindowLen::DEFAULT.as_millis();
    floor(at + tick_ms - 1, tick_ms)
}

fn train(trained: &mut Trained, watch: &Watch) {
    if watch.is_learned() {
        let profile = watch.profile.clone().unwrap();
        let behavior = watch.behavior.as_ref().unwrap().name.clone();
        *trained.entry((profile, behavior)).or_default() += 1;
    }
}

/// One device at a moment: what closing its windows needs.
struct Stand<'a> {
    device: &'a DeviceName,
    known: &'a Known,
    nth: usize,
    watermark: i64,
    until: i64,
}

impl Stand<'_> {
    /// Judges the windows of a watch that are over, in order.
    fn close(
        &self,
        watch: &mut Watch,
        place: usize,
        trained: &mut Trained,
        fleets: &mut Fleets,
        out: &mut Keyed,
    ) {
        let len = watch.len();
        let mut starts: BTreeSet<i64> =
            watch.observations.iter().map(|seen| floor(seen.at.as_millis(), len)).collect();
        if watch.is_zero_counted() {
            let open = self.known.open_stay();
            let open = open.map(|since| (watch.clamped(since, self.watermark), self.until));
            for (first, last) in watch.stays.iter().copied().chain(open) {
                let mut start = floor(first, len);
                while first <= last && start <= last {
                    starts.insert(start);
                    start += len;
                }
            }
        }
        for start in starts {
            let end = start + len;
            if end > self.until || !watch.judged.insert(start) {
                continue;
            }
            let mut put = |verdict| out.push(((end, self.nth, place), verdict));
            // A report was a datapoint when it came.
            if let Some(value) = watch.datapoint(start).filter(|_| watch.is_counted()) {
                let points = watch.points(self.device, end, value, &watch.exports(start));
                points.into_iter().for_each(&mut put);
                train(trained, watch);
            }
            let is_whole = start >= watch.from;
            if watch.is_compared_with_fleet() {
                let (profile, behavior) = (watch.profile.clone(), watch.behavior.as_ref());
                let key = (profile.unwrap(), behavior.unwrap().name.clone(), start);
                let (device, nth) = (self.device.clone(), self.nth);
                if let Some(value) = watch.fleet_value(start).filter(|_| is_whole) {
                    fleets.entry(key).or_default().push(Member { device, nth, place, value });
                }
                continue;
            }
            let Some(judgement) = watch.judgement(start) else { continue };
            let evidence = watch.evidence(start);
            let explained = |watch: &Watch, at| {
                watch.explanation(start, false, evidence.clone(), self.known.notes(at))
            };
            if let Some(magnitude) = watch.early.get(&start) {
                let Some(started) = watch.alarm_on() else { continue };
                if judgement.magnitude != *magnitude {
                    let at = match &evidence {
                        Evidence::Messages { last_at, .. }
                        | Evidence::Count { last_at, .. }
                        | Evidence::Denials { last_at, .. } => last_at.as_millis(),
                        _ => end,
                    };
                    let explanation = explained(watch, at);
                    put(watch.continued(self.device, started, at, judgement.value, explanation));
                }
            } else if is_whole {
                let explanation = explained(watch, end);
                watch.settle(self.device, end, judgement, explanation).into_iter().for_each(put);
            }
        }
    }

    /// Judges how long the device has been away, or without a report, at the ticks of a watch.
    fn tick(&self, watch: &mut Watch, place: usize, trained: &mut Trained, out: &mut Keyed) {
        let Known { present_since, absent_since, .. } = *self.known;
        let Some(present_since) = present_since else { return };
        let is_away = watch.metric == Metric::DisconnectDuration;
        let from = self.watermark.max(watch.from);
        let from = if is_away { from.max(present_since) } else { from };
        let mut at = floor(from, watch.len());
        loop {
            at += watch.len();
            if at > self.until {
                return;
            }
            let (since, evidence) = if is_away {
                let since = absent_since.filter(|since| *since <= at);
                let since_at = |since| Evidence::Absence { since: millis(since) };
                (since, since.map_or(Evidence::Nothing, since_at))
            } else {
                let Some((last, report)) = self.known.reports().last().copied() else { return };
                if !self.known.is_connected_at(at) {
                    continue;
                }
                let (first_at, last_at) = (millis(last), millis(last));
                let last_id = report.id;
                let evidence = Evidence::Reports { count: 1, first_at, last_at, last_id };
                (Some(last.max(present_since)), evidence)
            };
            let passed = since.map_or(0, |since| (at - since).max(0) as u64);
            let value = MetricValue::Count(passed / 60_000);
            let exported = if is_away { passed / 1000 } else { passed / 60_000 };
            let exported = [(ExportPart::Value, MetricValue::Count(exported))];
            let points = watch.points(self.device, at, value.clone(), &exported);
            out.extend(points.into_iter().map(|point| ((at, self.nth, place), point)));
            train(trained, watch);
            if let Some(comparison) = watch.comparison() {
                let violates = violating(comparison, &value).is_some();
                let judgement = Judgement { violates, value, magnitude: 0 };
                let start = at - watch.len();
                let notes = self.known.notes(at);
                let explanation = watch.explanation(start, false, evidence, notes);
                let verdict = watch.settle(self.device, at, judgement, explanation);
                out.extend(verdict.map(|verdict| ((at, self.nth, place), verdict)));
            }
        }
    }
}

impl Oracle {
    pub(super) fn new(config: EngineConfig) -> Self {
        Self {
            config,
            profiles: Vec::new(),
            devices: BTreeMap::new(),
            watermark: 0,
            trained: BTreeMap::new(),
        }
    }

    pub(super) fn take_training(&mut self) -> Vec<(ProfileName, BehaviorName, u64)> {
        let trained = std::mem::take(&mut self.trained);
        trained.into_iter().map(|((profile, behavior), n)| (profile, behavior, n)).collect()
    }

    pub(super) fn set_profiles(
        &mut self,
        now: Timestamp,
        profiles: Vec<Arc<SecurityProfile>>,
    ) -> Vec<Verdict> {
        self.profiles = profiles;
        let names: Vec<_> = self.devices.keys().cloned().collect();
        let mut verdicts = Vec::new();
        for name in names {
            let assigned = self.devices[&name].assigned.clone();
            verdicts.extend(self.assign(now, &name, &assigned));
        }
        verdicts
    }

    pub(super) fn assign(
        &mut self,
        now: Timestamp,
        device: &DeviceName,
        profiles: &BTreeSet<ProfileName>,
    ) -> Vec<Verdict> {
        let now = now.as_millis();
        let from = if self.devices.contains_key(device) { now + 1 } else { 0 };
        let mut watches = self.watches_of(profiles, from);
        let known = self.devices.entry(device.clone()).or_insert_with(|| Known::new(now));
        known.assigned = profiles.clone();
        let old = std::mem::take(&mut known.watches);
        for watch in &mut watches {
            if let Some(same) = old.iter().find(|old| old.is_same(watch)) {
                *watch = Watch {
                    behavior: watch.behavior.clone(),
                    emits: watch.emits,
                    exporters: watch.exporters.clone(),
                    ..same.clone()
                };
            }
        }
        known.watches = watches;
        old.iter()
            .filter(|old| !known.watches.iter().any(|watch| watch.is_same(old)))
            .filter_map(|old| old.invalidated(device, now))
            .collect()
    }

    fn watches_of(&self, names: &BTreeSet<ProfileName>, from: i64) -> Vec<Watch> {
        let fresh = |metric: &Metric, dimension: &Option<MetricDimension>| Watch {
            profile: None,
            behavior: None,
            metric: metric.clone(),
            dimension: dimension.clone().map(Arc::new),
            len: WindowLen::DEFAULT,
            emits: false,
            exporters: Vec::new(),
            from,
            observations: Vec::new(),
            stays: Vec::new(),
            judged: BTreeSet::new(),
            early: BTreeMap::new(),
            judgements: Vec::new(),
        };
        let mut profiles: Vec<_> =
            self.profiles.iter().filter(|profile| names.contains(&profile.name)).collect();
        profiles.sort_by_key(|profile| profile.name.clone());
        let mut watches = Vec::<Watch>::new();
        for profile in &profiles {
            let watch = |behavior: &Behavior| Watch {
                profile: Some(profile.name.clone()),
                len: behavior.criteria.window_or_default(),
                exporters: behavior.export.then(|| profile.name.clone()).into_iter().collect(),
                behavior: Some(Arc::new(behavior.clone())),
                ..fresh(&behavior.metric, &behavior.dimension)
            };
            watches.extend(profile.behaviors.iter().map(watch));
        }
        // Every series has one watch that its values come from.
        for n in 0..watches.len() {
            let is_it = |other: &&Watch| {
                other.metric == watches[n].metric && other.dimension == watches[n].dimension
            };
            let rivals = watches.iter().filter(is_it);
            let is_by_report =
                watches[n].metric.source() != Source::Cloud && !watches[n].is_ticked();
            let best = rivals.map(|it| if is_by_report { WindowLen::DEFAULT } else { it.len });
            let best = best.min().unwrap();
            let is_best = |it: &Watch| is_it(&it) && (is_by_report || it.len == best);
            let first = watches.iter().position(is_best).unwrap();
            watches[n].emits = first == n;
        }
        let mut kept = BTreeMap::<(Metric, Option<MetricDimension>), Vec<ProfileName>>::new();
        for profile in &profiles {
            for it in &profile.retained_metrics {
                let exporters = kept.entry((it.metric.clone(), it.dimension.clone())).or_default();
                if it.export && !exporters.contains(&profile.name) {
                    exporters.push(profile.name.clone());
                }
            }
        }
        for ((metric, dimension), exporters) in kept {
            let kept = fresh(&metric, &dimension);
            let is_judged = |watch: &Watch| {
                watch.behavior.is_some()
                    && watch.metric == kept.metric
                    && watch.dimension == kept.dimension
            };
            let emits = !watches.iter().any(is_judged);
            if emits || !exporters.is_empty() {
                watches.push(Watch { emits, exporters, ..kept });
            }
        }
        watches
    }

    pub(super) fn observe(&mut self, observation: &Observation) -> Vec<Verdict> {
        let at = observation.at.as_millis();
        let device = &observation.device;
        let watermark = self.watermark;
        let known = self.devices.entry(device.clone()).or_insert_with(|| Known::new(at));
        known.seen_at = known.seen_at.max(at);
        match &observation.fact {
            Fact::Connected { .. } => {
                if known.connections == 0 {
                    known.present_since = Some(at);
                    known.absent_since = None;
                }
                known.connections += 1;
            }
            Fact::Disconnected { .. } => {
                if known.connections == 1 {
                    known.end_stay(watermark, at);
                    known.absent_since = known.present_since.map(|since| since.max(at));
                }
                known.connections = known.connections.saturating_sub(1);
            }
            Fact::Published(_) | Fact::ReportRefused { .. } if observation.slice.is_none() => {
                known.heard.push(observation.clone());
            }
            Fact::Reported(report) => {
                if known.last_report().is_some_and(|last| at < last) {
                    return Vec::new();
                }
                return Self::report(known, &mut self.trained, watermark, observation, report);
            }
            _ => {}
        }
        let mut out = Vec::new();
        let mut watches = std::mem::take(&mut known.watches);
        for (place, watch) in watches.iter_mut().enumerate() {
            if !watch.concerns(observation) || at < watch.clamped(0, watermark) {
                continue;
            }
            watch.observations.push(observation.clone());
            let start = floor(at, watch.len());
            if !watch.is_judged_early() || watch.early.contains_key(&start) {
                continue;
            }
            let Some(judgement) = watch.judgement(start).filter(|found| found.violates) else {
                continue;
            };
            // The windows before are judged first, without waiting any longer.
            let stand = Stand { device, known, nth: 0, watermark, until: start };
            stand.close(watch, place, &mut self.trained, &mut BTreeMap::new(), &mut out);
            watch.early.insert(start, judgement.magnitude);
            watch.from = watch.from.max(start);
            let (evidence, notes) = (watch.evidence(start), known.notes(at));
            let explanation = watch.explanation(start, true, evidence, notes);
            if let Some(verdict) = watch.settle(device, at, judgement, explanation) {
                out.push(((at, 0, place), verdict));
            }
        }
        known.watches = watches;
        ordered(out)
    }

    fn report(
        known: &mut Known,
        trained: &mut Trained,
        watermark: i64,
        observation: &Observation,
        report: &Report,
    ) -> Vec<Verdict> {
        let at = observation.at.as_millis();
        let device = &observation.device;
        let is_emptied = |watch: &Watch| {
            let value = said(&watch.metric, report).filter(|_| at >= watch.from);
            value.is_some_and(|value| watch.is_emptied_by(&value))
        };
        if known.watches.iter().any(is_emptied) {
            known.emptied.push(at);
        }
        known.heard.push(observation.clone());
        let surplus = known.surplus().into_iter().rfind(|(then, _)| *then == at);
        let surplus =
            surplus.filter(|_| report.network.bytes_out.is_some()).map(|(_, bytes)| bytes);
        let notes = known.notes(at);
        let mut watches = std::mem::take(&mut known.watches);
        let mut out = Vec::new();
        for watch in watches.iter_mut().filter(|watch| at >= watch.from) {
            if watch.is_compared_with_fleet()
                && watch.metric.source() == Source::Device
                && at >= watch.clamped(0, watermark)
            {
                watch.observations.push(observation.clone());
            }
            let own = match watch.metric {
                Metric::BytesOutDisagrees => surplus.map(MetricValue::Count),
                _ => said(&watch.metric, report),
            };
            let Some(own) = own else { continue };
            out.extend(watch.points(device, at, own.clone(), &[(ExportPart::Value, own.clone())]));
            train(trained, watch);
            let judged = watch.judgement_of_report(at, report, &known.reports(), &own);
            if let Some((judgement, start, evidence)) = judged {
                let explanation = watch.explanation(start, false, evidence, notes.clone());
                out.extend(watch.settle(device, at, judgement, explanation));
            }
        }
        known.watches = watches;
        out
    }

    pub(super) fn advance(&mut self, now: Timestamp) -> Vec<Verdict> {
        let watermark = self.watermark;
        self.watermark = watermark.max(now.as_millis() - self.config.grace_ms);
        let (mut out, mut fleets) = (Vec::new(), Fleets::new());
        for (nth, (device, known)) in self.devices.iter_mut().enumerate() {
            let silent_at = silent_at(&self.config, watermark, known);
            let until = silent_at.filter(|at| *at <= self.watermark).unwrap_or(self.watermark);
            let mut watches = std::mem::take(&mut known.watches);
            let stand = Stand { device, known, nth, watermark, until };
            for (place, watch) in watches.iter_mut().enumerate() {
                if watch.is_ticked() {
                    stand.tick(watch, place, &mut self.trained, &mut out);
                } else {
                    stand.close(watch, place, &mut self.trained, &mut fleets, &mut out);
                }
            }
            known.watches = watches;
        }
        for ((_, _, start), members) in fleets {
            self.compare(start, &members, &mut out);
        }
        self.end_silent(watermark, &mut out);
        ordered(out)
    }

    /// Judges the members of a fleet by each other.
    fn compare(&mut self, start: i64, members: &[Member], out: &mut Keyed) {
        let values: Vec<_> = members.iter().map(|member| member.value).collect();
        if values.iter().any(|value| matches!(value, Quantity::Number(n) if n.get() < 0.0)) {
            return;
        }
        for Member { device, nth, place, value } in members {
            let Some(known) = self.devices.get_mut(device) else { continue };
            let mut watches = std::mem::take(&mut known.watches);
            let watch = &mut watches[*place];
            let Some(Comparison::Percentile(operator, which)) = watch.comparison().cloned() else {
                panic!("not compared with a fleet");
            };
            let limit = percentile(which, &values);
            let violates = !is_normal(operator, *value, limit);
            let judgement = Judgement { violates, value: (*value).into(), magnitude: 0 };
            let evidence = Evidence::Fleet {
                value: *value,
                percentile: which,
                limit,
                devices: values.len() as u64,
            };
            let end = start + watch.len();
            let explanation = watch.explanation(start, false, evidence, known.notes(end));
            let verdict = watch.settle(device, end, judgement, explanation);
            out.extend(verdict.map(|verdict| ((end, *nth, *place), verdict)));
            known.watches = watches;
        }
    }

    /// Ends the alarms of devices that are silent, or that report no more.
    fn end_silent(&mut self, watermark: i64, out: &mut Keyed) {
        let mut forgotten = Vec::new();
        for (nth, (device, known)) in self.devices.iter_mut().enumerate() {
            let silent_at = silent_at(&self.config, watermark, known);
            let silent_at = silent_at.filter(|at| *at <= self.watermark);
            let last_report = known.last_report();
            let unheard_at = last_report
                .map(|last| tick_from((last + self.config.silence_ms).max(watermark + 1)))
                .filter(|at| *at <= silent_at.unwrap_or(self.watermark));
            for (place, watch) in known.watches.iter_mut().enumerate() {
                let is_heard = watch.metric.source() == Source::Device;
                for at in unheard_at.filter(|_| is_heard).into_iter().chain(silent_at) {
                    let end = watch.invalidated(device, at);
                    if end.is_some() {
                        watch.judgements.clear();
                    }
                    out.extend(end.map(|verdict| ((at, nth, place), verdict)));
                }
            }
            if silent_at.is_some() {
                forgotten.push(device.clone());
            }
        }
        for device in forgotten {
            self.devices.remove(&device);
        }
    }

    pub(super) fn sessions_lost(&mut self, now: Timestamp) {
        let now = now.as_millis();
        for known in self.devices.values_mut().filter(|known| known.connections > 0) {
            known.end_stay(self.watermark, self.watermark);
            known.connections = 0;
            known.present_since = Some(now);
            known.absent_since = Some(now);
            known.seen_at = known.seen_at.max(now);
        }
        self.watermark = self.watermark.max(now - self.config.grace_ms);
    }

    /// A restart forgets devices that nobody watches.
    pub(super) fn restart(&mut self) {
        self.devices.retain(|_, known| !known.watches.is_empty());
    }
}

/// When a device that is not connected is silent for too long, if nothing is seen of it until then.
fn silent_at(config: &EngineConfig, watermark: i64, known: &Known) -> Option<i64> {
    if known.connections > 0 {
        return None;
    }
    let longest_away = known
        .watches
        .iter()
        .filter(|watch| watch.metric == Metric::DisconnectDuration)
        .filter_map(|watch| match watch.comparison()? {
            Comparison::Limit(Operator::LessThan, Quantity::Count(n)) => Some(n.saturating_sub(1)),
            Comparison::Limit(Operator::LessThanEquals, Quantity::Count(n)) => Some(*n),
            _ => None,
        })
        .max();
    let silence = config.silence_ms + longest_away.unwrap_or(0) as i64 * 60_000;
    Some(tick_from((known.seen_at + silence).max(watermark + 1)))
}

fn ordered(mut keyed: Keyed) -> Vec<Verdict> {
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, verdict)| verdict).collect()
}
