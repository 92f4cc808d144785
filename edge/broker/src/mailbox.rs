//! What waits for one session, handed over from the tasks of its publishers.
//!
//! A mailbox that fills up asks its publishers to wait a moment, so that a subscriber that is merely
//! busy loses nothing. They wait for it once: one that does not get on is not waited for again until
//! it did, and loses what it has no room for meanwhile. Nobody is held up for long by another's slowness.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_mqtt::queue::{DeliveryQueue, QueueFull};
use picket_mqtt::{Delivery, QoS};
use tokio::sync::Notify;

/// Tells one session from all others, before and after, of whatever client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(pub(crate) u64);

/// A session's mailbox: bounded by count and by bytes, open while the session exists.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) session: SessionKey,
    inner: Mutex<Inner>,
    mail: Notify,
    /// Whether the client is connected. Read without the lock to choose among a group's members.
    online: AtomicBool,
    /// Whether publishers are to wait. Written under the lock.
    crowded: AtomicBool,
    has_room: Notify,
}

#[derive(Debug)]
struct Inner {
    queue: DeliveryQueue,
    closed: bool,
    /// Publishers waited in vain: no more of them are to, until so many deliveries were taken out.
    given_up_for: usize,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It waits.
    Waits,
    /// It waits, and the next one had better wait for room.
    Crowds,
    /// The client is away, and what is sent at most once is not kept for it. By design, not a drop.
    NotKept,
    /// There is no room.
    Full,
    /// The session is over.
    Closed,
}

impl Mailbox {
    /// An empty one of a session whose client is connected.
    pub(crate) fn new(session: SessionKey, messages_max: usize, bytes_max: usize) -> Self {
        let queue = DeliveryQueue::new(messages_max, bytes_max);
        Self {
            session,
            inner: Mutex::new(Inner { queue, closed: false, given_up_for: 0 }),
            mail: Notify::new(),
            online: AtomicBool::new(true),
            crowded: AtomicBool::new(false),
            has_room: Notify::new(),
        }
    }

    /// Adds a delivery and wakes the session if it had none.
    pub(crate) fn post(&self, delivery: Delivery) -> Posted {
        if delivery.qos == QoS::AtMostOnce && !self.is_online() {
            return Posted::NotKept;
        }
        let mut inner = self.lock();
        if inner.closed {
            return Posted::Closed;
        }
        let was_empty = inner.queue.is_empty();
        let posted = inner.queue.push(delivery);
        let crowds = inner.queue.is_above(3, 4) && inner.given_up_for == 0 && self.is_online();
        if crowds {
            self.crowded.store(true, Ordering::Relaxed);
        }
        drop(inner);
        match posted {
            Err(QueueFull) => return Posted::Full,
            Ok(()) if was_empty => self.mail.notify_one(),
            Ok(()) => {}
        }
        if crowds { Posted::Crowds } else { Posted::Waits }
    }

    /// Moves what may leave; see [`DeliveryQueue::take`]. True if something is left.
    pub(crate) fn take(&self, into: &mut Vec<Delivery>, room: usize, bytes_max: usize) -> bool {
        let mut inner = self.lock();
        let before = into.len();
        let is_left = inner.queue.take(into, room, bytes_max);
        inner.given_up_for = inner.given_up_for.saturating_sub(into.len() - before);
        if !inner.queue.is_above(1, 2) {
            self.let_in();
        }
        is_left
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

    /// Waits for a delivery into the empty mailbox. May return without one.
    pub(crate) async fn mail(&self) {
        self.mail.notified().await;
    }

    /// Whether the client is connected.
    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    /// Notes whether the client is connected.
    pub(crate) fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::Relaxed);
        self.let_in();
    }

    /// Ends the mailbox with its session; says how many deliveries are lost with it.
    pub(crate) fn close(&self) -> usize {
        let mut inner = self.lock();
        inner.closed = true;
        self.let_in();
        inner.queue.clear()
    }

    // A poisoned lock still guards a whole queue: pushing and taking do not panic half-way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_model::Timestamp;
    use picket_mqtt::{Message, TopicLimits, TopicName};

    use super::*;

    fn delivery(qos: QoS) -> Delivery {
        let topic = TopicName::parse("t", &TopicLimits { bytes_max: 9, levels_max: 1 }).unwrap();
        let message = Message::received(topic, "x".into(), qos, None, Timestamp::EPOCH);
        Delivery { message: Arc::new(message), qos, retain: false, subscription_ids: None }
    }

    /// Posts deliveries of QoS 1 and says what became of each, in one letter.
    fn post(mailbox: &Mailbox, n: usize) -> String {
        (0..n)
            .map(|_| format!("{:?}", mailbox.post(delivery(QoS::AtLeastOnce))).remove(0))
            .collect()
    }

    fn take(mailbox: &Mailbox, n: usize) {
        mailbox.take(&mut Vec::new(), n, usize::MAX);
    }

    async fn has_room(mailbox: &Mailbox) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, mailbox.room()).await.is_ok()
    }

    fn mailbox() -> Mailbox {
        Mailbox::new(SessionKey(1), 8, usize::MAX)
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
}
