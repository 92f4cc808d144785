//! Traffic: what the collector counts is what went over the wire.

use std::net::UdpSocket;

use picket_agent::collect::{Collector, CollectorOptions, SocketSource};
use picket_model::{NetworkStats, Report};

use crate::namespace::{run_in_namespace, tool};

/// Bytes of Ethernet, IPv4 and UDP before the payload.
const HEADERS: u64 = 14 + 20 + 8;

fn collector(loopback: bool) -> Collector {
    let sockets = SocketSource::Auto;
    let proc = "/proc".into();
    Collector::new(CollectorOptions { proc, sockets, loopback, list_max: 50 })
}

fn network(collector: &mut Collector) -> [Option<u64>; 4] {
    let report: Report = collector.collect(1).report;
    let NetworkStats { bytes_in, bytes_out, packets_in, packets_out } = report.network;
    [bytes_in, bytes_out, packets_in, packets_out]
}

#[test]
fn what_goes_over_an_interface_is_counted_until_it_is_gone() {
    run_in_namespace("traffic::child_traffic");
}

#[test]
#[ignore = "child of what_goes_over_an_interface_is_counted_until_it_is_gone"]
fn child_traffic() {
    // A cable between two interfaces of one network, and a neighbour that is only in the table:
    // what is sent to it leaves through the one and comes in through the other, exactly once.
    let plug_in = || {
        tool(
            "ip link add veth0 address 02:00:00:00:00:01 type veth peer name veth1 address 02:00:00:00:00:02",
        );
        for interface in ["veth0", "veth1"] {
            // No chatter of IPv6 on it.
            tool(&format!("ip link set {interface} addrgenmode none"));
            tool(&format!("ip link set {interface} up"));
        }
        tool("ip addr add 10.77.0.1/24 dev veth0");
        tool("ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev veth0");
    };
    let send = |n: usize, bytes: usize| {
        let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
        for _ in 0..n {
            socket.send_to(&vec![0; bytes], "10.77.0.2:9").unwrap();
        }
    };
    plug_in();
    send(3, 100);
    let mut collector = collector(false);

    assert_eq!(network(&mut collector), [None; 4], "the first sample is left out");
    assert_eq!(network(&mut collector), [Some(0); 4]);

    send(5, 1_000);
    let bytes = Some(5 * (1_000 + HEADERS));
    assert_eq!(network(&mut collector), [bytes, bytes, Some(5), Some(5)]);

    // What goes over the loopback is nobody's traffic.
    let local = UdpSocket::bind("127.0.0.1:0").unwrap();
    local.send_to(&[0; 500], local.local_addr().unwrap()).unwrap();
    assert_eq!(network(&mut collector), [Some(0); 4]);

    send(1, 10);
    tool("ip link del veth0");
    assert_eq!(network(&mut collector), [Some(0); 4], "an interface that is gone counts nothing");

    // The same names again, and counters that are behind what they were.
    plug_in();
    send(2, 50);
    let bytes = Some(2 * (50 + HEADERS));
    assert_eq!(network(&mut collector), [bytes, bytes, Some(2), Some(2)]);
}

#[test]
fn an_interface_that_begins_again_between_two_reports_counts_from_zero() {
    run_in_namespace("traffic::child_replaced");
}

#[test]
#[ignore = "child of an_interface_that_begins_again_between_two_reports_counts_from_zero"]
fn child_replaced() {
    let plug_in = || {
        tool("ip link add veth0 type veth peer name veth1");
        for interface in ["veth0", "veth1"] {
            tool(&format!("ip link set {interface} addrgenmode none"));
            tool(&format!("ip link set {interface} up"));
        }
        tool("ip addr add 10.77.0.1/24 dev veth0");
        tool("ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev veth0");
    };
    let send = |n: usize| {
        let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
        (0..n).for_each(|_| assert_eq!(socket.send_to(&[0; 100], "10.77.0.2:9").unwrap(), 100));
    };
    plug_in();
    send(1_000);
    let mut collector = collector(false);
    network(&mut collector);
    tool("ip link del veth0");
    plug_in();
    send(1);
    let bytes = Some(100 + HEADERS);
    assert_eq!(network(&mut collector), [bytes, bytes, Some(1), Some(1)]);
}

#[test]
fn the_loopback_counts_where_it_is_asked_for() {
    run_in_namespace("traffic::child_loopback");
}

#[test]
#[ignore = "child of the_loopback_counts_where_it_is_asked_for"]
fn child_loopback() {
    let mut collector = collector(true);
    network(&mut collector);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&[0; 500], socket.local_addr().unwrap()).unwrap();
    // The loopback counts without the header of Ethernet.
    let bytes = Some(500 + HEADERS - 14);
    assert_eq!(network(&mut collector), [bytes, bytes, Some(1), Some(1)]);
}
