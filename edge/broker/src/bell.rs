//! What wakes a connection besides its socket and its deadlines: mail, a kick, other rights.
//!
//! It is one bell for all of them. A connection waits after every turn, and a channel for each,
//! joined and left with every turn, took a third of a small message's time outside the kernel.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// Rung by anybody, heard by the one task that serves the session.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    is_rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    /// Wakes the task, or keeps it awake. What it is to see must be there before.
    pub(crate) fn ring(&self) {
        self.is_rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Waits until the bell is rung, or returns at once if it was since this returned last.
    ///
    /// Safe to drop and call again: no ring is missed.
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        if self.take() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Who rang before there was somebody to wake is heard here.
        if self.take() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&self) -> bool {
        self.is_rung.load(Ordering::Relaxed) && self.is_rung.swap(false, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    async fn is_heard(bell: &Bell) -> bool {
        tokio::time::timeout(Duration::ZERO, bell.rung()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_is_heard_once_whether_it_comes_before_or_while_somebody_waits() {
        let bell = Arc::new(Bell::default());
        assert!(!is_heard(&bell).await);
        bell.ring();
        bell.ring();
        assert!(is_heard(&bell).await);
        assert!(!is_heard(&bell).await);
        let waiting = tokio::spawn({
            let bell = Arc::clone(&bell);
            async move { bell.rung().await }
        });
        tokio::task::yield_now().await;
        bell.ring();
        waiting.await.unwrap();
        assert!(!is_heard(&bell).await);
    }

    #[tokio::test]
    async fn no_ring_from_another_thread_is_missed() {
        const RINGS: usize = 10_000;
        let bells: Arc<[Bell; 2]> = Arc::default();
        let there = Arc::clone(&bells);
        let answering = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for _ in 0..RINGS {
                    there[0].rung().await;
                    there[1].ring();
                }
            });
        });
        for _ in 0..RINGS {
            bells[0].ring();
            bells[1].rung().await;
        }
        answering.join().unwrap();
    }
}
