//! An API over a real store, for tests: requests go through the routes and the handlers, without
//! sockets and signatures.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use picket_model::{Account, ClientId, Timestamp};
use picket_respond::limits::HostLimits;
use picket_respond::python::Choice;
use picket_respond::{FunctionHost, FunctionHostConfig, IssueKeys, Metrics};
use picket_store::Store;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

use crate::credentials::{AccessKey, Caller, Credentials};
use crate::error::ApiError;
use crate::issuer::Issuer;
use crate::metrics::ApiMetrics;
use crate::ports::{
    Busy, Clock, Connection, Connections, Later, Message, Messages, PublishError, RetainedMessage,
    RetainedMessages, SendError, Subscriptions,
};
use crate::request::Request;
use crate::response::Response;
use crate::routes::{by_action, by_path};
use crate::service::{Service, Wire};
use crate::state::ApiState;

/// The time at the start of every test: 2026-11-20T10:05:00Z.
pub(crate) const NOON: Timestamp = Timestamp::from_secs(1_795_169_100);

/// Every answer's request id.
const REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Making keys takes time that no test but the issuer's own needs to spend.
static ISSUER: LazyLock<Arc<Issuer>> = LazyLock::new(|| Arc::new(Issuer::create(NOON).unwrap()));

/// A broker without clients, which takes nothing.
struct NoBroker;

impl Messages for NoBroker {
    fn publish(&self, _message: Message) -> Later<'_, Result<(), PublishError>> {
        Box::pin(async { Err(PublishError::Unavailable) })
    }
}

impl Connections for NoBroker {
    fn find(&self, _client: &ClientId) -> Option<Connection> {
        None
    }

    fn end<'a>(&'a self, _client: &'a ClientId, _: bool, _: bool) -> Later<'a, bool> {
        Box::pin(async { false })
    }

    fn subscriptions<'a>(
        &'a self,
        _client: &'a ClientId,
    ) -> Later<'a, Result<Option<Subscriptions>, Busy>> {
        Box::pin(async { Ok(None) })
    }

    fn send<'a>(
        &'a self,
        _client: &'a ClientId,
        _message: Message,
        _timeout: Duration,
    ) -> Later<'a, Result<(), SendError>> {
        Box::pin(async { Err(SendError::NotConnected) })
    }
}

impl RetainedMessages for NoBroker {
    fn get(&self, _topic: &str) -> Option<RetainedMessage> {
        None
    }

    fn after(&self, _topic: Option<&str>, _max: usize) -> Vec<RetainedMessage> {
        Vec::new()
    }
}

/// The API, with its store in a folder that ends with it.
pub(crate) struct Api {
    pub(crate) state: ApiState,
    pub(crate) caller: Caller,
    now: Arc<Mutex<Timestamp>>,
    _folder: TempDir,
}

/// What came back: the status and the body.
pub(crate) type Answer = (u16, String);

impl Api {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let account = Account::default();
        let store = Store::open(folder.path(), account.clone()).unwrap();
        let key = AccessKey { id: "AKIATEST".to_owned(), secret: "secret".to_owned() };
        let now = Arc::new(Mutex::new(NOON));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || *clock.lock().unwrap());
        let credentials = Arc::new(Credentials::new(key, b"the server's secret"));
        let host = FunctionHostConfig {
            folder: folder.path().join("functions"),
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
        )
        .unwrap();
        let state = ApiState {
            account,
            store,
            clock,
            credentials,
            functions,
            issuer: Arc::clone(&ISSUER),
            certificate_facts: Arc::new(|_| None),
            messages: Arc::new(NoBroker),
            connections: Arc::new(NoBroker),
            retained: Arc::new(NoBroker),
            message_bytes_max: 128 * 1024,
            endpoint_host: "localhost".to_owned(),
            aws_durations_only: false,
            metrics: ApiMetrics::default(),
        };
        let caller = Caller::Administrator { access_key_id: "AKIATEST".to_owned() };
        Self { state, caller, now, _folder: folder }
    }

    /// Lets time pass.
    pub(crate) fn pass_secs(&self, secs: i64) {
        let mut now = self.now.lock().unwrap();
        *now = *now + secs * 1000;
    }

    /// A request of a path-routed service: `PUT /path?query`, with a JSON body (null: none).
    pub(crate) async fn rest(&self, service: Service, line: &str, body: Value) -> Answer {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.raw(service, line, &[], body).await
    }

    /// The same with headers and a body of any kind.
    pub(crate) async fn raw(
        &self,
        service: Service,
        line: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Answer {
        let response = match self.try_raw(service, line, headers, body).await {
            Ok(response) => response,
            Err(error) => error.response(service, REQUEST_ID),
        };
        answer(response)
    }

    async fn try_raw(
        &self,
        service: Service,
        line: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let (route, labels) = match service.wire() {
            Wire::RestJson => by_path(service, method, path, &query)?,
            Wire::Query => {
                let action = form_urlencoded::parse(&body).find(|(key, _)| key == "Action");
                (by_action(service, &action.unwrap().1)?, Vec::new())
            }
        };
        let request = Request {
            service,
            operation: &route.spec.name,
            id: REQUEST_ID.to_owned(),
            caller: self.caller.clone(),
            region: "us-east-1".to_owned(),
            headers,
            body,
            labels,
            query,
        };
        route.handler.expect("the operation is done")(&self.state, request).await
    }

    /// The status and AWS's name of the error that a request of a path-routed service ends with.
    pub(crate) async fn error(&self, service: Service, line: &str, body: Value) -> (u16, String) {
        let error = self.try_raw(service, line, &[], body.to_string().into()).await.unwrap_err();
        let response = error.response(service, REQUEST_ID);
        (
            response.status.as_u16(),
            response.headers["x-amzn-errortype"].to_str().unwrap().to_owned(),
        )
    }

    /// A request of a query-protocol service, from its fields.
    pub(crate) async fn form(&self, service: Service, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.raw(service, "POST /", &[], body.into()).await
    }
}

fn answer(response: Response) -> Answer {
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    (response.status.as_u16(), text)
}

/// The JSON of an answer that must have a status.
#[track_caller]
pub(crate) fn json((status, text): Answer, expected: u16) -> Value {
    assert_eq!(status, expected, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// JSON as a person reads it, for snapshots.
pub(crate) fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap()
}

/// What stands in the first element of a name.
#[track_caller]
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let found = xml
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    found.unwrap_or_else(|| panic!("no <{name}> in {xml}")).0
}

/// Sends a request to iot that must be refused with this status and these words.
pub(crate) async fn refused(api: &Api, line: &str, body: Value, status: u16, expected: &str) {
    let refusal = json(api.rest(Service::Iot, line, body).await, status);
    let message = refusal["message"].as_str().unwrap();
    assert!(message.contains(expected), "{line}: {message}\nshould contain\n{expected}");
}

/// Sends a request to iot that must be answered.
pub(crate) async fn answered(api: &Api, line: &str, body: Value) -> Value {
    json(api.rest(Service::Iot, line, body).await, 200)
}

/// All items of a list of iot, page by page.
pub(crate) async fn paged(api: &Api, line: &str, member: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let page = answered(api, &format!("GET {line}&nextToken={token}"), Value::Null).await;
        all.extend(page[member].as_array().unwrap().iter().cloned());
        match page["nextToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return all,
        }
    }
}
