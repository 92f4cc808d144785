//! The host: takes events, keeps the pools, starts processes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use picket_model::limits::FUNCTION_PAYLOAD_BYTES_MAX;
use picket_model::text::chain;
use picket_model::{Account, Change, Function, FunctionName, FunctionRuntime};
use picket_store::{ReadTx, RegistryError, Store, functions};
use thiserror::Error;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::code::{self, BOOTSTRAP, CodeFolder, CodeStore};
use super::environment::Inherited;
use super::invocation::{Invocation, InvokeError, Outcome};
use super::launch::Launcher;
use super::log::FunctionLog;
use super::pool::{Pool, Revision};
use super::process::{self, Finished, Job, NotTaken, ProcessHandle};
use super::spawn::{self, Spawner};
use crate::limits::{EVENTS_WAITING_MAX, HostLimits};
use crate::metrics::{InvocationEnd, Metrics};
use crate::ports::{Clock, IssueKeys};
use crate::python::{self, PythonError};

/// Processes that one event is offered to: all that may be warm, and a few new ones.
const PROCESSES_TRIED_MAX: usize = 16;

/// What a [`FunctionHost`] is told about the server that it belongs to.
pub struct FunctionHostConfig {
    /// A folder of its own, made if it is missing: unpacked code, scratch folders, logs.
    pub folder: PathBuf,
    /// The account that functions belong to.
    pub account: Account,
    /// Where functions find this server's API, for example `http://127.0.0.1:8080`.
    pub endpoint_url: String,
    /// The certificate to check the API's against, when the API speaks TLS.
    pub ca_bundle: Option<PathBuf>,
    /// The Python that functions run in.
    pub python: python::Choice,
    /// Bounds.
    pub limits: HostLimits,
}

/// Why a [`FunctionHost`] cannot be made.
#[derive(Debug, Error)]
pub enum HostError {
    /// A folder cannot be made or emptied.
    #[error("`{}` cannot be used", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The thread that starts processes cannot be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
}

/// Runs functions. Cheap to clone; all clones are one host.
#[derive(Clone)]
pub struct FunctionHost {
    inner: Arc<Inner>,
}

struct Inner {
    /// Absolute: processes run in other folders than the server does.
    folder: PathBuf,
    limits: HostLimits,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    launcher: Launcher,
    code: CodeStore,
    choice: python::Choice,
    /// The interpreter, once it was needed.
    python: OnceCell<PathBuf>,
    pools: Mutex<BTreeMap<FunctionName, Entry>>,
    /// The log of each function that has a pool; two revisions of a function share it.
    logs: Mutex<BTreeMap<FunctionName, Weak<FunctionLog>>>,
    /// One for each process that there may be.
    places: Arc<Semaphore>,
    /// One for each event that was accepted for later.
    events: Arc<Semaphore>,
    is_stopping: watch::Sender<bool>,
    /// Cloned by every task that must be over before the host is: see [`FunctionHost::shutdown`].
    alive: Mutex<Option<mpsc::Sender<Infallible>>>,
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// A function as it was when it was last invoked. The pool is made by the first who needs it.
#[derive(Clone)]
struct Entry {
    revision_id: String,
    pool: Arc<OnceCell<Arc<Pool>>>,
}

impl FunctionHost {
    /// Makes a host, and ends what a killed one left in the same folder. Must be called inside a
    /// runtime; waits for the disk.
    ///
    /// # Errors
    /// [`HostError`] when its folder cannot be used.
    pub fn new(
        config: FunctionHostConfig,
        store: Store,
        keys: Arc<dyn IssueKeys>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, HostError> {
        let FunctionHostConfig { folder, account, endpoint_url, ca_bundle, python, limits } =
            config;
        make_private(&folder)?;
        // Canonical: by this name the next server finds what this one leaves.
        let folder = fs::canonicalize(&folder).map_err(|source| folder_error(&folder, source))?;
        let ca_bundle = ca_bundle
            .map(|path| std::path::absolute(&path).map_err(|source| folder_error(&path, source)))
            .transpose()?;
        let (code, scratch) = (folder.join("code"), folder.join("scratch"));
        let n_killed = spawn::kill_living_in(&scratch);
        if n_killed > 0 {
            tracing::warn!("killed {n_killed} processes of functions that an earlier run left");
        }
        for folder in [&code, &scratch] {
            code::remove_folder(folder);
            make_private(folder)?;
        }
        make_private(&folder.join("log"))?;
        let (alive, ended) = mpsc::channel(1);
        let launcher = Launcher {
            account,
            endpoint_url,
            ca_bundle,
            scratch,
            limits,
            inherited: Inherited::from_server(),
            spawner: Spawner::start().map_err(HostError::Thread)?,
            keys,
            clock: Arc::clone(&clock),
        };
        let inner = Arc::new(Inner {
            places: Arc::new(Semaphore::new(limits.processes_max)),
            events: Arc::new(Semaphore::new(EVENTS_WAITING_MAX)),
            launcher,
            code: CodeStore::new(code),
            choice: python,
            python: OnceCell::new(),
            pools: Mutex::default(),
            logs: Mutex::default(),
            is_stopping: watch::channel(false).0,
            alive: Mutex::new(Some(alive)),
            ended: tokio::sync::Mutex::new(ended),
            folder,
            limits,
            store,
            clock,
            metrics,
        });
        tokio::spawn(drop_changed(Arc::downgrade(&inner), inner.store.changes()));
        Ok(Self { inner })
    }

    /// Begins to make ready what a runtime needs, so that the first invocation need not wait for
    /// it: the private Python environment. Returns at once; failures are logged, and met again by
    /// the first invocation.
    pub fn prepare(&self, runtime: &FunctionRuntime) {
        if let FunctionRuntime::Python(_) = runtime {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move {
                if let Err(error) = inner.python().await {
                    tracing::error!(error = %chain(&error), "functions in Python cannot run");
                }
            });
        }
    }

    /// Runs a function on an event and waits for its answer.
    ///
    /// `event` is JSON; an empty one counts as `{}`. Once started, the run goes on whether or not
    /// the future is still polled. That the function failed is not an error of this call: see
    /// [`Invocation::function_error`].
    ///
    /// # Errors
    /// [`InvokeError`] when the function was not run.
    pub async fn invoke(
        &self,
        name: &FunctionName,
        event: Bytes,
    ) -> Result<Invocation, InvokeError> {
        let event = check_event(event)?;
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        let run = tokio::spawn(async move { inner.invoke(&name, event).await });
        run.await.unwrap_or(Err(InvokeError::Stopping))
    }

    /// Accepts an event for later, as invocation type `Event` does: the answer is dropped, and a
    /// run that fails is repeated after [`HostLimits::event_retries`].
    ///
    /// Accepted events are kept in memory: those that wait when the server stops are lost, and
    /// logged. Notifications do not go this way, they lie in the outbox until they are done.
    ///
    /// # Errors
    /// [`InvokeError`] when the function does not exist, the event is not valid, or too many wait.
    pub async fn invoke_later(&self, name: &FunctionName, event: Bytes) -> Result<(), InvokeError> {
        let event = check_event(event)?;
        let Ok(place) = Arc::clone(&self.inner.events).try_acquire_owned() else {
            return Err(InvokeError::Busy(format!("{EVENTS_WAITING_MAX} events wait already")));
        };
        self.inner.load(name).await?;
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        tokio::spawn(async move {
            inner.run_event(&name, event).await;
            drop(place);
        });
        Ok(())
    }

    /// Where the log of a function lies. The part that was rotated out has `.1` behind its name.
    pub fn log_path(&self, name: &FunctionName) -> PathBuf {
        self.inner.log_path(name)
    }

    /// Ends all processes, those that work too, and waits until they are gone. Invocations fail
    /// from now on.
    pub async fn shutdown(&self) {
        self.inner.is_stopping.send_replace(true);
        for (_, entry) in std::mem::take(&mut *self.inner.pools()) {
            if let Some(pool) = entry.pool.get() {
                pool.retire();
            }
        }
        self.inner.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nothing is ever sent: it ends when the last sender is gone.
        self.inner.ended.lock().await.recv().await;
    }
}

fn folder_error(path: &Path, source: io::Error) -> HostError {
    HostError::Folder { path: path.to_owned(), source }
}

fn make_private(folder: &Path) -> Result<(), HostError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| folder_error(folder, source))
}

fn check_event(event: Bytes) -> Result<Bytes, InvokeError> {
    if event.len() > FUNCTION_PAYLOAD_BYTES_MAX {
        return Err(InvokeError::EventTooLarge {
            len: event.len(),
            max: FUNCTION_PAYLOAD_BYTES_MAX,
        });
    }
    if event.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&event) {
        Ok(_) => Ok(event),
        Err(error) => Err(InvokeError::EventNotJson(error.to_string())),
    }
}

/// Ends the idle processes of functions that changed, as long as the host is there.
async fn drop_changed(host: Weak<Inner>, mut changes: broadcast::Receiver<Arc<[Change]>>) {
    loop {
        let changed = changes.recv().await;
        let Some(host) = host.upgrade() else { return };
        let names: Vec<_> = match changed {
            Ok(changes) => changes
                .iter()
                .filter_map(|change| match change {
                    Change::Function(name) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
            Err(broadcast::error::RecvError::Lagged(_)) => host.pools().keys().cloned().collect(),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        for name in names {
            host.retire_changed(&name).await;
        }
    }
}

impl Inner {
    fn pools(&self) -> std::sync::MutexGuard<'_, BTreeMap<FunctionName, Entry>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self, name: &FunctionName) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    fn log(&self, name: &FunctionName) -> Arc<FunctionLog> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(name).and_then(Weak::upgrade) {
            return log;
        }
        logs.retain(|_, log| log.strong_count() > 0);
        let log = Arc::new(FunctionLog::new(self.log_path(name), Arc::clone(&self.clock)));
        logs.insert(name.clone(), Arc::downgrade(&log));
        log
    }

    /// Ends the idle processes of a function if the store has another revision of it, or none.
    ///
    /// News may come late: the processes of the present revision are to stay.
    async fn retire_changed(self: &Arc<Self>, name: &FunctionName) {
        if !self.pools().contains_key(name) {
            return;
        }
        let present = match self.load(name).await {
            Ok(function) => Some(function.revision_id),
            Err(InvokeError::NotFound(_)) => None,
            // Every invocation looks at the revision anyway.
            Err(_) => return,
        };
        let mut pools = self.pools();
        if pools.get(name).is_some_and(|entry| Some(&entry.revision_id) != present.as_ref())
            && let Some(entry) = pools.remove(name)
            && let Some(pool) = entry.pool.get()
        {
            pool.retire();
        }
    }

    /// The right to be waited for by [`FunctionHost::shutdown`]; none any more once it began.
    fn alive(&self) -> Result<mpsc::Sender<Infallible>, InvokeError> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.clone().ok_or(InvokeError::Stopping)
    }

    /// Reads something from the store, on a thread that may wait.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        name: &FunctionName,
        read: impl FnOnce(&ReadTx, &FunctionName) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, InvokeError> {
        let (inner, function) = (Arc::clone(self), name.clone());
        let found =
            tokio::task::spawn_blocking(move || inner.store.read(|tx| read(tx, &function))).await;
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(RegistryError::NotFound { .. })) => Err(InvokeError::NotFound(name.clone())),
            Ok(Err(source)) => Err(InvokeError::Store { function: name.clone(), source }),
            Err(_) => Err(InvokeError::Stopping),
        }
    }

    async fn load(self: &Arc<Self>, name: &FunctionName) -> Result<Function, InvokeError> {
        self.read(name, functions::get).await
    }

    /// Runs an accepted event until it succeeds or has failed often enough.
    async fn run_event(self: &Arc<Self>, name: &FunctionName, event: Bytes) {
        let mut waits = self.limits.event_retries.iter();
        loop {
            let problem = match self.invoke(name, event.clone()).await {
                Ok(invocation) => invocation.failure(),
                Err(error) => Some(chain(&error)),
            };
            let Some(problem) = problem else { return };
            let mut is_stopping = self.is_stopping.subscribe();
            let Some(wait) = waits.next() else {
                tracing::warn!(function.name = %name, "an event is given up: {problem}");
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(*wait) => {}
                _ = is_stopping.wait_for(|&is_stopping| is_stopping) => {
                    tracing::warn!(
                        function.name = %name,
                        "an event is lost because the server stops: {problem}"
                    );
                    return;
                }
            }
        }
    }

    async fn invoke(
        self: &Arc<Self>,
        name: &FunctionName,
        event: Bytes,
    ) -> Result<Invocation, InvokeError> {
        let request_id = Uuid::new_v4().to_string();
        let run = self.run(name, &request_id, event).await;
        let end = match &run {
            Ok(Finished { outcome: Outcome::Answer(_), .. }) => InvocationEnd::Answered,
            Ok(_) => InvocationEnd::Failed,
            Err(_) => InvocationEnd::NotRun,
        };
        self.metrics.count_invocation(end);
        let finished = run?;
        let (payload, function_error) = match finished.outcome {
            Outcome::Answer(payload) => (payload, None),
            Outcome::Reported(payload) => (payload, Some("Unhandled".to_owned())),
            Outcome::Failed(failure) => {
                (failure.document(&request_id), Some("Unhandled".to_owned()))
            }
        };
        let invocation = Invocation {
            request_id,
            payload,
            function_error,
            log_tail: finished.log_tail,
            duration: finished.duration,
            memory_max_bytes: finished.memory_max_bytes,
        };
        tracing::info!(
            function.name = %name,
            request.id = invocation.request_id,
            duration_ms = u64::try_from(invocation.duration.as_millis()).unwrap_or(u64::MAX),
            "function {name} {}",
            match invocation.failure() {
                None => "answered".to_owned(),
                Some(failure) => format!("failed: {}", failure.escape_debug()),
            }
        );
        Ok(invocation)
    }

    async fn run(
        self: &Arc<Self>,
        name: &FunctionName,
        request_id: &str,
        event: Bytes,
    ) -> Result<Finished, InvokeError> {
        let function = self.load(name).await?;
        let pool = self.pool(&function).await?;
        let queue_timeout = self.limits.queue_timeout;
        let busy = || {
            InvokeError::Busy(format!(
                "function `{name}` is busy with as much as it may run at once"
            ))
        };
        let mut slot = match tokio::time::timeout(queue_timeout, pool.slot()).await {
            Ok(Some(slot)) => slot,
            Ok(None) | Err(_) => return Err(busy()),
        };
        // A warm process may end in the very moment; that a new one does so over and over is its
        // own fault.
        for _ in 0..PROCESSES_TRIED_MAX {
            let (reply, finished) = oneshot::channel();
            let job = |handle, slot| Job {
                request_id: request_id.to_owned(),
                event: event.clone(),
                reply,
                slot,
                handle,
            };
            match pool.take_warm() {
                Some(handle) => {
                    // A job that comes back is dropped, and its reply says so below.
                    if let Err(Job { slot, reply, .. }) = handle.send(job(handle.clone(), slot)) {
                        let _ = reply.send(Err(NotTaken { slot }));
                    }
                }
                None => {
                    let (handle, jobs) = ProcessHandle::new();
                    self.start(&pool, job(handle, slot), jobs).await?;
                }
            }
            match finished.await {
                Ok(Ok(finished)) => return Ok(finished),
                Ok(Err(NotTaken { slot: free })) => slot = free,
                Err(_) => return Err(InvokeError::Stopping),
            }
        }
        Err(InvokeError::Start {
            function: name.clone(),
            source: io::Error::other("its processes end before they take the event"),
        })
    }

    /// The pool of a function's present revision; the one of an older revision is retired.
    async fn pool(self: &Arc<Self>, function: &Function) -> Result<Arc<Pool>, InvokeError> {
        let entry = {
            let mut pools = self.pools();
            if pools.get(&function.name).is_some_and(|e| e.revision_id != function.revision_id)
                && let Some(old) = pools.remove(&function.name)
                && let Some(pool) = old.pool.get()
            {
                pool.retire();
            }
            pools
                .entry(function.name.clone())
                .or_insert_with(|| Entry {
                    revision_id: function.revision_id.clone(),
                    pool: Arc::default(),
                })
                .clone()
        };
        entry.pool.get_or_try_init(|| self.make_pool(&function.name)).await.cloned()
    }

    async fn make_pool(self: &Arc<Self>, name: &FunctionName) -> Result<Arc<Pool>, InvokeError> {
        // One snapshot: code and configuration of the same moment.
        let (function, zip) = self
            .read(name, |tx, name| Ok((functions::get(tx, name)?, functions::code(tx, name)?)))
            .await?;
        let code = self.unpack(name, zip).await?;
        let (program, arguments) = match &function.runtime {
            FunctionRuntime::Python(_) => {
                let python = self
                    .python()
                    .await
                    .map_err(|source| InvokeError::Python { function: name.clone(), source })?;
                let handler = function.handler.clone();
                // `-B`: code is read only, also for a server that runs as root.
                (python, vec!["-B".to_owned(), "-m".to_owned(), "awslambdaric".to_owned(), handler])
            }
            FunctionRuntime::Provided(_) => (code.path().join(BOOTSTRAP), Vec::new()),
        };
        let revision = Revision { function, code, program, arguments };
        let n_slots = self.limits.processes_per_function_max;
        Ok(Arc::new(Pool::new(revision, self.log(name), n_slots)))
    }

    async fn unpack(
        self: &Arc<Self>,
        name: &FunctionName,
        zip: Vec<u8>,
    ) -> Result<Arc<CodeFolder>, InvokeError> {
        let inner = Arc::clone(self);
        match tokio::task::spawn_blocking(move || inner.code.unpack(&zip)).await {
            Ok(unpacked) => {
                unpacked.map_err(|source| InvokeError::Code { function: name.clone(), source })
            }
            Err(_) => Err(InvokeError::Stopping),
        }
    }

    /// The interpreter. Who comes while it is being made waits; a failure is tried again by the
    /// next who comes.
    async fn python(&self) -> Result<PathBuf, PythonError> {
        let make = || async {
            let choice = self.choice.clone();
            let made = tokio::task::spawn_blocking(move || match choice {
                python::Choice::Given(path) => python::check(&path).map(|python| python.path),
                python::Choice::Private { cache } => {
                    python::setup(&cache, &mut |step| tracing::info!("{step}"))
                }
            });
            made.await.unwrap_or_else(|error| {
                let source = io::Error::other(error);
                Err(PythonError::CannotRun { path: "python3".into(), source })
            })
        };
        self.python.get_or_try_init(make).await.cloned()
    }

    /// Starts a process for a job.
    async fn start(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        job: Job,
        jobs: mpsc::Receiver<Job>,
    ) -> Result<(), InvokeError> {
        let alive = self.alive()?;
        let place = self.place().await?;
        let process = self.launcher.launch(pool, jobs, place, self.is_stopping.subscribe()).await;
        let process = process.map_err(|source| InvokeError::Start {
            function: pool.revision.function.name.clone(),
            source,
        })?;
        tokio::spawn(async move {
            process::run(process, job).await;
            drop(alive);
        });
        Ok(())
    }

    /// Room for one more process. When there is none, the process of any function that has been
    /// idle for longest makes room.
    async fn place(&self) -> Result<OwnedSemaphorePermit, InvokeError> {
        /// How long an evicted process may take to be gone until another one is evicted.
        const PATIENCE: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + self.limits.queue_timeout;
        let mut wait = Duration::ZERO;
        while Instant::now() < deadline {
            let place = Arc::clone(&self.places).acquire_owned();
            match tokio::time::timeout(wait, place).await {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err(_)) => return Err(InvokeError::Stopping),
                Err(_) => {}
            }
            if let Some(pool) = self.idle_for_longest() {
                pool.evict();
            }
            wait = PATIENCE;
        }
        let n_places = self.limits.processes_max;
        Err(InvokeError::Busy(format!("all {n_places} processes for functions are busy")))
    }

    fn idle_for_longest(&self) -> Option<Arc<Pool>> {
        let pools = self.pools();
        let idle = pools.values().filter_map(|entry| {
            let pool = entry.pool.get()?;
            Some((pool.idle_since()?, pool))
        });
        idle.min_by_key(|(since, _)| *since).map(|(_, pool)| Arc::clone(pool))
    }
}
