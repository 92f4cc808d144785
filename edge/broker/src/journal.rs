//! What sessions that survive the server are promised, on its way to the disk.
//!
//! Connections and mailboxes append to the batch that is open and get a [`Ticket`]; a thread of its
//! own takes the batch, has the [`SessionStore`] commit it, and says so. While the disk works, the
//! next batch gathers: the slower the disk, the more goes in one commit. What must not be said before
//! it is kept is withheld by the connection until its ticket is durable.
//!
//! INVARIANT (prefix): batches are committed whole and in their order, so the disk always has a state
//! that the sessions were in together.

mod batch;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use picket_model::Timestamp;
use picket_mqtt::session::Record;
use picket_mqtt::{Delivery, DeliveryNumber, TopicFilter};
use tokio::sync::Notify;

pub use self::batch::{
    Batch, DeliveryChange, Progress, SessionChange, SessionChanges, SessionFacts, StoredOptions,
};
use crate::clock::{Clock, Monotonic};
use crate::mailbox::{Mailbox, SessionKey};
use crate::metrics::Metrics;
use crate::ports::SessionStore;

/// Stands for everything that was appended up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// Of nothing: durable from the beginning.
    pub(crate) const NOTHING: Self = Self(0);
}

/// The way of promises to the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
    /// Wakes the writer.
    work: Condvar,
    /// The last ticket of which everything is on the disk.
    durable: AtomicU64,
    /// Wakes who waits for `durable` in other ways than by its mailbox.
    committed: Notify,
    /// Whether so much waits that nothing should be added.
    is_crowded: AtomicBool,
    /// Held by whoever appends what must be kept together or not at all; no batch is closed meanwhile.
    whole: RwLock<()>,
    bytes_max: usize,
    clock: WallClock,
}

/// Both clocks, to tell a moment of the one by the other.
pub(crate) struct WallClock {
    pub(crate) wall: Clock,
    pub(crate) monotonic: Monotonic,
}

#[derive(Debug)]
struct Inner {
    batch: Batch,
    /// The ticket of the batch that is open.
    open: Ticket,
    /// Bytes of the batch that is being committed.
    committing_bytes: usize,
    last_number: u64,
    /// Whether somebody waits for the batch that is open, be it empty.
    is_awaited: bool,
    /// Whom to wake when a ticket is durable; each once, however often it asks while the disk fails.
    waiting: BTreeMap<Ticket, BTreeMap<SessionKey, Arc<Mailbox>>>,
    is_stopping: bool,
}

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WallClock").finish_non_exhaustive()
    }
}

impl WallClock {
    /// A moment of the broker's own clock, by the wall clock.
    pub(crate) fn wall(&self, at: Timestamp) -> Timestamp {
        (self.wall)() + at.millis_since(self.monotonic.now())
    }

    /// A moment of the wall clock, by the broker's own.
    pub(crate) fn monotonic(&self, at: Timestamp) -> Timestamp {
        self.monotonic.now() + at.millis_since((self.wall)())
    }
}

impl Journal {
    /// Starts the writer, behind all deliveries up to a number.
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub(crate) fn start(
        store: Box<dyn SessionStore>,
        clock: WallClock,
        bytes_max: usize,
        last_number: u64,
        metrics: &Metrics,
    ) -> std::io::Result<Arc<Self>> {
        let inner = Inner {
            batch: Batch::default(),
            open: Ticket(1),
            committing_bytes: 0,
            last_number,
            is_awaited: false,
            waiting: BTreeMap::new(),
            is_stopping: false,
        };
        let journal = Arc::new(Self {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            durable: AtomicU64::new(0),
            committed: Notify::new(),
            is_crowded: AtomicBool::new(false),
            whole: RwLock::new(()),
            bytes_max,
            clock,
        });
        writer::start(Arc::clone(&journal), store, metrics.journal.clone())?;
        Ok(journal)
    }

    // A poisoned lock still guards a whole batch: appending does not panic half-way.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, append: impl FnOnce(&mut Inner)) -> Ticket {
        let mut inner = self.lock();
        let was_idle = inner.is_idle();
        append(&mut inner);
        self.show_crowded(&inner);
        if was_idle && !inner.is_idle() {
            self.work.notify_one();
        }
        inner.open
    }

    fn show_crowded(&self, inner: &Inner) {
        let is_crowded = inner.batch.bytes() + inner.committing_bytes > self.bytes_max;
        if self.is_crowded.load(Ordering::Relaxed) != is_crowded {
            self.is_crowded.store(is_crowded, Ordering::Relaxed);
        }
    }

    /// Keeps the next appends of the caller together: they are durable at one moment.
    pub(crate) fn whole(&self) -> RwLockReadGuard<'_, ()> {
        self.whole.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a session down, or what is new of it.
    pub(crate) fn put(&self, SessionKey(session): SessionKey, facts: SessionFacts) -> Ticket {
        self.append(|inner| inner.batch.put(session, facts))
    }

    /// Forgets a session with all that belongs to it.
    pub(crate) fn end(&self, SessionKey(session): SessionKey) -> Ticket {
        self.append(|inner| inner.batch.end(session))
    }

    /// Notes how a filter is subscribed to, or that it is no more.
    pub(crate) fn subscription(
        &self,
        SessionKey(session): SessionKey,
        filter: &TopicFilter,
        options: Option<StoredOptions>,
    ) -> Ticket {
        self.append(|inner| inner.batch.subscription(session, filter, options))
    }

    /// Adds a delivery to a session and gives it its number. The caller has the session's lock, so
    /// that numbers are in the order of the queue.
    pub(crate) fn queue(&self, SessionKey(session): SessionKey, delivery: &mut Delivery) -> Ticket {
        let expires_at = delivery.message.expires_at.map(|at| self.clock.wall(at));
        self.append(|inner| {
            inner.last_number += 1;
            let Some(number) = DeliveryNumber::new(inner.last_number) else { return };
            delivery.number = Some(number);
            inner.batch.queue(session, number, delivery.clone(), expires_at);
        })
    }

    /// Notes what a session says.
    pub(crate) fn note(&self, SessionKey(session): SessionKey, record: Record) -> Ticket {
        self.append(|inner| inner.batch.note(session, record))
    }

    /// A moment of the broker's own clock, by the wall clock.
    pub(crate) fn wall(&self, at: Timestamp) -> Timestamp {
        self.clock.wall(at)
    }

    /// A moment of the wall clock, by the broker's own.
    pub(crate) fn monotonic(&self, at: Timestamp) -> Timestamp {
        self.clock.monotonic(at)
    }

    /// Stands for everything that was appended so far.
    pub(crate) fn ticket(&self) -> Ticket {
        let inner = self.lock();
        let Ticket(open) = inner.open;
        if inner.batch.is_empty() { Ticket(open - 1) } else { inner.open }
    }

    /// Whether everything that a ticket stands for is on the disk. Costs one atomic read.
    pub(crate) fn is_durable(&self, Ticket(ticket): Ticket) -> bool {
        ticket <= self.durable.load(Ordering::Acquire)
    }

    /// Whether so much waits for the disk that nothing should be added. Costs one atomic read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Wakes a session, as mail does, once a ticket is durable.
    pub(crate) fn wake(&self, ticket: Ticket, mailbox: &Arc<Mailbox>) {
        let mut inner = self.lock();
        if self.is_durable(ticket) {
            drop(inner);
            mailbox.wake();
            return;
        }
        let waiting = inner.waiting.entry(ticket).or_default();
        waiting.insert(mailbox.session, Arc::clone(mailbox));
        self.await_open(inner, ticket);
    }

    /// Wakes a session once there may be room again for what it wants to append.
    pub(crate) fn wake_for_room(&self, mailbox: &Arc<Mailbox>) {
        let open = self.lock().open;
        self.wake(open, mailbox);
    }

    /// Has the batch that is open committed although nothing may be in it, if it is waited for.
    fn await_open(&self, mut inner: MutexGuard<'_, Inner>, ticket: Ticket) {
        if ticket == inner.open {
            inner.is_awaited = true;
            self.work.notify_one();
        }
    }

    /// Waits until a ticket is durable.
    pub(crate) async fn committed(&self, ticket: Ticket) {
        loop {
            let mut committed = pin!(self.committed.notified());
            // Before looking, so that a commit right after is not missed.
            committed.as_mut().enable();
            if self.is_durable(ticket) {
                return;
            }
            self.await_open(self.lock(), ticket);
            committed.await;
        }
    }

    /// Commits what is there and ends the writer, once it is idle.
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.work.notify_one();
    }
}

impl Inner {
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && !self.is_awaited
    }
}
