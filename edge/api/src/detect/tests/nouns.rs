use serde_json::{Value, json};

use super::{answered, custom_metric, dimension, paged, refused};
use crate::service::Service::Iot;
use crate::testing::{Api, json};

#[tokio::test]
async fn a_custom_metric_lives_from_create_to_delete() {
    let api = Api::new();
    let line = "/custom-metric/users";
    let mut body = custom_metric("string-list");
    body["displayName"] = "Users that are logged in".into();
    body["tags"] = json!([{"Key": "floor", "Value": "3"}]);
    let made = answered(&api, &format!("POST {line}"), body).await;
    let arn = "arn:aws:iot:us-east-1:123456789012:custommetric/users";
    assert_eq!(made, json!({"metricName": "users", "metricArn": arn}));
    api.pass_secs(60);
    let change = json!({"displayName": "Users"});
    let changed = answered(&api, &format!("PATCH {line}"), change).await;
    assert_eq!(changed, answered(&api, &format!("GET {line}"), Value::Null).await);
    assert_eq!(
        changed,
        json!({
            "metricName": "users",
            "metricArn": arn,
            "metricType": "string-list",
            "displayName": "Users",
            "creationDate": 1_795_169_100.0,
            "lastModifiedDate": 1_795_169_160.0,
        })
    );
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    refused(&api, &format!("GET {line}"), Value::Null, 404, "`users` does not exist").await;
    refused(&api, &format!("PATCH {line}"), json!({"displayName": ""}), 404, "`users`").await;
}

#[tokio::test]
async fn the_same_token_makes_a_custom_metric_or_a_dimension_once() {
    let api = Api::new();
    for (line, body) in [
        ("POST /custom-metric/load", custom_metric("number")),
        ("POST /dimensions/Admin", dimension(json!(["admin/#"]))),
    ] {
        let made = answered(&api, line, body.clone()).await;
        assert_eq!(answered(&api, line, body.clone()).await, made);
        let mut other = body;
        other["clientRequestToken"] = "t-2".into();
        refused(&api, line, other.clone(), 409, "already exists").await;
        other["clientRequestToken"] = "a b".into();
        refused(&api, line, other.clone(), 400, "`-` and `_`").await;
        other["clientRequestToken"] = Value::Null;
        refused(&api, line, other, 400, "'clientRequestToken' failed").await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_custom_metric_is_said() {
    let api = Api::new();
    let check = async |name: &str, body: Value, expected: &str| {
        refused(&api, &format!("POST /custom-metric/{name}"), body, 400, expected).await;
    };
    check("aws:load", custom_metric("number"), "must not begin with aws:").await;
    check("picket:load", custom_metric("number"), "must not begin with picket:").await;
    check("a%20b", custom_metric("number"), "contains ` `").await;
    check(&"x".repeat(129), custom_metric("number"), "at most 128").await;
    check("load", custom_metric("float"), "[number, number-list, string-list, ip-address").await;
    check("load", json!({"clientRequestToken": "t"}), "'metricType' failed").await;
    let mut body = custom_metric("number");
    body["displayName"] = "x".repeat(129).into();
    check("load", body.clone(), "`displayName` is 129 characters long; at most 128").await;
    body["displayName"] = "a\u{7}".into();
    check("load", body.clone(), "control characters").await;
    body["displayName"] = json!(["x"]);
    check("load", body, "must be a string").await;
    check("load", json!([]), "not an object").await;
    answered(&api, "POST /custom-metric/load", custom_metric("number")).await;
    refused(&api, "PATCH /custom-metric/load", json!({}), 400, "'displayName' failed").await;
    let names = answered(&api, "GET /custom-metrics", Value::Null).await;
    assert_eq!(names, json!({"metricNames": ["load"]}));
}

#[tokio::test]
async fn a_dimension_lives_from_create_to_delete() {
    let api = Api::new();
    let line = "/dimensions/Admin";
    let made = answered(&api, &format!("POST {line}"), dimension(json!(["admin/#"]))).await;
    let arn = "arn:aws:iot:us-east-1:123456789012:dimension/Admin";
    assert_eq!(made, json!({"name": "Admin", "arn": arn}));
    api.pass_secs(60);
    let filters = json!(["admin/+", "${iot:ClientId}/admin"]);
    let changed = answered(&api, &format!("PATCH {line}"), json!({"stringValues": filters})).await;
    assert_eq!(changed, answered(&api, &format!("GET {line}"), Value::Null).await);
    assert_eq!(
        changed,
        json!({
            "name": "Admin",
            "arn": arn,
            "type": "TOPIC_FILTER",
            "stringValues": filters,
            "creationDate": 1_795_169_100.0,
            "lastModifiedDate": 1_795_169_160.0,
        })
    );
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    answered(&api, &format!("DELETE {line}"), Value::Null).await;
    refused(&api, &format!("GET {line}"), Value::Null, 404, "`Admin` does not exist").await;
    let change = json!({"stringValues": ["a"]});
    refused(&api, &format!("PATCH {line}"), change, 404, "`Admin` does not exist").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_dimension_is_said() {
    let api = Api::new();
    let check = async |body: Value, expected: &str| {
        refused(&api, "POST /dimensions/D", body, 400, expected).await;
    };
    check(dimension(json!([])), "`stringValues` has 0 elements; 1 to 100 are allowed").await;
    check(dimension(json!(vec!["a"; 101])), "has 101 elements").await;
    check(dimension(json!("a")), "must be a list").await;
    check(dimension(json!([["a"]])), "must be a list of strings").await;
    check(dimension(Value::Null), "'stringValues' failed").await;
    check(dimension(json!(["ok", "a/#/b"])), "Value 'a/#/b' at 'stringValues'").await;
    let mut other_type = dimension(json!(["a"]));
    other_type["type"] = "IP_RANGE".into();
    check(other_type, "[TOPIC_FILTER]").await;
    check(json!({"stringValues": ["a"], "clientRequestToken": "t"}), "'type' failed").await;
    refused(&api, "POST /dimensions/a%20b", dimension(json!(["a"])), 400, "contains ` `").await;
    let names = answered(&api, "GET /dimensions", Value::Null).await;
    assert_eq!(names, json!({"dimensionNames": []}));
}

#[tokio::test]
async fn custom_metrics_and_dimensions_are_listed_by_name_and_in_pages() {
    let api = Api::new();
    let names: Vec<String> = (0..5).map(|n| format!("n{n}")).collect();
    for name in names.iter().rev() {
        let body = custom_metric("number");
        answered(&api, &format!("POST /custom-metric/{name}"), body).await;
        let body = dimension(json!(["a"]));
        answered(&api, &format!("POST /dimensions/{name}"), body).await;
    }
    assert_eq!(paged(&api, "/custom-metrics?maxResults=2", "metricNames").await, names);
    assert_eq!(paged(&api, "/dimensions?maxResults=2", "dimensionNames").await, names);
    for list in ["/custom-metrics", "/dimensions"] {
        for wrong in ["maxResults=0", "maxResults=251", "nextToken=zzz"] {
            json(api.rest(Iot, &format!("GET {list}?{wrong}"), Value::Null).await, 400);
        }
    }
}
