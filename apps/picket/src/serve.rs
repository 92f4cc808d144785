//! The server: every part made, wired and ended in the right order.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use picket_api::enroll::Enroll;
use picket_api::sigv4::Signer;
use picket_api::{AccessKey, ApiMetrics, ApiState, Credentials, Issuer};
use picket_broker::certificate::PresentedCertificate;
use picket_broker::tls::{Protocol, ServerTls};
use picket_broker::{Broker, BrokerConfig, Entrance, Proof};
use picket_detect::EngineConfig;
use picket_model::Change;
use picket_model::limits::MqttLimits;
use picket_model::text::chain;
use picket_respond::deliver::{self, DeliverConfig, Deliverer, FunctionSubscribers};
use picket_respond::limits::HostLimits;
use picket_respond::mitigation::{self, Runner};
use picket_respond::{FunctionHost, FunctionHostConfig, python};
use picket_store::{SessionStore, Store, StoreError, meta};
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::cli::ServeArgs;
use crate::client::ApiClient;
use crate::clock;
use crate::config::{Admission, Config, Listener};
use crate::connections::BrokerClients;
use crate::data_dir::{Authority, DataDir, Endpoints};
use crate::descriptors::Shares;
use crate::directory::StoreDirectory;
use crate::export::{self, ExportMetrics, Exporter, Exports, Pace};
use crate::http::{HttpLimits, HttpListener, HttpMetrics};
use crate::limits::OBSERVATIONS_MAX;
use crate::listen::bind;
use crate::messages::BrokerMessages;
use crate::operator::{self, Readiness};
use crate::registry_events::{self, EventPublisher, RegistryEventMetrics};
use crate::retention::{self, RetentionMetrics};
use crate::session_store::StoredInDatabase;
use crate::shard::{Shard, ShardMetrics};
use crate::signals::{self, Hangups};
use crate::threads::DeviceThreads;
use crate::tls::{TlsKeeper, TlsMetrics};

/// What each part may take to stop. Together they stay below the five seconds after which an
/// operator's tools lose patience.
const STOP_API: Duration = Duration::from_millis(1_000);
const STOP_EXPORT: Duration = Duration::from_millis(200);
const STOP_BROKER: Duration = Duration::from_millis(1_000);
const STOP_RESPOND: Duration = Duration::from_millis(1_500);
const STOP_SHARD: Duration = Duration::from_millis(1_000);
const STOP_CONSOLE: Duration = Duration::from_millis(200);

/// Where the store keeps the secret that keys for a while derive from.
const SERVER_SECRET: &str = "server.secret";

/// Runs a server until a signal asks it to stop.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode> {
    let config = Config::for_serve(&args)?;
    let server = Server::start(&config, &args.data_dir).await?;
    announce();
    let signal = signals::wait().await;
    info!("{signal}: stopping");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Says the one line that scripts wait for. Whoever does not listen may still be served.
fn announce() {
    if let Err(error) = writeln!(std::io::stdout(), "picket ready") {
        warn!(%error, "cannot say on standard output that the server is ready");
    }
}

/// A running server.
pub(crate) struct Server {
    dir: DataDir,
    endpoints: Endpoints,
    administrator: ApiClient,
    store: Store,
    broker: Broker,
    devices: DeviceThreads,
    functions: FunctionHost,
    readiness: Readiness,
    stop: watch::Sender<bool>,
    stop_shard: watch::Sender<bool>,
    stop_console: watch::Sender<bool>,
    api: JoinHandle<()>,
    console: JoinHandle<()>,
    exporter: JoinHandle<()>,
    deliverer: JoinHandle<()>,
    mitigation: JoinHandle<()>,
    shard: JoinHandle<()>,
}

impl Server {
    /// Opens the store, makes every part and binds every address.
    pub(crate) async fn start(config: &Config, root: &Path) -> Result<Self> {
        let shares = Shares::claim();
        let dir = DataDir::create(root)?;
        let store = Store::open(dir.root(), config.account.clone())?;
        // Whoever reads the file while this server starts must not be sent to the last one's ports.
        dir.forget_endpoints()?;
        let administrator = administrator(&dir)?;
        let issuer = Arc::new(authority(&dir)?);
        let secret = server_secret(&store).await?;
        let credentials = Arc::new(Credentials::new(administrator.clone(), &secret));
        let mut registry = Registry::default();
        let (stop, stopping) = watch::channel(false);
        let (stop_shard, shard_stopping) = watch::channel(false);
        let (stop_console, console_stopping) = watch::channel(false);

        let api = bind(config.api_listen, "the API")?;
        let console = bind(config.console_listen, "the console")?;
        let mut endpoints = Endpoints {
            api: vec![api.local_addr()?],
            console: vec![console.local_addr()?],
            region: config.account.region.clone(),
            ca: config.tls.authority.as_deref().map(std::path::absolute).transpose()?,
            ..Endpoints::default()
        };

        let (observe, observations) = mpsc::channel(OBSERVATIONS_MAX);
        let limits = MqttLimits {
            connections_max: shares.connections_max(config.mqtt_limits.connections_max)?,
            ..config.mqtt_limits
        };
        let devices = DeviceThreads::start().context("no threads for devices")?;
        let broker_config = BrokerConfig {
            account: config.account.clone(),
            limits,
            reports: config.reports.clone(),
            lanes: devices.handles(),
        };
        let directory = Arc::new(StoreDirectory::new(store.clone()));
        let broker = if config.durable_sessions {
            let sessions = Box::new(StoredInDatabase::new(SessionStore::open(&store)?));
            let clock = clock::shared();
            Broker::durable(broker_config, directory, sessions, observe, clock, &mut registry)?
        } else {
            // They ended with a server that kept no promises: none of them may come back later.
            SessionStore::remove(&store)?;
            Broker::new(broker_config, directory, observe, clock::shared(), &mut registry)
        };
        // Watchers first: what changes from here on reaches broker and shard.
        let changes = store.changes();
        let (rights, watcher) = (store.changes(), broker.clone());
        std::thread::Builder::new()
            .name("picket-rights".to_owned())
            .spawn(move || watch_rights(rights, &watcher))?;
        let exports = Exports::new(ExportMetrics::register(&mut registry));
        let shard = Shard::restore(
            EngineConfig { grace_ms: config.grace_ms, silence_ms: config.silence_ms },
            store.clone(),
            broker.clone(),
            exports.clone(),
            ShardMetrics::register(&mut registry),
            clock::now(),
        )?;
        let shard = tokio::spawn(shard.run(observations, changes, shard_stopping));
        let exporter = Exporter {
            exports,
            store: store.clone(),
            broker: broker.clone(),
            interval_ms: config.export_interval_ms,
            grace_ms: config.grace_ms,
            payload_bytes_max: limits.payload_bytes_max,
            pace: Pace::default(),
        };
        let exporter = tokio::spawn(export::run(exporter, stopped(stopping.clone())));
        let events = EventPublisher {
            store: store.clone(),
            broker: broker.clone(),
            metrics: RegistryEventMetrics::register(&mut registry),
        };
        tokio::spawn(registry_events::run(events, stopped(stopping.clone())));
        let retention_metrics = RetentionMetrics::register(&mut registry);
        tokio::spawn(retention::run(store.clone(), config.kept, retention_metrics));

        let respond_metrics = picket_respond::Metrics::new(&mut registry);
        let functions = FunctionHost::new(
            FunctionHostConfig {
                folder: dir.functions_path(),
                account: config.account.clone(),
                endpoint_url: format!("http://{}", reachable(endpoints.api[0])),
                ca_bundle: None,
                python: match &config.python {
                    Some(path) => python::Choice::Given(path.clone()),
                    None => python::Choice::Private { cache: python::cache_folder()? },
                },
                limits: HostLimits::default(),
            },
            store.clone(),
            Arc::clone(&credentials) as Arc<dyn picket_respond::IssueKeys>,
            clock::shared(),
            respond_metrics.clone(),
        )?;
        let deliverer = Deliverer {
            config: DeliverConfig { stop_timeout: STOP_RESPOND, ..DeliverConfig::default() },
            store: store.clone(),
            subscribers: FunctionSubscribers { store: store.clone(), host: functions.clone() },
            clock: clock::shared(),
            jitter: Box::new(jitter),
            metrics: respond_metrics.clone(),
        };
        let deliverer = tokio::spawn(deliver::run(deliverer, stopped(stopping.clone())));
        let mitigation =
            Runner { store: store.clone(), clock: clock::shared(), metrics: respond_metrics };
        let mitigation = tokio::spawn(mitigation::run(mitigation, stopped(stopping.clone())));

        let state = ApiState {
            account: config.account.clone(),
            store: store.clone(),
            clock: clock::shared(),
            credentials,
            issuer: Arc::clone(&issuer),
            certificate_facts: Arc::new(|certificate| {
                let der = CertificateDer::from_pem_slice(certificate.pem.as_bytes()).ok()?;
                Some(PresentedCertificate::from_der(&der).ok()?.facts)
            }),
            messages: Arc::new(BrokerMessages::new(broker.clone())),
            connections: Arc::new(BrokerClients::new(broker.clone())),
            retained: Arc::new(BrokerClients::new(broker.clone())),
            functions: functions.clone(),
            message_bytes_max: config.mqtt_limits.payload_bytes_max,
            endpoint_host: config.endpoint_host.clone(),
            aws_durations_only: config.aws_durations_only,
            metrics: ApiMetrics::register(&mut registry),
        };

        let authority_pem = config.tls.authority_pem(&issuer)?;
        let keeper = TlsKeeper::start(
            config.tls.clone(),
            issuer,
            server_names(config),
            broker.clone(),
            TlsMetrics::register(&mut registry),
        )?;
        bind_devices(config, &keeper.tls(), &broker, &mut endpoints).await?;
        tokio::spawn(keeper.run(Hangups::listen(), stopping.clone()));

        let enroll = Enroll {
            state: state.clone(),
            endpoint: device_endpoint(config, &endpoints),
            authority_pem,
        };
        let routes = picket_api::router(state).merge(picket_api::enroll::router(enroll));

        let readiness = Readiness::default();
        let metrics = HttpMetrics::register(&mut registry);
        let operator = operator::router(readiness.clone(), Arc::new(registry));
        let limits = HttpLimits { connections_max: shares.http, ..HttpLimits::default() };
        let listener =
            |name, socket| HttpListener { name, socket, limits, metrics: metrics.clone() };
        let api = tokio::spawn(listener("API", api).serve(routes, stopping));
        let console = tokio::spawn(listener("console", console).serve(operator, console_stopping));
        readiness.set(true);
        dir.write_endpoints(&endpoints)?;
        info!(
            api = %endpoints.api[0],
            console = %endpoints.console[0],
            "ready; data in {}",
            dir.root().display()
        );
        let administrator = ApiClient::new(
            reachable(endpoints.api[0]),
            Signer {
                access_key_id: administrator.id,
                secret_access_key: administrator.secret,
                session_token: None,
                region: config.account.region.clone(),
            },
        );
        Ok(Self {
            dir,
            endpoints,
            administrator,
            store,
            broker,
            devices,
            functions,
            readiness,
            stop,
            stop_shard,
            stop_console,
            api,
            console,
            exporter,
            deliverer,
            mitigation,
            shard,
        })
    }

    /// The addresses really bound.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// A client of the API with the administrator's key.
    pub(crate) fn administrator(&self) -> ApiClient {
        self.administrator.clone()
    }

    /// What lasts, for those who look at it from inside.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What runs functions.
    pub(crate) fn functions(&self) -> &FunctionHost {
        &self.functions
    }

    /// The certificate that devices check the server's against.
    pub(crate) fn ca_pem(&self) -> Result<String> {
        Ok(self.dir.authority()?.context("the authority is gone")?.certificate_pem)
    }

    /// Takes no more work, closes the sessions, commits what is known, and lets go of everything.
    ///
    /// Each part has its time; one that does not end in it is left behind, for the process ends.
    pub(crate) async fn stop(self) {
        self.readiness.set(false);
        self.stop.send_replace(true);
        if let Err(error) = self.dir.forget_endpoints() {
            warn!(error = %chain(&error), "endpoints.json is out of date");
        }
        let api = async {
            let _ = self.api.await;
        };
        within(STOP_API, "API requests", api).await;
        // What waits to be exported goes to the subscribers while there are some.
        let export = async {
            let _ = self.exporter.await;
        };
        within(STOP_EXPORT, "exported metrics", export).await;
        self.broker.shutdown(STOP_BROKER).await;
        drop(self.devices);
        let respond = async {
            let _ = self.deliverer.await;
            let _ = self.mitigation.await;
            self.functions.shutdown().await;
        };
        within(STOP_RESPOND, "functions", respond).await;
        // Last: what the sessions saw to their end is judged and committed.
        self.stop_shard.send_replace(true);
        let shard = async {
            let _ = self.shard.await;
            self.store.close().await;
        };
        within(STOP_SHARD, "the last commit", shard).await;
        // `/readyz` says no until the very end, so that nobody takes a stop for a crash.
        self.stop_console.send_replace(true);
        let console = async {
            let _ = self.console.await;
        };
        within(STOP_CONSOLE, "operators' requests", console).await;
        info!("stopped");
    }
}

/// Where an enrolled device is told to connect.
fn device_endpoint(config: &Config, endpoints: &Endpoints) -> String {
    let host = &config.endpoint_host;
    match endpoints.mqtts.first() {
        Some(bound) => format!("{host}:{}", bound.port()),
        None => host.clone(),
    }
}

/// Waits for a part to end, but not for ever.
async fn within(time: Duration, what: &str, end: impl Future<Output = ()>) {
    if tokio::time::timeout(time, end).await.is_err() {
        warn!("{what} did not end within {} ms; leaving them", time.as_millis());
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Binds every listener for devices and lets the broker serve it.
async fn bind_devices(
    config: &Config,
    tls: &ServerTls,
    broker: &Broker,
    endpoints: &mut Endpoints,
) -> Result<()> {
    for listener in &config.listeners {
        let Listener { listen, admission, protocol, origins } = listener;
        let socket = bind(*listen, "the listener for devices")?;
        let (proof, bound) = match (admission, protocol) {
            (Admission::Certificate, Protocol::Mqtt) => (None, &mut endpoints.mqtts),
            (Admission::Certificate, Protocol::Http) => (None, &mut endpoints.https),
            (Admission::Anonymous(policy), Protocol::Mqtt) => (Some(policy), &mut endpoints.mqtt),
            (Admission::Anonymous(policy), Protocol::Http) => (Some(policy), &mut endpoints.http),
        };
        bound.push(socket.local_addr()?);
        let entrance = Entrance {
            proof: match proof {
                Some(policy) => Proof::None(policy.clone()),
                None => Proof::Certificate(tls.clone()),
            },
            protocol: *protocol,
            origins: origins.clone().into(),
        };
        tokio::spawn(broker.serve(socket, entrance));
    }
    Ok(())
}

/// What the server's certificate is made for, where our own authority makes it.
fn server_names(config: &Config) -> Vec<String> {
    let mut names = vec![config.endpoint_host.clone()];
    for name in ["localhost", "127.0.0.1", "::1"] {
        if name != config.endpoint_host {
            names.push(name.to_owned());
        }
    }
    let listening = config.listeners.iter().map(|listener| listener.listen.ip());
    for address in listening.filter(|ip| !ip.is_unspecified() && !ip.is_loopback()) {
        names.push(address.to_string());
    }
    names
}

/// The address at which this machine reaches a listener of its own: "any address" is none.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The administrator's key, made at the first start.
fn administrator(dir: &DataDir) -> Result<AccessKey> {
    if let Some(key) = dir.administrator()? {
        return Ok(key);
    }
    let key = AccessKey::generate()?;
    dir.write_administrator(&key)?;
    Ok(key)
}

/// The certificate authority, made at the first start.
fn authority(dir: &DataDir) -> Result<Issuer> {
    if let Some(authority) = dir.authority()? {
        return Issuer::load(&authority.certificate_pem, &authority.key_pem)
            .context("the authority in the data directory cannot be used");
    }
    let issuer = Issuer::create(clock::now())?;
    dir.write_authority(&Authority {
        certificate_pem: issuer.certificate().pem.clone(),
        key_pem: issuer.key_pem().to_owned(),
    })?;
    Ok(issuer)
}

/// The secret that keys for a while derive from, made at the first start: such keys outlive a
/// restart, and no other server's open this one.
async fn server_secret(store: &Store) -> Result<Vec<u8>> {
    if let Some(secret) = store.read(|tx| meta::get(tx, SERVER_SECRET))? {
        return Ok(secret);
    }
    let secret = AccessKey::generate()?.secret.into_bytes();
    let made = secret.clone();
    store.write::<_, StoreError>(move |tx| meta::put(tx, SERVER_SECRET, &made)).await?;
    Ok(secret)
}

/// Tells the broker what commits change, so that every session concerned decides again. On a
/// thread of its own, for it reads the rights of each; ends with the store.
fn watch_rights(mut changes: broadcast::Receiver<Arc<[Change]>>, broker: &Broker) {
    loop {
        match changes.blocking_recv() {
            Ok(changes) => broker.changed(&changes),
            Err(RecvError::Lagged(missed)) => {
                warn!(missed, "fell behind the changes; every session decides again");
                broker.changed_everything();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// A number from 0 up to 1. UUIDs are what randomness this program has at hand.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / (f64::from(u32::MAX) + 1.0)
}
