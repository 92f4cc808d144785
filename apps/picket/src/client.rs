//! Calls the API as any AWS SDK would: signed HTTP. For the demo, the demo's own function, and
//! the benchmark.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, bail};
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use picket_api::sigv4::Signer;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::clock;

/// A client with keys.
#[derive(Clone)]
pub struct ApiClient {
    address: SocketAddr,
    signer: Signer,
}

impl ApiClient {
    /// A client of the API at `address`.
    pub fn new(address: SocketAddr, signer: Signer) -> Self {
        Self { address, signer }
    }

    /// Calls an operation of a JSON service (`iot`, `iotdata`, `lambda`); `path` is encoded
    /// already. Answers `Null` where the body is empty.
    ///
    /// # Errors
    /// When the server cannot be reached, or with what it says where it refuses.
    pub async fn json(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        let answer = self.send(service, request, Bytes::from(body)).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).context("the answer is not JSON")
    }

    /// Calls an operation whose only input is a header: `AttachThingPrincipal` and its like.
    ///
    /// # Errors
    /// As [`ApiClient::json`].
    pub async fn with_header(
        &self,
        method: Method,
        path: &str,
        name: &str,
        value: &str,
    ) -> Result<()> {
        let request = Request::builder().method(method).uri(path).header(name, value);
        self.send("iot", request, Bytes::new()).await.map(drop)
    }

    /// Calls an action of a query service (`sns`, `sts`) and gives the XML it answers.
    ///
    /// # Errors
    /// As [`ApiClient::json`].
    pub async fn query(
        &self,
        service: &str,
        action: &str,
        members: &[(&str, &str)],
    ) -> Result<String> {
        let version = if service == "sts" { "2011-06-15" } else { "2010-03-31" };
        let mut form = url_form();
        form.append_pair("Action", action).append_pair("Version", version);
        for (name, value) in members {
            form.append_pair(name, value);
        }
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
        let answer = self.send(service, request, Bytes::from(form.finish())).await?;
        String::from_utf8(answer.into()).context("the answer is not text")
    }

    async fn send(
        &self,
        service: &str,
        request: axum::http::request::Builder,
        body: Bytes,
    ) -> Result<Bytes> {
        let request = request.header(header::HOST, self.address.to_string()).body(())?;
        let (mut parts, ()) = request.into_parts();
        self.signer.sign(&mut parts, &body, service, clock::now())?;
        let what = format!("{} {}", parts.method, parts.uri);

        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("the API at {} cannot be reached", self.address))?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(refused(status, &body)).with_context(|| format!("{what} was refused"))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|json| Some(json.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| text.into_owned());
    anyhow!("{status}: {message}")
}

fn url_form() -> form_urlencoded::Serializer<'static, String> {
    form_urlencoded::Serializer::new(String::new())
}

/// The text of an element of an XML answer.
///
/// # Errors
/// When the answer has no such element.
pub fn xml_text<'a>(xml: &'a str, element: &str) -> Result<&'a str> {
    let Some((_, rest)) = xml.split_once(&format!("<{element}>")) else {
        bail!("the answer has no {element}");
    };
    Ok(rest.split('<').next().unwrap_or(rest))
}
