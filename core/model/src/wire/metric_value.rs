//! AWS's `MetricValue`: an object with one member, named for the kind of value.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{MetricValue, Number, Quantity};

/// Writes a value: `{"count": 54}`, `{"ports": [22]}` or `{"cidrs": ["192.0.2.1/32"]}`.
pub fn metric_value_to_json(value: &MetricValue) -> Value {
    match value {
        MetricValue::Count(count) => json!({ "count": count }),
        MetricValue::Number(number) => json!({ "number": number_to_json(*number) }),
        MetricValue::Addresses(addresses) => {
            let cidrs: Vec<_> = addresses.iter().map(|&a| IpNet::from(a).to_string()).collect();
            json!({ "cidrs": cidrs })
        }
        MetricValue::Ports(ports) => json!({ "ports": ports }),
        MetricValue::Numbers(numbers) => {
            json!({ "numbers": numbers.iter().copied().map(number_to_json).collect::<Vec<_>>() })
        }
        MetricValue::Strings(strings) => json!({ "strings": strings }),
    }
}

/// Reads what [`metric_value_to_json`] wrote; `None` for anything else.
pub fn metric_value_from_json(json: &Value) -> Option<MetricValue> {
    let (name, member) = json.as_object().filter(|json| json.len() == 1)?.iter().next()?;
    let list = || member.as_array().map(|list| list.iter());
    Some(match name.as_str() {
        "count" => MetricValue::Count(member.as_u64()?),
        "number" => MetricValue::Number(number_from_json(member)?),
        "cidrs" => {
            let address = |cidr: &Value| -> Option<IpAddr> {
                cidr.as_str()?.parse::<IpNet>().ok().map(|net| net.addr())
            };
            MetricValue::Addresses(list()?.map(address).collect::<Option<BTreeSet<_>>>()?)
        }
        "ports" => {
            let port = |port: &Value| u16::try_from(port.as_u64()?).ok();
            MetricValue::Ports(list()?.map(port).collect::<Option<_>>()?)
        }
        "numbers" => MetricValue::Numbers(list()?.map(number_from_json).collect::<Option<_>>()?),
        "strings" => {
            let string = |string: &Value| string.as_str().map(Into::into);
            MetricValue::Strings(list()?.map(string).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Writes one number as the member of a value that it is: `{"count": 5}` or `{"number": 1.5}`.
pub fn quantity_to_json(quantity: Quantity) -> Value {
    metric_value_to_json(&quantity.into())
}

/// Writes a number without a fraction as a whole one, as people write it.
pub(crate) fn number_to_json(number: Number) -> Value {
    let float = number.get();
    // Whole numbers up to 2^53 are exact in both forms.
    if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 {
        (float as i64).into()
    } else {
        float.into()
    }
}

pub(crate) fn number_from_json(json: &Value) -> Option<Number> {
    json.as_f64().and_then(Number::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        let numbers = [-1.5, 0.0, 3.0, 1e300].map(|number| Number::new(number).unwrap());
        for value in [
            MetricValue::Count(u64::MAX),
            MetricValue::Number(numbers[0]),
            MetricValue::Addresses(addresses.into()),
            MetricValue::Ports([22, 65535].into()),
            MetricValue::Numbers(numbers.into()),
            MetricValue::Strings(["eth0".into(), "".into()].into()),
            MetricValue::Ports(BTreeSet::new()),
        ] {
            assert_eq!(metric_value_from_json(&metric_value_to_json(&value)), Some(value));
        }
    }

    #[test]
    fn anything_else_is_no_value() {
        for json in [
            json!({}),
            json!({"count": -1}),
            json!({"count": 1, "number": 1}),
            json!({"ports": [65536]}),
            json!({"cidrs": ["x"]}),
            json!({"numbers": ["1"]}),
            json!({"other": 1}),
            json!(7),
        ] {
            assert_eq!(metric_value_from_json(&json), None, "{json}");
        }
    }

    #[test]
    fn a_whole_number_is_written_without_a_fraction() {
        let json = |number| number_to_json(Number::new(number).unwrap()).to_string();
        assert_eq!((json(3.0), json(-2.5)), ("3".to_owned(), "-2.5".to_owned()));
    }
}
