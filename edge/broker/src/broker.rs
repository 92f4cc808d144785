//! The broker as its owner holds it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use picket_model::limits::{CLIENT_ID_BYTES_MAX, MqttLimits};
use picket_model::{
    Account, Change, ClientId, DeviceName, MetricDimension, Observation, Tripwires,
};
use picket_mqtt::packet::MessageProperties;
use picket_mqtt::{Message, QoS, TopicError, TopicLimits, TopicName};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tracing::{info, warn};

use crate::access::AccessBook;
use crate::authorize::PublishPermit;
use crate::budget::Budget;
use crate::clients::Clients;
use crate::clock::{Clock, Monotonic};
use crate::half_open::HalfOpen;
use crate::journal::{Journal, WallClock};
use crate::lanes::Lanes;
use crate::listener::{self, Entrance};
use crate::metrics::Metrics;
use crate::ports::{Directory, SessionStore, StoreFailed, StoredSessions};
use crate::reports::{ReportConfig, ReportPace, ReportsUnderWay, UNDER_WAY_BYTES_MAX};
use crate::restore;
use crate::retained::{Owner, RetainedStore};
use crate::revocation::Revocations;
use crate::router::{Flags, Router};
use crate::sessions::{self, Sessions};
use crate::slices::{Slice, SliceBook};
use crate::tripwires::TripwireBook;
use crate::will::{self, Wills};

/// What a broker is told once.
#[derive(Clone, Debug, Default)]
pub struct BrokerConfig {
    /// Bounds of what comes from outside.
    pub limits: MqttLimits,
    /// The account that policies speak of.
    pub account: Account,
    /// How reports are taken.
    pub reports: ReportConfig,
    /// Runtimes that connections are dealt out to in turn, best of one thread each. Without any they
    /// live where their listener does.
    pub lanes: Vec<Handle>,
}

/// The MQTT broker. Clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) access: Arc<AccessBook>,
    pub(crate) tripwires: TripwireBook,
    pub(crate) slices: SliceBook,
    pub(crate) router: Router,
    pub(crate) retained: RetainedStore,
    pub(crate) sessions: Sessions,
    pub(crate) clients: Clients,
    /// Tells this run of the broker from all others, in what must be unique beyond it.
    pub(crate) run: u64,
    /// Where it is written down what sessions are promised, if they survive the server.
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) wills: Wills,
    pub(crate) report_pace: ReportPace,
    pub(crate) reports_under_way: ReportsUnderWay,
    /// For what waits in mailboxes.
    pub(crate) queues: Arc<Budget>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) monotonic: Monotonic,
    pub(crate) half_open: Arc<HalfOpen>,
    pub(crate) lanes: Lanes,
    /// One for each connection that may be open.
    pub(crate) places: Arc<Semaphore>,
    /// One for each session that may outlive its connection.
    pub(crate) session_places: Arc<Semaphore>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Wakes whoever looks after sessions and wills that wait for a moment to come.
    pub(crate) janitor: Notify,
    /// Whether retained messages are to be looked through for such as lost their right.
    sweep: watch::Sender<()>,
    observations: mpsc::Sender<Observation>,
}

/// A message that the server itself publishes.
#[derive(Clone, Debug)]
pub struct InternalPublish {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// How surely.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// What MQTT 5 says of it.
    pub properties: MessageProperties,
}

/// Why the server's own message was not published.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// It has nowhere to go.
    #[error("topic name: {0}")]
    Topic(#[from] TopicError),
    /// It is too large for clients.
    #[error("payload of {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

/// What topics of events keep to, whatever clients may publish to: a client id is a part of some,
/// and may be all slashes.
const EVENT_TOPIC: TopicLimits =
    TopicLimits { bytes_max: 1024, levels_max: 8 + CLIENT_ID_BYTES_MAX };

/// How many sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCount {
    /// With a connection.
    pub live: usize,
    /// Kept for absent clients.
    pub kept: usize,
}

impl Broker {
    /// Makes a broker that listens nowhere yet, and whose sessions end with it. To be called within a
    /// tokio runtime.
    ///
    /// Observations wait for room in `observations`: who does not take them slows the devices down.
    /// The counters appear in `registry`.
    pub fn new(
        config: BrokerConfig,
        directory: Arc<dyn Directory>,
        observations: mpsc::Sender<Observation>,
        clock: Clock,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::register(registry);
        let sessions = Sessions::default();
        Self::made(config, directory, observations, clock, metrics, sessions, None)
    }

    /// Makes a broker whose sessions survive it: those that are stored go on. Blocks while they are
    /// read.
    ///
    /// # Errors
    /// [`StoreFailed`] if they cannot be read.
    pub fn durable(
        config: BrokerConfig,
        directory: Arc<dyn Directory>,
        mut store: Box<dyn SessionStore>,
        observations: mpsc::Sender<Observation>,
        clock: Clock,
        registry: &mut Registry,
    ) -> Result<Self, StoreFailed> {
        let metrics = Metrics::register(registry);
        let stored = store.load()?;
        let (last_key, last_number) = stored.last();
        let sessions = Sessions::behind(last_key);
        let monotonic = Monotonic::new();
        let wall_clock = WallClock { wall: Arc::clone(&clock), monotonic };
        let bytes_max = config.limits.journal_bytes_max;
        let journal = Journal::start(store, wall_clock, bytes_max, last_number, &metrics)
            .map_err(|error| StoreFailed { reason: error.to_string() })?;
        let journal = Some((journal, monotonic, stored));
        Ok(Self::made(config, directory, observations, clock, metrics, sessions, journal))
    }

    fn made(
        config: BrokerConfig,
        directory: Arc<dyn Directory>,
        observations: mpsc::Sender<Observation>,
        clock: Clock,
        metrics: Metrics,
        sessions: Sessions,
        journal: Option<(Arc<Journal>, Monotonic, StoredSessions)>,
    ) -> Self {
        let (stopping, _) = watch::channel(false);
        let (sweep, _) = watch::channel(());
        let (journal, monotonic, stored) = match journal {
            Some((journal, monotonic, stored)) => (Some(journal), monotonic, Some(stored)),
            None => (None, Monotonic::new(), None),
        };
        let queues = Budget::new(config.limits.queues_bytes_max, metrics.queues_bytes.clone());
        let shared = Arc::new(Shared {
            queues: Arc::new(queues),
            access: AccessBook::new(config.account.clone(), Arc::clone(&directory)),
            tripwires: TripwireBook::default(),
            slices: SliceBook::default(),
            router: Router::new(&config.limits),
            retained: RetainedStore::new(&config.limits),
            sessions,
            clients: Clients::default(),
            run: RandomState::new().build_hasher().finish(),
            journal,
            report_pace: ReportPace::new(&config.reports),
            reports_under_way: ReportsUnderWay::new(UNDER_WAY_BYTES_MAX),
            wills: Wills::new(config.limits.delayed_wills_bytes_max),
            metrics,
            monotonic,
            half_open: Arc::new(HalfOpen::new(&config.limits)),
            lanes: Lanes::new(config.lanes.clone()),
            places: Arc::new(Semaphore::new(places(&config.limits) as usize)),
            session_places: Arc::new(Semaphore::new(
                config.limits.sessions_max.min(Semaphore::MAX_PERMITS),
            )),
            janitor: Notify::new(),
            stopping,
            sweep,
            observations,
            clock,
            directory,
            config,
        });
        if let (Some(journal), Some(stored)) = (&shared.journal, stored) {
            restore::restore(&shared, journal, stored);
        }
        tokio::spawn(look_after(Arc::clone(&shared)));
        tokio::spawn(sweep_retained(Arc::clone(&shared)));
        Self { shared }
    }

    /// What all connections share, for tests of a single one.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Lets clients in until the broker is shut down.
    pub fn serve(
        &self,
        listener: TcpListener,
        entrance: Entrance,
    ) -> impl Future<Output = ()> + Send + use<> {
        listener::serve(Arc::clone(&self.shared), listener, entrance)
    }

    /// Makes the sessions concerned decide again. When it returns, they all have been told.
    ///
    /// To be called after the changes are committed; blocks for a read per session concerned.
    pub fn changed(&self, changes: &[Change]) {
        self.shared.access.changed(changes);
        self.shared.sweep.send_replace(());
    }

    /// Makes every session decide again: for an owner that missed changes. Blocks for a read per
    /// session.
    pub fn changed_everything(&self) {
        self.shared.access.changed_everything();
        self.shared.sweep.send_replace(());
    }

    /// Puts revocation lists in force in place of those before. Who is revoked is closed, and is told
    /// by the time this returns; blocks for a read per session concerned.
    pub fn revoke(&self, revocations: Revocations) {
        self.shared.access.revoke(revocations);
        self.shared.sweep.send_replace(());
    }

    /// Sets what of a device is to be handed on at once: of everything it does, and of the slices
    /// that have limits of their own. Slices that are not named have none.
    pub fn set_tripwires(
        &self,
        device: &DeviceName,
        tripwires: Tripwires,
        sliced: &[(Arc<MetricDimension>, Tripwires)],
    ) {
        self.shared.tripwires.set(device, tripwires, sliced);
    }

    /// Sets the slices that every session tells apart from now on, in place of those before. What
    /// was counted under those is still told under their names.
    ///
    /// At most [`SLICES_MAX`](picket_model::limits::SLICES_MAX); what is more is left out and
    /// logged, so the caller bounds them first.
    pub fn set_slices(&self, slices: Vec<Slice>) {
        self.shared.slices.set(slices);
    }

    /// Publishes the server's own message. No policy is asked; `$`-topics are allowed.
    ///
    /// # Errors
    /// [`PublishError`] where it cannot go to any client.
    pub fn publish(&self, publish: InternalPublish) -> Result<(), PublishError> {
        let retain = publish.retain;
        let message = self.message(publish)?;
        let permit = PublishPermit::of_the_server(retain);
        let flags = Flags { publisher: None, retain };
        self.shared.publish(permit, message, flags, || Owner::Server);
        Ok(())
    }

    /// Publishes an event of the server's own at QoS 1 to those who subscribed to it. `payload` is
    /// asked for only if there is somebody. The limits on what clients publish do not apply.
    pub fn publish_event(&self, topic: &str, payload: impl FnOnce() -> Bytes) {
        self.shared.publish_event(topic, payload);
    }

    /// The message that a publish makes.
    pub(crate) fn message(&self, publish: InternalPublish) -> Result<Arc<Message>, PublishError> {
        let InternalPublish { topic, payload, qos, retain: _, properties } = publish;
        let limits = &self.shared.config.limits;
        if payload.len() > limits.payload_bytes_max {
            let bytes = payload.len();
            return Err(PublishError::TooLarge { bytes, max: limits.payload_bytes_max });
        }
        let topic = TopicName::parse(&topic, &TopicLimits::from(limits))?;
        let properties = (!properties.is_empty()).then(|| Box::new(properties));
        let now = self.shared.monotonic.now();
        Ok(Arc::new(Message::received(topic, payload, qos, properties, now)))
    }

    /// Waits until everything that was published so far is on the disk, for the sessions that survive
    /// the server. While the disk fails it does not return.
    pub async fn committed(&self) {
        self.shared.committed().await;
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> SessionCount {
        let (live, kept) = self.shared.sessions.count();
        SessionCount { live, kept }
    }

    /// The ids of the clients that are connected, sorted.
    pub fn connected(&self) -> Vec<ClientId> {
        let mut clients = self.shared.sessions.live();
        clients.sort_unstable();
        clients
    }

    /// Stops listening and closes every connection with a reason. Returns when all are closed and
    /// what their sessions are promised is on the disk, or after `patience`; true if all that is so.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.shared.stopping.send_replace(true);
        self.shared.sessions.stop();
        let places = places(&self.shared.config.limits);
        let deadline = tokio::time::Instant::now() + patience;
        let all = self.shared.places.acquire_many(places);
        let all_closed = tokio::time::timeout_at(deadline, all).await.is_ok();
        if all_closed {
            info!("all connections are closed");
        } else {
            warn!("connections are left open");
        }
        let all_kept = tokio::time::timeout_at(deadline, self.committed()).await.is_ok();
        if !all_kept {
            warn!("the last changes of sessions are not on the disk");
        }
        if let Some(journal) = &self.shared.journal {
            journal.stop();
        }
        all_closed && all_kept
    }
}

/// Connections that may be open, as the semaphore counts them.
fn places(limits: &MqttLimits) -> u32 {
    u32::try_from(limits.connections_max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
}

impl Shared {
    /// Hands an observation on, waiting for room.
    pub(crate) async fn observe(&self, observation: Observation) {
        // Without a receiver the program is going down, and nobody judges any more.
        let _ = self.observations.send(observation).await;
    }

    /// Routes a message that is not on a connection's own path, and retains it if it is to be.
    pub(crate) fn publish(
        &self,
        permit: PublishPermit,
        message: Arc<Message>,
        flags: Flags,
        owner: impl FnOnce() -> Owner,
    ) {
        // Before it is routed: who subscribes meanwhile finds it there or gets it on the way.
        if permit.may_retain() {
            let now = self.monotonic.now();
            self.retained.set(permit, &message, &owner(), now, (self.clock)(), &self.metrics);
        }
        let route = self.router.route(&message.topic);
        self.router.deliver(permit, &route, &message, flags, &self.metrics);
    }

    /// See [`Broker::committed`].
    pub(crate) async fn committed(&self) {
        if let Some(journal) = &self.journal {
            journal.committed(journal.ticket()).await;
        }
    }

    /// See [`Broker::publish_event`].
    pub(crate) fn publish_event(&self, topic: &str, payload: impl FnOnce() -> Bytes) {
        let Ok(topic) = TopicName::parse(topic, &EVENT_TOPIC) else { return };
        let route = self.router.route(&topic);
        if route.is_empty() {
            return;
        }
        let now = self.monotonic.now();
        let message = Message::received(topic, payload(), QoS::AtLeastOnce, None, now);
        let (permit, flags) =
            (PublishPermit::of_the_server(false), Flags { publisher: None, retain: false });
        self.router.deliver(permit, &route, &Arc::new(message), flags, &self.metrics);
    }

    pub(crate) fn show_kept(&self) {
        let (_, kept) = self.sessions.count();
        self.metrics.sessions_kept.set(i64::try_from(kept).unwrap_or(i64::MAX));
    }
}

/// Ends kept sessions and sends delayed wills when their moment has come.
async fn look_after(shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let now = shared.monotonic.now();
        sessions::expire(&shared, now);
        for last in shared.wills.take_due(now) {
            will::send(&shared, last).await;
        }
        let next = [shared.sessions.next_expiry(), shared.wills.next_due()];
        let next = next.into_iter().flatten().min();
        let until_next = async {
            match next {
                Some(at) => tokio::time::sleep_until(shared.monotonic.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = until_next => {}
            () = shared.janitor.notified() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Removes retained messages that lost their right, after every change of rights.
async fn sweep_retained(shared: Arc<Shared>) {
    let mut asked = shared.sweep.subscribe();
    let mut stopping = shared.stopping.subscribe();
    loop {
        tokio::select! {
            _ = asked.changed() => shared.retained.sweep(&shared.metrics),
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}
