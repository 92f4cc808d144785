//! Judges what was measured by a behavior's criteria, which say what is NORMAL.

use picket_model::{Comparison, Metric, Operator, Quantity};

use crate::measured::{Measured, offends};

/// What a value comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Whether it fails the criteria.
    pub(crate) violates: bool,
    /// The number that was compared, or how many elements are outside the normal. Tells whether
    /// a window moved on since it was judged early.
    pub(crate) magnitude: u64,
}

/// Judges a value by itself; `None` where the criteria is not about such a value, or needs the
/// whole fleet or a model.
///
/// A list is judged element by element; an empty one conforms.
/// Source: AWS guide "Device-side metrics".
pub(crate) fn judge(comparison: &Comparison, measured: Measured<'_>) -> Option<Judgement> {
    match (comparison, measured) {
        (Comparison::Limit(operator, limit), Measured::Quantity(quantity)) => {
            let violates = !holds(*operator, quantity, *limit)?;
            let magnitude = match quantity {
                Quantity::Count(count) => count,
                Quantity::Number(number) => number.get().to_bits(),
            };
            Some(Judgement { violates, magnitude })
        }
        (
            Comparison::Set(..),
            Measured::Addresses(_)
            | Measured::Ports(_)
            | Measured::Destinations(_)
            | Measured::Numbers(_)
            | Measured::Strings(_),
        ) => {
            let n = measured.elements().filter(|element| offends(comparison, *element)).count();
            Some(Judgement { violates: n > 0, magnitude: n as u64 })
        }
        _ => None,
    }
}

/// Whether a number is normal; `None` if it is of another kind than the limit.
pub(crate) fn holds(operator: Operator, value: Quantity, limit: Quantity) -> Option<bool> {
    match (value, limit) {
        (Quantity::Count(value), Quantity::Count(limit)) => Some(operator.holds(&value, &limit)),
        (Quantity::Number(value), Quantity::Number(limit)) => Some(operator.holds(&value, &limit)),
        (Quantity::Count(_), Quantity::Number(_)) | (Quantity::Number(_), Quantity::Count(_)) => {
            None
        }
    }
}

/// Whether a large number is what breaks the criteria.
pub(crate) fn tests_largest(comparison: &Comparison) -> bool {
    match comparison {
        Comparison::Limit(operator, _) | Comparison::Percentile(operator, _) => operator.is_upper(),
        Comparison::Set(..) | Comparison::Learned(_) => false,
    }
}

/// The largest count that is still normal; none if there is none that is known beforehand.
pub(crate) fn largest_normal(comparison: &Comparison) -> Option<u64> {
    match comparison {
        Comparison::Limit(Operator::LessThan, Quantity::Count(limit)) => {
            Some(limit.saturating_sub(1))
        }
        Comparison::Limit(Operator::LessThanEquals, Quantity::Count(limit)) => Some(*limit),
        Comparison::Limit(..)
        | Comparison::Set(..)
        | Comparison::Percentile(..)
        | Comparison::Learned(_) => None,
    }
}

/// Whether a window of a cloud-side metric that breaks the criteria stays broken whatever else
/// happens in it, so that it can be judged before its end.
pub(crate) fn breaks_for_good(metric: &Metric, comparison: &Comparison) -> bool {
    match (metric, comparison) {
        // Judged one by one: what was sent, or where it came from, cannot be taken back.
        (Metric::MessageByteSize, Comparison::Limit(..))
        | (Metric::SourceIpAddress, Comparison::Set(..)) => true,
        // A count only grows.
        (
            Metric::MessagesSent
            | Metric::MessagesReceived
            | Metric::AuthorizationFailures
            | Metric::ConnectionAttempts
            | Metric::Disconnects,
            Comparison::Limit(operator, _),
        ) => operator.is_upper(),
        // Looked at on the tick or as a report comes, or compared with what is not known before.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use picket_model::{ListeningPort, MetricValue, Number, SetOperator, ValueSet};

    use super::*;

    /// Which of 9, 10 and 11 violate.
    fn check(operator: Operator, expected: &str) {
        let comparison = Comparison::Limit(operator, Quantity::Count(10));
        let violating: Vec<_> = [9, 10, 11]
            .into_iter()
            .filter(|&number| judge(&comparison, Measured::count(number)).unwrap().violates)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(violating.join(" "), expected, "{comparison:?}");
    }

    #[test]
    fn criteria_say_what_is_normal() {
        check(Operator::LessThan, "10 11");
        check(Operator::LessThanEquals, "11");
        check(Operator::GreaterThan, "9 10");
        check(Operator::GreaterThanEquals, "9");
    }

    #[test]
    fn a_count_is_not_compared_with_a_number() {
        let limit = Quantity::Number(Number::of_count(10));
        let comparison = Comparison::Limit(Operator::LessThan, limit);
        assert_eq!(judge(&comparison, Measured::count(11)), None);
    }

    fn verdict(comparison: &Comparison, measured: Measured<'_>) -> String {
        let violates = judge(comparison, measured).unwrap().violates;
        let value = match measured.judged_value(comparison, violates) {
            MetricValue::Addresses(list) => list.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            MetricValue::Ports(list) => list.iter().map(u16::to_string).collect(),
            value => panic!("no list: {value:?}"),
        };
        let word = if violates { "violates" } else { "conforms" };
        format!("{word} {}", value.join(" ")).trim_end().to_owned()
    }

    fn operator(text: &str) -> SetOperator {
        if text == "in" { SetOperator::In } else { SetOperator::NotIn }
    }

    fn check_addresses(is_in: &str, addresses: &str, expected: &str) {
        let nets = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let comparison = Comparison::Set(operator(is_in), ValueSet::Cidrs(nets));
        let list: Vec<IpAddr> =
            addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
        let verdict = verdict(&comparison, Measured::Addresses(&list));
        assert_eq!(verdict, expected, "{is_in} {addresses:?}");
    }

    #[test]
    fn every_address_counts_and_a_violation_names_only_those_outside_the_normal() {
        check_addresses("in", "10.1.2.3", "conforms 10.1.2.3");
        check_addresses("in", "10.1.2.3 192.0.2.1", "violates 192.0.2.1");
        check_addresses("in", "2001:db8::1 2001:db9::1", "violates 2001:db9::1");
        check_addresses("in", "::ffff:10.1.2.3", "conforms ::ffff:10.1.2.3");
        check_addresses("not in", "10.1.2.3 192.0.2.1", "violates 10.1.2.3");
        check_addresses("not in", "192.0.2.1", "conforms 192.0.2.1");
        check_addresses("in", "", "conforms");
    }

    fn check_ports(is_in: &str, ports: &str, expected: &str) {
        let comparison = Comparison::Set(operator(is_in), ValueSet::Ports([22, 443].into()));
        let list: Vec<_> = ports
            .split_whitespace()
            .map(|port| ListeningPort { port: port.parse().unwrap(), interface: None })
            .collect();
        assert_eq!(verdict(&comparison, Measured::Ports(&list)), expected, "{is_in} {ports:?}");
    }

    #[test]
    fn every_port_counts_once() {
        check_ports("in", "22 443 22", "conforms 22 443");
        check_ports("in", "4444 22 4444", "violates 4444");
        check_ports("not in", "80 22", "violates 22");
        check_ports("not in", "", "conforms");
    }
}
