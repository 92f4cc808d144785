//! Verdicts: what the engine has to say.

use picket_model::{Continuation, Datapoint, Timestamp, ViolationEvent};

/// Something the engine concluded.
///
/// Datapoints are by far the most frequent and a tenth of the size of the others, which are
/// therefore boxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A value of a metric that a watching profile judges or retains.
    Datapoint(Datapoint),
    /// An alarm was raised, cleared or invalidated.
    Event(Box<ViolationEvent>),
    /// An alarm stays on, and violated again.
    Continued(Box<Continuation>),
}

/// Collects verdicts and puts them in order: by time, then device, then behavior.
///
/// Verdicts with the same key stay in the order in which they were made, so that a datapoint comes
/// before the event that it causes.
#[derive(Default)]
pub(crate) struct Sink {
    items: Vec<(Timestamp, u32, u32, Verdict)>,
    device: u32,
    n_changes: u64,
}

impl Sink {
    /// Says that what follows is about the next device.
    pub(crate) fn next_device(&mut self) {
        self.device += 1;
    }

    /// Takes a verdict of the present device's watch number `watch`, decided by what was `at`.
    pub(crate) fn put(&mut self, at: Timestamp, watch: usize, verdict: Verdict) {
        // More than four billion watches on one device do not fit into memory either.
        let watch = u32::try_from(watch).unwrap_or(u32::MAX);
        self.n_changes += 1;
        self.items.push((at, self.device, watch, verdict));
    }

    /// Notes that a state changed that nobody is told of yet, as a run that grew.
    pub(crate) fn note_change(&mut self) {
        self.n_changes += 1;
    }

    /// Verdicts and changes up to now: whoever finds it grown has something to store.
    pub(crate) fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// The verdicts in order.
    pub(crate) fn into_verdicts(mut self) -> Vec<Verdict> {
        self.items.sort_by_key(|(at, device, watch, _)| (*at, *device, *watch));
        self.items.into_iter().map(|(.., verdict)| verdict).collect()
    }
}
