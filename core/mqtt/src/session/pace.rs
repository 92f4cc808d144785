//! How fast a client publishes, held against how fast it may.

use std::num::NonZeroU32;

use picket_model::Timestamp;

/// Parts of the room for one publish. A millisecond brings a whole number of them.
const PARTS: u64 = 1_000;

/// Whether a publish comes at the pace that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It does.
    Kept,
    /// More have come than may in a second.
    Exceeded,
}

/// Room for publishes. It grows by so many a second and never holds more than a second's worth, so
/// that a burst passes and a flood does not.
#[derive(Debug)]
pub struct PublishPace {
    per_s_max: NonZeroU32,
    /// In parts of one publish.
    room: u64,
    grown_at: Timestamp,
}

impl PublishPace {
    /// Of a connection that begins: with all the room that there can be.
    pub fn new(per_s_max: NonZeroU32, now: Timestamp) -> Self {
        Self { per_s_max, room: u64::from(per_s_max.get()) * PARTS, grown_at: now }
    }

    /// Judges a publish. One that exceeds the pace takes no room.
    pub fn publish(&mut self, now: Timestamp) -> Pace {
        let per_ms = u64::from(self.per_s_max.get());
        let passed_ms = u64::try_from(now.millis_since(self.grown_at)).unwrap_or(0);
        let grown = self.room.saturating_add(passed_ms.saturating_mul(per_ms));
        self.room = grown.min(per_ms * PARTS);
        self.grown_at = self.grown_at.max(now);
        match self.room.checked_sub(PARTS) {
            Some(left) => {
                self.room = left;
                Pace::Kept
            }
            None => Pace::Exceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(per_s_max: u32) -> PublishPace {
        PublishPace::new(NonZeroU32::new(per_s_max).unwrap(), Timestamp::from_millis(0))
    }

    /// Publishes at the milliseconds given; those that keep the pace are expected.
    fn check(per_s_max: u32, at_ms: &str, kept: &str) {
        let mut pace = pace(per_s_max);
        let at_ms = at_ms.split(' ');
        let found: Vec<_> = at_ms
            .filter(|ms| pace.publish(Timestamp::from_millis(ms.parse().unwrap())) == Pace::Kept)
            .collect();
        assert_eq!(found.join(" "), kept);
    }

    #[test]
    fn a_burst_of_one_second_passes_and_then_as_much_as_time_brings() {
        check(1, "0 0 999 1000 1001 1999 2000", "0 1000 2000");
        check(2, "0 0 0 499 500 999 1000 1000", "0 0 500 1000");
        check(3, "0 0 0 333 334 666 667 1000", "0 0 0 334 667 1000");
    }

    #[test]
    fn a_quiet_time_saves_up_one_second_and_no_more() {
        check(2, "0 0 86400000 86400000 86400000", "0 0 86400000 86400000");
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing_twice() {
        check(1, "5000 0 5000 5999 6000", "5000 6000");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_than_it_brings_and_a_second_besides(
            per_s_max in 1u32..50,
            gaps_ms in prop::collection::vec(0i64..400, 1..200),
        ) {
            let mut pace = pace(per_s_max);
            let mut now = Timestamp::from_millis(0);
            let mut kept: Vec<Timestamp> = Vec::new();
            for gap_ms in gaps_ms {
                now = now + gap_ms;
                if pace.publish(now) == Pace::Kept {
                    kept.push(now);
                }
            }
            let per_s_max = i64::from(per_s_max);
            for (first, from) in kept.iter().enumerate() {
                for (n, until) in kept[first..].iter().enumerate() {
                    let brought = per_s_max * until.millis_since(*from) / 1000;
                    prop_assert!(i64::try_from(n).unwrap() < per_s_max + brought);
                }
            }
        }

        #[test]
        fn who_keeps_the_pace_is_never_told_otherwise(
            per_s_max in 1u32..50,
            idle_ms in prop::collection::vec(0i64..2_000, 1..100),
        ) {
            let mut pace = pace(per_s_max);
            let mut now = Timestamp::from_millis(0);
            let gap_ms = i64::from(1_000_u32.div_ceil(per_s_max));
            for idle_ms in idle_ms {
                now = now + gap_ms + idle_ms;
                prop_assert_eq!(pace.publish(now), Pace::Kept);
            }
        }
    }
}
