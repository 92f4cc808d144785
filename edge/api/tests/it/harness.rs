//! A server of the test's own, and a client that says exactly what it sends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use picket_api::{
    AccessKey, ApiMetrics, ApiState, Clock, Connections, Credentials, Issuer, Later, Message,
    Messages, PublishError, RetainedMessages, router,
};
use picket_model::{Account, Timestamp};
use picket_policy::{CertificateFacts, NameAttribute};
use picket_respond::limits::HostLimits;
use picket_respond::python::Choice;
use picket_respond::{FunctionHost, FunctionHostConfig, IssueKeys, Metrics};
use picket_store::Store;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clients::Clients;
use crate::sign::{Scope, Unsigned, authorization};

/// The self-signed certificate of a device, `CN=SensorDevice01`.
pub(crate) const DEVICE_PEM: &str = include_str!("device.pem");

/// SHA-256 of its DER form.
pub(crate) const DEVICE_ID: &str =
    "f8428d2623c474a6c85b17ea7c3c5ea04b5d8f3925a888f826b2946bdfecab72";

/// Its ARN.
pub(crate) const DEVICE_ARN: &str = "arn:aws:iot:us-east-1:123456789012:cert/f8428d2623c474a6c85b17ea7c3c5ea04b5d8f3925a888f826b2946bdfecab72";

const KEY: &str = "AKIATESTTESTTESTTEST";
const SECRET: &str = "test/secret+test/secret+test/secret+test";

/// Names whose values differ from run to run.
const VOLATILE: &[&str] = &[
    "thingId",
    "thingGroupId",
    "thingTypeId",
    "actionId",
    "id",
    "traceId",
    "PublicKey",
    "PrivateKey",
];

/// Everything that was published, in its order.
#[derive(Default)]
pub(crate) struct Published(pub(crate) Mutex<Vec<Message>>);

impl Messages for Published {
    fn publish(&self, message: Message) -> Later<'_, Result<(), PublishError>> {
        self.0.lock().unwrap().push(message);
        Box::pin(async { Ok(()) })
    }
}

/// A server on a port of its own, with an empty store.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) published: Arc<Published>,
    pub(crate) clients: Arc<Clients>,
    millis: Arc<AtomicI64>,
    _dir: TempDir,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, error name, and body with what is volatile taken out.
    pub(crate) fn shown(&self) -> String {
        assert!(self.headers.contains_key("x-amzn-requestid"), "{self:?}");
        let error = self.headers.get("x-amzn-errortype").cloned().unwrap_or_default();
        let body = match serde_json::from_slice::<Value>(&self.body) {
            Ok(mut value) => {
                redact(&mut value);
                value.to_string()
            }
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        format!("{} {error} {body}", self.status).replace("  ", " ")
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VOLATILE.contains(&name.as_str()) {
                    *member = Value::from(format!("[{name}]"));
                } else if member.as_str().is_some_and(|text| text.contains("-----BEGIN")) {
                    *member = Value::from("[PEM]");
                } else {
                    redact(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A request to be signed and sent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) service: String,
    pub(crate) method: String,
    /// Path and query, encoded.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) key: (String, String),
    pub(crate) region: String,
}

impl Call {
    /// Reads `[service:]METHOD target [header=value]... [body]`.
    pub(crate) fn parse(line: &str) -> Self {
        let (first, rest) = line.split_once(' ').unwrap();
        let (service, method) = first.split_once(':').unwrap_or(("iot", first));
        let (target, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut headers = Vec::new();
        while rest.starts_with("x-") {
            let (header, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (name, value) = header.split_once('=').unwrap();
            headers.push((name.to_owned(), value.to_owned()));
            rest = after;
        }
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: rest.as_bytes().to_vec(),
            key: (KEY.to_owned(), SECRET.to_owned()),
            region: "us-east-1".to_owned(),
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let account = Account::default();
        let store = Store::open(dir.path(), account.clone()).unwrap();
        let millis = Arc::new(AtomicI64::new(1_800_000_000_000));
        let now = Timestamp::from_millis(millis.load(Ordering::Relaxed));
        let key = AccessKey { id: KEY.to_owned(), secret: SECRET.to_owned() };
        let credentials = Arc::new(Credentials::new(key, b"a secret of the server"));
        let published = Arc::new(Published::default());
        let clients = Arc::new(Clients::default());
        let clock = Arc::clone(&millis);
        let clock: Clock = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::Relaxed)));
        let host = FunctionHostConfig {
            folder: dir.path().join("functions"),
            account: account.clone(),
            endpoint_url: "http://127.0.0.1:9".to_owned(),
            ca_bundle: None,
            python: Choice::Given("/nowhere/python3".into()),
            limits: HostLimits::default(),
        };
        let functions = FunctionHost::new(
            host,
            store.clone(),
            Arc::clone(&credentials) as Arc<dyn IssueKeys>,
            Arc::clone(&clock),
            Metrics::new(&mut Registry::default()),
        );
        let state = ApiState {
            account,
            store,
            clock,
            credentials: Arc::clone(&credentials),
            functions: functions.unwrap(),
            issuer: Arc::new(Issuer::create(now).unwrap()),
            certificate_facts: Arc::new(|certificate| {
                let name = vec!["SensorDevice01".to_owned()];
                Some(Arc::new(CertificateFacts {
                    id: certificate.id.clone(),
                    serial_number: "1".to_owned(),
                    subject: BTreeMap::from([(NameAttribute::CommonName, name)]).into(),
                    issuer: BTreeMap::new().into(),
                    subject_alternative: BTreeMap::new().into(),
                    issuer_alternative: BTreeMap::new().into(),
                }))
            }),
            messages: Arc::clone(&published) as Arc<dyn Messages>,
            connections: Arc::clone(&clients) as Arc<dyn Connections>,
            retained: Arc::clone(&clients) as Arc<dyn RetainedMessages>,
            message_bytes_max: 128 * 1024,
            endpoint_host: "picket.example".to_owned(),
            aws_durations_only: false,
            metrics: ApiMetrics::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(state)).await.unwrap() });
        Self { address, credentials, published, clients, millis, _dir: dir }
    }

    /// Lets time go by.
    pub(crate) fn advance(&self, seconds: i64) {
        self.millis.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// Sends the line as [`Call::parse`] reads it.
    pub(crate) async fn call(&self, line: &str) -> Answer {
        self.send(&Call::parse(line)).await
    }

    /// Signs and sends.
    pub(crate) async fn send(&self, call: &Call) -> Answer {
        let headers = self.signed(call);
        self.raw(&call.method, &call.target, &headers, &call.body).await
    }

    /// All headers of a call, its signature among them.
    pub(crate) fn signed(&self, call: &Call) -> Vec<(String, String)> {
        let date: String = self.now().to_string()[..19].replace(['-', ':'], "") + "Z";
        let mut headers = call.headers.clone();
        headers.push(("host".to_owned(), self.address.to_string()));
        headers.push(("x-amz-date".to_owned(), date.clone()));
        let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
        let request =
            Unsigned { method: &call.method, path, query, headers: &headers, body: &call.body };
        let scope = Scope {
            key: &call.key.0,
            secret: &call.key.1,
            date: &date,
            region: &call.region,
            service: &call.service,
        };
        let value = authorization(&request, &scope);
        headers.push(("authorization".to_owned(), value));
        headers
    }

    /// Sends exactly this, with the body's length.
    pub(crate) async fn raw(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Answer {
        let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length =
            |(name, _): &(String, String)| name == "content-length" || name == "transfer-encoding";
        if !headers.iter().any(has_length) {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = parse(&bytes) {
                return answer;
            }
            let n = stream.read_buf(&mut bytes).await.unwrap();
            assert!(n > 0, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
        }
    }

    /// What every line is answered, for a snapshot; `arn:` stands for the ARNs of this account.
    pub(crate) async fn transcript(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for line in lines {
            let answer = self.call(line).await;
            text.push_str(&format!("> {line}\n{}\n", answer.shown()));
        }
        text.replace("arn:aws:iot:us-east-1:123456789012:", "arn:")
    }

    /// Lines that only prepare what a test is about; all must be answered with 200.
    pub(crate) async fn given(&self, lines: &[&str]) {
        for line in lines {
            let answer = self.call(line).await;
            assert_eq!(answer.status, 200, "{line}: {}", answer.shown());
        }
    }

    /// Registers the certificate of [`DEVICE_PEM`], active.
    pub(crate) async fn given_device_certificate(&self) {
        let body = serde_json::json!({ "certificatePem": DEVICE_PEM, "status": "ACTIVE" });
        self.given(&[&format!("POST /certificate/register-no-ca {body}")]).await;
    }
}

/// The answer, if it is there as a whole.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let len: usize = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + len)?.to_vec();
    Some(Answer { status, headers, body })
}
