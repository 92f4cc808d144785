//! An HTTP listener that strangers can reach: every connection has a place, no wait is for ever.
//!
//! A client may be slow over its request's head, or over taking its answer in, for as long as
//! [`HttpLimits`] says. HTTP/1.1 alone is spoken: that is what AWS's clients speak to an endpoint
//! without TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tracing::{debug, warn};

use crate::limits::{
    HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT, HTTP_STALL_TIMEOUT,
};

/// Pause after a failed accept. It fails when the process has no file descriptors left, and goes on
/// failing until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the clients of one listener may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpLimits {
    /// Open connections in all. A quarter of them is for clients on this machine alone: functions
    /// must get through while strangers hold on to all that they are given.
    pub(crate) connections_max: usize,
    /// Time for a whole head to arrive, and so for a connection without a request.
    pub(crate) head_timeout: Duration,
    /// Time in which a client that is being answered takes nothing of it in.
    pub(crate) stall_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: HTTP_CONNECTIONS_MAX,
            head_timeout: HTTP_HEAD_TIMEOUT,
            stall_timeout: HTTP_STALL_TIMEOUT,
        }
    }
}

/// Which listener a count is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listening {
    listener: &'static str,
}

/// What HTTP listeners count.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpMetrics {
    refused: Family<Listening, Counter>,
}

impl HttpMetrics {
    /// Makes the counters and lists them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_http_connections_refused",
            "Connections closed because as many as are allowed were open, by listener",
            metrics.refused.clone(),
        );
        metrics
    }
}

/// One listener.
pub(crate) struct HttpListener {
    /// What it is called in the log and the counters.
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) limits: HttpLimits,
    pub(crate) metrics: HttpMetrics,
}

impl HttpListener {
    /// Serves until it is told to stop; then requests that are being answered get their answer.
    pub(crate) async fn serve(self, router: Router, mut stopping: watch::Receiver<bool>) {
        let places = Places::new(self.limits.connections_max);
        let refused = self.metrics.refused.get_or_create_owned(&Listening { listener: self.name });
        let mut was_full = false;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(listener = self.name, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = places.take(client.ip()) else {
                refused.inc();
                // Once, not for each: whoever knocks this often must not fill the log too.
                if !std::mem::replace(&mut was_full, true) {
                    warn!(
                        listener = self.name,
                        peer.address = %client,
                        "as many connections as are allowed are open; further ones are closed"
                    );
                }
                continue;
            };
            was_full = false;
            let connection =
                serve_connection(stream, client, router.clone(), self.limits, stopping.clone());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(self.socket);
        places.all_free().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    client: SocketAddr,
    router: Router,
    limits: HttpLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are small and somebody waits for them.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Impatient::new(stream, limits.stall_timeout));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(peer.address = %client, %error, "an HTTP connection broke off");
    }
}

/// The connections that a listener may have.
struct Places {
    all: Arc<Semaphore>,
    /// Those that clients on other machines may take.
    elsewhere: Arc<Semaphore>,
    n: u32,
}

/// A connection's place; free again when dropped.
struct Place {
    _any: OwnedSemaphorePermit,
    _elsewhere: Option<OwnedSemaphorePermit>,
}

impl Places {
    fn new(connections_max: usize) -> Self {
        let n = u32::try_from(connections_max).unwrap_or(u32::MAX).max(1);
        let elsewhere = (n - n / 4) as usize;
        Self {
            all: Arc::new(Semaphore::new(n as usize)),
            elsewhere: Arc::new(Semaphore::new(elsewhere)),
            n,
        }
    }

    /// A place for a client at an address, if there is one.
    fn take(&self, client: IpAddr) -> Option<Place> {
        let elsewhere = match client.to_canonical().is_loopback() {
            true => None,
            false => Some(Arc::clone(&self.elsewhere).try_acquire_owned().ok()?),
        };
        let any = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _any: any, _elsewhere: elsewhere })
    }

    /// Waits until no place is taken.
    async fn all_free(&self) {
        // An error would say that the semaphore was closed, which nobody does.
        let _ = self.all.acquire_many(self.n).await;
    }
}

/// A stream that fails when the peer takes nothing in for some time.
///
/// Without it, a client that sends requests and reads no answers would keep its place for ever: no
/// other timer runs while an answer is being written.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// Lets a write's result through, unless it has waited too long.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
