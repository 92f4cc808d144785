use serde_json::{Value, json};

use super::{answered, custom, custom_metric, dimension, narrowed, refused};
use crate::service::Service::Iot;
use crate::testing::{Api, json, pretty};

#[tokio::test]
async fn a_profile_refers_to_what_is_there() {
    let api = Api::new();
    let line = "POST /security-profiles/P";
    let behaviors = json!({"behaviors": [
        narrowed("Admin", "IN"),
        custom("users", "in-set", json!({"strings": ["root"]})),
    ]});
    refused(
        &api,
        line,
        behaviors.clone(),
        400,
        "behavior `Narrowed`: dimension `Admin` does not exist; make it with CreateDimension; \
         behavior `Custom`: there is no metric `users`",
    )
    .await;
    answered(&api, "POST /dimensions/Admin", dimension(json!(["admin/#"]))).await;
    answered(&api, "POST /custom-metric/users", custom_metric("string-list")).await;
    answered(&api, line, behaviors).await;

    let other_kind = json!({"behaviors": [custom("users", "less-than", json!({"number": 1}))]});
    let expected = "custom metric `users` is of type string-list; a criteria on it takes a set of \
                    `strings`, not a `number`";
    refused(&api, "PATCH /security-profiles/P", other_kind, 400, expected).await;
    let retained = |metric: Value| json!({"additionalMetricsToRetainV2": [metric]});
    let nowhere = retained(json!({"metric": "nowhere"}));
    refused(&api, "PATCH /security-profiles/P", nowhere, 400, "no metric `nowhere`").await;
    let nowhere = retained(json!({
        "metric": "aws:message-byte-size",
        "metricDimension": {"dimensionName": "Nowhere"},
    }));
    let expected = "metric to retain: dimension `Nowhere` does not exist";
    refused(&api, "PATCH /security-profiles/P", nowhere, 400, expected).await;

    // What is used stays.
    refused(&api, "DELETE /dimensions/Admin", Value::Null, 400, "`P`").await;
    refused(&api, "DELETE /custom-metric/users", Value::Null, 400, "`P`").await;
    answered(&api, "PATCH /security-profiles/P", json!({"deleteBehaviors": true})).await;
    answered(&api, "DELETE /dimensions/Admin", Value::Null).await;
    answered(&api, "DELETE /custom-metric/users", Value::Null).await;
}

#[tokio::test]
async fn validation_tells_all_at_once_what_is_wrong_in_itself_and_what_is_not_there() {
    let api = Api::new();
    answered(&api, "POST /custom-metric/load", custom_metric("number")).await;
    let mut unknown = narrowed("Nowhere", "IN");
    unknown["name"] = "a".into();
    let mut wrong = narrowed("Nowhere", "NEAR");
    wrong["name"] = "b".into();
    let body = json!({"behaviors": [
        unknown,
        wrong,
        custom("load", "in-set", json!({"numbers": [1]})),
        {"name": "d", "metric": "aws:nonsense", "criteria": {}},
    ]});
    let verdict = answered(&api, "POST /security-profile-behaviors/validate", body).await;
    insta::assert_snapshot!(pretty(&verdict));
}

#[tokio::test]
async fn profiles_are_listed_by_the_metrics_and_dimensions_they_use() {
    let api = Api::new();
    answered(&api, "POST /dimensions/Admin", dimension(json!(["admin/#"]))).await;
    answered(&api, "POST /dimensions/Unused", dimension(json!(["a"]))).await;
    answered(&api, "POST /custom-metric/load", custom_metric("number")).await;
    let narrowed = json!({"behaviors": [narrowed("Admin", "NOT_IN")]});
    answered(&api, "POST /security-profiles/narrowed", narrowed).await;
    let custom = json!({"behaviors": [custom("load", "less-than", json!({"number": 1}))]});
    answered(&api, "POST /security-profiles/custom", custom).await;
    let retaining = json!({"additionalMetricsToRetainV2": [
        {"metric": "load"},
        {"metric": "aws:num-messages-sent", "metricDimension": {"dimensionName": "Admin"}},
    ]});
    answered(&api, "POST /security-profiles/retaining", retaining).await;
    let check = async |query: &str, expected: &[&str]| {
        let list = answered(&api, &format!("GET /security-profiles?{query}"), Value::Null).await;
        let names: Vec<&str> = list["securityProfileIdentifiers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{query}");
    };
    check("", &["custom", "narrowed", "retaining"]).await;
    check("metricName=load", &["custom", "retaining"]).await;
    check("metricName=aws:num-messages-sent", &["narrowed", "retaining"]).await;
    check("metricName=aws:num-disconnects", &[]).await;
    check("dimensionName=Admin", &["narrowed", "retaining"]).await;
    check("dimensionName=Unused", &[]).await;
    for (query, status) in [
        ("metricName=nobody-measures-this", 404),
        ("dimensionName=Nowhere", 404),
        ("metricName=load&dimensionName=Admin", 400),
        ("metricName=a%20b", 400),
        ("dimensionName=", 400),
    ] {
        json(api.rest(Iot, &format!("GET /security-profiles?{query}"), Value::Null).await, status);
    }
}

#[tokio::test]
async fn no_more_slices_are_used_than_sessions_count_by() {
    let api = Api::new();
    let in_all = picket_model::limits::SLICES_MAX;
    let names: Vec<String> = (0..=in_all / 2).map(|n| format!("d{n:02}")).collect();
    for name in &names {
        answered(&api, &format!("POST /dimensions/{name}"), dimension(json!(["a"]))).await;
    }
    let retained = |names: &[String]| {
        let sides = names.iter().flat_map(|name| {
            ["IN", "NOT_IN"].map(|operator| {
                json!({
                    "metric": "aws:num-messages-sent",
                    "metricDimension": {"dimensionName": name, "operator": operator},
                })
            })
        });
        json!({"additionalMetricsToRetainV2": sides.collect::<Vec<_>>()})
    };
    let (most, last) = names.split_at(in_all / 2);
    answered(&api, "POST /security-profiles/full", retained(most)).await;
    // What another one uses already costs nothing more.
    answered(&api, "POST /security-profiles/same", retained(most)).await;
    let one_more = json!({"behaviors": [narrowed(&last[0], "IN")]});
    let expected = format!("would use {} different pairs", in_all + 1);
    refused(&api, "POST /security-profiles/more", one_more.clone(), 410, &expected).await;
    refused(&api, "GET /security-profiles/more", Value::Null, 404, "`more`").await;
    refused(&api, "PATCH /security-profiles/same", one_more, 410, &expected).await;
    answered(&api, "DELETE /security-profiles/same", Value::Null).await;
    answered(&api, "PATCH /security-profiles/full", retained(last)).await;
}
