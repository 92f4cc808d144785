//! The main line: from a violating publish, or from a change of a policy, to a closed connection.

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{self, Door, Stream, publish_frame};
use crate::say;
use crate::server::{Registered, Server, allow_all};

const ARN: &str = "arn:aws:iot:us-east-1:123456789012";
const ROLE: &str = "arn:aws:iam::123456789012:role/bench";

/// How long one device may take to be cut off before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What AWS's workshops put into the function.
const FUNCTION: &str = "import boto3, json, os
iot = boto3.client('iot')
def lambda_handler(event, context):
    message = json.loads(event['Records'][0]['Sns']['Message'])
    if message['violationEventType'] == 'in-alarm':
        iot.add_thing_to_thing_group(
            thingGroupName=os.environ['ThingGroupName'], thingName=message['thingName'])
";

/// Cuts devices off one after the other and prints how long it took.
pub(crate) async fn run(picket: &Path, devices: usize) -> Result<()> {
    let server = Server::start(picket, "").await?;
    prepare(&server).await?;
    // One before the measurement: it pays for the interpreter's start.
    through_function(&server, "warm-up").await?;
    let mut times = Vec::new();
    for number in 0..devices {
        times.push(through_function(&server, &format!("device-{number}")).await?);
    }
    print(
        "violating publish -> alarm -> topic -> Python function -> group -> connection closed",
        times,
    );
    let mut times = Vec::new();
    for number in 0..devices {
        times.push(policy_change(&server, &format!("policed-{number}")).await?);
    }
    print("call of CreatePolicyVersion (deny) -> connection closed", times);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |quantile: f64| {
        // Nearest rank.
        let rank = (quantile * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    say(&format!("\n{what}"));
    say(&format!(
        "  {} devices: median {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    ));
}

async fn prepare(server: &Server) -> Result<()> {
    let deny = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "iot:*", "Resource": "*"}]});
    server.policy("DenyAll", &deny).await?;
    let group = server.call("iot", "POST /thing-groups/Isolated", json!({})).await?;
    let target = json!({"target": group["thingGroupArn"]});
    server.call("iot", "PUT /target-policies/DenyAll", target).await?;
    server.policy("AllowAll", &allow_all()).await?;

    let xml = server.api.query("sns", "CreateTopic", &[("Name", "Bad")]).await?;
    let topic = picket::client::xml_text(&xml, "TopicArn")?.to_owned();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("index.py", zip::write::SimpleFileOptions::default())?;
    zip.write_all(FUNCTION.as_bytes())?;
    let function = server
        .call(
            "lambda",
            "POST /2015-03-31/functions",
            json!({
                "FunctionName": "Isolate", "Runtime": "python3.12", "Role": ROLE,
                "Handler": "index.lambda_handler", "Timeout": 30,
                "Code": {"ZipFile": STANDARD.encode(zip.finish()?.into_inner())},
                "Environment": {"Variables": {"ThingGroupName": "Isolated"}},
            }),
        )
        .await?;
    server
        .call(
            "lambda",
            "POST /2015-03-31/functions/Isolate/policy",
            json!({
                "StatementId": "sns", "Action": "lambda:InvokeFunction",
                "Principal": "sns.amazonaws.com", "SourceArn": topic,
            }),
        )
        .await?;
    let endpoint = function["FunctionArn"].as_str().context("the function has no ARN")?;
    let members = [("TopicArn", topic.as_str()), ("Protocol", "lambda"), ("Endpoint", endpoint)];
    server.api.query("sns", "Subscribe", &members).await?;
    server
        .call(
            "iot",
            "POST /security-profiles/Large",
            json!({
                "behaviors": [{"name": "Large", "metric": "aws:message-byte-size", "criteria": {
                    "comparisonOperator": "less-than-equals", "value": {"count": 1000}}}],
                "alertTargets": {"SNS": {"alertTargetArn": topic, "roleArn": ROLE}},
            }),
        )
        .await?;
    let attach = format!(
        "PUT /security-profiles/Large/targets?securityProfileTargetArn={}",
        format!("{ARN}:all/things").replace(':', "%3A").replace('/', "%2F")
    );
    server.call("iot", &attach, Value::Null).await.map(drop)
}

async fn through_function(server: &Server, name: &str) -> Result<Duration> {
    let mut device = connect(server, name, "AllowAll").await?;
    // A message that is fine, so that the measured one is not the connection's first.
    publish(&mut device, 120).await?;
    let started = Instant::now();
    publish(&mut device, 3000).await?;
    closed(device).await?;
    Ok(started.elapsed())
}

async fn policy_change(server: &Server, name: &str) -> Result<Duration> {
    server.policy(name, &allow_all()).await?;
    let device = connect(server, name, name).await?;
    let deny = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "iot:Connect", "Resource": "*"}]});
    let line = format!("POST /policies/{name}/version?setAsDefault=true");
    let started = Instant::now();
    let call = server.call("iot", &line, json!({"policyDocument": deny.to_string()}));
    let (called, closed) = tokio::join!(call, async {
        closed(device).await?;
        Ok::<_, anyhow::Error>(started.elapsed())
    });
    called?;
    closed
}

/// Registers a thing with a certificate under a policy and connects it with MQTT 3.1.1 over
/// mutual TLS.
async fn connect(server: &Server, name: &str, policy: &str) -> Result<Box<dyn Stream>> {
    let Registered { arn, certificate_pem, key_pem } = server.certificate(policy).await?;
    server.call("iot", &format!("POST /things/{name}"), json!({})).await?;
    let path = format!("/things/{name}/principals");
    server.api.with_header(Method::PUT, &path, "x-amzn-principal", &arn).await?;
    let tls = client::tls(&server.ca_pem()?, &certificate_pem, &key_pem)?;
    Door { address: server.address("mqtts")?, tls: Some(tls) }.connect(name).await
}

/// Publishes at QoS 0.
async fn publish(device: &mut dyn Stream, payload_bytes: usize) -> Result<()> {
    let (packet, _) = publish_frame("t", 0, payload_bytes)?;
    device.write_all(&packet).await?;
    device.flush().await?;
    Ok(())
}

/// Waits until the server has closed the connection.
async fn closed(mut device: Box<dyn Stream>) -> Result<()> {
    let mut sink = [0; 1024];
    let reading = async {
        // An error is an end too: a server may close without TLS's goodbye.
        while device.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(PATIENCE, reading).await.context("the connection was not closed")
}
