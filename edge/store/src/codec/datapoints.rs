//! Batches of datapoints as bytes: sorted by device, numbers as variable-length integers.
//!
//! ```text
//! batch   = FORMAT base:signed device*          (base: the earliest `at`, in milliseconds)
//! device  = name_len name section_len section   (sorted by name; sections can be skipped)
//! section = point*
//! point   = metric dimension (at - base) tag:u8 value
//! ```
//!
//! Format 1, which is still read, has the metric in one byte and no dimension.

use std::collections::BTreeMap;

use picket_model::{DeviceName, MetricValue, Timestamp};

use super::bytes::{Input, put_bytes, put_number, put_signed};
use super::values::{Point, Series, put_value, tag, value};

/// First byte of a batch as it is written now.
const FORMAT: u8 = 2;

/// First byte of a batch without dimensions.
const FORMAT_1: u8 = 1;

/// A value on its way into a batch.
pub(crate) struct Entry<'a> {
    /// Whose.
    pub(crate) device: &'a DeviceName,
    /// Of what.
    pub(crate) series: Series,
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) value: &'a MetricValue,
}

/// Encodes values; the order within a device is kept. `base` is the earliest moment among them.
pub(crate) fn encode(entries: &[Entry<'_>], base: Timestamp) -> Vec<u8> {
    let mut devices: BTreeMap<&DeviceName, Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in entries {
        devices.entry(entry.device).or_default().push(entry);
    }
    let mut out = vec![FORMAT];
    put_signed(&mut out, base.as_millis());
    let mut section = Vec::new();
    for (device, entries) in devices {
        put_bytes(&mut out, device.as_str().as_bytes());
        section.clear();
        for entry in entries {
            put_number(&mut section, entry.series.metric);
            put_number(&mut section, entry.series.dimension);
            // Wrapping, so that any two moments have a difference that leads back.
            let since = entry.at.as_millis().wrapping_sub(base.as_millis());
            put_number(&mut section, since as u64);
            section.push(tag(entry.value));
            put_value(&mut section, entry.value);
        }
        put_bytes(&mut out, &section);
    }
    out
}

/// A batch that is read device by device, in the order of their names.
pub(crate) struct Batch<'a> {
    has_dimensions: bool,
    base: i64,
    rest: Input<'a>,
}

impl<'a> Batch<'a> {
    /// Begins to read; `None` if the bytes are no batch.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Input(bytes);
        let has_dimensions = match rest.byte()? {
            FORMAT_1 => false,
            FORMAT => true,
            _ => return None,
        };
        Some(Self { has_dimensions, base: rest.signed()?, rest })
    }

    /// Goes on where `left` bytes are left of the batch; `None` if there are not so many.
    pub(crate) fn with_left(mut self, left: usize) -> Option<Self> {
        let skipped = self.rest.0.len().checked_sub(left)?;
        self.rest = Input(&self.rest.0[skipped..]);
        Some(self)
    }

    /// How many bytes are left of the batch.
    pub(crate) fn left(&self) -> usize {
        self.rest.0.len()
    }

    /// The next device's name and section; `None` for bytes that are no batch, `Some(None)` at the
    /// end.
    #[expect(clippy::option_option, reason = "the readers' `None` is for broken bytes")]
    pub(crate) fn next(&mut self) -> Option<Option<(&'a [u8], Section<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let name = self.rest.bytes()?;
        let rest = Input(self.rest.bytes()?);
        let section = Section { has_dimensions: self.has_dimensions, base: self.base, rest };
        Some(Some((name, section)))
    }

    /// The section of one device, which is empty if there is none; `None` for bytes that are no
    /// batch.
    pub(crate) fn section_of(mut self, device: &DeviceName) -> Option<Section<'a>> {
        while let Some((name, section)) = self.next()? {
            if name == device.as_str().as_bytes() {
                return Some(section);
            }
        }
        Some(Section { rest: Input(&[]), has_dimensions: true, base: 0 })
    }
}

/// The values of one device in a batch.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    has_dimensions: bool,
    base: i64,
    rest: Input<'a>,
}

impl Section<'_> {
    /// All values in the order they were given; `None` if the bytes are no section.
    pub(crate) fn points(mut self) -> Option<Vec<(Series, Point)>> {
        let mut points = Vec::new();
        while !self.rest.is_empty() {
            let series = if self.has_dimensions {
                Series { metric: self.rest.number()?, dimension: self.rest.number()? }
            } else {
                Series { metric: u64::from(self.rest.byte()?), dimension: 0 }
            };
            let at = self.base.wrapping_add(self.rest.number()? as i64);
            let tag = self.rest.byte()?;
            let value = value(&mut self.rest, tag)?;
            points.push((series, Point { at: Timestamp::from_millis(at), value }));
        }
        Some(points)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::values::any_value;
    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName::parse(name).unwrap()
    }

    fn points_of(batch: &[u8], who: &str) -> Option<Vec<(Series, Point)>> {
        Batch::open(batch)?.section_of(&device(who))?.points()
    }

    fn entry() -> impl Strategy<Value = (String, (Series, Point))> {
        let number = || prop_oneof![0_u64..3, any::<u64>()];
        ("[a-c]", number(), number(), any::<i64>(), any_value()).prop_map(
            |(device, metric, dimension, at, value)| {
                let at = Timestamp::from_millis(at);
                (device, (Series { metric, dimension }, Point { at, value }))
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(given in prop::collection::vec(entry(), 1..40)) {
            let names: Vec<_> = given.iter().map(|(who, _)| device(who)).collect();
            let entries: Vec<_> = given
                .iter()
                .zip(&names)
                .map(|((_, (series, point)), device)| {
                    Entry { device, series: *series, at: point.at, value: &point.value }
                })
                .collect();
            let base = entries.iter().map(|entry| entry.at).min().unwrap();
            let batch = encode(&entries, base);
            for who in ["a", "b", "c", "d"] {
                let of_it = given.iter().filter(|(device, _)| device == who);
                let expected: Vec<_> = of_it.map(|(_, point)| point.clone()).collect();
                prop_assert_eq!(points_of(&batch, who), Some(expected));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_decoded_without_a_panic(
            format in 0_u8..4,
            bytes in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..64),
        ) {
            let mut batch = vec![format];
            batch.extend_from_slice(&bytes);
            let _ = points_of(&batch, "a");
            // The same as the section of a device that is looked for.
            let mut batch = vec![format, 0, 1, b'a'];
            put_bytes(&mut batch, &bytes);
            let _ = points_of(&batch, "a");
        }

        #[test]
        fn a_batch_that_was_cut_off_is_refused_or_has_fewer_values(cut in 0_usize..100) {
            let values = [MetricValue::Count(300), MetricValue::Ports([1, 2].into())];
            let who = device("a");
            let entries: Vec<_> = values
                .iter()
                .map(|value| Entry {
                    device: &who,
                    series: Series { metric: 1, dimension: 0 },
                    at: Timestamp::from_millis(7),
                    value,
                })
                .collect();
            let batch = encode(&entries, Timestamp::from_millis(7));
            let cut = cut.min(batch.len() - 1);
            let points = points_of(&batch[..cut], "a");
            prop_assert!(points.is_none_or(|points| points.is_empty()));
        }
    }

    #[test]
    fn a_batch_of_format_1_is_still_read() {
        // Base 1,000 ms; device `a`: messages sent (2) at 1,005: 300, addresses (7) at 1,000.
        let section = [2, 5, 0, 0xac, 0x02, 7, 0, 1, 1, 4, 192, 0, 2, 1];
        let mut batch = vec![1, 0xd0, 0x0f];
        put_bytes(&mut batch, b"a");
        put_bytes(&mut batch, &section);
        let point = |metric, at, value| {
            (Series { metric, dimension: 0 }, Point { at: Timestamp::from_millis(at), value })
        };
        let addresses = MetricValue::Addresses(["192.0.2.1".parse().unwrap()].into());
        assert_eq!(
            points_of(&batch, "a"),
            Some(vec![point(2, 1_005, MetricValue::Count(300)), point(7, 1_000, addresses)])
        );
    }
}
