//! Sessions as they are stored, and how they go on when the server starts.
//!
//! Who was connected when the server ended counts as disconnected at the start. What does not fit the
//! bounds of today is dropped and counted; a session of which a row cannot be read ends. Rights are
//! not asked here: they are decided when the client is back, as of any kept session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::Timestamp;
use picket_mqtt::packet::PacketId;
use picket_mqtt::session::{KeptSession, Record, Remembered, SessionState};
use picket_mqtt::{Delivery, DeliveryNumber, Message, QoS, Shared as SharedDelivery, TopicFilter};
use tracing::{info, warn};

use crate::broker::Shared;
use crate::journal::{Journal, SessionFacts, StoredOptions};
use crate::mailbox::{Mailbox, SessionKey};
use crate::metrics::{Dropped, NoRoom, SessionLost};
use crate::router::Subscription;
use crate::sessions;
use crate::subscriptions::Subscriptions;

/// Everything that is stored of sessions.
#[derive(Debug, Default)]
pub struct StoredSessions {
    /// By whatever number deliveries name them. They expire by the wall clock.
    pub messages: BTreeMap<u64, Message>,
    /// Oldest first.
    pub sessions: Vec<StoredSession>,
    /// The keys of sessions that cannot be read, and why.
    pub unreadable: Vec<(u64, String)>,
}

/// A session as it is stored.
#[derive(Debug)]
pub struct StoredSession {
    /// Tells it from all others.
    pub key: u64,
    /// Itself.
    pub facts: SessionFacts,
    /// What it subscribed to.
    pub subscriptions: Vec<(TopicFilter, StoredOptions)>,
    /// In the order of their numbers.
    pub deliveries: Vec<StoredDelivery>,
    /// Packet ids of QoS 2 publishes that were taken and not released.
    pub taken: BTreeSet<PacketId>,
}

/// A delivery as it is stored.
#[derive(Debug)]
pub struct StoredDelivery {
    /// Its number.
    pub number: DeliveryNumber,
    /// The number of its message; `None` once the client has it.
    pub message: Option<u64>,
    /// How surely.
    pub qos: QoS,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// Subscriptions that it is for.
    pub subscription_ids: Option<Vec<u32>>,
    /// The group's filter, and the retain flag as published, where it came by a group.
    pub shared: Option<(TopicFilter, bool)>,
    /// Set once it was sent.
    pub packet_id: Option<PacketId>,
}

impl StoredSessions {
    /// The largest key of a session, and the largest number of a delivery; 0 where there is none.
    pub(crate) fn last(&self) -> (u64, u64) {
        let keys = self.sessions.iter().map(|session| session.key);
        let keys = keys.chain(self.unreadable.iter().map(|(key, _)| *key));
        let deliveries = self.sessions.iter().flat_map(|session| &session.deliveries);
        let numbers = deliveries.map(|delivery| delivery.number.get());
        (keys.max().unwrap_or(0), numbers.max().unwrap_or(0))
    }
}

/// Has everything go on that is stored.
pub(crate) fn restore(shared: &Arc<Shared>, journal: &Arc<Journal>, stored: StoredSessions) {
    let StoredSessions { messages, sessions, unreadable } = stored;
    for (key, why) in unreadable {
        lose(shared, journal, SessionKey(key), SessionLost::Unreadable, &why);
    }
    let messages = messages.into_iter().map(|(number, mut message)| {
        message.expires_at = message.expires_at.map(|at| journal.monotonic(at));
        (number, Arc::new(message))
    });
    let restorer =
        Restorer { shared, journal, messages: messages.collect(), now: (shared.clock)() };
    let n_stored = sessions.len();
    for session in sessions {
        restorer.session(session);
    }
    shared.show_kept();
    let (_, n_kept) = shared.sessions.count();
    if n_stored > 0 {
        info!("{n_kept} of {n_stored} sessions go on from before");
    }
}

fn lose(shared: &Shared, journal: &Journal, key: SessionKey, lost: SessionLost, why: &str) {
    let SessionKey(number) = key;
    warn!(reason = lost.as_str(), "session {number} of before ends: {why}");
    shared.metrics.lose_session(lost);
    journal.end(key);
}

struct Restorer<'a> {
    shared: &'a Arc<Shared>,
    journal: &'a Arc<Journal>,
    messages: BTreeMap<u64, Arc<Message>>,
    /// By the wall clock.
    now: Timestamp,
}

impl Restorer<'_> {
    fn session(&self, stored: StoredSession) {
        let StoredSession { key, facts, subscriptions, deliveries, taken } = stored;
        let key = SessionKey(key);
        let until = self.until(&facts);
        if until <= self.now {
            self.shared.metrics.drop_messages(Dropped::SessionEnded, deliveries.len());
            self.journal.end(key);
            return;
        }
        let mailbox = Arc::new(Mailbox::absent(key, self.shared, Arc::clone(self.journal)));
        let Some(state) = self.state(&mailbox, deliveries, taken) else {
            mailbox.close();
            let why = "what was in flight is in disorder";
            lose(self.shared, self.journal, key, SessionLost::Unreadable, why);
            return;
        };
        let subscriptions = self.subscriptions(&mailbox, subscriptions);
        let SessionFacts { client, principal, expiry_s, until: _ } = facts;
        let kept = KeptSession { state, until: self.journal.monotonic(until) };
        // Also where it was connected: from now on it has a moment at which it is over.
        let until = Some(until);
        let facts = SessionFacts { client: client.clone(), principal, expiry_s, until };
        self.journal.put(key, facts.clone());
        if !sessions::restore(self.shared, client, facts.principal, mailbox, subscriptions, kept) {
            let why = "as many sessions are kept as may be";
            lose(self.shared, self.journal, key, SessionLost::NoRoom, why);
        }
    }

    /// When a session is over. A clock that was set back makes none last longer than any may.
    fn until(&self, facts: &SessionFacts) -> Timestamp {
        let after = |seconds: u32| self.now + i64::from(seconds) * 1000;
        let until = facts.until.unwrap_or(after(facts.expiry_s));
        until.min(after(self.shared.config.limits.session_expiry_s_max))
    }

    /// Fills the mailbox and makes the state again; `None` where that was never one.
    fn state(
        &self,
        mailbox: &Mailbox,
        deliveries: Vec<StoredDelivery>,
        taken: BTreeSet<PacketId>,
    ) -> Option<SessionState> {
        let mut in_flight = Vec::new();
        for stored in deliveries {
            let (number, packet_id) = (stored.number, stored.packet_id);
            let Some(message) = stored.message else {
                in_flight.push(Remembered::Released(packet_id?, number));
                continue;
            };
            let delivery = stored.delivery(self.messages.get(&message)?);
            let dropped = match packet_id {
                // What was begun does not expire. Source: mqtt-5 [MQTT-4.3.3-7].
                Some(packet_id) => {
                    let is_held = mailbox.hold(delivery.message.cost_bytes());
                    if is_held {
                        in_flight.push(Remembered::Sent(packet_id, delivery));
                    }
                    (!is_held).then_some(Dropped::AllQueuesFull)
                }
                None if delivery.message.is_expired(self.shared.monotonic.now()) => {
                    Some(Dropped::Expired)
                }
                None => mailbox.restore(delivery).err(),
            };
            if let Some(dropped) = dropped {
                self.shared.metrics.drop_message(dropped);
                self.journal.note(mailbox.session, Record::Over(number));
            }
        }
        SessionState::restored(in_flight, taken)
    }

    fn subscriptions(
        &self,
        mailbox: &Arc<Mailbox>,
        stored: Vec<(TopicFilter, StoredOptions)>,
    ) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        for (filter, StoredOptions { options, id }) in stored {
            let subscription = Subscription { mailbox: Arc::clone(mailbox), options, id };
            if self.shared.router.subscribe(&filter, subscription.clone()).is_ok() {
                subscriptions.insert(filter, subscription);
            } else {
                self.shared.metrics.refuse_subscription(NoRoom::All);
                self.journal.subscription(mailbox.session, &filter, None);
            }
        }
        subscriptions
    }
}

impl StoredDelivery {
    fn delivery(self, message: &Arc<Message>) -> Delivery {
        // Who was denied it is found out again.
        let shared = self.shared.map(|(filter, retain)| {
            Arc::new(SharedDelivery { filter, retain, denied_to: Vec::new() })
        });
        Delivery {
            message: Arc::clone(message),
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids.map(Arc::from),
            shared,
            number: Some(self.number),
        }
    }
}
