use std::sync::Arc;

use picket_model::{
    BehaviorName, CustomMetricKind, CustomMetricName, Datapoint, DeviceName, DimensionName,
    DimensionOperator, Metric, MetricDimension, MetricValue, ProfileName,
};
use picket_store::{datapoints, model_training};
use serde_json::{Value, json};

use super::{answered, custom_metric, dimension, paged, refused};
use crate::service::Service::Iot;
use crate::testing::{Api, NOON, json};

#[tokio::test]
async fn values_of_a_metric_are_listed_newest_first() {
    let api = Api::new();
    let device = DeviceName::parse("SensorDevice01").unwrap();
    let values = [
        (0, Metric::MessageByteSize, MetricValue::Count(120)),
        (300, Metric::MessageByteSize, MetricValue::Count(3000)),
        (600, Metric::MessageByteSize, MetricValue::Count(121)),
        (
            300,
            Metric::SourceIpAddress,
            MetricValue::Addresses(["192.0.2.1".parse().unwrap()].into()),
        ),
    ];
    let points: Vec<Datapoint> = values
        .into_iter()
        .map(|(secs, metric, value)| Datapoint {
            device: device.clone(),
            metric,
            dimension: None,
            at: NOON + secs * 1000,
            value,
        })
        .collect();
    api.state.store.write(move |tx| datapoints::append(tx, &points)).await.unwrap();

    let base = "GET /metric-values?thingName=SensorDevice01\
                &startTime=2026-11-20T10:05:00Z&endTime=2026-11-20T10:10:00Z";
    let line = format!("{base}&metricName=aws:message-byte-size");
    let list = json(api.rest(Iot, &line, Value::Null).await, 200);
    assert_eq!(
        list,
        json!({"metricDatumList": [
            {"timestamp": 1_795_169_400.0, "value": {"count": 3000}},
            {"timestamp": 1_795_169_100.0, "value": {"count": 120}},
        ]})
    );
    let line = format!("{base}&metricName=aws:source-ip-address");
    let list = json(api.rest(Iot, &line, Value::Null).await, 200);
    assert_eq!(list["metricDatumList"][0]["value"], json!({"cidrs": ["192.0.2.1/32"]}));

    for (more, status) in [
        ("&metricName=aws:nonsense", 404),
        ("&metricName=nobody-measures-this", 404),
        ("&metricName=%00", 404),
        ("", 400),
        ("&metricName=aws:num-disconnects&dimensionName=d", 404),
        ("&metricName=aws:num-disconnects&dimensionName=a%20b", 400),
        ("&metricName=aws:num-disconnects&dimensionValueOperator=IN", 400),
        ("&metricName=aws:num-disconnects&dimensionValueOperator=NEAR", 400),
    ] {
        json(api.rest(Iot, &format!("{base}{more}"), Value::Null).await, status);
    }
}

#[tokio::test]
async fn values_are_listed_by_dimension_and_of_custom_metrics() {
    let api = Api::new();
    answered(&api, "POST /dimensions/Admin", dimension(json!(["admin/#"]))).await;
    answered(&api, "POST /custom-metric/users", custom_metric("string-list")).await;
    let device = DeviceName::parse("SensorDevice01").unwrap();
    let admin = |operator| {
        let name = DimensionName::parse("Admin").unwrap();
        Some(Arc::new(MetricDimension { name, operator }))
    };
    let users =
        Metric::Custom(CustomMetricName::parse("users").unwrap(), CustomMetricKind::StringList);
    let count = MetricValue::Count;
    let strings = MetricValue::Strings(["root".into(), "www".into()].into());
    let points: Vec<Datapoint> = [
        (Metric::MessagesSent, None, count(9)),
        (Metric::MessagesSent, admin(DimensionOperator::In), count(2)),
        (Metric::MessagesSent, admin(DimensionOperator::NotIn), count(7)),
        (users, None, strings),
    ]
    .into_iter()
    .map(|(metric, dimension, value)| Datapoint {
        device: device.clone(),
        metric,
        dimension,
        at: NOON,
        value,
    })
    .collect();
    api.state.store.write(move |tx| datapoints::append(tx, &points)).await.unwrap();
    let check = async |query: &str, expected: Value| {
        let line = format!(
            "GET /metric-values?thingName=SensorDevice01&startTime=2026-11-20T10:05:00Z\
             &endTime=2026-11-20T10:05:00Z&metricName={query}"
        );
        let list = answered(&api, &line, Value::Null).await;
        let values: Vec<&Value> =
            list["metricDatumList"].as_array().unwrap().iter().map(|it| &it["value"]).collect();
        assert_eq!(json!(values), expected, "{query}");
    };
    let sent = "aws:num-messages-sent";
    check(sent, json!([{"count": 9}])).await;
    check(&format!("{sent}&dimensionName=Admin"), json!([{"count": 2}])).await;
    check(&format!("{sent}&dimensionName=Admin&dimensionValueOperator=IN"), json!([{"count": 2}]))
        .await;
    check(
        &format!("{sent}&dimensionName=Admin&dimensionValueOperator=NOT_IN"),
        json!([{"count": 7}]),
    )
    .await;
    check("users", json!([{"strings": ["root", "www"]}])).await;
    check("aws:all-bytes-out", json!([])).await;
    let line = "GET /metric-values?thingName=SensorDevice01&startTime=0&endTime=1\
                &metricName=users&dimensionName=Admin";
    refused(&api, line, Value::Null, 400, "users takes no dimension").await;
}

#[tokio::test]
async fn a_learned_behavior_says_how_far_its_model_is() {
    let api = Api::new();
    let learned = json!({"behaviors": [
        {"name": "a", "metric": "aws:num-messages-sent",
         "criteria": {"mlDetectionConfig": {"confidenceLevel": "HIGH"}}},
        {"name": "b", "metric": "aws:all-bytes-out",
         "criteria": {"mlDetectionConfig": {"confidenceLevel": "LOW"}}},
        {"name": "c", "metric": "aws:message-byte-size",
         "criteria": {"comparisonOperator": "less-than", "value": {"count": 7}}},
    ]});
    for profile in ["P", "Q"] {
        answered(&api, &format!("POST /security-profiles/{profile}"), learned.clone()).await;
    }
    answered(&api, "POST /security-profiles/R", json!({})).await;
    let name = |text: &str| BehaviorName::parse(text).unwrap();
    let profile = ProfileName::parse("P").unwrap();
    let trained = [(profile, name("a"), 10_000)];
    api.state.store.write(move |tx| model_training::add(tx, &trained, NOON)).await.unwrap();
    let list =
        answered(&api, "GET /behavior-model-training/summaries?securityProfileName=P", Value::Null)
            .await;
    assert_eq!(
        list,
        json!({"summaries": [
            {
                "securityProfileName": "P",
                "behaviorName": "a",
                "trainingDataCollectionStartDate": 1_795_169_100.0,
                "modelStatus": "PENDING_BUILD",
                "datapointsCollectionPercentage": 40.0,
            },
            {
                "securityProfileName": "P",
                "behaviorName": "b",
                "trainingDataCollectionStartDate": 1_795_169_100.0,
                "modelStatus": "PENDING_BUILD",
                "datapointsCollectionPercentage": 0.0,
            },
        ]})
    );
    let base = "/behavior-model-training/summaries?maxResults=1";
    assert_eq!(paged(&api, base, "summaries").await.len(), 4);
    let none = "GET /behavior-model-training/summaries?securityProfileName=R";
    assert_eq!(answered(&api, none, Value::Null).await, json!({"summaries": []}));
    for (query, status) in [
        ("securityProfileName=Nowhere", 404),
        ("securityProfileName=a%20b", 400),
        ("maxResults=0", 400),
        ("maxResults=11", 400),
        ("nextToken=zzz", 400),
    ] {
        let line = format!("GET /behavior-model-training/summaries?{query}");
        json(api.rest(Iot, &line, Value::Null).await, status);
    }
}
