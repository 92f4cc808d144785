//! Behaviors: what is normal, for one metric.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use crate::{BehaviorName, Metric, MetricDimension, MetricValue, Number};

/// One metric and the criteria that its values satisfy while the device is normal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// Unique in its security profile.
    pub name: BehaviorName,
    /// What is measured.
    pub metric: Metric,
    /// Which part of it, if not all.
    pub dimension: Option<MetricDimension>,
    /// What is normal. A datapoint that fails it is violating.
    pub criteria: Criteria,
    /// Evaluated and listed, but nobody is told.
    pub suppress_alerts: bool,
    /// Whether its values are published to the profile's export topic.
    pub export: bool,
}

/// What is NORMAL, and how many datapoints in a row make or end an alarm.
///
/// AWS's consoles and many texts speak of the alarm's condition instead; the wire does not.
/// Source: aws `BehaviorCriteria`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criteria {
    /// What a value is compared with, and how.
    pub comparison: Comparison,
    /// Length of the window that the metric is counted over; none for metrics that are judged
    /// one by one, which then lie in windows of [`WindowLen::DEFAULT`].
    pub window: Option<WindowLen>,
    /// Violating datapoints in a row that raise the alarm, 1 to 10.
    pub datapoints_to_alarm: u8,
    /// Conforming datapoints in a row that clear the alarm, 1 to 10.
    pub datapoints_to_clear: u8,
}

impl Criteria {
    /// The window that datapoints of this criteria lie in.
    pub fn window_or_default(&self) -> WindowLen {
        self.window.unwrap_or(WindowLen::DEFAULT)
    }

    /// Its type as lists are filtered by.
    pub const fn criteria_type(&self) -> CriteriaType {
        match &self.comparison {
            Comparison::Limit(..) | Comparison::Set(..) => CriteriaType::Static,
            Comparison::Percentile(..) => CriteriaType::Statistical,
            Comparison::Learned(_) => CriteriaType::MachineLearning,
        }
    }
}

/// What a value is compared with, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Normal while the value stands in this relation to a number.
    Limit(Operator, Quantity),
    /// Normal while every element, or no element, of the value is in a set.
    Set(SetOperator, ValueSet),
    /// Normal while the value stands in this relation to a percentile of what the profile's
    /// devices had in the same window.
    Percentile(Operator, Percentile),
    /// Normal is what a model learned. Source: AWS guide "ML Detect".
    Learned(Confidence),
}

/// How a value is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Normal while below.
    LessThan,
    /// Normal while at most this.
    LessThanEquals,
    /// Normal while above.
    GreaterThan,
    /// Normal while at least this.
    GreaterThanEquals,
}

impl Operator {
    /// All of them.
    pub const ALL: [Operator; 4] = [
        Operator::LessThan,
        Operator::LessThanEquals,
        Operator::GreaterThan,
        Operator::GreaterThanEquals,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LessThan => "less-than",
            Self::LessThanEquals => "less-than-equals",
            Self::GreaterThan => "greater-than",
            Self::GreaterThanEquals => "greater-than-equals",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == text)
    }

    /// Whether `value` is normal where `limit` is the limit.
    pub fn holds<T: Ord>(self, value: &T, limit: &T) -> bool {
        match self {
            Self::LessThan => value < limit,
            Self::LessThanEquals => value <= limit,
            Self::GreaterThan => value > limit,
            Self::GreaterThanEquals => value >= limit,
        }
    }

    /// Whether a large value is what breaks it.
    pub const fn is_upper(self) -> bool {
        matches!(self, Self::LessThan | Self::LessThanEquals)
    }
}

/// Which elements are normal: those in the set, or those outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetOperator {
    /// Normal while every element is in the set.
    In,
    /// Normal while no element is in the set.
    NotIn,
}

/// A set of values that a list is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSet {
    /// Address ranges.
    Cidrs(Vec<IpNet>),
    /// Ports.
    Ports(BTreeSet<u16>),
    /// Numbers.
    Numbers(BTreeSet<Number>),
    /// Strings.
    Strings(BTreeSet<Box<str>>),
}

impl ValueSet {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Cidrs(nets) => nets.len(),
            Self::Ports(ports) => ports.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Strings(strings) => strings.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// AWS's spelling of an operator on such a set: `in-cidr-set`.
    pub const fn operator(&self, operator: SetOperator) -> &'static str {
        match (self, operator) {
            (Self::Cidrs(_), SetOperator::In) => "in-cidr-set",
            (Self::Cidrs(_), SetOperator::NotIn) => "not-in-cidr-set",
            (Self::Ports(_), SetOperator::In) => "in-port-set",
            (Self::Ports(_), SetOperator::NotIn) => "not-in-port-set",
            (Self::Numbers(_) | Self::Strings(_), SetOperator::In) => "in-set",
            (Self::Numbers(_) | Self::Strings(_), SetOperator::NotIn) => "not-in-set",
        }
    }
}

/// One number that was measured or that is the limit. The two kinds never meet in one metric:
/// built-in metrics count, custom numbers are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// A count, a size or a duration.
    Count(u64),
    /// A custom number.
    Number(Number),
}

impl Quantity {
    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        match self {
            Self::Count(_) => false,
            Self::Number(number) => number.get() < 0.0,
        }
    }
}

impl From<Quantity> for MetricValue {
    fn from(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Count(count) => Self::Count(count),
            Quantity::Number(number) => Self::Number(number),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A percentile of a fleet, by the nearest rank: a value that some device really had.
/// Source: aws `EvaluationStatistic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Percentile {
    /// The smallest value.
    P0,
    /// 0.01 %.
    P0_01,
    /// 0.1 %.
    P0_1,
    /// 1 %.
    P1,
    /// 10 %.
    P10,
    /// The median.
    P50,
    /// 90 %.
    P90,
    /// 99 %.
    P99,
    /// 99.9 %.
    P99_9,
    /// 99.99 %.
    P99_99,
    /// The largest value.
    P100,
}

impl Percentile {
    /// All of them, ascending.
    pub const ALL: [Percentile; 11] = [
        Percentile::P0,
        Percentile::P0_01,
        Percentile::P0_1,
        Percentile::P1,
        Percentile::P10,
        Percentile::P50,
        Percentile::P90,
        Percentile::P99,
        Percentile::P99_9,
        Percentile::P99_99,
        Percentile::P100,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P0 => "p0",
            Self::P0_01 => "p0.01",
            Self::P0_1 => "p0.1",
            Self::P1 => "p1",
            Self::P10 => "p10",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::P99_99 => "p99.99",
            Self::P100 => "p100",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|percentile| percentile.as_str() == text)
    }

    /// Hundredths of a percent: 0 to 10,000.
    pub const fn basis_points(self) -> u64 {
        match self {
            Self::P0 => 0,
            Self::P0_01 => 1,
            Self::P0_1 => 10,
            Self::P1 => 100,
            Self::P10 => 1_000,
            Self::P50 => 5_000,
            Self::P90 => 9_000,
            Self::P99 => 9_900,
            Self::P99_9 => 9_990,
            Self::P99_99 => 9_999,
            Self::P100 => 10_000,
        }
    }

    /// The place, counted from 0, of the percentile among `n` values in ascending order, by the
    /// nearest rank; `None` if there are no values.
    pub fn place(self, n: usize) -> Option<usize> {
        let last = n.checked_sub(1)?;
        // In 128 bits, so that no number of values overflows.
        let rank = (n as u128 * u128::from(self.basis_points())).div_ceil(10_000);
        Some(usize::try_from(rank).unwrap_or(n).saturating_sub(1).min(last))
    }
}

/// How sure a model must be before it raises an alarm. Source: aws `ConfidenceLevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The most alarms.
    Low,
    /// In between.
    Medium,
    /// The fewest alarms.
    High,
}

impl Confidence {
    /// All of them.
    pub const ALL: [Confidence; 3] = [Confidence::Low, Confidence::Medium, Confidence::High];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|confidence| confidence.as_str() == text)
    }
}

/// The type of a criteria. Source: aws `BehaviorCriteriaType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CriteriaType {
    /// A value to compare with.
    Static,
    /// A percentile of the fleet.
    Statistical,
    /// A learned model.
    MachineLearning,
}

impl CriteriaType {
    /// All of them.
    pub const ALL: [CriteriaType; 3] =
        [CriteriaType::Static, CriteriaType::Statistical, CriteriaType::MachineLearning];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Statistical => "STATISTICAL",
            Self::MachineLearning => "MACHINE_LEARNING",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|criteria_type| criteria_type.as_str() == text)
    }
}

/// Length of a tumbling, clock-aligned window, in seconds: a divisor of 3,600 from 5 up.
///
/// AWS knows 300, 600, 900, 1800 and 3600; the others are our addition, so that detection can
/// take seconds. Divisors of an hour, so that every window starts on the clock's hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowLen(u32);

impl WindowLen {
    /// Five minutes: AWS's shortest, and the window of metrics that need none.
    pub const DEFAULT: WindowLen = WindowLen(300);

    /// AWS's five lengths, in seconds.
    pub const AWS_SECS: [u32; 5] = [300, 600, 900, 1800, 3600];

    /// Takes seconds; `None` unless they divide an hour and are at least 5.
    pub const fn from_secs(secs: u32) -> Option<Self> {
        if secs >= 5 && secs <= 3600 && 3600 % secs == 0 { Some(Self(secs)) } else { None }
    }

    /// Whether AWS knows this length too.
    pub fn is_aws(self) -> bool {
        Self::AWS_SECS.contains(&self.0)
    }

    /// Seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0 as i64 * 1000
    }
}

impl fmt::Display for WindowLen {
    /// Writes the length as people say it: `5 min`, `30 s`, `1 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            3600 => f.write_str("1 h"),
            secs if secs % 60 == 0 => write!(f, "{} min", secs / 60),
            secs => write!(f, "{secs} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_a_place_among_the_values() {
        let places = |n| Percentile::ALL.map(|percentile| percentile.place(n).unwrap());
        assert_eq!(places(1), [0; 11]);
        assert_eq!(places(10), [0, 0, 0, 0, 0, 4, 8, 9, 9, 9, 9]);
        assert_eq!(places(10_000), [0, 0, 9, 99, 999, 4_999, 8_999, 9_899, 9_989, 9_998, 9_999]);
        assert_eq!(Percentile::P50.place(0), None);
    }

    #[test]
    fn a_window_divides_the_hour_and_lasts_five_seconds_or_more() {
        for secs in [5, 6, 10, 15, 30, 60, 300, 600, 900, 1800, 3600] {
            assert!(WindowLen::from_secs(secs).is_some(), "{secs}");
        }
        for secs in [0, 1, 4, 7, 11, 301, 7200] {
            assert!(WindowLen::from_secs(secs).is_none(), "{secs}");
        }
    }
}
