//! Fleets: the devices of a profile, ranked by what they had in a window.
//!
//! Percentiles are exact. Values are gathered in one pass over the devices and judged in a second,
//! so nothing of another device is kept with any of them.

use picket_model::{Number, Percentile, Quantity};

/// What the devices of one behavior had in a window.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    percentile: Percentile,
    /// Keys of the values, in no order: see [`key_of`].
    keys: Vec<u64>,
    /// Whether the values are numbers with a fraction. All of a fleet are of one kind, since one
    /// metric is.
    is_number: bool,
    has_negative: bool,
    limit: Option<Quantity>,
}

impl Fleet {
    /// A population without members.
    pub(crate) fn new(percentile: Percentile) -> Self {
        Self { percentile, keys: Vec::new(), is_number: false, has_negative: false, limit: None }
    }

    /// Forgets the values, and gives their memory back: they are needed for the moment in which a
    /// window is judged.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.percentile);
    }

    /// Takes a device's value in.
    pub(crate) fn add(&mut self, value: Quantity) {
        self.has_negative |= value.is_negative();
        self.is_number = matches!(value, Quantity::Number(_));
        self.keys.push(key_of(value));
    }

    /// Finds what the percentile comes to, once all values are in.
    ///
    /// None if there are no values, or if one is negative: a percentile is no limit then.
    /// Source: AWS guide, Detect concepts, statistical threshold.
    pub(crate) fn decide(&mut self) {
        let place = self.percentile.place(self.keys.len()).filter(|_| !self.has_negative);
        self.limit = place.and_then(|place| {
            let (_, key, _) = self.keys.select_nth_unstable(place);
            quantity_of(*key, self.is_number)
        });
    }

    /// What the percentile came to.
    pub(crate) fn limit(&self) -> Option<Quantity> {
        self.limit
    }

    /// How many devices had a value.
    pub(crate) fn devices(&self) -> u64 {
        self.keys.len() as u64
    }
}

const SIGN: u64 = 1 << 63;

/// A whole number that is ordered as quantities of one kind are.
fn key_of(quantity: Quantity) -> u64 {
    match quantity {
        Quantity::Count(count) => count,
        Quantity::Number(number) => {
            let bits = number.get().to_bits();
            if bits & SIGN == 0 { bits | SIGN } else { !bits }
        }
    }
}

fn quantity_of(key: u64, is_number: bool) -> Option<Quantity> {
    if !is_number {
        return Some(Quantity::Count(key));
    }
    let bits = if key & SIGN == 0 { !key } else { key & !SIGN };
    Number::new(f64::from_bits(bits)).map(Quantity::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_numbers_are() {
        let numbers = [f64::MIN, -1.5, -1e-300, 0.0, 1e-300, 0.25, 1.5, f64::MAX];
        let quantities = numbers.map(|number| Quantity::Number(Number::new(number).unwrap()));
        let keys = quantities.map(key_of);
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(keys.map(|key| quantity_of(key, true).unwrap()), quantities);
    }

    fn check(percentile: Percentile, values: &[f64], expected: Option<f64>) {
        let mut fleet = Fleet::new(percentile);
        for value in values {
            fleet.add(Quantity::Number(Number::new(*value).unwrap()));
        }
        fleet.decide();
        let expected = expected.map(|number| Quantity::Number(Number::new(number).unwrap()));
        assert_eq!(fleet.limit(), expected, "{percentile:?} of {values:?}");
    }

    #[test]
    fn a_percentile_is_a_value_that_a_device_had() {
        let values = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0, 10.0];
        check(Percentile::P0, &values, Some(1.0));
        check(Percentile::P50, &values, Some(5.0));
        check(Percentile::P90, &values, Some(9.0));
        check(Percentile::P100, &values, Some(10.0));
        check(Percentile::P50, &[], None);
        check(Percentile::P50, &[1.0, -0.5, 3.0], None);
        check(Percentile::P50, &[-0.0], Some(0.0));
    }
}
