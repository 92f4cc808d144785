//! When the next report is due, and when the next attempt to connect.

use std::time::Duration;

use crate::limits::{RETRY_FIRST, RETRY_MAX};

/// How much longer than the interval the time between two reports may be, as a part of it. Never
/// shorter: AWS takes one report of a thing in five minutes, and may drop one that comes a second
/// sooner. Source: AWS IoT Device Defender quotas.
const JITTER_PART: f64 = 0.025;

/// When one device reports.
///
/// Times are durations since the agent began. The first report comes at a random moment of the
/// first interval, and each one after that a little later than the interval asks for: devices that
/// get power together do not report together, and those that happen to do not stay together.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    random: fastrand::Rng,
    due: Duration,
}

impl Schedule {
    /// Reports with this interval; the first report comes within it, and not before a tenth of it is
    /// over, so that there is something to report.
    pub fn new(interval: Duration, mut random: fastrand::Rng) -> Self {
        let due = interval.mul_f64(0.1 + 0.9 * random.f64());
        Self { interval, random, due }
    }

    /// When the next report is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Takes note that a report was made at `now`, which may be long after it was due.
    pub fn reported(&mut self, now: Duration) {
        self.due = now + self.interval.mul_f64(1.0 + JITTER_PART * self.random.f64());
    }
}

/// How long to wait before the next attempt to connect.
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    n_failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(random: fastrand::Rng) -> Self {
        Self { random, n_failures: 0 }
    }

    /// Takes note that the connection stood.
    pub fn reset(&mut self) {
        self.n_failures = 0;
    }

    /// Takes note of a failure and says how long to wait: doubled each time up to a bound, and then
    /// a random part of it, half at least, so that a fleet does not come back in step.
    pub fn failed(&mut self) -> Duration {
        let doubled = RETRY_FIRST.saturating_mul(1 << self.n_failures.min(20));
        self.n_failures = self.n_failures.saturating_add(1);
        doubled.min(RETRY_MAX).mul_f64(0.5 + 0.5 * self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reports_keep_their_distance_however_late_one_is(
            interval_s in 5u64..90_000, late in prop::collection::vec(0.0f64..3.0, 1..50), seed: u64,
        ) {
            let interval = Duration::from_secs(interval_s);
            let mut schedule = Schedule::new(interval, fastrand::Rng::with_seed(seed));
            let first = schedule.due();
            prop_assert!(first >= interval.mul_f64(0.0999) && first <= interval.mul_f64(1.0001));
            for late in late {
                let now = schedule.due() + interval.mul_f64(late);
                schedule.reported(now);
                let gap = schedule.due() - now;
                prop_assert!(gap >= interval, "{gap:?}");
                prop_assert!(gap <= interval.mul_f64(1.0251), "{gap:?}");
            }
        }

        #[test]
        fn waits_double_up_to_their_bound_and_differ(seed: u64) {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            for n in 0..100u32 {
                let whole = RETRY_MAX.min(RETRY_FIRST * (1 << n.min(20)));
                let wait = backoff.failed();
                prop_assert!(wait >= whole.mul_f64(0.4999) && wait <= whole, "{wait:?}");
            }
            backoff.reset();
            prop_assert!(backoff.failed() <= RETRY_FIRST);
        }
    }

    #[test]
    fn devices_that_begin_together_do_not_report_together() {
        let interval = Duration::from_secs(300);
        let schedule = |seed| Schedule::new(interval, fastrand::Rng::with_seed(seed));
        let due = (0..1_000).map(|seed| schedule(seed).due()).collect();
        assert!(most_in_one_second(due) < Some(20));
    }

    #[test]
    fn devices_that_report_together_come_apart() {
        let interval = Duration::from_secs(300);
        let due = |seed| {
            let mut schedule = Schedule::new(interval, fastrand::Rng::with_seed(seed));
            // All of them at once, and then ten reports.
            schedule.reported(interval);
            (1..10).for_each(|_| schedule.reported(schedule.due()));
            schedule.due()
        };
        assert!(most_in_one_second((0..1_000).map(due).collect()) < Some(120));
    }

    fn most_in_one_second(mut due: Vec<Duration>) -> Option<usize> {
        due.sort_unstable();
        due.chunk_by(|a, b| a.as_secs() == b.as_secs()).map(<[Duration]>::len).max()
    }
}
