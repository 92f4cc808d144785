//! What a behavior takes for normal, in words.

use picket_model::catalogue::{Kind, Source};
use picket_model::{
    Behavior, Comparison, DimensionOperator, Metric, Operator, Percentile, Quantity, SetOperator,
    ValueSet,
};

use crate::words::{fraction, list, measure, printable, quantity};

/// What a behavior takes for normal, in one line for people: "normal while message size <= 1,000
/// bytes in 5 min; alarm after 1, clear after 2".
pub fn normal_in_words(behavior: &Behavior) -> String {
    let Behavior { metric, criteria, .. } = behavior;
    let words = metric.in_words();
    let part = part_in_words(behavior);
    let compared = match &criteria.comparison {
        Comparison::Limit(operator, limit) => {
            // The words of a difference say its unit.
            let unit = if metric.kind() == Kind::Delta { "" } else { unit_beside(metric) };
            format!("{} {}", symbol(*operator), measure(*limit, unit))
        }
        Comparison::Set(SetOperator::In, set) => format!("in {}", elements(set)),
        Comparison::Set(SetOperator::NotIn, set) => format!("not in {}", elements(set)),
        Comparison::Percentile(operator, percentile) => {
            format!("{}{} {}", in_all(metric), symbol(*operator), of_fleet(*percentile))
        }
        Comparison::Learned(confidence) => {
            format!("is what a model learns ({} confidence)", confidence.as_str().to_lowercase())
        }
    };
    format!(
        "normal while {words}{part} {compared}{}; alarm after {}, clear after {}",
        period(behavior),
        criteria.datapoints_to_alarm,
        criteria.datapoints_to_clear
    )
}

/// What would be normal, as the end of a sentence: "a message size of at most 1,000 bytes".
pub(crate) fn normal_value(behavior: &Behavior) -> String {
    let metric = &behavior.metric;
    let limited = |operator: Operator, limit: &str| match operator {
        Operator::LessThan if counts_things(metric) => format!("fewer than {limit}"),
        Operator::LessThan => format!("less than {limit}"),
        Operator::LessThanEquals => format!("at most {limit}"),
        Operator::GreaterThan => format!("more than {limit}"),
        Operator::GreaterThanEquals => format!("at least {limit}"),
    };
    match &behavior.criteria.comparison {
        Comparison::Limit(operator, limit) => {
            let compared = limited(*operator, &measure(*limit, unit_beside(metric)));
            match metric {
                Metric::MessageByteSize => format!("a message size of {compared}"),
                _ => compared,
            }
        }
        Comparison::Set(operator, set) => {
            let elements = elements(set);
            match (element_in_words(metric), operator, set.is_empty()) {
                (Ok(element), SetOperator::In, true) => format!("no {element}"),
                (Ok(element), SetOperator::In, false) => {
                    format!("{} {element} in {elements}", article(element))
                }
                (Ok(element), SetOperator::NotIn, true) => format!("any {element}"),
                (Ok(element), SetOperator::NotIn, false) => format!("no {element} in {elements}"),
                (Err(name), SetOperator::In, true) => format!("nothing in {name}"),
                (Err(name), SetOperator::In, false) => format!("nothing in {name} but {elements}"),
                (Err(name), SetOperator::NotIn, true) => format!("anything in {name}"),
                (Err(name), SetOperator::NotIn, false) => format!("no {elements} in {name}"),
            }
        }
        Comparison::Percentile(operator, percentile) => limited(*operator, &of_fleet(*percentile)),
        Comparison::Learned(_) => "what a model learns".to_owned(),
    }
}

/// The part that a dimension leaves, to stand behind what was counted: " (topics in telemetry)".
pub(crate) fn part_in_words(behavior: &Behavior) -> String {
    match &behavior.dimension {
        None => String::new(),
        Some(dimension) => {
            let side = match dimension.operator {
                DimensionOperator::In => "in",
                DimensionOperator::NotIn => "outside",
            };
            format!(" (topics {side} {})", dimension.name)
        }
    }
}

/// The elements of a set: "10.0.0.0/8 or 192.168.0.0/16".
fn elements(set: &ValueSet) -> String {
    let texts: Vec<_> = match set {
        ValueSet::Cidrs(nets) => nets.iter().map(ToString::to_string).collect(),
        ValueSet::Ports(ports) => ports.iter().map(ToString::to_string).collect(),
        ValueSet::Numbers(numbers) => numbers.iter().map(|&it| fraction(it)).collect(),
        ValueSet::Strings(strings) => strings.iter().map(|it| printable(it)).collect(),
    };
    if texts.is_empty() { "the empty set".to_owned() } else { list(&texts, "or") }
}

/// What a person calls an element of a list: "address", "listening TCP port". Of a custom list only
/// the name of the whole is known, which is the error.
pub(crate) fn element_in_words(metric: &Metric) -> Result<&str, &str> {
    match metric {
        Metric::SourceIpAddress => Ok("address"),
        Metric::Custom(name, _) => Err(name.as_str()),
        _ => Ok(metric.in_words()),
    }
}

/// No element of a list: "no listening TCP port", "nothing in users".
pub(crate) fn no_element(metric: &Metric) -> String {
    match element_in_words(metric) {
        Ok(element) => format!("no {element}"),
        Err(name) => format!("nothing in {name}"),
    }
}

/// Elements of a list: "listening TCP ports 22 and 80", "root in users".
pub(crate) fn elements_of(metric: &Metric, count: usize, elements: &str) -> String {
    match element_in_words(metric) {
        Ok(element) if count == 1 => format!("{element} {elements}"),
        Ok(element) if element.ends_with('s') => format!("{element}es {elements}"),
        Ok(element) => format!("{element}s {elements}"),
        Err(name) => format!("{elements} in {name}"),
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The unit that has to stand beside a number, where the words of the metric do not say it.
fn unit_beside(metric: &Metric) -> &'static str {
    match metric.kind() {
        Kind::Size | Kind::Duration | Kind::Delta => metric.unit(),
        _ => "",
    }
}

/// Whether a value is a number of things: fewer, not less.
fn counts_things(metric: &Metric) -> bool {
    match metric.kind() {
        Kind::Count => true,
        Kind::Increment => metric.unit() != "bytes",
        Kind::Gauge => metric.entry().is_some(),
        _ => false,
    }
}

/// Percentiles rank the total of message sizes.
fn in_all(metric: &Metric) -> &'static str {
    if *metric == Metric::MessageByteSize { "in total " } else { "" }
}

/// "p90 of the fleet".
fn of_fleet(percentile: Percentile) -> String {
    format!("{} of the fleet", percentile.as_str())
}

fn period(behavior: &Behavior) -> String {
    let Behavior { metric, criteria, .. } = behavior;
    let window = criteria.window_or_default();
    let is_ranked = matches!(criteria.comparison, Comparison::Percentile(..));
    match (metric.source(), metric.kind()) {
        (_, Kind::Duration) => format!(", looked at every {window}"),
        (Source::Cloud, _) | (_, Kind::Increment) => format!(" in {window}"),
        _ if is_ranked => format!(" in {window}"),
        _ => ", in each report".to_owned(),
    }
}

const fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::LessThan => "<",
        Operator::LessThanEquals => "<=",
        Operator::GreaterThan => ">",
        Operator::GreaterThanEquals => ">=",
    }
}

/// A number of things of a metric: "36,000 bytes out", "load of 1.5".
pub(crate) fn amount_of(metric: &Metric, value: Quantity) -> String {
    let words = metric.in_words();
    match (metric, value) {
        (Metric::Custom(..), value) => format!("{words} of {}", quantity(value)),
        (Metric::MessageByteSize, value) => {
            format!("messages of {} in all", measure(value, metric.unit()))
        }
        // "1 listening TCP port", but "1 messages sent" cannot be put right by a letter.
        (_, Quantity::Count(1)) => {
            let unit = metric.unit();
            let one = unit.strip_suffix('s').unwrap_or(unit);
            format!("1 {}", words.replacen(unit, one, 1))
        }
        (_, value) => format!("{} {words}", quantity(value)),
    }
}
