//! Lifecycle events: what subscribers are told of clients that come, go, subscribe and unsubscribe.
//!
//! The server publishes them itself; clients may not publish to their topics. They are messages like
//! any other: what a subscriber has no room for is dropped and counted, so a storm of connections is
//! bounded by the mailboxes of those who watch it. Without a subscriber none is made.
//! Source: AWS guide "Lifecycle events".

use std::net::IpAddr;

use bytes::Bytes;
use picket_model::{ClientId, DisconnectReason};
use picket_mqtt::TopicFilter;
use serde_json::{Value, json};

use crate::broker::Shared;
use crate::mailbox::SessionKey;
use crate::ports::Principal;

/// Topics of one event: as many as one SUBSCRIBE has at AWS. More are told in several events.
const TOPICS_PER_EVENT: usize = 8;

/// Whom an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) client: &'a ClientId,
    pub(crate) principal: &'a Principal,
    pub(crate) session: SessionKey,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened<'a> {
    /// It connected.
    Connected { source: IpAddr, version: u64 },
    /// It may not connect.
    ConnectFailed { source: IpAddr },
    /// Its connection ended; the version is that of its beginning.
    Disconnected { reason: DisconnectReason, version: u64 },
    /// It subscribed to these filters.
    Subscribed(&'a [TopicFilter]),
    /// Its subscriptions to these ended while it is connected.
    Unsubscribed(&'a [TopicFilter]),
}

impl Happened<'_> {
    /// The levels of the topic between `$aws/events/` and the client id.
    const fn levels(self) -> &'static str {
        match self {
            Self::Connected { .. } => "presence/connected",
            Self::ConnectFailed { .. } => "presence/connect_failed",
            Self::Disconnected { .. } => "presence/disconnected",
            Self::Subscribed(_) => "subscriptions/subscribed",
            Self::Unsubscribed(_) => "subscriptions/unsubscribed",
        }
    }

    const fn event_type(self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::Disconnected { .. } => "disconnected",
            Self::Subscribed(_) => "subscribed",
            Self::Unsubscribed(_) => "unsubscribed",
        }
    }
}

/// Tells whoever subscribed to it what happened to a client.
///
/// A client id with a wildcard is not told of, as at AWS: no topic can have it as its level.
pub(crate) fn tell(shared: &Shared, subject: Subject<'_>, happened: Happened<'_>) {
    match happened {
        Happened::Subscribed(filters) => {
            for filters in filters.chunks(TOPICS_PER_EVENT) {
                tell_once(shared, subject, Happened::Subscribed(filters));
            }
        }
        Happened::Unsubscribed(filters) => {
            for filters in filters.chunks(TOPICS_PER_EVENT) {
                tell_once(shared, subject, Happened::Unsubscribed(filters));
            }
        }
        Happened::Connected { .. }
        | Happened::ConnectFailed { .. }
        | Happened::Disconnected { .. } => tell_once(shared, subject, happened),
    }
}

fn tell_once(shared: &Shared, subject: Subject<'_>, happened: Happened<'_>) {
    let topic = format!("$aws/events/{}/{}", happened.levels(), subject.client);
    shared.publish_event(&topic, || {
        let at = (shared.clock)().as_millis();
        Bytes::from(payload(subject, happened, shared.run, at).to_string())
    });
}

/// The event in JSON; `at` is in milliseconds since the epoch.
fn payload(subject: Subject<'_>, happened: Happened<'_>, run: u64, at: i64) -> Value {
    let Subject { client, principal, session } = subject;
    let principal = match principal {
        Principal::Certificate(id) => id.as_str(),
        // Nobody proved to be anybody: the policy is all that there is.
        Principal::Anonymous { policy } => policy.as_str(),
    };
    let mut event = json!({
        "clientId": client.as_str(),
        "timestamp": at,
        "eventType": happened.event_type(),
        "sessionIdentifier": session_identifier(run, session),
        "principalIdentifier": principal,
    });
    let texts = |filters: &[TopicFilter]| filters.iter().map(|it| it.as_str()).collect::<Value>();
    match happened {
        Happened::Connected { source, version } => {
            event["ipAddress"] = json!(source);
            event["versionNumber"] = json!(version);
        }
        Happened::ConnectFailed { source } => {
            event["ipAddress"] = json!(source);
            event["connectFailureReason"] = json!("AUTHORIZATION_FAILED");
        }
        Happened::Disconnected { reason, version } => {
            event["clientInitiatedDisconnect"] = json!(reason == DisconnectReason::ClientInitiated);
            event["disconnectReason"] = json!(reason.as_str());
            event["versionNumber"] = json!(version);
        }
        Happened::Subscribed(filters) | Happened::Unsubscribed(filters) => {
            event["topics"] = texts(filters);
        }
    }
    event
}

/// A session's id in the form of a UUID: the server's run and the session within it.
fn session_identifier(run: u64, SessionKey(session): SessionKey) -> String {
    let (run, session) = (format!("{run:016x}"), format!("{session:016x}"));
    let [a, b, c] = [&run[..8], &run[8..12], &run[12..]];
    format!("{a}-{b}-{c}-{}-{}", &session[..4], &session[4..])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use picket_model::CertificateId;
    use picket_mqtt::TopicLimits;

    use super::*;

    fn shown(happened: Happened<'_>) -> String {
        let subject = Subject {
            client: &ClientId::parse("pump \"7\"/a").unwrap(),
            principal: &Principal::Certificate(CertificateId::parse("0a".repeat(32)).unwrap()),
            session: SessionKey(0x0123_4567_89ab_cdef),
        };
        let event = payload(subject, happened, 0xfedc_ba98_7654_3210, 1_573_002_230_757);
        serde_json::to_string_pretty(&event).unwrap()
    }

    #[test]
    fn events_have_the_members_that_aws_documents() {
        let limits = TopicLimits { bytes_max: 99, levels_max: 9 };
        let filters = ["a/+", "$share/g/b/#"].map(|it| TopicFilter::parse(it, &limits).unwrap());
        let source = [192, 0, 2, 7].into();
        let reason = DisconnectReason::KeepAliveTimeout;
        let events = [
            Happened::Connected { source, version: 3 },
            Happened::ConnectFailed { source },
            Happened::Disconnected { reason, version: 3 },
            Happened::Disconnected { reason: DisconnectReason::ClientInitiated, version: 3 },
            Happened::Subscribed(&filters),
            Happened::Unsubscribed(&filters[..1]),
        ];
        assert_snapshot!(events.map(shown).join("\n"));
    }
}
