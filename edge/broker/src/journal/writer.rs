//! The thread that commits one batch after the other, and does not give up while the disk fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use picket_model::text::chain;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tracing::{error, info};

use super::{Batch, Journal, Ticket};
use crate::ports::SessionStore;

/// Time between two attempts to commit a batch, doubled up to the second: a disk that is full for a
/// moment is tried again at once, one that stays full is not worn out.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What operators see of the journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalMetrics {
    /// Batches on the disk.
    pub(crate) commits: Counter,
    /// Attempts that failed.
    pub(crate) failures: Counter,
    /// 1 while the disk fails.
    pub(crate) is_failing: Gauge,
    /// Waits for the disk.
    pub(crate) bytes: Gauge<u64, AtomicU64>,
}

/// Starts the thread. It ends when the journal is stopped.
pub(super) fn start(
    journal: Arc<Journal>,
    store: Box<dyn SessionStore>,
    metrics: JournalMetrics,
) -> std::io::Result<()> {
    let run = move || Writer { journal, store, metrics }.run();
    std::thread::Builder::new().name("picket-sessions".to_owned()).spawn(run)?;
    Ok(())
}

struct Writer {
    journal: Arc<Journal>,
    store: Box<dyn SessionStore>,
    metrics: JournalMetrics,
}

impl Writer {
    fn run(mut self) {
        while let Some((ticket, batch)) = self.take() {
            self.metrics.bytes.set(batch.bytes() as u64);
            if !batch.is_empty() && !self.commit(&batch) {
                // What connections withhold stays withheld: nobody was told what is not kept.
                return;
            }
            self.tell(ticket);
        }
    }

    /// Closes the batch that is open, once there is something in it or somebody waits for it. `None`
    /// when the journal was stopped and nothing is left.
    fn take(&self) -> Option<(Ticket, Batch)> {
        let journal = &self.journal;
        let waits = |inner: &mut super::Inner| inner.is_idle() && !inner.is_stopping;
        let inner = journal.work.wait_while(journal.lock(), waits);
        if inner.unwrap_or_else(PoisonError::into_inner).is_idle() {
            return None;
        }
        let _nobody_appends = journal.whole.write().unwrap_or_else(PoisonError::into_inner);
        let mut inner = journal.lock();
        let batch = std::mem::take(&mut inner.batch);
        inner.committing_bytes = batch.bytes();
        inner.is_awaited = false;
        let ticket = inner.open;
        inner.open.0 += 1;
        Some((ticket, batch))
    }

    /// Commits a batch, however often that takes. False if the journal was stopped before.
    fn commit(&mut self, batch: &Batch) -> bool {
        let mut pause = RETRY_FIRST;
        while let Err(failed) = self.store.commit(batch) {
            self.metrics.failures.inc();
            if self.metrics.is_failing.set(1) == 0 {
                error!(error = %chain(&failed), "sessions cannot be stored: acknowledgements wait until they can");
            }
            if self.pause(pause) {
                let n = batch.sessions.len();
                error!(error = %chain(&failed), "the last changes of {n} sessions are not stored");
                return false;
            }
            pause = (pause * 2).min(RETRY_LONGEST);
        }
        self.metrics.commits.inc();
        if self.metrics.is_failing.set(0) == 1 {
            info!("sessions are stored again");
        }
        true
    }

    /// Waits until it is time for another attempt. True if the journal is stopped meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        let journal = &self.journal;
        let going_on = |inner: &mut super::Inner| !inner.is_stopping;
        let waited = journal.work.wait_timeout_while(journal.lock(), pause, going_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Says that everything up to a ticket is on the disk.
    fn tell(&self, ticket: Ticket) {
        let journal = &self.journal;
        let due = {
            let mut inner = journal.lock();
            journal.durable.store(ticket.0, Ordering::Release);
            inner.committing_bytes = 0;
            self.metrics.bytes.set(inner.batch.bytes() as u64);
            journal.show_crowded(&inner);
            let later = inner.waiting.split_off(&Ticket(ticket.0 + 1));
            std::mem::replace(&mut inner.waiting, later)
        };
        for mailbox in due.into_values().flat_map(BTreeMap::into_values) {
            mailbox.wake();
        }
        journal.committed.notify_waiters();
    }
}
