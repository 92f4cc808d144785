//! Counts on their way to tripwires, which are about windows longer than a second.

use picket_model::Tripwires;

/// What of the whole, or of a slice, is on its way to the tripwires.
///
/// The session does not know where windows begin, so it counts on over the seconds and starts
/// again after each crossing. A crossing too early costs one flush; one too late waits at most for
/// the end of its second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToWires {
    sent: u64,
    received: u64,
    denied: u64,
    tripped: Tripped,
}

/// Which tripwires were crossed in this second. One flush a second is enough: a flood must reach the
/// engine as a trickle.
#[derive(Clone, Copy, Debug, Default)]
struct Tripped {
    sent: bool,
    received: bool,
    denied: bool,
    bytes: bool,
}

impl ToWires {
    /// Counts a message; true if a tripwire was crossed for the first time in this second. So do
    /// the others.
    pub(super) fn sent(&mut self, bytes: u64, wires: &Tripwires) -> bool {
        let count_tripped = add(&mut self.sent, 1, wires.messages_sent, &mut self.tripped.sent);
        let is_large = wires.message_bytes.is_some_and(|max| bytes > max);
        count_tripped | (is_large && !std::mem::replace(&mut self.tripped.bytes, true))
    }

    pub(super) fn received(&mut self, count: u64, wires: &Tripwires) -> bool {
        add(&mut self.received, count, wires.messages_received, &mut self.tripped.received)
    }

    pub(super) fn denied(&mut self, wires: &Tripwires) -> bool {
        add(&mut self.denied, 1, wires.authorization_failures, &mut self.tripped.denied)
    }

    /// Begins another second.
    pub(super) fn next_second(&mut self) {
        self.tripped = Tripped::default();
    }
}

/// Adds to a count; true if its tripwire was crossed for the first time in this second.
fn add(count: &mut u64, n: u64, max: Option<u64>, has_tripped: &mut bool) -> bool {
    *count = count.saturating_add(n);
    if max.is_none_or(|max| *count <= max) {
        return false;
    }
    *count = 0;
    !std::mem::replace(has_tripped, true)
}
