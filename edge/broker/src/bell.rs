//! What wakes a connection besides its socket and its deadlines: mail, a kick, other rights.
//!
//! It is one bell for all of them. A connection waits after every turn, and a channel for each,
//! joined and left with every turn, took a third of a small message's time outside the kernel.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// Rung by anybody, heard by the one task that serves the session.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: AtomicU8,
    /// Rings to hear at once, as letting others go first did not pay. The task's alone.
    hasty: AtomicU8,
    waker: AtomicWaker,
}

/// It was rung since it was answered.
const RUNG: u8 = 1;
/// The task heard it, and let the others go first.
const HEARD: u8 = 2;
/// One of those others had something to add.
const ADDED: u8 = 4;

/// Rings that are heard at once after one for which letting others go first was in vain. Seldom
/// enough to cost nothing, often enough to notice soon that there are others now.
const HASTY_RINGS: u8 = 15;

impl Bell {
    /// Wakes the task, or keeps it awake. What it is to see must be there before.
    pub(crate) fn ring(&self) {
        self.state.fetch_or(RUNG, Ordering::Release);
        self.waker.wake();
    }

    /// Says that there is more to see for a task that is awake, or about to be.
    pub(crate) fn add(&self) {
        // Costs no more than a look but once in a turn of the task.
        if self.state.load(Ordering::Relaxed) == RUNG | HEARD {
            self.state.fetch_or(ADDED, Ordering::Relaxed);
        }
    }

    /// Notes that the task looks now for what it may have been woken for.
    pub(crate) fn answer(&self) {
        // Costs no more than a look where nobody rang.
        if self.state.load(Ordering::Relaxed) == 0 {
            return;
        }
        let state = self.state.swap(0, Ordering::Acquire);
        if state & HEARD != 0 {
            let hasty = if state & ADDED != 0 { 0 } else { HASTY_RINGS };
            self.hasty.store(hasty, Ordering::Relaxed);
        }
    }

    /// Waits until the bell is rung, or returns soon if it was since it was answered.
    ///
    /// The task goes to the end of its thread's queue once before it hears: whoever is woken is
    /// next otherwise, and would write one message where those of all who are to run before it make
    /// one write. Where none of those had anything to add, it does so for one ring in sixteen.
    ///
    /// Safe to drop and call again: no ring is missed.
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        if self.state.load(Ordering::Acquire) == 0 {
            self.waker.register(cx.waker());
        }
        // Who rang before there was somebody to wake is heard here.
        match self.state.load(Ordering::Acquire) {
            0 => Poll::Pending,
            RUNG => match self.hasty.load(Ordering::Relaxed) {
                0 => {
                    self.state.fetch_or(HEARD, Ordering::AcqRel);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                hasty => {
                    self.hasty.store(hasty - 1, Ordering::Relaxed);
                    Poll::Ready(())
                }
            },
            _ => Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    async fn is_heard(bell: &Bell) -> bool {
        let is_heard = tokio::time::timeout(Duration::from_millis(1), bell.rung()).await.is_ok();
        bell.answer();
        is_heard
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
            async move {
                bell.rung().await;
                bell.answer();
            }
        });
        tokio::task::yield_now().await;
        bell.ring();
        waiting.await.unwrap();
        assert!(!is_heard(&bell).await);
    }

    /// Rings once and, where `others_add`, again by others while the task lets them go first; says
    /// how often the task was polled until it heard.
    fn polls_to_hear(bell: &Bell, others_add: bool) -> usize {
        let cx = Context::from_waker(std::task::Waker::noop());
        bell.ring();
        let polls = (1..).find(|_| {
            let is_heard = bell.poll_rung(&cx).is_ready();
            if others_add {
                bell.add();
            }
            is_heard
        });
        bell.answer();
        polls.unwrap()
    }

    #[test]
    fn others_go_first_as_long_as_they_add_something_and_else_once_in_sixteen_rings() {
        let bell = Bell::default();
        assert_eq!([(); 3].map(|()| polls_to_hear(&bell, true)), [2; 3]);
        let mut alone = [1; 17];
        (alone[0], alone[16]) = (2, 2);
        assert_eq!([(); 17].map(|()| polls_to_hear(&bell, false)), alone);
        assert_eq!(
            [(); 16].map(|()| polls_to_hear(&bell, true)),
            [&[1; 15][..], &[2]].concat()[..]
        );
        assert_eq!([(); 3].map(|()| polls_to_hear(&bell, true)), [2; 3]);
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
                    there[0].answer();
                    there[1].ring();
                }
            });
        });
        for _ in 0..RINGS {
            bells[0].ring();
            bells[1].rung().await;
            bells[1].answer();
        }
        answering.join().unwrap();
    }
}
