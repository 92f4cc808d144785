//! Counters of this crate.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counts runs of functions and attempts to deliver. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    invocations: Family<InvocationLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InvocationLabels {
    end: InvocationEnd,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeliveryLabels {
    end: DeliveryEnd,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum InvocationEnd {
    /// With an answer.
    Answered,
    /// With an error of the function.
    Failed,
    /// Before the function was run.
    NotRun,
}

/// How an attempt to deliver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum DeliveryEnd {
    /// Delivered.
    Done,
    /// Will be tried again.
    Retried,
    /// Given up.
    Dead,
}

impl Metrics {
    /// Makes the counters and registers them as `picket_function_invocations_total` and
    /// `picket_delivery_attempts_total`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_function_invocations",
            "Runs of functions by how they ended",
            metrics.invocations.clone(),
        );
        registry.register(
            "picket_delivery_attempts",
            "Attempts to deliver a notification by how they ended",
            metrics.deliveries.clone(),
        );
        metrics
    }

    pub(crate) fn count_invocation(&self, end: InvocationEnd) {
        self.invocations.get_or_create(&InvocationLabels { end }).inc();
    }

    pub(crate) fn count_delivery(&self, end: DeliveryEnd) {
        self.deliveries.get_or_create(&DeliveryLabels { end }).inc();
    }
}
