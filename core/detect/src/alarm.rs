//! The alarm of one behavior for one device: a state machine on judgements.
//!
//! Pure: it knows neither metrics nor windows, only whether a datapoint violated.

use picket_model::{Criteria, Timestamp};

/// Where an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Off.
    Clear {
        /// Violating datapoints in a row up to now: fewer than it takes.
        violating: u8,
    },
    /// On.
    On {
        /// When it was raised. Names the violation.
        started_at: Timestamp,
        /// Conforming datapoints in a row up to now: fewer than it takes.
        conforming: u8,
    },
}

impl Alarm {
    /// Off, and no run begun.
    pub(crate) const FRESH: Alarm = Alarm::Clear { violating: 0 };

    /// When it was raised, if it is on.
    pub(crate) fn started_at(self) -> Option<Timestamp> {
        match self {
            Self::Clear { .. } => None,
            Self::On { started_at, .. } => Some(started_at),
        }
    }

    /// Whether it is on, or a run that may raise it has begun.
    pub(crate) fn is_violating(self) -> bool {
        match self {
            Self::Clear { violating } => violating > 0,
            Self::On { .. } => true,
        }
    }

    /// Takes one datapoint's judgement and says what it changes.
    ///
    /// A missing datapoint is no call: runs neither grow nor break.
    pub(crate) fn judged(self, violates: bool, at: Timestamp, criteria: &Criteria) -> (Self, Step) {
        match (self, violates) {
            (Self::Clear { violating }, true) => {
                let violating = violating.saturating_add(1);
                if violating >= criteria.datapoints_to_alarm {
                    (Self::On { started_at: at, conforming: 0 }, Step::Raised)
                } else {
                    (Self::Clear { violating }, Step::Quiet)
                }
            }
            (Self::Clear { .. }, false) => (Self::FRESH, Step::Quiet),
            (Self::On { started_at, .. }, true) => {
                (Self::On { started_at, conforming: 0 }, Step::Continued { started_at })
            }
            (Self::On { started_at, conforming }, false) => {
                let conforming = conforming.saturating_add(1);
                if conforming >= criteria.datapoints_to_clear {
                    (Self::FRESH, Step::Cleared { started_at })
                } else {
                    (Self::On { started_at, conforming }, Step::Quiet)
                }
            }
        }
    }
}

/// What a judgement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing that anybody is told.
    Quiet,
    /// The alarm is on from now.
    Raised,
    /// The alarm was on, and the datapoint violated too.
    Continued {
        /// When it was raised.
        started_at: Timestamp,
    },
    /// The alarm is off again.
    Cleared {
        /// When it was raised.
        started_at: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use picket_model::{Comparison, Operator, Quantity};

    use super::*;

    /// Feeds values to an alarm that is normal up to 10; `.` is a missing datapoint.
    fn check(alarm: u8, clear: u8, values: &str, expected: &str) {
        let criteria = Criteria {
            comparison: Comparison::Limit(Operator::LessThanEquals, Quantity::Count(10)),
            window: None,
            datapoints_to_alarm: alarm,
            datapoints_to_clear: clear,
        };
        let mut state = Alarm::FRESH;
        let mut steps = Vec::new();
        for (n, value) in values.split_whitespace().enumerate() {
            if value == "." {
                steps.push(".");
                continue;
            }
            let violates = value.parse::<u64>().unwrap() > 10;
            let (next, step) = state.judged(violates, Timestamp::from_secs(n as i64), &criteria);
            state = next;
            steps.push(match step {
                Step::Quiet => "-",
                Step::Raised => "on",
                Step::Continued { .. } => "again",
                Step::Cleared { .. } => "off",
            });
        }
        assert_eq!(steps.join(" "), expected, "alarm {alarm}, clear {clear}: {values}");
    }

    #[test]
    fn an_alarm_takes_a_run_of_violating_datapoints() {
        check(1, 1, "9 54 9", "- on off");
        check(2, 1, "54 9 54 54 9", "- - - on off");
        check(3, 1, "54 54 9 54 54 54", "- - - - - on");
        check(10, 1, "54 54 54 54 54 54 54 54 54 54 54", "- - - - - - - - - on again");
    }

    #[test]
    fn an_alarm_clears_after_a_run_of_conforming_datapoints() {
        check(1, 2, "54 9 54 9 9", "on - again - off");
        check(1, 3, "54 9 9 54 9 9 9 9", "on - - again - - off -");
    }

    #[test]
    fn a_missing_datapoint_freezes_both_runs() {
        check(2, 2, "54 . 54 9 . . 9", "- . on - . . off");
    }
}
