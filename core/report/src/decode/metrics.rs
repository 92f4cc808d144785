//! The report's own objects.

use picket_model::{
    ListeningPort, ListeningPorts, NetworkStats, Report, TcpConnection, TcpConnections,
};
use serde::de::MapAccess;

use super::custom::CustomMetrics;
use super::object::{Members, Object, Value};
use super::read::List;
use super::scalar::{AnyPort, Count, Interface, RealPort, Remote, Version};
use crate::fields::{self, Field};
use crate::limits::{CONNECTIONS_MAX, PORTS_MAX};
use crate::refusal::Fault;

type Finish<T> = Result<T, (Option<Field>, Fault)>;

/// The report itself.
#[derive(Default)]
pub(super) struct Whole {
    report: Report,
    has_header: bool,
    has_metrics: bool,
}

impl<'de> Members<'de> for Whole {
    type Out = Report;
    const OBJECT: fields::Object = fields::Object::Report;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::Header => {
                if let Some(id) = value.get::<Object<Header>>()? {
                    self.report.id = id;
                    self.has_header = true;
                }
            }
            Field::Metrics => {
                if let Some(metrics) = value.get::<Object<Metrics>>()? {
                    self.report.listening_tcp_ports = metrics.listening_tcp_ports;
                    self.report.listening_udp_ports = metrics.listening_udp_ports;
                    self.report.tcp_connections = metrics.tcp_connections;
                    self.report.network = metrics.network;
                    self.has_metrics = true;
                }
            }
            Field::CustomMetrics => {
                if let Some(custom) = value.get::<CustomMetrics>()? {
                    self.report.custom = custom;
                    self.has_metrics = true;
                }
            }
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<Report> {
        if !self.has_header {
            return Err((Some(Field::Header), Fault::Missing));
        }
        if !self.has_metrics {
            return Err((None, Fault::NothingReported));
        }
        Ok(self.report)
    }
}

/// The report, of which only the id is wanted: whatever else is wrong was said before.
#[derive(Default)]
pub(super) struct IdOnly;

impl<'de> Members<'de> for IdOnly {
    type Out = ();
    const OBJECT: fields::Object = fields::Object::Report;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::Header => value.get::<Object<Header>>().map(|_| ()),
            _ => value.skip(),
        }
    }

    fn finish(self) -> Finish<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Header {
    id: Option<u64>,
    has_version: bool,
}

impl<'de> Members<'de> for Header {
    type Out = u64;
    const OBJECT: fields::Object = fields::Object::Header;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::ReportId => {
                self.id = value.get::<Count>()?;
                value.context.report_id = self.id;
            }
            Field::Version => self.has_version = value.get::<Version>()?.is_some(),
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<u64> {
        let id = self.id.ok_or((Some(Field::ReportId), Fault::Missing))?;
        if !self.has_version {
            return Err((Some(Field::Version), Fault::Missing));
        }
        Ok(id)
    }
}

#[derive(Default)]
struct Metrics {
    listening_tcp_ports: Option<ListeningPorts>,
    listening_udp_ports: Option<ListeningPorts>,
    tcp_connections: Option<TcpConnections>,
    network: NetworkStats,
}

impl<'de> Members<'de> for Metrics {
    type Out = Self;
    const OBJECT: fields::Object = fields::Object::Metrics;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::ListeningTcpPorts => {
                self.listening_tcp_ports = value.get::<Object<Listening>>()?.flatten();
            }
            Field::ListeningUdpPorts => {
                self.listening_udp_ports = value.get::<Object<Listening>>()?.flatten();
            }
            Field::TcpConnections => {
                self.tcp_connections = value.get::<Object<Tcp>>()?.flatten();
            }
            Field::NetworkStats => {
                self.network = value.get::<Object<Network>>()?.unwrap_or_default();
            }
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<Self> {
        Ok(self)
    }
}

/// What a list and its total say together; `None` if neither is given.
fn list_and_total<T, S>(
    list: Option<Vec<T>>,
    total: Option<u64>,
    section: impl FnOnce(Option<Vec<T>>, u64) -> S,
) -> Option<S> {
    // Lists are samples where there are many, so the total is what counts; some agents' lists are
    // longer than their totals, which is a fault of theirs but no reason to lose the report.
    let total = total.or_else(|| list.as_ref().map(|list| list.len() as u64))?;
    Some(section(list, total))
}

#[derive(Default)]
struct Listening {
    ports: Option<Vec<ListeningPort>>,
    total: Option<u64>,
}

impl<'de> Members<'de> for Listening {
    type Out = Option<ListeningPorts>;
    const OBJECT: fields::Object = fields::Object::ListeningPorts;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::Ports => self.ports = value.get::<List<Object<PortItem>, PORTS_MAX>>()?,
            Field::PortsTotal => self.total = value.get::<Count>()?,
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<Self::Out> {
        let section = |ports, total| ListeningPorts { ports, total };
        Ok(list_and_total(self.ports, self.total, section))
    }
}

#[derive(Default)]
struct PortItem {
    port: Option<u16>,
    interface: Option<Box<str>>,
}

impl<'de> Members<'de> for PortItem {
    type Out = ListeningPort;
    const OBJECT: fields::Object = fields::Object::ListeningPort;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::Port => self.port = value.get::<RealPort>()?,
            Field::Interface => self.interface = value.get::<Interface>()?,
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<ListeningPort> {
        let port = self.port.ok_or((Some(Field::Port), Fault::Missing))?;
        Ok(ListeningPort { port, interface: self.interface })
    }
}

#[derive(Default)]
struct Tcp {
    established: Option<TcpConnections>,
}

impl<'de> Members<'de> for Tcp {
    type Out = Option<TcpConnections>;
    const OBJECT: fields::Object = fields::Object::TcpConnections;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::EstablishedConnections => {
                self.established = value.get::<Object<Established>>()?.flatten();
            }
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<Self::Out> {
        Ok(self.established)
    }
}

#[derive(Default)]
struct Established {
    connections: Option<Vec<TcpConnection>>,
    total: Option<u64>,
}

impl<'de> Members<'de> for Established {
    type Out = Option<TcpConnections>;
    const OBJECT: fields::Object = fields::Object::EstablishedConnections;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::Connections => {
                self.connections = value.get::<List<Object<ConnectionItem>, CONNECTIONS_MAX>>()?;
            }
            Field::ConnectionsTotal => self.total = value.get::<Count>()?,
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<Self::Out> {
        let section = |connections, total| TcpConnections { connections, total };
        Ok(list_and_total(self.connections, self.total, section))
    }
}

#[derive(Default)]
struct ConnectionItem {
    remote: Option<std::net::SocketAddr>,
    local_port: Option<u16>,
    local_interface: Option<Box<str>>,
}

impl<'de> Members<'de> for ConnectionItem {
    type Out = TcpConnection;
    const OBJECT: fields::Object = fields::Object::Connection;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::RemoteAddr => self.remote = value.get::<Remote>()?,
            Field::LocalPort => self.local_port = value.get::<AnyPort>()?,
            Field::LocalInterface => self.local_interface = value.get::<Interface>()?,
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<TcpConnection> {
        let remote = self.remote.ok_or((Some(Field::RemoteAddr), Fault::Missing))?;
        let (local_port, local_interface) = (self.local_port, self.local_interface);
        Ok(TcpConnection { remote, local_port, local_interface })
    }
}

#[derive(Default)]
struct Network(NetworkStats);

impl<'de> Members<'de> for Network {
    type Out = NetworkStats;
    const OBJECT: fields::Object = fields::Object::NetworkStats;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match field {
            Field::BytesIn => self.0.bytes_in = value.get::<Count>()?,
            Field::BytesOut => self.0.bytes_out = value.get::<Count>()?,
            Field::PacketsIn => self.0.packets_in = value.get::<Count>()?,
            Field::PacketsOut => self.0.packets_out = value.get::<Count>()?,
            _ => value.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Finish<NetworkStats> {
        Ok(self.0)
    }
}
