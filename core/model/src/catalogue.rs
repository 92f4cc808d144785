//! The metric catalogue: what is true of each built-in metric, read from `specs/metrics.toml`.
//!
//! One table for validation (what a behavior may say), evaluation (how its values come about) and
//! documentation (docs/metrics.md is written from it).

use std::sync::LazyLock;

use serde::Deserialize;

use crate::Metric;

/// The table's text, as it stands in the repository.
pub const TEXT: &str = include_str!("../../../specs/metrics.toml");

/// What is true of a metric.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// AWS's name, or ours.
    pub name: String,
    /// Number in stored values; never has a second meaning.
    pub code: u8,
    /// What a person calls it in a sentence.
    pub words: String,
    /// Unit of one value; empty for lists.
    pub unit: String,
    /// Who measures it.
    pub source: Source,
    /// How its values come about and are judged.
    pub kind: Kind,
    /// The operators that fit an absolute criteria.
    pub operators: Operators,
    /// Whether an absolute criteria says a window length.
    pub window: WindowRule,
    /// Whether a fleet percentile can be its criteria.
    pub statistical: bool,
    /// Whether an ML criteria can judge it.
    pub learned: bool,
    /// Whether a dimension can narrow it.
    pub dimension: bool,
    /// Where a device's report says it.
    #[serde(default)]
    pub field: Option<String>,
    /// One sentence for the documentation.
    pub about: String,
}

/// Who measures a metric.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The broker: judged in windows on the clock.
    Cloud,
    /// The device, in its report: judged as the report arrives.
    Device,
    /// Picket, from what the broker saw and what the report says.
    Evidence,
}

/// How the values of a metric come about and are judged.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The size of each message: an absolute criteria is broken by the most extreme one of a
    /// window; a percentile ranks the total.
    Size,
    /// Counted over a clock-aligned window.
    Count,
    /// An increment in each report: summed over the reports of a trailing window.
    Increment,
    /// A state in each report: the last one counts.
    Gauge,
    /// A time that passes: looked at on the tick.
    Duration,
    /// A difference found as each report arrives.
    Delta,
    /// A list of addresses.
    Addresses,
    /// A list of ports.
    Ports,
    /// A list of numbers.
    Numbers,
    /// A list of strings.
    Strings,
}

/// The operators that fit an absolute criteria.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Operators {
    /// `less-than`, `less-than-equals`, `greater-than`, `greater-than-equals` with one number.
    Numbers,
    /// `less-than` and `less-than-equals` with one number.
    Upper,
    /// `in-cidr-set` and `not-in-cidr-set`.
    Cidrs,
    /// `in-port-set` and `not-in-port-set`.
    Ports,
    /// `in-set` and `not-in-set` with numbers.
    NumberSet,
    /// `in-set` and `not-in-set` with strings.
    StringSet,
}

/// Whether an absolute criteria says a window length.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum WindowRule {
    /// It must.
    Required,
    /// It may.
    Optional,
    /// It must not.
    None,
}

#[derive(Deserialize)]
struct Table {
    metric: Vec<Entry>,
}

/// All entries, in the order of the file. Empty if the file did not parse, which a test rules out.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        toml::from_str::<Table>(TEXT).map(|table| table.metric).unwrap_or_default()
    });
    &ENTRIES
}

/// The entry of a built-in metric. The catalogue has the order of [`Metric::BUILT_IN`].
pub(crate) fn entry(metric: &Metric) -> Option<&'static Entry> {
    let place = Metric::BUILT_IN.iter().position(|it| it == metric)?;
    entries().get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_entry_and_every_entry_its_metric() {
        toml::from_str::<Table>(TEXT).expect("specs/metrics.toml parses");
        let names: Vec<_> = entries().iter().map(|entry| entry.name.as_str()).collect();
        let metrics: Vec<_> = Metric::BUILT_IN.iter().map(Metric::as_str).collect();
        assert_eq!(names, metrics);
    }

    #[test]
    fn no_code_is_given_twice() {
        let mut codes: Vec<_> = entries().iter().map(|entry| entry.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), entries().len());
    }

    #[test]
    fn an_entry_does_not_contradict_itself() {
        for entry in entries() {
            let name = &entry.name;
            let is_list = matches!(entry.operators, Operators::Cidrs | Operators::Ports);
            assert_eq!(is_list, matches!(entry.kind, Kind::Addresses | Kind::Ports), "{name}");
            assert_eq!(is_list, entry.unit.is_empty(), "{name}");
            assert!(!(is_list && (entry.statistical || entry.learned)), "{name}");
            let summed = matches!(entry.kind, Kind::Count | Kind::Increment);
            assert!(!summed || entry.window == WindowRule::Required, "{name}");
            assert_eq!(entry.field.is_some(), entry.source == Source::Device, "{name}");
            assert!(!entry.dimension || entry.source == Source::Cloud, "{name}");
        }
    }
}
