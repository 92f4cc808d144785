//! What is asked of a live session from outside: its connection's task alone can answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_mqtt::{Message, QoS, TopicFilter};
use tokio::sync::oneshot;

/// A question or an errand.
#[derive(Debug)]
pub(crate) enum Ask {
    /// What it is subscribed to, and at which QoS.
    Subscriptions(oneshot::Sender<Vec<(TopicFilter, QoS)>>),
    /// That it sends a message to its client, subscribed to or not.
    Send(Direct),
}

/// A message for one client alone.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) message: Arc<Message>,
    /// Hears what became of it: at QoS 0 once it is sent, at QoS 1 once it is acknowledged. Nobody
    /// sends what nobody waits for any more.
    pub(crate) outcome: oneshot::Sender<Result<(), NotSent>>,
}

/// Why a message was not sent to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The client may not receive it.
    Denied,
    /// It is larger than what the client takes, or too old.
    Unfit,
}

/// What a session was asked and has not answered. There is a bound on it where the asking comes
/// from: each ask has an HTTP request that waits for it.
#[derive(Debug)]
pub(crate) struct Asks {
    /// `None` while there is no connection: nobody would answer.
    waiting: Mutex<Option<Vec<Ask>>>,
    /// Whether any wait. Looked at without the lock, with every turn of the connection.
    any: AtomicBool,
}

impl Asks {
    /// Those of a session that has a connection.
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())), any: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Ask>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; false if there is no connection to answer it. The caller wakes it.
    pub(crate) fn put(&self, ask: Ask) -> bool {
        let mut waiting = self.lock();
        let Some(waiting) = waiting.as_mut() else { return false };
        waiting.push(ask);
        self.any.store(true, Ordering::Release);
        true
    }

    /// Whether any wait.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes all that wait, in the order of their coming.
    pub(crate) fn take(&self) -> Vec<Ask> {
        let mut waiting = self.lock();
        self.any.store(false, Ordering::Relaxed);
        waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has them wait again, before those that came meanwhile.
    pub(crate) fn put_back(&self, mut asks: Vec<Ask>) {
        let mut waiting = self.lock();
        if let Some(waiting) = waiting.as_mut() {
            asks.append(waiting);
            *waiting = asks;
            self.any.store(true, Ordering::Release);
        }
    }

    /// Begins to take asks, or ends: then those that wait are told so by being dropped.
    pub(crate) fn set_open(&self, is_open: bool) {
        let mut waiting = self.lock();
        self.any.store(false, Ordering::Relaxed);
        *waiting = is_open.then(Vec::new);
    }
}
