//! Judges a window by a behavior's criteria, which say what is NORMAL.

use std::net::IpAddr;

use picket_model::{Behavior, Comparison, Metric, MetricValue};

use crate::windows::{Tally, Window};

/// What a window comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Whether it fails the criteria.
    pub(crate) violates: bool,
    /// The number that was compared, or the addresses: those outside the normal if it violates,
    /// all otherwise.
    pub(crate) value: MetricValue,
    /// The number that was compared, or how many addresses are outside the normal. Tells whether
    /// a window moved on since it was judged early.
    pub(crate) magnitude: u64,
}

/// Judges a window; `None` where there is nothing to judge, as in a window without messages for a
/// message size.
///
/// Message sizes are judged one by one, so the window's most extreme one decides: the largest where
/// the normal is small, the smallest where the normal is large.
pub(crate) fn judge(behavior: &Behavior, window: &Window) -> Option<Judgement> {
    let comparison = &behavior.criteria.comparison;
    match &window.tally {
        Tally::Count(span) => judge_number(comparison, span.count),
        Tally::Denials(denials) => judge_number(comparison, denials.span.count),
        Tally::Messages(messages) => match behavior.metric {
            Metric::MessageByteSize if messages.span.count == 0 => None,
            Metric::MessageByteSize if tests_largest(comparison) => {
                judge_number(comparison, messages.bytes_max)
            }
            Metric::MessageByteSize => judge_number(comparison, messages.bytes_min),
            _ => judge_number(comparison, messages.span.count),
        },
        Tally::Addresses(addresses) => judge_addresses(comparison, addresses),
    }
}

/// Judges a number; `None` if the criteria is about addresses.
pub(crate) fn judge_number(comparison: &Comparison, number: u64) -> Option<Judgement> {
    let conforms = match *comparison {
        Comparison::LessThan(limit) => number < limit,
        Comparison::LessThanEquals(limit) => number <= limit,
        Comparison::GreaterThan(limit) => number > limit,
        Comparison::GreaterThanEquals(limit) => number >= limit,
        Comparison::InCidrSet(_) | Comparison::NotInCidrSet(_) => return None,
    };
    let value = MetricValue::Count(number);
    Some(Judgement { violates: !conforms, value, magnitude: number })
}

fn judge_addresses(comparison: &Comparison, addresses: &[IpAddr]) -> Option<Judgement> {
    if !matches!(comparison, Comparison::InCidrSet(_) | Comparison::NotInCidrSet(_))
        || addresses.is_empty()
    {
        return None;
    }
    let offending: Vec<_> =
        addresses.iter().filter(|address| offends(comparison, address)).copied().collect();
    let violates = !offending.is_empty();
    let magnitude = offending.len() as u64;
    let value = if violates { offending } else { addresses.to_vec() };
    Some(Judgement {
        violates,
        value: MetricValue::Addresses(value.into_iter().collect()),
        magnitude,
    })
}

/// Whether an address is outside the normal. No address is outside of numbers.
///
/// An IPv4 address that came over an IPv6 socket (`::ffff:10.0.0.1`) is the IPv4 address.
pub(crate) fn offends(comparison: &Comparison, address: &IpAddr) -> bool {
    let address = address.to_canonical();
    match comparison {
        Comparison::InCidrSet(nets) => !nets.iter().any(|net| net.contains(&address)),
        Comparison::NotInCidrSet(nets) => nets.iter().any(|net| net.contains(&address)),
        Comparison::LessThan(_)
        | Comparison::LessThanEquals(_)
        | Comparison::GreaterThan(_)
        | Comparison::GreaterThanEquals(_) => false,
    }
}

/// Whether a large number is what breaks the criteria.
pub(crate) fn tests_largest(comparison: &Comparison) -> bool {
    largest_normal(comparison).is_some()
}

/// The largest number that is still normal; none if there is none, or if it is about addresses.
pub(crate) fn largest_normal(comparison: &Comparison) -> Option<u64> {
    match *comparison {
        Comparison::LessThan(limit) => Some(limit.saturating_sub(1)),
        Comparison::LessThanEquals(limit) => Some(limit),
        Comparison::GreaterThan(_)
        | Comparison::GreaterThanEquals(_)
        | Comparison::InCidrSet(_)
        | Comparison::NotInCidrSet(_) => None,
    }
}

/// Whether a window that breaks the criteria stays broken whatever else happens in it, so that it
/// can be judged before its end.
pub(crate) fn breaks_for_good(metric: Metric, comparison: &Comparison) -> bool {
    match metric {
        // Judged one by one: what was sent, or where it came from, cannot be taken back.
        Metric::MessageByteSize | Metric::SourceIpAddress => true,
        // A count only grows.
        Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects => tests_largest(comparison),
        // Judged on the tick.
        Metric::DisconnectDuration => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of 9, 10 and 11 violate.
    fn check(comparison: Comparison, expected: &str) {
        let violating: Vec<_> = [9, 10, 11]
            .into_iter()
            .filter(|&number| judge_number(&comparison, number).unwrap().violates)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(violating.join(" "), expected, "{comparison:?}");
    }

    #[test]
    fn criteria_say_what_is_normal() {
        check(Comparison::LessThan(10), "10 11");
        check(Comparison::LessThanEquals(10), "11");
        check(Comparison::GreaterThan(10), "9 10");
        check(Comparison::GreaterThanEquals(10), "9");
    }

    fn check_addresses(operator: &str, addresses: &str, expected: &str) {
        let nets = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let comparison = match operator {
            "in" => Comparison::InCidrSet(nets),
            _ => Comparison::NotInCidrSet(nets),
        };
        let addresses: Vec<IpAddr> =
            addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
        let verdict = match judge_addresses(&comparison, &addresses) {
            None => "nothing".to_owned(),
            Some(judgement) => {
                let MetricValue::Addresses(value) = judgement.value else { panic!("no addresses") };
                let value: Vec<_> = value.iter().map(IpAddr::to_string).collect();
                let word = if judgement.violates { "violates" } else { "conforms" };
                format!("{word} {}", value.join(" "))
            }
        };
        assert_eq!(verdict, expected, "{operator} {addresses:?}");
    }

    #[test]
    fn every_address_counts_and_a_violation_names_only_those_outside_the_normal() {
        check_addresses("in", "10.1.2.3", "conforms 10.1.2.3");
        check_addresses("in", "10.1.2.3 192.0.2.1", "violates 192.0.2.1");
        check_addresses("in", "2001:db8::1 2001:db9::1", "violates 2001:db9::1");
        check_addresses("in", "::ffff:10.1.2.3", "conforms ::ffff:10.1.2.3");
        check_addresses("not in", "10.1.2.3 192.0.2.1", "violates 10.1.2.3");
        check_addresses("not in", "192.0.2.1", "conforms 192.0.2.1");
        check_addresses("in", "", "nothing");
    }
}
