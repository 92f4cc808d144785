//! What the broker took from a device, kept to be held against what the device says it sent.

use picket_model::Timestamp;

/// Length of one bucket of the clock, in milliseconds.
const BUCKET_MS: i64 = 5_000;

/// Buckets that a report does not speak of yet: the one that it comes in and the one before. An
/// agent reads its counters some time before it sends them.
const UNSPOKEN_BUCKETS: u32 = 2;

/// Buckets that are told apart, back from the latest: 35 s. A report that comes later than that
/// after what it speaks of is taken to speak of all that is older.
const BUCKETS: usize = 7;

/// Payload bytes that the broker took and that no report was held against yet.
///
/// Bytes of one bucket fit into 32 bits: four gigabytes in five seconds are more than one
/// connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentBytes {
    /// Those that are older than the buckets.
    pub(crate) older: u64,
    /// Number of the latest bucket.
    pub(crate) latest: u32,
    /// The buckets, latest first.
    pub(crate) buckets: [u32; BUCKETS],
}

impl SentBytes {
    /// Adds what was taken at `at`.
    pub(crate) fn add(&mut self, at: Timestamp, bytes: u64) {
        let bucket = bucket(at);
        if bucket > self.latest {
            self.turn_to(bucket);
        }
        let age = usize::try_from(self.latest - bucket).unwrap_or(usize::MAX);
        match self.buckets.get_mut(age) {
            Some(sum) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                *sum = sum.saturating_add(bytes);
            }
            None => self.older = self.older.saturating_add(bytes),
        }
    }

    /// Takes out what a report of `at` should speak of.
    pub(crate) fn take(&mut self, at: Timestamp) -> u64 {
        let mut sum = std::mem::take(&mut self.older);
        let until = bucket(at).saturating_sub(UNSPOKEN_BUCKETS);
        let mut number = self.latest;
        for bytes in &mut self.buckets {
            if number <= until {
                sum = sum.saturating_add(u64::from(std::mem::take(bytes)));
            }
            number = number.saturating_sub(1);
        }
        sum
    }

    /// Forgets when it was taken: the next report speaks of all.
    pub(crate) fn turn_back(&mut self) {
        let sum = self.buckets.iter().map(|&bytes| u64::from(bytes)).sum::<u64>();
        *self = Self { older: self.older.saturating_add(sum), ..Self::default() };
    }

    fn turn_to(&mut self, bucket: u32) {
        let steps = usize::try_from(bucket - self.latest).unwrap_or(usize::MAX).min(BUCKETS);
        let gone = &self.buckets[BUCKETS - steps..];
        let gone = gone.iter().map(|&bytes| u64::from(bytes)).sum::<u64>();
        self.older = self.older.saturating_add(gone);
        self.buckets.copy_within(..BUCKETS - steps, steps);
        self.buckets[..steps].fill(0);
        self.latest = bucket;
    }
}

/// Number of the bucket that a moment lies in; the first one before the epoch, the last one after
/// the year 2650.
fn bucket(at: Timestamp) -> u32 {
    u32::try_from((at.as_millis() / BUCKET_MS).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays steps `second+bytes` (taken from the device) and `second?` (a report), and gives what
    /// each report is held against.
    fn check(steps: &str, expected: &str) {
        let mut sent = SentBytes::default();
        let mut taken = Vec::new();
        let at = |second: &str| Timestamp::from_secs(1_000_000 + second.parse::<i64>().unwrap());
        for step in steps.split_whitespace() {
            if let Some(second) = step.strip_suffix('?') {
                taken.push(sent.take(at(second)).to_string());
            } else {
                let (second, bytes) = step.split_once('+').unwrap();
                sent.add(at(second), bytes.parse().unwrap());
            }
        }
        assert_eq!(taken.join(" "), expected, "{steps}");
    }

    #[test]
    fn a_report_is_held_against_what_was_taken_two_buckets_before() {
        check("0+1 5+2 10+4 14? 15? 20? 25?", "1 2 4 0");
        check("4+1 5+2 9+4 10+8 15+16 20?", "15");
        check("0+1 300? 300+2 600?", "1 2");
    }

    #[test]
    fn what_comes_late_counts_at_the_next_report() {
        check("10+4 20? 3+1 9+2 25?", "4 3");
        check("100+4 3+1 110? 115?", "5 0");
    }

    #[test]
    fn the_old_is_added_up() {
        check("0+1 5+1 10+1 15+1 20+1 25+1 30+1 35+1 40+1 45+1 50+1 60?", "11");
        check("0+1 5+1 10+1 15+1 20+1 25+1 30+1 35+1 40+1 45+1 50+1 30? 60?", "5 6");
        check("0+5000000000 0+5000000000 10?", "4294967295");
    }
}
