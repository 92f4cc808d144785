//! From a report to bytes: the one table of names, two ways to write.

mod write;

use std::net::SocketAddr;

use picket_model::{
    CustomValue, ListeningPort, ListeningPorts, NetworkStats, Report, TcpConnection, TcpConnections,
};

pub(crate) use self::write::{CborWriter, JsonWriter, Writer};
use crate::fields::Field;
use crate::{Format, Names};

/// Writes a report. The same report makes the same bytes: members stand in one order.
///
/// `metrics` is always there, be it empty; sections that are `None` are left out. Whatever
/// [`decode`](crate::decode) has read is read back equal; of other reports that holds if they keep
/// to the bounds and rules that reading sets.
pub fn encode(report: &Report, format: Format, names: Names) -> Vec<u8> {
    match format {
        Format::Json => encode_with(JsonWriter::default(), report, names),
        Format::Cbor => encode_with(CborWriter::default(), report, names),
    }
}

fn encode_with<W: Writer>(writer: W, report: &Report, names: Names) -> Vec<u8> {
    let mut out = Out { writer, names };
    let has_custom = !report.custom.is_empty();
    out.writer.begin_object(2 + usize::from(has_custom));

    out.key(Field::Header);
    out.writer.begin_object(2);
    out.key(Field::ReportId);
    out.writer.whole(report.id);
    out.key(Field::Version);
    out.writer.text("1.0");
    out.writer.end_object();

    out.key(Field::Metrics);
    out.metrics(report);

    if has_custom {
        out.key(Field::CustomMetrics);
        out.custom(report);
    }
    out.writer.end_object();
    out.writer.into_bytes()
}

struct Out<W> {
    writer: W,
    names: Names,
}

impl<W: Writer> Out<W> {
    fn key(&mut self, field: Field) {
        self.writer.key(field.name(self.names));
    }

    fn metrics(&mut self, report: &Report) {
        let Report { listening_tcp_ports, listening_udp_ports, tcp_connections, network, .. } =
            report;
        let has_network = *network != NetworkStats::default();
        let n_members = usize::from(listening_tcp_ports.is_some())
            + usize::from(listening_udp_ports.is_some())
            + usize::from(tcp_connections.is_some())
            + usize::from(has_network);
        self.writer.begin_object(n_members);
        let listening = [
            (Field::ListeningTcpPorts, listening_tcp_ports),
            (Field::ListeningUdpPorts, listening_udp_ports),
        ];
        for (field, ports) in listening {
            if let Some(ports) = ports {
                self.key(field);
                self.ports(ports);
            }
        }
        if has_network {
            self.key(Field::NetworkStats);
            self.network(network);
        }
        if let Some(connections) = tcp_connections {
            self.key(Field::TcpConnections);
            self.writer.begin_object(1);
            self.key(Field::EstablishedConnections);
            self.connections(connections);
            self.writer.end_object();
        }
        self.writer.end_object();
    }

    fn ports(&mut self, ports: &ListeningPorts) {
        self.writer.begin_object(1 + usize::from(ports.ports.is_some()));
        if let Some(list) = &ports.ports {
            self.key(Field::Ports);
            self.writer.begin_list(list.len());
            for ListeningPort { port, interface } in list {
                self.writer.begin_object(1 + usize::from(interface.is_some()));
                self.key(Field::Port);
                self.writer.whole((*port).into());
                self.text_member(Field::Interface, interface.as_deref());
                self.writer.end_object();
            }
            self.writer.end_list();
        }
        self.key(Field::PortsTotal);
        self.writer.whole(ports.total);
        self.writer.end_object();
    }

    fn connections(&mut self, connections: &TcpConnections) {
        self.writer.begin_object(1 + usize::from(connections.connections.is_some()));
        if let Some(list) = &connections.connections {
            self.key(Field::Connections);
            self.writer.begin_list(list.len());
            for TcpConnection { remote, local_port, local_interface } in list {
                let n_optional =
                    usize::from(local_port.is_some()) + usize::from(local_interface.is_some());
                self.writer.begin_object(1 + n_optional);
                self.key(Field::RemoteAddr);
                // Made anew, for an IPv6 address without its zone.
                self.writer.text(&SocketAddr::new(remote.ip(), remote.port()).to_string());
                if let Some(port) = local_port {
                    self.key(Field::LocalPort);
                    self.writer.whole((*port).into());
                }
                self.text_member(Field::LocalInterface, local_interface.as_deref());
                self.writer.end_object();
            }
            self.writer.end_list();
        }
        self.key(Field::ConnectionsTotal);
        self.writer.whole(connections.total);
        self.writer.end_object();
    }

    fn network(&mut self, network: &NetworkStats) {
        let members = [
            (Field::BytesIn, network.bytes_in),
            (Field::BytesOut, network.bytes_out),
            (Field::PacketsIn, network.packets_in),
            (Field::PacketsOut, network.packets_out),
        ];
        self.writer.begin_object(members.iter().filter(|(_, value)| value.is_some()).count());
        for (field, value) in members {
            if let Some(value) = value {
                self.key(field);
                self.writer.whole(value);
            }
        }
        self.writer.end_object();
    }

    fn text_member(&mut self, field: Field, text: Option<&str>) {
        if let Some(text) = text {
            self.key(field);
            self.writer.text(text);
        }
    }

    fn custom(&mut self, report: &Report) {
        self.writer.begin_object(report.custom.len());
        for (name, value) in &report.custom {
            self.writer.key(name.as_str());
            self.writer.begin_list(1);
            self.writer.begin_object(1);
            match value {
                CustomValue::Number(number) => {
                    self.key(Field::Number);
                    self.writer.number(number.get());
                }
                CustomValue::NumberList(list) => {
                    self.list(Field::NumberList, list, |writer, number| {
                        writer.number(number.get())
                    });
                }
                CustomValue::StringList(list) => {
                    self.list(Field::StringList, list, |writer, text| writer.text(text));
                }
                CustomValue::IpList(list) => {
                    self.list(Field::IpList, list, |writer, ip| writer.text(&ip.to_string()));
                }
            }
            self.writer.end_object();
            self.writer.end_list();
        }
        self.writer.end_object();
    }

    fn list<T>(&mut self, field: Field, list: &[T], write: impl Fn(&mut W, &T)) {
        self.key(field);
        self.writer.begin_list(list.len());
        for item in list {
            write(&mut self.writer, item);
        }
        self.writer.end_list();
    }
}
