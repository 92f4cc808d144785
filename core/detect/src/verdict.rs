//! Verdicts: what the engine has to say.

use std::sync::Arc;

use picket_model::{
    Continuation, Datapoint, DeviceName, Metric, MetricDimension, MetricValue, ProfileName,
    Timestamp, ViolationEvent,
};

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
    /// A value that a profile publishes to its export topic.
    Exported(Box<Exported>),
}

/// A value that a profile publishes. Source: aws `MetricsExportConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Whose export topic it goes to.
    pub profile: ProfileName,
    /// Whose value.
    pub device: DeviceName,
    /// What was measured.
    pub metric: Metric,
    /// Which figure of it.
    pub part: ExportPart,
    /// Which part of what happened, if not all.
    pub dimension: Option<Arc<MetricDimension>>,
    /// End of the window, or when the report came.
    pub at: Timestamp,
    /// The value; a disconnect duration in seconds.
    pub value: MetricValue,
}

/// Which figure of a window is exported. Source: AWS guide "Exporting metrics".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportPart {
    /// The value itself: of every metric but message sizes.
    Value,
    /// The smallest message of the window.
    Min,
    /// The largest message of the window.
    Max,
    /// All messages of the window together.
    Total,
}

/// Takes what is said, and puts what is said of one device in one call in order: by time, then
/// watch.
///
/// Verdicts with the same key stay in the order in which they were made, so that a datapoint comes
/// before the event that it causes. What is said in order anyway is handed on at once.
pub(crate) struct Sink<'a> {
    out: &'a mut dyn FnMut(Verdict),
    /// What waits to be put in order.
    held: Vec<(Timestamp, u32, Verdict)>,
    holds: bool,
    trained: Vec<u32>,
    n_changes: u64,
}

impl<'a> Sink<'a> {
    /// Hands everything on at once, until it is told to hold.
    pub(crate) fn new(out: &'a mut dyn FnMut(Verdict)) -> Self {
        Self { out, held: Vec::new(), holds: false, trained: Vec::new(), n_changes: 0 }
    }

    /// Keeps what is said from now on until [`Sink::release`], as it may not come in order.
    pub(crate) fn hold(&mut self) {
        self.holds = true;
    }

    /// Hands on in order what was kept.
    pub(crate) fn release(&mut self) {
        self.holds = false;
        if self.held.is_empty() {
            return;
        }
        self.held.sort_by_key(|(at, place, _)| (*at, *place));
        for (.., verdict) in self.held.drain(..) {
            (self.out)(verdict);
        }
    }

    /// Takes a verdict of the watch at `place`, decided by what was `at`.
    pub(crate) fn put(&mut self, at: Timestamp, place: u32, verdict: Verdict) {
        self.n_changes += 1;
        if self.holds {
            self.held.push((at, place, verdict));
        } else {
            (self.out)(verdict);
        }
    }

    /// Counts a datapoint for the model with this number.
    pub(crate) fn train(&mut self, number: u32) {
        self.trained.push(number);
    }

    /// Notes that a state changed that nobody is told of yet, as a run that grew.
    pub(crate) fn note_change(&mut self) {
        self.n_changes += 1;
    }

    /// Verdicts and changes up to now: whoever finds it grown has something to store.
    pub(crate) fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// Numbers of the models that have a datapoint more, since the last call.
    pub(crate) fn take_trained(&mut self) -> std::vec::Drain<'_, u32> {
        self.trained.drain(..)
    }
}
