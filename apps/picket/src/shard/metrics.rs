//! What the shard counts.

use picket_model::ViolationEvent;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the shard counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardMetrics {
    pub(super) observations: Counter,
    events: Family<EventLabels, Counter>,
    pub(super) late: Gauge,
    pub(super) devices: Gauge,
    pub(super) devices_refused: Counter,
    pub(super) commit_failures: Counter,
}

/// Labels of a violation event. Profiles and behaviors are named by the operator, not by devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: &'static str,
    profile: String,
    behavior: String,
}

impl ShardMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_detect_observations",
            "Observations judged",
            metrics.observations.clone(),
        );
        registry.register(
            "picket_violation_events",
            "Alarms raised, cleared and invalidated, by profile and behavior",
            metrics.events.clone(),
        );
        registry.register(
            "picket_detect_late_observations",
            "Observations that came after their window was judged and counted for nothing",
            metrics.late.clone(),
        );
        registry.register(
            "picket_detect_devices",
            "Devices that the engine keeps state of",
            metrics.devices.clone(),
        );
        registry.register(
            "picket_detect_devices_refused",
            "Observations of new devices dropped because too many devices are known",
            metrics.devices_refused.clone(),
        );
        registry.register(
            "picket_detect_commit_failures",
            "Commits of verdicts that failed and were tried again",
            metrics.commit_failures.clone(),
        );
        metrics
    }

    pub(super) fn count_event(&self, event: &ViolationEvent) {
        let labels = EventLabels {
            kind: event.kind.as_str(),
            profile: event.profile.to_string(),
            behavior: event.behavior.name.to_string(),
        };
        self.events.get_or_create(&labels).inc();
    }
}
