//! Threads for devices' connections, apart from all that judges, stores and answers.

use std::io;
use std::num::NonZeroUsize;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of each runtime for what blocks, which is reading the registry: the rights of newcomers
/// above all. That is mostly processor time, so more of them would not be faster, and the store opens
/// a reader for each that reads at the same time: with as many as tokio starts by itself, a fleet that
/// comes back spent most of its processor time on opening and closing them. See docs/performance.md.
const BLOCKING_THREADS_MAX: usize = 4;

/// Runtimes of one thread each. Dropped, they end with what runs there.
#[derive(Debug)]
pub(crate) struct DeviceThreads(Vec<Runtime>);

impl DeviceThreads {
    /// Starts them: half as many as there are processors, as the other half has the messages' weight
    /// in judgements, commits and requests to carry, and at least one.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let start = |number: usize| {
            // The runtime with many threads, though it gets one: unlike the other it does not make a
            // system call to wake a thread that is awake.
            Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .thread_name(format!("picket-devices-{number}"))
                .enable_all()
                .build()
        };
        (0..(processors / 2).max(1)).map(start).collect::<io::Result<_>>().map(Self)
    }

    /// For those who give them something to do.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.0.iter().map(|runtime| runtime.handle().clone()).collect()
    }
}

impl Drop for DeviceThreads {
    fn drop(&mut self) {
        // What still runs there is a connection that did not close in time. Nobody may wait for it,
        // least of all here, within another runtime.
        for runtime in self.0.drain(..) {
            runtime.shutdown_background();
        }
    }
}
