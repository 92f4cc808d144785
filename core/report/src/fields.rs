//! The table of a report's members: what each is called and where it stands.
//!
//! Reading, writing and refusing all go by this table, so that no name is written twice.
//! Source: AWS guide "Device-side metrics", tables of the metrics document.

use crate::Names;

/// An object of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Report,
    Header,
    Metrics,
    TcpConnections,
    EstablishedConnections,
    Connection,
    ListeningPorts,
    ListeningPort,
    NetworkStats,
    CustomValue,
}

/// A member of one of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Header,
    ReportId,
    Version,
    Metrics,
    CustomMetrics,
    TcpConnections,
    EstablishedConnections,
    Connections,
    RemoteAddr,
    LocalPort,
    LocalInterface,
    ConnectionsTotal,
    ListeningTcpPorts,
    ListeningUdpPorts,
    Ports,
    PortsTotal,
    Port,
    Interface,
    NetworkStats,
    BytesIn,
    BytesOut,
    PacketsIn,
    PacketsOut,
    Number,
    NumberList,
    StringList,
    IpList,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) field: Field,
    long: &'static str,
    short: &'static str,
}

const fn row(field: Field, long: &'static str, short: &'static str) -> Row {
    Row { field, long, short }
}

impl Object {
    /// The members that the object may have.
    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Report => {
                const {
                    &[
                        row(Field::Header, "header", "hed"),
                        row(Field::Metrics, "metrics", "met"),
                        row(Field::CustomMetrics, "custom_metrics", "cmet"),
                    ]
                }
            }
            Self::Header => {
                const { &[row(Field::ReportId, "report_id", "rid"), row(Field::Version, "version", "v")] }
            }
            Self::Metrics => {
                const {
                    &[
                        row(Field::TcpConnections, "tcp_connections", "tc"),
                        row(Field::ListeningTcpPorts, "listening_tcp_ports", "tp"),
                        row(Field::ListeningUdpPorts, "listening_udp_ports", "up"),
                        row(Field::NetworkStats, "network_stats", "ns"),
                    ]
                }
            }
            Self::TcpConnections => {
                const { &[row(Field::EstablishedConnections, "established_connections", "ec")] }
            }
            Self::EstablishedConnections => {
                const {
                    &[
                        row(Field::Connections, "connections", "cs"),
                        row(Field::ConnectionsTotal, "total", "t"),
                    ]
                }
            }
            Self::Connection => {
                const {
                    &[
                        row(Field::RemoteAddr, "remote_addr", "rad"),
                        row(Field::LocalPort, "local_port", "lp"),
                        row(Field::LocalInterface, "local_interface", "li"),
                    ]
                }
            }
            Self::ListeningPorts => {
                const { &[row(Field::Ports, "ports", "pts"), row(Field::PortsTotal, "total", "t")] }
            }
            Self::ListeningPort => {
                const { &[row(Field::Port, "port", "pt"), row(Field::Interface, "interface", "if")] }
            }
            Self::NetworkStats => {
                const {
                    &[
                        row(Field::BytesIn, "bytes_in", "bi"),
                        row(Field::BytesOut, "bytes_out", "bo"),
                        row(Field::PacketsIn, "packets_in", "pi"),
                        row(Field::PacketsOut, "packets_out", "po"),
                    ]
                }
            }
            // These have no short form.
            Self::CustomValue => {
                const {
                    &[
                        row(Field::Number, "number", "number"),
                        row(Field::NumberList, "number_list", "number_list"),
                        row(Field::StringList, "string_list", "string_list"),
                        row(Field::IpList, "ip_list", "ip_list"),
                    ]
                }
            }
        }
    }

    /// The member of this object that is called so, in either spelling.
    pub(crate) fn field(self, name: &str) -> Option<Field> {
        self.rows().iter().find(|row| row.long == name || row.short == name).map(|row| row.field)
    }
}

impl Field {
    /// The object that the member belongs to.
    const fn object(self) -> Object {
        match self {
            Self::Header | Self::Metrics | Self::CustomMetrics => Object::Report,
            Self::ReportId | Self::Version => Object::Header,
            Self::TcpConnections
            | Self::ListeningTcpPorts
            | Self::ListeningUdpPorts
            | Self::NetworkStats => Object::Metrics,
            Self::EstablishedConnections => Object::TcpConnections,
            Self::Connections | Self::ConnectionsTotal => Object::EstablishedConnections,
            Self::RemoteAddr | Self::LocalPort | Self::LocalInterface => Object::Connection,
            Self::Ports | Self::PortsTotal => Object::ListeningPorts,
            Self::Port | Self::Interface => Object::ListeningPort,
            Self::BytesIn | Self::BytesOut | Self::PacketsIn | Self::PacketsOut => {
                Object::NetworkStats
            }
            Self::Number | Self::NumberList | Self::StringList | Self::IpList => {
                Object::CustomValue
            }
        }
    }

    /// What the member is called.
    pub(crate) fn name(self, names: Names) -> &'static str {
        let row = self.object().rows().iter().find(|row| row.field == self);
        // The table's test holds that every member has a row; a name that is missing shows as such.
        row.map_or("", |row| match names {
            Names::Long => row.long,
            Names::Short => row.short,
        })
    }

    /// Whether it is one of the increments of the network's counters.
    pub(crate) const fn is_increment(self) -> bool {
        matches!(self.object(), Object::NetworkStats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: [Object; 10] = [
        Object::Report,
        Object::Header,
        Object::Metrics,
        Object::TcpConnections,
        Object::EstablishedConnections,
        Object::Connection,
        Object::ListeningPorts,
        Object::ListeningPort,
        Object::NetworkStats,
        Object::CustomValue,
    ];

    #[test]
    fn every_member_is_found_by_both_its_names_in_its_own_object() {
        let mut n_rows = 0;
        for object in OBJECTS {
            for row in object.rows() {
                n_rows += 1;
                assert_eq!(row.field.object(), object);
                for names in [Names::Long, Names::Short] {
                    assert_eq!(object.field(row.field.name(names)), Some(row.field));
                }
            }
        }
        // `IpList` is the last of the members: each has a row.
        assert_eq!(n_rows, Field::IpList as usize + 1);
    }

    #[test]
    fn no_name_is_of_two_members_of_an_object() {
        for object in OBJECTS {
            let names = |row: &Row| [row.long, row.short];
            for (i, row) in object.rows().iter().enumerate() {
                for other in &object.rows()[i + 1..] {
                    assert!(names(row).iter().all(|name| !names(other).contains(name)));
                }
            }
        }
    }
}
