//! The first packet of a connection: CONNECT is read, judged and answered.

use std::io;
use std::sync::Arc;

use picket_model::{ClientId, Denied, DeviceName, Fact, Observation};
use picket_mqtt::codec::{self, PacketType};
use picket_mqtt::packet::{ConnAck, ConnAckProperties, Connect, Packet, Version};
use picket_mqtt::session::{Session, Terms, packet_bytes_max};
use picket_mqtt::{DecodeError, ReasonCode, TopicFilter, TopicName};
use picket_policy::Action;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{info, warn};

use crate::access::Access;
use crate::admission::{Admitted, Peer, Refusal, admit};
use crate::broker::Shared;
use crate::clients::ConnectionDetails;
use crate::connection::{Beginning, Connection};
use crate::lifecycle::{self, Happened, Subject};
use crate::metrics::Refused;
use crate::presence::{Newcomer, Presence};
use crate::sessions::{self, Claimed, Lease, NoPlace};
use crate::wire::{Turn, Wire};

/// CONNACK of MQTT 3.1 and 3.1.1 for a protocol version that is not spoken here.
const UNACCEPTABLE_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// Why a connection did not come to be; whoever is at the other end has been told what there is to
/// tell.
#[derive(Debug)]
pub(crate) struct NotGreeted<IO> {
    pub(crate) reason: Refused,
    pub(crate) detail: String,
    /// The client id that it asked for, as it came, if it came to CONNECT.
    pub(crate) client: Option<String>,
    /// Whose certificate it showed, if that is known.
    pub(crate) device: Option<DeviceName>,
    /// Still holds the answer.
    pub(crate) wire: Wire<IO>,
}

/// Reads CONNECT, decides, and begins the session. Takes as long as the client does: the caller
/// sets the deadline.
///
/// # Errors
/// [`NotGreeted`] with the reason.
pub(crate) async fn greet<IO: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    peer: Peer,
    io: IO,
) -> Result<Box<Connection<IO>>, Box<NotGreeted<IO>>> {
    let mut wire = Wire::new(io);
    let connect = match read_connect(&mut wire, packet_bytes_max(&shared.config.limits)).await {
        Ok(connect) => connect,
        Err(no_connect) => {
            // mqtt-3.1.1 [MQTT-3.1.4-1], [MQTT-4.8.0-1]: a malformed CONNECT is not answered.
            if let NoConnect::Decode(DecodeError::UnsupportedVersion(_)) = &no_connect {
                wire.output().extend_from_slice(&UNACCEPTABLE_VERSION);
            }
            let (reason, detail) = no_connect.into_refusal();
            let (client, device) = (None, None);
            return Err(Box::new(NotGreeted { reason, detail, client, device, wire }));
        }
    };
    let version = connect.version;
    let client_id = connect.client_id.clone();
    let admitted = match admit(shared, &peer, connect).await {
        Ok(admitted) => claim(shared, admitted).await,
        Err(refusal) => Err(refusal),
    };
    match admitted {
        Ok((admitted, claimed)) => Ok(begin(shared, peer, admitted, claimed, wire).await),
        Err(refusal) => {
            if let Some(code) = refusal.code(version) {
                let connack = ConnAck {
                    session_present: false,
                    code,
                    properties: ConnAckProperties::default(),
                };
                codec::encode(&Packet::ConnAck(Box::new(connack)), version, wire.output());
            }
            let Refusal { reason, detail, device } = refusal;
            if reason == Refused::Denied {
                tell_denied(shared, &peer, client_id.as_str());
            }
            if let Some(device) = &device {
                let at = (shared.clock)();
                let attempted = Fact::ConnectionAttempted { source: peer.source, accepted: false };
                let denied = Fact::Denied(Denied {
                    count: 1,
                    first_at: at,
                    last_at: at,
                    last_action: Action::Connect.as_str(),
                    last_resource: client_id.as_str().into(),
                });
                let denied = (reason == Refused::Denied).then_some(denied);
                for fact in [Some(attempted), denied].into_iter().flatten() {
                    let device = device.clone();
                    shared.observe(Observation { at, device, slice: None, fact }).await;
                }
            }
            let client = Some(client_id.as_str().to_owned());
            Err(Box::new(NotGreeted { reason, detail, client, device, wire }))
        }
    }
}

/// Tells that a client is not let in by its policies. Of others it is not known who they are.
fn tell_denied(shared: &Shared, peer: &Peer, client: &str) {
    // One that left its client id to the server was not given one yet.
    let (Ok(client), Some(principal)) = (ClientId::parse(client), peer.principal()) else { return };
    let session = shared.sessions.new_key();
    let subject = Subject { client: &client, principal: &principal, session };
    lifecycle::tell(shared, subject, Happened::ConnectFailed { source: peer.source });
}

/// Why there is no CONNECT.
#[derive(Debug)]
enum NoConnect {
    Decode(DecodeError),
    OtherPacket(PacketType),
    Lost(Option<io::Error>),
}

impl NoConnect {
    fn into_refusal(self) -> (Refused, String) {
        match self {
            Self::Decode(error @ DecodeError::UnsupportedVersion(_)) => {
                (Refused::Version, error.to_string())
            }
            Self::Decode(error) => (Refused::Malformed, error.to_string()),
            // mqtt-3.1.1 [MQTT-3.1.0-1], mqtt-5 [MQTT-3.1.0-1]
            Self::OtherPacket(other) => {
                (Refused::Malformed, format!("the first packet is {other:?}, not CONNECT"))
            }
            Self::Lost(None) => (Refused::Lost, "closed before CONNECT".to_owned()),
            Self::Lost(Some(error)) => (Refused::Lost, error.to_string()),
        }
    }
}

async fn read_connect<IO: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<IO>,
    packet_bytes_max: usize,
) -> Result<Connect, NoConnect> {
    loop {
        let frame = codec::frame(&wire.input, packet_bytes_max).map_err(NoConnect::Decode)?;
        if let Some(frame) = frame {
            if frame.packet_type != PacketType::Connect {
                return Err(NoConnect::OtherPacket(frame.packet_type));
            }
            let packet = codec::decode(&frame, Version::V311).map_err(NoConnect::Decode)?;
            let Packet::Connect(connect) = packet else {
                return Err(NoConnect::OtherPacket(frame.packet_type));
            };
            let len = frame.len;
            let input = std::mem::take(&mut wire.input);
            wire.put_back(input, len);
            return Ok(*connect);
        }
        match wire.turn(true, false).await {
            Ok(Turn::Read | Turn::Written) => {}
            Ok(Turn::Closed) => return Err(NoConnect::Lost(None)),
            Err(error) => return Err(NoConnect::Lost(Some(error))),
        }
    }
}

/// Takes the client id, and a place for the session if it is to outlive the connection.
///
/// Nobody is promised what will not be: without a place an MQTT 5 client is told that its session
/// ends with its connection, and one of MQTT 3.1.1, which cannot be told, is refused.
async fn claim(
    shared: &Arc<Shared>,
    mut admitted: Admitted,
) -> Result<(Admitted, Claimed), Refusal> {
    let Admitted { client, principal, access, terms, told, clean_start, .. } = &mut admitted;
    let mut claimed = sessions::claim(shared, client, principal, *clean_start).await;
    if terms.session_expiry_s == 0 {
        claimed.lease.give_up_place();
    } else if let Err(NoPlace) = claimed.lease.reserve_place() {
        if terms.version == Version::V311 {
            let refusal = Refusal::new(
                Refused::SessionsFull,
                "as many sessions as are allowed may outlive their connections",
            );
            return Err(Refusal { device: Some(access.device.clone()), ..refusal });
        }
        // mqtt-5 section 3.2.2.3.2
        told.session_expiry_s = Some(0);
        terms.session_expiry_s = 0;
        shared.metrics.sessions_not_kept.inc();
    }
    Ok((admitted, claimed))
}

/// Resumes what there is to resume, and answers.
async fn begin<IO>(
    shared: &Arc<Shared>,
    peer: Peer,
    admitted: Admitted,
    claimed: Claimed,
    wire: Wire<IO>,
) -> Box<Connection<IO>> {
    let Admitted { client, principal, watch, access, terms, told, will, expires_at, .. } = admitted;
    let observe = |fact| {
        let device = access.device.clone();
        shared.observe(Observation { at: (shared.clock)(), device, slice: None, fact })
    };
    observe(Fact::ConnectionAttempted { source: peer.source, accepted: true }).await;
    let mut lease = claimed.lease;
    let newcomer = Newcomer {
        device: access.device.clone(),
        client: client.clone(),
        principal: principal.clone(),
        session: lease.mailbox.session,
    };
    let details = ConnectionDetails {
        thing: access.things.get(access.device.as_str()).cloned(),
        session_expiry_s: terms.session_expiry_s,
        keep_alive_s: terms.keep_alive_s,
        source: (peer.source, peer.source_port).into(),
        target: peer.target,
    };
    let presence = Presence::begin(shared, newcomer, details).await;
    let last_will = shared.wills.take(claimed.ended.unwrap_or(lease.mailbox.session));
    if let Some(will) = last_will.filter(|_| claimed.ended.is_some()) {
        // mqtt-5 [MQTT-3.1.2-8]: the session that it waited with has ended. In one that goes on, the
        // client is back in time and the will is forgotten ([MQTT-3.1.3-9]).
        crate::will::send(shared, will).await;
    }
    let written_down = lease.write_down(&principal, terms.session_expiry_s).max(claimed.forgotten);
    let terms =
        Terms { is_durable: shared.journal.is_some() && terms.session_expiry_s > 0, ..terms };
    let dropped_filters = drop_denied_filters(shared, &access, &mut lease);
    presence.unsubscribed(&dropped_filters);
    let may_receive =
        |topic: &TopicName| access.decide(Action::Receive, topic.as_str()).is_allowed();
    let now = shared.monotonic.now();
    let (session, not_resent) = Session::resume(claimed.state, terms, will, now, may_receive);
    let connack = ConnAck {
        // mqtt-3.1.1 [MQTT-3.2.2-1] [MQTT-3.2.2-2], mqtt-5 [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        session_present: claimed.resumed,
        code: ReasonCode::SUCCESS,
        properties: told,
    };
    shared.metrics.admitted.inc();
    info!(
        client.id = %client.as_str().escape_debug(),
        device.id = %access.device.as_str().escape_debug(),
        peer.ip = %peer.source,
        session.resumed = claimed.resumed,
        "connected"
    );
    if !dropped_filters.is_empty() {
        warn!(
            client.id = %client.as_str().escape_debug(),
            "{} subscriptions of the kept session are denied now and were removed",
            dropped_filters.len()
        );
    }
    let source = peer.source;
    Box::new(Connection::new(Beginning {
        shared: Arc::clone(shared),
        wire,
        session,
        lease,
        presence,
        watch,
        access,
        source,
        expires_at,
        not_resent,
        connack: Packet::ConnAck(Box::new(connack)),
        written_down,
    }))
}

/// Removes what a session subscribed to and may not subscribe to any more; gives what it was.
pub(crate) fn drop_denied_filters(
    shared: &Shared,
    access: &Access,
    lease: &mut Lease,
) -> Vec<TopicFilter> {
    let denied: Vec<_> = lease
        .subscriptions
        .filters()
        .filter(|filter| !access.decide(Action::Subscribe, filter.filter()).is_allowed())
        .cloned()
        .collect();
    for filter in &denied {
        lease.unsubscribe(filter);
    }
    shared.router.unsubscribe(lease.mailbox.session, &denied);
    denied
}
