//! When a failed delivery is tried again, and when it is given up.

use picket_model::Timestamp;

/// How often and for how long a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts before a delivery is given up. Default 10.
    pub attempts_max: u32,
    /// Wait after the first attempt, in milliseconds; doubled after each further one. Default 1 s.
    pub first_wait_ms: i64,
    /// Longest wait, in milliseconds. Default 10 min.
    pub wait_ms_max: i64,
    /// Age of a notification at which it is given up, in milliseconds. Default one hour: an
    /// isolation that comes a day late helps nobody, and may hit a device that was repaired.
    pub age_ms_max: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts_max: 10, first_wait_ms: 1_000, wait_ms_max: 600_000, age_ms_max: 3_600_000 }
    }
}

impl Backoff {
    /// When the next attempt is due after the `n_attempts`th failed at `now`; `None` when the
    /// delivery is to be given up. `published_at` is when the message was made, `jitter` a number
    /// from 0 up to 1.
    ///
    /// Between half the wait and all of it, so that what failed together is not tried together.
    pub fn next_at(
        &self,
        n_attempts: u32,
        published_at: Timestamp,
        now: Timestamp,
        jitter: f64,
    ) -> Option<Timestamp> {
        if n_attempts >= self.attempts_max {
            return None;
        }
        let doubled = n_attempts.saturating_sub(1).min(40);
        let wait_ms = self.first_wait_ms.saturating_mul(1 << doubled).min(self.wait_ms_max);
        let wait_ms = wait_ms / 2 + (wait_ms as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as i64;
        let next_at = now.plus_millis(wait_ms);
        (next_at.millis_since(published_at) <= self.age_ms_max).then_some(next_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The waits of a delivery whose attempts take no time, in milliseconds.
    fn waits(backoff: Backoff, jitter: f64) -> Vec<i64> {
        let published_at = Timestamp::from_secs(1_000);
        let (mut now, mut waits) = (published_at, Vec::new());
        for n_attempts in 1.. {
            let Some(next_at) = backoff.next_at(n_attempts, published_at, now, jitter) else {
                break;
            };
            waits.push(next_at.millis_since(now));
            now = next_at;
        }
        waits
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { attempts_max: 6, wait_ms_max: 5_000, ..Backoff::default() };
        assert_eq!(waits(backoff, 1.0), [1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(waits(backoff, 0.0), [500, 1_000, 2_000, 2_500, 2_500]);
    }

    #[test]
    fn an_old_notification_is_given_up() {
        let backoff = Backoff { attempts_max: u32::MAX, age_ms_max: 10_000, ..Backoff::default() };
        assert_eq!(waits(backoff, 1.0), [1_000, 2_000, 4_000]);
    }

    proptest! {
        #[test]
        fn every_delivery_ends(jitter in 0.0..1.0, attempts_max in 1u32..30, age_s in 1i64..100_000) {
            let backoff =
                Backoff { attempts_max, age_ms_max: age_s * 1_000, ..Backoff::default() };
            let waits = waits(backoff, jitter);
            prop_assert!(waits.len() < attempts_max as usize);
            prop_assert!(waits.iter().sum::<i64>() <= backoff.age_ms_max);
            prop_assert!(waits.iter().all(|wait| (500..=600_000).contains(wait)));
        }
    }
}
