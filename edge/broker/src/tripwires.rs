//! Tripwires: the smallest limits that behaviors set, in the hands of the sessions.
//!
//! The shard sets them, sessions read them with every message; a lock for that would be the only
//! thing that all sessions share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use picket_model::{DeviceName, MetricDimension, Tripwires};

/// Says "no limit".
const NONE: u64 = u64::MAX;

/// The tripwires of every device that has some or is connected.
#[derive(Debug, Default)]
pub struct TripwireBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    wires: HashMap<DeviceName, Arc<Wires>>,
    /// Entries that nobody needs are looked for when there are more than this.
    prune_above: usize,
}

/// One device's tripwires, as its sessions hold them.
#[derive(Debug)]
pub struct Wires {
    /// Whether they were ever set. Until then nobody knows what is harmless.
    are_known: AtomicBool,
    message_bytes: AtomicU64,
    messages_sent: AtomicU64,
    messages_received: AtomicU64,
    authorization_failures: AtomicU64,
    /// Only slices that have limits.
    sliced: ArcSwapOption<SlicedTripwires>,
}

/// The tripwires of slices, in no order.
pub(crate) type SlicedTripwires = Vec<(Arc<MetricDimension>, Tripwires)>;

impl TripwireBook {
    /// Sets a device's tripwires, connected or not: those of everything it does, and those of the
    /// slices that have some. Its sessions see them with their next message.
    pub fn set(
        &self,
        device: &DeviceName,
        tripwires: Tripwires,
        sliced: &[(Arc<MetricDimension>, Tripwires)],
    ) {
        self.wires(device).set(tripwires, sliced);
    }

    /// The wires of a device, for a session of it to keep. Not known, and without limits, until they
    /// are set.
    pub fn wires(&self, device: &DeviceName) -> Arc<Wires> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wires) = inner.wires.get(device) {
            return Arc::clone(wires);
        }
        inner.prune();
        let wires = Arc::new(Wires::default());
        inner.wires.insert(device.clone(), Arc::clone(&wires));
        wires
    }
}

impl Inner {
    /// Drops entries that hold no limit and that no session holds.
    ///
    /// Doubling the bound each time keeps the cost of this at a constant per entry.
    fn prune(&mut self) {
        const ALWAYS_KEPT: usize = 1024;
        if self.wires.len() < self.prune_above.max(ALWAYS_KEPT) {
            return;
        }
        self.wires.retain(|_, wires| Arc::strong_count(wires) > 1 || !wires.are_without_limit());
        self.prune_above = self.wires.len() * 2;
    }
}

impl Wires {
    /// The limits at this moment.
    ///
    /// Relaxed: a limit that changes while a message is judged may count for it or not. Whatever
    /// one misses is still flushed within a second.
    pub fn get(&self) -> Tripwires {
        let limit = |wire: &AtomicU64| match wire.load(Ordering::Relaxed) {
            NONE => None,
            limit => Some(limit),
        };
        Tripwires {
            message_bytes: limit(&self.message_bytes),
            messages_sent: limit(&self.messages_sent),
            messages_received: limit(&self.messages_received),
            authorization_failures: limit(&self.authorization_failures),
        }
    }

    /// The limits of slices at this moment; `None` if there are none.
    pub(crate) fn sliced(&self) -> arc_swap::Guard<Option<Arc<SlicedTripwires>>> {
        self.sliced.load()
    }

    fn are_without_limit(&self) -> bool {
        self.get() == Tripwires::default() && self.sliced.load().is_none()
    }

    fn set(&self, tripwires: Tripwires, sliced: &[(Arc<MetricDimension>, Tripwires)]) {
        let limited = sliced.iter().filter(|(_, tripwires)| *tripwires != Tripwires::default());
        let limited: SlicedTripwires = limited.cloned().collect();
        let before = self.sliced.load();
        // Sessions look things up again when it is another one.
        if before.as_deref().map_or(&[][..], |before| before) != &limited[..] {
            self.sliced.store((!limited.is_empty()).then(|| Arc::new(limited)));
        }
        drop(before);
        let Tripwires { message_bytes, messages_sent, messages_received, authorization_failures } =
            tripwires;
        for (wire, limit) in [
            (&self.message_bytes, message_bytes),
            (&self.messages_sent, messages_sent),
            (&self.messages_received, messages_received),
            (&self.authorization_failures, authorization_failures),
        ] {
            wire.store(limit.unwrap_or(NONE), Ordering::Relaxed);
        }
        // Whoever sees this sees the limits.
        self.are_known.store(true, Ordering::Release);
    }

    /// Whether the limits were set: false for the moment between a device's first connection and
    /// the shard's answer to it.
    pub(crate) fn are_known(&self) -> bool {
        self.are_known.load(Ordering::Acquire)
    }
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            are_known: AtomicBool::new(false),
            message_bytes: AtomicU64::new(NONE),
            messages_sent: AtomicU64::new(NONE),
            messages_received: AtomicU64::new(NONE),
            authorization_failures: AtomicU64::new(NONE),
            sliced: ArcSwapOption::empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName::parse(name).unwrap()
    }

    #[test]
    fn limits_set_before_a_session_begins_are_there_when_it_does() {
        let book = TripwireBook::default();
        let tripwires = Tripwires { message_bytes: Some(1000), ..Tripwires::default() };
        book.set(&device("a"), tripwires, &[]);
        assert_eq!(book.wires(&device("a")).get(), tripwires);
        assert_eq!(book.wires(&device("b")).get(), Tripwires::default());
    }

    #[test]
    fn a_running_session_sees_new_limits() {
        let book = TripwireBook::default();
        let wires = book.wires(&device("a"));
        assert_eq!(wires.get().message_bytes, None);
        book.set(&device("a"), Tripwires { message_bytes: Some(10), ..Tripwires::default() }, &[]);
        assert_eq!(wires.get().message_bytes, Some(10));
        book.set(&device("a"), Tripwires::default(), &[]);
        assert_eq!(wires.get().message_bytes, None);
    }

    #[test]
    fn devices_that_come_and_go_leave_nothing_behind() {
        let book = TripwireBook::default();
        let kept = book.wires(&device("kept"));
        book.set(
            &device("limited"),
            Tripwires { messages_sent: Some(1), ..Default::default() },
            &[],
        );
        for i in 0..100_000 {
            book.wires(&device(&format!("passing-{i}")));
        }
        assert!(book.inner.lock().unwrap().wires.len() <= 2048);
        book.set(
            &device("kept"),
            Tripwires { message_bytes: Some(5), ..Tripwires::default() },
            &[],
        );
        assert_eq!(kept.get().message_bytes, Some(5), "a session's own wires are never replaced");
        assert_eq!(book.wires(&device("limited")).get().messages_sent, Some(1));
    }
}
