//! Metrics that a security profile retains, as the API takes and gives them: in an older list of
//! names, and in a newer one of objects.

use picket_model::wire::{dimension_from_json, dimension_to_json, metric_named};
use picket_model::{CustomMetricKind, CustomMetricName, Metric, MetricDimension, RetainedMetric};
use serde_json::{Value, json};

use crate::input::Members;

/// Entries of a profile's lists of retained metrics together. Each is watched on every device of
/// the profile, like a behavior; there may be as many as behaviors.
const ENTRIES_MAX: usize = picket_model::limits::BEHAVIORS_PER_PROFILE_MAX;

/// The list of names.
const NAMES: &str = "additionalMetricsToRetain";

/// The list of objects.
const OBJECTS: &str = "additionalMetricsToRetainV2";

/// A metric to retain, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RetainedInput {
    /// What is measured.
    pub(super) metric: NamedMetric,
    /// Which part of it, if not all.
    pub(super) dimension: Option<MetricDimension>,
    /// Whether its values are published.
    pub(super) export: bool,
}

/// A metric by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamedMetric {
    /// A built-in one.
    BuiltIn(Metric),
    /// One of the account's: its kind stands in the store.
    Custom(CustomMetricName),
}

impl NamedMetric {
    /// Reads a name.
    ///
    /// # Errors
    /// A sentence, where no metric can have it.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        // The kind is asked for only to be put aside: a name does not tell it.
        match metric_named(name, || Ok(CustomMetricKind::Number))? {
            Metric::Custom(name, _) => Ok(Self::Custom(name)),
            metric => Ok(Self::BuiltIn(metric)),
        }
    }
}

/// Both lists of a request as one; `None` if neither is given. An entry that is there twice counts
/// once, and is exported if one of the two is.
///
/// # Errors
/// A sentence.
pub(super) fn read(body: &Members) -> Result<Option<Vec<RetainedInput>>, String> {
    let mut retained: Option<Vec<RetainedInput>> = None;
    for member in [NAMES, OBJECTS] {
        let Some(json) = body.get(member) else { continue };
        let list = json
            .as_array()
            .filter(|list| list.len() <= ENTRIES_MAX)
            .ok_or_else(|| format!("`{member}` must be a list of at most {ENTRIES_MAX}"))?;
        let retained = retained.get_or_insert_default();
        for json in list {
            let entry = read_entry(member, json).map_err(|error| format!("`{member}`: {error}"))?;
            let same = retained
                .iter_mut()
                .find(|it| it.metric == entry.metric && it.dimension == entry.dimension);
            match same {
                Some(same) => same.export |= entry.export,
                None => retained.push(entry),
            }
        }
    }
    Ok(retained)
}

fn read_entry(member: &str, json: &Value) -> Result<RetainedInput, String> {
    let name = if member == NAMES { Some(json) } else { json.get("metric") };
    let name = name.and_then(Value::as_str).ok_or("there is an entry without a metric")?;
    let metric = NamedMetric::parse(name)?;
    if member == NAMES {
        return Ok(RetainedInput { metric, dimension: None, export: false });
    }
    let dimension = match (&metric, json.get("metricDimension")) {
        (NamedMetric::BuiltIn(metric), dimension) => dimension_from_json(dimension, metric)?,
        (NamedMetric::Custom(_), None | Some(Value::Null)) => None,
        (NamedMetric::Custom(name), Some(_)) => {
            return Err(format!("{name} takes no `metricDimension`; leave it out"));
        }
    };
    let export = match json.get("exportMetric") {
        None | Some(Value::Null) => false,
        Some(export) => export.as_bool().ok_or("`exportMetric` must be true or false")?,
    };
    Ok(RetainedInput { metric, dimension, export })
}

/// The list of names: of the metrics that are retained as a whole, for a name cannot say more.
pub(super) fn names_to_json(retained: &[RetainedMetric]) -> Value {
    let whole = retained.iter().filter(|it| it.dimension.is_none());
    whole.map(|it| it.metric.as_str()).collect()
}

/// The list of objects.
pub(super) fn objects_to_json(retained: &[RetainedMetric]) -> Value {
    let object = |it: &RetainedMetric| {
        let mut json = json!({ "metric": it.metric.as_str() });
        if let Some(dimension) = &it.dimension {
            json["metricDimension"] = dimension_to_json(dimension);
        }
        if it.export {
            json["exportMetric"] = true.into();
        }
        json
    };
    retained.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<Vec<String>, String> {
        let list = read(&Members::of(&body, "").unwrap())?.unwrap_or_default();
        let words = |it: &RetainedInput| {
            let name = match &it.metric {
                NamedMetric::BuiltIn(metric) => metric.as_str().to_owned(),
                NamedMetric::Custom(name) => format!("custom {name}"),
            };
            let dimension = it.dimension.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
            format!("{name}{dimension}{}", if it.export { " exported" } else { "" })
        };
        Ok(list.iter().map(words).collect())
    }

    #[track_caller]
    fn check(body: Value, expected: &[&str]) {
        assert_eq!(parse(body).unwrap(), expected);
    }

    #[track_caller]
    fn check_refused(entry: Value, expected: &str) {
        let error = parse(json!({ OBJECTS: [entry] })).unwrap_err();
        assert!(error.starts_with("`additionalMetricsToRetainV2`"), "{error}");
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }

    #[test]
    fn names_and_objects_are_one_list_without_doubles() {
        check(
            json!({ NAMES: ["aws:num-disconnects", "load"] }),
            &["aws:num-disconnects", "custom load"],
        );
        check(
            json!({
                NAMES: ["aws:message-byte-size"],
                OBJECTS: [
                    {"metric": "aws:message-byte-size", "exportMetric": true},
                    {"metric": "aws:message-byte-size", "metricDimension": {"dimensionName": "d"}},
                    {"metric": "aws:message-byte-size",
                     "metricDimension": {"dimensionName": "d", "operator": "IN"}},
                    {"metric": "aws:message-byte-size",
                     "metricDimension": {"dimensionName": "d", "operator": "NOT_IN"}},
                ],
            }),
            &[
                "aws:message-byte-size exported",
                "aws:message-byte-size IN d",
                "aws:message-byte-size NOT_IN d",
            ],
        );
    }

    #[test]
    fn an_entry_that_means_nothing_is_refused_in_words() {
        check_refused(json!("x"), "an entry without a metric");
        check_refused(json!({"metric": 7}), "an entry without a metric");
        check_refused(json!({"metric": "aws:nonsense"}), "there is no metric `aws:nonsense`");
        check_refused(json!({"metric": "a b"}), "custom metric name `a b` contains ` `");
        let narrowed = |metric: &str, dimension: Value| json!({"metric": metric, "metricDimension": dimension});
        check_refused(
            narrowed("aws:num-disconnects", json!({"dimensionName": "d"})),
            "takes no `metricDimension`",
        );
        check_refused(
            narrowed("load", json!({"dimensionName": "d"})),
            "takes no `metricDimension`",
        );
        check_refused(narrowed("aws:num-messages-sent", json!({})), "dimensionName` is missing");
        check_refused(
            narrowed("aws:num-messages-sent", json!({"dimensionName": "d", "operator": "NEAR"})),
            "must be IN or NOT_IN",
        );
        check_refused(json!({"metric": "load", "exportMetric": "yes"}), "must be true or false");
        let error = parse(json!({ NAMES: vec![""; 101] })).unwrap_err();
        assert!(error.contains("a list of at most 100"), "{error}");
        assert!(parse(json!({ NAMES: {} })).is_err());
    }
}
