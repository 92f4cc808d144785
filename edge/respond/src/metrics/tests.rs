//! How the counters look to Prometheus.

use super::*;

#[test]
fn label_values_are_in_snake_case() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    metrics.count_invocation(InvocationEnd::NotRun);
    metrics.count_invocation(InvocationEnd::Failed);
    metrics.count_delivery(DeliveryEnd::Dead);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"picket_function_invocations_total{end="not_run"} 1"#,
        r#"picket_function_invocations_total{end="failed"} 1"#,
        r#"picket_delivery_attempts_total{end="dead"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
