//! Moments, as an argument: the core never asks what time it is.

use std::fmt;
use std::ops::{Add, Sub};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
///
/// The API speaks seconds and the alarm message milliseconds; inside there is one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment there is here: the epoch.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// Takes milliseconds since the epoch.
    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Takes whole seconds since the epoch.
    #[inline]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch with the milliseconds as a fraction, as AWS's JSON bodies carry time.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The start of the clock-aligned period of `len_ms` that this moment lies in.
    ///
    /// `len_ms` must be positive. A moment on a boundary starts the period after it.
    #[inline]
    pub const fn floor(self, len_ms: i64) -> Self {
        Self(self.0 - self.0.rem_euclid(len_ms))
    }

    /// Milliseconds from `earlier` to this moment; negative if `earlier` is later.
    #[inline]
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment moved by `millis`, stopping at the ends of the range.
    #[inline]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Add<i64> for Timestamp {
    type Output = Timestamp;
    #[inline]
    fn add(self, millis: i64) -> Timestamp {
        self.plus_millis(millis)
    }
}

impl Sub<i64> for Timestamp {
    type Output = Timestamp;
    #[inline]
    fn sub(self, millis: i64) -> Timestamp {
        self.plus_millis(-millis)
    }
}

impl fmt::Display for Timestamp {
    /// Writes UTC in the form `2026-11-20T10:05:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (h, m, s) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", millis % 1000)
    }
}

/// The proleptic Gregorian date of a day number (0 = 1970-01-01).
///
/// Eras of 400 years, with the year beginning in March so that the leap day comes last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_utc_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_573_786_836_527, "2019-11-15T03:00:36.527Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn a_boundary_belongs_to_the_period_it_starts() {
        let five_minutes = 300_000;
        assert_eq!(Timestamp::from_millis(599_999).floor(five_minutes).as_millis(), 300_000);
        assert_eq!(Timestamp::from_millis(600_000).floor(five_minutes).as_millis(), 600_000);
    }
}
