mod nouns;
mod profiles;
mod references;
mod values;
mod violations;

use serde_json::{Value, json};

use crate::testing::{answered, paged, refused};

fn custom_metric(metric_type: &str) -> Value {
    json!({"metricType": metric_type, "clientRequestToken": "t-1"})
}

fn dimension(filters: Value) -> Value {
    json!({"type": "TOPIC_FILTER", "stringValues": filters, "clientRequestToken": "t-1"})
}

/// A behavior of messages in a dimension.
fn narrowed(dimension: &str, operator: &str) -> Value {
    json!({
        "name": "Narrowed",
        "metric": "aws:num-messages-sent",
        "metricDimension": {"dimensionName": dimension, "operator": operator},
        "criteria": {
            "comparisonOperator": "less-than",
            "value": {"count": 10},
            "durationSeconds": 300,
        },
    })
}

/// A behavior of a custom metric.
fn custom(metric: &str, operator: &str, value: Value) -> Value {
    json!({
        "name": "Custom",
        "metric": metric,
        "criteria": {"comparisonOperator": operator, "value": value},
    })
}
