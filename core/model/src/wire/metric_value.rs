//! AWS's `MetricValue`: an object with one member, named for the kind of value.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::MetricValue;

/// Writes a value: `{"count": 54}` or `{"cidrs": ["192.0.2.1/32"]}`.
pub fn metric_value_to_json(value: &MetricValue) -> Value {
    match value {
        MetricValue::Count(count) => json!({ "count": count }),
        MetricValue::Addresses(addresses) => {
            let cidrs: Vec<_> = addresses.iter().map(|&a| IpNet::from(a).to_string()).collect();
            json!({ "cidrs": cidrs })
        }
    }
}

/// Reads what [`metric_value_to_json`] wrote; `None` for anything else.
pub fn metric_value_from_json(json: &Value) -> Option<MetricValue> {
    if let Some(count) = json.get("count") {
        return count.as_u64().map(MetricValue::Count);
    }
    let address = |cidr: &Value| -> Option<IpAddr> {
        cidr.as_str()?.parse::<IpNet>().ok().map(|net| net.addr())
    };
    let addresses: Option<BTreeSet<_>> =
        json.get("cidrs")?.as_array()?.iter().map(address).collect();
    addresses.map(MetricValue::Addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        for value in [MetricValue::Count(54), MetricValue::Addresses(addresses.into())] {
            assert_eq!(metric_value_from_json(&metric_value_to_json(&value)), Some(value));
        }
        assert_eq!(metric_value_from_json(&json!({"count": -1})), None);
        assert_eq!(metric_value_from_json(&json!({})), None);
    }
}
