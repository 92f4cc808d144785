//! Observations: what the edge saw a device do. The input of the detection engine.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{ClientId, DeviceName, MetricDimension, Report, Timestamp};

/// Something the edge saw, of one device.
///
/// INVARIANT (one second): everything folded into one observation happened in one second of the
/// clock, the one that `at` lies in. Windows are whole seconds long and clock-aligned, so an
/// observation never straddles two windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it happened; of a folded fact, when the last part of it happened.
    pub at: Timestamp,
    /// Whom it is counted for.
    pub device: DeviceName,
    /// Which part of what happened is told: none tells the whole, and every message, delivery and
    /// denial is told so once. Where behaviors look at a dimension, the part of the same that lies
    /// in it is told again under the dimension's name.
    pub slice: Option<Arc<MetricDimension>>,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The device tried to connect. Where it was let in, [`Fact::Connected`] follows.
    ConnectionAttempted {
        /// Where from.
        source: IpAddr,
        /// Whether it was let in.
        accepted: bool,
    },
    /// A connection began.
    Connected {
        /// The client id it uses: one device may have several connections.
        client: ClientId,
        /// Where from.
        source: IpAddr,
    },
    /// A connection ended.
    Disconnected {
        /// The client id it used.
        client: ClientId,
        /// Why.
        reason: DisconnectReason,
    },
    /// The device published messages that were accepted, or refused for their number alone.
    Published(Published),
    /// Messages were delivered to the device.
    Received {
        /// How many.
        count: u64,
    },
    /// Requests of the device were denied by its policies.
    Denied(Denied),
    /// The device, or a gateway for it, gave a report that was accepted.
    Reported(Arc<Report>),
    /// The device, or a gateway for it, gave a report that was not accepted.
    ReportRefused {
        /// Whether an increment in it was negative: a counter ran backward.
        ran_backward: bool,
    },
}

/// Messages of one second, accepted or refused for their number alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many, at least 1.
    pub count: u64,
    /// Their payloads together, in bytes.
    pub bytes_total: u64,
    /// The smallest payload, in bytes.
    pub bytes_min: u64,
    /// The largest payload, in bytes.
    pub bytes_max: u64,
    /// When the first was received.
    pub first_at: Timestamp,
    /// When the last was received.
    pub last_at: Timestamp,
    /// Topic of the largest one.
    pub largest_topic: Arc<str>,
    /// The address that they came from.
    pub source: IpAddr,
}

/// Denied requests of one second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// How many, at least 1.
    pub count: u64,
    /// When the first was made.
    pub first_at: Timestamp,
    /// When the last was made.
    pub last_at: Timestamp,
    /// Action of the last, as policies spell it: `iot:Publish`.
    pub last_action: &'static str,
    /// What the last was for: a topic, a filter or a client id.
    pub last_resource: Arc<str>,
}

/// Why a connection ended. Source: AWS guide "Lifecycle events".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisconnectReason {
    /// The client said goodbye.
    ClientInitiated,
    /// The client broke the protocol or a limit of it.
    ClientError,
    /// The network connection was lost.
    ConnectionLost,
    /// The same client id connected again.
    DuplicateClientId,
    /// It may not do what it did, or no longer be connected at all.
    Forbidden,
    /// Its certificate is no longer active.
    AuthError,
    /// It was silent for one and a half keep-alive periods.
    KeepAliveTimeout,
    /// It passed a limit.
    Throttled,
    /// The server is stopping.
    ServerInitiated,
    /// An operator closed it.
    ApiInitiated,
}

impl DisconnectReason {
    /// AWS's spelling in lifecycle events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientInitiated => "CLIENT_INITIATED_DISCONNECT",
            Self::ClientError => "CLIENT_ERROR",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::DuplicateClientId => "DUPLICATE_CLIENTID",
            Self::Forbidden => "FORBIDDEN_ACCESS",
            Self::AuthError => "AUTH_ERROR",
            Self::KeepAliveTimeout => "MQTT_KEEP_ALIVE_TIMEOUT",
            Self::Throttled => "THROTTLED",
            Self::ServerInitiated => "SERVER_INITIATED_DISCONNECT",
            Self::ApiInitiated => "API_INITIATED_DISCONNECT",
        }
    }
}

/// The smallest limits that behaviors set on one device's metrics.
///
/// A session folds what its device does and hands it on once a second; a message or a count that
/// crosses one of these is handed on at once, so that nothing waits for the second to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tripwires {
    /// A payload larger than this many bytes violates.
    pub message_bytes: Option<u64>,
    /// More messages than this, sent in one window, violate.
    pub messages_sent: Option<u64>,
    /// More messages than this, received in one window, violate.
    pub messages_received: Option<u64>,
    /// More denied requests than this, in one window, violate.
    pub authorization_failures: Option<u64>,
}
