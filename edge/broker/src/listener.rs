//! Accept loops: one task per connection, as many as are allowed, each with a deadline to introduce
//! itself. TCP and TLS carry the bytes. Source: mqtt-3.1.1 [MQTT-7.1.1-1], mqtt-5 [MQTT-4.2-1].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use picket_model::text::chain;
use picket_model::{DeviceName, PolicyName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::admission::{Identity, Peer};
use crate::broker::Shared;
use crate::certificate::PresentedCertificate;
use crate::greeting::{NotGreeted, greet};
use crate::half_open::HalfOpenPlace;
use crate::metrics::Refused;
use crate::tls::{HandshakeError, ServerTls};

/// Pause after a failed accept. It fails when the process has no file descriptors left, and goes on
/// failing until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for the answer to a refused CONNECT.
const REFUSAL_FAREWELL: Duration = Duration::from_millis(500);

/// What is spoken on a listener.
#[derive(Clone)]
pub(crate) enum Entrance {
    /// TLS, clients known by their certificates.
    Tls(ServerTls),
    /// Plain TCP, clients under a policy.
    Plain(PolicyName),
}

/// Accepts connections until the broker stops.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, entrance: Entrance) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => accept(&shared, stream, address, &entrance),
            Err(error) => {
                warn!(error = %error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr, entrance: &Entrance) {
    let Ok(permit) = Arc::clone(&shared.places).try_acquire_owned() else {
        refuse(shared, address, Refused::TooMany, "as many connections as are allowed are open");
        return;
    };
    let Some(half_open) = shared.half_open.enter(address.ip()) else {
        let detail =
            "as many connections of its address as are allowed have not introduced themselves";
        refuse(shared, address, Refused::HalfOpen, detail);
        return;
    };
    let open = OpenConnection::new(Arc::clone(shared));
    let entrance = entrance.clone();
    tokio::spawn(async move {
        serve_connection(&open.shared, stream, address, entrance, half_open).await;
        drop(open);
        drop(permit);
    });
}

/// Counts a connection as open, also when its task panics.
struct OpenConnection {
    shared: Arc<Shared>,
}

impl OpenConnection {
    fn new(shared: Arc<Shared>) -> Self {
        shared.metrics.connections.inc();
        Self { shared }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
    }
}

async fn serve_connection(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    entrance: Entrance,
    half_open: HalfOpenPlace,
) {
    let deadline = Instant::now() + Duration::from_millis(shared.config.limits.connect_timeout_ms);
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "cannot switch off Nagle's algorithm");
    }
    let source = address.ip().to_canonical();
    let target = stream.local_addr().ok().map(|it| (it.ip().to_canonical(), it.port()).into());
    let peer = |identity| Peer { source, source_port: address.port(), target, identity };
    let result = match entrance {
        Entrance::Plain(policy) => {
            let peer = peer(Identity::Plain(policy));
            serve_mqtt(shared, stream, address, peer, deadline, half_open).await
        }
        Entrance::Tls(tls) => match handshake(shared, &tls, stream, deadline).await {
            Ok(Ok((stream, certificate))) => {
                drop(tls);
                let peer = peer(Identity::Tls(certificate));
                serve_mqtt(shared, stream, address, peer, deadline, half_open).await
            }
            Ok(Err(error)) => {
                refuse(shared, address, Refused::Handshake, &chain(&error));
                Ok(())
            }
            Err(refused) => Err(refused),
        },
    };
    if let Err(refused) = result {
        refuse(shared, address, refused, "no CONNECT before the deadline");
    }
}

/// Makes the TLS handshake. Its state, some 20 KB, is in a box of its own and gone afterwards.
async fn handshake(
    shared: &Shared,
    tls: &ServerTls,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Result<Handshaken, HandshakeError>, Refused> {
    let accepted = Box::pin(in_time(shared, deadline, tls.accept(stream))).await?;
    Ok(accepted.map(|it| (Box::new(it.stream), it.certificate.map(Box::new))))
}

type Handshaken = (Box<TlsStream<TcpStream>>, Option<Box<PresentedCertificate>>);

/// Serves a connection that can speak MQTT.
///
/// # Errors
/// The reason why it was given up before it said CONNECT.
async fn serve_mqtt<IO: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    io: IO,
    address: SocketAddr,
    peer: Peer,
    deadline: Instant,
    half_open: HalfOpenPlace,
) -> Result<(), Refused> {
    // One box for the introduction and one for the life: the task of an idle connection is as small
    // as what it waits with.
    let greeted = Box::pin(in_time(shared, deadline, greet(shared, peer, io))).await?;
    drop(half_open);
    match greeted {
        Ok(connection) => Box::pin(connection.run()).await,
        Err(not_greeted) => {
            let NotGreeted { reason, detail, client, device, wire } = *not_greeted;
            shared.metrics.refuse(reason);
            info!(
                client.id = client,
                device.id = device.as_ref().map(DeviceName::as_str),
                peer.address = %address,
                reason = reason.as_str(),
                "connection refused: {}",
                detail.escape_debug()
            );
            Box::pin(wire.close(REFUSAL_FAREWELL)).await;
        }
    }
    Ok(())
}

/// Waits for a client that introduces itself, until the deadline or until the server stops.
async fn in_time<T>(
    shared: &Shared,
    deadline: Instant,
    step: impl Future<Output = T>,
) -> Result<T, Refused> {
    let mut stopping = shared.stopping.subscribe();
    tokio::select! {
        biased;
        done = step => Ok(done),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Refused::Stopping),
        () = tokio::time::sleep_until(deadline) => Err(Refused::Timeout),
    }
}

fn refuse(shared: &Shared, address: SocketAddr, reason: Refused, detail: &str) {
    shared.metrics.refuse(reason);
    let detail = detail.escape_debug();
    info!(peer.address = %address, reason = reason.as_str(), "connection refused: {detail}");
}
