//! Behaviors: what is normal, for one metric.

use std::fmt;

use ipnet::IpNet;

use crate::{BehaviorName, Metric};

/// One metric and the criteria that its values satisfy while the device is normal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// Unique in its security profile.
    pub name: BehaviorName,
    /// What is measured.
    pub metric: Metric,
    /// What is normal. A datapoint that fails it is violating.
    pub criteria: Criteria,
    /// Evaluated and listed, but nobody is told.
    pub suppress_alerts: bool,
}

/// What is NORMAL, and how many datapoints in a row make or end an alarm.
///
/// AWS's consoles and many texts speak of the alarm's condition instead; the wire does not.
/// Source: aws `BehaviorCriteria`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criteria {
    /// The operator with its value.
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
}

/// An operator and the value that it compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Normal while the value is below.
    LessThan(u64),
    /// Normal while the value is at most this.
    LessThanEquals(u64),
    /// Normal while the value is above.
    GreaterThan(u64),
    /// Normal while the value is at least this.
    GreaterThanEquals(u64),
    /// Normal while every address lies in one of the ranges.
    InCidrSet(Vec<IpNet>),
    /// Normal while no address lies in any of the ranges.
    NotInCidrSet(Vec<IpNet>),
}

impl Comparison {
    /// AWS's spelling of the operator.
    pub const fn operator(&self) -> &'static str {
        match self {
            Self::LessThan(_) => "less-than",
            Self::LessThanEquals(_) => "less-than-equals",
            Self::GreaterThan(_) => "greater-than",
            Self::GreaterThanEquals(_) => "greater-than-equals",
            Self::InCidrSet(_) => "in-cidr-set",
            Self::NotInCidrSet(_) => "not-in-cidr-set",
        }
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
    fn a_window_divides_the_hour_and_lasts_five_seconds_or_more() {
        for secs in [5, 6, 10, 15, 30, 60, 300, 600, 900, 1800, 3600] {
            assert!(WindowLen::from_secs(secs).is_some(), "{secs}");
        }
        for secs in [0, 1, 4, 7, 11, 301, 7200] {
            assert!(WindowLen::from_secs(secs).is_none(), "{secs}");
        }
    }
}
