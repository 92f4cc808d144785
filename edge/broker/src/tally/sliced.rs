//! What a session's device did, slice by slice.

use std::sync::Arc;

use picket_model::{MetricDimension, Tripwires};

use super::counts::{Counts, Facts};
use super::to_wires::ToWires;
use crate::slices::{SliceMask, SliceSet};
use crate::tripwires::{SlicedTripwires, Wires};

/// The part of a tally that lies in slices. Costs nothing as long as nothing does.
#[derive(Debug)]
pub(super) struct Sliced {
    set: Arc<SliceSet>,
    /// From the first thing on that lies in one.
    parts: Option<Box<Parts>>,
}

#[derive(Debug)]
struct Parts {
    /// One for each slice of the set.
    parts: Box<[Part]>,
    /// The tripwires that the parts' limits were looked up in.
    limits: Option<Arc<SlicedTripwires>>,
}

#[derive(Debug, Default)]
struct Part {
    /// Only while there is something in it: most slices see nothing in most seconds.
    counts: Option<Box<Counts>>,
    to_wires: ToWires,
    /// Where its limits are in [`Parts::limits`].
    limits_at: Option<usize>,
}

impl Sliced {
    pub(super) fn new(set: Arc<SliceSet>) -> Self {
        Self { set, parts: None }
    }

    pub(super) const fn set(&self) -> &Arc<SliceSet> {
        &self.set
    }

    /// Counts something in every slice of the mask: `count` adds it to the facts and to what is on
    /// its way to the slice's limits, and says whether one was crossed. True if any was.
    pub(super) fn add(
        &mut self,
        mask: SliceMask,
        wires: &Wires,
        mut count: impl FnMut(&mut Counts, &mut ToWires, &Tripwires) -> bool,
    ) -> bool {
        let set = &self.set;
        let sliced = self.parts.get_or_insert_with(|| Box::new(Parts::new(set)));
        sliced.see_limits(set, wires);
        let Parts { parts, limits } = &mut **sliced;
        let mut has_tripped = false;
        for index in mask.indices() {
            let Some(part) = parts.get_mut(index) else { continue };
            let limits = part.limits_at.zip(limits.as_ref());
            let limits = limits.and_then(|(at, limits)| limits.get(at));
            let limits = limits.map_or(const { &NO_LIMITS }, |(_, limits)| limits);
            let counts = part.counts.get_or_insert_default();
            has_tripped |= count(counts, &mut part.to_wires, limits);
        }
        has_tripped
    }

    /// Takes out what was counted, in the order of the set.
    pub(super) fn take(&mut self) -> Vec<(Arc<MetricDimension>, Facts)> {
        let parts = self.parts.iter_mut().flat_map(|parts| &mut parts.parts);
        let told = parts.zip(self.set.dimensions()).filter_map(|(part, dimension)| {
            Some((Arc::clone(dimension), part.counts.take()?.take()))
        });
        told.collect()
    }

    /// Begins another second.
    pub(super) fn next_second(&mut self) {
        let parts = self.parts.iter_mut().flat_map(|parts| &mut parts.parts);
        parts.for_each(|part| part.to_wires.next_second());
    }

    /// Forgets what is on its way to limits: they are another device's from here on.
    pub(super) fn forget(&mut self) {
        self.parts = None;
    }
}

impl Parts {
    fn new(set: &SliceSet) -> Self {
        let parts = set.dimensions().map(|_| Part::default()).collect();
        Self { parts, limits: None }
    }

    /// Looks the limits up again if they are others now.
    fn see_limits(&mut self, set: &SliceSet, wires: &Wires) {
        let current = wires.sliced();
        let address = |limits: Option<&Arc<SlicedTripwires>>| limits.map(Arc::as_ptr);
        if address(current.as_ref()) == address(self.limits.as_ref()) {
            return;
        }
        self.limits.clone_from(&current);
        let limits = self.limits.as_deref().map_or(&[][..], Vec::as_slice);
        for (part, dimension) in self.parts.iter_mut().zip(set.dimensions()) {
            part.limits_at = limits.iter().position(|(limited, _)| limited == dimension);
        }
    }
}

const NO_LIMITS: Tripwires = Tripwires {
    message_bytes: None,
    messages_sent: None,
    messages_received: None,
    authorization_failures: None,
};
