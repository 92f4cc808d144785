//! Counters of this crate.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[cfg(test)]
mod tests;

/// Counts runs of functions, attempts to deliver and executions of mitigation actions. Cheap to
/// clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    invocations: Family<InvocationLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
    executions: Family<ExecutionLabels, Counter>,
    tasks: Family<TaskLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InvocationLabels {
    end: InvocationEnd,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeliveryLabels {
    end: DeliveryEnd,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExecutionLabels {
    end: ExecutionEnd,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskLabels {
    end: TaskEnd,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum InvocationEnd {
    /// With an answer.
    Answered,
    /// With an error of the function.
    Failed,
    /// Before the function was run.
    NotRun,
}

/// How label values are written: in snake case, as Prometheus's guide wants names and as all other
/// labels here are.
macro_rules! label_values {
    ($($type:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                let text = match self {
                    $(Self::$variant => $text,)*
                };
                EncodeLabelValue::encode(&text, encoder)
            }
        }
    )*};
}

label_values! {
    InvocationEnd { Answered = "answered", Failed = "failed", NotRun = "not_run" }
    DeliveryEnd { Done = "done", Retried = "retried", Dead = "dead" }
    ExecutionEnd { Successful = "successful", Failed = "failed", Skipped = "skipped" }
    TaskEnd { Successful = "successful", Failed = "failed", Canceled = "canceled" }
}

/// How an attempt to deliver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeliveryEnd {
    /// Delivered.
    Done,
    /// Will be tried again.
    Retried,
    /// Given up.
    Dead,
}

/// How an execution of a mitigation action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ExecutionEnd {
    /// Done.
    Successful,
    /// Tried in vain.
    Failed,
    /// Not tried.
    Skipped,
}

/// How a mitigation task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TaskEnd {
    /// No execution failed.
    Successful,
    /// One did.
    Failed,
    /// Somebody stopped it.
    Canceled,
}

impl Metrics {
    /// Makes the counters and registers them as `picket_function_invocations_total`,
    /// `picket_delivery_attempts_total`, `picket_mitigation_executions_total` and
    /// `picket_mitigation_tasks_total`.
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
        registry.register(
            "picket_mitigation_executions",
            "Mitigation actions run for violations by how they ended",
            metrics.executions.clone(),
        );
        registry.register(
            "picket_mitigation_tasks",
            "Tasks of mitigation actions by how they ended",
            metrics.tasks.clone(),
        );
        metrics
    }

    pub(crate) fn count_invocation(&self, end: InvocationEnd) {
        self.invocations.get_or_create(&InvocationLabels { end }).inc();
    }

    pub(crate) fn count_delivery(&self, end: DeliveryEnd) {
        self.deliveries.get_or_create(&DeliveryLabels { end }).inc();
    }

    pub(crate) fn count_execution(&self, end: ExecutionEnd) {
        self.executions.get_or_create(&ExecutionLabels { end }).inc();
    }

    pub(crate) fn count_task(&self, end: TaskEnd) {
        self.tasks.get_or_create(&TaskLabels { end }).inc();
    }
}
