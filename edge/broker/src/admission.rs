//! Who is let in: CONNECT, judged.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use picket_model::{Certificate, CertificateStatus, ClientId, DeviceName, PolicyName, Timestamp};
use picket_mqtt::packet::{ConnAckProperties, Connect, Version, Will};
use picket_mqtt::session::Terms;
use picket_mqtt::{ReasonCode, Text, TopicLimits};
use picket_policy::{Action, ConnectAttributes, ConnectionFacts};

use crate::access::{Access, AccessWatch, Errand, Opening, Standing};
use crate::authorize::publishable;
use crate::broker::Shared;
use crate::certificate::PresentedCertificate;
use crate::metrics::Refused;
use crate::ports::{Principal, Unavailable};

/// Who is at the other end, before it said anything.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    /// The address of ours that it reached, where the socket can tell.
    pub(crate) target: Option<SocketAddr>,
    pub(crate) identity: Identity,
}

/// What the connection itself proves.
#[derive(Debug)]
pub(crate) enum Identity {
    /// A TLS client, with the certificate whose key it owns, if it presented one.
    Tls(Option<Box<PresentedCertificate>>),
    /// A client of a plain listener, under the listener's policy.
    Plain(PolicyName),
}

impl Peer {
    /// Who it is; nobody where it has no certificate and needs one.
    pub(crate) fn principal(&self) -> Option<Principal> {
        match &self.identity {
            Identity::Plain(policy) => Some(Principal::Anonymous { policy: policy.clone() }),
            Identity::Tls(presented) => {
                presented.as_ref().map(|it| Principal::Certificate(it.facts.id.clone()))
            }
        }
    }
}

/// A CONNECT that is let in.
pub(crate) struct Admitted {
    pub(crate) client: ClientId,
    pub(crate) principal: Principal,
    pub(crate) watch: AccessWatch,
    pub(crate) access: Arc<Access>,
    pub(crate) terms: Terms,
    /// For CONNACK, the assigned client id included.
    pub(crate) told: ConnAckProperties,
    pub(crate) will: Option<Will>,
    pub(crate) clean_start: bool,
    /// When its certificate ends; `None` for a client without one.
    pub(crate) expires_at: Option<Timestamp>,
}

/// A CONNECT that is not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Refused,
    /// For the log.
    pub(crate) detail: String,
    /// Whom Detect counts the attempt for. `None` where nobody proved to be anybody: a stranger's
    /// claim must not raise another's alarm.
    pub(crate) device: Option<DeviceName>,
}

impl Refusal {
    pub(crate) fn new(reason: Refused, detail: impl ToString) -> Self {
        Self { reason, detail: detail.to_string(), device: None }
    }

    /// The code of the CONNACK that says so; `None` where the connection is closed without a word.
    ///
    /// Source: mqtt-3.1.1 table 3.1, mqtt-5 [MQTT-3.2.2-8].
    pub(crate) const fn code(&self, version: Version) -> Option<ReasonCode> {
        let (v311, v5) = match self.reason {
            // mqtt-3.1.1 [MQTT-3.1.2-2]
            Refused::Version => (Some(1), Some(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION)),
            // mqtt-3.1.1 [MQTT-3.1.3-8] [MQTT-3.1.3-9], mqtt-5 [MQTT-3.1.3-8]
            Refused::ClientId => (Some(2), Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID)),
            // AWS IoT answers 7, not the standard's 5. Source: AWS guide "MQTT", "AWS IoT
            // differences from MQTT version specifications".
            Refused::Denied => (Some(7), Some(ReasonCode::NOT_AUTHORIZED)),
            Refused::NoCertificate
            | Refused::UnknownCertificate
            | Refused::InactiveCertificate
            | Refused::RevokedCertificate
            | Refused::ExpiredCertificate => (Some(5), Some(ReasonCode::NOT_AUTHORIZED)),
            Refused::Unavailable => (Some(3), Some(ReasonCode::SERVER_UNAVAILABLE)),
            Refused::SessionsFull => (Some(3), Some(ReasonCode::QUOTA_EXCEEDED)),
            Refused::Stopping => (Some(3), Some(ReasonCode::SERVER_SHUTTING_DOWN)),
            // mqtt-3.1.1 [MQTT-3.2.2-6]
            Refused::Will => (None, Some(ReasonCode::TOPIC_NAME_INVALID)),
            Refused::AuthenticationMethod => (None, Some(ReasonCode::BAD_AUTHENTICATION_METHOD)),
            // mqtt-5 [MQTT-3.2.2-12]
            Refused::WillQos => (None, Some(ReasonCode::QOS_NOT_SUPPORTED)),
            Refused::TooMany
            | Refused::HalfOpen
            | Refused::Handshake
            | Refused::Timeout
            | Refused::Lost
            | Refused::Request
            | Refused::Origin
            | Refused::Malformed => (None, None),
        };
        match (version, v311) {
            (Version::V5, _) => v5,
            (Version::V311, Some(code)) => Some(ReasonCode(code)),
            (Version::V311, None) => None,
        }
    }
}

/// Judges a CONNECT.
///
/// # Errors
/// [`Refusal`], the first reason that there is.
pub(crate) async fn admit(
    shared: &Arc<Shared>,
    peer: &Peer,
    connect: Connect,
) -> Result<Admitted, Refusal> {
    if *shared.stopping.borrow() {
        return Err(Refusal::new(Refused::Stopping, "the server is stopping"));
    }
    let (client, assigned) = client_id(&connect)?;
    if connect.properties.authentication_method.is_some() {
        // mqtt-5 [MQTT-4.12.0-1]
        return Err(Refusal::new(
            Refused::AuthenticationMethod,
            "extended authentication is not supported",
        ));
    }
    if let Some(will) = &connect.will {
        publishable(&will.topic, &TopicLimits::from(&shared.config.limits))
            .map_err(|error| Refusal::new(Refused::Will, format!("will topic: {error}")))?;
    }
    let (terms, mut told) = Terms::settle(&connect, &shared.config.limits);
    if connect.will.as_ref().is_some_and(|will| will.qos > terms.qos_max) {
        let detail = format!("a will at QoS above {}", terms.qos_max.as_u8());
        return Err(Refusal::new(Refused::WillQos, detail));
    }
    told.assigned_client_id = assigned;
    let persistent = match connect.version {
        Version::V311 => !connect.clean_start,
        Version::V5 => terms.session_expiry_s > 0,
    };
    let attributes = ConnectAttributes { persistent, will: connect.will.is_some() };
    let Some(principal) = peer.principal() else {
        return Err(Refusal::new(Refused::NoCertificate, "no client certificate"));
    };
    let certificate = match &peer.identity {
        Identity::Plain(_) => None,
        Identity::Tls(presented) => presented.as_ref(),
    };
    let opening = Opening {
        principal: principal.clone(),
        client: client.clone(),
        errand: Errand::Connect,
        issued_as: certificate.map(|presented| presented.issued_as.clone()),
        facts: ConnectionFacts {
            client_id: Some(client.clone()),
            source_ip: Some(peer.source),
            thing: None,
            certificate: certificate.map(|presented| Arc::clone(&presented.facts)),
            connect: attributes,
        },
    };
    let (registered, watch) = read_rights(shared, opening).await?;
    let access = watch.get();
    let refuse = |reason, detail: &dyn ToString| Refusal {
        device: Some(access.device.clone()),
        ..Refusal::new(reason, detail.to_string())
    };
    if let Some(presented) = certificate {
        check_certificate(presented, registered.as_ref(), (shared.clock)()).map_err(|refusal| {
            let is_known = registered.is_some();
            Refusal { device: is_known.then(|| access.device.clone()), ..refusal }
        })?;
    }
    match &access.standing {
        Standing::Stays => {}
        standing @ (Standing::ConnectDenied(_) | Standing::NothingAllowed) => {
            shared.metrics.deny(Action::Connect);
            return Err(refuse(Refused::Denied, standing));
        }
        standing @ Standing::CertificateNotActive => {
            return Err(refuse(Refused::InactiveCertificate, standing));
        }
        standing @ Standing::CertificateRevoked => {
            return Err(refuse(Refused::RevokedCertificate, standing));
        }
        standing @ Standing::Unavailable(_) => return Err(refuse(Refused::Unavailable, standing)),
    }
    let Connect { will, clean_start, .. } = connect;
    let expires_at = certificate.map(|presented| presented.validity.end());
    Ok(Admitted { client, principal, watch, access, terms, told, will, clean_start, expires_at })
}

/// A client that may publish by HTTPS, as far as its certificate goes.
pub(crate) struct AdmittedPublisher {
    /// The name that it goes by here: its certificate's. It asked for none.
    pub(crate) client: ClientId,
    pub(crate) watch: AccessWatch,
    /// When its certificate ends.
    pub(crate) expires_at: Timestamp,
}

/// Judges a client that publishes by HTTPS. What it may publish is decided with each message.
///
/// # Errors
/// [`Refusal`], the first reason that there is.
pub(crate) async fn admit_publisher(
    shared: &Arc<Shared>,
    peer: &Peer,
) -> Result<AdmittedPublisher, Refusal> {
    let Identity::Tls(Some(presented)) = &peer.identity else {
        return Err(Refusal::new(Refused::NoCertificate, "no client certificate"));
    };
    let id = &presented.facts.id;
    // No client can be called so but by its own choice, and policies are not told the name.
    let client =
        ClientId::parse(id.as_str()).map_err(|error| Refusal::new(Refused::ClientId, error))?;
    let opening = Opening {
        principal: Principal::Certificate(id.clone()),
        client: client.clone(),
        errand: Errand::Publish,
        issued_as: Some(presented.issued_as.clone()),
        facts: ConnectionFacts {
            client_id: None,
            source_ip: Some(peer.source),
            thing: None,
            certificate: Some(Arc::clone(&presented.facts)),
            connect: ConnectAttributes::default(),
        },
    };
    let (registered, watch) = read_rights(shared, opening).await?;
    check_certificate(presented, registered.as_ref(), (shared.clock)())?;
    let refuse = |reason, standing: &Standing| Err(Refusal::new(reason, standing));
    match &watch.get().standing {
        Standing::Stays | Standing::ConnectDenied(_) | Standing::NothingAllowed => {
            let expires_at = presented.validity.end();
            Ok(AdmittedPublisher { client, watch, expires_at })
        }
        standing @ Standing::CertificateNotActive => refuse(Refused::InactiveCertificate, standing),
        standing @ Standing::CertificateRevoked => refuse(Refused::RevokedCertificate, standing),
        standing @ Standing::Unavailable(_) => refuse(Refused::Unavailable, standing),
    }
}

/// Checks that a certificate may be used at a moment: registered, active, and within its dates.
fn check_certificate(
    presented: &PresentedCertificate,
    registered: Option<&Certificate>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let id = &presented.facts.id;
    let Some(registered) = registered else {
        let detail = format!("certificate {id} is not registered");
        return Err(Refusal::new(Refused::UnknownCertificate, detail));
    };
    if registered.status != CertificateStatus::Active {
        let detail = format!("certificate {id} is {}", registered.status);
        return Err(Refusal::new(Refused::InactiveCertificate, detail));
    }
    let validity = presented.validity;
    if !validity.contains(now) {
        let (from, to) = (validity.not_before, validity.not_after);
        let detail = format!("certificate {id} is valid from {from} to {to}");
        return Err(Refusal::new(Refused::ExpiredCertificate, detail));
    }
    Ok(())
}

/// Reads the registry, which may block, beside the async tasks.
async fn read_rights(
    shared: &Arc<Shared>,
    opening: Opening,
) -> Result<(Option<Certificate>, AccessWatch), Refusal> {
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let certificate = match &opening.principal {
            Principal::Certificate(id) => shared.directory.certificate(id)?,
            Principal::Anonymous { .. } => None,
        };
        Ok((certificate, shared.access.open(opening)))
    });
    match read.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(unavailable @ Unavailable { .. })) => {
            Err(Refusal::new(Refused::Unavailable, unavailable))
        }
        Err(panicked) => Err(Refusal::new(Refused::Unavailable, panicked)),
    }
}

/// The client id, and the text of it where the server made it.
fn client_id(connect: &Connect) -> Result<(ClientId, Option<Text>), Refusal> {
    let refuse = |detail: &dyn ToString| Refusal::new(Refused::ClientId, detail.to_string());
    let asked = connect.client_id.as_str();
    if !asked.is_empty() {
        if asked.starts_with('$') {
            return Err(refuse(&"a client id must not begin with `$`"));
        }
        let client = ClientId::parse(asked).map_err(|error| refuse(&error))?;
        return Ok((client, None));
    }
    if connect.version == Version::V311 && !connect.clean_start {
        // mqtt-3.1.1 [MQTT-3.1.3-8]
        return Err(refuse(&"a session that is kept needs a client id"));
    }
    // mqtt-3.1.1 [MQTT-3.1.3-6], mqtt-5 [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    let made = made_client_id();
    let client = ClientId::parse(made.as_str()).map_err(|error| refuse(&error))?;
    Ok((client, Text::new(&made)))
}

/// A client id that nobody has and nobody can guess: it may become the name of a kept session.
fn made_client_id() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let n = MADE.fetch_add(1, Ordering::Relaxed);
    let mut id = String::from("auto-");
    for _ in 0..2 {
        // The standard library's only source of randomness: keys of the operating system's.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(n);
        let _ = write!(id, "{:016x}", hasher.finish());
    }
    id
}
