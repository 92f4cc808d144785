//! AWS's `Behavior`, and every rule that makes one valid.
//!
//! What a metric allows is read from the catalogue. A custom metric's kind follows from the criteria
//! (ports and the like tell), so a stored behavior needs nothing beside itself; whether the account
//! has such a metric is asked at the API.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::metric_value::{number_from_json, number_to_json, quantity_to_json};
use crate::catalogue::{Operators, WindowRule};
use crate::limits::CONSECUTIVE_DATAPOINTS_MAX;
use crate::{
    Behavior, BehaviorName, Comparison, Confidence, Criteria, CustomMetricKind, CustomMetricName,
    DimensionName, DimensionOperator, Metric, MetricDimension, Number, Operator, Percentile,
    Quantity, SetOperator, ValueSet, WindowLen,
};

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
    match &criteria.comparison {
        Comparison::Limit(operator, limit) => {
            wire.insert("comparisonOperator".into(), operator.as_str().into());
            wire.insert("value".into(), quantity_to_json(*limit));
        }
        Comparison::Set(operator, set) => {
            wire.insert("comparisonOperator".into(), set.operator(*operator).into());
            wire.insert("value".into(), set_to_json(set));
        }
        Comparison::Percentile(operator, percentile) => {
            wire.insert("comparisonOperator".into(), operator.as_str().into());
            let statistic = json!({ "statistic": percentile.as_str() });
            wire.insert("statisticalThreshold".into(), statistic);
        }
        Comparison::Learned(confidence) => {
            let config = json!({ "confidenceLevel": confidence.as_str() });
            wire.insert("mlDetectionConfig".into(), config);
        }
    }
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
    if let Some(dimension) = &behavior.dimension {
        json["metricDimension"] = dimension_to_json(dimension);
    }
    if behavior.suppress_alerts {
        json["suppressAlerts"] = true.into();
    }
    if behavior.export {
        json["exportMetric"] = true.into();
    }
    json
}

/// Writes which part of a metric is meant. Source: aws `MetricDimension`.
pub fn dimension_to_json(dimension: &MetricDimension) -> Value {
    json!({"dimensionName": dimension.name.as_str(), "operator": dimension.operator.as_str()})
}

/// Reads `metricDimension` of a behavior or of a metric to retain; a missing operator is `IN`.
///
/// # Errors
/// A sentence; also where the metric cannot be narrowed.
pub fn dimension_from_json(
    json: Option<&Value>,
    metric: &Metric,
) -> Result<Option<MetricDimension>, String> {
    let Some(json) = json.filter(|json| !json.is_null()) else { return Ok(None) };
    if !metric.allows_dimension() {
        return Err(format!("{metric} takes no `metricDimension`; leave it out"));
    }
    let name = json
        .get("dimensionName")
        .and_then(Value::as_str)
        .ok_or("`metricDimension.dimensionName` is missing")?;
    let name = DimensionName::parse(name).map_err(|error| error.to_string())?;
    let operator = match json.get("operator").filter(|operator| !operator.is_null()) {
        None => DimensionOperator::In,
        Some(operator) => operator
            .as_str()
            .and_then(DimensionOperator::parse)
            .ok_or("`metricDimension.operator` must be IN or NOT_IN")?,
    };
    Ok(Some(MetricDimension { name, operator }))
}

fn set_to_json(set: &ValueSet) -> Value {
    match set {
        ValueSet::Cidrs(nets) => {
            json!({ "cidrs": nets.iter().map(IpNet::to_string).collect::<Vec<_>>() })
        }
        ValueSet::Ports(ports) => json!({ "ports": ports }),
        ValueSet::Numbers(numbers) => {
            json!({ "numbers": numbers.iter().copied().map(number_to_json).collect::<Vec<_>>() })
        }
        ValueSet::Strings(strings) => json!({ "strings": strings }),
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
    let criteria = json
        .get("criteria")
        .filter(|criteria| criteria.is_object())
        .ok_or("`criteria` is missing: say what is normal")?;
    let metric = json.get("metric").and_then(Value::as_str).ok_or("`metric` is missing")?;
    let metric = metric_named(metric, || kind_of_criteria(criteria))?;
    Ok(Behavior {
        name,
        dimension: dimension_from_json(json.get("metricDimension"), &metric)?,
        criteria: parse_criteria(criteria, &metric)?,
        suppress_alerts: flag(json, "suppressAlerts")?,
        export: flag(json, "exportMetric")?,
        metric,
    })
}

/// The metric that a name means. `custom` gives the kind of a custom metric.
///
/// # Errors
/// A sentence that lists the metrics there are.
pub fn metric_named(
    name: &str,
    custom: impl FnOnce() -> Result<CustomMetricKind, String>,
) -> Result<Metric, String> {
    if let Some(metric) = Metric::parse(name) {
        return Ok(metric);
    }
    if name.starts_with("aws:") || name.starts_with("picket:") {
        let known: Vec<_> = Metric::BUILT_IN.iter().map(Metric::as_str).collect();
        return Err(format!(
            "there is no metric `{}`; known are {} and custom metrics",
            name.escape_debug(),
            known.join(", ")
        ));
    }
    let name = CustomMetricName::parse(name).map_err(|error| error.to_string())?;
    Ok(Metric::Custom(name, custom()?))
}

/// The kind of custom metric that a criteria is about.
fn kind_of_criteria(criteria: &Value) -> Result<CustomMetricKind, String> {
    let is_given = |member: &str| criteria.get(member).is_some_and(|value| !value.is_null());
    if is_given("statisticalThreshold") || is_given("mlDetectionConfig") {
        return Ok(CustomMetricKind::Number);
    }
    let value = criteria.get("value").unwrap_or(&Value::Null);
    let has = |member: &str| value.get(member).is_some_and(|value| !value.is_null());
    if has("cidrs") {
        Ok(CustomMetricKind::IpAddressList)
    } else if has("numbers") {
        Ok(CustomMetricKind::NumberList)
    } else if has("strings") {
        Ok(CustomMetricKind::StringList)
    } else if has("number") || has("count") {
        Ok(CustomMetricKind::Number)
    } else {
        Err("`criteria.value` of a custom metric must have exactly one of the members `number`, \
             `numbers`, `strings` and `cidrs`"
            .to_owned())
    }
}

fn parse_criteria(json: &Value, metric: &Metric) -> Result<Criteria, String> {
    let window = parse_window(json)?;
    let is_given = |member: &str| json.get(member).is_some_and(|value| !value.is_null());
    let exclude = |member: &str, others: &[&str]| match others.iter().find(|it| is_given(it)) {
        Some(other) => Err(format!("`{member}` excludes `{other}`; leave one of them out")),
        None => Ok(()),
    };
    let comparison = if is_given("mlDetectionConfig") {
        let others = ["comparisonOperator", "value", "statisticalThreshold"];
        exclude("mlDetectionConfig", &others)?;
        parse_learned(json, metric)?
    } else if is_given("statisticalThreshold") {
        exclude("statisticalThreshold", &["value"])?;
        // A window is asked for only where one would help.
        let comparison = parse_percentile(json, metric)?;
        if window.is_none() {
            return Err("`durationSeconds` is required with `statisticalThreshold`".to_owned());
        }
        comparison
    } else {
        let comparison = parse_static(json, metric)?;
        match (metric.window_rule(), window) {
            (WindowRule::Required, None) => {
                return Err(format!("`durationSeconds` is required for {metric}"));
            }
            (WindowRule::None, Some(_)) => {
                return Err(format!(
                    "{metric} is judged report by report and takes no `durationSeconds`; leave it out"
                ));
            }
            _ => {}
        }
        comparison
    };
    Ok(Criteria {
        comparison,
        window,
        datapoints_to_alarm: datapoints(json, "consecutiveDatapointsToAlarm")?,
        datapoints_to_clear: datapoints(json, "consecutiveDatapointsToClear")?,
    })
}

fn parse_learned(json: &Value, metric: &Metric) -> Result<Comparison, String> {
    if !metric.allows_learning() {
        return Err(format!("{metric} takes no `mlDetectionConfig`; give a value"));
    }
    json.pointer("/mlDetectionConfig/confidenceLevel")
        .and_then(Value::as_str)
        .and_then(Confidence::parse)
        .map(Comparison::Learned)
        .ok_or_else(|| "`mlDetectionConfig.confidenceLevel` must be LOW, MEDIUM or HIGH".to_owned())
}

fn parse_percentile(json: &Value, metric: &Metric) -> Result<Comparison, String> {
    if !metric.allows_percentile() {
        return Err(format!("{metric} takes no `statisticalThreshold`; give a value"));
    }
    let statistic = json.pointer("/statisticalThreshold/statistic").and_then(Value::as_str);
    let percentile = statistic.and_then(Percentile::parse).ok_or_else(|| {
        let known = Percentile::ALL.map(Percentile::as_str);
        format!("`statisticalThreshold.statistic` must be one of {}", known.join(", "))
    })?;
    let name = operator_name(json)?;
    let operator = numeric_operator(name, metric, &Operator::ALL)?;
    Ok(Comparison::Percentile(operator, percentile))
}

fn parse_static(json: &Value, metric: &Metric) -> Result<Comparison, String> {
    let name = operator_name(json)?;
    let sets = |operators: [&str; 2]| match operators.iter().position(|it| *it == name) {
        Some(0) => Ok(SetOperator::In),
        Some(_) => Ok(SetOperator::NotIn),
        None => Err(does_not_fit(name, metric, &operators)),
    };
    // The operator is looked at first: it says more than a value of the wrong kind.
    let value = || {
        let value = json.get("value").and_then(Value::as_object);
        value.ok_or_else(|| "`criteria.value` is missing".to_owned())
    };
    Ok(match metric.operators() {
        Operators::Numbers => {
            let operator = numeric_operator(name, metric, &Operator::ALL)?;
            Comparison::Limit(operator, limit(value()?, metric)?)
        }
        Operators::Upper => {
            let upper = [Operator::LessThan, Operator::LessThanEquals];
            let operator = numeric_operator(name, metric, &upper)?;
            Comparison::Limit(operator, limit(value()?, metric)?)
        }
        Operators::Cidrs => {
            let operator = sets(["in-cidr-set", "not-in-cidr-set"])?;
            let set = elements(value()?, "cidrs", "address ranges like 192.0.2.0/24", cidr)?;
            Comparison::Set(operator, ValueSet::Cidrs(set))
        }
        Operators::Ports => {
            let operator = sets(["in-port-set", "not-in-port-set"])?;
            let port = |port: &Value| u16::try_from(port.as_u64()?).ok();
            let set = elements(value()?, "ports", "ports, 0 to 65535", port)?;
            Comparison::Set(operator, ValueSet::Ports(set))
        }
        Operators::NumberSet => {
            let operator = sets(["in-set", "not-in-set"])?;
            let set: BTreeSet<Number> = elements(value()?, "numbers", "numbers", number_from_json)?;
            Comparison::Set(operator, ValueSet::Numbers(set))
        }
        Operators::StringSet => {
            let operator = sets(["in-set", "not-in-set"])?;
            let string = |string: &Value| string.as_str().map(Box::<str>::from);
            let set = elements(value()?, "strings", "strings", string)?;
            Comparison::Set(operator, ValueSet::Strings(set))
        }
    })
}

fn operator_name(json: &Value) -> Result<&str, String> {
    json.get("comparisonOperator")
        .and_then(Value::as_str)
        .ok_or_else(|| "`criteria.comparisonOperator` is missing".to_owned())
}

fn numeric_operator(name: &str, metric: &Metric, allowed: &[Operator]) -> Result<Operator, String> {
    Operator::parse(name).filter(|operator| allowed.contains(operator)).ok_or_else(|| {
        let allowed: Vec<_> = allowed.iter().map(|operator| operator.as_str()).collect();
        does_not_fit(name, metric, &allowed)
    })
}

fn does_not_fit(name: &str, metric: &Metric, allowed: &[&str]) -> String {
    format!(
        "operator `{}` does not fit {metric}; allowed are {}",
        name.escape_debug(),
        allowed.join(", ")
    )
}

/// The one member that `value` may have.
fn only_member<'a>(value: &'a Map<String, Value>, members: &[&str]) -> Result<&'a Value, String> {
    let mut given = value.iter().filter(|(_, value)| !value.is_null());
    match (given.next(), given.next()) {
        (Some((name, value)), None) if members.contains(&name.as_str()) => Ok(value),
        _ => Err(format!("`criteria.value` must have exactly the member `{}`", members[0])),
    }
}

/// The limit of a metric: a count of a built-in one, any number of a custom one, which some
/// clients call `count` as well.
fn limit(value: &Map<String, Value>, metric: &Metric) -> Result<Quantity, String> {
    if let Metric::Custom(..) = metric {
        return number_from_json(only_member(value, &["number", "count"])?)
            .map(Quantity::Number)
            .ok_or_else(|| "`criteria.value.number` must be a number".to_owned());
    }
    only_member(value, &["count"])?
        .as_u64()
        .map(Quantity::Count)
        .ok_or_else(|| "`criteria.value.count` must be a whole number from 0 up".to_owned())
}

fn elements<T, C: FromIterator<T>>(
    value: &Map<String, Value>,
    member: &str,
    what: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<C, String> {
    let problem = || format!("`criteria.value.{member}` must be a list of {what}");
    let list = only_member(value, &[member])?.as_array().ok_or_else(problem)?;
    list.iter()
        .map(|element| read(element).ok_or_else(|| format!("{}; `{element}` is none", problem())))
        .collect()
}

fn cidr(json: &Value) -> Option<IpNet> {
    let text = json.as_str()?;
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address)
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
            ("/metric", json!("aws:all-bytes-up"), "there is no metric `aws:all-bytes-up`"),
            ("/metric", json!("a b"), "custom metric name"),
            ("/criteria/durationSeconds", json!(7), "is not a window length"),
            ("/criteria/statisticalThreshold", json!({"statistic": "p50"}), "excludes `value`"),
            ("/metricDimension", json!({"operator": "IN"}), "dimensionName` is missing"),
            ("/metricDimension", json!({"dimensionName": "d", "operator": "in"}), "IN or NOT_IN"),
            ("/criteria/comparisonOperator", json!("in-cidr-set"), "does not fit"),
            ("/criteria/value", json!({"cidrs": ["10.0.0.0/8"]}), "exactly the member `count`"),
            ("/criteria/value", json!({"count": 1, "ports": [1]}), "exactly the member `count`"),
            ("/criteria/value/count", json!(-1), "whole number from 0 up"),
            ("/criteria/consecutiveDatapointsToClear", json!(11), "must be 1 to 10"),
            ("/name", json!("a b"), "allowed are letters"),
        ];
        for (pointer, value, expected) in cases {
            let mut json = large_messages();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).unwrap()[member] = value;
            let error = behavior_from_json(&json, 1).unwrap_err().to_string();
            assert!(error.starts_with("behavior `"), "{error}");
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    /// A behavior with these members of the criteria beside the counts of datapoints.
    fn behavior(metric: &str, criteria: Value) -> Value {
        let mut json = json!({"name": "b", "metric": metric, "criteria": criteria});
        json["criteria"]["consecutiveDatapointsToAlarm"] = 1.into();
        json["criteria"]["consecutiveDatapointsToClear"] = 1.into();
        json
    }

    #[test]
    fn every_kind_of_criteria_is_read_and_written() {
        let limit =
            |operator: &str, value: Value| json!({"comparisonOperator": operator, "value": value});
        let mut timed = limit("less-than-equals", json!({"count": 35_000}));
        timed["durationSeconds"] = 300.into();
        let p50 = json!({
            "comparisonOperator": "greater-than",
            "statisticalThreshold": {"statistic": "p99.99"},
            "durationSeconds": 300,
        });
        for (metric, criteria) in [
            ("aws:all-bytes-out", timed.clone()),
            ("aws:num-listening-tcp-ports", timed),
            ("aws:message-byte-size", p50.clone()),
            ("load", p50),
            ("load", limit("less-than", json!({"number": -1.5}))),
            ("aws:listening-tcp-ports", limit("in-port-set", json!({"ports": [22, 443]}))),
            ("aws:listening-udp-ports", limit("not-in-port-set", json!({"ports": []}))),
            ("aws:destination-ip-addresses", limit("in-cidr-set", json!({"cidrs": ["::/0"]}))),
            ("modes", limit("in-set", json!({"numbers": [1, 2.5]}))),
            ("users", limit("not-in-set", json!({"strings": ["root"]}))),
            ("resolvers", limit("in-cidr-set", json!({"cidrs": ["10.0.0.0/8"]}))),
            ("aws:num-messages-sent", json!({"mlDetectionConfig": {"confidenceLevel": "HIGH"}})),
            ("picket:report-missing", limit("less-than", json!({"count": 15}))),
        ] {
            let json = behavior(metric, criteria);
            assert_eq!(behavior_to_json(&behavior_from_json(&json, 1).unwrap()), json);
        }
        let mut narrowed = large_messages();
        narrowed["metricDimension"] = json!({"dimensionName": "d", "operator": "NOT_IN"});
        narrowed["exportMetric"] = true.into();
        assert_eq!(behavior_to_json(&behavior_from_json(&narrowed, 1).unwrap()), narrowed);
    }

    #[test]
    fn what_a_metric_does_not_allow_is_refused() {
        let limit = |operator: &str, value: Value, duration_s: u64| json!({"comparisonOperator": operator, "value": value, "durationSeconds": duration_s});
        let p50 = json!({
            "comparisonOperator": "less-than",
            "statisticalThreshold": {"statistic": "p50"},
        });
        let ports = json!({"ports": [22]});
        for (metric, criteria, expected) in [
            ("aws:listening-tcp-ports", limit("in-port-set", ports.clone(), 300), "takes no `dur"),
            ("aws:listening-tcp-ports", limit("in-set", ports, 300), "`in-set` does not fit"),
            ("aws:listening-tcp-ports", p50.clone(), "takes no `statisticalThreshold`"),
            ("aws:message-byte-size", p50, "`durationSeconds` is required with"),
            ("aws:disconnect-duration", limit("greater-than", json!({"count": 1}), 300), "not fit"),
            ("aws:source-ip-address", json!({"mlDetectionConfig": {}}), "takes no `mlDetection"),
            ("users", limit("in-set", json!({"count": 1}), 300), "does not fit users"),
            ("users", json!({"comparisonOperator": "in-set"}), "exactly one of the members"),
            ("aws:num-disconnects", json!({"mlDetectionConfig": {}}), "LOW, MEDIUM or HIGH"),
        ] {
            let error = behavior_from_json(&behavior(metric, criteria), 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        let mut json = large_messages();
        json["metric"] = "aws:num-disconnects".into();
        json["criteria"]["durationSeconds"] = 300.into();
        json["metricDimension"] = json!({"dimensionName": "d"});
        let error = behavior_from_json(&json, 1).unwrap_err().to_string();
        assert!(error.contains("takes no `metricDimension`"), "{error}");
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
