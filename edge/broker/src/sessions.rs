//! Whose session is where: one live connection per client id, and the sessions of absent clients.
//!
//! A [`Lease`] is a connection's hold on its client id. However the connection's task ends, a panic
//! included, dropping the lease gives the client id back: no session stays "online" without a task.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use picket_model::{ClientId, Timestamp};
use picket_mqtt::session::{KeptSession, SessionState};
use picket_mqtt::{QoS, TopicFilter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::bringing::Bringing;
use crate::broker::Shared;
use crate::journal::{SessionFacts, StoredOptions, Ticket};
use crate::mailbox::{Mailbox, SessionKey};
use crate::metrics::Dropped;
use crate::operate::Dismissal;
use crate::ports::Principal;
use crate::router::Subscription;
use crate::subscriptions::Subscriptions;

/// Every session there is.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
    next_key: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<ClientId, Slot>,
    /// When kept sessions are over.
    expiries: BTreeMap<(Timestamp, SessionKey), ClientId>,
    stopping: bool,
}

#[derive(Debug)]
enum Slot {
    Live(Arc<Live>),
    Kept(Box<Kept>),
}

/// A session with a connection.
#[derive(Debug)]
pub(crate) struct Live {
    mailbox: Arc<Mailbox>,
    /// Why it has to go. The first reason counts.
    kick: OnceLock<Kick>,
    /// Has no permits, and is closed when the connection has given the client id back.
    over: Semaphore,
}

/// A session without one.
#[derive(Debug)]
pub(crate) struct Kept {
    mailbox: Arc<Mailbox>,
    subscriptions: Subscriptions,
    bringing: Bringing,
    session: KeptSession,
    principal: Principal,
    place: OwnedSemaphorePermit,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// The same client id connected again.
    TakenOver,
    /// The server stops.
    Stopping,
    /// An operator wants it so.
    Operator(Dismissal),
}

/// A connection's hold on its client id.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    client: ClientId,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) subscriptions: Subscriptions,
    /// The retained messages that new subscriptions are still to be brought.
    pub(crate) bringing: Bringing,
    live: Arc<Live>,
    keep: Option<Box<(KeptSession, Principal)>>,
    /// Among the sessions that may outlive their connections.
    place: Option<OwnedSemaphorePermit>,
}

/// As many sessions as are allowed may outlive their connections already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// What a connection begins with.
pub(crate) struct Claimed {
    pub(crate) lease: Lease,
    /// Empty where the session is new.
    pub(crate) state: SessionState,
    /// Whether it goes on from before.
    pub(crate) resumed: bool,
    /// The session that ended because this one begins.
    pub(crate) ended: Option<SessionKey>,
    /// Durable once that is not to be found on the disk any more.
    pub(crate) forgotten: Ticket,
}

impl Sessions {
    /// None yet; the first one's key follows on another.
    pub(crate) fn behind(last_key: u64) -> Self {
        Self { next_key: AtomicU64::new(last_key + 1), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock still guards whole slots: critical sections do not panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clients that are connected, and sessions kept for absent ones.
    pub(crate) fn count(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.slots.len() - inner.expiries.len(), inner.expiries.len())
    }

    /// The ids of connected clients, in no order.
    pub(crate) fn live(&self) -> Vec<ClientId> {
        let inner = self.lock();
        let live = inner.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Live(_)));
        live.map(|(client, _)| client.clone()).collect()
    }

    /// Makes a connection go, and gives it to wait for its end. `None` if there is none of that client.
    pub(crate) fn kick(&self, client: &ClientId, kick: Kick) -> Option<Arc<Live>> {
        match self.lock().slots.get(client) {
            Some(Slot::Live(live)) => {
                live.kick(kick);
                Some(Arc::clone(live))
            }
            Some(Slot::Kept(_)) | None => None,
        }
    }

    /// The mailbox of a client that is connected.
    pub(crate) fn mailbox(&self, client: &ClientId) -> Option<Arc<Mailbox>> {
        match self.lock().slots.get(client) {
            Some(Slot::Live(live)) => Some(Arc::clone(&live.mailbox)),
            Some(Slot::Kept(_)) | None => None,
        }
    }

    /// Something of the session that is kept of an absent client, if one is.
    fn of_kept<T>(&self, client: &ClientId, read: impl FnOnce(&Kept) -> T) -> Option<T> {
        match self.lock().slots.get(client) {
            Some(Slot::Kept(kept)) => Some(read(kept)),
            Some(Slot::Live(_)) | None => None,
        }
    }

    /// Whether a session is kept of an absent client.
    pub(crate) fn is_kept(&self, client: &ClientId) -> bool {
        self.of_kept(client, |_| ()).is_some()
    }

    /// The session that is kept of an absent client.
    pub(crate) fn kept_key(&self, client: &ClientId) -> Option<SessionKey> {
        self.of_kept(client, |kept| kept.mailbox.session)
    }

    /// What an absent client is subscribed to, if its session is kept.
    pub(crate) fn kept_subscriptions(&self, client: &ClientId) -> Option<Vec<(TopicFilter, QoS)>> {
        self.of_kept(client, |kept| {
            let subscriptions = kept.subscriptions.iter();
            subscriptions.map(|(filter, it)| (filter.clone(), it.options.qos)).collect()
        })
    }

    /// A key that no session has.
    pub(crate) fn new_key(&self) -> SessionKey {
        SessionKey(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes all connections go, and those that are about to begin.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        for slot in inner.slots.values() {
            if let Slot::Live(live) = slot {
                live.kick(Kick::Stopping);
            }
        }
    }

    /// The earliest end of a kept session.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.lock().expiries.keys().next().map(|(at, _)| *at)
    }

    /// Takes out the kept sessions that are over.
    fn take_expired(&self, now: Timestamp) -> Vec<Kept> {
        let mut inner = self.lock();
        let mut expired = Vec::new();
        while let Some(entry) = inner.expiries.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let client = entry.remove();
            if let Some(Slot::Kept(kept)) = inner.slots.remove(&client) {
                expired.push(*kept);
            }
        }
        expired
    }
}

/// Ends the kept sessions whose time is over.
pub(crate) fn expire(shared: &Shared, now: Timestamp) {
    for kept in shared.sessions.take_expired(now) {
        kept.end(shared);
    }
    shared.show_kept();
}

/// Ends the session that is kept of an absent client, and says which it was.
pub(crate) fn end_kept(shared: &Shared, client: &ClientId) -> Option<SessionKey> {
    let kept = {
        let mut inner = shared.sessions.lock();
        match inner.slots.get(client) {
            Some(Slot::Kept(_)) => inner.take_kept(client)?,
            Some(Slot::Live(_)) | None => return None,
        }
    };
    let session = kept.mailbox.session;
    kept.end(shared);
    shared.show_kept();
    Some(session)
}

/// Takes a client id for a connection. A connection that has it is made to go first, and awaited.
///
/// A session goes on only for the principal that it was kept for: what waits in it was meant for
/// nobody else. Source: mqtt-3.1.1 [MQTT-3.1.4-2], mqtt-5 [MQTT-3.1.4-3].
pub(crate) async fn claim(
    shared: &Arc<Shared>,
    client: &ClientId,
    principal: &Principal,
    clean_start: bool,
) -> Claimed {
    loop {
        let live = {
            let mut inner = shared.sessions.lock();
            match inner.slots.get(client) {
                Some(Slot::Live(live)) => {
                    live.kick(Kick::TakenOver);
                    Arc::clone(live)
                }
                Some(Slot::Kept(_)) | None => {
                    let kept = inner.take_kept(client);
                    let is_resumed = |kept: &Kept| !clean_start && kept.principal == *principal;
                    let (resumed, ended) = match kept {
                        Some(kept) if is_resumed(&kept) => (Some(kept), None),
                        other => (None, other),
                    };
                    let claimed = inner.begin(shared, client, resumed);
                    drop(inner);
                    let ended_key = ended.as_ref().map(|kept| kept.mailbox.session);
                    let forgotten = ended.map_or(Ticket::NOTHING, |ended| ended.end(shared));
                    shared.show_kept();
                    return Claimed { ended: ended_key, forgotten, ..claimed };
                }
            }
        };
        live.gone().await;
    }
}

impl Inner {
    fn take_kept(&mut self, client: &ClientId) -> Option<Kept> {
        let Some(Slot::Kept(kept)) = self.slots.remove(client) else { return None };
        self.expiries.remove(&(kept.session.until, kept.mailbox.session));
        Some(*kept)
    }

    fn begin(&mut self, shared: &Arc<Shared>, client: &ClientId, kept: Option<Kept>) -> Claimed {
        let resumed = kept.is_some();
        let (mailbox, subscriptions, bringing, state, place) = match kept {
            Some(Kept { mailbox, subscriptions, bringing, session, principal: _, place }) => {
                (mailbox, subscriptions, bringing, session.state, Some(place))
            }
            None => {
                let key = shared.sessions.new_key();
                let limits = &shared.config.limits;
                let (messages_max, bytes_max) = (limits.queue_messages_max, limits.queue_bytes_max);
                let budget = Arc::clone(&shared.queues);
                let mailbox = Mailbox::new(key, messages_max, bytes_max, budget);
                let (subscriptions, bringing) = Default::default();
                (Arc::new(mailbox), subscriptions, bringing, SessionState::default(), None)
            }
        };
        mailbox.set_online(true);
        let (kick, over) = (OnceLock::new(), Semaphore::new(0));
        let live = Arc::new(Live { mailbox: Arc::clone(&mailbox), kick, over });
        if self.stopping {
            live.kick(Kick::Stopping);
        }
        self.slots.insert(client.clone(), Slot::Live(Arc::clone(&live)));
        let lease = Lease {
            shared: Arc::clone(shared),
            client: client.clone(),
            mailbox,
            subscriptions,
            bringing,
            live,
            keep: None,
            place,
        };
        Claimed { lease, state, resumed, ended: None, forgotten: Ticket::NOTHING }
    }
}

impl Live {
    fn kick(&self, kick: Kick) {
        self.kick.get_or_init(|| kick);
        self.mailbox.wake();
    }

    /// Waits until the connection has given the client id back.
    pub(crate) async fn gone(&self) {
        // An error says that it is closed, which is what is waited for.
        let _ = self.over.acquire().await;
    }
}

impl Kept {
    fn end(self, shared: &Shared) -> Ticket {
        end_session(shared, &self.mailbox, &self.subscriptions)
    }
}

/// Ends a session; the ticket stands for what was stored of it, and is gone.
fn end_session(shared: &Shared, mailbox: &Mailbox, subscriptions: &Subscriptions) -> Ticket {
    shared.router.unsubscribe(mailbox.session, subscriptions.filters());
    shared.metrics.drop_messages(Dropped::SessionEnded, mailbox.close());
    // Behind the close: nothing is queued for it any more.
    let journal = mailbox.journal();
    journal.map_or(Ticket::NOTHING, |journal| journal.end(mailbox.session))
}

/// Keeps a session that survived the server, in place of an older one of its client's. False if there
/// is no room for it.
pub(crate) fn restore(
    shared: &Shared,
    client: ClientId,
    principal: Principal,
    mailbox: Arc<Mailbox>,
    subscriptions: Subscriptions,
    session: KeptSession,
) -> bool {
    let before = shared.sessions.lock().take_kept(&client);
    if let Some(before) = before {
        before.end(shared);
    }
    let Ok(place) = Arc::clone(&shared.session_places).try_acquire_owned() else {
        end_session(shared, &mailbox, &subscriptions);
        return false;
    };
    let mut inner = shared.sessions.lock();
    inner.expiries.insert((session.until, mailbox.session), client.clone());
    let bringing = Bringing::default();
    let kept = Kept { mailbox, subscriptions, bringing, session, principal, place };
    inner.slots.insert(client, Slot::Kept(Box::new(kept)));
    true
}

impl Lease {
    /// Notes a subscription. The ticket stands for it where it survives the server.
    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, subscription: Subscription) -> Ticket {
        let stored = StoredOptions { options: subscription.options, id: subscription.id };
        self.subscriptions.insert(filter.clone(), subscription);
        self.keep_subscription(filter, Some(stored))
    }

    /// Forgets a filter; `None` if it was not subscribed to. The router is the caller's to tell.
    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter) -> Option<Ticket> {
        self.bringing.forget(filter);
        let was_subscribed = self.subscriptions.remove(filter);
        was_subscribed.then(|| self.keep_subscription(filter, None))
    }

    fn keep_subscription(&self, filter: &TopicFilter, stored: Option<StoredOptions>) -> Ticket {
        let journal = self.mailbox.journal();
        journal.map_or(Ticket::NOTHING, |journal| {
            journal.subscription(self.mailbox.session, filter, stored)
        })
    }

    /// Has the session survive the server if it outlives its connection, and otherwise not any more.
    /// CONNACK waits for the ticket.
    pub(crate) fn write_down(&self, principal: &Principal, expiry_s: u32) -> Ticket {
        let Some(journal) = &self.shared.journal else { return Ticket::NOTHING };
        let session = self.mailbox.session;
        if expiry_s == 0 {
            let before = self.mailbox.keep_in(None);
            return before.map_or(Ticket::NOTHING, |journal| journal.end(session));
        }
        let (client, principal) = (self.client.clone(), principal.clone());
        let ticket =
            journal.put(session, SessionFacts { client, principal, expiry_s, until: None });
        // Behind it: what is queued belongs to a session that is there.
        self.mailbox.keep_in(Some(Arc::clone(journal)));
        ticket
    }

    /// Why the connection has to go, if it has to. The mailbox's bell says when to look.
    pub(crate) fn kicked(&self) -> Option<Kick> {
        self.live.kick.get().copied()
    }

    /// Finds a place for a session that is to outlive its connection, unless it has one from before.
    pub(crate) fn reserve_place(&mut self) -> Result<(), NoPlace> {
        if self.place.is_none() {
            let places = Arc::clone(&self.shared.session_places);
            self.place = Some(places.try_acquire_owned().map_err(|_| NoPlace)?);
        }
        Ok(())
    }

    /// Gives the place up: the session ends with its connection.
    pub(crate) fn give_up_place(&mut self) {
        self.place = None;
    }

    /// Says that the session is to be kept when the lease is dropped. It has a place reserved.
    pub(crate) fn keep(&mut self, session: KeptSession, principal: Principal) {
        self.keep = Some(Box::new((session, principal)));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.mailbox.set_online(false);
        let mut inner = shared.sessions.lock();
        inner.slots.remove(&self.client);
        match self.keep.take().zip(self.place.take()) {
            Some((kept, place)) => {
                let (session, principal) = *kept;
                let key = (session.until, self.mailbox.session);
                if let Some(journal) = self.mailbox.journal() {
                    let left_ms = session.until.millis_since(shared.monotonic.now());
                    let facts = SessionFacts {
                        client: self.client.clone(),
                        principal: principal.clone(),
                        expiry_s: u32::try_from(left_ms / 1000).unwrap_or(0),
                        until: Some(journal.wall(session.until)),
                    };
                    journal.put(self.mailbox.session, facts);
                }
                inner.expiries.insert(key, self.client.clone());
                let mailbox = Arc::clone(&self.mailbox);
                let subscriptions = std::mem::take(&mut self.subscriptions);
                let bringing = std::mem::take(&mut self.bringing);
                let kept = Kept { mailbox, subscriptions, bringing, session, principal, place };
                inner.slots.insert(self.client.clone(), Slot::Kept(Box::new(kept)));
                drop(inner);
                shared.janitor.notify_one();
            }
            None => {
                drop(inner);
                debug!(client.id = %self.client.as_str().escape_debug(), "session ends");
                end_session(&shared, &self.mailbox, &self.subscriptions);
            }
        }
        shared.show_kept();
        self.live.over.close();
    }
}
