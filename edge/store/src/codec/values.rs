//! Metric values as bytes: a tag for the kind, then the value.
//!
//! ```text
//! count     = number
//! addresses = n (len:u8 bytes)*    (4 or 16 bytes)
//! number    = f64, little-endian
//! ports     = n number*
//! numbers   = n f64*
//! strings   = n (len bytes)*
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use picket_model::{MetricValue, Number, Timestamp};

use super::bytes::{Input, put_bytes, put_number};

/// A value of one series, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) value: MetricValue,
}

/// Which values belong together: one metric, or one side of a dimension of it. The numbers are
/// the store's: see [`crate::datapoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    /// Code of a built-in metric, or a number beyond those for a custom one.
    pub(crate) metric: u64,
    /// 0 for the whole metric.
    pub(crate) dimension: u64,
}

// Numbers that never get a second meaning.
const COUNT: u8 = 0;
const ADDRESSES: u8 = 1;
const NUMBER: u8 = 2;
const PORTS: u8 = 3;
const NUMBERS: u8 = 4;
const STRINGS: u8 = 5;

/// The tag of a value's kind.
pub(crate) const fn tag(value: &MetricValue) -> u8 {
    match value {
        MetricValue::Count(_) => COUNT,
        MetricValue::Addresses(_) => ADDRESSES,
        MetricValue::Number(_) => NUMBER,
        MetricValue::Ports(_) => PORTS,
        MetricValue::Numbers(_) => NUMBERS,
        MetricValue::Strings(_) => STRINGS,
    }
}

/// Writes a value without its tag.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &MetricValue) {
    match value {
        MetricValue::Count(count) => put_number(out, *count),
        MetricValue::Number(number) => put_float(out, *number),
        MetricValue::Addresses(addresses) => {
            put_number(out, addresses.len() as u64);
            for address in addresses {
                match address {
                    IpAddr::V4(v4) => put_bytes(out, &v4.octets()),
                    IpAddr::V6(v6) => put_bytes(out, &v6.octets()),
                }
            }
        }
        MetricValue::Ports(ports) => {
            put_number(out, ports.len() as u64);
            ports.iter().for_each(|port| put_number(out, u64::from(*port)));
        }
        MetricValue::Numbers(numbers) => {
            put_number(out, numbers.len() as u64);
            numbers.iter().for_each(|number| put_float(out, *number));
        }
        MetricValue::Strings(strings) => {
            put_number(out, strings.len() as u64);
            strings.iter().for_each(|string| put_bytes(out, string.as_bytes()));
        }
    }
}

fn put_float(out: &mut Vec<u8>, number: Number) {
    out.extend_from_slice(&number.get().to_le_bytes());
}

/// Reads a value of the kind that the tag names.
pub(crate) fn value(input: &mut Input<'_>, tag: u8) -> Option<MetricValue> {
    Some(match tag {
        COUNT => MetricValue::Count(input.number()?),
        NUMBER => MetricValue::Number(float(input)?),
        ADDRESSES => MetricValue::Addresses(elements(input, |input| {
            let bytes = input.bytes()?;
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
        })?),
        PORTS => {
            let port = |input: &mut Input<'_>| u16::try_from(input.number()?).ok();
            MetricValue::Ports(elements(input, port)?)
        }
        NUMBERS => MetricValue::Numbers(elements(input, float)?),
        STRINGS => MetricValue::Strings(elements(input, |input| {
            std::str::from_utf8(input.bytes()?).ok().map(Box::from)
        })?),
        _ => return None,
    })
}

fn float(input: &mut Input<'_>) -> Option<Number> {
    Number::new(f64::from_le_bytes(input.array()?))
}

/// Every element takes a byte at least, so a wrong number ends with the bytes.
fn elements<T: Ord>(
    input: &mut Input<'_>,
    mut read: impl FnMut(&mut Input<'_>) -> Option<T>,
) -> Option<BTreeSet<T>> {
    (0..input.number()?).map(|_| read(input)).collect()
}

/// Values of every kind, for the properties of the packed forms.
#[cfg(test)]
pub(crate) fn any_value() -> impl proptest::strategy::Strategy<Value = MetricValue> {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    let number = || any::<f64>().prop_filter_map("finite", Number::new);
    prop_oneof![
        any::<u64>().prop_map(MetricValue::Count),
        (0_u64..200).prop_map(MetricValue::Count),
        number().prop_map(MetricValue::Number),
        btree_set(any::<IpAddr>(), 0..4).prop_map(MetricValue::Addresses),
        btree_set(any::<u16>(), 0..4).prop_map(MetricValue::Ports),
        btree_set(number(), 0..4).prop_map(MetricValue::Numbers),
        btree_set("[a-z]{0,3}|é".prop_map(Box::from), 0..4).prop_map(MetricValue::Strings),
    ]
}
