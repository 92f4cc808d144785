//! The main line: from a violating publish, or from a change of a policy, to a closed connection.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::say;
use crate::server::Server;

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
    policy(server, "DenyAll", &deny).await?;
    let group = server.call("iot", "POST /thing-groups/Isolated", json!({})).await?;
    let target = json!({"target": group["thingGroupArn"]});
    server.call("iot", "PUT /target-policies/DenyAll", target).await?;
    policy(server, "AllowAll", &allow_all()).await?;

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

fn allow_all() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
}

async fn policy(server: &Server, name: &str, document: &Value) -> Result<()> {
    let body = json!({"policyDocument": document.to_string()});
    server.call("iot", &format!("POST /policies/{name}"), body).await.map(drop)
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
    policy(server, name, &allow_all()).await?;
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
async fn connect(server: &Server, name: &str, policy: &str) -> Result<TlsStream<TcpStream>> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    let body = json!({"certificateSigningRequest": request});
    let made = server.call("iot", "POST /certificates?setAsActive=true", body).await?;
    let arn = made["certificateArn"].as_str().context("the certificate has no ARN")?;
    server.call("iot", &format!("POST /things/{name}"), json!({})).await?;
    let target = json!({"target": arn});
    server.call("iot", &format!("PUT /target-policies/{policy}"), target).await?;
    let path = format!("/things/{name}/principals");
    server.api.with_header(Method::PUT, &path, "x-amzn-principal", arn).await?;

    let pem = made["certificatePem"].as_str().context("there is no certificate")?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&server.ca_pem()?)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?,
        )?;
    let stream = TcpStream::connect(server.address("mqtts")?).await?;
    stream.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;

    let mut packet = vec![0x10, 12 + u8::try_from(name.len())?, 0, 4];
    packet.extend_from_slice(b"MQTT\x04\x02\x00\x3c\x00");
    packet.push(u8::try_from(name.len())?);
    packet.extend_from_slice(name.as_bytes());
    stream.write_all(&packet).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == [0x20, 2, 0, 0], "CONNECT was refused: {answer:?}");
    Ok(stream)
}

/// Publishes at QoS 0.
async fn publish(device: &mut TlsStream<TcpStream>, payload_bytes: usize) -> Result<()> {
    let length = 3 + payload_bytes;
    let mut packet = vec![0x30, (length % 0x80) as u8 | 0x80, (length / 0x80) as u8, 0, 1, b't'];
    packet.resize(packet.len() + payload_bytes, b'x');
    device.write_all(&packet).await?;
    device.flush().await?;
    Ok(())
}

/// Waits until the server has closed the connection.
async fn closed(mut device: TlsStream<TcpStream>) -> Result<()> {
    let mut sink = [0; 1024];
    let reading = async {
        // An error is an end too: a server may close without TLS's goodbye.
        while device.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(PATIENCE, reading).await.context("the connection was not closed")
}
