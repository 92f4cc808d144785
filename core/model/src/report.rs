//! The metrics report that a device publishes about itself.
//!
//! What stands here is what the device *says*; what the broker saw is an observation of its own.

use std::net::{IpAddr, SocketAddr};

use crate::{CustomMetricName, Number};

/// A device's metrics report, decoded and checked.
///
/// A section that the report leaves out is `None`: nothing was measured, which is not the same as
/// an empty list or a zero. Source: AWS guide "Device-side metrics", device metrics document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the device numbers its reports with: seconds, milliseconds or a counter. Meant to grow,
    /// but a reboot may make it fall.
    pub id: u64,
    /// Ports that accept TCP connections.
    pub listening_tcp_ports: Option<ListeningPorts>,
    /// Ports that accept UDP packets.
    pub listening_udp_ports: Option<ListeningPorts>,
    /// TCP connections that are open.
    pub tcp_connections: Option<TcpConnections>,
    /// What crossed the network since the report before.
    pub network: NetworkStats,
    /// Values of custom metrics, in the order of the report, each name once.
    pub custom: Vec<(CustomMetricName, CustomValue)>,
}

/// Listening ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListeningPorts {
    /// The ports that are named; agents name a sample where there are many. `None` if the report
    /// gives only the total.
    pub ports: Option<Vec<ListeningPort>>,
    /// How many there are: the report's own total, else the length of the list.
    pub total: u64,
}

/// A listening port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningPort {
    /// 1 to 65535.
    pub port: u16,
    /// The interface or address that it is bound to, if said.
    pub interface: Option<Box<str>>,
}

/// Established TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpConnections {
    /// The connections that are named; agents name a sample where there are many. `None` if the
    /// report gives only the total.
    pub connections: Option<Vec<TcpConnection>>,
    /// How many there are: the report's own total, else the length of the list.
    pub total: u64,
}

/// An established TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The other end.
    pub remote: SocketAddr,
    /// The device's own port, if said.
    pub local_port: Option<u16>,
    /// The interface that it goes through, if said.
    pub local_interface: Option<Box<str>>,
}

/// What crossed the device's network interfaces since the report before: increments, to be summed
/// over reports, never to be subtracted from each other. `None` where the report does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Bytes received.
    pub bytes_in: Option<u64>,
    /// Bytes sent.
    pub bytes_out: Option<u64>,
    /// Packets received.
    pub packets_in: Option<u64>,
    /// Packets sent.
    pub packets_out: Option<u64>,
}

/// The value of a custom metric. Source: aws `CustomMetricType`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomValue {
    /// `number`.
    Number(Number),
    /// `number_list`.
    NumberList(Vec<Number>),
    /// `string_list`.
    StringList(Vec<Box<str>>),
    /// `ip_list`.
    IpList(Vec<IpAddr>),
}
