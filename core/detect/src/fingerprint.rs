//! Fingerprints: whether something is still the same after a change of profiles or a restart.

use std::fmt::Write;

use picket_model::{Behavior, Comparison, Metric, MetricDimension, ProfileName, ValueSet};
use sha2::{Digest, Sha256};

/// Tells whether a watch, or what several watches count together, is still the same.
///
/// INVARIANT (fingerprints last): snapshots hold fingerprints, so how they are made must not change
/// from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Fingerprint {
    /// Of a behavior: equal as long as profile, name, metric, dimension and criteria are.
    pub(crate) fn of_behavior(profile: &ProfileName, behavior: &Behavior) -> Self {
        let criteria = &behavior.criteria;
        let mut text = format!(
            "{profile}\0{}\0{}\0{}\0{}\0{}\0{}",
            behavior.name,
            behavior.metric,
            criteria.window_or_default().as_secs(),
            criteria.datapoints_to_alarm,
            criteria.datapoints_to_clear,
            operator_text(&criteria.comparison),
        );
        // Writing to a string cannot fail.
        let _ = match &criteria.comparison {
            Comparison::Limit(_, limit) => write!(text, "\0{limit}"),
            Comparison::Set(_, set) => write_set(&mut text, set),
            Comparison::Percentile(_, percentile) => write!(text, "\0{}", percentile.as_str()),
            Comparison::Learned(confidence) => write!(text, "\0learned\0{}", confidence.as_str()),
        };
        push_dimension(&mut text, behavior.dimension.as_ref());
        Self::of_text(&text)
    }

    /// Of a metric that is only retained.
    pub(crate) fn of_retained(metric: &Metric, dimension: Option<&MetricDimension>) -> Self {
        let mut text = format!("retained\0{metric}");
        push_dimension(&mut text, dimension);
        Self::of_text(&text)
    }

    /// Of a text that says everything that has to stay the same.
    pub(crate) fn of_text(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(digest.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }
}

/// The name of the operator on the wire; empty where there is none.
fn operator_text(comparison: &Comparison) -> &'static str {
    match comparison {
        Comparison::Limit(operator, _) | Comparison::Percentile(operator, _) => operator.as_str(),
        Comparison::Set(operator, set) => set.operator(*operator),
        Comparison::Learned(_) => "",
    }
}

fn write_set(text: &mut String, set: &ValueSet) -> std::fmt::Result {
    match set {
        ValueSet::Cidrs(nets) => nets.iter().try_for_each(|net| write!(text, "\0{net}")),
        ValueSet::Ports(ports) => ports.iter().try_for_each(|port| write!(text, "\0{port}")),
        ValueSet::Numbers(numbers) => {
            numbers.iter().try_for_each(|number| write!(text, "\0{number}"))
        }
        ValueSet::Strings(strings) => {
            strings.iter().try_for_each(|string| write!(text, "\0{string}"))
        }
    }
}

fn push_dimension(text: &mut String, dimension: Option<&MetricDimension>) {
    if let Some(dimension) = dimension {
        let _ = write!(text, "\0dimension\0{dimension}");
    }
}
