//! The one thread that writes: many closures, one commit.
//!
//! Closures that wait are run one after another in one transaction, each in a savepoint of its
//! own, until none waits or a bound is reached; then one COMMIT makes all of them durable. While
//! the disk works, the next ones gather: the slower the disk, the larger the groups.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use picket_model::Change;
use picket_model::text::chain;
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{error, warn};

use crate::error::StoreError;
use crate::limits::{GROUP_MAX, GROUP_TIME_MAX};
use crate::tx::WriteTx;

/// What the writer is asked for.
pub(crate) enum Job {
    /// Run a closure in the next transaction.
    Write(Box<dyn Work>),
    /// Finish what waits, then end.
    Close(oneshot::Sender<()>),
}

/// A closure with its result and the caller who waits for it.
pub(crate) trait Work: Send {
    /// Runs the closure; `true` if it succeeded. A panic is for the caller to catch.
    fn run(&mut self, tx: &mut WriteTx) -> bool;

    /// Replaces the result: what was done has not come to stay.
    fn fail(&mut self, error: StoreError);

    /// Tells the caller the result.
    fn resolve(self: Box<Self>);
}

/// [`Work`] for a closure of the right shape.
pub(crate) struct Task<F, T, E> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Task<F, T, E> {
    pub(crate) fn new(closure: F, caller: oneshot::Sender<Result<T, E>>) -> Self {
        Self { closure: Some(closure), result: None, caller }
    }
}

impl<F, T, E> Work for Task<F, T, E>
where
    F: FnOnce(&mut WriteTx) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut WriteTx) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let result = closure(tx);
        let succeeded = result.is_ok();
        self.result = Some(result);
        succeeded
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Some(Err(error.into()));
    }

    fn resolve(self: Box<Self>) {
        let result = self.result.unwrap_or_else(|| Err(StoreError::Closed.into()));
        // A caller who no longer waits does not undo the write.
        let _ = self.caller.send(result);
    }
}

/// The loop of the writer's thread; returns when it was closed or every store handle is gone.
pub(crate) fn run(
    mut tx: WriteTx,
    mut jobs: mpsc::Receiver<Job>,
    changes: &broadcast::Sender<Arc<[Change]>>,
) {
    let mut closing: Vec<oneshot::Sender<()>> = Vec::new();
    while let Some(first) = jobs.blocking_recv() {
        let mut next = Some(first);
        let mut group = Group::default();
        let started = Instant::now();
        while let Some(job) = next.take() {
            match job {
                Job::Write(work) => group.add(&mut tx, work),
                Job::Close(done) => {
                    jobs.close();
                    closing.push(done);
                }
            }
            if group.works.len() < GROUP_MAX && started.elapsed() < GROUP_TIME_MAX {
                next = jobs.try_recv().ok();
            }
        }
        group.commit(&mut tx, changes);
    }
    // A checkpoint at the end leaves one file behind and makes the next start quick.
    if let Err(cause) = tx.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        warn!(error = %chain(&cause), "could not checkpoint the database at close");
    }
    drop(tx);
    for done in closing {
        let _ = done.send(());
    }
}

/// Closures that share a transaction.
#[derive(Default)]
struct Group {
    works: Vec<Box<dyn Work>>,
    /// Why none of them can succeed any more.
    broken: Option<StoreError>,
}

impl Group {
    fn add(&mut self, tx: &mut WriteTx, mut work: Box<dyn Work>) {
        if self.works.is_empty() {
            self.broken = execute(tx, "BEGIN IMMEDIATE").err();
        }
        match &self.broken {
            Some(broken) => work.fail(broken.clone()),
            None => self.broken = run_in_savepoint(tx, work.as_mut()).err(),
        }
        self.works.push(work);
    }

    fn commit(mut self, tx: &mut WriteTx, changes: &broadcast::Sender<Arc<[Change]>>) {
        if self.works.is_empty() {
            return;
        }
        if self.broken.is_none() {
            self.broken = commit(tx).err();
        }
        let changed = std::mem::take(&mut tx.changes);
        match self.broken {
            Some(broken) => {
                error!(error = %chain(&broken), "a group of {} writes failed", self.works.len());
                roll_back(tx);
                self.works.iter_mut().for_each(|work| work.fail(broken.clone()));
            }
            None => publish(changed, changes),
        }
        self.works.into_iter().for_each(|work| work.resolve());
    }
}

/// Runs one closure so that its failure undoes its own changes alone.
///
/// # Errors
/// When the transaction as a whole cannot go on.
fn run_in_savepoint(tx: &mut WriteTx, work: &mut dyn Work) -> Result<(), StoreError> {
    execute(tx, "SAVEPOINT closure")?;
    let changes_before = tx.changes.len();
    let outcome = catch_unwind(AssertUnwindSafe(|| work.run(tx)));
    // On a full disk and the like SQLite gives up the whole transaction, not the statement.
    if tx.connection.is_autocommit() {
        return Err(StoreError::lost_transaction());
    }
    let succeeded = outcome.unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        error!(panic = message, "a transaction panicked: {message}");
        work.fail(StoreError::Panicked(message.to_owned()));
        false
    });
    if !succeeded {
        tx.changes.truncate(changes_before);
        execute(tx, "ROLLBACK TO closure")?;
    }
    execute(tx, "RELEASE closure")
}

fn execute(tx: &mut WriteTx, sql: &str) -> Result<(), StoreError> {
    tx.connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn commit(tx: &mut WriteTx) -> Result<(), StoreError> {
    match tx.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Commit(Arc::new(error))),
    }
}

fn roll_back(tx: &mut WriteTx) {
    if !tx.connection.is_autocommit()
        && let Err(error) = execute(tx, "ROLLBACK")
    {
        error!(error = %chain(&error), "could not roll back");
    }
}

/// Tells the watchers, once for each noun, in the order of the first change.
fn publish(changed: Vec<Change>, changes: &broadcast::Sender<Arc<[Change]>>) {
    let mut seen = BTreeSet::new();
    let once: Vec<Change> = changed.into_iter().filter(|c| seen.insert(c.clone())).collect();
    if !once.is_empty() {
        // Nobody listening is no error.
        let _ = changes.send(once.into());
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests;
