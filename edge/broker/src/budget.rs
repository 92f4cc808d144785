//! What all mailboxes together may hold.
//!
//! A mailbox is bounded, but there may be hundreds of thousands. Each reserves what it needs of one
//! budget, in pieces, so that those that hold little, which are nearly all, never touch what all
//! share.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

/// Bytes that a mailbox holds without asking: a few small messages on their way.
const FREE_BYTES: usize = 1024;

/// Bytes reserved at once: small beside the budget even for as many mailboxes as there may be, and
/// large enough that a busy one asks once for a dozen messages.
const PIECE_BYTES: usize = 4 * 1024;

/// Bytes for all mailboxes together.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Reserved by now; read by whoever looks at the metrics.
    used: Gauge<u64, AtomicU64>,
    max: u64,
}

/// What one mailbox has of the budget.
///
/// INVARIANT (budget): a mailbox holds at most [`FREE_BYTES`] more than it has reserved.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    bytes: usize,
}

impl Budget {
    /// A budget that shows its use in `used`.
    pub(crate) fn new(max: usize, used: Gauge<u64, AtomicU64>) -> Self {
        Self { used, max: max as u64 }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let fits = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= self.max);
        self.used.inner().fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.inner().fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Reserves what a mailbox needs to hold so many bytes. False if they are not there.
    pub(crate) fn grow(&mut self, budget: &Budget, held: usize) -> bool {
        let missing = held.saturating_sub(FREE_BYTES + self.bytes);
        if missing == 0 {
            return true;
        }
        let bytes = missing.next_multiple_of(PIECE_BYTES);
        let is_reserved = budget.reserve(bytes);
        if is_reserved {
            self.bytes += bytes;
        }
        is_reserved
    }

    /// Gives back what a mailbox that holds so many bytes does not need. One piece more is kept, for
    /// a mailbox that goes up and down, unless it is empty.
    pub(crate) fn shrink(&mut self, budget: &Budget, held: usize) {
        let needed = held.saturating_sub(FREE_BYTES).next_multiple_of(PIECE_BYTES);
        let kept = if held == 0 { 0 } else { needed + PIECE_BYTES };
        if let Some(surplus) = self.bytes.checked_sub(kept).filter(|surplus| *surplus > 0) {
            budget.give_back(surplus);
            self.bytes = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_holds_more_than_is_reserved_and_all_of_it_comes_back(
            steps in prop::collection::vec((0..3_usize, 0..60_000_usize), 1..80),
        ) {
            let max = 100_000;
            let budget = Budget::new(max, Gauge::default());
            let mut held = [0; 3];
            let mut reservations = [const { Reservation { bytes: 0 } }; 3];
            for (who, bytes) in steps {
                let reservation = &mut reservations[who];
                if bytes <= held[who] || reservation.grow(&budget, bytes) {
                    held[who] = bytes;
                    reservation.shrink(&budget, bytes);
                } else {
                    // It was refused for a reason.
                    let used: usize = reservations.iter().map(|it| it.bytes).sum();
                    prop_assert!(used + bytes - held[who] + 2 * PIECE_BYTES > max);
                }
                let used: usize = reservations.iter().map(|it| it.bytes).sum();
                prop_assert_eq!(budget.used.get(), used as u64);
                prop_assert!(used <= max);
                for (held, reservation) in held.iter().zip(&reservations) {
                    prop_assert!(*held <= reservation.bytes + FREE_BYTES);
                }
            }
            for reservation in &mut reservations {
                reservation.shrink(&budget, 0);
            }
            prop_assert_eq!(budget.used.get(), 0);
        }
    }

    #[test]
    fn what_is_small_is_free() {
        let budget = Budget::new(0, Gauge::default());
        let mut reservation = Reservation::default();
        assert!(reservation.grow(&budget, FREE_BYTES));
        assert!(!reservation.grow(&budget, FREE_BYTES + 1));
    }
}
