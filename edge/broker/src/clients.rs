//! What is remembered of clients by their ids: how often they connected, and how they stand.
//!
//! Sessions say who is connected and whose session is kept. What operators and the subscribers of
//! lifecycle events are told besides is here, for a while after a client has gone too.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_model::limits::AWAY_CLIENTS_MAX;
use picket_model::{ClientId, DisconnectReason, ThingName, Timestamp};

/// How long the count of an absent client's connections is remembered, in milliseconds; that of a
/// kept session for as long as the session, if that is longer. Source: AWS guide "Lifecycle events",
/// `versionNumber`.
const REMEMBERED_MS: i64 = 3_600_000;

/// How long it is told why a client went, in milliseconds. Source: aws iot-data GetConnection,
/// `disconnectedSince`.
const FAREWELL_TOLD_MS: i64 = 30 * 60_000;

/// How a client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// Whether it is connected, and since when.
    pub status: ConnectionStatus,
    /// Whether its session outlives its connection.
    pub is_persistent: bool,
    /// What is known of its connection, or of its last one; nothing of a session that was kept from
    /// before the server's start.
    pub details: Option<ConnectionDetails>,
}

/// Whether a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It is.
    Connected {
        /// When it came.
        since: Timestamp,
    },
    /// It is not; what is left of it, half an hour ago at most.
    Away(Option<Farewell>),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: DisconnectReason,
}

/// What a connection was begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDetails {
    /// The thing that it was counted for when it began, if its certificate is attached to it.
    pub thing: Option<ThingName>,
    /// Seconds that the session outlives the connection; 0 means not at all.
    pub session_expiry_s: u32,
    /// Keep-alive in seconds, never 0.
    pub keep_alive_s: u16,
    /// Where it came from.
    pub source: SocketAddr,
    /// The address of ours that it reached, where the socket could tell.
    pub target: Option<SocketAddr>,
}

/// All clients that are connected, and those that went a while ago.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In boxes: of a table's places half may be empty.
    known: HashMap<ClientId, Box<Known>>,
    /// When absent ones are forgotten.
    away: BTreeSet<(Timestamp, ClientId)>,
}

#[derive(Debug)]
struct Known {
    /// Of its connection, or of its last one.
    version: u64,
    record: ConnectionRecord,
    away: Option<Away>,
}

/// Of a client that is not connected, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: Timestamp,
    forgotten_at: Timestamp,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection began at `at`; gives its number among those of its client, from 0 on.
    ///
    /// `now` is of the monotonic clock, here and below.
    pub(crate) fn connected(
        &self,
        client: &ClientId,
        details: ConnectionDetails,
        at: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let mut inner = self.lock();
        inner.forget(now);
        let version = inner.remove(client).map_or(0, |known| known.version + 1);
        let record = ConnectionRecord {
            status: ConnectionStatus::Connected { since: at },
            is_persistent: details.session_expiry_s > 0,
            details: Some(details),
        };
        let known = Known { version, record, away: None };
        inner.known.insert(client.clone(), Box::new(known));
        version
    }

    /// Notes that a client's connection ended, and until when its session is kept.
    pub(crate) fn disconnected(
        &self,
        client: &ClientId,
        farewell: Farewell,
        kept_until: Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut inner = self.lock();
        inner.forget(now);
        let Some(known) = inner.known.get_mut(client) else { return };
        let remembered_until = now + REMEMBERED_MS;
        let forgotten_at = kept_until.map_or(remembered_until, |kept| kept.max(remembered_until));
        known.record.status = ConnectionStatus::Away(Some(farewell));
        known.away = Some(Away { since: now, forgotten_at });
        inner.away.insert((forgotten_at, client.clone()));
    }

    /// How a client stands, if it is remembered.
    pub(crate) fn find(&self, client: &ClientId, now: Timestamp) -> Option<ConnectionRecord> {
        let mut inner = self.lock();
        inner.forget(now);
        let known = inner.known.get(client)?;
        let mut record = known.record.clone();
        if known.away.is_some_and(|away| now.millis_since(away.since) >= FAREWELL_TOLD_MS) {
            record.status = ConnectionStatus::Away(None);
        }
        Some(record)
    }
}

impl Inner {
    fn remove(&mut self, client: &ClientId) -> Option<Box<Known>> {
        let known = self.known.remove(client)?;
        if let Some(Away { forgotten_at, .. }) = known.away {
            self.away.remove(&(forgotten_at, client.clone()));
        }
        Some(known)
    }

    /// Forgets those whose time is over, and the first of those that are too many.
    fn forget(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.away.first()
            && (*at <= now || self.away.len() > AWAY_CLIENTS_MAX)
            && let Some((_, client)) = self.away.pop_first()
        {
            self.known.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Timestamp = Timestamp::EPOCH;

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    fn connect(clients: &Clients, name: &str, now: Timestamp) -> u64 {
        let details = ConnectionDetails {
            thing: None,
            session_expiry_s: 0,
            keep_alive_s: 60,
            source: ([127, 0, 0, 1], 4).into(),
            target: None,
        };
        clients.connected(&client(name), details, EPOCH, now)
    }

    fn disconnect(clients: &Clients, name: &str, kept_until: Option<Timestamp>, now: Timestamp) {
        let farewell = Farewell { at: EPOCH, reason: DisconnectReason::ConnectionLost };
        clients.disconnected(&client(name), farewell, kept_until, now);
    }

    /// Connects, stays away for `away_ms` with a session kept for `kept_ms`, and connects again.
    fn check_version(away_ms: i64, kept_ms: Option<i64>, expected: u64) {
        let clients = Clients::default();
        assert_eq!(connect(&clients, "a", EPOCH), 0);
        disconnect(&clients, "a", kept_ms.map(|ms| EPOCH + ms), EPOCH);
        assert_eq!(connect(&clients, "a", EPOCH + away_ms), expected);
    }

    #[test]
    fn connections_are_counted_until_the_client_was_away_for_an_hour() {
        check_version(0, None, 1);
        check_version(REMEMBERED_MS - 1, None, 1);
        check_version(REMEMBERED_MS, None, 0);
        check_version(REMEMBERED_MS, Some(10), 0);
        check_version(REMEMBERED_MS, Some(REMEMBERED_MS + 1), 1);
    }

    #[test]
    fn a_connected_client_is_never_forgotten() {
        let clients = Clients::default();
        for expected in 0..3 {
            assert_eq!(connect(&clients, "a", EPOCH), expected);
            disconnect(&clients, "a", None, EPOCH);
        }
        assert_eq!(connect(&clients, "a", EPOCH), 3);
        let later = EPOCH + 10 * REMEMBERED_MS;
        assert!(clients.find(&client("a"), later).is_some());
        disconnect(&clients, "a", None, later);
        assert_eq!(connect(&clients, "a", later + 1), 4);
    }

    #[test]
    fn why_a_client_went_is_told_for_half_an_hour() {
        let clients = Clients::default();
        connect(&clients, "a", EPOCH);
        disconnect(&clients, "a", None, EPOCH);
        let status = |ms| clients.find(&client("a"), EPOCH + ms).map(|record| record.status);
        let told = Farewell { at: EPOCH, reason: DisconnectReason::ConnectionLost };
        assert_eq!(status(FAREWELL_TOLD_MS - 1), Some(ConnectionStatus::Away(Some(told))));
        assert_eq!(status(FAREWELL_TOLD_MS), Some(ConnectionStatus::Away(None)));
        assert_eq!(status(REMEMBERED_MS), None);
    }

    #[test]
    fn clients_that_come_and_go_under_many_ids_leave_no_more_than_the_bound() {
        let clients = Clients::default();
        for n in 0..=AWAY_CLIENTS_MAX + 10 {
            let name = format!("c-{n}");
            connect(&clients, &name, EPOCH + n as i64 % 7);
            disconnect(&clients, &name, None, EPOCH + n as i64 % 7);
        }
        let inner = clients.lock();
        assert!(inner.known.len() <= AWAY_CLIENTS_MAX + 1);
        assert_eq!(inner.known.len(), inner.away.len());
    }
}
