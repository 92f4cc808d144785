//! [`Store`]: the handle that everybody shares.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use picket_model::{Account, Change};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::warn;

use crate::error::StoreError;
use crate::limits::{CHANGES_KEPT, IDLE_READERS_MAX, QUEUE_MAX, STATEMENTS_KEPT};
use crate::meta;
use crate::migrations::{STORE, migrate};
use crate::tx::{ReadTx, WriteTx};
use crate::writer::{self, Job, Task};

/// Everything that lasts, in one SQLite database. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    account: Account,
    closed: AtomicBool,
    idle_readers: Mutex<Vec<ReadTx>>,
    changes: broadcast::Sender<Arc<[Change]>>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// Held for as long as this process works on the directory.
    lock: Mutex<Option<DirLock>>,
}

impl Store {
    /// Opens the store in `dir`, which is made (mode 0700) if it is missing, and brings its schema
    /// up to date. Blocking.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::NewerSchema`] if a later
    /// version of Picket wrote it, [`StoreError::OtherAccount`] if it belongs to another account.
    pub fn open(dir: &Path, account: Account) -> Result<Store, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(opening(dir))?;
        let lock = lock(dir)?;
        let path = dir.join("picket.db");
        // SQLite gives its log files the mode of the database.
        let file = private_file(&path).map_err(opening(&path))?;
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(opening(&path))?;
        // Before SQLite opens it: whoever closes a file gives up all locks that the process has on it.
        drop(file);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(opening(dir))?;

        let mut connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare_writer(&connection)?;
        migrate(&mut connection, STORE)?;
        prepare_statements(&connection);
        let mut tx = WriteTx::new(ReadTx::new(connection, account.clone()));
        claim_account(&mut tx, &account)?;

        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let watchers = changes.clone();
        let writer = std::thread::Builder::new()
            .name("picket-store".to_owned())
            .spawn(move || writer::run(tx, queue, &watchers))
            .map_err(opening(dir))?;
        Ok(Store {
            shared: Arc::new(Shared {
                path,
                account,
                closed: AtomicBool::new(false),
                idle_readers: Mutex::default(),
                changes,
                jobs: Some(jobs),
                writer: Some(writer),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.shared.path.parent().unwrap_or(Path::new("."))
    }

    /// The account that the store belongs to.
    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// Reads from one consistent snapshot, on the caller's thread. Blocking, but never for a
    /// writer.
    ///
    /// # Errors
    /// What `f` says, or that the store is closed or fails.
    pub fn read<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&ReadTx) -> Result<T, E>,
    ) -> Result<T, E> {
        let reader = Reader::begin(&self.shared)?;
        f(reader.tx())
    }

    /// Runs `f` in a transaction on the writer's thread and resolves when the commit is on disk.
    ///
    /// An error of `f` undoes what `f` did and nothing else; a panic of `f` does the same and comes
    /// back as [`StoreError::Panicked`]. Once `f` is in the queue it runs, whether or not the
    /// future is still polled; a future that is dropped before that (never polled, or waiting for
    /// room in a full queue) leaves nothing behind.
    ///
    /// # Errors
    /// What `f` says, or that the store is closed, or that the commit failed.
    pub async fn write<T, E>(
        &self,
        f: impl FnOnce(&mut WriteTx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let job = Job::Write(Box::new(Task::new(f, caller)));
        let Some(jobs) = &self.shared.jobs else { return Err(StoreError::Closed.into()) };
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// What commits change: one item for each commit that changed something, in commit order,
    /// sent before the futures of its writes resolve.
    ///
    /// A receiver that falls far behind gets `Lagged` and must take everything for changed.
    pub fn changes(&self) -> broadcast::Receiver<Arc<[Change]>> {
        self.shared.changes.subscribe()
    }

    /// Finishes what is in the queue, merges the log into the database and lets go of the data
    /// directory. Reads and writes that come later fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if let Some(jobs) = &self.shared.jobs
            && jobs.send(Job::Close(done)).await.is_ok()
        {
            // An error means that the writer has ended, which is what is waited for.
            let _ = closed.await;
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        lock_of(&self.shared.idle_readers).clear();
        lock_of(&self.shared.lock).take();
    }
}

impl Drop for Shared {
    /// Waits for the writer to finish, so that whoever opens the directory next finds it free.
    fn drop(&mut self) {
        self.jobs.take();
        lock_of(&self.idle_readers).clear();
        // The last handle may have travelled inside a closure: the writer cannot wait for itself.
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

/// A reader connection in a transaction; back to the pool when dropped.
struct Reader<'a> {
    shared: &'a Shared,
    /// `None` only while dropping.
    tx: Option<ReadTx>,
}

impl<'a> Reader<'a> {
    fn begin(shared: &'a Shared) -> Result<Self, StoreError> {
        if shared.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let idle = lock_of(&shared.idle_readers).pop();
        let tx = match idle {
            Some(tx) => tx,
            None => open_reader(&shared.path, shared.account.clone())?,
        };
        tx.connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self { shared, tx: Some(tx) })
    }

    #[expect(clippy::expect_used, reason = "it is taken by drop alone")]
    fn tx(&self) -> &ReadTx {
        self.tx.as_ref().expect("a reader has a transaction until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(tx) = self.tx.take() else { return };
        let ended = tx.connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        if ended.is_err() || self.shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let mut idle = lock_of(&self.shared.idle_readers);
        if idle.len() < IDLE_READERS_MAX {
            idle.push(tx);
        }
    }
}

/// What the mutexes guard is whole after every step, so a panic elsewhere spoils nothing.
fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says of which file it is that an error comes.
pub(crate) fn opening(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Open { path: path.clone(), source: Arc::new(source) }
}

/// Opens a file that only its owner may read, and makes it if it is missing.
///
/// A database is to be closed again before SQLite opens it. Source: "How To Corrupt An SQLite
/// Database File", 2.2, about locks that are canceled by another close.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The right to work on a data directory. It goes with the process, however that ends.
struct DirLock(File);

impl Drop for DirLock {
    /// Lets go in so many words. Closing the file would not do: a child process that another
    /// thread is just starting has it open too, until its `exec`, and would keep the lock so long.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            warn!(%error, "could not let go of the data directory");
        }
    }
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join("picket.lock");
    let failed = |source| StoreError::Open { path: path.clone(), source: Arc::new(source) };
    let file = private_file(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

pub(crate) fn prepare_writer(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: the log is on the disk, not only on its way, before COMMIT returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // After a burst the log file gives its space back.
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    Ok(())
}

pub(crate) fn prepare_statements(connection: &Connection) {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
}

fn open_reader(path: &Path, account: Account) -> Result<ReadTx, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    prepare_statements(&connection);
    Ok(ReadTx::new(connection, account))
}

/// Writes the account down at the first start and compares it at every later one.
pub(crate) fn claim_account(tx: &mut WriteTx, account: &Account) -> Result<(), StoreError> {
    const KEY: &str = "store.account";
    match meta::get(tx, KEY)? {
        None => {
            tx.connection.execute_batch("BEGIN IMMEDIATE")?;
            meta::put(tx, KEY, account.id.as_bytes())?;
            Ok(tx.connection.execute_batch("COMMIT")?)
        }
        Some(found) if found == account.id.as_bytes() => Ok(()),
        Some(found) => Err(StoreError::OtherAccount {
            found: String::from_utf8_lossy(&found).into_owned(),
            given: account.id.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_directory_is_free_once_it_is_let_go_although_a_child_process_has_the_file_too() {
        let dir = TempDir::new().unwrap();
        let held = lock(dir.path()).unwrap();
        // What fork does to every open file, until the child's exec closes it.
        let in_the_child = held.0.try_clone().unwrap();
        assert!(matches!(lock(dir.path()), Err(StoreError::InUse { .. })));
        drop(held);
        assert!(lock(dir.path()).is_ok());
        drop(in_the_child);
    }
}
