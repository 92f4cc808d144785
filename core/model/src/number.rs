//! Numbers with a fraction, as custom metrics carry them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A finite number. Unlike `f64` it is equal to itself and has an order, so it can be a key, be
/// sorted and be ranked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number(f64);

impl Number {
    /// Takes a number; `None` if it is not finite. Minus zero becomes zero.
    pub fn new(number: f64) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0 and leaves every other number as it is.
        number.is_finite().then_some(Self(number + 0.0))
    }

    /// The nearest number to a whole one: exact up to 2^53.
    pub fn of_count(count: u64) -> Self {
        Self(count as f64)
    }

    /// The number itself.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_are_taken() {
        for not_finite in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Number::new(not_finite).is_none());
        }
        assert_eq!(Number::new(-0.0), Number::new(0.0));
        assert!(Number::new(-1.5) < Number::new(0.25));
    }
}
