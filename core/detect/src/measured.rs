//! What was measured, as it is judged: a number, or the elements of a list.

use std::collections::BTreeSet;
use std::net::IpAddr;

use picket_model::{
    Comparison, CustomMetricKind, CustomValue, ListeningPort, ListeningPorts, Metric, MetricValue,
    Number, Quantity, Report, SetOperator, TcpConnection, TcpConnections, ValueSet,
};

/// A measured value, borrowed from where it was measured: nothing is copied to judge it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measured<'a> {
    /// One number.
    Quantity(Quantity),
    /// Addresses.
    Addresses(&'a [IpAddr]),
    /// Listening ports.
    Ports(&'a [ListeningPort]),
    /// Connections, of which the addresses at the other end count.
    Destinations(&'a [TcpConnection]),
    /// Numbers of a custom metric.
    Numbers(&'a [Number]),
    /// Strings of a custom metric.
    Strings(&'a [Box<str>]),
}

/// One element of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Element<'a> {
    /// An address.
    Address(IpAddr),
    /// A port.
    Port(u16),
    /// A number.
    Number(Number),
    /// A string.
    String(&'a str),
}

impl<'a> Measured<'a> {
    /// A count.
    pub(crate) fn count(count: u64) -> Self {
        Self::Quantity(Quantity::Count(count))
    }

    /// What a report says of a device-side or custom metric; `None` if it says nothing.
    ///
    /// A list that is left out is empty where the report says that there are none.
    pub(crate) fn of_report(metric: &Metric, report: &'a Report) -> Option<Self> {
        let network = &report.network;
        match metric {
            Metric::BytesOut => network.bytes_out.map(Self::count),
            Metric::BytesIn => network.bytes_in.map(Self::count),
            Metric::PacketsOut => network.packets_out.map(Self::count),
            Metric::PacketsIn => network.packets_in.map(Self::count),
            Metric::ListeningTcpPortCount => {
                report.listening_tcp_ports.as_ref().map(|ports| Self::count(ports.total))
            }
            Metric::ListeningUdpPortCount => {
                report.listening_udp_ports.as_ref().map(|ports| Self::count(ports.total))
            }
            Metric::EstablishedTcpConnectionCount => {
                report.tcp_connections.as_ref().map(|connections| Self::count(connections.total))
            }
            Metric::ListeningTcpPorts => ports(report.listening_tcp_ports.as_ref()?),
            Metric::ListeningUdpPorts => ports(report.listening_udp_ports.as_ref()?),
            Metric::DestinationIpAddresses => destinations(report.tcp_connections.as_ref()?),
            Metric::Custom(name, kind) => {
                let (_, value) = report.custom.iter().find(|(found, _)| found == name)?;
                custom(*kind, value)
            }
            Metric::MessageByteSize
            | Metric::MessagesSent
            | Metric::MessagesReceived
            | Metric::AuthorizationFailures
            | Metric::ConnectionAttempts
            | Metric::Disconnects
            | Metric::SourceIpAddress
            | Metric::DisconnectDuration
            | Metric::ReportMissing
            | Metric::BytesOutDisagrees => None,
        }
    }

    /// The number, if it is one.
    pub(crate) fn quantity(self) -> Option<Quantity> {
        match self {
            Self::Quantity(quantity) => Some(quantity),
            Self::Addresses(_)
            | Self::Ports(_)
            | Self::Destinations(_)
            | Self::Numbers(_)
            | Self::Strings(_) => None,
        }
    }

    /// Whether it is a list without elements.
    pub(crate) fn is_empty_list(self) -> bool {
        match self {
            Self::Quantity(_) => false,
            Self::Addresses(list) => list.is_empty(),
            Self::Ports(list) => list.is_empty(),
            Self::Destinations(list) => list.is_empty(),
            Self::Numbers(list) => list.is_empty(),
            Self::Strings(list) => list.is_empty(),
        }
    }

    /// The elements of a list, in their order; none of a number.
    pub(crate) fn elements(self) -> impl Iterator<Item = Element<'a>> {
        let (mut addresses, mut ports, mut destinations, mut numbers) =
            (&[][..], &[][..], &[][..], &[][..]);
        let mut strings: &[Box<str>] = &[];
        match self {
            Self::Quantity(_) => {}
            Self::Addresses(list) => addresses = list,
            Self::Ports(list) => ports = list,
            Self::Destinations(list) => destinations = list,
            Self::Numbers(list) => numbers = list,
            Self::Strings(list) => strings = list,
        }
        let addresses = addresses.iter().map(|&address| Element::Address(address));
        let ports = ports.iter().map(|listening: &ListeningPort| Element::Port(listening.port));
        let destinations = destinations
            .iter()
            .map(|it: &TcpConnection| Element::Address(it.remote.ip().to_canonical()));
        let numbers = numbers.iter().map(|&number| Element::Number(number));
        let strings = strings.iter().map(|string| Element::String(string));
        addresses.chain(ports).chain(destinations).chain(numbers).chain(strings)
    }

    /// The value of a datapoint, with all elements.
    pub(crate) fn to_value(self) -> MetricValue {
        self.value_of(|_| true)
    }

    /// The value with those elements that violate the criteria, or with all of them if none does.
    pub(crate) fn judged_value(self, comparison: &Comparison, violates: bool) -> MetricValue {
        self.value_of(|element| !violates || offends(comparison, element))
    }

    fn value_of(self, keep: impl Fn(Element<'_>) -> bool) -> MetricValue {
        let kept = || self.elements().filter(|element| keep(*element));
        match self {
            Self::Quantity(quantity) => quantity.into(),
            Self::Addresses(_) | Self::Destinations(_) => {
                MetricValue::Addresses(kept().filter_map(Element::address).collect())
            }
            Self::Ports(_) => MetricValue::Ports(kept().filter_map(Element::port).collect()),
            Self::Numbers(_) => MetricValue::Numbers(kept().filter_map(Element::number).collect()),
            Self::Strings(_) => {
                let strings: BTreeSet<Box<str>> =
                    kept().filter_map(Element::string).map(Box::from).collect();
                MetricValue::Strings(strings)
            }
        }
    }
}

impl<'a> Element<'a> {
    fn address(self) -> Option<IpAddr> {
        if let Self::Address(address) = self { Some(address) } else { None }
    }

    fn port(self) -> Option<u16> {
        if let Self::Port(port) = self { Some(port) } else { None }
    }

    fn number(self) -> Option<Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn string(self) -> Option<&'a str> {
        if let Self::String(string) = self { Some(string) } else { None }
    }
}

fn ports(ports: &ListeningPorts) -> Option<Measured<'_>> {
    match &ports.ports {
        Some(list) => Some(Measured::Ports(list)),
        None => (ports.total == 0).then_some(Measured::Ports(&[])),
    }
}

fn destinations(connections: &TcpConnections) -> Option<Measured<'_>> {
    match &connections.connections {
        Some(list) => Some(Measured::Destinations(list)),
        None => (connections.total == 0).then_some(Measured::Destinations(&[])),
    }
}

/// The value of a custom metric; `None` if the device gives another kind than the metric has.
fn custom(kind: CustomMetricKind, value: &CustomValue) -> Option<Measured<'_>> {
    match (kind, value) {
        (CustomMetricKind::Number, CustomValue::Number(number)) => {
            Some(Measured::Quantity(Quantity::Number(*number)))
        }
        (CustomMetricKind::NumberList, CustomValue::NumberList(list)) => {
            Some(Measured::Numbers(list))
        }
        (CustomMetricKind::StringList, CustomValue::StringList(list)) => {
            Some(Measured::Strings(list))
        }
        (CustomMetricKind::IpAddressList, CustomValue::IpList(list)) => {
            Some(Measured::Addresses(list))
        }
        (
            CustomMetricKind::Number
            | CustomMetricKind::NumberList
            | CustomMetricKind::StringList
            | CustomMetricKind::IpAddressList,
            CustomValue::Number(_)
            | CustomValue::NumberList(_)
            | CustomValue::StringList(_)
            | CustomValue::IpList(_),
        ) => None,
    }
}

/// Whether an element is outside the normal. No element is outside of what is no set of its kind.
///
/// An IPv4 address that came over an IPv6 socket (`::ffff:10.0.0.1`) is the IPv4 address.
pub(crate) fn offends(comparison: &Comparison, element: Element<'_>) -> bool {
    let Comparison::Set(operator, set) = comparison else { return false };
    let is_in = match (set, element) {
        (ValueSet::Cidrs(nets), Element::Address(address)) => {
            let address = address.to_canonical();
            nets.iter().any(|net| net.contains(&address))
        }
        (ValueSet::Ports(ports), Element::Port(port)) => ports.contains(&port),
        (ValueSet::Numbers(numbers), Element::Number(number)) => numbers.contains(&number),
        (ValueSet::Strings(strings), Element::String(string)) => strings.contains(string),
        (
            ValueSet::Cidrs(_) | ValueSet::Ports(_) | ValueSet::Numbers(_) | ValueSet::Strings(_),
            Element::Address(_) | Element::Port(_) | Element::Number(_) | Element::String(_),
        ) => return false,
    };
    is_in == (*operator == SetOperator::NotIn)
}
