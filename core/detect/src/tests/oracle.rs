//! A naive engine: it keeps every observation and computes everything anew whenever it is asked.
//!
//! No accumulators, no counters of runs, no fingerprints, no snapshots: a window's value is a scan
//! over the observations, an alarm is a scan over all judgements so far.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{
    Behavior, Comparison, Continuation, Datapoint, DeviceName, Evidence, Explanation, Fact, Metric,
    MetricValue, Observation, Operator, ProfileName, Quantity, SecurityProfile, SetOperator,
    Timestamp, ValueSet, ViolationEvent, ViolationEventKind, ViolationId, WindowLen,
};
use sha2::{Digest, Sha256};

use crate::{EngineConfig, Verdict};

/// Verdicts with what they are ordered by: time, device, place of the behavior.
type Keyed = Vec<((i64, usize, usize), Verdict)>;

pub(super) struct Oracle {
    config: EngineConfig,
    profiles: Vec<Arc<SecurityProfile>>,
    devices: BTreeMap<DeviceName, Known>,
    watermark: i64,
}

struct Known {
    assigned: BTreeSet<ProfileName>,
    watches: Vec<Watch>,
    connections: u32,
    present_since: Option<i64>,
    absent_since: Option<i64>,
    seen_at: i64,
}

#[derive(Clone)]
struct Watch {
    profile: Option<ProfileName>,
    behavior: Option<Arc<Behavior>>,
    metric: Metric,
    len: WindowLen,
    emits: bool,
    from: i64,
    /// Everything that was in time and is about the metric, in the order of arrival.
    observations: Vec<Observation>,
    /// Stays that are over, first and last moment.
    stays: Vec<(i64, i64)>,
    judged: BTreeSet<i64>,
    early: BTreeMap<i64, u64>,
    judgements: Vec<(i64, bool)>,
}

struct Judgement {
    violates: bool,
    value: MetricValue,
    magnitude: u64,
}

fn floor(at: i64, len: i64) -> i64 {
    at.div_euclid(len) * len
}

fn millis(at: i64) -> Timestamp {
    Timestamp::from_millis(at)
}

fn concerns(metric: &Metric, fact: &Fact) -> bool {
    match metric {
        Metric::MessageByteSize | Metric::MessagesSent => matches!(fact, Fact::Published(_)),
        Metric::MessagesReceived => matches!(fact, Fact::Received { .. }),
        Metric::AuthorizationFailures => matches!(fact, Fact::Denied(_)),
        Metric::ConnectionAttempts => matches!(fact, Fact::ConnectionAttempted { .. }),
        Metric::Disconnects => matches!(fact, Fact::Disconnected { .. }),
        Metric::SourceIpAddress => matches!(fact, Fact::Connected { .. } | Fact::Published(_)),
        _ => false,
    }
}

fn is_zero_counted(metric: &Metric) -> bool {
    matches!(
        metric,
        Metric::MessagesSent
            | Metric::MessagesReceived
            | Metric::AuthorizationFailures
            | Metric::ConnectionAttempts
            | Metric::Disconnects
    )
}

fn conforms(comparison: &Comparison, number: u64) -> bool {
    let Comparison::Limit(operator, Quantity::Count(limit)) = *comparison else { return true };
    match operator {
        Operator::LessThan => number < limit,
        Operator::LessThanEquals => number <= limit,
        Operator::GreaterThan => number > limit,
        Operator::GreaterThanEquals => number >= limit,
    }
}

fn wants_little(comparison: &Comparison) -> bool {
    matches!(comparison, Comparison::Limit(Operator::LessThan | Operator::LessThanEquals, _))
}

impl Watch {
    fn len(&self) -> i64 {
        self.len.as_millis()
    }

    fn is_same(&self, other: &Watch) -> bool {
        let key = |watch: &Watch| {
            let criteria = watch.behavior.as_ref().map(|behavior| {
                let mut criteria = behavior.criteria.clone();
                criteria.window = Some(criteria.window_or_default());
                (behavior.name.clone(), behavior.metric.clone(), criteria)
            });
            (watch.profile.clone(), watch.metric.clone(), criteria)
        };
        key(self) == key(other)
    }

    fn in_window(&self, start: i64) -> Vec<&Observation> {
        let window = start..start + self.len();
        self.observations.iter().filter(|seen| window.contains(&seen.at.as_millis())).collect()
    }

    fn addresses(&self, start: i64) -> BTreeSet<IpAddr> {
        self.in_window(start)
            .into_iter()
            .filter_map(|seen| match &seen.fact {
                Fact::Connected { source, .. } => Some(*source),
                Fact::Published(published) => Some(published.source),
                _ => None,
            })
            .collect()
    }

    /// How many things were counted.
    fn count(&self, start: i64) -> u64 {
        self.in_window(start)
            .into_iter()
            .map(|seen| match &seen.fact {
                Fact::Published(published) => published.count,
                Fact::Received { count } => *count,
                Fact::Denied(denied) => denied.count,
                _ => 1,
            })
            .sum()
    }

    fn sizes(&self, start: i64) -> Option<(u64, u64)> {
        let sizes: Vec<_> = self
            .in_window(start)
            .into_iter()
            .filter_map(|seen| match &seen.fact {
                Fact::Published(published) => Some((published.bytes_min, published.bytes_max)),
                _ => None,
            })
            .collect();
        Some((sizes.iter().map(|s| s.0).min()?, sizes.iter().map(|s| s.1).max()?))
    }

    fn datapoint(&self, start: i64) -> Option<MetricValue> {
        match self.metric {
            Metric::MessageByteSize => self.sizes(start).map(|(_, max)| MetricValue::Count(max)),
            Metric::SourceIpAddress => {
                Some(self.addresses(start)).filter(|a| !a.is_empty()).map(MetricValue::Addresses)
            }
            _ => Some(MetricValue::Count(self.count(start))),
        }
    }

    fn judgement(&self, start: i64) -> Option<Judgement> {
        let comparison = &self.behavior.as_ref()?.criteria.comparison;
        let number = match self.metric {
            Metric::SourceIpAddress => {
                let addresses = self.addresses(start);
                let is_in = |nets: &Vec<ipnet::IpNet>, address: &IpAddr| {
                    nets.iter().any(|net| net.contains(address))
                };
                let offending: BTreeSet<_> = addresses
                    .iter()
                    .filter(|address| match comparison {
                        Comparison::Set(SetOperator::In, ValueSet::Cidrs(nets)) => {
                            !is_in(nets, address)
                        }
                        Comparison::Set(SetOperator::NotIn, ValueSet::Cidrs(nets)) => {
                            is_in(nets, address)
                        }
                        _ => false,
                    })
                    .copied()
                    .collect();
                if addresses.is_empty() {
                    return None;
                }
                return Some(Judgement {
                    violates: !offending.is_empty(),
                    magnitude: offending.len() as u64,
                    value: MetricValue::Addresses(if offending.is_empty() {
                        addresses
                    } else {
                        offending
                    }),
                });
            }
            Metric::MessageByteSize => {
                let (min, max) = self.sizes(start)?;
                if wants_little(comparison) { max } else { min }
            }
            _ => self.count(start),
        };
        Some(Judgement {
            violates: !conforms(comparison, number),
            value: MetricValue::Count(number),
            magnitude: number,
        })
    }

    fn is_judged_early(&self) -> bool {
        let Some(behavior) = &self.behavior else { return false };
        matches!(self.metric, Metric::MessageByteSize | Metric::SourceIpAddress)
            || wants_little(&behavior.criteria.comparison)
    }

    fn evidence(&self, start: i64) -> Evidence {
        if self.metric == Metric::SourceIpAddress {
            return Evidence::Addresses(self.addresses(start).into_iter().collect());
        }
        let seen = self.in_window(start);
        let moments = seen.iter().map(|seen| match &seen.fact {
            Fact::Published(published) => (published.first_at, published.last_at),
            Fact::Denied(denied) => (denied.first_at, denied.last_at),
            _ => (seen.at, seen.at),
        });
        let Some(first_at) = moments.clone().map(|m| m.0).min() else { return Evidence::Nothing };
        let Some(last_at) = moments.map(|m| m.1).max() else { return Evidence::Nothing };
        let count = self.count(start);
        let messages = seen.iter().filter_map(|seen| match &seen.fact {
            Fact::Published(published) => Some(published),
            _ => None,
        });
        let denials = seen.iter().filter_map(|seen| match &seen.fact {
            Fact::Denied(denied) => Some(denied),
            _ => None,
        });
        // The first of the largest, the last of the latest.
        let largest = messages.rev().max_by_key(|published| published.bytes_max);
        let latest = denials.max_by_key(|denied| denied.last_at);
        match (largest, latest) {
            (Some(largest), _) => Evidence::Messages {
                count,
                first_at,
                last_at,
                largest_bytes: largest.bytes_max,
                largest_topic: Arc::clone(&largest.largest_topic),
            },
            (None, Some(latest)) => Evidence::Denials {
                count,
                first_at,
                last_at,
                last_action: latest.last_action.to_owned(),
                last_resource: Arc::clone(&latest.last_resource),
            },
            (None, None) => Evidence::Count { count, first_at, last_at },
        }
    }

    /// When the alarm was raised, if it is on, and what the last judgement did.
    fn alarm(&self) -> (Option<i64>, &'static str) {
        let Some(behavior) = &self.behavior else { return (None, "") };
        let criteria = &behavior.criteria;
        let (mut on, mut run, mut last) = (None, 0, ("", None));
        for (at, violates) in &self.judgements {
            let counts = *violates != on.is_some();
            run = if counts { run + 1 } else { 0 };
            last = ("", on);
            if on.is_some() && *violates {
                last = ("again", on);
            } else if on.is_none() && run >= criteria.datapoints_to_alarm {
                (on, run) = (Some(*at), 0);
                last = ("in-alarm", on);
            } else if on.is_some() && run >= criteria.datapoints_to_clear {
                last = ("cleared", on);
                (on, run) = (None, 0);
            }
        }
        (last.1.filter(|_| last.0 == "cleared").or(on), last.0)
    }

    fn alarm_on(&self) -> Option<i64> {
        let (started, last) = self.alarm();
        started.filter(|_| last != "cleared")
    }

    fn id(&self, device: &DeviceName, started: i64) -> ViolationId {
        let profile = self.profile.as_ref().unwrap();
        let behavior = &self.behavior.as_ref().unwrap().name;
        let digest = Sha256::digest(format!("{profile}\0{behavior}\0{device}\0{started}"));
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        ViolationId::parse(hex).unwrap()
    }

    fn event(
        &self,
        device: &DeviceName,
        started: i64,
        kind: ViolationEventKind,
        at: i64,
        value: Option<MetricValue>,
        explanation: Explanation,
    ) -> Verdict {
        Verdict::Event(Box::new(ViolationEvent {
            violation: self.id(device, started),
            kind,
            at: millis(at),
            device: device.clone(),
            profile: self.profile.clone().unwrap(),
            behavior: self.behavior.clone().unwrap(),
            value,
            explanation,
        }))
    }

    fn explanation(&self, start: i64, early: bool, evidence: Evidence) -> Explanation {
        Explanation {
            sentence: String::new(),
            window_start: millis(start),
            window: self.len,
            early,
            evidence,
            notes: Vec::new(),
        }
    }

    fn continued(
        &self,
        device: &DeviceName,
        started: i64,
        at: i64,
        value: MetricValue,
        explanation: Explanation,
    ) -> Verdict {
        Verdict::Continued(Box::new(Continuation {
            violation: self.id(device, started),
            device: device.clone(),
            profile: self.profile.clone().unwrap(),
            behavior: self.behavior.clone().unwrap(),
            last_violated_at: millis(at),
            last_value: value,
            explanation,
        }))
    }

    fn settle(
        &mut self,
        device: &DeviceName,
        at: i64,
        judgement: Judgement,
        explanation: Explanation,
    ) -> Option<Verdict> {
        self.judgements.push((at, judgement.violates));
        let value = judgement.value;
        let (started, last) = self.alarm();
        match last {
            "in-alarm" | "cleared" => {
                let kind = if last == "cleared" {
                    ViolationEventKind::Cleared
                } else {
                    ViolationEventKind::InAlarm
                };
                Some(self.event(device, started.unwrap(), kind, at, Some(value), explanation))
            }
            "again" => Some(self.continued(device, started.unwrap(), at, value, explanation)),
            _ => None,
        }
    }

    fn close(
        &mut self,
        device: &DeviceName,
        open_stay: Option<i64>,
        watermark: i64,
        until: i64,
        place: usize,
        out: &mut Keyed,
    ) {
        let len = self.len();
        let mut starts: BTreeSet<i64> =
            self.observations.iter().map(|seen| floor(seen.at.as_millis(), len)).collect();
        if is_zero_counted(&self.metric) {
            let open = open_stay.map(|since| (self.clamped(since, watermark), until));
            for (first, last) in self.stays.iter().copied().chain(open) {
                let mut start = floor(first, len);
                while first <= last && start <= last {
                    starts.insert(start);
                    start += len;
                }
            }
        }
        for start in starts {
            let end = start + len;
            if end > until || !self.judged.insert(start) {
                continue;
            }
            let mut put = |verdict| out.push(((end, 0, place), verdict));
            if let Some(value) = self.datapoint(start).filter(|_| self.emits) {
                put(self.point(device, end, value));
            }
            let Some(judgement) = self.judgement(start) else { continue };
            let explanation = self.explanation(start, false, self.evidence(start));
            if let Some(magnitude) = self.early.get(&start) {
                let Some(started) = self.alarm_on() else { continue };
                if judgement.magnitude != *magnitude {
                    let at = match explanation.evidence {
                        Evidence::Messages { last_at, .. }
                        | Evidence::Count { last_at, .. }
                        | Evidence::Denials { last_at, .. } => last_at.as_millis(),
                        _ => end,
                    };
                    put(self.continued(device, started, at, judgement.value, explanation));
                }
            } else if start >= self.from
                && let Some(verdict) = self.settle(device, end, judgement, explanation)
            {
                put(verdict);
            }
        }
    }

    fn clamped(&self, since: i64, watermark: i64) -> i64 {
        since.max(self.from).max(floor(watermark, self.len()))
    }

    fn point(&self, device: &DeviceName, at: i64, value: MetricValue) -> Verdict {
        let (device, metric) = (device.clone(), self.metric.clone());
        Verdict::Datapoint(Datapoint { device, metric, dimension: None, at: millis(at), value })
    }

    fn invalidated(&self, device: &DeviceName, at: i64) -> Option<Verdict> {
        let started = self.alarm_on()?;
        let explanation = self.explanation(floor(at, self.len()), false, Evidence::Nothing);
        let kind = ViolationEventKind::Invalidated;
        Some(self.event(device, started, kind, at, None, explanation))
    }
}

impl Known {
    fn new(now: i64) -> Self {
        Self {
            assigned: BTreeSet::new(),
            watches: Vec::new(),
            connections: 0,
            present_since: None,
            absent_since: None,
            seen_at: now,
        }
    }

    fn open_stay(&self) -> Option<i64> {
        self.present_since.filter(|_| self.connections > 0)
    }

    fn end_stay(&mut self, watermark: i64, last: i64) {
        let Some(since) = self.open_stay() else { return };
        for watch in &mut self.watches {
            let first = watch.clamped(since, watermark);
            watch.stays.push((first, last));
        }
    }
}

impl Oracle {
    pub(super) fn new(config: EngineConfig) -> Self {
        Self { config, profiles: Vec::new(), devices: BTreeMap::new(), watermark: 0 }
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
                *watch = Watch { emits: watch.emits, ..same.clone() };
            }
        }
        known.watches = watches;
        old.iter()
            .filter(|old| !known.watches.iter().any(|watch| watch.is_same(old)))
            .filter_map(|old| old.invalidated(device, now))
            .collect()
    }

    fn watches_of(&self, names: &BTreeSet<ProfileName>, from: i64) -> Vec<Watch> {
        let fresh = |profile, behavior: Option<Arc<Behavior>>, metric| Watch {
            profile,
            metric,
            len: behavior.as_ref().map_or(WindowLen::DEFAULT, |b| b.criteria.window_or_default()),
            behavior,
            emits: false,
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
        let mut watches = Vec::new();
        for profile in &profiles {
            for behavior in &profile.behaviors {
                let name = Some(profile.name.clone());
                watches.push(fresh(
                    name,
                    Some(Arc::new(behavior.clone())),
                    behavior.metric.clone(),
                ));
            }
        }
        for metric in Metric::BUILT_IN {
            let shortest =
                watches.iter().filter(|watch| watch.metric == metric).map(|watch| watch.len).min();
            let emitter = watches
                .iter_mut()
                .find(|watch| watch.metric == metric && Some(watch.len) == shortest);
            if let Some(emitter) = emitter {
                emitter.emits = true;
            } else if profiles
                .iter()
                .any(|profile| profile.retained_metrics.iter().any(|kept| kept.metric == metric))
            {
                watches.push(Watch { emits: true, ..fresh(None, None, metric) });
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
        match observation.fact {
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
            _ => {}
        }
        let open_stay = known.open_stay();
        let mut out = Vec::new();
        for (place, watch) in known.watches.iter_mut().enumerate() {
            if !concerns(&watch.metric, &observation.fact) || at < watch.clamped(0, watermark) {
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
            watch.close(device, open_stay, watermark, start, place, &mut out);
            watch.early.insert(start, judgement.magnitude);
            watch.from = watch.from.max(start);
            let explanation = watch.explanation(start, true, watch.evidence(start));
            if let Some(verdict) = watch.settle(device, at, judgement, explanation) {
                out.push(((at, 0, place), verdict));
            }
        }
        ordered(out)
    }

    pub(super) fn advance(&mut self, now: Timestamp) -> Vec<Verdict> {
        let watermark = self.watermark;
        self.watermark = watermark.max(now.as_millis() - self.config.grace_ms);
        let tick_ms = WindowLen::DEFAULT.as_millis();
        let (mut out, mut forgotten) = (Vec::new(), Vec::new());
        for (nth, (device, known)) in self.devices.iter_mut().enumerate() {
            let longest_away = known
                .watches
                .iter()
                .filter(|watch| watch.metric == Metric::DisconnectDuration)
                .filter_map(|watch| match watch.behavior.as_ref()?.criteria.comparison {
                    Comparison::Limit(Operator::LessThan, Quantity::Count(limit)) => {
                        Some(limit.saturating_sub(1))
                    }
                    Comparison::Limit(Operator::LessThanEquals, Quantity::Count(limit)) => {
                        Some(limit)
                    }
                    _ => None,
                })
                .max();
            let silence = self.config.silence_ms + longest_away.unwrap_or(0) as i64 * 60_000;
            let due = (known.seen_at + silence).max(watermark + 1);
            let silent_at = floor(due + tick_ms - 1, tick_ms);
            let is_silent = known.connections == 0 && silent_at <= self.watermark;
            let until = if is_silent { silent_at } else { self.watermark };
            let open_stay = known.open_stay();
            let mut mine = Vec::new();
            for (place, watch) in known.watches.iter_mut().enumerate() {
                if watch.metric != Metric::DisconnectDuration {
                    watch.close(device, open_stay, watermark, until, place, &mut mine);
                    continue;
                }
                let Some(present_since) = known.present_since else { continue };
                let from = watermark.max(watch.from).max(present_since);
                let mut at = floor(from, watch.len()) + watch.len();
                while at <= until {
                    let since = known.absent_since.filter(|since| *since <= at);
                    let minutes = since.map_or(0, |since| (at - since) as u64 / 60_000);
                    if watch.emits {
                        let point = watch.point(device, at, MetricValue::Count(minutes));
                        mine.push(((at, 0, place), point));
                    }
                    if let Some(behavior) = watch.behavior.clone() {
                        let judgement = Judgement {
                            violates: !conforms(&behavior.criteria.comparison, minutes),
                            value: MetricValue::Count(minutes),
                            magnitude: minutes,
                        };
                        let evidence = since.map_or(Evidence::Nothing, |since| Evidence::Absence {
                            since: millis(since),
                        });
                        let explanation = watch.explanation(at - watch.len(), false, evidence);
                        let verdict = watch.settle(device, at, judgement, explanation);
                        mine.extend(verdict.map(|verdict| ((at, 0, place), verdict)));
                    }
                    at += watch.len();
                }
            }
            if is_silent {
                for (place, watch) in known.watches.iter().enumerate() {
                    let end = watch.invalidated(device, silent_at);
                    mine.extend(end.map(|verdict| ((silent_at, 0, place), verdict)));
                }
                forgotten.push(device.clone());
            }
            out.extend(mine.into_iter().map(|((at, _, place), v)| ((at, nth, place), v)));
        }
        for device in forgotten {
            self.devices.remove(&device);
        }
        ordered(out)
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

fn ordered(mut keyed: Keyed) -> Vec<Verdict> {
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, verdict)| verdict).collect()
}
