//! A `picket serve` of its own, on free ports and a temporary data directory.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use picket::client::ApiClient;
use picket_api::sigv4::Signer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
    endpoints: Value,
    /// Calls its API with the administrator's key.
    pub(crate) api: ApiClient,
}

/// A certificate that is registered and active.
pub(crate) struct Registered {
    /// Its ARN.
    pub(crate) arn: String,
    /// What a client shows.
    pub(crate) certificate_pem: String,
    /// What only the client has.
    pub(crate) key_pem: String,
}

impl Server {
    /// Starts one, with a line of configuration besides the defaults if wanted.
    pub(crate) async fn start(picket: &Path, config: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("picket.toml");
        std::fs::write(&file, config)?;
        let data = folder.path().join("data");
        let mut process = Command::new(picket)
            .args(["serve", "--api", "127.0.0.1:0", "--console", "127.0.0.1:0"])
            .args(["--mqtts", "127.0.0.1:0"])
            .arg("--config")
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", picket.display()))?;
        let stdout = process.stdout.take().context("the server has no standard output")?;
        let ready = BufReader::new(stdout).lines().next_line().await?;
        ensure!(ready.as_deref() == Some("picket ready"), "the server did not start");
        let endpoints = serde_json::from_slice(&std::fs::read(data.join("endpoints.json"))?)?;
        let api = client(&data, &endpoints)?;
        Ok(Self { process, folder, endpoints, api })
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.id().context("the server has ended")
    }

    /// The first address of a kind: `mqtts`, `mqtt`, `console`.
    pub(crate) fn address(&self, kind: &str) -> Result<SocketAddr> {
        address(&self.endpoints, kind)
    }

    /// The certificate that signed the server's.
    pub(crate) fn ca_pem(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder.path().join("data/ca.pem"))?)
    }

    /// Makes a policy.
    pub(crate) async fn policy(&self, name: &str, document: &Value) -> Result<()> {
        let body = json!({"policyDocument": document.to_string()});
        self.call("iot", &format!("POST /policies/{name}"), body).await.map(drop)
    }

    /// Registers a P-256 key's certificate under a policy.
    pub(crate) async fn certificate(&self, policy: &str) -> Result<Registered> {
        let key = rcgen::KeyPair::generate()?;
        let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
        let body = json!({"certificateSigningRequest": request});
        let made = self.call("iot", "POST /certificates?setAsActive=true", body).await?;
        let text = |field: &str| {
            made[field].as_str().map(str::to_owned).with_context(|| format!("there is no {field}"))
        };
        let (arn, certificate_pem) = (text("certificateArn")?, text("certificatePem")?);
        let target = json!({"target": arn});
        self.call("iot", &format!("PUT /target-policies/{policy}"), target).await?;
        Ok(Registered { arn, certificate_pem, key_pem: key.serialize_pem() })
    }

    /// Calls an operation given as `METHOD /path`.
    pub(crate) async fn call(&self, service: &str, line: &str, body: Value) -> Result<Value> {
        let (method, path) = line.split_once(' ').context("a call is a method and a path")?;
        self.api.json(service, method.parse::<Method>()?, path, &body).await
    }

    /// What a counter has counted so far, with all its labels together; 0 if there is none of the
    /// name.
    pub(crate) async fn counter(&self, name: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.address("console")?).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.0 200 "), "the server does not show what it counts");
        let samples = answer.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            (sample.split('{').next() == Some(name)).then_some(value)
        });
        samples.map(|value| Ok(value.parse::<u64>()?)).sum()
    }
}

/// The policy document that allows everything.
pub(crate) fn allow_all() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
}

fn address(endpoints: &Value, kind: &str) -> Result<SocketAddr> {
    let address = endpoints[kind][0].as_str().with_context(|| format!("no {kind} is bound"))?;
    Ok(address.parse()?)
}

fn client(data: &Path, endpoints: &Value) -> Result<ApiClient> {
    let text = std::fs::read_to_string(data.join("credentials"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_once('=')).map(|(_, value)| value.trim().to_owned())
    };
    let signer = Signer {
        access_key_id: value("aws_access_key_id").context("no key")?,
        secret_access_key: value("aws_secret_access_key").context("no secret")?,
        session_token: None,
        region: "us-east-1".to_owned(),
    };
    Ok(ApiClient::new(address(endpoints, "api")?, signer))
}
