//! Sockets: what the collector says is what `ss` says.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use picket_agent::collect::{Collected, Collector, CollectorOptions, SocketSource};
use picket_model::{ListeningPorts, Report};

use crate::namespace::{run_in_namespace, tool};

fn collected(sockets: SocketSource, list_max: usize) -> Collected {
    let proc = "/proc".into();
    Collector::new(CollectorOptions { proc, sockets, loopback: false, list_max }).collect(1)
}

/// Ports as `port@place`.
fn ports(found: Option<&ListeningPorts>) -> BTreeSet<String> {
    let ports = found.unwrap().ports.iter().flatten();
    ports.map(|p| format!("{}@{}", p.port, p.interface.as_deref().unwrap_or("?"))).collect()
}

/// Connections as `port@interface>remote`.
fn connections(report: &Report) -> BTreeSet<String> {
    let found = report.tcp_connections.as_ref().unwrap().connections.iter().flatten();
    let local = |c: &picket_model::TcpConnection| c.local_interface.as_deref().map(str::to_owned);
    found
        .map(|c| format!("{}@{}>{}", c.local_port.unwrap(), local(c).unwrap_or_default(), c.remote))
        .collect()
}

/// The columns of local and remote address that `ss` prints.
fn ss(line: &str) -> Vec<(SocketAddr, String)> {
    let text = tool(line);
    let rows = text.lines().map(|row| {
        // With a filter for one state `ss` leaves the column of the state out.
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let at = columns.len() - 2;
        (address(columns[at]), columns[at + 1].to_owned())
    });
    rows.collect()
}

/// Reads `0.0.0.0:22`, `*:22` (every address of both families), `[::1]:22`, `127.0.0.1%lo:22`.
fn address(text: &str) -> SocketAddr {
    let (host, port) = text.rsplit_once(':').unwrap();
    let host = host.split('%').next().unwrap().trim_matches(['[', ']']);
    let host = if host == "*" { "::" } else { host };
    let ip: std::net::IpAddr = host.parse().unwrap();
    SocketAddr::new(ip.to_canonical(), port.parse().unwrap())
}

/// How a report names the place of an address in a namespace that has nothing but a loopback and
/// `veth0` with 10.77.0.1.
fn place(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => ip.to_string(),
        ip if ip.is_loopback() => "lo".to_owned(),
        _ => "veth0".to_owned(),
    }
}

fn assert_same_as_ss(report: &Report) {
    let listening = |line: &str| -> BTreeSet<String> {
        ss(line).into_iter().map(|(l, _)| format!("{}@{}", l.port(), place(l))).collect()
    };
    let tcp = listening("ss -Htln");
    assert_eq!(ports(report.listening_tcp_ports.as_ref()), tcp);
    assert_eq!(report.listening_tcp_ports.as_ref().unwrap().total, tcp.len() as u64);
    // A UDP socket that is connected to a peer is `ESTAB` for `ss`, one that anybody reaches `UNCONN`.
    let udp = listening("ss -Hun state unconnected");
    assert_eq!(ports(report.listening_udp_ports.as_ref()), udp);
    assert_eq!(report.listening_udp_ports.as_ref().unwrap().total, udp.len() as u64);
    let open: BTreeSet<String> = ss("ss -Htn state established")
        .into_iter()
        .map(|(l, remote)| format!("{}@{}>{}", l.port(), place(l), address(&remote)))
        .collect();
    assert_eq!(connections(report), open);
    assert_eq!(report.tcp_connections.as_ref().unwrap().total, open.len() as u64);
}

#[test]
fn the_collector_sees_what_ss_sees() {
    run_in_namespace("sockets::child_known_sockets");
}

#[test]
#[ignore = "child of the_collector_sees_what_ss_sees"]
fn child_known_sockets() {
    tool("ip link add veth0 type veth peer name veth1");
    tool("ip addr add 10.77.0.1/24 dev veth0");
    tool("ip link set veth0 up");

    // A network without a socket.
    for source in [SocketSource::Auto, SocketSource::Proc] {
        let found = collected(source, 50);
        assert_eq!(found.unseen, BTreeSet::new());
        assert!(ports(found.report.listening_tcp_ports.as_ref()).is_empty());
        assert_same_as_ss(&found.report);
    }

    let tcp = ["0.0.0.0:0", "127.0.0.1:0", "127.3.2.1:0", "[::1]:0", "[::]:0", "10.77.0.1:0"];
    let listeners: Vec<TcpListener> = tcp.iter().map(|at| TcpListener::bind(at).unwrap()).collect();
    let udp: Vec<UdpSocket> = tcp.iter().map(|at| UdpSocket::bind(at).unwrap()).collect();
    // Connected to one peer: no listener.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect("127.0.0.1:9").unwrap();
    let deaf_port = format!("{}@lo", deaf.local_addr().unwrap().port());

    let port = |i: usize| listeners[i].local_addr().unwrap().port();
    let to = [
        format!("127.0.0.1:{}", port(0)),
        format!("[::1]:{}", port(3)),
        // IPv4 to a socket of IPv6: both ends are IPv4 in a report.
        format!("127.0.0.1:{}", port(4)),
        format!("10.77.0.1:{}", port(5)),
    ];
    let ours: Vec<TcpStream> = to.iter().map(|to| TcpStream::connect(to).unwrap()).collect();
    let theirs: Vec<_> = [0, 3, 4, 5].map(|i| listeners[i].accept().unwrap()).into();
    // Closed on one side: no connection any more.
    let half = TcpStream::connect(&to[0]).unwrap();
    let other_half = listeners[0].accept().unwrap();
    drop(half);

    for source in [SocketSource::Auto, SocketSource::Proc] {
        let found = collected(source, 50);
        assert_eq!(found.unseen, BTreeSet::new(), "{source:?}");
        assert_same_as_ss(&found.report);
        let named = ports(found.report.listening_udp_ports.as_ref());
        assert_eq!(named.len(), udp.len());
        assert!(!named.contains(&deaf_port), "{deaf_port} is no listener");
        let named = ports(found.report.listening_tcp_ports.as_ref());
        for (listener, interface) in
            listeners.iter().zip(["0.0.0.0", "lo", "lo", "lo", "::", "veth0"])
        {
            let expected = format!("{}@{interface}", listener.local_addr().unwrap().port());
            assert!(named.contains(&expected), "{expected} is not in {named:?}");
        }
        assert_eq!(connections(&found.report).len(), ours.len() + theirs.len());
    }
    drop(other_half);
}

#[test]
fn thousands_of_sockets_are_counted_and_some_are_named() {
    run_in_namespace("sockets::child_many_sockets");
}

#[test]
#[ignore = "child of thousands_of_sockets_are_counted_and_some_are_named"]
fn child_many_sockets() {
    // More than fit into one netlink datagram, several times over, and both ends of each.
    const N: usize = 400;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut open = Vec::new();
    for _ in 0..N {
        open.push(TcpStream::connect(at).unwrap());
        open.push(listener.accept().unwrap().0);
    }
    let bound: Vec<UdpSocket> = (0..N).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for source in [SocketSource::Auto, SocketSource::Proc] {
        let report = collected(source, 50).report;
        assert_eq!(report.tcp_connections.as_ref().unwrap().total, open.len() as u64);
        assert_eq!(connections(&report).len(), 50);
        assert_eq!(report.listening_udp_ports.as_ref().unwrap().total, bound.len() as u64);
        assert_eq!(ports(report.listening_udp_ports.as_ref()).len(), 50);
        assert_same_as_ss(&collected(source, 2_000).report);
    }
}

#[test]
fn the_network_of_a_mounted_proc_is_that_of_its_first_process() {
    // This test's own `/proc`, under another name: process 1 is another network than the child's.
    run_in_namespace("sockets::child_foreign_proc");
}

#[test]
#[ignore = "child of the_network_of_a_mounted_proc_is_that_of_its_first_process"]
fn child_foreign_proc() {
    let dir = tempfile::tempdir().unwrap();
    let net = dir.path().join("1/net");
    std::fs::create_dir_all(&net).unwrap();
    let heading = "  sl  local_address rem_address   st\n";
    let listening = "   0: 00000000:0016 00000000:0000 0A\n";
    std::fs::write(net.join("tcp"), format!("{heading}{listening}")).unwrap();
    std::fs::write(net.join("udp"), heading).unwrap();
    std::fs::write(net.join("dev"), "Inter-|\n face |\neth9: 1 2 0 0 0 0 0 0 3 4\n").unwrap();
    // Here is a socket that must not be seen.
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proc = dir.path().to_owned();
    let sockets = SocketSource::Auto;
    let options = CollectorOptions { proc, sockets, loopback: false, list_max: 50 };
    let mut collector = Collector::new(options);
    let found = collector.collect(1);
    let named = ports(found.report.listening_tcp_ports.as_ref());
    assert_eq!(named, ["22@0.0.0.0".to_owned()].into());
    assert_eq!(collector.interface_names().collect::<Vec<_>>(), ["eth9"]);
    let unseen: Vec<String> = found.unseen.iter().map(ToString::to_string).collect();
    assert_eq!(
        unseen,
        [
            "not seen: names of interfaces beside ports and connections (the mounted /proc does not tell them)"
        ]
    );
}

#[test]
fn what_cannot_be_seen_is_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let proc = dir.path().to_owned();
    let sockets = SocketSource::Auto;
    let options = CollectorOptions { proc, sockets, loopback: false, list_max: 50 };
    let found = Collector::new(options).collect(1);
    assert_eq!(found.report, Report { id: 1, ..Report::default() });
    let what: Vec<&str> = found.unseen.iter().map(|unseen| unseen.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "listening ports and connections",
            "names of interfaces beside ports and connections",
            "traffic"
        ]
    );
}
