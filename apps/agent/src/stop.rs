//! SIGTERM and ctrl-C: the two ways to ask the agent to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Becomes readable when the process is asked to stop.
#[derive(Debug)]
pub struct Stop {
    asked: UnixStream,
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn listen() -> io::Result<Self> {
        let (asked, sender) = UnixStream::pair()?;
        let at_once = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_default(signal, Arc::clone(&at_once))?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { asked, at_once })
    }

    /// Does what may take long and leaves nothing behind: meanwhile a signal ends the process at
    /// once.
    pub fn at_once_during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.at_once.store(true, Ordering::Relaxed);
        let result = work();
        self.at_once.store(false, Ordering::Relaxed);
        result
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}
