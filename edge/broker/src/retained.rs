//! Retained messages, and whose right keeps them alive.
//!
//! A retained message speaks for its publisher long after it was published, so the publisher's right
//! to retain it must still be there whenever it is handed out: [`RetainedStore::matching`] asks for
//! it each time. What has lost its right is also removed, right after the change, by
//! [`RetainedStore::sweep`]; it does not come back when the right does.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, Weak};

use picket_model::limits::{MqttLimits, RETAINED_PER_CLIENT_MAX};
use picket_model::{DeviceName, Timestamp};
use picket_mqtt::trie::NameTrie;
use picket_mqtt::{Message, TopicFilter, TopicName};

use crate::access::{AccessWatch, Standing};
use crate::authorize::PublishPermit;
use crate::metrics::{Dropped, Metrics};
use crate::operate::RetainedMessage;

/// Time between two searches for expired messages when there is no room for a new one.
const PURGE_INTERVAL_MS: i64 = 10_000;

/// All retained messages, in memory.
#[derive(Debug)]
pub(crate) struct RetainedStore {
    inner: RwLock<Inner>,
    /// Connections that own some, or did.
    owners: Mutex<Vec<Weak<ClientOwner>>>,
    quotas: Mutex<Quotas>,
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
    /// When it was set, by the wall clock.
    at: Timestamp,
}

impl Retained {
    /// Whether it has not expired and its publisher still has the right to it.
    fn may_be_seen(&self, now: Timestamp) -> bool {
        !self.message.is_expired(now)
            && match &self.owner {
                Owner::Server => true,
                Owner::Client(owner) => owner.may_retain(&self.message.topic),
            }
    }

    fn shown(&self) -> RetainedMessage {
        RetainedMessage { message: Arc::clone(&self.message), at: self.at }
    }
}

/// Who retained a message.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// The server itself, or its operator.
    Server,
    /// A client, present or gone.
    Client(Arc<ClientOwner>),
}

/// A connection that retained messages, open or over. Its rights are watched for as long as there is
/// one: what they follow from, the address it came from included, is the connection's.
pub(crate) struct ClientOwner {
    access: AccessWatch,
    /// Shared with all other connections of the device.
    quota: Arc<Quota>,
    /// The access version that all of its messages were decided under.
    swept_version: AtomicU64,
    topics: Mutex<BTreeSet<TopicName>>,
}

/// How many retained messages a device has, whichever of its connections they come from: a client
/// that comes again does not begin again.
#[derive(Debug, Default)]
struct Quota {
    /// Changed under the lock of the messages only.
    used: AtomicUsize,
}

/// The quotas of devices that have retained messages, or are about to.
#[derive(Debug, Default)]
struct Quotas {
    by_device: HashMap<DeviceName, Weak<Quota>>,
    /// Those that nobody needs are looked for when there are more than this.
    prune_above: usize,
}

impl Quotas {
    fn of(&mut self, device: &DeviceName) -> Arc<Quota> {
        const ALWAYS_KEPT: usize = 1024;
        if let Some(quota) = self.by_device.get(device).and_then(Weak::upgrade) {
            return quota;
        }
        if self.by_device.len() >= self.prune_above.max(ALWAYS_KEPT) {
            // Doubling the bound each time keeps the cost of this at a constant per entry.
            self.by_device.retain(|_, quota| quota.strong_count() > 0);
            self.prune_above = self.by_device.len() * 2;
        }
        let quota = Arc::new(Quota::default());
        self.by_device.insert(device.clone(), Arc::downgrade(&quota));
        quota
    }
}

impl ClientOwner {
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
        let used = &owner.quota.used;
        if used.load(Ordering::Relaxed) >= RETAINED_PER_CLIENT_MAX {
            return false;
        }
        // What lay on the topic before was removed with its owner's note of it.
        let is_new = owner.topics().insert(topic.clone());
        used.fetch_add(usize::from(is_new), Ordering::Relaxed);
        is_new
    }

    fn subtract(&self, topic: &TopicName) {
        if let Self::Client(owner) = self
            && owner.topics().remove(topic)
        {
            owner.quota.used.fetch_sub(1, Ordering::Relaxed);
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
            quotas: Mutex::default(),
            messages_max: limits.retained_messages_max,
            bytes_max: limits.retained_bytes_max,
        }
    }

    /// Keeps a message in place of the one before it; an empty payload only removes that one.
    ///
    /// Without room the message before it is gone all the same: a stale value would be worse than
    /// none. Source: mqtt-3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-10], mqtt-5 [MQTT-3.3.1-5]
    /// [MQTT-3.3.1-6].
    ///
    /// `at` is the wall clock's moment of it.
    pub(crate) fn set(
        &self,
        permit: PublishPermit,
        message: &Arc<Message>,
        owner: &Owner,
        now: Timestamp,
        at: Timestamp,
        metrics: &Metrics,
    ) {
        if !permit.may_retain() {
            return;
        }
        let mut inner = self.write();
        inner.remove(&message.topic);
        if !message.payload.is_empty() {
            if self.has_room(&mut inner, message, now) && owner.add(&message.topic) {
                let (message, owner) = (Arc::clone(message), owner.clone());
                inner.bytes += message.cost_bytes();
                let topic = message.topic.clone();
                inner.messages.insert(&topic, Retained { message, owner, at });
            } else {
                metrics.drop_message(Dropped::RetainedFull);
            }
        }
        inner.show(metrics);
    }

    /// Makes a connection an owner of retained messages. Its rights are looked at by
    /// [`RetainedStore::sweep`] from here on.
    pub(crate) fn owner(&self, access: AccessWatch) -> Arc<ClientOwner> {
        let now = access.get();
        let quota = lock(&self.quotas).of(&now.device);
        let swept_version = AtomicU64::new(now.version);
        let owner = ClientOwner { access, quota, swept_version, topics: Mutex::default() };
        let owner = Arc::new(owner);
        let mut owners = lock(&self.owners);
        if owners.len() == owners.capacity() {
            // Before it grows: who owns nothing any more is forgotten.
            owners.retain(|owner| owner.strong_count() > 0);
        }
        owners.push(Arc::downgrade(&owner));
        owner
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
    /// the right to them, ordered by topic; at most `max`, and only those behind `after`.
    pub(crate) fn matching(
        &self,
        filter: &TopicFilter,
        after: Option<&TopicName>,
        max: usize,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        inner.messages.matching(filter, after, |retained| {
            if retained.may_be_seen(now) {
                found.push(Arc::clone(&retained.message));
            }
            if found.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    /// The message retained for a topic, as [`RetainedStore::matching`] would find it.
    pub(crate) fn get(&self, topic: &TopicName, now: Timestamp) -> Option<RetainedMessage> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.messages.get(topic).filter(|it| it.may_be_seen(now)).map(Retained::shown)
    }

    /// As [`RetainedStore::matching`] for all topics, those that begin with `$` too.
    pub(crate) fn after(
        &self,
        after: Option<&TopicName>,
        max: usize,
        now: Timestamp,
    ) -> Vec<RetainedMessage> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        inner.messages.after(after, |retained| {
            if found.len() >= max {
                return ControlFlow::Break(());
            }
            found.extend(retained.may_be_seen(now).then(|| retained.shown()));
            ControlFlow::Continue(())
        });
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
        self.messages.retain(|Retained { message, owner, .. }| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_of_devices_that_come_and_go_leave_nothing_behind() {
        let device = |name: String| DeviceName::parse(name).unwrap();
        let mut quotas = Quotas::default();
        let kept = quotas.of(&device("kept".to_owned()));
        kept.used.store(7, Ordering::Relaxed);
        for i in 0..100_000 {
            quotas.of(&device(format!("passing-{i}")));
        }
        assert!(quotas.by_device.len() <= 2048);
        assert!(Arc::ptr_eq(&kept, &quotas.of(&device("kept".to_owned()))));
    }
}
