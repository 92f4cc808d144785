//! What happens, as text: one verb with its words is one fact.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use picket_model::{
    ClientId, CustomMetricName, CustomValue, Denied, DisconnectReason, Fact, ListeningPort,
    ListeningPorts, Published, Report, TcpConnection, TcpConnections, Timestamp,
};

use super::TEN;
use super::words::{CUSTOM, custom_name, number};

pub(super) fn fact(verb: &str, words: &[&str], at: Timestamp) -> Fact {
    let first = words.first().copied();
    let count = || first.unwrap().parse::<u64>().unwrap();
    let client = ClientId::parse("client").unwrap();
    let home: IpAddr = "10.0.0.7".parse().unwrap();
    match verb {
        "on" => Fact::Connected { client, source: first.map_or(home, |ip| ip.parse().unwrap()) },
        "off" => Fact::Disconnected { client, reason: DisconnectReason::ClientInitiated },
        "try" => Fact::ConnectionAttempted { source: home, accepted: false },
        "recv" => Fact::Received { count: count() },
        "rep" => Fact::Reported(Arc::new(report(words, at))),
        "refuse" => Fact::ReportRefused { ran_backward: first == Some("backward") },
        "deny" => Fact::Denied(Denied {
            count: count(),
            first_at: at,
            last_at: at,
            last_action: "iot:Publish",
            last_resource: "secret/plans".into(),
        }),
        "pub" => {
            let n = words.iter().find_map(|word| word.strip_prefix('x'));
            let n = n.map_or(1, |n| n.parse().unwrap());
            let source = words.iter().find_map(|word| word.strip_prefix("from="));
            let topic = words.iter().skip(1).find(|w| !w.starts_with('x') && !w.contains('='));
            Fact::Published(Published {
                count: n,
                bytes_total: count() * n,
                bytes_min: count(),
                bytes_max: count(),
                first_at: at,
                last_at: at,
                largest_topic: (*topic.unwrap_or(&"t")).into(),
                source: source.map_or(home, |ip| ip.parse().unwrap()),
            })
        }
        verb => panic!("no step `{verb}`"),
    }
}

/// `out=3000 tcp=22,443@eth0 tcp#=2 conns=203.0.113.9:443 load=1.5 id=7`. The id is the second of
/// the report after ten o'clock where nothing else is said.
fn report(words: &[&str], at: Timestamp) -> Report {
    let id = (at.as_millis() - TEN) / 1000;
    let mut report = Report { id: id.try_into().unwrap(), ..Report::default() };
    let network = &mut report.network;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("no field `{word}`"));
        let count = || value.parse::<u64>().unwrap();
        match key {
            "id" => report.id = count(),
            "out" => network.bytes_out = Some(count()),
            "in" => network.bytes_in = Some(count()),
            "pout" => network.packets_out = Some(count()),
            "pin" => network.packets_in = Some(count()),
            "tcp" => report.listening_tcp_ports = Some(ports(value)),
            "udp" => report.listening_udp_ports = Some(ports(value)),
            "conns" => report.tcp_connections = Some(connections(value)),
            // A total says nothing of the list, and stands behind it if there are both.
            "tcp#" => report.listening_tcp_ports.get_or_insert_default().total = count(),
            "udp#" => report.listening_udp_ports.get_or_insert_default().total = count(),
            "conns#" => report.tcp_connections.get_or_insert_default().total = count(),
            word => report.custom.push(custom(word, value)),
        }
    }
    report
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|text| !text.is_empty())
}

fn ports(text: &str) -> ListeningPorts {
    let port = |text: &str| {
        let (port, interface) = text.split_once('@').unwrap_or((text, ""));
        let interface = (!interface.is_empty()).then(|| interface.into());
        ListeningPort { port: port.parse().unwrap(), interface }
    };
    let ports: Vec<_> = elements(text).map(port).collect();
    ListeningPorts { total: ports.len() as u64, ports: Some(ports) }
}

fn connections(text: &str) -> TcpConnections {
    let connection = |text: &str| {
        let remote: SocketAddr = text.parse().unwrap();
        TcpConnection { remote, local_port: None, local_interface: None }
    };
    let connections: Vec<_> = elements(text).map(connection).collect();
    TcpConnections { total: connections.len() as u64, connections: Some(connections) }
}

/// A value of the metric's kind; `~` before it makes a list of strings of whatever it is.
fn custom(word: &str, text: &str) -> (CustomMetricName, CustomValue) {
    use picket_model::CustomMetricKind::{IpAddressList, Number, NumberList, StringList};
    let strings = |text| CustomValue::StringList(elements(text).map(Box::from).collect());
    let kind = CUSTOM.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
    let value = match (text.strip_prefix('~'), kind) {
        (Some(text), _) => strings(text),
        (None, Some(Number)) => CustomValue::Number(number(text)),
        (None, Some(NumberList)) => CustomValue::NumberList(elements(text).map(number).collect()),
        (None, Some(StringList)) => strings(text),
        (None, Some(IpAddressList)) => {
            CustomValue::IpList(elements(text).map(|ip| ip.parse().unwrap()).collect())
        }
        (None, None) => panic!("no field `{word}`"),
    };
    (custom_name(word), value)
}
