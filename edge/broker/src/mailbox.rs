//! What waits for one session, handed over from the tasks of its publishers.
//!
//! A mailbox that fills up asks its publishers to wait a moment, so that a subscriber that is merely
//! busy loses nothing. They wait for it once: one that does not get on is not waited for again until
//! it did, and loses what it has no room for meanwhile. Nobody is held up for long by another's slowness.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_model::limits::MqttLimits;
use picket_mqtt::queue::{DeliveryQueue, QueueFull};
use picket_mqtt::{Delivery, QoS};
use tokio::sync::Notify;

use crate::asks::Asks;
use crate::bell::Bell;
use crate::broker::Shared;
use crate::budget::{Budget, Reservation};
use crate::journal::{Journal, Ticket};
use crate::metrics::Dropped;

/// Tells one session from all others, before and after, of whatever client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(pub(crate) u64);

/// A session's mailbox: bounded by count and by bytes, open while the session exists.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) session: SessionKey,
    /// What the connection is asked from outside.
    pub(crate) asks: Asks,
    /// Wakes the session's connection, if it has one.
    pub(crate) bell: Bell,
    inner: Mutex<Inner>,
    /// Whether the client is connected. Read without the lock to choose among a group's members.
    online: AtomicBool,
    /// Whether publishers are to wait. Written under the lock.
    crowded: AtomicBool,
    has_room: Notify,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Inner {
    queue: DeliveryQueue,
    /// Bytes that were taken out and are not acknowledged, as far as is known here.
    unacknowledged: usize,
    /// For what is in the queue and what is not acknowledged.
    reservation: Reservation,
    closed: bool,
    /// Publishers waited in vain: no more of them are to, until so many deliveries were taken out.
    given_up_for: usize,
    /// Where what waits is written down, if the session survives the server.
    journal: Option<Arc<Journal>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It waits; it is kept over the end of the server once the ticket is durable.
    Waits(Ticket),
    /// It waits, and the next one had better wait for room.
    Crowds(Ticket),
    /// The client is away, and what is sent at most once is not kept for it. By design, not a drop.
    NotKept,
    /// There is no room.
    Full,
    /// There would be, but all mailboxes together hold as much as they may.
    AllFull,
    /// The session is over.
    Closed,
}

impl Posted {
    /// Whether it will be delivered, as far as one can know.
    pub(crate) const fn is_kept(self) -> bool {
        match self {
            Self::Waits(_) | Self::Crowds(_) => true,
            Self::NotKept | Self::Full | Self::AllFull | Self::Closed => false,
        }
    }
}

impl Mailbox {
    /// An empty one of a session whose client is connected.
    pub(crate) fn new(
        session: SessionKey,
        messages_max: usize,
        bytes_max: usize,
        budget: Arc<Budget>,
    ) -> Self {
        let inner = Inner {
            queue: DeliveryQueue::new(messages_max, bytes_max),
            unacknowledged: 0,
            reservation: Reservation::default(),
            closed: false,
            given_up_for: 0,
            journal: None,
        };
        Self {
            session,
            asks: Asks::new(),
            inner: Mutex::new(inner),
            budget,
            bell: Bell::default(),
            online: AtomicBool::new(true),
            crowded: AtomicBool::new(false),
            has_room: Notify::new(),
        }
    }

    /// One of a session that survived the server, whose client is away.
    pub(crate) fn absent(session: SessionKey, shared: &Shared, journal: Arc<Journal>) -> Self {
        let limits = &shared.config.limits;
        let MqttLimits { queue_messages_max, queue_bytes_max, .. } = *limits;
        let budget = Arc::clone(&shared.queues);
        let mailbox = Self::new(session, queue_messages_max, queue_bytes_max, budget);
        mailbox.set_online(false);
        mailbox.keep_in(Some(journal));
        mailbox
    }

    /// Says where what waits is written down from now on; gives where it was before.
    pub(crate) fn keep_in(&self, journal: Option<Arc<Journal>>) -> Option<Arc<Journal>> {
        std::mem::replace(&mut self.lock().journal, journal)
    }

    /// Where what waits is written down, if the session survives the server.
    pub(crate) fn journal(&self) -> Option<Arc<Journal>> {
        self.lock().journal.clone()
    }

    /// Holds bytes of what was sent before the server ended. False if there is no room for them.
    pub(crate) fn hold(&self, bytes: usize) -> bool {
        let mut inner = self.lock();
        let held = inner.held() + bytes;
        let is_held = inner.reservation.grow(&self.budget, held);
        if is_held {
            inner.unacknowledged += bytes;
        }
        is_held
    }

    /// Adds a delivery that waited when the server ended.
    ///
    /// # Errors
    /// Why it is dropped.
    pub(crate) fn restore(&self, delivery: Delivery) -> Result<(), Dropped> {
        let mut inner = self.lock();
        let held = inner.held() + delivery.message.cost_bytes();
        if !inner.reservation.grow(&self.budget, held) {
            return Err(Dropped::AllQueuesFull);
        }
        inner.queue.push(delivery).map_err(|QueueFull| Dropped::QueueFull)
    }

    /// Adds a delivery and wakes the session if it had none.
    pub(crate) fn post(&self, mut delivery: Delivery) -> Posted {
        if delivery.qos == QoS::AtMostOnce && !self.is_online() {
            return Posted::NotKept;
        }
        let mut inner = self.lock();
        if inner.closed {
            return Posted::Closed;
        }
        let was_empty = inner.queue.is_empty();
        let held = inner.held() + delivery.message.cost_bytes();
        if !inner.reservation.grow(&self.budget, held) {
            return Posted::AllFull;
        }
        let mut kept = Ticket::NOTHING;
        if let Some(journal) = &inner.journal
            && delivery.qos > QoS::AtMostOnce
            && inner.queue.has_room_for(&delivery)
        {
            kept = journal.queue(self.session, &mut delivery);
        }
        let posted = inner.queue.push(delivery);
        let crowds = inner.queue.is_above(3, 4) && inner.given_up_for == 0 && self.is_online();
        if crowds {
            self.crowded.store(true, Ordering::Relaxed);
        }
        drop(inner);
        match posted {
            Err(QueueFull) => return Posted::Full,
            Ok(()) if was_empty => self.bell.ring(),
            Ok(()) => self.bell.add(),
        }
        if crowds { Posted::Crowds(kept) } else { Posted::Waits(kept) }
    }

    /// Moves what may leave; see [`DeliveryQueue::take`]. True if something is left.
    ///
    /// `unacknowledged` bytes of what left before are still held.
    pub(crate) fn take(
        &self,
        into: &mut Vec<Delivery>,
        room: usize,
        bytes_max: usize,
        unacknowledged: usize,
    ) -> bool {
        let mut inner = self.lock();
        let before = into.len();
        let is_left = inner.queue.take(into, room, bytes_max);
        let is_kept = |delivery: &&Delivery| delivery.qos > QoS::AtMostOnce;
        let kept = into[before..].iter().filter(is_kept).map(|it| it.message.cost_bytes());
        inner.unacknowledged = unacknowledged + kept.sum::<usize>();
        inner.shrink(&self.budget);
        inner.given_up_for = inner.given_up_for.saturating_sub(into.len() - before);
        if !inner.queue.is_above(1, 2) {
            self.let_in();
        }
        is_left
    }

    /// Whether there is room for what can also wait elsewhere: half of it is left to others.
    pub(crate) fn has_room_to_spare(&self) -> bool {
        !self.lock().queue.is_above(1, 2)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Whether publishers are to wait for room.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Waits until there is room, or nobody waits for it any more.
    pub(crate) async fn room(&self) {
        let mut has_room = pin!(self.has_room.notified());
        // Before looking, so that room that is made right after is not missed.
        has_room.as_mut().enable();
        if self.is_crowded() {
            has_room.await;
        }
    }

    /// Says that a publisher waited in vain: no others need to, until the client got on a bit.
    pub(crate) fn give_up(&self) {
        let mut inner = self.lock();
        inner.given_up_for = inner.queue.len() / 4 + 1;
        self.let_in();
    }

    fn let_in(&self) {
        if self.crowded.swap(false, Ordering::Relaxed) {
            self.has_room.notify_waiters();
        }
    }

    /// Wakes the session as if there were mail: it has to go, its rights are others, it was asked
    /// something, or what it waits for is on the disk.
    pub(crate) fn wake(&self) {
        self.bell.ring();
    }

    /// Whether the client is connected.
    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    /// Notes whether the client is connected.
    pub(crate) fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::Relaxed);
        self.asks.set_open(online);
        self.let_in();
    }

    /// Ends the mailbox with its session; says how many deliveries are lost with it.
    pub(crate) fn close(&self) -> usize {
        let mut inner = self.lock();
        inner.closed = true;
        self.let_in();
        let lost = inner.queue.clear();
        inner.unacknowledged = 0;
        inner.shrink(&self.budget);
        lost
    }

    // A poisoned lock still guards a whole queue: pushing and taking do not panic half-way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn held(&self) -> usize {
        self.queue.bytes() + self.unacknowledged
    }

    fn shrink(&mut self, budget: &Budget) {
        let held = self.held();
        self.reservation.shrink(budget, held);
    }
}

#[cfg(test)]
mod tests {
    use picket_model::Timestamp;
    use picket_mqtt::{Message, TopicLimits, TopicName};
    use prometheus_client::metrics::gauge::Gauge;
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn delivery(qos: QoS) -> Delivery {
        let topic = TopicName::parse("t", &TopicLimits { bytes_max: 9, levels_max: 1 }).unwrap();
        let message = Message::received(topic, "x".into(), qos, None, Timestamp::EPOCH);
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            subscription_ids: None,
            shared: None,
            number: None,
        }
    }

    /// Posts deliveries of QoS 1 and says what became of each, in one letter.
    fn post(mailbox: &Mailbox, n: usize) -> String {
        (0..n)
            .map(|_| format!("{:?}", mailbox.post(delivery(QoS::AtLeastOnce))).remove(0))
            .collect()
    }

    fn take(mailbox: &Mailbox, n: usize) {
        mailbox.take(&mut Vec::new(), n, usize::MAX, 0);
    }

    async fn has_room(mailbox: &Mailbox) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, mailbox.room()).await.is_ok()
    }

    fn mailbox() -> Mailbox {
        let budget = Budget::new(usize::MAX, Default::default());
        Mailbox::new(SessionKey(1), 8, usize::MAX, Arc::new(budget))
    }

    #[tokio::test]
    async fn publishers_wait_for_room_from_three_quarters_to_a_half() {
        let mailbox = mailbox();
        assert_eq!(post(&mailbox, 6), "WWWWWW");
        assert!(has_room(&mailbox).await);
        assert_eq!(post(&mailbox, 1), "C");
        assert!(!has_room(&mailbox).await);
        take(&mailbox, 2);
        assert!(!has_room(&mailbox).await);
        take(&mailbox, 1);
        assert!(has_room(&mailbox).await);
    }

    #[tokio::test]
    async fn who_does_not_get_on_is_not_waited_for_until_it_does() {
        let mailbox = mailbox();
        assert_eq!(post(&mailbox, 8), "WWWWWWCC");
        mailbox.give_up();
        assert!(has_room(&mailbox).await);
        assert_eq!(post(&mailbox, 2), "FF");
        take(&mailbox, 1);
        assert_eq!(post(&mailbox, 2), "WF");
        take(&mailbox, 2);
        assert_eq!(post(&mailbox, 3), "CCF");
        assert!(!has_room(&mailbox).await);
    }

    #[tokio::test]
    async fn nobody_waits_for_an_absent_client_or_an_ended_session() {
        let mailbox = mailbox();
        assert_eq!(post(&mailbox, 7), "WWWWWWC");
        mailbox.set_online(false);
        assert!(has_room(&mailbox).await);
        assert_eq!(mailbox.post(delivery(QoS::AtMostOnce)), Posted::NotKept);
        assert_eq!(post(&mailbox, 2), "WF");
        assert_eq!(mailbox.close(), 8);
        assert!(has_room(&mailbox).await);
        assert_eq!(mailbox.post(delivery(QoS::AtLeastOnce)), Posted::Closed);
    }

    /// What a client does not acknowledge counts as much as what waits for it.
    #[tokio::test]
    async fn all_mailboxes_together_hold_no_more_than_their_budget() {
        let used = Gauge::<u64, AtomicU64>::default();
        let budget = Arc::new(Budget::new(64 * 1024, used.clone()));
        let mailboxes = [1, 2]
            .map(|key| Mailbox::new(SessionKey(key), usize::MAX, usize::MAX, Arc::clone(&budget)));
        let fill = |mailbox: &Mailbox| {
            let mut n_posted = 0;
            while mailbox.post(delivery(QoS::AtLeastOnce)).is_kept() {
                n_posted += 1;
            }
            assert_eq!(mailbox.post(delivery(QoS::AtLeastOnce)), Posted::AllFull);
            n_posted
        };
        let bytes = delivery(QoS::AtLeastOnce).message.cost_bytes();
        assert_eq!(fill(&mailboxes[0]), 65 * 1024 / bytes, "the budget, and what is free");
        assert_eq!(fill(&mailboxes[1]), 1024 / bytes, "what is free");
        let mut taken = Vec::new();
        mailboxes[0].take(&mut taken, usize::MAX, usize::MAX, 0);
        assert_eq!(mailboxes[1].post(delivery(QoS::AtLeastOnce)), Posted::AllFull);
        // Half of it was acknowledged.
        mailboxes[0].take(&mut taken, usize::MAX, usize::MAX, 32 * 1024);
        assert!(fill(&mailboxes[1]) > 100);
        for mailbox in &mailboxes {
            mailbox.close();
        }
        assert_eq!(used.get(), 0);
    }
}
