//! The demo's function as an executable of its own, for machines without Python.
//!
//! It is this program again, started by the function's `bootstrap` with a hidden verb, and speaks
//! the Lambda Runtime API as any custom runtime does: ask for an event, act, answer.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use picket_api::sigv4::Signer;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::ApiClient;

/// The hidden verb.
pub(crate) const VERB: &str = "isolate-function";

/// The text of `bootstrap`: runs this executable.
pub(super) fn bootstrap() -> Result<String> {
    let program = std::env::current_exe().context("this program cannot be found again")?;
    let program = program.to_string_lossy().replace('\'', r"'\''");
    Ok(format!("#!/bin/sh\nexec '{program}' {VERB}\n"))
}

/// Serves events until the host ends the process.
pub(crate) async fn run() -> Result<()> {
    let runtime_api = variable("AWS_LAMBDA_RUNTIME_API")?;
    let group = variable("ThingGroupName")?;
    let client = client_from_environment()?;
    loop {
        let (id, event) = next_event(&runtime_api).await?;
        let (path, answer) = match isolate(&client, &group, &event).await {
            Ok(()) => ("response", Value::Null),
            Err(error) => {
                let error = json!({"errorType": "Failed", "errorMessage": format!("{error:#}")});
                ("error", error)
            }
        };
        let path = format!("/2018-06-01/runtime/invocation/{id}/{path}");
        send(&runtime_api, Method::POST, &path, answer.to_string()).await?;
    }
}

/// What the function is for: the thing that the alarm names goes into the group.
async fn isolate(client: &ApiClient, group: &str, event: &Value) -> Result<()> {
    let message = event["Records"][0]["Sns"]["Message"].as_str().context("this is no SNS event")?;
    let message: Value = serde_json::from_str(message).context("the message is not JSON")?;
    let body = json!({"thingGroupName": group, "thingName": message["thingName"]});
    let path = "/thing-groups/addThingToThingGroup";
    client.json("iot", Method::PUT, path, &body).await.map(drop)
}

async fn next_event(runtime_api: &str) -> Result<(String, Value)> {
    let path = "/2018-06-01/runtime/invocation/next";
    let (headers, body) = send(runtime_api, Method::GET, path, String::new()).await?;
    let id = headers.get("lambda-runtime-aws-request-id").context("the event has no id")?;
    Ok((id.to_str()?.to_owned(), serde_json::from_slice(&body)?))
}

async fn send(
    runtime_api: &str,
    method: Method,
    path: &str,
    body: String,
) -> Result<(axum::http::HeaderMap, Bytes)> {
    // The address may have a path behind it.
    let (address, base) = match runtime_api.split_once('/') {
        Some((address, base)) => (address, format!("/{base}")),
        None => (runtime_api, String::new()),
    };
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("{base}{path}"))
        .header(header::HOST, address)
        .body(Full::new(Bytes::from(body)))?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    anyhow::ensure!(parts.status.is_success(), "the runtime answered {}", parts.status);
    Ok((parts.headers, body.collect().await?.to_bytes()))
}

fn client_from_environment() -> Result<ApiClient> {
    let url = variable("AWS_ENDPOINT_URL")?;
    let address: SocketAddr = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .and_then(|address| address.parse().ok())
        .with_context(|| format!("`{url}` is not the address of an API"))?;
    let signer = Signer {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: Some(variable("AWS_SESSION_TOKEN")?),
        region: variable("AWS_REGION")?,
    };
    Ok(ApiClient::new(address, signer))
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: this runs as a function only"))
}
