use insta::assert_snapshot;

use crate::harness::Server;

#[tokio::test]
async fn custom_metrics_and_their_refusals() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"POST /custom-metric/load {"metricType":"number","displayName":"Load","tags":[{"Key":"a","Value":"b"}],"clientRequestToken":"t-1"}"#,
                r#"POST /custom-metric/load {"metricType":"number","clientRequestToken":"t-1"}"#,
                r#"POST /custom-metric/load {"metricType":"number","clientRequestToken":"t-2"}"#,
                r#"POST /custom-metric/aws%3Aload {"metricType":"number","clientRequestToken":"t-1"}"#,
                r#"POST /custom-metric/other {"metricType":"float","clientRequestToken":"t-1"}"#,
                r#"POST /custom-metric/other {"metricType":"number"}"#,
                r#"PATCH /custom-metric/load {"displayName":"Load of the processor"}"#,
                r#"PATCH /custom-metric/other {"displayName":"Other"}"#,
                "GET /custom-metric/load",
                "GET /custom-metric/other",
                "GET /custom-metrics?maxResults=1",
                r#"POST /security-profiles/P {"additionalMetricsToRetain":["load"]}"#,
                "GET /security-profiles?metricName=load",
                "GET /security-profiles?metricName=other",
                "DELETE /custom-metric/load",
                "DELETE /security-profiles/P",
                "DELETE /custom-metric/load",
                "DELETE /custom-metric/load",
                "GET /metric-values?thingName=a&metricName=load&startTime=0&endTime=1",
            ])
            .await
    );
}

#[tokio::test]
async fn dimensions_and_their_refusals() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                r##"POST /dimensions/Admin {"type":"TOPIC_FILTER","stringValues":["admin/#","${iot:ClientId}/admin"],"clientRequestToken":"t-1"}"##,
                r#"POST /dimensions/Admin {"type":"TOPIC_FILTER","stringValues":["a"],"clientRequestToken":"t-2"}"#,
                r#"POST /dimensions/Other {"type":"IP","stringValues":["a"],"clientRequestToken":"t-1"}"#,
                r#"POST /dimensions/Other {"type":"TOPIC_FILTER","stringValues":["a/#/b"],"clientRequestToken":"t-1"}"#,
                r#"PATCH /dimensions/Admin {"stringValues":["admin/+"]}"#,
                r#"PATCH /dimensions/Other {"stringValues":["a"]}"#,
                "GET /dimensions/Admin",
                "GET /dimensions/Other",
                "GET /dimensions",
                r#"POST /security-profiles/P {"additionalMetricsToRetainV2":[{"metric":"aws:num-messages-sent","metricDimension":{"dimensionName":"Admin"}}]}"#,
                r#"POST /security-profiles/Q {"additionalMetricsToRetainV2":[{"metric":"aws:num-messages-sent","metricDimension":{"dimensionName":"Other"}}]}"#,
                "GET /security-profiles?dimensionName=Admin",
                "GET /security-profiles?dimensionName=Other",
                "GET /metric-values?thingName=a&metricName=aws%3Anum-messages-sent&dimensionName=Admin&startTime=0&endTime=1",
                "GET /metric-values?thingName=a&metricName=aws%3Anum-messages-sent&dimensionName=Other&startTime=0&endTime=1",
                "DELETE /dimensions/Admin",
                "DELETE /security-profiles/P",
                "DELETE /dimensions/Admin",
                "DELETE /dimensions/Admin",
            ])
            .await
    );
}

#[tokio::test]
async fn learned_behaviors_and_their_summaries() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"POST /security-profiles/P {"behaviors":[{"name":"b","metric":"aws:num-disconnects","criteria":{"mlDetectionConfig":{"confidenceLevel":"HIGH"}}}]}"#,
                "GET /behavior-model-training/summaries?securityProfileName=P",
                "GET /behavior-model-training/summaries?securityProfileName=Q",
                "GET /behavior-model-training/summaries?maxResults=11",
            ])
            .await
    );
}
