//! How often a device may report.

use picket_model::Timestamp;

use crate::limits::{INTERVAL_ALLOWANCE_PERCENT, REJECTION_INTERVAL_MS};

/// How often each device may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRate {
    spacing_ms: i64,
}

impl ReportRate {
    /// One report in `min_interval_s` seconds, a tenth sooner allowed: 300 s mean 270 s. With 0
    /// there is no limit.
    pub fn of_interval_s(min_interval_s: u32) -> Self {
        let interval_ms = i64::from(min_interval_s) * 1_000;
        Self { spacing_ms: interval_ms - interval_ms * INTERVAL_ALLOWANCE_PERCENT / 100 }
    }

    /// The least time between two accepted reports of one device, in milliseconds.
    pub const fn spacing_ms(self) -> i64 {
        self.spacing_ms
    }
}

/// Whether a report's turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may be read.
    Now,
    /// It comes too soon.
    TooSoon {
        /// When the next one may come.
        next_at: Timestamp,
        /// Whether the device is told; it is told once a second at most.
        tell: bool,
    },
}

/// A token bucket of one token, for the reports of one device. Takes 16 bytes.
///
/// The token is taken before the report is read, so that a flood costs no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    next_at: Timestamp,
    next_telling_at: Timestamp,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { next_at: Timestamp::EPOCH, next_telling_at: Timestamp::EPOCH }
    }

    /// Takes the token for a report that arrived at `now`, if it is there.
    pub fn take(&mut self, now: Timestamp, rate: ReportRate) -> Turn {
        if self.wait_ms(now) <= 0 || self.wait_ms(now) > rate.spacing_ms {
            // Where the wait is longer than any can be, the clock was set back or the rate
            // changed: it must not silence the device.
            self.next_at = now + rate.spacing_ms;
            return Turn::Now;
        }
        let since_telling = self.next_telling_at.millis_since(now);
        let tell = since_telling <= 0 || since_telling > REJECTION_INTERVAL_MS;
        if tell {
            self.next_telling_at = now + REJECTION_INTERVAL_MS;
        }
        Turn::TooSoon { next_at: self.next_at, tell }
    }

    /// Puts the token back, for the report that it was taken for is refused: one that is put right
    /// need not wait for as long, only for as long as rejections are apart.
    pub fn put_back(&mut self, now: Timestamp, rate: ReportRate) {
        self.next_at = now + REJECTION_INTERVAL_MS.min(rate.spacing_ms);
        self.next_telling_at = self.next_at;
    }

    /// Whether the bucket is full at `now`: it says no more than a new one, and need not be kept.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.wait_ms(now) <= 0 && self.next_telling_at <= now
    }

    fn wait_ms(&self, now: Timestamp) -> i64 {
        self.next_at.millis_since(now)
    }
}
