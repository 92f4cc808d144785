//! What the oracle keeps for one behavior or retained metric of one device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::catalogue::{Kind, Source};
use picket_model::{
    Behavior, Comparison, Continuation, Datapoint, DeviceName, Evidence, Explanation, Fact, Metric,
    MetricDimension, MetricValue, Note, Observation, Operator, ProfileName, Quantity, Report,
    ViolationEvent, ViolationEventKind, ViolationId, WindowLen,
};
use sha2::{Digest, Sha256};

use super::values::{is_empty_list, is_increment, quantity, said, shown, violating};
use super::{floor, millis};
use crate::{ExportPart, Exported, Verdict};

#[derive(Clone)]
pub(super) struct Watch {
    pub(super) profile: Option<ProfileName>,
    pub(super) behavior: Option<Arc<Behavior>>,
    pub(super) metric: Metric,
    pub(super) dimension: Option<Arc<MetricDimension>>,
    pub(super) len: WindowLen,
    pub(super) emits: bool,
    /// Profiles that its values are exported for.
    pub(super) exporters: Vec<ProfileName>,
    pub(super) from: i64,
    /// Everything that is about the metric and came before its window was over, in the order of
    /// arrival.
    pub(super) observations: Vec<Observation>,
    /// Stays that are over, first and last moment.
    pub(super) stays: Vec<(i64, i64)>,
    pub(super) judged: BTreeSet<i64>,
    pub(super) early: BTreeMap<i64, u64>,
    /// All judgements since the alarm last ended without being cleared.
    pub(super) judgements: Vec<(i64, bool)>,
}

pub(super) struct Judgement {
    pub(super) violates: bool,
    pub(super) value: MetricValue,
    pub(super) magnitude: u64,
}

impl Watch {
    pub(super) fn len(&self) -> i64 {
        self.len.as_millis()
    }

    pub(super) fn comparison(&self) -> Option<&Comparison> {
        Some(&self.behavior.as_ref()?.criteria.comparison)
    }

    /// Whether the broker counts it over windows of the clock.
    pub(super) fn is_counted(&self) -> bool {
        self.metric.source() == Source::Cloud && self.metric != Metric::DisconnectDuration
    }

    /// Whether it is looked at on the tick.
    pub(super) fn is_ticked(&self) -> bool {
        matches!(self.metric, Metric::DisconnectDuration | Metric::ReportMissing)
    }

    pub(super) fn is_compared_with_fleet(&self) -> bool {
        matches!(self.comparison(), Some(Comparison::Percentile(..)))
    }

    pub(super) fn is_learned(&self) -> bool {
        matches!(self.comparison(), Some(Comparison::Learned(_)))
    }

    pub(super) fn is_of_list(&self) -> bool {
        matches!(self.metric.kind(), Kind::Addresses | Kind::Ports | Kind::Numbers | Kind::Strings)
    }

    pub(super) fn is_same(&self, other: &Watch) -> bool {
        let key = |watch: &Watch| {
            let criteria = watch.behavior.as_ref().map(|behavior| {
                let mut criteria = behavior.criteria.clone();
                criteria.window = Some(criteria.window_or_default());
                (behavior.name.clone(), criteria)
            });
            (watch.profile.clone(), watch.metric.clone(), watch.dimension.clone(), criteria)
        };
        key(self) == key(other)
    }

    /// Whether the observation is of what a cloud-side metric counts.
    pub(super) fn concerns(&self, observation: &Observation) -> bool {
        let fact = &observation.fact;
        let is_counted = match self.metric {
            Metric::MessageByteSize | Metric::MessagesSent => matches!(fact, Fact::Published(_)),
            Metric::MessagesReceived => matches!(fact, Fact::Received { .. }),
            Metric::AuthorizationFailures => matches!(fact, Fact::Denied(_)),
            Metric::ConnectionAttempts => matches!(fact, Fact::ConnectionAttempted { .. }),
            Metric::Disconnects => matches!(fact, Fact::Disconnected { .. }),
            Metric::SourceIpAddress => matches!(fact, Fact::Connected { .. } | Fact::Published(_)),
            _ => false,
        };
        is_counted && observation.slice == self.dimension
    }

    pub(super) fn is_zero_counted(&self) -> bool {
        matches!(
            self.metric,
            Metric::MessagesSent
                | Metric::MessagesReceived
                | Metric::AuthorizationFailures
                | Metric::ConnectionAttempts
                | Metric::Disconnects
        )
    }

    pub(super) fn in_window(&self, start: i64) -> Vec<&Observation> {
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

    /// The smallest and the largest message, and all together.
    fn sizes(&self, start: i64) -> Option<[u64; 3]> {
        let sizes: Vec<_> = self
            .in_window(start)
            .into_iter()
            .filter_map(|seen| match &seen.fact {
                Fact::Published(it) => Some((it.bytes_min, it.bytes_max, it.bytes_total)),
                _ => None,
            })
            .collect();
        let min = sizes.iter().map(|s| s.0).min()?;
        let max = sizes.iter().map(|s| s.1).max()?;
        Some([min, max, sizes.iter().map(|s| s.2).sum()])
    }

    /// What a cloud-side metric shows of a window.
    pub(super) fn datapoint(&self, start: i64) -> Option<MetricValue> {
        match self.metric {
            Metric::MessageByteSize => self.sizes(start).map(|sizes| MetricValue::Count(sizes[1])),
            Metric::SourceIpAddress => {
                Some(self.addresses(start)).filter(|a| !a.is_empty()).map(MetricValue::Addresses)
            }
            _ => Some(MetricValue::Count(self.count(start))),
        }
    }

    /// What a cloud-side metric exports of a window.
    pub(super) fn exports(&self, start: i64) -> Vec<(ExportPart, MetricValue)> {
        match self.sizes(start) {
            Some(sizes) if self.metric == Metric::MessageByteSize => {
                let parts = [ExportPart::Min, ExportPart::Max, ExportPart::Total];
                parts.into_iter().zip(sizes.map(MetricValue::Count)).collect()
            }
            _ => {
                self.datapoint(start).map(|value| (ExportPart::Value, value)).into_iter().collect()
            }
        }
    }

    /// What a window of the device has in the eyes of its fleet.
    pub(super) fn fleet_value(&self, start: i64) -> Option<Quantity> {
        if self.is_counted() {
            return match self.metric {
                Metric::MessageByteSize => self.sizes(start).map(|sizes| Quantity::Count(sizes[2])),
                _ => Some(Quantity::Count(self.count(start))),
            };
        }
        let values: Vec<_> = self
            .in_window(start)
            .into_iter()
            .filter_map(|seen| match &seen.fact {
                Fact::Reported(report) => said(&self.metric, report).as_ref().map(quantity),
                _ => None,
            })
            .collect();
        let last = *values.last()?;
        if !is_increment(&self.metric) {
            return Some(last);
        }
        let count = |quantity: &Quantity| match quantity {
            Quantity::Count(count) => *count,
            Quantity::Number(number) => panic!("{number} is no increment"),
        };
        Some(Quantity::Count(values.iter().map(count).fold(0, u64::saturating_add)))
    }

    /// The judgement of a window of a cloud-side metric by an absolute criteria.
    pub(super) fn judgement(&self, start: i64) -> Option<Judgement> {
        let comparison = self.comparison()?;
        let value = match (comparison, &self.metric) {
            (Comparison::Percentile(..) | Comparison::Learned(_), _) => return None,
            (Comparison::Limit(operator, _), Metric::MessageByteSize) => {
                let [min, max, _] = self.sizes(start)?;
                let is_upper = matches!(operator, Operator::LessThan | Operator::LessThanEquals);
                MetricValue::Count(if is_upper { max } else { min })
            }
            _ => self.datapoint(start)?,
        };
        let bad = violating(comparison, &value);
        let magnitude = match bad.as_ref().unwrap_or(&value) {
            MetricValue::Count(count) => *count,
            MetricValue::Addresses(addresses) if bad.is_some() => addresses.len() as u64,
            _ => 0,
        };
        Some(Judgement { violates: bad.is_some(), magnitude, value: bad.unwrap_or(value) })
    }

    /// Whether nothing that may still come could heal a violating window.
    pub(super) fn is_judged_early(&self) -> bool {
        match self.comparison() {
            Some(Comparison::Limit(operator, _)) => {
                self.metric == Metric::MessageByteSize
                    || matches!(operator, Operator::LessThan | Operator::LessThanEquals)
            }
            Some(Comparison::Set(..)) => true,
            _ => false,
        }
    }

    /// What the window of a cloud-side metric rests on.
    pub(super) fn evidence(&self, start: i64) -> Evidence {
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

    /// What a report that has come last comes to: the value to judge, and what that rests on.
    pub(super) fn judgement_of_report(
        &self,
        at: i64,
        report: &Report,
        reports: &[(i64, &Arc<Report>)],
        own: &MetricValue,
    ) -> Option<(Judgement, i64, Evidence)> {
        let comparison = self.comparison()?;
        let operator = match comparison {
            Comparison::Limit(operator, _) => Some(*operator),
            Comparison::Set(..) => None,
            Comparison::Percentile(..) | Comparison::Learned(_) => return None,
        };
        let evidence = |count, first_at| Evidence::Reports {
            count,
            first_at: millis(first_at),
            last_at: millis(at),
            last_id: report.id,
        };
        let (value, start, mut evidence, is_whole) = if is_increment(&self.metric) {
            let is_in = |then: i64| (at - then) * 10 < self.len() * 9 && then >= self.from;
            let summed: Vec<(i64, u64)> = reports
                .iter()
                .filter(|(then, _)| is_in(*then))
                .filter_map(|(then, report)| match said(&self.metric, report)? {
                    MetricValue::Count(count) => Some((*then, count)),
                    other => panic!("{other:?} is no increment"),
                })
                .collect();
            let sum = summed.iter().map(|(_, n)| *n).fold(0, u64::saturating_add);
            let is_whole = (at - self.from) * 10 >= self.len() * 9;
            let rests_on = evidence(summed.len() as u64, summed[0].0);
            (MetricValue::Count(sum), at - self.len(), rests_on, is_whole)
        } else {
            (own.clone(), at, evidence(1, at), true)
        };
        let bad = violating(comparison, &value);
        let is_upper = matches!(operator, Some(Operator::LessThan | Operator::LessThanEquals));
        if !(is_whole || (bad.is_some() && is_upper)) {
            return None;
        }
        let violates = bad.is_some();
        let value = bad.unwrap_or(value);
        if let Some(elements) = shown(&self.metric, report, &value) {
            evidence = elements;
        }
        Some((Judgement { violates, value, magnitude: 0 }, start, evidence))
    }

    /// Whether an empty list would end what a violating one began.
    pub(super) fn is_emptied_by(&self, value: &MetricValue) -> bool {
        let has_begun = self.judgements.last().is_some_and(|(_, violates)| *violates);
        self.is_of_list()
            && self.behavior.is_some()
            && is_empty_list(value)
            && (has_begun || self.alarm_on().is_some())
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

    pub(super) fn alarm_on(&self) -> Option<i64> {
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

    pub(super) fn explanation(
        &self,
        start: i64,
        early: bool,
        evidence: Evidence,
        notes: Vec<Note>,
    ) -> Explanation {
        let (sentence, window_start) = (String::new(), millis(start));
        Explanation { sentence, window_start, window: self.len, early, evidence, notes }
    }

    pub(super) fn continued(
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

    /// Keeps a judgement, and says what it did to the alarm.
    pub(super) fn settle(
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

    /// Ends the alarm without clearing it.
    pub(super) fn invalidated(&self, device: &DeviceName, at: i64) -> Option<Verdict> {
        let started = self.alarm_on()?;
        let start = floor(at, self.len());
        let explanation = self.explanation(start, false, Evidence::Nothing, Vec::new());
        let kind = ViolationEventKind::Invalidated;
        Some(self.event(device, started, kind, at, None, explanation))
    }

    /// The moment from which on a window is open for the watch, or `since` if that is later.
    pub(super) fn clamped(&self, since: i64, watermark: i64) -> i64 {
        since.max(self.from).max(floor(watermark, self.len()))
    }

    /// A value with whatever is made of it: kept, exported.
    pub(super) fn points(
        &self,
        device: &DeviceName,
        at: i64,
        value: MetricValue,
        exports: &[(ExportPart, MetricValue)],
    ) -> Vec<Verdict> {
        let at = millis(at);
        let mut out = Vec::new();
        if self.emits {
            let (metric, dimension) = (self.metric.clone(), self.dimension.clone());
            out.push(Verdict::Datapoint(Datapoint {
                device: device.clone(),
                metric,
                dimension,
                at,
                value,
            }));
        }
        for profile in &self.exporters {
            for (part, value) in exports {
                out.push(Verdict::Exported(Box::new(Exported {
                    profile: profile.clone(),
                    device: device.clone(),
                    metric: self.metric.clone(),
                    part: *part,
                    dimension: self.dimension.clone(),
                    at,
                    value: value.clone(),
                })));
            }
        }
        out
    }
}
