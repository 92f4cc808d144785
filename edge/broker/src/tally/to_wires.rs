//! Counts on their way to tripwires, which are about windows longer than a second.

use picket_model::Tripwires;

/// What of the whole, or of a slice, is on its way to the tripwires.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToWires {
    sent: ToWire,
    received: ToWire,
    denied: ToWire,
    bytes_tripped: bool,
}

/// A count on its way to a tripwire.
///
/// The session does not know where windows begin, so it counts on over the seconds and starts
/// again after each crossing. A crossing too early costs one flush; one too late waits at most for
/// the end of its second.
#[derive(Clone, Copy, Debug, Default)]
struct ToWire {
    count: u64,
    /// One flush a second is enough: a flood must reach the engine as a trickle.
    has_tripped: bool,
}

impl ToWires {
    /// Counts a message; true if a tripwire was crossed for the first time in this second. So do
    /// the others.
    pub(super) fn sent(&mut self, bytes: u64, wires: &Tripwires) -> bool {
        let count_tripped = self.sent.add(1, wires.messages_sent);
        let is_large = wires.message_bytes.is_some_and(|max| bytes > max);
        count_tripped | (is_large && !std::mem::replace(&mut self.bytes_tripped, true))
    }

    pub(super) fn received(&mut self, count: u64, wires: &Tripwires) -> bool {
        self.received.add(count, wires.messages_received)
    }

    pub(super) fn denied(&mut self, wires: &Tripwires) -> bool {
        self.denied.add(1, wires.authorization_failures)
    }

    /// Begins another second.
    pub(super) fn next_second(&mut self) {
        self.bytes_tripped = false;
        for wire in [&mut self.sent, &mut self.received, &mut self.denied] {
            wire.has_tripped = false;
        }
    }
}

impl ToWire {
    fn add(&mut self, count: u64, max: Option<u64>) -> bool {
        self.count = self.count.saturating_add(count);
        if max.is_none_or(|max| self.count <= max) {
            return false;
        }
        self.count = 0;
        !std::mem::replace(&mut self.has_tripped, true)
    }
}
