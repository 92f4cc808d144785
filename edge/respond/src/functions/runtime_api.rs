//! The Lambda Runtime API: how a function's process asks for work and answers.
//!
//! Each process has a server of its own on a port of its own, so that one process cannot answer
//! for another by mistake: AWS's clients take a host and a port and no path. The request id, which
//! only the process that runs it has seen, must be right besides. Other users of the machine, who
//! can reach the port too, are turned away: a connection must come from a socket of our own user.
//!
//! This file knows HTTP; what may be said when is decided by the process's task (`process`).
//! Source: AWS Lambda guide "Using the Lambda runtime API" (version 2018-06-01).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use picket_model::Timestamp;
use picket_model::limits::FUNCTION_PAYLOAD_BYTES_MAX;
use picket_model::text::chain;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::proc_fs;
use crate::limits::{
    RUNTIME_API_CONNECTIONS_MAX, RUNTIME_API_DISCARD_BYTES_MAX, RUNTIME_API_HEAD_BYTES_MAX,
};

/// Pause after a failed accept. It fails when the process has no file descriptors left, and goes on
/// failing until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a process says.
pub(super) enum Call {
    /// It is ready for work. The answer may take for ever.
    Next(oneshot::Sender<Result<Work, Refusal>>),
    /// Its handler returned.
    Answer {
        /// For which run.
        request_id: String,
        /// JSON, or `None` if it was too large.
        body: Option<Bytes>,
        /// What to tell the process.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Its handler raised.
    Error {
        /// For which run.
        request_id: String,
        /// The error document.
        body: Bytes,
        /// What to tell the process.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// It cannot start, and will end.
    InitError {
        /// The error document.
        body: Bytes,
        /// What to tell the process.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// An event, as it is handed to a process.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) request_id: String,
    pub(super) event: Bytes,
    pub(super) deadline: Timestamp,
    pub(super) function_arn: String,
    pub(super) trace_id: String,
}

/// Why a process's request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The process does not run a request of that id.
    UnknownRequest,
    /// Not at this moment: a second answer, or a request for work in the middle of some.
    WrongState,
    /// The answer is larger than allowed.
    TooLarge,
    /// The process is being ended.
    Ending,
}

/// The server of one process. Ends, with all its connections, when dropped.
pub(super) struct RuntimeApi {
    /// Where it listens: loopback, a free port.
    pub(super) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RuntimeApi {
    /// Starts to listen. What the process says comes out of the receiver.
    ///
    /// # Errors
    /// When no port can be had.
    pub(super) async fn start() -> std::io::Result<(Self, mpsc::Receiver<Call>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (calls, receiver) = mpsc::channel(RUNTIME_API_CONNECTIONS_MAX);
        let task = tokio::spawn(serve(listener, calls)).abort_handle();
        Ok((Self { address, task }, receiver))
    }
}

async fn serve(listener: TcpListener, calls: mpsc::Sender<Call>) {
    let permits = Arc::new(Semaphore::new(RUNTIME_API_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, client)) = listener.accept().await else {
            // Out of file descriptors, and perhaps for long: others hold them too.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let calls = calls.clone();
        let server = stream.local_addr();
        connections.spawn(async move {
            let _permit = permit;
            if !is_ours(client, server).await {
                tracing::warn!("turned away a connection of another user to a function's process");
                return;
            }
            let service = service_fn(move |request| answer(request, calls.clone()));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_buf_size(RUNTIME_API_HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(error = %chain(&error), "a runtime client's connection ended");
            }
        });
    }
}

/// Whether a connection comes from our own user. Where the system does not tell who made
/// connections, everybody's are taken.
async fn is_ours(client: SocketAddr, server: std::io::Result<SocketAddr>) -> bool {
    let (SocketAddr::V4(client), Ok(SocketAddr::V4(server))) = (client, server) else {
        return false;
    };
    let owner = tokio::task::spawn_blocking(move || {
        if !std::path::Path::new("/proc/net/tcp").exists() {
            return true;
        }
        let me = rustix::process::geteuid().as_raw();
        proc_fs::connection_owner(client, server) == Some(me)
    });
    owner.await.unwrap_or(false)
}

type Reply = Response<Full<Bytes>>;

async fn answer(
    request: Request<Incoming>,
    calls: mpsc::Sender<Call>,
) -> Result<Reply, Infallible> {
    const PREFIX: &str = "/2018-06-01/runtime/";
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let segments: Vec<_> = path.split('/').collect();
    let reply = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(&calls).await,
        (&Method::POST, ["invocation", id, "response"]) => {
            let request_id = (*id).to_owned();
            let body = match read(body).await {
                Ok(body) => Some(body),
                Err(ReadError::TooLarge) => None,
                Err(ReadError::Broken) => return Ok(broken()),
            };
            post(&calls, |reply| Call::Answer { request_id, body, reply }).await
        }
        (&Method::POST, ["invocation", id, "error"]) => {
            let request_id = (*id).to_owned();
            let Ok(body) = read(body).await.or_else(error_too_large) else { return Ok(broken()) };
            post(&calls, |reply| Call::Error { request_id, body, reply }).await
        }
        (&Method::POST, ["init", "error"]) => {
            let Ok(body) = read(body).await.or_else(error_too_large) else { return Ok(broken()) };
            post(&calls, |reply| Call::InitError { body, reply }).await
        }
        _ => error(StatusCode::NOT_FOUND, "NotFound", "there is no such path in the Runtime API"),
    };
    Ok(reply)
}

enum ReadError {
    /// Larger than any answer may be.
    TooLarge,
    /// Its sender stopped in the middle: nothing was said.
    Broken,
}

async fn read(mut body: Incoming) -> Result<Bytes, ReadError> {
    let mut bytes = BytesMut::new();
    let mut discarded = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else { continue };
        if discarded == 0 && bytes.len() + data.len() <= FUNCTION_PAYLOAD_BYTES_MAX {
            bytes.extend_from_slice(&data);
            continue;
        }
        // Read on for a while: a sender that is cut off never sees why.
        discarded += data.len();
        if discarded > RUNTIME_API_DISCARD_BYTES_MAX {
            break;
        }
    }
    if discarded == 0 { Ok(bytes.freeze()) } else { Err(ReadError::TooLarge) }
}

/// A failure stays a failure when its document is too large to be kept.
fn error_too_large(error: ReadError) -> Result<Bytes, ReadError> {
    match error {
        ReadError::TooLarge => Ok(Bytes::from_static(
            br#"{"errorType":"Runtime.ErrorTooLarge","errorMessage":"the function failed, and its error was too large to be kept"}"#,
        )),
        ReadError::Broken => Err(ReadError::Broken),
    }
}

fn broken() -> Reply {
    error(StatusCode::BAD_REQUEST, "BrokenBody", "the body ended too early")
}

async fn next(calls: &mpsc::Sender<Call>) -> Reply {
    let (reply, work) = oneshot::channel();
    if calls.send(Call::Next(reply)).await.is_err() {
        return refused(Refusal::Ending);
    }
    match work.await {
        Ok(Ok(work)) => work_reply(work),
        Ok(Err(refusal)) => refused(refusal),
        Err(_) => refused(Refusal::Ending),
    }
}

fn work_reply(work: Work) -> Reply {
    let headers = [
        ("lambda-runtime-aws-request-id", work.request_id),
        ("lambda-runtime-deadline-ms", work.deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", work.function_arn),
        ("lambda-runtime-trace-id", work.trace_id),
    ];
    let mut reply = Response::new(Full::new(work.event));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

async fn post(
    calls: &mpsc::Sender<Call>,
    call: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Call,
) -> Reply {
    let (reply, granted) = oneshot::channel();
    if calls.send(call(reply)).await.is_err() {
        return refused(Refusal::Ending);
    }
    match granted.await {
        Ok(Ok(())) => json_reply(StatusCode::ACCEPTED, &json!({ "status": "OK" })),
        Ok(Err(refusal)) => refused(refusal),
        Err(_) => refused(Refusal::Ending),
    }
}

/// Status and error type are those of AWS's own server.
fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::UnknownRequest => {
            error(StatusCode::BAD_REQUEST, "InvalidRequestID", "invalid request id")
        }
        Refusal::WrongState => error(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "this request does not fit what the process is doing",
        ),
        Refusal::TooLarge => error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "the answer exceeds the maximum allowed payload size",
        ),
        Refusal::Ending => error(StatusCode::GONE, "Ending", "the process is being ended"),
    }
}

fn error(status: StatusCode, kind: &str, message: &str) -> Reply {
    json_reply(status, &json!({ "errorType": kind, "errorMessage": message }))
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
