//! A store of sessions in memory, as plain as can be, that can be held up, fail, and be cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};

use picket_broker::ports::{
    Batch, DeliveryChange, Progress, SessionChange, SessionFacts, SessionStore, StoreFailed,
    StoredDelivery, StoredOptions, StoredSession, StoredSessions,
};
use picket_mqtt::packet::PacketId;
use picket_mqtt::{Delivery, DeliveryNumber, Message, TopicFilter};
use tokio::sync::watch;

/// A disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Batches that wait because the disk is held up.
    waiting: watch::Sender<usize>,
}

#[derive(Clone, Default)]
struct Inner {
    is_held: bool,
    is_failing: bool,
    sessions: BTreeMap<u64, OnDisk>,
    unreadable: Vec<(u64, String)>,
}

#[derive(Clone, Default)]
struct OnDisk {
    facts: Option<SessionFacts>,
    subscriptions: BTreeMap<TopicFilter, StoredOptions>,
    deliveries: BTreeMap<DeliveryNumber, (Delivery, Message, Progress)>,
    taken: BTreeSet<PacketId>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(Inner::default())
    }

    fn with(inner: Inner) -> Self {
        let inner = Inner { is_held: false, is_failing: false, ..inner };
        let (waiting, _) = watch::channel(0);
        let shared = Shared { inner: Mutex::new(inner), changed: Condvar::new(), waiting };
        Self { shared: Arc::new(shared) }
    }

    /// What a server finds that starts after this one was killed at this very moment.
    pub(crate) fn at_this_moment(&self) -> Self {
        Self::with(self.shared.inner.lock().unwrap().clone())
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.shared.inner.lock().unwrap());
        self.shared.changed.notify_all();
    }

    /// Has every commit wait.
    pub(crate) fn hold_up(&self) {
        self.change(|inner| inner.is_held = true);
    }

    /// Has commits go on.
    pub(crate) fn let_go(&self) {
        self.change(|inner| inner.is_held = false);
    }

    /// Has every commit fail, or none.
    pub(crate) fn set_failing(&self, is_failing: bool) {
        self.change(|inner| inner.is_failing = is_failing);
    }

    /// Makes the oldest session's rows such that nobody can read them.
    pub(crate) fn spoil_first(&self) {
        self.change(|inner| {
            let (key, _) = inner.sessions.pop_first().unwrap();
            inner.unreadable.push((key, "a broken row".to_owned()));
        });
    }

    /// Waits until a commit waits.
    pub(crate) async fn waits(&self) {
        let mut waiting = self.shared.waiting.subscribe();
        let waits = waiting.wait_for(|n| *n > 0);
        crate::testbed::soon("a commit", async { drop(waits.await.unwrap()) }).await;
    }

    /// How many sessions and deliveries are stored.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let inner = self.shared.inner.lock().unwrap();
        let deliveries = inner.sessions.values().map(|session| session.deliveries.len());
        (inner.sessions.len(), deliveries.sum())
    }

    /// Whether each session is stored as one without a connection.
    pub(crate) fn all_are_left(&self) -> bool {
        let inner = self.shared.inner.lock().unwrap();
        let is_left = |it: &OnDisk| it.facts.as_ref().is_some_and(|it| it.until.is_some());
        inner.sessions.values().all(is_left)
    }
}

impl SessionStore for Disk {
    fn load(&mut self) -> Result<StoredSessions, StoreFailed> {
        let inner = self.shared.inner.lock().unwrap();
        let mut stored = StoredSessions::default();
        for (key, session) in inner.sessions.clone() {
            let deliveries = session.deliveries.into_iter();
            let deliveries = deliveries.map(|(number, (delivery, message, progress))| {
                stored.messages.insert(number.get(), message);
                StoredDelivery {
                    number,
                    message: (!progress.is_released).then_some(number.get()),
                    qos: delivery.qos,
                    retain: delivery.retain,
                    subscription_ids: delivery.subscription_ids.map(|ids| ids.to_vec()),
                    shared: delivery.shared.map(|it| (it.filter.clone(), it.retain)),
                    packet_id: progress.sent,
                }
            });
            let deliveries = deliveries.collect();
            stored.sessions.push(StoredSession {
                key,
                facts: session.facts.unwrap(),
                subscriptions: session.subscriptions.into_iter().collect(),
                deliveries,
                taken: session.taken,
            });
        }
        stored.unreadable.clone_from(&inner.unreadable);
        Ok(stored)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFailed> {
        let mut inner = self.shared.inner.lock().unwrap();
        if inner.is_held {
            self.shared.waiting.send_modify(|n| *n += 1);
            inner = self.shared.changed.wait_while(inner, |inner| inner.is_held).unwrap();
            self.shared.waiting.send_modify(|n| *n -= 1);
        }
        if inner.is_failing {
            return Err(StoreFailed { reason: "the disk is full".to_owned() });
        }
        for (key, changes) in &batch.sessions {
            if changes.session == Some(SessionChange::Ended) {
                inner.sessions.remove(key);
                inner.unreadable.retain(|(unreadable, _)| unreadable != key);
                continue;
            }
            let on_disk = inner.sessions.entry(*key).or_default();
            if let Some(SessionChange::Put(facts)) = &changes.session {
                on_disk.facts = Some(facts.clone());
            }
            for (filter, options) in &changes.subscriptions {
                match options {
                    Some(options) => on_disk.subscriptions.insert(filter.clone(), *options),
                    None => on_disk.subscriptions.remove(filter),
                };
            }
            for (number, change) in &changes.deliveries {
                match change {
                    DeliveryChange::New { delivery, expires_at, progress } => {
                        let message = Message {
                            expires_at: *expires_at,
                            ..Message::clone(&delivery.message)
                        };
                        let stored = (delivery.clone(), message, *progress);
                        on_disk.deliveries.insert(*number, stored);
                    }
                    DeliveryChange::Moved(moved) => {
                        let (_, _, progress) = on_disk.deliveries.get_mut(number).unwrap();
                        progress.sent = moved.sent.or(progress.sent);
                        progress.is_released |= moved.is_released;
                    }
                    DeliveryChange::Over => drop(on_disk.deliveries.remove(number)),
                }
            }
            for (id, is_taken) in &changes.taken {
                match is_taken {
                    true => on_disk.taken.insert(*id),
                    false => on_disk.taken.remove(id),
                };
            }
        }
        Ok(())
    }
}
