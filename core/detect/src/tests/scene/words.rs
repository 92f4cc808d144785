//! Profiles as text: metrics, behaviors, dimensions.

use std::sync::Arc;

use picket_model::catalogue::Operators;
use picket_model::{
    AlertTarget, Behavior, BehaviorName, Comparison, Confidence, Criteria, CustomMetricKind,
    CustomMetricName, DimensionName, DimensionOperator, Metric, MetricDimension, MetricsExport,
    Number, Operator, Percentile, ProfileName, Quantity, RetainedMetric, SecurityProfile,
    SetOperator, Timestamp, ValueSet, WindowLen,
};

/// What the built-in metrics are called here.
const WORDS: [(&str, Metric); 20] = [
    ("size", Metric::MessageByteSize),
    ("sent", Metric::MessagesSent),
    ("received", Metric::MessagesReceived),
    ("denied", Metric::AuthorizationFailures),
    ("attempts", Metric::ConnectionAttempts),
    ("disconnects", Metric::Disconnects),
    ("ip", Metric::SourceIpAddress),
    ("away", Metric::DisconnectDuration),
    ("out", Metric::BytesOut),
    ("in", Metric::BytesIn),
    ("pout", Metric::PacketsOut),
    ("pin", Metric::PacketsIn),
    ("tcp#", Metric::ListeningTcpPortCount),
    ("udp#", Metric::ListeningUdpPortCount),
    ("conns#", Metric::EstablishedTcpConnectionCount),
    ("tcp", Metric::ListeningTcpPorts),
    ("udp", Metric::ListeningUdpPorts),
    ("dest", Metric::DestinationIpAddresses),
    ("missing", Metric::ReportMissing),
    ("disagree", Metric::BytesOutDisagrees),
];

/// The custom metrics that there are here.
pub(in crate::tests) const CUSTOM: [(&str, CustomMetricKind); 4] = [
    ("load", CustomMetricKind::Number),
    ("codes", CustomMetricKind::NumberList),
    ("users", CustomMetricKind::StringList),
    ("peers", CustomMetricKind::IpAddressList),
];

pub(in crate::tests) fn custom_name(word: &str) -> CustomMetricName {
    CustomMetricName::parse(word).unwrap()
}

pub(in crate::tests) fn metric(word: &str) -> Metric {
    let built_in = WORDS.iter().find(|(name, _)| *name == word).map(|(_, metric)| metric.clone());
    let custom = CUSTOM.iter().find(|(name, _)| *name == word);
    let custom = custom.map(|(name, kind)| Metric::Custom(custom_name(name), *kind));
    built_in.or(custom).unwrap_or_else(|| panic!("no metric `{word}`"))
}

pub(in crate::tests) fn metric_word(metric: &Metric) -> &str {
    let built_in = WORDS.iter().find(|(_, found)| found == metric).map(|(word, _)| *word);
    built_in.unwrap_or_else(|| metric.as_str())
}

/// `t` is the dimension t, `!t` the rest.
pub(in crate::tests) fn dimension(text: &str) -> MetricDimension {
    let (name, operator) = match text.strip_prefix('!') {
        Some(name) => (name, DimensionOperator::NotIn),
        None => (text, DimensionOperator::In),
    };
    MetricDimension { name: DimensionName::parse(name).unwrap(), operator }
}

pub(super) fn dimension_text(dimension: &MetricDimension) -> String {
    let not = if dimension.operator == DimensionOperator::NotIn { "!" } else { "" };
    format!("/{not}{}", dimension.name)
}

/// `size` or `size/t`.
fn narrowed(text: &str) -> (Metric, Option<MetricDimension>) {
    match text.split_once('/') {
        Some((word, name)) => (metric(word), Some(dimension(name))),
        None => (metric(text), None),
    }
}

pub(in crate::tests) fn behavior(text: &str, name: &str) -> Behavior {
    let mut words = text.split_whitespace();
    let (metric, dimension) = narrowed(words.next().unwrap());
    let operator = words.next().unwrap();
    let value = words.next().unwrap();
    let mut criteria = Criteria {
        comparison: comparison(&metric, operator, value),
        window: None,
        datapoints_to_alarm: 1,
        datapoints_to_clear: 1,
    };
    let (mut suppress_alerts, mut export) = (false, false);
    for word in words {
        match word {
            "mute" => suppress_alerts = true,
            "export" => export = true,
            word => {
                if let Some(secs) = word.strip_prefix('@') {
                    criteria.window = Some(WindowLen::from_secs(secs.parse().unwrap()).unwrap());
                } else {
                    let (alarm, clear) = word.split_once('/').unwrap();
                    criteria.datapoints_to_alarm = alarm.parse().unwrap();
                    criteria.datapoints_to_clear = clear.parse().unwrap();
                }
            }
        }
    }
    let name = BehaviorName::parse(name).unwrap();
    Behavior { name, metric, dimension, criteria, suppress_alerts, export }
}

fn comparison(metric: &Metric, operator: &str, value: &str) -> Comparison {
    let compare = |operator| match Percentile::parse(value) {
        Some(percentile) => Comparison::Percentile(operator, percentile),
        None => Comparison::Limit(operator, quantity(metric, value)),
    };
    match operator {
        "<" => compare(Operator::LessThan),
        "<=" => compare(Operator::LessThanEquals),
        ">" => compare(Operator::GreaterThan),
        ">=" => compare(Operator::GreaterThanEquals),
        "in" => Comparison::Set(SetOperator::In, value_set(metric, value)),
        "not-in" => Comparison::Set(SetOperator::NotIn, value_set(metric, value)),
        "learned" => {
            let confidence = Confidence::parse(&value.to_uppercase());
            Comparison::Learned(confidence.unwrap_or_else(|| panic!("no confidence `{value}`")))
        }
        operator => panic!("no operator `{operator}`"),
    }
}

fn quantity(metric: &Metric, value: &str) -> Quantity {
    match metric {
        Metric::Custom(..) => Quantity::Number(number(value)),
        _ => Quantity::Count(value.replace('_', "").parse().unwrap()),
    }
}

pub(super) fn number(text: &str) -> Number {
    Number::new(text.parse().unwrap()).unwrap()
}

fn value_set(metric: &Metric, value: &str) -> ValueSet {
    let values = || value.split(',').filter(|text| !text.is_empty() && *text != "-");
    match metric.operators() {
        Operators::Cidrs => ValueSet::Cidrs(values().map(|net| net.parse().unwrap()).collect()),
        Operators::Ports => ValueSet::Ports(values().map(|port| port.parse().unwrap()).collect()),
        Operators::NumberSet => ValueSet::Numbers(values().map(number).collect()),
        Operators::StringSet => ValueSet::Strings(values().map(Box::from).collect()),
        Operators::Numbers | Operators::Upper => panic!("`{metric}` has no sets"),
    }
}

pub(in crate::tests) fn retained(text: &str) -> RetainedMetric {
    let (text, export) = match text.strip_suffix(" export") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (metric, dimension) = narrowed(text);
    RetainedMetric { metric, dimension, export }
}

pub(in crate::tests) fn profile(
    name: &str,
    behaviors: Vec<Behavior>,
    retained_metrics: Vec<RetainedMetric>,
) -> Arc<SecurityProfile> {
    Arc::new(SecurityProfile {
        name: ProfileName::parse(name).unwrap(),
        description: None,
        behaviors,
        alert_targets: Vec::<AlertTarget>::new(),
        retained_metrics,
        export: Some(MetricsExport {
            mqtt_topic: "export".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/export".to_owned(),
        }),
        version: 1,
        created_at: Timestamp::EPOCH,
        modified_at: Timestamp::EPOCH,
    })
}

pub(in crate::tests) fn profiles(text: &str) -> Vec<Arc<SecurityProfile>> {
    let profiles = text.split('|').filter(|text| !text.trim().is_empty());
    profiles
        .map(|text| {
            let (name, text) = text.split_once(": ").unwrap_or(("p", text));
            let (mut behaviors, mut kept) = (Vec::<Behavior>::new(), Vec::new());
            let mut words = Vec::new();
            for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                if let Some(word) = part.strip_prefix("keep ") {
                    kept.push(retained(word));
                    continue;
                }
                let word = part.split_whitespace().next().unwrap();
                words.push(word);
                let n = words.iter().filter(|it| **it == word).count();
                let n = if n == 1 { String::new() } else { n.to_string() };
                let word = word.replace('#', "-n").replace('!', "not-").replace('/', "-");
                behaviors.push(behavior(part, &format!("{word}{n}")));
            }
            profile(name.trim(), behaviors, kept)
        })
        .collect()
}
