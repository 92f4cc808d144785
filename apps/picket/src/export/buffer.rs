//! What waits to be exported.
//!
//! What the broker counts in windows is added up over a period, so that a subscriber gets one value
//! of each whatever the windows of behaviors are. What devices report is kept as it came.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use picket_detect::{ExportPart, Exported};
use picket_model::catalogue::{Kind, Source};
use picket_model::{DeviceName, Metric, MetricDimension, MetricValue, ProfileName, Timestamp};

use crate::limits::EXPORT_ELEMENTS_MAX;

/// The values of a period, at most [`EXPORT_ELEMENTS_MAX`] of them with the elements of lists.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    values: BTreeMap<ProfileName, BTreeMap<Series, Value>>,
    n_elements: usize,
    n_dropped: u64,
}

/// What values are of that are added up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) device: DeviceName,
    pub(super) metric: Metric,
    pub(super) dimension: Option<Arc<MetricDimension>>,
    pub(super) part: ExportPart,
    /// The moment of a value that stands for itself.
    at: Option<Timestamp>,
}

/// A value, and the last moment that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) at: Timestamp,
    pub(super) value: MetricValue,
}

/// How values of one series come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Together {
    Sum,
    Smallest,
    Largest,
    /// The values of lists in one list.
    All,
    Latest,
    /// Not at all: each stands for itself.
    Apart,
}

impl Together {
    fn of(metric: &Metric, part: ExportPart) -> Self {
        match (part, metric.kind()) {
            (ExportPart::Min, _) => Self::Smallest,
            (ExportPart::Max, _) => Self::Largest,
            (ExportPart::Total, _) | (ExportPart::Value, Kind::Count | Kind::Size) => Self::Sum,
            (ExportPart::Value, Kind::Addresses) if metric.source() == Source::Cloud => Self::All,
            (ExportPart::Value, Kind::Duration) => Self::Latest,
            (
                ExportPart::Value,
                Kind::Increment
                | Kind::Gauge
                | Kind::Delta
                | Kind::Addresses
                | Kind::Ports
                | Kind::Numbers
                | Kind::Strings,
            ) => Self::Apart,
        }
    }

    /// Brings a value into one that is there.
    fn bring(self, there: &mut Value, new: Value) {
        let at = there.at.max(new.at);
        match (self, &mut there.value, new.value) {
            (Self::Sum, MetricValue::Count(sum), MetricValue::Count(count)) => {
                *sum = sum.saturating_add(count);
            }
            (Self::Smallest, MetricValue::Count(smallest), MetricValue::Count(count)) => {
                *smallest = count.min(*smallest);
            }
            (Self::Largest, MetricValue::Count(largest), MetricValue::Count(count)) => {
                *largest = count.max(*largest);
            }
            (Self::All, MetricValue::Addresses(all), MetricValue::Addresses(more)) => {
                all.extend(more);
            }
            // Two behaviors that look at one report say the same of it.
            (_, there_value, value) => {
                if new.at >= there.at {
                    *there_value = value;
                }
            }
        }
        there.at = at;
    }
}

impl Buffer {
    /// Takes a value in; false if there is no room for it.
    pub(super) fn add(&mut self, exported: Exported) -> bool {
        let Exported { profile, device, metric, part, dimension, at, value } = exported;
        let together = Together::of(&metric, part);
        let at_of_its_own = (together == Together::Apart).then_some(at);
        let series = Series { device, metric, dimension, part, at: at_of_its_own };
        let value = Value { at, value };
        let room = EXPORT_ELEMENTS_MAX.saturating_sub(self.n_elements);
        match self.values.entry(profile).or_default().entry(series) {
            Entry::Vacant(place) => {
                let n = n_elements(&value.value);
                if n > room {
                    self.n_dropped += 1;
                    return false;
                }
                self.n_elements += n;
                place.insert(value);
            }
            Entry::Occupied(mut place) => {
                let there = place.get_mut();
                let n_before = n_elements(&there.value);
                // What may grow: a list, by no more than comes in.
                if n_elements(&value.value) > 1 && n_elements(&value.value) > room {
                    self.n_dropped += 1;
                    return false;
                }
                together.bring(there, value);
                self.n_elements = self.n_elements + n_elements(&there.value) - n_before;
            }
        }
        true
    }

    /// Values that there was no room for.
    pub(super) fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    #[cfg(test)]
    pub(super) fn n_values(&self) -> usize {
        self.values.values().map(BTreeMap::len).sum()
    }

    /// The values of each profile, by device and metric.
    pub(super) fn into_profiles(self) -> BTreeMap<ProfileName, Vec<(Series, Value)>> {
        let profiles = self.values.into_iter();
        profiles.map(|(profile, values)| (profile, values.into_iter().collect())).collect()
    }
}

/// The room that a value takes: one, and one more for each element of a list.
fn n_elements(value: &MetricValue) -> usize {
    1 + match value {
        MetricValue::Count(_) | MetricValue::Number(_) => 0,
        MetricValue::Addresses(addresses) => addresses.len(),
        MetricValue::Ports(ports) => ports.len(),
        MetricValue::Numbers(numbers) => numbers.len(),
        MetricValue::Strings(strings) => strings.len(),
    }
}
