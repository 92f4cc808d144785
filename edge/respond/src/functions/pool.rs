//! The warm processes of one function at one revision.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use picket_model::Function;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::code::CodeFolder;
use super::log::FunctionLog;
use super::process::ProcessHandle;
use crate::limits::INVOCATIONS_WAITING_MAX;

/// Everything that makes a process of a function: a change of the function makes another one.
pub(super) struct Revision {
    pub(super) function: Function,
    pub(super) code: Arc<CodeFolder>,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// The processes of a revision that wait for work, and the right to have more.
pub(super) struct Pool {
    pub(super) revision: Revision,
    pub(super) log: Arc<FunctionLog>,
    idle: Mutex<Idle>,
    /// One for each event that may be worked on at the same time.
    slots: Arc<Semaphore>,
    n_waiting: AtomicUsize,
}

#[derive(Default)]
struct Idle {
    /// The one that was used last is last.
    processes: VecDeque<(Instant, ProcessHandle)>,
    is_retired: bool,
}

impl Pool {
    /// A pool without processes.
    pub(super) fn new(revision: Revision, log: Arc<FunctionLog>, n_slots: usize) -> Self {
        Self {
            revision,
            log,
            idle: Mutex::default(),
            slots: Arc::new(Semaphore::new(n_slots)),
            n_waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for the right to work on one more event; `None` if too many wait already.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let n_waiting = self.n_waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.n_waiting);
        if n_waiting >= INVOCATIONS_WAITING_MAX {
            return None;
        }
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Takes the process that was used last.
    pub(super) fn take_warm(&self) -> Option<ProcessHandle> {
        let mut idle = self.lock();
        idle.processes.retain(|(_, process)| !process.is_gone());
        idle.processes.pop_back().map(|(_, process)| process)
    }

    /// Since when the process has been idle that has been so for longest.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let mut idle = self.lock();
        idle.processes.retain(|(_, process)| !process.is_gone());
        idle.processes.front().map(|(since, _)| *since)
    }

    /// Ends the process that has been idle for longest.
    pub(super) fn evict(&self) {
        self.lock().processes.pop_front();
    }

    /// Takes a process back that is ready again; false if it is not wanted any more.
    pub(super) fn give_back(&self, process: ProcessHandle) -> bool {
        let mut idle = self.lock();
        idle.processes.retain(|(_, process)| !process.is_gone());
        if !idle.is_retired {
            idle.processes.push_back((Instant::now(), process));
        }
        !idle.is_retired
    }

    /// Ends all idle processes now, and those that work as soon as they are done.
    pub(super) fn retire(&self) {
        let mut idle = self.lock();
        idle.is_retired = true;
        idle.processes.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
