//! Sets the stage through the API, call by call as a user's script would.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::narrate::Narrator;
use crate::client::{ApiClient, xml_text};

pub(super) const SENSORS: [&str; 3] = ["SensorDevice01", "SensorDevice02", "SensorDevice03"];
/// The one that goes bad.
pub(super) const BAD: &str = "SensorDevice02";
pub(super) const GROUP: &str = "IsolatedDevices";
pub(super) const PROFILE: &str = "DetectLargeMessageSize";
pub(super) const TOPIC: &str = "BadIoTDevices";
pub(super) const FUNCTION: &str = "IsolateDevice";

const ROLE: &str = "arn:aws:iam::123456789012:role/PicketDemo";

/// The function: what stands in AWS workshops, character for character but for `import os`, which
/// the original forgot.
const ISOLATE_PY: &str = include_str!("isolate.py");

/// A registered device with what it needs to connect.
pub(super) struct Sensor {
    pub(super) name: &'static str,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// Makes everything that the story needs. `python` says whether the function can be the Python
/// one.
pub(super) async fn provision(
    client: &ApiClient,
    narrator: &Narrator,
    python: bool,
) -> Result<Vec<Sensor>> {
    let sensors = make_sensors(client).await?;
    narrator
        .say("set up", "SensorDevice01, 02 and 03, each with a certificate and rights of its own");
    make_quarantine(client).await?;
    narrator.say("set up", &format!("group {GROUP} with a policy that denies everything"));
    let topic_arn = make_function(client, python).await?;
    let what = if python { "Python" } else { "an executable, since there is no Python" };
    narrator.say(
        "set up",
        &format!("topic {TOPIC} and function {FUNCTION} ({what}), which moves a device to {GROUP}"),
    );
    watch_all(client, &topic_arn).await?;
    narrator.say("set up", &format!("security profile {PROFILE} on all things: normal while message size <= 1,000 bytes; alarm after 1, clear after 2"));
    Ok(sensors)
}

async fn call(client: &ApiClient, service: &str, line: &str, body: &Value) -> Result<Value> {
    let (method, path) = line.split_once(' ').context("a call is a method and a path")?;
    client.json(service, method.parse::<Method>()?, path, body).await
}

async fn make_policy(client: &ApiClient, name: &str, statements: Value) -> Result<()> {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let body = json!({"policyDocument": document});
    call(client, "iot", &format!("POST /policies/{name}"), &body).await.map(drop)
}

async fn make_sensors(client: &ApiClient) -> Result<Vec<Sensor>> {
    let allow = |action: &str, resource: &str| {
        let resource = format!("arn:aws:iot:us-east-1:123456789012:{resource}");
        json!({"Effect": "Allow", "Action": action, "Resource": resource})
    };
    make_policy(
        client,
        "SensorPolicy",
        json!([
            allow("iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
            allow("iot:Publish", "topic/temperature-device-*"),
        ]),
    )
    .await?;
    let mut sensors = Vec::new();
    for name in SENSORS {
        call(client, "iot", &format!("POST /things/{name}"), &json!({})).await?;
        let made = call(client, "iot", "POST /keys-and-certificate?setAsActive=true", &Value::Null)
            .await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let arn = text(&made["certificateArn"]).context("the certificate has no ARN")?;
        let attach = json!({"target": arn});
        call(client, "iot", "PUT /target-policies/SensorPolicy", &attach).await?;
        client
            .with_header(
                Method::PUT,
                &format!("/things/{name}/principals"),
                "x-amzn-principal",
                &arn,
            )
            .await?;
        sensors.push(Sensor {
            name,
            certificate_pem: text(&made["certificatePem"]).context("there is no certificate")?,
            key_pem: text(&made["keyPair"]["PrivateKey"]).context("there is no key")?,
        });
    }
    Ok(sensors)
}

async fn make_quarantine(client: &ApiClient) -> Result<()> {
    let made = call(client, "iot", &format!("POST /thing-groups/{GROUP}"), &json!({})).await?;
    make_policy(client, "DenyAll", json!([{"Effect": "Deny", "Action": "iot:*", "Resource": "*"}]))
        .await?;
    let target = json!({"target": made["thingGroupArn"]});
    call(client, "iot", "PUT /target-policies/DenyAll", &target).await.map(drop)
}

/// Makes topic and function and ties them together; gives the topic's ARN.
async fn make_function(client: &ApiClient, python: bool) -> Result<String> {
    let xml = client.query("sns", "CreateTopic", &[("Name", TOPIC)]).await?;
    let topic_arn = xml_text(&xml, "TopicArn")?.to_owned();
    let (runtime, zip) = if python {
        ("python3.12", zip_of("index.py", ISOLATE_PY)?)
    } else {
        ("provided.al2023", zip_of("bootstrap", &super::isolate::bootstrap()?)?)
    };
    let body = json!({
        "FunctionName": FUNCTION,
        "Runtime": runtime,
        "Handler": "index.lambda_handler",
        "Role": ROLE,
        "Timeout": 30,
        "Code": {"ZipFile": STANDARD.encode(zip)},
        "Environment": {"Variables": {"ThingGroupName": GROUP}},
    });
    let made = call(client, "lambda", "POST /2015-03-31/functions", &body).await?;
    let permission = json!({
        "StatementId": "sns",
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": topic_arn,
    });
    let path = format!("POST /2015-03-31/functions/{FUNCTION}/policy");
    call(client, "lambda", &path, &permission).await?;
    let function_arn = made["FunctionArn"].as_str().context("the function has no ARN")?;
    let members =
        [("TopicArn", topic_arn.as_str()), ("Protocol", "lambda"), ("Endpoint", function_arn)];
    client.query("sns", "Subscribe", &members).await?;
    Ok(topic_arn)
}

async fn watch_all(client: &ApiClient, topic_arn: &str) -> Result<()> {
    let body = json!({
        "behaviors": [{
            "name": "LargeMessageSize",
            "metric": "aws:message-byte-size",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 1000},
                "consecutiveDatapointsToAlarm": 1,
                "consecutiveDatapointsToClear": 2,
            },
        }],
        "alertTargets": {"SNS": {"alertTargetArn": topic_arn, "roleArn": ROLE}},
    });
    call(client, "iot", &format!("POST /security-profiles/{PROFILE}"), &body).await?;
    let target = "arn:aws:iot:us-east-1:123456789012:all/things";
    let target = utf8_percent_encode(target, NON_ALPHANUMERIC);
    let path =
        format!("PUT /security-profiles/{PROFILE}/targets?securityProfileTargetArn={target}");
    call(client, "iot", &path, &Value::Null).await.map(drop)
}

/// A zip with one file that may be run.
fn zip_of(name: &str, content: &str) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, SimpleFileOptions::default().unix_permissions(0o755))?;
    zip.write_all(content.as_bytes())?;
    Ok(zip.finish()?.into_inner())
}
