use proptest::prelude::*;

use super::super::socket::{CLOSE, ESTABLISHED, LISTEN};
use super::*;

/// The sockets of a text: `tcp-listen 0.0.0.0:22; tcp-open 10.0.0.5:9 192.0.2.7:443 @3`.
fn sockets(text: &str) -> Vec<Socket> {
    let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let mut words = entry.split(' ').peekable();
            let (protocol, state) = match words.next().unwrap() {
                "tcp-listen" => (Protocol::Tcp, LISTEN),
                "tcp-open" => (Protocol::Tcp, ESTABLISHED),
                "tcp-time-wait" => (Protocol::Tcp, 6),
                "tcp-closed" => (Protocol::Tcp, CLOSE),
                "udp-bound" => (Protocol::Udp, CLOSE),
                "udp-connected" => (Protocol::Udp, ESTABLISHED),
                other => panic!("{other}"),
            };
            let local = words.next().unwrap().parse().unwrap();
            let remote = words.next_if(|word| !word.starts_with('@'));
            let remote = remote.unwrap_or("0.0.0.0:0").parse().unwrap();
            let index = words.next().map_or(0, |word| word[1..].parse().unwrap());
            Socket { protocol, state, local, remote, interface_index: index }
        })
        .collect()
}

/// `10.0.0.5` is eth0's, which has the index 2; `10.9.0.1` is wg0's with index 3.
fn names() -> Names {
    let mut names = Names::of_loopback();
    names.insert("10.0.0.5".parse().unwrap(), 2, "eth0");
    names.insert("10.9.0.1".parse().unwrap(), 3, "wg0");
    names
}

fn report(sockets: &[Socket], list_max: usize) -> Report {
    let mut random = fastrand::Rng::with_seed(7);
    let mut tally = Tally::new(list_max);
    for socket in sockets {
        tally.add(socket, &mut random);
    }
    let mut report = Report::default();
    tally.into_report(&names(), &mut random, &mut report);
    report
}

fn ports(found: Option<ListeningPorts>) -> String {
    let found = found.unwrap();
    let ports =
        found.ports.unwrap().into_iter().map(|port| {
            format!(" {}@{}", port.port, port.interface.as_deref().unwrap_or("unknown"))
        });
    format!("{}:{}", found.total, ports.collect::<String>())
}

/// What a report says of sockets: TCP ports, UDP ports, connections.
fn check(text: &str, tcp: &str, udp: &str, open: &str) {
    let report = report(&sockets(text), 50);
    assert_eq!(ports(report.listening_tcp_ports), tcp, "TCP ports of {text}");
    assert_eq!(ports(report.listening_udp_ports), udp, "UDP ports of {text}");
    let found = report.tcp_connections.unwrap();
    let connections = found.connections.unwrap().into_iter().map(|c| {
        let interface = c.local_interface.as_deref().unwrap_or("unknown").to_owned();
        format!(" {}>{}@{interface}", c.local_port.unwrap(), c.remote)
    });
    let connections = format!("{}:{}", found.total, connections.collect::<String>());
    assert_eq!(connections, open, "connections of {text}");
}

#[test]
fn sockets_that_strangers_can_reach_are_listening_ports() {
    check("tcp-listen 0.0.0.0:22", "1: 22@0.0.0.0", "0:", "0:");
    check("tcp-listen [::]:22; tcp-listen 0.0.0.0:22", "2: 22@0.0.0.0 22@::", "0:", "0:");
    check("udp-bound 10.0.0.5:53; udp-bound 0.0.0.0:68", "0:", "2: 53@eth0 68@0.0.0.0", "0:");
}

#[test]
fn a_udp_socket_that_hears_one_peer_only_is_no_listening_port() {
    check("udp-connected 10.0.0.5:40000 192.0.2.7:53", "0:", "0:", "0:");
}

#[test]
fn a_connection_that_is_closing_is_none() {
    check("tcp-time-wait 10.0.0.5:9 192.0.2.7:443; tcp-closed 10.0.0.5:8", "0:", "0:", "0:");
}

#[test]
fn a_port_that_several_sockets_share_is_one_port() {
    check(
        "tcp-listen 0.0.0.0:80; tcp-listen 0.0.0.0:80; tcp-listen 10.0.0.5:80",
        "2: 80@0.0.0.0 80@eth0",
        "0:",
        "0:",
    );
}

#[test]
fn an_open_connection_has_its_peer_its_port_and_its_interface() {
    check(
        "tcp-open 10.0.0.5:40000 192.0.2.7:443; tcp-open 127.0.0.1:9 127.0.0.1:10",
        "0:",
        "0:",
        "2: 9>127.0.0.1:10@lo 40000>192.0.2.7:443@eth0",
    );
    check("tcp-open [::1]:9 [::1]:10", "0:", "0:", "1: 9>[::1]:10@lo");
}

#[test]
fn every_address_of_127_is_the_loopbacks() {
    check("udp-bound 127.0.0.53:53", "0:", "1: 53@lo", "0:");
}

#[test]
fn the_interface_that_a_socket_is_bound_to_goes_before_its_address() {
    check("udp-bound 0.0.0.0:67 @2; udp-bound 10.0.0.5:53 @3", "0:", "2: 53@wg0 67@eth0", "0:");
}

#[test]
fn an_address_that_nobody_knows_has_no_interface() {
    check("tcp-listen 10.99.0.1:22", "1: 22@unknown", "0:", "0:");
}

proptest! {
    #[test]
    fn totals_are_true_however_little_is_named(
        list_max in 0usize..20,
        tcp_ports in prop::collection::btree_set(1u16.., 0..60),
        udp_ports in prop::collection::btree_set(1u16.., 0..60),
        open_ports in prop::collection::btree_set(1u16.., 0..60),
    ) {
        let socket = |protocol, state, port, remote: &str| Socket {
            protocol,
            state,
            local: SocketAddr::from(([10, 0, 0, 5], port)),
            remote: remote.parse().unwrap(),
            interface_index: 0,
        };
        let none = "0.0.0.0:0";
        let tcp = tcp_ports.iter().map(|port| socket(Protocol::Tcp, LISTEN, *port, none));
        let udp = udp_ports.iter().map(|port| socket(Protocol::Udp, CLOSE, *port, none));
        let peer = "192.0.2.7:443";
        let open = open_ports.iter().map(|port| socket(Protocol::Tcp, ESTABLISHED, *port, peer));
        let all: Vec<Socket> = tcp.chain(udp).chain(open).collect();
        let report = report(&all, list_max);
        for (found, given) in [
            (report.listening_tcp_ports.unwrap(), &tcp_ports),
            (report.listening_udp_ports.unwrap(), &udp_ports),
        ] {
            let named: Vec<u16> = found.ports.unwrap().into_iter().map(|port| port.port).collect();
            prop_assert_eq!(found.total, given.len() as u64);
            prop_assert_eq!(named.len(), given.len().min(list_max));
            prop_assert!(named.is_sorted() && named.iter().all(|port| given.contains(port)));
        }
        let found = report.tcp_connections.unwrap();
        prop_assert_eq!(found.total, open_ports.len() as u64);
        let named = found.connections.unwrap();
        prop_assert_eq!(named.len(), open_ports.len().min(list_max));
        prop_assert!(named.iter().all(|c| open_ports.contains(&c.local_port.unwrap())));
    }
}
