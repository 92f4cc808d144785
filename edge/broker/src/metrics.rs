//! What the broker counts, in Prometheus's form. Labels come from closed sets.

use std::sync::atomic::AtomicU64;

use picket_model::DisconnectReason;
use picket_policy::Action;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::journal::writer::JournalMetrics;

/// The counters of one broker.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Open connections, from the first byte on.
    pub(crate) connections: Gauge,
    /// Connections that were let in.
    pub(crate) admitted: Counter,
    /// Connections that were not let in.
    pub(crate) refused: Family<RefusedLabel, Counter>,
    /// Connections that ended after they had been let in.
    pub(crate) disconnected: Family<DisconnectLabel, Counter>,
    /// What broke the protocol or a limit; most of it closes the connection.
    pub(crate) protocol_errors: Family<BrokenLabel, Counter>,
    /// Packets from clients.
    pub(crate) packets_in: Counter,
    /// Accepted messages from clients.
    pub(crate) messages_in: Counter,
    /// Their payloads.
    pub(crate) message_bytes_in: Counter,
    /// Messages to clients.
    pub(crate) messages_out: Counter,
    /// Requests denied by policy.
    pub(crate) denied: Family<ActionLabel, Counter>,
    /// Reports, by what came of them.
    pub(crate) reports: Family<ReportedLabel, Counter>,
    /// Messages by HTTPS, by what came of them.
    pub(crate) posted: Family<PostedLabel, Counter>,
    /// Values that accepted reports lost.
    pub(crate) report_values_lost: Counter,
    /// Messages not delivered.
    pub(crate) dropped: Family<DroppedLabel, Counter>,
    /// Retained messages.
    pub(crate) retained: Gauge<i64>,
    /// Payload bytes of retained messages.
    pub(crate) retained_bytes: Gauge<u64, AtomicU64>,
    /// Sessions kept for absent clients.
    pub(crate) sessions_kept: Gauge,
    /// Clients that were told that their session ends with their connection, for want of room.
    pub(crate) sessions_not_kept: Counter,
    /// Reserved for what waits for clients.
    pub(crate) queues_bytes: Gauge<u64, AtomicU64>,
    /// Filters not subscribed to for want of room.
    pub(crate) subscriptions_refused: Family<NoRoomLabel, Counter>,
    /// Wills sent before their delay was over.
    pub(crate) wills_hurried: Counter,
    /// Sessions of before that did not go on.
    pub(crate) sessions_lost: Family<SessionLostLabel, Counter>,
    /// What sessions are promised, on its way to the disk.
    pub(crate) journal: JournalMetrics,
}

/// A label `action` as policies spell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ActionLabel {
    action: &'static str,
}

/// A label `reason` as lifecycle events spell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DisconnectLabel {
    reason: &'static str,
}

macro_rules! reasons {
    ($(#[$doc:meta])* $type:ident in $label:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        /// A label `reason` from this closed set.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $label {
            reason: &'static str,
        }

        impl $type {
            /// The label's value.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            const fn label(self) -> $label {
                $label { reason: self.as_str() }
            }
        }
    };
}

reasons!(
    /// Why a connection was not let in.
    Refused in RefusedLabel {
        /// As many connections as are allowed are open.
        TooMany = "too_many_connections",
        /// The TLS handshake failed.
        Handshake = "handshake",
        /// Too many connections from its address have not introduced themselves.
        HalfOpen = "half_open",
        /// Handshake and CONNECT took too long.
        Timeout = "timeout",
        /// The connection was lost before CONNECT was answered.
        Lost = "lost",
        /// The first packet was malformed or no CONNECT.
        Malformed = "malformed",
        /// A protocol version that is not spoken here.
        Version = "version",
        /// A client id that is not acceptable.
        ClientId = "client_id",
        /// A will that is not acceptable.
        Will = "will",
        /// A will at a QoS that is not spoken here.
        WillQos = "will_qos",
        /// Extended authentication was asked for.
        AuthenticationMethod = "authentication_method",
        /// A TLS client without a certificate.
        NoCertificate = "no_certificate",
        /// The certificate is not registered.
        UnknownCertificate = "unknown_certificate",
        /// The certificate is registered but not active.
        InactiveCertificate = "inactive_certificate",
        /// The certificate's issuer has revoked it.
        RevokedCertificate = "revoked_certificate",
        /// The certificate is outside its validity.
        ExpiredCertificate = "expired_certificate",
        /// The policies deny iot:Connect.
        Denied = "denied",
        /// There is no room for another session that outlives its connection.
        SessionsFull = "sessions_full",
        /// An HTTP request that is neither for a WebSocket nor a message.
        Request = "http_request",
        /// An HTTP request of a web page whose origin is not let in.
        Origin = "origin",
        /// The registry cannot be read.
        Unavailable = "registry_unavailable",
        /// The server is stopping.
        Stopping = "stopping",
    }
);

reasons!(
    /// What came of a report.
    Reported in ReportedLabel {
        /// It was taken.
        Accepted = "accepted",
        /// It could not be read.
        Refused = "refused",
        /// It came too soon.
        TooSoon = "too_soon",
        /// Who gave it may not.
        Denied = "denied",
        /// It was to be retained.
        Retained = "retained",
    }
);

reasons!(
    /// What came of a message by HTTPS.
    Posted in PostedLabel {
        /// It was published.
        Published = "published",
        /// The policies deny it.
        Denied = "denied",
        /// Who sent it may publish nothing.
        Forbidden = "forbidden",
        /// Something in the request is not as it must be.
        Invalid = "invalid",
        /// The payload is too large.
        TooLarge = "too_large",
        /// The payload did not come in time.
        Slow = "slow",
        /// The connection publishes faster than it may.
        TooFast = "too_fast",
        /// The registry cannot be read.
        Unavailable = "registry_unavailable",
    }
);

reasons!(
    /// Why a message was not delivered.
    Dropped in DroppedLabel {
        /// As much waits for the client as is allowed.
        QueueFull = "queue_full",
        /// As much waits for all clients together as is allowed.
        AllQueuesFull = "all_queues_full",
        /// The policies deny iot:Receive.
        ReceiveDenied = "receive_denied",
        /// It expired while it waited.
        Expired = "expired",
        /// The client does not take packets of its size.
        TooLarge = "too_large",
        /// Its client publishes faster than it may.
        TooFast = "too_fast",
        /// The session ended while it waited.
        SessionEnded = "session_ended",
        /// There is no room for another retained message.
        RetainedFull = "retained_full",
        /// The publisher's right to the retained message is gone.
        RetainedDenied = "retained_denied",
        /// The policies deny the will of a client that went.
        WillDenied = "will_denied",
    }
);

reasons!(
    /// Why a filter was not subscribed to though it is allowed.
    NoRoom in NoRoomLabel {
        /// The session has as many as it may have.
        Session = "session_full",
        /// All sessions together have as many as they may have.
        All = "all_full",
        /// The packet has more filters than it may have.
        Packet = "packet_full",
    }
);

reasons!(
    /// Why a session did not go on when the server started.
    SessionLost in SessionLostLabel {
        /// What is stored of it cannot be read.
        Unreadable = "unreadable",
        /// As many sessions are kept as may be.
        NoRoom = "no_room",
    }
);

reasons!(
    /// How a client broke the protocol or a limit.
    Broken in BrokenLabel {
        /// The bytes are no acceptable packet.
        Malformed = "malformed",
        /// A packet at the wrong time or with the wrong content.
        Protocol = "protocol",
        /// A topic name that is not acceptable.
        TopicName = "topic_name",
        /// A topic filter that is not acceptable.
        TopicFilter = "topic_filter",
        /// A topic alias outside what was agreed.
        TopicAlias = "topic_alias",
        /// More unacknowledged publishes than agreed.
        ReceiveMaximum = "receive_maximum",
        /// A QoS that is not spoken here.
        Qos = "qos",
        /// A payload or packet over the limit.
        TooLarge = "too_large",
        /// Silence beyond the keep-alive.
        KeepAlive = "keep_alive",
    }
);

impl Metrics {
    /// Starts at zero and shows the counters under `picket_mqtt_` in the registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("picket_mqtt");
        let m = &metrics;
        registry.register("connections", "Open connections", m.connections.clone());
        registry.register("connections_admitted", "Connections let in", m.admitted.clone());
        registry.register("connections_refused", "Connections not let in", m.refused.clone());
        registry.register("disconnects", "Connections ended", m.disconnected.clone());
        registry.register(
            "protocol_errors",
            "Packets that broke the protocol or a limit; most of them close the connection",
            m.protocol_errors.clone(),
        );
        registry.register("packets_in", "Packets from clients", m.packets_in.clone());
        registry.register("messages_in", "Messages accepted", m.messages_in.clone());
        registry.register("message_bytes_in", "Their payloads", m.message_bytes_in.clone());
        registry.register("messages_out", "Messages to clients", m.messages_out.clone());
        registry.register("denied", "Requests denied by policy", m.denied.clone());
        registry.register("reports", "Reports of devices", m.reports.clone());
        registry.register("https_publishes", "Messages by HTTPS", m.posted.clone());
        registry.register(
            "report_values_lost",
            "Values of custom metrics left out of accepted reports because they break the rules",
            m.report_values_lost.clone(),
        );
        registry.register("dropped", "Messages not delivered", m.dropped.clone());
        registry.register("retained", "Retained messages", m.retained.clone());
        registry.register(
            "retained_bytes",
            "Memory of retained messages",
            m.retained_bytes.clone(),
        );
        registry.register("sessions_kept", "Sessions of absent clients", m.sessions_kept.clone());
        registry.register(
            "sessions_not_kept",
            "Clients told that their session ends with their connection, for want of room",
            m.sessions_not_kept.clone(),
        );
        registry.register(
            "queues_bytes",
            "Memory reserved for what waits for clients",
            m.queues_bytes.clone(),
        );
        registry.register(
            "subscriptions_refused",
            "Filters not subscribed to for want of room",
            m.subscriptions_refused.clone(),
        );
        registry.register(
            "wills_hurried",
            "Wills sent before their delay was over, for want of room",
            m.wills_hurried.clone(),
        );
        registry.register(
            "sessions_lost",
            "Sessions of before that did not go on when the server started",
            m.sessions_lost.clone(),
        );
        let journal = registry.sub_registry_with_prefix("journal");
        let JournalMetrics { commits, failures, is_failing, bytes } = &m.journal;
        journal.register("commits", "Batches of changes of sessions stored", commits.clone());
        journal.register("failures", "Attempts to store one that failed", failures.clone());
        journal.register("failing", "1 while sessions cannot be stored", is_failing.clone());
        journal.register("bytes", "Memory of what waits to be stored", bytes.clone());
        metrics
    }

    pub(crate) fn refuse_subscription(&self, reason: NoRoom) {
        self.subscriptions_refused.get_or_create(&reason.label()).inc();
    }

    pub(crate) fn lose_session(&self, reason: SessionLost) {
        self.sessions_lost.get_or_create(&reason.label()).inc();
    }

    pub(crate) fn refuse(&self, reason: Refused) {
        self.refused.get_or_create(&reason.label()).inc();
    }

    pub(crate) fn count_protocol_error(&self, reason: Broken) {
        self.protocol_errors.get_or_create(&reason.label()).inc();
    }

    pub(crate) fn disconnect(&self, reason: DisconnectReason) {
        self.disconnected.get_or_create(&DisconnectLabel { reason: reason.as_str() }).inc();
    }

    pub(crate) fn deny(&self, action: Action) {
        self.denied.get_or_create(&ActionLabel { action: action.as_str() }).inc();
    }

    pub(crate) fn report(&self, outcome: Reported) {
        self.reports.get_or_create(&outcome.label()).inc();
    }

    pub(crate) fn post(&self, outcome: Posted) {
        self.posted.get_or_create(&outcome.label()).inc();
    }

    pub(crate) fn drop_message(&self, reason: Dropped) {
        self.drop_messages(reason, 1);
    }

    pub(crate) fn drop_messages(&self, reason: Dropped, count: usize) {
        if count > 0 {
            self.dropped.get_or_create(&reason.label()).inc_by(count as u64);
        }
    }
}
