//! Accept loops: one task per connection, as many as are allowed, each with a deadline to introduce
//! itself. TCP, TLS and WebSockets carry the bytes. Source: mqtt-3.1.1 [MQTT-7.1.1-1], mqtt-5
//! [MQTT-4.2-1].

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use picket_model::text::chain;
use picket_model::{DeviceName, PolicyName};
use picket_mqtt::session::packet_bytes_max;
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
use crate::http::origin::Origins;
use crate::http::{self, HttpEnd, Newcomer};
use crate::metrics::Refused;
use crate::tls::{HandshakeError, Protocol, ServerTls};
use crate::websocket::WebSocket;

/// Pause after a failed accept. It fails when the process has no file descriptors left, and goes on
/// failing until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for the answer to a refused CONNECT.
const REFUSAL_FAREWELL: Duration = Duration::from_millis(500);

/// What a listener's clients find.
#[derive(Clone)]
pub struct Entrance {
    /// How they prove who they are.
    pub proof: Proof,
    /// What is spoken with those that do not say in their TLS hello what they speak.
    pub protocol: Protocol,
    /// Web pages whose requests are served besides the server's own, by their origin.
    pub origins: Origins,
}

/// How a listener's clients prove who they are.
#[derive(Clone)]
pub enum Proof {
    /// TLS, clients known by their certificates.
    Certificate(ServerTls),
    /// Plain TCP, clients under a policy.
    None(PolicyName),
}

impl Entrance {
    /// For MQTT clients with certificates.
    pub fn tls(tls: ServerTls) -> Self {
        Self::new(Proof::Certificate(tls), Protocol::Mqtt)
    }

    /// For MQTT clients that prove nothing, under a policy.
    pub fn plain(policy: PolicyName) -> Self {
        Self::new(Proof::None(policy), Protocol::Mqtt)
    }

    fn new(proof: Proof, protocol: Protocol) -> Self {
        Self { proof, protocol, origins: Origins::default() }
    }
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
    let serve = |stream| {
        let (shared, entrance) = (Arc::clone(shared), entrance.clone());
        // In a box of its own, made here: what the introduction needs is not kept ready for as long
        // as the connection lives.
        let introduction = Box::pin(introduce(shared, stream, address, entrance, half_open));
        async move {
            let life = introduction.await;
            if let Some(life) = life {
                life.await;
            }
            drop(open);
            drop(permit);
        }
    };
    if let Err(error) = shared.lanes.spawn(stream, serve) {
        warn!(error = %error, "cannot serve a connection");
    }
}

/// All that is left to do for a connection that was let in.
type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

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

/// Lets a connection in: TLS, CONNECT, its answer. `None` where it was refused.
async fn introduce(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    entrance: Entrance,
    half_open: HalfOpenPlace,
) -> Option<Life> {
    let shared = &shared;
    let deadline = Instant::now() + Duration::from_millis(shared.config.limits.connect_timeout_ms);
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "cannot switch off Nagle's algorithm");
    }
    let source = address.ip().to_canonical();
    let target = stream.local_addr().ok().map(|it| (it.ip().to_canonical(), it.port()).into());
    let peer = |identity| Peer { source, source_port: address.port(), target, identity };
    let Entrance { proof, protocol, origins } = entrance;
    let result = match proof {
        Proof::None(policy) => {
            let peer = peer(Identity::Plain(policy));
            let newcomer = Newcomer { peer, is_tls: false, origins, deadline, half_open };
            introduce_by(shared, stream, address, protocol, newcomer).await
        }
        Proof::Certificate(tls) => match handshake(shared, &tls, stream, deadline).await {
            Ok(Ok((stream, certificate, spoken))) => {
                drop(tls);
                let peer = peer(Identity::Tls(certificate));
                let newcomer = Newcomer { peer, is_tls: true, origins, deadline, half_open };
                introduce_by(shared, stream, address, spoken.unwrap_or(protocol), newcomer).await
            }
            Ok(Err(error)) => {
                refuse(shared, address, Refused::Handshake, &chain(&error));
                Ok(None)
            }
            Err(refused) => Err(refused),
        },
    };
    result.unwrap_or_else(|refused| {
        let detail = match refused {
            Refused::Lost => "closed before it introduced itself",
            _ => "no CONNECT and no message before the deadline",
        };
        refuse(shared, address, refused, detail);
        None
    })
}

/// Lets a connection in by the protocol that is spoken on it.
///
/// # Errors
/// The reason why it was given up before the client introduced itself.
async fn introduce_by<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    io: IO,
    address: SocketAddr,
    protocol: Protocol,
    newcomer: Newcomer,
) -> Result<Option<Life>, Refused> {
    match protocol {
        Protocol::Mqtt => {
            let Newcomer { peer, deadline, half_open, .. } = newcomer;
            introduce_mqtt(shared, io, address, peer, deadline, half_open).await
        }
        // In a box of its own: most connections are MQTT and need not be as large.
        Protocol::Http => Box::pin(serve_http(shared, io, address, newcomer)).await,
    }
}

/// Serves a connection that speaks HTTP, and lets the WebSocket in that may come of it.
async fn serve_http<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    io: IO,
    address: SocketAddr,
    newcomer: Newcomer,
) -> Result<Option<Life>, Refused> {
    let deadline = newcomer.deadline;
    let (upgrade, peer, half_open) =
        match Box::pin(http::serve(shared, io, address, newcomer)).await? {
            HttpEnd::WebSocket(upgrade, peer, half_open) => (upgrade, peer, half_open),
            HttpEnd::Closed => return Ok(None),
        };
    let message_bytes_max = packet_bytes_max(&shared.config.limits);
    let Ok(upgraded) = upgrade.await else { return Err(Refused::Lost) };
    let io = WebSocket::new(TokioIo::new(upgraded), message_bytes_max).await;
    introduce_mqtt(shared, io, address, peer, deadline, half_open).await
}

/// Makes the TLS handshake. Its state, some 20 KB, is in a box of its own and gone afterwards.
async fn handshake(
    shared: &Shared,
    tls: &ServerTls,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Result<Handshaken, HandshakeError>, Refused> {
    let accepted = Box::pin(in_time(shared, deadline, tls.accept(stream))).await?;
    Ok(accepted.map(|it| (Box::new(it.stream), it.certificate.map(Box::new), it.protocol)))
}

type Handshaken = (Box<TlsStream<TcpStream>>, Option<Box<PresentedCertificate>>, Option<Protocol>);

/// Lets a connection in that can speak MQTT.
///
/// # Errors
/// The reason why it was given up before it said CONNECT.
async fn introduce_mqtt<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    io: IO,
    address: SocketAddr,
    peer: Peer,
    deadline: Instant,
    half_open: HalfOpenPlace,
) -> Result<Option<Life>, Refused> {
    let greeted = in_time(shared, deadline, greet(shared, peer, io)).await?;
    drop(half_open);
    match greeted {
        Ok(connection) => Ok(Some(Box::pin(connection.run()))),
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
            wire.close(REFUSAL_FAREWELL).await;
            Ok(None)
        }
    }
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
