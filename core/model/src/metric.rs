//! What is measured.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::catalogue::{Entry, Kind, Operators, Source, WindowRule, entry};
use crate::{CustomMetricKind, CustomMetricName, Number};

/// A metric that Detect can judge.
///
/// What is true of each stands in `specs/metrics.toml` and is read from there: [`Metric::entry`].
/// Cloud-side metrics are measured by the broker, so a device cannot lie about them; device-side
/// and custom ones are what the device says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// `aws:message-byte-size`
    MessageByteSize,
    /// `aws:num-messages-sent`
    MessagesSent,
    /// `aws:num-messages-received`
    MessagesReceived,
    /// `aws:num-authorization-failures`
    AuthorizationFailures,
    /// `aws:num-connection-attempts`
    ConnectionAttempts,
    /// `aws:num-disconnects`
    Disconnects,
    /// `aws:source-ip-address`
    SourceIpAddress,
    /// `aws:disconnect-duration`
    DisconnectDuration,
    /// `aws:all-bytes-out`
    BytesOut,
    /// `aws:all-bytes-in`
    BytesIn,
    /// `aws:all-packets-out`
    PacketsOut,
    /// `aws:all-packets-in`
    PacketsIn,
    /// `aws:num-listening-tcp-ports`
    ListeningTcpPortCount,
    /// `aws:num-listening-udp-ports`
    ListeningUdpPortCount,
    /// `aws:num-established-tcp-connections`
    EstablishedTcpConnectionCount,
    /// `aws:listening-tcp-ports`
    ListeningTcpPorts,
    /// `aws:listening-udp-ports`
    ListeningUdpPorts,
    /// `aws:destination-ip-addresses`
    DestinationIpAddresses,
    /// `picket:report-missing`
    ReportMissing,
    /// `picket:bytes-out-disagrees`
    BytesOutDisagrees,
    /// A custom metric, under the name that the account gave it.
    Custom(CustomMetricName, CustomMetricKind),
}

impl Metric {
    /// All that are built in, in the order of the catalogue.
    pub const BUILT_IN: [Metric; 20] = [
        Metric::MessageByteSize,
        Metric::MessagesSent,
        Metric::MessagesReceived,
        Metric::AuthorizationFailures,
        Metric::ConnectionAttempts,
        Metric::Disconnects,
        Metric::SourceIpAddress,
        Metric::DisconnectDuration,
        Metric::BytesOut,
        Metric::BytesIn,
        Metric::PacketsOut,
        Metric::PacketsIn,
        Metric::ListeningTcpPortCount,
        Metric::ListeningUdpPortCount,
        Metric::EstablishedTcpConnectionCount,
        Metric::ListeningTcpPorts,
        Metric::ListeningUdpPorts,
        Metric::DestinationIpAddresses,
        Metric::ReportMissing,
        Metric::BytesOutDisagrees,
    ];

    /// AWS's name of the metric, or the name of the custom metric.
    pub fn as_str(&self) -> &str {
        match self {
            Self::MessageByteSize => "aws:message-byte-size",
            Self::MessagesSent => "aws:num-messages-sent",
            Self::MessagesReceived => "aws:num-messages-received",
            Self::AuthorizationFailures => "aws:num-authorization-failures",
            Self::ConnectionAttempts => "aws:num-connection-attempts",
            Self::Disconnects => "aws:num-disconnects",
            Self::SourceIpAddress => "aws:source-ip-address",
            Self::DisconnectDuration => "aws:disconnect-duration",
            Self::BytesOut => "aws:all-bytes-out",
            Self::BytesIn => "aws:all-bytes-in",
            Self::PacketsOut => "aws:all-packets-out",
            Self::PacketsIn => "aws:all-packets-in",
            Self::ListeningTcpPortCount => "aws:num-listening-tcp-ports",
            Self::ListeningUdpPortCount => "aws:num-listening-udp-ports",
            Self::EstablishedTcpConnectionCount => "aws:num-established-tcp-connections",
            Self::ListeningTcpPorts => "aws:listening-tcp-ports",
            Self::ListeningUdpPorts => "aws:listening-udp-ports",
            Self::DestinationIpAddresses => "aws:destination-ip-addresses",
            Self::ReportMissing => "picket:report-missing",
            Self::BytesOutDisagrees => "picket:bytes-out-disagrees",
            Self::Custom(name, _) => name.as_str(),
        }
    }

    /// Reads the name of a built-in metric.
    pub fn parse(text: &str) -> Option<Self> {
        Self::BUILT_IN.into_iter().find(|metric| metric.as_str() == text)
    }

    /// Its entry in the catalogue; none for a custom metric, whose kind says everything.
    pub fn entry(&self) -> Option<&'static Entry> {
        entry(self)
    }

    /// How its values come about and are judged.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Custom(_, kind) => kind.kind(),
            _ => self.entry().map_or(Kind::Count, |entry| entry.kind),
        }
    }

    /// Who measures it.
    pub fn source(&self) -> Source {
        self.entry().map_or(Source::Device, |entry| entry.source)
    }

    /// The operators that fit an absolute criteria on it.
    pub fn operators(&self) -> Operators {
        match self {
            Self::Custom(_, kind) => kind.operators(),
            _ => self.entry().map_or(Operators::Numbers, |entry| entry.operators),
        }
    }

    /// Whether an absolute criteria on it says a window length.
    pub fn window_rule(&self) -> WindowRule {
        match self {
            Self::Custom(_, CustomMetricKind::Number) => WindowRule::Optional,
            Self::Custom(..) => WindowRule::None,
            _ => self.entry().map_or(WindowRule::Optional, |entry| entry.window),
        }
    }

    /// Whether a fleet percentile can be its criteria.
    pub fn allows_percentile(&self) -> bool {
        match self {
            Self::Custom(_, kind) => *kind == CustomMetricKind::Number,
            _ => self.entry().is_some_and(|entry| entry.statistical),
        }
    }

    /// Whether an ML criteria can judge it.
    pub fn allows_learning(&self) -> bool {
        match self {
            Self::Custom(_, kind) => *kind == CustomMetricKind::Number,
            _ => self.entry().is_some_and(|entry| entry.learned),
        }
    }

    /// Whether a dimension can narrow it.
    pub fn allows_dimension(&self) -> bool {
        self.entry().is_some_and(|entry| entry.dimension)
    }

    /// What a person calls it in a sentence: "normal while *message size* <= 1,000 bytes".
    pub fn in_words(&self) -> &str {
        match self {
            Self::Custom(name, _) => name.as_str(),
            _ => self.entry().map_or("", |entry| &entry.words),
        }
    }

    /// The unit of its value, empty for lists and custom metrics.
    pub fn unit(&self) -> &'static str {
        self.entry().map_or("", |entry| &entry.unit)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A measured value. Source: aws `MetricValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricValue {
    /// A count, a size or a duration.
    Count(u64),
    /// The value of a custom number.
    Number(Number),
    /// Addresses. In a violation only those outside the normal.
    Addresses(BTreeSet<IpAddr>),
    /// Ports. In a violation only those outside the normal.
    Ports(BTreeSet<u16>),
    /// Values of a custom list of numbers. In a violation only those outside the normal.
    Numbers(BTreeSet<Number>),
    /// Values of a custom list of strings. In a violation only those outside the normal.
    Strings(BTreeSet<Box<str>>),
}
