//! The values of one device and day as bytes: series by series, moments as second differences.
//!
//! ```text
//! day    = FORMAT series*
//! series = metric dimension len points    (sorted; series can be skipped)
//! points = tag:u8 point*                  (tag: the kind of all values, or MIXED)
//! point  = step:signed [tag:u8] value     (sorted by time; with its own tag where they are MIXED)
//! ```
//!
//! `step` is by how much the time since the point before (or the start of the day) differs from
//! the one before that: values of a window that recurs have a step of one byte, zero.

use std::collections::BTreeMap;

use picket_model::Timestamp;

use super::bytes::{Input, put_bytes, put_number, put_signed};
use super::values::{Point, Series, put_value, tag, value};

/// First byte of a day; another one is another encoding.
const FORMAT: u8 = 1;

/// In the place of a tag: every value has its own.
const MIXED: u8 = u8::MAX;

/// Values by series; those of a series in the order of time, and for one moment in the order in
/// which they came.
pub(crate) type Day = BTreeMap<Series, Vec<Point>>;

/// Encodes the values of a day that begins at `start`; values may lie outside of it.
pub(crate) fn encode(day: &Day, start: Timestamp) -> Vec<u8> {
    let mut out = vec![FORMAT];
    let mut bytes = Vec::new();
    for (series, points) in day {
        bytes.clear();
        put_points(&mut bytes, points, start);
        put_number(&mut out, series.metric);
        put_number(&mut out, series.dimension);
        put_bytes(&mut out, &bytes);
    }
    out
}

fn put_points(out: &mut Vec<u8>, points: &[Point], start: Timestamp) {
    let Some(first) = points.first().map(|point| tag(&point.value)) else { return };
    let common = points.iter().all(|point| tag(&point.value) == first).then_some(first);
    out.push(common.unwrap_or(MIXED));
    let mut clock = Clock::new(start);
    for point in points {
        put_signed(out, clock.step_to(point.at));
        if common.is_none() {
            out.push(tag(&point.value));
        }
        put_value(out, &point.value);
    }
}

/// All values of a day that begins at `start`; `None` if the bytes are no day.
pub(crate) fn decode(bytes: &[u8], start: Timestamp) -> Option<Day> {
    let mut day = Day::new();
    for_each_series(bytes, |series, points| {
        day.insert(series, read_points(points, start)?);
        Some(())
    })?;
    Some(day)
}

/// The values of one series of a day that begins at `start`; `None` if the bytes are no day.
pub(crate) fn decode_series(bytes: &[u8], start: Timestamp, wanted: Series) -> Option<Vec<Point>> {
    let mut found = Vec::new();
    for_each_series(bytes, |series, points| {
        if series == wanted {
            found = read_points(points, start)?;
        }
        Some(())
    })?;
    Some(found)
}

fn for_each_series(
    bytes: &[u8],
    mut read: impl FnMut(Series, Input<'_>) -> Option<()>,
) -> Option<()> {
    let mut input = Input(bytes);
    if input.byte()? != FORMAT {
        return None;
    }
    while !input.is_empty() {
        let series = Series { metric: input.number()?, dimension: input.number()? };
        read(series, Input(input.bytes()?))?;
    }
    Some(())
}

fn read_points(mut input: Input<'_>, start: Timestamp) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    if input.is_empty() {
        return Some(points);
    }
    let common = input.byte()?;
    let mut clock = Clock::new(start);
    while !input.is_empty() {
        let at = clock.stepped(input.signed()?);
        let tag = if common == MIXED { input.byte()? } else { common };
        points.push(Point { at, value: value(&mut input, tag)? });
    }
    Some(points)
}

/// Second differences of moments. Wrapping, so that any two moments have one that leads back.
struct Clock {
    at: i64,
    difference: i64,
}

impl Clock {
    fn new(start: Timestamp) -> Self {
        Self { at: start.as_millis(), difference: 0 }
    }

    fn step_to(&mut self, at: Timestamp) -> i64 {
        let difference = at.as_millis().wrapping_sub(self.at);
        let step = difference.wrapping_sub(self.difference);
        *self = Self { at: at.as_millis(), difference };
        step
    }

    fn stepped(&mut self, step: i64) -> Timestamp {
        self.difference = self.difference.wrapping_add(step);
        self.at = self.at.wrapping_add(self.difference);
        Timestamp::from_millis(self.at)
    }
}

#[cfg(test)]
mod tests {
    use picket_model::MetricValue;
    use proptest::prelude::*;

    use super::super::values::any_value;
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_700_006_400);

    fn any_day() -> impl Strategy<Value = Day> {
        let number = || prop_oneof![0_u64..3, any::<u64>()];
        let at = prop_oneof![0_i64..86_400_000, any::<i64>()]
            .prop_map(|ms| Timestamp::from_millis(START.as_millis().wrapping_add(ms)));
        let point = (at, any_value()).prop_map(|(at, value)| Point { at, value });
        let series =
            (number(), number()).prop_map(|(metric, dimension)| Series { metric, dimension });
        prop::collection::btree_map(series, prop::collection::vec(point, 1..12), 0..5)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(day in any_day()) {
            let bytes = encode(&day, START);
            prop_assert_eq!(decode(&bytes, START), Some(day.clone()));
            for (series, points) in day {
                prop_assert_eq!(decode_series(&bytes, START, series), Some(points));
            }
            let none = Series { metric: 4, dimension: 4 };
            prop_assert_eq!(decode_series(&bytes, START, none), Some(Vec::new()));
        }

        #[test]
        fn any_bytes_are_refused_or_decoded_without_a_panic(
            format in 0_u8..3,
            bytes in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..64),
        ) {
            let mut day = vec![format];
            day.extend_from_slice(&bytes);
            let _ = decode(&day, START);
            // The same as the points of a series.
            let mut day = vec![format, 1, 0];
            put_bytes(&mut day, &bytes);
            let _ = decode_series(&day, START, Series { metric: 1, dimension: 0 });
        }
    }

    #[test]
    fn a_value_of_every_five_minutes_takes_two_bytes() {
        let points = (1..=288)
            .map(|n| Point { at: START + n * 300_000, value: MetricValue::Count(n as u64 % 100) });
        let series = Series { metric: 2, dimension: 0 };
        let day = Day::from([(series, points.collect())]);
        assert!(encode(&day, START).len() < 2 * 288 + 16);
    }
}
