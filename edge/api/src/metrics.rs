//! What the API counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Labels of an answered request; all from closed sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    /// The service, or `none` if the request did not get that far.
    pub(crate) service: &'static str,
    /// The operation, or `none`.
    pub(crate) operation: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
}

/// Counters of the API.
#[derive(Clone, Debug, Default)]
pub struct ApiMetrics {
    pub(crate) requests: Family<Answered, Counter>,
}

impl ApiMetrics {
    /// Makes the counters and lists them in `registry`, as `picket_api_requests_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_api_requests",
            "Requests answered, by service, operation and HTTP status",
            metrics.requests.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_operation_and_status() {
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry);
        let labels = Answered { service: "iot", operation: "CreateThing", status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line =
            r#"picket_api_requests_total{service="iot",operation="CreateThing",status="200"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
