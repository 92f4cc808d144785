//! What a report says of a metric, and whether a value is normal.

use std::collections::BTreeSet;
use std::net::IpAddr;

use picket_model::{
    Comparison, CustomValue, Evidence, Metric, MetricValue, Operator, Percentile, Quantity, Report,
    SetOperator, ValueSet,
};

/// What the report itself says of the metric; none if it says nothing.
pub(super) fn said(metric: &Metric, report: &Report) -> Option<MetricValue> {
    let network = &report.network;
    let ports = |listening: &Option<picket_model::ListeningPorts>| {
        let listening = listening.as_ref()?;
        match &listening.ports {
            Some(ports) => Some(MetricValue::Ports(ports.iter().map(|it| it.port).collect())),
            None if listening.total == 0 => Some(MetricValue::Ports(BTreeSet::new())),
            None => None,
        }
    };
    match metric {
        Metric::BytesOut => network.bytes_out.map(MetricValue::Count),
        Metric::BytesIn => network.bytes_in.map(MetricValue::Count),
        Metric::PacketsOut => network.packets_out.map(MetricValue::Count),
        Metric::PacketsIn => network.packets_in.map(MetricValue::Count),
        Metric::ListeningTcpPortCount => {
            report.listening_tcp_ports.as_ref().map(|it| MetricValue::Count(it.total))
        }
        Metric::ListeningUdpPortCount => {
            report.listening_udp_ports.as_ref().map(|it| MetricValue::Count(it.total))
        }
        Metric::EstablishedTcpConnectionCount => {
            report.tcp_connections.as_ref().map(|it| MetricValue::Count(it.total))
        }
        Metric::ListeningTcpPorts => ports(&report.listening_tcp_ports),
        Metric::ListeningUdpPorts => ports(&report.listening_udp_ports),
        Metric::DestinationIpAddresses => {
            let open = report.tcp_connections.as_ref()?;
            match &open.connections {
                Some(list) => Some(MetricValue::Addresses(
                    list.iter().map(|it| it.remote.ip().to_canonical()).collect(),
                )),
                None if open.total == 0 => Some(MetricValue::Addresses(BTreeSet::new())),
                None => None,
            }
        }
        Metric::Custom(name, kind) => {
            use picket_model::CustomMetricKind as Kind;
            let (_, value) = report.custom.iter().find(|(found, _)| found == name)?;
            match (kind, value) {
                (Kind::Number, CustomValue::Number(number)) => Some(MetricValue::Number(*number)),
                (Kind::NumberList, CustomValue::NumberList(list)) => {
                    Some(MetricValue::Numbers(list.iter().copied().collect()))
                }
                (Kind::StringList, CustomValue::StringList(list)) => {
                    Some(MetricValue::Strings(list.iter().cloned().collect()))
                }
                (Kind::IpAddressList, CustomValue::IpList(list)) => {
                    Some(MetricValue::Addresses(list.iter().copied().collect()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

pub(super) fn is_increment(metric: &Metric) -> bool {
    matches!(metric, Metric::BytesOut | Metric::BytesIn | Metric::PacketsOut | Metric::PacketsIn)
}

/// Whether the value is a list without elements.
pub(super) fn is_empty_list(value: &MetricValue) -> bool {
    match value {
        MetricValue::Count(_) | MetricValue::Number(_) => false,
        MetricValue::Addresses(list) => list.is_empty(),
        MetricValue::Ports(list) => list.is_empty(),
        MetricValue::Numbers(list) => list.is_empty(),
        MetricValue::Strings(list) => list.is_empty(),
    }
}

/// Whether a number is normal beside a limit.
pub(super) fn is_normal(operator: Operator, value: Quantity, limit: Quantity) -> bool {
    let (value, limit) = match (value, limit) {
        (Quantity::Count(value), Quantity::Count(limit)) => (value as f64, limit as f64),
        (Quantity::Number(value), Quantity::Number(limit)) => (value.get(), limit.get()),
        mixed => panic!("two kinds of numbers: {mixed:?}"),
    };
    match operator {
        Operator::LessThan => value < limit,
        Operator::LessThanEquals => value <= limit,
        Operator::GreaterThan => value > limit,
        Operator::GreaterThanEquals => value >= limit,
    }
}

pub(super) fn quantity(value: &MetricValue) -> Quantity {
    match value {
        MetricValue::Count(count) => Quantity::Count(*count),
        MetricValue::Number(number) => Quantity::Number(*number),
        list => panic!("a list is no number: {list:?}"),
    }
}

/// The elements that the set calls abnormal.
fn offending<T: Ord + Clone>(
    operator: SetOperator,
    elements: &BTreeSet<T>,
    is_in: impl Fn(&T) -> bool,
) -> BTreeSet<T> {
    let is_bad = |element: &&T| match operator {
        SetOperator::In => !is_in(element),
        SetOperator::NotIn => is_in(element),
    };
    elements.iter().filter(is_bad).cloned().collect()
}

fn is_in_nets(nets: &[ipnet::IpNet], address: &IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address.to_canonical()))
}

/// The part of the value that violates an absolute criteria; none if it conforms.
pub(super) fn violating(comparison: &Comparison, value: &MetricValue) -> Option<MetricValue> {
    let bad = match (comparison, value) {
        (Comparison::Limit(operator, limit), value) => {
            return (!is_normal(*operator, quantity(value), *limit)).then(|| value.clone());
        }
        (Comparison::Set(operator, ValueSet::Cidrs(nets)), MetricValue::Addresses(list)) => {
            MetricValue::Addresses(offending(*operator, list, |it| is_in_nets(nets, it)))
        }
        (Comparison::Set(operator, ValueSet::Ports(set)), MetricValue::Ports(list)) => {
            MetricValue::Ports(offending(*operator, list, |it| set.contains(it)))
        }
        (Comparison::Set(operator, ValueSet::Numbers(set)), MetricValue::Numbers(list)) => {
            MetricValue::Numbers(offending(*operator, list, |it| set.contains(it)))
        }
        (Comparison::Set(operator, ValueSet::Strings(set)), MetricValue::Strings(list)) => {
            MetricValue::Strings(offending(*operator, list, |it| set.contains(it)))
        }
        mixed => panic!("a criteria of another kind than its value: {mixed:?}"),
    };
    (!is_empty_list(&bad)).then_some(bad)
}

/// The smallest value that at least so much of the population has or is below.
pub(super) fn percentile(percentile: Percentile, values: &[Quantity]) -> Quantity {
    let share = match percentile.as_str() {
        "p0" => 0,
        "p0.01" => 1,
        "p0.1" => 10,
        "p1" => 100,
        "p10" => 1_000,
        "p50" => 5_000,
        "p90" => 9_000,
        "p99" => 9_900,
        "p99.9" => 9_990,
        "p99.99" => 9_999,
        "p100" => 10_000,
        other => panic!("no percentile `{other}`"),
    };
    let is_enough = |limit: &&Quantity| {
        let n = values.iter().filter(|value| *value <= *limit).count();
        n * 10_000 >= values.len() * share
    };
    *values.iter().filter(is_enough).min().unwrap()
}

/// The elements of a list that a judgement shows, as the report has them: ports with their
/// interfaces, destinations with their ports. Other metrics rest on the reports themselves.
pub(super) fn shown(metric: &Metric, report: &Report, value: &MetricValue) -> Option<Evidence> {
    fn first<T: PartialEq>(elements: impl Iterator<Item = T>) -> Vec<T> {
        let mut kept = Vec::new();
        for element in elements {
            if !kept.contains(&element) && kept.len() < 64 {
                kept.push(element);
            }
        }
        kept
    }
    let listening = match metric {
        Metric::ListeningTcpPorts => &report.listening_tcp_ports,
        Metric::ListeningUdpPorts => &report.listening_udp_ports,
        _ => &None,
    };
    match (metric, value) {
        (Metric::ListeningTcpPorts | Metric::ListeningUdpPorts, MetricValue::Ports(shown)) => {
            let ports = listening.iter().filter_map(|it| it.ports.as_ref()).flatten();
            let ports = ports.filter(|it| shown.contains(&it.port));
            Some(Evidence::ListeningPorts(first(ports.map(|it| (it.port, it.interface.clone())))))
        }
        (Metric::DestinationIpAddresses, MetricValue::Addresses(shown)) => {
            let open = report.tcp_connections.iter().filter_map(|it| it.connections.as_ref());
            let open = open.flatten().map(|it| it.remote);
            let open = open.filter(|remote| shown.contains(&remote.ip().to_canonical()));
            Some(Evidence::Destinations(first(open)))
        }
        _ => None,
    }
}
