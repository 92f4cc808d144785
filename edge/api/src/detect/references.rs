//! What a security profile refers to: custom metrics and dimensions.
//!
//! Asked in the transaction that writes the profile, so that none of them can be deleted in
//! between: nothing that is used is.

use std::collections::BTreeSet;

use picket_model::limits::SLICES_MAX;
use picket_model::{
    Behavior, CustomMetricKind, CustomMetricName, Metric, MetricDimension, RetainedMetric,
    SecurityProfile,
};
use picket_store::{ReadTx, StoreError, custom_metrics, dimensions, profiles};

use super::retained::{NamedMetric, RetainedInput};
use crate::error::{ApiError, ErrorKind};

/// What the behaviors name that is not there, or is not what they take it for; one sentence each,
/// in their order.
pub(super) fn problems(tx: &ReadTx, behaviors: &[Behavior]) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    for behavior in behaviors {
        let mut complain =
            |problem: String| problems.push(format!("behavior `{}`: {problem}", behavior.name));
        if let Metric::Custom(name, kind) = &behavior.metric {
            match custom_metrics::find(tx, name)? {
                None => complain(no_custom_metric(name)),
                Some(metric) if metric.kind != *kind => complain(format!(
                    "custom metric `{name}` is of type {}; a criteria on it takes {}, not {}",
                    metric.kind.as_str(),
                    criteria_of(metric.kind),
                    criteria_of(*kind)
                )),
                Some(_) => {}
            }
        }
        if let Some(dimension) = &behavior.dimension
            && dimensions::find(tx, &dimension.name)?.is_none()
        {
            complain(no_dimension(dimension));
        }
    }
    Ok(problems)
}

/// Looks up what retained metrics name.
///
/// # Errors
/// Invalid request for the first that is not there.
pub(super) fn resolve(
    tx: &ReadTx,
    retained: Vec<RetainedInput>,
) -> Result<Vec<RetainedMetric>, ApiError> {
    let invalid = |problem: String| ApiError::invalid(format!("metric to retain: {problem}"));
    retained
        .into_iter()
        .map(|RetainedInput { metric, dimension, export }| {
            let metric = match metric {
                NamedMetric::BuiltIn(metric) => metric,
                NamedMetric::Custom(name) => {
                    let found = custom_metrics::find(tx, &name)?;
                    let kind = found.ok_or_else(|| invalid(no_custom_metric(&name)))?.kind;
                    Metric::Custom(name, kind)
                }
            };
            if let Some(dimension) = &dimension
                && dimensions::find(tx, &dimension.name)?.is_none()
            {
                return Err(invalid(no_dimension(dimension)));
            }
            Ok(RetainedMetric { metric, dimension, export })
        })
        .collect()
}

/// Checks that, with this profile as it is to be, no more dimensions are in use than sessions
/// count by.
///
/// # Errors
/// Limit.
pub(super) fn check_slices(tx: &ReadTx, profile: &SecurityProfile) -> Result<(), ApiError> {
    let wanted: BTreeSet<&MetricDimension> = slices(profile).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let others = profiles::all(tx)?;
    let used = others.iter().filter(|other| other.name != profile.name).flat_map(slices);
    let used: BTreeSet<&MetricDimension> = used.chain(wanted).collect();
    if used.len() > SLICES_MAX {
        return Err(ApiError::new(
            ErrorKind::Limit,
            format!(
                "the security profiles would use {} different pairs of a dimension and an \
                 operator; at most {SLICES_MAX} are allowed",
                used.len()
            ),
        ));
    }
    Ok(())
}

/// The parts of metrics that a profile looks at.
fn slices(profile: &SecurityProfile) -> impl Iterator<Item = &MetricDimension> {
    let behaviors = profile.behaviors.iter().filter_map(|it| it.dimension.as_ref());
    behaviors.chain(profile.retained_metrics.iter().filter_map(|it| it.dimension.as_ref()))
}

fn no_custom_metric(name: &CustomMetricName) -> String {
    format!(
        "there is no metric `{name}`: no built-in one is called so, and no custom metric was made \
         under that name (CreateCustomMetric)"
    )
}

fn no_dimension(dimension: &MetricDimension) -> String {
    format!("dimension `{}` does not exist; make it with CreateDimension", dimension.name)
}

/// What a criteria on a custom metric of a type gives, as a person says it.
fn criteria_of(kind: CustomMetricKind) -> &'static str {
    match kind {
        CustomMetricKind::Number => "a `number`, a percentile or a learned model",
        CustomMetricKind::NumberList => "a set of `numbers`",
        CustomMetricKind::StringList => "a set of `strings`",
        CustomMetricKind::IpAddressList => "a set of `cidrs`",
    }
}
