//! Verdicts as text.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use picket_model::{
    DeviceName, Metric, MetricDimension, MetricValue, Note, Timestamp, ViolationEventKind,
};

use super::TEN;
use super::words::{dimension_text, metric_word};
use crate::{ExportPart, Verdict};

/// A sort of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Sort {
    Datapoints,
    Alarms,
    Exports,
}

pub(super) fn time_text(at: Timestamp) -> String {
    let millis = at.as_millis() - TEN;
    let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    match millis {
        0 => format!("{minutes}:{seconds:02}"),
        millis => format!("{minutes}:{seconds:02}.{millis:03}"),
    }
}

fn value_text(value: &MetricValue) -> String {
    fn list<T: Display>(elements: &BTreeSet<T>) -> String {
        let texts: Vec<_> = elements.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "none".to_owned() } else { texts.join("+") }
    }
    match value {
        MetricValue::Count(count) => count.to_string(),
        MetricValue::Number(number) => number.to_string(),
        MetricValue::Ports(ports) => list(ports),
        MetricValue::Numbers(numbers) => list(numbers),
        MetricValue::Strings(strings) => list(strings),
        MetricValue::Addresses(addresses) => list(addresses),
    }
}

fn whose(device: &DeviceName, profile: &str, what: &str) -> String {
    let device = if device.as_str() == "a" { String::new() } else { format!("{device}:") };
    let profile = if profile == "p" { String::new() } else { format!("{profile}.") };
    format!("{device}{profile}{what}")
}

fn series(metric: &Metric, dimension: &Option<Arc<MetricDimension>>) -> String {
    let dimension = dimension.as_ref().map(|dimension| dimension_text(dimension));
    format!("{}{}", metric_word(metric), dimension.unwrap_or_default())
}

fn notes_text(notes: &[Note]) -> String {
    let kinds: Vec<_> = notes.iter().map(|note| note.kind.as_str()).collect();
    if kinds.is_empty() { String::new() } else { format!(" [{}]", kinds.join(", ")) }
}

pub(in crate::tests) fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Datapoint(datapoint) => {
            let what = series(&datapoint.metric, &datapoint.dimension);
            let whose = whose(&datapoint.device, "p", &what);
            format!("{} {whose}={}", time_text(datapoint.at), value_text(&datapoint.value))
        }
        Verdict::Event(event) => {
            let kind = match event.kind {
                ViolationEventKind::InAlarm => "in-alarm",
                ViolationEventKind::Cleared => "cleared",
                ViolationEventKind::Invalidated => "invalidated",
            };
            let early = if event.explanation.early { "!" } else { "" };
            let whose = whose(&event.device, event.profile.as_str(), event.behavior.name.as_str());
            let value = event.value.as_ref().map(|value| format!(" {}", value_text(value)));
            let notes = notes_text(&event.explanation.notes);
            let (at, value) = (time_text(event.at), value.unwrap_or_default());
            format!("{at} {kind}{early} {whose}{value}{notes}")
        }
        Verdict::Continued(more) => {
            let early = if more.explanation.early { "!" } else { "" };
            let whose = whose(&more.device, more.profile.as_str(), more.behavior.name.as_str());
            let (at, value) = (time_text(more.last_violated_at), value_text(&more.last_value));
            let notes = notes_text(&more.explanation.notes);
            format!("{at} again{early} {whose} {value}{notes}")
        }
        Verdict::Exported(exported) => {
            let part = match exported.part {
                ExportPart::Value => "",
                ExportPart::Min => " min",
                ExportPart::Max => " max",
                ExportPart::Total => " total",
            };
            let what = series(&exported.metric, &exported.dimension);
            let whose = whose(&exported.device, exported.profile.as_str(), &what);
            format!("{} {whose}{part} {}", time_text(exported.at), value_text(&exported.value))
        }
    }
}

pub(in crate::tests) fn texts_of(verdicts: &[Verdict], sort: Sort) -> String {
    let sort_of = |verdict: &Verdict| match verdict {
        Verdict::Datapoint(_) => Sort::Datapoints,
        Verdict::Event(_) | Verdict::Continued(_) => Sort::Alarms,
        Verdict::Exported(_) => Sort::Exports,
    };
    let wanted = verdicts.iter().filter(|verdict| sort_of(verdict) == sort);
    wanted.map(verdict_text).collect::<Vec<_>>().join("; ")
}
