//! When the next report is due, and when the next attempt to connect.

use std::time::Duration;

use crate::limits::{RETRY_FIRST, RETRY_MAX};

/// How far a report may be off its beat, as a part of the interval: a fleet that was switched on
/// together comes apart, and two reports are never closer than 95 % of the interval, which servers
/// that ask for the whole of it let pass.
const JITTER_PART: f64 = 0.025;

/// The beat of one device's reports.
///
/// Times are durations since the agent began. The first report comes at a random moment of the
/// first interval, so that devices that get power together do not report together ever after.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    phase: Duration,
    random: fastrand::Rng,
    due: Duration,
}

impl Schedule {
    /// A beat with this interval; the first report comes within it, and not before a tenth of it is
    /// over, so that there is something to report.
    pub fn new(interval: Duration, mut random: fastrand::Rng) -> Self {
        let phase = interval.mul_f64(0.1 + 0.9 * random.f64());
        Self { interval, phase, random, due: phase }
    }

    /// When the next report is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Moves on to the next beat after `now`. Beats that were slept through are left out.
    pub fn next(&mut self, now: Duration) {
        // A report that was early by its jitter must not be followed by one on the same beat.
        let now = now.max(self.due) + self.interval.mul_f64(JITTER_PART);
        let since = now.saturating_sub(self.phase).as_secs_f64();
        let n_beats = (since / self.interval.as_secs_f64()).floor() + 1.0;
        let jitter = JITTER_PART * (2.0 * self.random.f64() - 1.0);
        self.due = self.phase + self.interval.mul_f64(n_beats + jitter);
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
        fn reports_keep_their_distance_and_their_beat(interval_s in 5u64..90_000, seed: u64) {
            let interval = Duration::from_secs(interval_s);
            let mut schedule = Schedule::new(interval, fastrand::Rng::with_seed(seed));
            let first = schedule.due();
            prop_assert!(first >= interval.mul_f64(0.0999) && first <= interval.mul_f64(1.0001));
            let mut before = first;
            for n in 1..200u32 {
                schedule.next(before);
                let gap = schedule.due() - before;
                prop_assert!(gap >= interval.mul_f64(0.9499), "{gap:?} after report {n}");
                prop_assert!(gap <= interval.mul_f64(1.0501), "{gap:?} after report {n}");
                let beat = first + interval * n;
                let off = schedule.due().abs_diff(beat);
                prop_assert!(off <= interval.mul_f64(0.0251), "report {n} is off by {off:?}");
                before = schedule.due();
            }
        }

        #[test]
        fn beats_that_were_slept_through_are_left_out(late in 1.0f64..500.0, seed: u64) {
            let interval = Duration::from_secs(300);
            let mut schedule = Schedule::new(interval, fastrand::Rng::with_seed(seed));
            let now = schedule.due() + interval.mul_f64(late);
            schedule.next(now);
            prop_assert!(schedule.due() > now);
            prop_assert!(schedule.due() <= now + interval.mul_f64(1.0501));
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
        let mut due: Vec<u64> = (0..1_000)
            .map(|seed| Schedule::new(interval, fastrand::Rng::with_seed(seed)).due().as_secs())
            .collect();
        due.sort_unstable();
        let most = due.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert!(most < Some(20), "{most:?} of 1,000 in one second");
    }
}
