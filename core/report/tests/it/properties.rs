//! Reading undoes writing, and agrees with a reader that is slow and plain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use picket_model::{
    CustomMetricName, CustomValue, ListeningPort, ListeningPorts, NetworkStats, Number, Report,
    TcpConnection, TcpConnections,
};
use picket_report::{Format, Names, decode, encode};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::fixture::to_cbor;

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()),
    ]
}

fn interface() -> impl Strategy<Value = Option<Box<str>>> {
    of(any::<String>().prop_map(|mut text| {
        while text.len() > 256 {
            text.pop();
        }
        text.into_boxed_str()
    }))
}

fn listening() -> impl Strategy<Value = Option<ListeningPorts>> {
    let port =
        (1..=u16::MAX, interface()).prop_map(|(port, interface)| ListeningPort { port, interface });
    of((of(vec(port, 0..4)), any::<u64>())
        .prop_map(|(ports, total)| ListeningPorts { ports, total }))
}

fn connections() -> impl Strategy<Value = Option<TcpConnections>> {
    let connection = (ip(), any::<u16>(), of(any::<u16>()), interface()).prop_map(
        |(ip, port, local_port, local_interface)| TcpConnection {
            remote: SocketAddr::new(ip, port),
            local_port,
            local_interface,
        },
    );
    of((of(vec(connection, 0..4)), any::<u64>())
        .prop_map(|(connections, total)| TcpConnections { connections, total }))
}

fn number() -> impl Strategy<Value = Number> {
    let finite =
        proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO;
    prop_oneof![
        finite.prop_map(|x| Number::new(x).unwrap()),
        any::<i32>().prop_map(|n| Number::new(n.into()).unwrap()),
        any::<u64>().prop_map(Number::of_count),
    ]
}

fn custom() -> impl Strategy<Value = Vec<(CustomMetricName, CustomValue)>> {
    let value = prop_oneof![
        number().prop_map(CustomValue::Number),
        vec(number(), 0..4).prop_map(CustomValue::NumberList),
        vec("[a-zA-Z0-9:_/.-]{0,9}".prop_map(Into::into), 0..4).prop_map(CustomValue::StringList),
        vec(ip(), 0..4).prop_map(CustomValue::IpList),
    ];
    btree_map("[a-zA-Z0-9:_-]{1,9}", value, 0..4).prop_map(|metrics| {
        let named =
            |(name, value)| (CustomMetricName::parse(String::as_str(&name)).unwrap(), value);
        metrics.into_iter().map(named).collect()
    })
}

fn report() -> impl Strategy<Value = Report> {
    let n = || of(any::<u64>());
    let network =
        (n(), n(), n(), n()).prop_map(|(bytes_in, bytes_out, packets_in, packets_out)| {
            NetworkStats { bytes_in, bytes_out, packets_in, packets_out }
        });
    (any::<u64>(), listening(), listening(), connections(), network, custom()).prop_map(
        |(id, listening_tcp_ports, listening_udp_ports, tcp_connections, network, custom)| Report {
            id,
            listening_tcp_ports,
            listening_udp_ports,
            tcp_connections,
            network,
            custom,
        },
    )
}

/// A value of any kind, seldom the right one.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..70_000).prop_map(Value::from),
        (0_u32..70_000).prop_map(|n| Value::from(f64::from(n))),
        (-9.0..9.0_f64).prop_map(Value::from),
        prop_oneof![
            Just("1.0"),
            Just("192.0.2.1:443"),
            Just("::1:443"),
            Just("[::1]:443"),
            Just("::1"),
            Just("eth0"),
            Just("a b"),
            Just("")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(key(), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A name from the table, either way, or none of it.
fn key() -> impl Strategy<Value = String> {
    const KEYS: &str = "header hed report_id rid version v metrics met custom_metrics cmet \
        tcp_connections tc established_connections ec connections cs remote_addr rad local_port lp \
        local_interface li total t listening_tcp_ports tp listening_udp_ports up ports pts port pt \
        interface if network_stats ns bytes_in bi bytes_out bo packets_in pi packets_out po number \
        number_list string_list ip_list other";
    prop::sample::select(KEYS.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

/// A report in which a few places are changed: to another value, to none, or with one more member.
fn nearly_a_report() -> impl Strategy<Value = Value> {
    let change = (any::<prop::sample::Index>(), of(any_value()), of(key()));
    (report(), any::<bool>(), vec(change, 0..4)).prop_map(|(report, is_short, changes)| {
        let names = if is_short { Names::Short } else { Names::Long };
        let mut value: Value =
            serde_json::from_slice(&encode(&report, Format::Json, names)).unwrap();
        for (place, new, key) in changes {
            let mut n_left = place.index(count(&value));
            change_at(&mut value, &mut n_left, new.as_ref(), key.as_deref());
        }
        value
    })
}

/// How many values a value has within it, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the value that stands `n_left` places further on. Returns whether it was there.
fn change_at(
    value: &mut Value,
    n_left: &mut usize,
    new: Option<&Value>,
    key: Option<&str>,
) -> bool {
    if *n_left == 0 {
        match (value, new, key) {
            (Value::Object(members), Some(new), Some(key)) => {
                members.insert(key.to_owned(), new.clone());
            }
            (Value::Object(members), None, Some(key)) => {
                members.remove(key);
            }
            (value, new, _) => *value = new.cloned().unwrap_or(Value::Null),
        }
        return true;
    }
    *n_left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|item| change_at(item, n_left, new, key)),
        Value::Object(members) => {
            members.values_mut().any(|item| change_at(item, n_left, new, key))
        }
        _ => false,
    }
}

/// The slow and plain reader: a tree first, then what the documents say of it. No sentences.
mod oracle {
    use super::*;

    struct Refused;
    type Read<T> = Result<T, Refused>;

    /// The member in whichever spelling; `None` if absent or null, refused if there in both.
    fn member<'a>(
        object: &'a Map<String, Value>,
        long: &str,
        short: &str,
    ) -> Read<Option<&'a Value>> {
        let found = match (object.get(long), object.get(short)) {
            (Some(_), Some(_)) if long != short => return Err(Refused),
            (Some(value), _) | (None, Some(value)) => Some(value),
            (None, None) => None,
        };
        Ok(found.filter(|value| !value.is_null()))
    }

    fn object(value: &Value) -> Read<&Map<String, Value>> {
        value.as_object().ok_or(Refused)
    }

    fn whole(value: &Value) -> Read<u64> {
        let Value::Number(number) = value else { return Err(Refused) };
        if let Some(n) = number.as_u64() {
            return Ok(n);
        }
        let x = number.as_f64().unwrap();
        if x >= 0.0 && x.fract() == 0.0 && x < 2_f64.powi(64) { Ok(x as u64) } else { Err(Refused) }
    }

    fn optional<T>(
        from: &Map<String, Value>,
        long: &str,
        short: &str,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Read<Option<T>> {
        member(from, long, short)?.map(read).transpose()
    }

    fn list<T>(value: &Value, read: impl Fn(&Value) -> Read<T>) -> Read<Vec<T>> {
        value.as_array().ok_or(Refused)?.iter().map(read).collect()
    }

    fn text(value: &Value) -> Read<Box<str>> {
        value.as_str().map(Into::into).ok_or(Refused)
    }

    fn port(value: &Value) -> Read<u16> {
        u16::try_from(whole(value)?).map_err(|_| Refused)
    }

    fn remote(value: &Value) -> Read<SocketAddr> {
        let text = text(value)?;
        let (ip, port) = text.rsplit_once(':').ok_or(Refused)?;
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = ip.parse().map_err(|_| Refused)?;
        Ok(SocketAddr::new(ip.to_canonical(), port.parse().map_err(|_| Refused)?))
    }

    fn listening(value: &Value) -> Read<Option<ListeningPorts>> {
        let from = object(value)?;
        let ports = optional(from, "ports", "pts", |value| {
            list(value, |value| {
                let from = object(value)?;
                let port = optional(from, "port", "pt", port)?;
                Ok(ListeningPort {
                    port: port.filter(|port| *port > 0).ok_or(Refused)?,
                    interface: optional(from, "interface", "if", text)?,
                })
            })
        })?;
        let total = optional(from, "total", "t", whole)?;
        Ok(match (ports, total) {
            (None, None) => None,
            (Some(ports), None) => {
                let total = ports.len() as u64;
                Some(ListeningPorts { ports: Some(ports), total })
            }
            (ports, Some(total)) => Some(ListeningPorts { ports, total }),
        })
    }

    fn tcp(value: &Value) -> Read<Option<TcpConnections>> {
        let established = |value: &Value| {
            let from = object(value)?;
            let connections = optional(from, "connections", "cs", |value| {
                list(value, |value| {
                    let from = object(value)?;
                    Ok(TcpConnection {
                        remote: optional(from, "remote_addr", "rad", remote)?.ok_or(Refused)?,
                        local_port: optional(from, "local_port", "lp", port)?,
                        local_interface: optional(from, "local_interface", "li", text)?,
                    })
                })
            })?;
            let total = optional(from, "total", "t", whole)?;
            let total = total.or(connections.as_ref().map(|list| list.len() as u64));
            Ok(total.map(|total| TcpConnections { connections, total }))
        };
        Ok(optional(object(value)?, "established_connections", "ec", established)?.flatten())
    }

    fn custom(value: &Value) -> Read<Vec<(CustomMetricName, CustomValue)>> {
        let mut metrics = Vec::new();
        for (name, value) in object(value)? {
            let Ok(name) = CustomMetricName::parse(name.as_str()) else { continue };
            if value.is_null() {
                continue;
            }
            let list = value.as_array().ok_or(Refused)?;
            let Some(first) = list.first() else { continue };
            let typed = object(first)?;
            let known = ["number", "number_list", "string_list", "ip_list"];
            let types: Vec<&str> =
                known.into_iter().filter(|name| typed.contains_key(*name)).collect();
            let mut found = None;
            for name in &types {
                found = self::typed(name, &typed[*name])?;
            }
            if types.len() > 1 || list.len() > 1 {
                return Err(Refused);
            }
            metrics.extend(found.map(|value| (name, value)));
        }
        Ok(metrics)
    }

    fn typed(name: &str, value: &Value) -> Read<Option<CustomValue>> {
        if value.is_null() {
            return Ok(None);
        }
        let number = |value: &Value| Ok(Number::new(value.as_f64().ok_or(Refused)?));
        if name == "number" {
            return Ok(number(value)?.map(CustomValue::Number));
        }
        fn left<T>(read: Vec<Option<T>>) -> Option<Vec<T>> {
            let was_empty = read.is_empty();
            let left: Vec<T> = read.into_iter().flatten().collect();
            (was_empty || !left.is_empty()).then_some(left)
        }
        Ok(match name {
            "number_list" => left(list(value, number)?).map(CustomValue::NumberList),
            "string_list" => {
                let is_right =
                    |text: &str| text.chars().all(|c| c.is_alphanumeric() || ":_-/.".contains(c));
                left(list(value, |value| Ok(Some(text(value)?).filter(|text| is_right(text))))?)
                    .map(CustomValue::StringList)
            }
            _ => left(list(value, |value| {
                Ok(text(value)?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()))
            })?)
            .map(CustomValue::IpList),
        })
    }

    fn read(value: &Value) -> Read<Report> {
        let root = object(value)?;
        let id = optional(root, "header", "hed", |value| {
            let from = object(value)?;
            let version = optional(from, "version", "v", text)?.ok_or(Refused)?;
            if &*version != "1.0" {
                return Err(Refused);
            }
            optional(from, "report_id", "rid", whole)?.ok_or(Refused)
        })?;
        let metrics = optional(root, "metrics", "met", |value| {
            let from = object(value)?;
            let network = optional(from, "network_stats", "ns", |value| {
                let from = object(value)?;
                Ok(NetworkStats {
                    bytes_in: optional(from, "bytes_in", "bi", whole)?,
                    bytes_out: optional(from, "bytes_out", "bo", whole)?,
                    packets_in: optional(from, "packets_in", "pi", whole)?,
                    packets_out: optional(from, "packets_out", "po", whole)?,
                })
            })?;
            Ok(Report {
                listening_tcp_ports: optional(from, "listening_tcp_ports", "tp", listening)?
                    .flatten(),
                listening_udp_ports: optional(from, "listening_udp_ports", "up", listening)?
                    .flatten(),
                tcp_connections: optional(from, "tcp_connections", "tc", tcp)?.flatten(),
                network: network.unwrap_or_default(),
                ..Report::default()
            })
        })?;
        let custom = optional(root, "custom_metrics", "cmet", custom)?;
        if metrics.is_none() && custom.is_none() {
            return Err(Refused);
        }
        let id = id.ok_or(Refused)?;
        Ok(Report { id, custom: custom.unwrap_or_default(), ..metrics.unwrap_or_default() })
    }

    /// The report, `None` if it is refused.
    pub(super) fn decode(value: &Value) -> Option<Report> {
        read(value).ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_written_is_read_back(report in report()) {
        for format in Format::ALL {
            for names in [Names::Long, Names::Short] {
                let bytes = encode(&report, format, names);
                prop_assert_eq!(decode(format, &bytes), Ok(report.clone()));
            }
        }
    }

    #[test]
    fn short_names_make_shorter_reports_and_the_same_report_the_same_bytes(report in report()) {
        for format in Format::ALL {
            let long = encode(&report, format, Names::Long);
            prop_assert_eq!(&encode(&report.clone(), format, Names::Long), &long);
            prop_assert!(encode(&report, format, Names::Short).len() < long.len());
        }
    }

    #[test]
    fn json_that_is_nearly_a_report_is_read_as_the_slow_reader_reads_it(value in nearly_a_report()) {
        let bytes = serde_json::to_vec(&value).unwrap();
        let fast = decode(Format::Json, &bytes);
        prop_assert_eq!(fast.clone().ok(), oracle::decode(&value), "{:?}", fast);
    }

    #[test]
    fn both_formats_say_the_same(value in nearly_a_report()) {
        let json = decode(Format::Json, &serde_json::to_vec(&value).unwrap());
        prop_assert_eq!(json, decode(Format::Cbor, &to_cbor(&value)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        for format in Format::ALL {
            if let Err(refusal) = decode(format, &bytes) {
                prop_assert!(!refusal.to_string().is_empty());
            }
        }
    }
}

#[test]
fn the_slow_reader_reads_the_plainest_report() {
    let value = json!({"header": {"report_id": 7, "version": "1.0"}, "metrics": {}});
    assert_eq!(oracle::decode(&value), Some(Report { id: 7, ..Report::default() }));
    assert_eq!(oracle::decode(&json!({"metrics": {}})), None);
}
