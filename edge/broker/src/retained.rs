//! Retained messages, and whose right keeps them alive.
//!
//! A retained message speaks for its publisher long after it was published, so the publisher's right
//! to retain it must still be there whenever it is handed out: [`RetainedStore::matching`] asks for
//! it each time. What has lost its right is also removed, right after the change, by
//! [`RetainedStore::sweep`]; it does not come back when the right does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, Weak};

use picket_model::Timestamp;
use picket_model::limits::{MqttLimits, RETAINED_PER_CLIENT_MAX};
use picket_mqtt::trie::NameTrie;
use picket_mqtt::{Message, TopicFilter, TopicName};

use crate::access::{AccessWatch, Standing};
use crate::authorize::PublishPermit;
use crate::metrics::{Dropped, Metrics};

/// Time between two searches for expired messages when there is no room for a new one.
const PURGE_INTERVAL_MS: i64 = 10_000;

/// All retained messages, in memory.
#[derive(Debug)]
pub(crate) struct RetainedStore {
    inner: RwLock<Inner>,
    /// Clients that own some, or did.
    owners: Mutex<Vec<Weak<ClientOwner>>>,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    messages: NameTrie<Retained>,
    bytes: usize,
    purged_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Retained {
    message: Arc<Message>,
    owner: Owner,
}

/// Who retained a message.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// The server itself, or its operator.
    Server,
    /// A client, present or gone.
    Client(Arc<ClientOwner>),
}

/// A client that retained messages. Its rights are watched for as long as there is one.
pub(crate) struct ClientOwner {
    access: AccessWatch,
    /// The access version that all of its messages were decided under.
    swept_version: AtomicU64,
    topics: Mutex<BTreeSet<TopicName>>,
}

impl ClientOwner {
    pub(crate) fn new(access: AccessWatch) -> Arc<Self> {
        let swept_version = AtomicU64::new(access.get().version);
        Arc::new(Self { access, swept_version, topics: Mutex::default() })
    }

    fn topics(&self) -> MutexGuard<'_, BTreeSet<TopicName>> {
        lock(&self.topics)
    }

    fn may_retain(&self, topic: &TopicName) -> bool {
        PublishPermit::decide(&self.access.get(), topic, true).is_ok()
    }

    /// The topics whose right is gone since this was asked last.
    ///
    /// None while the registry cannot be read: nothing is handed out then, but nobody knows what is
    /// lost.
    fn newly_denied(&self) -> Vec<TopicName> {
        let access = self.access.get();
        if access.version == self.swept_version.load(Ordering::Relaxed)
            || matches!(access.standing, Standing::Unavailable(_))
        {
            return Vec::new();
        }
        self.swept_version.store(access.version, Ordering::Relaxed);
        let is_denied = |topic: &&TopicName| PublishPermit::decide(&access, topic, true).is_err();
        self.topics().iter().filter(is_denied).cloned().collect()
    }
}

impl std::fmt::Debug for ClientOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOwner").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Owner {
    /// Notes that the owner has a message on the topic; false if it has as many as one may have.
    fn add(&self, topic: &TopicName) -> bool {
        let Self::Client(owner) = self else { return true };
        let mut topics = owner.topics();
        let has_room = topics.len() < RETAINED_PER_CLIENT_MAX;
        has_room && topics.insert(topic.clone())
    }

    fn subtract(&self, topic: &TopicName) {
        if let Self::Client(owner) = self {
            owner.topics().remove(topic);
        }
    }

    fn is(&self, client: &Arc<ClientOwner>) -> bool {
        matches!(self, Self::Client(owner) if Arc::ptr_eq(owner, client))
    }
}

impl RetainedStore {
    pub(crate) fn new(limits: &MqttLimits) -> Self {
        Self {
            inner: RwLock::default(),
            owners: Mutex::default(),
            messages_max: limits.retained_messages_max,
            bytes_max: limits.retained_bytes_max,
        }
    }

    /// Keeps a message in place of the one before it; an empty payload only removes that one.
    ///
    /// Without room the message before it is gone all the same: a stale value would be worse than
    /// none. Source: mqtt-3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-10], mqtt-5 [MQTT-3.3.1-5]
    /// [MQTT-3.3.1-6].
    pub(crate) fn set(
        &self,
        permit: PublishPermit,
        message: &Arc<Message>,
        owner: &Owner,
        now: Timestamp,
        metrics: &Metrics,
    ) {
        if !permit.may_retain() {
            return;
        }
        let mut inner = self.write();
        inner.remove(&message.topic);
        if !message.payload.is_empty() {
            if self.has_room(&mut inner, message, now) && owner.add(&message.topic) {
                let retained = Retained { message: Arc::clone(message), owner: owner.clone() };
                inner.messages.insert(&message.topic, retained);
                inner.bytes += message.cost_bytes();
            } else {
                metrics.drop_message(Dropped::RetainedFull);
            }
        }
        inner.show(metrics);
    }

    /// Has the client's rights looked at by [`RetainedStore::sweep`].
    pub(crate) fn watch(&self, owner: &Arc<ClientOwner>) {
        let mut owners = lock(&self.owners);
        if owners.len() == owners.capacity() {
            // Before it grows: who owns nothing any more is forgotten.
            owners.retain(|owner| owner.strong_count() > 0);
        }
        owners.push(Arc::downgrade(owner));
    }

    fn has_room(&self, inner: &mut Inner, message: &Message, now: Timestamp) -> bool {
        let bytes = message.cost_bytes();
        let has_room = |inner: &Inner| {
            inner.messages.len() < self.messages_max && inner.bytes + bytes <= self.bytes_max
        };
        let is_time = inner.purged_at.is_none_or(|at| now.millis_since(at) >= PURGE_INTERVAL_MS);
        if !has_room(inner) && is_time {
            inner.purge(now);
        }
        has_room(inner)
    }

    /// The retained messages that match a filter, have not expired and whose publishers still have
    /// the right to them; at most `max`.
    pub(crate) fn matching(
        &self,
        filter: &TopicFilter,
        now: Timestamp,
        max: usize,
        metrics: &Metrics,
    ) -> Vec<Arc<Message>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut n_too_many) = (Vec::new(), 0);
        inner.messages.matching(filter, |Retained { message, owner }| {
            let may_be_seen = !message.is_expired(now)
                && match owner {
                    Owner::Server => true,
                    Owner::Client(owner) => owner.may_retain(&message.topic),
                };
            match may_be_seen {
                false => {}
                true if found.len() < max => found.push(Arc::clone(message)),
                true => n_too_many += 1,
            }
        });
        metrics.drop_messages(Dropped::QueueFull, n_too_many);
        found
    }

    /// Removes what has lost its right.
    ///
    /// Costs a glance at every client that owns something, and a decision for each message of those
    /// whose rights changed. To be called after a change of rights, not with every message.
    pub(crate) fn sweep(&self, metrics: &Metrics) {
        let owners: Vec<_> = lock(&self.owners).iter().filter_map(Weak::upgrade).collect();
        for owner in owners {
            let denied = owner.newly_denied();
            if denied.is_empty() {
                continue;
            }
            let mut inner = self.write();
            for topic in &denied {
                // Somebody else's may lie there by now.
                if inner.messages.get(topic).is_some_and(|retained| retained.owner.is(&owner)) {
                    inner.remove(topic);
                    metrics.drop_message(Dropped::RetainedDenied);
                }
            }
            inner.show(metrics);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poisoned lock still guards whole values: critical sections here do not panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn remove(&mut self, topic: &TopicName) {
        if let Some(removed) = self.messages.remove(topic) {
            self.bytes -= removed.message.cost_bytes();
            removed.owner.subtract(topic);
        }
    }

    /// Removes what has expired.
    fn purge(&mut self, now: Timestamp) {
        self.purged_at = Some(now);
        let bytes = &mut self.bytes;
        self.messages.retain(|Retained { message, owner }| {
            let is_expired = message.is_expired(now);
            if is_expired {
                *bytes -= message.cost_bytes();
                owner.subtract(&message.topic);
            }
            !is_expired
        });
    }

    fn show(&self, metrics: &Metrics) {
        metrics.retained.set(i64::try_from(self.messages.len()).unwrap_or(i64::MAX));
        metrics.retained_bytes.set(self.bytes as u64);
    }
}
