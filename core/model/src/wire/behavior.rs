//! AWS's `Behavior`, and every rule that makes one valid.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::limits::CONSECUTIVE_DATAPOINTS_MAX;
use crate::{Behavior, BehaviorName, Comparison, Criteria, Metric, WindowLen};

/// Why a behavior is not valid: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("behavior `{behavior}`: {problem}")]
pub struct BehaviorError {
    /// The behavior's name, or its place in the list where it has none.
    pub behavior: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Writes a behavior as the API gives it.
pub fn behavior_to_json(behavior: &Behavior) -> Value {
    let criteria = &behavior.criteria;
    let mut wire = Map::new();
    wire.insert("comparisonOperator".into(), criteria.comparison.operator().into());
    wire.insert("value".into(), comparison_value(&criteria.comparison));
    if let Some(window) = criteria.window {
        wire.insert("durationSeconds".into(), window.as_secs().into());
    }
    wire.insert("consecutiveDatapointsToAlarm".into(), criteria.datapoints_to_alarm.into());
    wire.insert("consecutiveDatapointsToClear".into(), criteria.datapoints_to_clear.into());
    let mut json = json!({
        "name": behavior.name.as_str(),
        "metric": behavior.metric.as_str(),
        "criteria": wire,
    });
    if behavior.suppress_alerts {
        json["suppressAlerts"] = true.into();
    }
    json
}

fn comparison_value(comparison: &Comparison) -> Value {
    match comparison {
        Comparison::LessThan(count)
        | Comparison::LessThanEquals(count)
        | Comparison::GreaterThan(count)
        | Comparison::GreaterThanEquals(count) => json!({ "count": count }),
        Comparison::InCidrSet(nets) | Comparison::NotInCidrSet(nets) => {
            json!({ "cidrs": nets.iter().map(IpNet::to_string).collect::<Vec<_>>() })
        }
    }
}

/// Reads and checks a behavior. `place` names it in errors if it has no name, counted from 1.
///
/// Window lengths that AWS does not know are taken: whoever wants AWS's alone asks
/// [`WindowLen::is_aws`].
///
/// # Errors
/// [`BehaviorError`] names the behavior and the first rule that it breaks.
pub fn behavior_from_json(json: &Value, place: usize) -> Result<Behavior, BehaviorError> {
    let label = match json.get("name").and_then(Value::as_str) {
        Some(name) => name.escape_debug().to_string(),
        None => format!("number {place}"),
    };
    parse(json).map_err(|problem| BehaviorError { behavior: label, problem })
}

fn parse(json: &Value) -> Result<Behavior, String> {
    let name = json.get("name").and_then(Value::as_str).ok_or("`name` is missing")?;
    let name = BehaviorName::parse(name).map_err(|error| error.to_string())?;
    let metric = parse_metric(json)?;
    for later in ["metricDimension", "exportMetric"] {
        if json.get(later).is_some_and(|value| !value.is_null() && value != &Value::Bool(false)) {
            return Err(format!("`{later}` is not supported yet; leave it out"));
        }
    }
    let criteria = json
        .get("criteria")
        .filter(|criteria| criteria.is_object())
        .ok_or("`criteria` is missing: say what is normal")?;
    Ok(Behavior {
        name,
        metric,
        criteria: parse_criteria(criteria, metric)?,
        suppress_alerts: flag(json, "suppressAlerts")?,
    })
}

fn parse_metric(json: &Value) -> Result<Metric, String> {
    metric_named(json.get("metric").and_then(Value::as_str).ok_or("`metric` is missing")?)
}

/// The metric that AWS's name means.
///
/// # Errors
/// A sentence that lists the metrics there are.
pub fn metric_named(name: &str) -> Result<Metric, String> {
    Metric::parse(name).ok_or_else(|| {
        let known: Vec<_> = Metric::ALL.iter().map(|metric| metric.as_str()).collect();
        format!(
            "metric `{}` is not measured by this version; known are {}",
            name.escape_debug(),
            known.join(", ")
        )
    })
}

fn parse_criteria(json: &Value, metric: Metric) -> Result<Criteria, String> {
    for later in ["statisticalThreshold", "mlDetectionConfig"] {
        if json.get(later).is_some_and(|value| !value.is_null()) {
            return Err(format!(
                "`{later}` is not supported yet; give `comparisonOperator` and `value`"
            ));
        }
    }
    let comparison = parse_comparison(json, metric)?;
    let window = parse_window(json)?;
    if window.is_none() && metric.needs_window() {
        return Err(format!("`durationSeconds` is required for {metric}"));
    }
    Ok(Criteria {
        comparison,
        window,
        datapoints_to_alarm: datapoints(json, "consecutiveDatapointsToAlarm")?,
        datapoints_to_clear: datapoints(json, "consecutiveDatapointsToClear")?,
    })
}

fn parse_comparison(json: &Value, metric: Metric) -> Result<Comparison, String> {
    let operator = json
        .get("comparisonOperator")
        .and_then(Value::as_str)
        .ok_or("`criteria.comparisonOperator` is missing")?;
    let allowed: &[&str] = match metric {
        Metric::SourceIpAddress => &["in-cidr-set", "not-in-cidr-set"],
        Metric::DisconnectDuration => &["less-than", "less-than-equals"],
        Metric::MessageByteSize
        | Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects => {
            &["less-than", "less-than-equals", "greater-than", "greater-than-equals"]
        }
    };
    if !allowed.contains(&operator) {
        return Err(format!(
            "operator `{}` does not fit {metric}; allowed are {}",
            operator.escape_debug(),
            allowed.join(", ")
        ));
    }
    let value =
        json.get("value").and_then(Value::as_object).ok_or("`criteria.value` is missing")?;
    if metric == Metric::SourceIpAddress {
        let nets = cidrs(value)?;
        return Ok(match operator {
            "in-cidr-set" => Comparison::InCidrSet(nets),
            _ => Comparison::NotInCidrSet(nets),
        });
    }
    let count = count(value)?;
    Ok(match operator {
        "less-than" => Comparison::LessThan(count),
        "less-than-equals" => Comparison::LessThanEquals(count),
        "greater-than" => Comparison::GreaterThan(count),
        _ => Comparison::GreaterThanEquals(count),
    })
}

/// The one member that `value` may have.
fn only_member<'a>(value: &'a Map<String, Value>, member: &str) -> Result<&'a Value, String> {
    let mut given = value.iter().filter(|(_, value)| !value.is_null());
    match (given.next(), given.next()) {
        (Some((name, value)), None) if name == member => Ok(value),
        _ => Err(format!("`criteria.value` must have exactly the member `{member}`")),
    }
}

fn count(value: &Map<String, Value>) -> Result<u64, String> {
    only_member(value, "count")?
        .as_u64()
        .ok_or_else(|| "`criteria.value.count` must be a whole number from 0 up".to_owned())
}

fn cidrs(value: &Map<String, Value>) -> Result<Vec<IpNet>, String> {
    let list = only_member(value, "cidrs")?
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or("`criteria.value.cidrs` must be a list with at least one range")?;
    list.iter()
        .map(|cidr| {
            let text = cidr.as_str().unwrap_or_default();
            text.parse::<IpNet>()
                .or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error))
                .map_err(|_| {
                    format!("`{}` is not an address range like 192.0.2.0/24", text.escape_debug())
                })
        })
        .collect()
}

fn parse_window(json: &Value) -> Result<Option<WindowLen>, String> {
    let Some(seconds) = json.get("durationSeconds").filter(|seconds| !seconds.is_null()) else {
        return Ok(None);
    };
    seconds
        .as_u64()
        .and_then(|seconds| u32::try_from(seconds).ok())
        .and_then(WindowLen::from_secs)
        .map(Some)
        .ok_or_else(|| {
            format!(
                "`durationSeconds` {seconds} is not a window length: 300, 600, 900, 1800 or 3600, \
                 or any other divisor of 3600 from 5 up"
            )
        })
}

fn datapoints(json: &Value, member: &str) -> Result<u8, String> {
    let Some(number) = json.get(member).filter(|number| !number.is_null()) else {
        return Ok(1);
    };
    number
        .as_u64()
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| (1..=CONSECUTIVE_DATAPOINTS_MAX).contains(number))
        .ok_or_else(|| format!("`{member}` must be 1 to {CONSECUTIVE_DATAPOINTS_MAX}"))
}

fn flag(json: &Value, member: &str) -> Result<bool, String> {
    match json.get(member) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("`{member}` must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large_messages() -> Value {
        json!({
            "name": "LargeMessageSize",
            "metric": "aws:message-byte-size",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 1000},
                "consecutiveDatapointsToAlarm": 1,
                "consecutiveDatapointsToClear": 2,
            },
        })
    }

    #[test]
    fn what_is_read_is_written() {
        let mut sent = large_messages();
        sent["metric"] = "aws:num-messages-sent".into();
        sent["criteria"]["durationSeconds"] = 30.into();
        for json in [large_messages(), sent] {
            assert_eq!(behavior_to_json(&behavior_from_json(&json, 1).unwrap()), json);
        }
    }

    #[test]
    fn an_error_names_the_behavior_and_what_to_do() {
        let cases = [
            ("/metric", json!("aws:all-bytes-out"), "is not measured by this version"),
            ("/criteria/comparisonOperator", json!("in-cidr-set"), "does not fit"),
            ("/criteria/value", json!({"cidrs": ["10.0.0.0/8"]}), "exactly the member `count`"),
            ("/criteria/value", json!({"count": 1, "ports": [1]}), "exactly the member `count`"),
            ("/criteria/value/count", json!(-1), "whole number from 0 up"),
            ("/criteria/consecutiveDatapointsToClear", json!(11), "must be 1 to 10"),
            ("/name", json!("a b"), "allowed are letters"),
        ];
        for (pointer, value, expected) in cases {
            let mut json = large_messages();
            *json.pointer_mut(pointer).unwrap() = value;
            let error = behavior_from_json(&json, 1).unwrap_err().to_string();
            assert!(error.starts_with("behavior `"), "{error}");
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn a_counting_metric_needs_a_window() {
        let mut json = large_messages();
        json["metric"] = "aws:num-messages-sent".into();
        assert!(behavior_from_json(&json, 1).is_err());
        json["criteria"]["durationSeconds"] = 7.into();
        assert!(behavior_from_json(&json, 1).is_err());
        json["criteria"]["durationSeconds"] = 300.into();
        assert!(behavior_from_json(&json, 1).is_ok());
    }
}
