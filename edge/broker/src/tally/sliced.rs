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
    /// One for each slice of the set; empty until something lies in one.
    parts: Vec<Part>,
    /// The tripwires that the parts' limits were looked up in.
    limits: Option<Arc<SlicedTripwires>>,
}

#[derive(Debug, Default)]
struct Part {
    /// Only while there is something in it: most slices see nothing in most seconds.
    counts: Option<Box<Counts>>,
    to_wires: ToWires,
    /// Where its limits are in [`Sliced::limits`].
    limits_at: Option<usize>,
}

impl Sliced {
    pub(super) fn new(set: Arc<SliceSet>) -> Self {
        Self { set, parts: Vec::new(), limits: None }
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
        if self.parts.is_empty() {
            self.parts.resize_with(self.set.len(), Part::default);
            self.look_up_limits();
        }
        self.see_limits(wires);
        let mut has_tripped = false;
        for index in mask.indices() {
            let Some(part) = self.parts.get_mut(index) else { continue };
            let limits = part.limits_at.zip(self.limits.as_ref());
            let limits = limits.and_then(|(at, limits)| limits.get(at));
            let limits = limits.map_or(const { &NO_LIMITS }, |(_, limits)| limits);
            let counts = part.counts.get_or_insert_default();
            has_tripped |= count(counts, &mut part.to_wires, limits);
        }
        has_tripped
    }

    /// Looks the limits up again if they are others now.
    fn see_limits(&mut self, wires: &Wires) {
        let current = wires.sliced();
        let address = |limits: Option<&Arc<SlicedTripwires>>| limits.map(Arc::as_ptr);
        if address(current.as_ref()) != address(self.limits.as_ref()) {
            self.limits.clone_from(&current);
            self.look_up_limits();
        }
    }

    fn look_up_limits(&mut self) {
        let limits = self.limits.as_deref().map_or(&[][..], Vec::as_slice);
        for (part, dimension) in self.parts.iter_mut().zip(self.set.dimensions()) {
            part.limits_at = limits.iter().position(|(limited, _)| limited == dimension);
        }
    }

    /// Takes out what was counted, in the order of the set.
    pub(super) fn take(&mut self) -> Vec<(Arc<MetricDimension>, Facts)> {
        let parts = self.parts.iter_mut().zip(self.set.dimensions());
        let told = parts.filter_map(|(part, dimension)| {
            Some((Arc::clone(dimension), part.counts.take()?.take()))
        });
        told.collect()
    }

    /// Begins another second.
    pub(super) fn next_second(&mut self) {
        self.parts.iter_mut().for_each(|part| part.to_wires.next_second());
    }

    /// Forgets what is on its way to limits: they are another device's from here on.
    pub(super) fn forget(&mut self) {
        self.parts.clear();
    }
}

const NO_LIMITS: Tripwires = Tripwires {
    message_bytes: None,
    messages_sent: None,
    messages_received: None,
    authorization_failures: None,
};
