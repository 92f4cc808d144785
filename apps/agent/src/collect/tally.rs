//! What a report says of the sockets, made of one socket after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use picket_model::{ListeningPort, ListeningPorts, Report, TcpConnection, TcpConnections};

use super::sample::Sample;
use super::socket::{Protocol, Role, Socket};
use crate::limits::{ADDRESSES_MAX, LISTENERS_MAX};

/// Which interface an address or an index belongs to.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_address: BTreeMap<IpAddr, Box<str>>,
    by_index: BTreeMap<u32, Box<str>>,
}

impl Names {
    /// Names of the addresses that are the same on every machine, for when no other is known.
    pub fn of_loopback() -> Self {
        let mut names = Self::default();
        for ip in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])] {
            names.by_address.insert(ip, "lo".into());
        }
        names
    }

    /// Takes an address of an interface; the first one that claims it has it.
    pub fn insert(&mut self, ip: IpAddr, index: u32, name: &str) {
        if self.by_address.len() < ADDRESSES_MAX {
            self.by_address.entry(ip).or_insert_with(|| name.into());
            self.by_index.entry(index).or_insert_with(|| name.into());
        }
    }

    /// What a report calls the place where a socket is bound.
    ///
    /// An address that stands for all interfaces is written as itself, as the AWS Python agent does.
    fn of(&self, place: Place) -> Option<Box<str>> {
        if let Some(name) = self.by_index.get(&place.interface_index) {
            return Some(name.clone());
        }
        if place.ip.is_unspecified() {
            return Some(place.ip.to_string().into());
        }
        let known = self.by_address.get(&place.ip).cloned();
        // All of 127/8 is the loopback's, but only one address of it is listed as such.
        known.or_else(|| place.ip.is_loopback().then(|| "lo".into()))
    }
}

/// Where a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ip: IpAddr,
    interface_index: u32,
}

/// Listening sockets of one protocol.
#[derive(Debug)]
struct Listeners {
    seen: BTreeSet<(u16, Place)>,
    /// Those beyond the bound, doubles included.
    n_more: u64,
}

/// Counts sockets and keeps samples.
#[derive(Debug)]
pub struct Tally {
    list_max: usize,
    tcp: Listeners,
    udp: Listeners,
    connections: Sample<(SocketAddr, u16, Place)>,
}

impl Tally {
    /// Begins with nothing; lists will name at most `list_max` entries.
    pub fn new(list_max: usize) -> Self {
        let listeners = || Listeners { seen: BTreeSet::new(), n_more: 0 };
        let (tcp, udp) = (listeners(), listeners());
        Self { list_max, tcp, udp, connections: Sample::new(list_max) }
    }

    /// Takes one socket.
    pub fn add(&mut self, socket: &Socket, random: &mut fastrand::Rng) {
        let place = Place { ip: socket.local.ip(), interface_index: socket.interface_index };
        match (socket.role(), socket.protocol) {
            (Role::Listening, Protocol::Tcp) => self.tcp.add(socket.local.port(), place),
            (Role::Listening, Protocol::Udp) => self.udp.add(socket.local.port(), place),
            (Role::Connected, _) => {
                let connection = (socket.remote, socket.local.port(), place);
                self.connections.offer(connection, random);
            }
            (Role::Other, _) => {}
        }
    }

    /// Writes what was counted into a report; lists are in order, by port and by remote address.
    pub fn into_report(self, names: &Names, random: &mut fastrand::Rng, report: &mut Report) {
        report.listening_tcp_ports = Some(self.tcp.ports(self.list_max, names, random));
        report.listening_udp_ports = Some(self.udp.ports(self.list_max, names, random));
        let total = self.connections.total();
        let mut connections = self.connections.into_items();
        connections.sort_unstable();
        let connections = connections.into_iter().map(|(remote, local_port, place)| {
            let local_interface = names.of(place);
            TcpConnection { remote, local_port: Some(local_port), local_interface }
        });
        report.tcp_connections =
            Some(TcpConnections { connections: Some(connections.collect()), total });
    }
}

impl Listeners {
    fn add(&mut self, port: u16, place: Place) {
        if self.seen.len() < LISTENERS_MAX {
            // Several sockets may share a port (SO_REUSEPORT): it is one port that is open.
            self.seen.insert((port, place));
        } else {
            self.n_more += u64::from(!self.seen.contains(&(port, place)));
        }
    }

    fn ports(self, list_max: usize, names: &Names, random: &mut fastrand::Rng) -> ListeningPorts {
        let total = self.seen.len() as u64 + self.n_more;
        let mut sample = Sample::new(list_max);
        for listener in self.seen {
            sample.offer(listener, random);
        }
        let mut listeners = sample.into_items();
        listeners.sort_unstable();
        let ports = listeners
            .into_iter()
            .map(|(port, place)| ListeningPort { port, interface: names.of(place) });
        ListeningPorts { ports: Some(ports.collect()), total }
    }
}

#[cfg(test)]
mod tests;
