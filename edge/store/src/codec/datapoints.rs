//! Batches of datapoints as bytes: sorted by device, numbers as variable-length integers.
//!
//! ```text
//! batch  = FORMAT base:zigzag device*          (base: the earliest `at`, in milliseconds)
//! device = name_len name section_len section   (sorted by name; sections can be skipped)
//! section = point*
//! point  = metric:u8 (at - base) tag:u8 value  (tag 0: count; 1: n addresses)
//! address = len:u8 (4 or 16) bytes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use picket_model::{Datapoint, DeviceName, Metric, MetricValue, Timestamp};

/// First byte of a batch; another one is another encoding.
const FORMAT: u8 = 1;

const TAG_COUNT: u8 = 0;
const TAG_ADDRESSES: u8 = 1;

/// Numbers for metrics that never change, whatever becomes of the enum.
const fn metric_code(metric: Metric) -> u8 {
    match metric {
        Metric::MessageByteSize => 1,
        Metric::MessagesSent => 2,
        Metric::MessagesReceived => 3,
        Metric::AuthorizationFailures => 4,
        Metric::ConnectionAttempts => 5,
        Metric::Disconnects => 6,
        Metric::SourceIpAddress => 7,
        Metric::DisconnectDuration => 8,
    }
}

/// A value of one metric of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: MetricValue,
}

/// Encodes datapoints; the order within a device and metric is kept. `base` is the earliest
/// moment among them.
pub(crate) fn encode(datapoints: &[Datapoint], base: Timestamp) -> Vec<u8> {
    let mut devices: BTreeMap<&DeviceName, Vec<&Datapoint>> = BTreeMap::new();
    for datapoint in datapoints {
        devices.entry(&datapoint.device).or_default().push(datapoint);
    }
    let mut out = vec![FORMAT];
    put_number(&mut out, zigzag(base.as_millis()));
    let mut section = Vec::new();
    for (device, points) in devices {
        put_bytes(&mut out, device.as_str().as_bytes());
        section.clear();
        for point in points {
            section.push(metric_code(point.metric));
            // Wrapping, so that any two moments have a difference that leads back.
            let since = point.at.as_millis().wrapping_sub(base.as_millis());
            put_number(&mut section, since as u64);
            put_value(&mut section, &point.value);
        }
        put_bytes(&mut out, &section);
    }
    out
}

/// The values of one device and metric in a batch, in the order they were given; `None` if the
/// bytes are no batch.
pub(crate) fn decode(batch: &[u8], device: &DeviceName, metric: Metric) -> Option<Vec<Point>> {
    let mut input = Input(batch);
    if input.byte()? != FORMAT {
        return None;
    }
    let base = unzigzag(input.number()?);
    while !input.0.is_empty() {
        let name = input.bytes()?;
        let section = input.bytes()?;
        if name == device.as_str().as_bytes() {
            return decode_section(Input(section), base, metric_code(metric));
        }
    }
    Some(Vec::new())
}

fn decode_section(mut input: Input<'_>, base: i64, code: u8) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    while !input.0.is_empty() {
        let found = input.byte()?;
        let at = base.wrapping_add(input.number()? as i64);
        let value = input.value()?;
        if found == code {
            points.push(Point { at: Timestamp::from_millis(at), value });
        }
    }
    Some(points)
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &MetricValue) {
    match value {
        MetricValue::Count(count) => {
            out.push(TAG_COUNT);
            put_number(out, *count);
        }
        MetricValue::Addresses(addresses) => {
            out.push(TAG_ADDRESSES);
            put_number(out, addresses.len() as u64);
            for address in addresses {
                match address {
                    IpAddr::V4(v4) => put_bytes(out, &v4.octets()),
                    IpAddr::V6(v6) => put_bytes(out, &v6.octets()),
                }
            }
        }
    }
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// What is left to read. Every reader gives `None` at the end of the bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn value(&mut self) -> Option<MetricValue> {
        match self.byte()? {
            TAG_COUNT => self.number().map(MetricValue::Count),
            TAG_ADDRESSES => {
                let len = self.number()?;
                let mut addresses = BTreeSet::new();
                for _ in 0..len {
                    let bytes = self.bytes()?;
                    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
                    addresses.insert(v4.or(v6).ok()?);
                }
                Some(MetricValue::Addresses(addresses))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = MetricValue> {
        prop_oneof![
            any::<u64>().prop_map(MetricValue::Count),
            prop::collection::btree_set(any::<IpAddr>(), 0..4).prop_map(MetricValue::Addresses),
        ]
    }

    fn datapoint() -> impl Strategy<Value = Datapoint> {
        ("[a-c]", prop::sample::select(&Metric::ALL[..]), any::<i64>(), value()).prop_map(
            |(device, metric, at, value)| Datapoint {
                device: DeviceName::parse(device).unwrap(),
                metric,
                at: Timestamp::from_millis(at),
                value,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(points in prop::collection::vec(datapoint(), 1..40)) {
            let base = points.iter().map(|point| point.at).min().unwrap();
            let batch = encode(&points, base);
            for device in ["a", "b", "c", "d"].map(|name| DeviceName::parse(name).unwrap()) {
                for metric in Metric::ALL {
                    let expected: Vec<_> = points
                        .iter()
                        .filter(|point| point.device == device && point.metric == metric)
                        .map(|point| Point { at: point.at, value: point.value.clone() })
                        .collect();
                    prop_assert_eq!(decode(&batch, &device, metric), Some(expected));
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_decoded_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            let device = DeviceName::parse("a").unwrap();
            let _ = decode(&bytes, &device, Metric::MessagesSent);
        }
    }
}
