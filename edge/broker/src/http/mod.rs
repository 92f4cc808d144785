//! HTTP/1.1 on a device's connection: `GET /mqtt` makes a WebSocket of it that carries MQTT, and
//! `POST /topics/TOPIC` publishes a message.
//!
//! A client has introduced itself once its certificate is one that may publish, or its WebSocket has
//! said CONNECT; until then it has the deadline and the bounds of any other newcomer, and the first
//! request that is refused ends the connection. Source: AWS guide "HTTPS" and "MQTT over WebSocket
//! Secure protocol".

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;
use tracing::info;

use crate::admission::{Peer, admit_publisher};
use crate::broker::Shared;
use crate::half_open::HalfOpenPlace;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_REQUEST_INTERVAL, HTTP_STOP_TIMEOUT};
use crate::metrics::{Posted, Refused};

use self::origin::{Origins, check_origin};
use self::publisher::Publisher;
use self::refusal::Refusal;
use self::upgrade::switching;

mod body;
pub(crate) mod origin;
mod publisher;
mod refusal;
mod upgrade;

/// Path of the WebSocket. Source: AWS guide "MQTT over WebSocket Secure protocol".
const WEBSOCKET_PATH: &str = "/mqtt";

/// What the paths of topics begin with.
const TOPICS_PATH: &str = "/topics/";

/// How an HTTP connection ended.
pub(crate) enum HttpEnd {
    /// It is a WebSocket now, of a client that has not said CONNECT yet.
    WebSocket(OnUpgrade, Peer, HalfOpenPlace),
    /// It is over.
    Closed,
}

/// A client that speaks HTTP.
struct Visitor {
    shared: Arc<Shared>,
    address: SocketAddr,
    peer: Peer,
    is_tls: bool,
    origins: Origins,
    inner: Mutex<Inner>,
    /// From its first message on.
    publisher: OnceCell<Publisher>,
    /// That a request was answered: what has to happen when may be another now.
    answered: Notify,
}

struct Inner {
    /// Its place, until it has introduced itself.
    half_open: Option<HalfOpenPlace>,
    /// When the connection ends if no request begins.
    until: Instant,
    /// Whether it was told that it is not let in.
    is_refused: bool,
    upgrade: Option<OnUpgrade>,
}

/// Serves a connection to its end, or until it is a WebSocket.
///
/// # Errors
/// The reason why it was given up before the client introduced itself.
pub(crate) async fn serve<IO>(
    shared: &Arc<Shared>,
    io: IO,
    address: SocketAddr,
    newcomer: Newcomer,
) -> Result<HttpEnd, Refused>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Newcomer { peer, is_tls, origins, deadline, half_open } = newcomer;
    let inner =
        Inner { half_open: Some(half_open), until: deadline, is_refused: false, upgrade: None };
    let visitor = Visitor {
        shared: Arc::clone(shared),
        address,
        peer,
        is_tls,
        origins,
        inner: Mutex::new(inner),
        publisher: OnceCell::new(),
        answered: Notify::new(),
    };
    let gave_up = visitor.converse(TokioIo::new(io)).await;
    visitor.flush().await;
    let Visitor { peer, inner, .. } = visitor;
    let inner = inner.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (inner.half_open, inner.upgrade) {
        (Some(half_open), Some(upgrade)) if gave_up.is_none() => {
            Ok(HttpEnd::WebSocket(upgrade, peer, half_open))
        }
        (Some(_), _) if !inner.is_refused => Err(gave_up.unwrap_or(Refused::Lost)),
        (Some(_), _) | (None, _) => Ok(HttpEnd::Closed),
    }
}

/// A client that has just come.
pub(crate) struct Newcomer {
    pub(crate) peer: Peer,
    pub(crate) is_tls: bool,
    pub(crate) origins: Origins,
    /// By when it has to have introduced itself.
    pub(crate) deadline: Instant,
    pub(crate) half_open: HalfOpenPlace,
}

impl Visitor {
    /// Answers requests until there are no more; gives the reason where it does not wait for them.
    async fn converse<IO>(&self, io: TokioIo<IO>) -> Option<Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(HTTP_HEAD_BYTES_MAX)
            .serve_connection(io, service_fn(|request| self.answer(request)))
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut stopping = self.shared.stopping.subscribe();
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        let mut stopped = pin!(stopped);
        loop {
            let (until, due) = (self.inner().until, self.flush_due());
            tokio::select! {
                biased;
                // A client that breaks off is an ordinary end; hyper has answered what it could.
                _ = connection.as_mut() => return None,
                () = stopped.as_mut() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(HTTP_STOP_TIMEOUT, connection).await;
                    return Some(Refused::Stopping);
                }
                () = tokio::time::sleep_until(until) => {
                    if self.inner().until <= Instant::now() {
                        return Some(Refused::Timeout);
                    }
                }
                () = sleep_until(due) => self.flush().await,
                () = self.answered.notified() => {}
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock still guards whole values: nothing that can panic happens under it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_due(&self) -> Option<Instant> {
        let wait_ms = self.publisher.get()?.flush_wait_ms((self.shared.clock)())?;
        Some(Instant::now() + Duration::from_millis(wait_ms))
    }

    async fn flush(&self) {
        if let Some(publisher) = self.publisher.get() {
            publisher.flush(&self.shared).await;
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if self.publisher.initialized() {
            self.inner().until = Instant::now() + HTTP_REQUEST_INTERVAL;
        }
        let id = uuid::Uuid::new_v4().to_string();
        let answer = self.take(request, &id).await.unwrap_or_else(|refusal| {
            self.note(&refusal);
            let mut answer = refusal.response(&id);
            if !self.publisher.initialized() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        });
        self.answered.notify_one();
        Ok(answer)
    }

    /// Counts a refusal, and writes it to the log.
    fn note(&self, refusal: &Refusal) {
        let detail = refusal.detail().escape_debug().to_string();
        match self.publisher.get() {
            None => {
                self.inner().is_refused = true;
                let reason = refusal.reason();
                self.shared.metrics.refuse(reason);
                info!(peer.address = %self.address, reason = reason.as_str(), "connection refused: {detail}");
            }
            Some(publisher) => {
                let device = publisher.device();
                info!(
                    device.id = %device.as_str().escape_debug(),
                    peer.address = %self.address,
                    "request refused: {detail}"
                );
            }
        }
    }

    async fn take(
        &self,
        request: Request<Incoming>,
        id: &str,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        check_origin(request.headers(), self.is_tls, &self.origins)?;
        let path = request.uri().path();
        match (request.method(), path.strip_prefix(TOPICS_PATH)) {
            (&Method::GET, None) if path == WEBSOCKET_PATH => self.upgrade(request),
            (&Method::POST, Some(topic)) => {
                let topic = percent_decode_str(topic).decode_utf8().map(String::from);
                let topic = topic.map_err(|_| Refusal::Invalid("the topic is no UTF-8".to_owned()));
                let outcome = match topic {
                    Ok(topic) => self.publish(request, &topic).await,
                    Err(refusal) => Err(refusal),
                };
                let posted = outcome.as_ref().map_or_else(Refusal::posted, |()| Posted::Published);
                self.shared.metrics.post(posted);
                outcome.map(|()| refusal::ok(id))
            }
            (_, Some(_)) => Err(Refusal::Method("a topic takes POST")),
            (_, None) if path == WEBSOCKET_PATH => {
                Err(Refusal::Method("a WebSocket begins with GET"))
            }
            (_, None) => Err(Refusal::Unknown),
        }
    }

    /// Makes a WebSocket of the connection, if the request is one for that.
    fn upgrade(&self, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        if self.publisher.initialized() {
            // It was decided already who this is and that it stays; a session begins as a newcomer.
            return Err(Refusal::Upgrade("a WebSocket begins on a connection of its own"));
        }
        let answer = switching(&request)?;
        self.inner().upgrade = Some(hyper::upgrade::on(&mut request));
        Ok(answer)
    }

    /// Publishes a message.
    async fn publish(&self, request: Request<Incoming>, topic: &str) -> Result<(), Refusal> {
        let publisher = self
            .publisher
            .get_or_try_init(async || {
                let admitted = admit_publisher(&self.shared, &self.peer).await?;
                let mut inner = self.inner();
                inner.half_open = None;
                inner.until = Instant::now() + HTTP_REQUEST_INTERVAL;
                Ok::<_, Refusal>(Publisher::new(&self.shared, admitted, self.peer.source))
            })
            .await?;
        let (head, payload) = body::read(request, &self.shared.config.limits).await?;
        publisher.publish(&self.shared, &head, topic, payload).await
    }
}

/// Waits until a moment; for ever, if there is none.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
