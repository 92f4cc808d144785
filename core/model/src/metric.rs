//! What is measured.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// A metric that Detect can judge.
///
/// These eight are cloud-side: the broker measures them itself, so a device cannot lie about them.
/// Source: AWS guide "Cloud-side metrics".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Payload bytes of each message that the device publishes.
    MessageByteSize,
    /// Messages that the device published in a window.
    MessagesSent,
    /// Messages delivered to the device in a window.
    MessagesReceived,
    /// Requests of the device that its policies denied in a window.
    AuthorizationFailures,
    /// Attempts of the device to connect in a window, accepted or not.
    ConnectionAttempts,
    /// Connections of the device that ended in a window.
    Disconnects,
    /// Addresses that the device connected from.
    SourceIpAddress,
    /// Whole minutes that the device has been disconnected for.
    DisconnectDuration,
}

impl Metric {
    /// All of them, in the order of AWS's guide.
    pub const ALL: [Metric; 8] = [
        Metric::MessageByteSize,
        Metric::MessagesSent,
        Metric::MessagesReceived,
        Metric::AuthorizationFailures,
        Metric::ConnectionAttempts,
        Metric::Disconnects,
        Metric::SourceIpAddress,
        Metric::DisconnectDuration,
    ];

    /// AWS's name of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageByteSize => "aws:message-byte-size",
            Self::MessagesSent => "aws:num-messages-sent",
            Self::MessagesReceived => "aws:num-messages-received",
            Self::AuthorizationFailures => "aws:num-authorization-failures",
            Self::ConnectionAttempts => "aws:num-connection-attempts",
            Self::Disconnects => "aws:num-disconnects",
            Self::SourceIpAddress => "aws:source-ip-address",
            Self::DisconnectDuration => "aws:disconnect-duration",
        }
    }

    /// Reads AWS's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == text)
    }

    /// What a person calls it in a sentence: "normal while *message size* <= 1,000 bytes".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::MessageByteSize => "message size",
            Self::MessagesSent => "messages sent",
            Self::MessagesReceived => "messages received",
            Self::AuthorizationFailures => "authorization failures",
            Self::ConnectionAttempts => "connection attempts",
            Self::Disconnects => "disconnects",
            Self::SourceIpAddress => "source address",
            Self::DisconnectDuration => "time disconnected",
        }
    }

    /// The unit of its value, empty for addresses.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::MessageByteSize => "bytes",
            Self::MessagesSent | Self::MessagesReceived => "messages",
            Self::AuthorizationFailures => "failures",
            Self::ConnectionAttempts => "attempts",
            Self::Disconnects => "disconnects",
            Self::SourceIpAddress => "",
            Self::DisconnectDuration => "minutes",
        }
    }

    /// Whether an absolute criteria on this metric must say a window length: the metric counts
    /// something over time.
    pub const fn needs_window(self) -> bool {
        match self {
            Self::MessagesSent
            | Self::MessagesReceived
            | Self::AuthorizationFailures
            | Self::ConnectionAttempts
            | Self::Disconnects => true,
            Self::MessageByteSize | Self::SourceIpAddress | Self::DisconnectDuration => false,
        }
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
    /// Addresses. In a violation only those outside the normal.
    Addresses(BTreeSet<IpAddr>),
}
