//! A broker on free ports, devices with certificates, and what the broker observes of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use picket_broker::revocation::{ListIssuer, RevocationList, Revocations};
use picket_broker::tls::{ClientCertificates, Protocol, ServerIdentity, ServerTls};
use picket_broker::{Broker, BrokerConfig, Clock, Entrance};
use picket_model::limits::MqttLimits;
use picket_model::{CertificateId, CertificateStatus, Change, Fact, Observation, Timestamp};
use prometheus_client::registry::Registry as Metrics;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::directory::{Registry, policy_name};
use crate::disk::Disk;
use crate::peer::Peer;

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} does not come"),
    }
}

/// Allows everything.
pub(crate) const ALLOW_ALL: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;

/// Allows everything but what the statement says.
pub(crate) fn all_but(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"iot:*","Resource":"*"}},
        {{"Effect":"Deny","Action":"{action}","Resource":"arn:aws:iot:us-east-1:123456789012:{resource}"}}]}}"#
    )
}

/// A broker and everything around it.
pub(crate) struct Testbed {
    pub(crate) broker: Broker,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tls: SocketAddr,
    pub(crate) plain: SocketAddr,
    /// HTTP over TLS.
    pub(crate) https: SocketAddr,
    /// HTTP in clear text, under the policy `open`.
    pub(crate) http: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    metrics: Metrics,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
    observed: watch::Receiver<Vec<Observation>>,
    /// Set to make the broker's clock panic once.
    pub(crate) broken_clock: Arc<Mutex<bool>>,
}

/// A device's certificate and key, as files too.
pub(crate) struct Device {
    pub(crate) id: CertificateId,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer has its own name for self-signed.
    params.distinguished_name.push(DnType::CommonName, "test authority");
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

async fn listen(broker: &Broker, entrance: Entrance) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(broker.serve(listener, entrance));
    address
}

impl Testbed {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A broker with limits of its own, and the policy `open` for its plain listener.
    pub(crate) async fn with(adjust: impl FnOnce(&mut MqttLimits)) -> Self {
        Self::configured(|config| adjust(&mut config.limits)).await
    }

    /// A broker with a configuration of its own, and the policy `open` for its plain listener.
    pub(crate) async fn configured(adjust: impl FnOnce(&mut BrokerConfig)) -> Self {
        Self::made(adjust, None, 0).await
    }

    /// A broker whose sessions are on a disk.
    pub(crate) async fn durable(disk: &Disk) -> Self {
        Self::durable_with(disk, |_| {}).await
    }

    /// The same, with a configuration of its own.
    pub(crate) async fn durable_with(disk: &Disk, adjust: impl FnOnce(&mut BrokerConfig)) -> Self {
        Self::made(adjust, Some(disk.clone()), 0).await
    }

    /// The same, by whose clock it is so many seconds later than it is.
    pub(crate) async fn durable_later(
        disk: &Disk,
        later_s: i64,
        adjust: impl FnOnce(&mut BrokerConfig),
    ) -> Self {
        Self::made(adjust, Some(disk.clone()), later_s * 1000).await
    }

    async fn made(
        adjust: impl FnOnce(&mut BrokerConfig),
        disk: Option<Disk>,
        later_ms: i64,
    ) -> Self {
        let mut config = BrokerConfig::default();
        adjust(&mut config);
        let registry = Arc::new(Registry::default());
        registry.set_policy("open", ALLOW_ALL);
        let (authority, authority_pem) = authority();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let identity =
            ServerIdentity::from_pem(server.pem().as_bytes(), key.serialize_pem().as_bytes())
                .unwrap();
        let server_tls = ServerTls::new(identity, ClientCertificates::Requested).unwrap();

        let broken_clock = Arc::new(Mutex::new(false));
        let breaks = Arc::clone(&broken_clock);
        let clock: Clock = Arc::new(move || {
            let breaks = std::mem::take(&mut *breaks.lock().unwrap());
            assert!(!breaks, "the clock breaks for a test");
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
            Timestamp::from_millis(since.as_millis().try_into().unwrap()) + later_ms
        });
        let (observations, mut observed_rx) = mpsc::channel(100);
        let (observed_tx, observed) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Some(observation) = observed_rx.recv().await {
                observed_tx.send_modify(|all| all.push(observation));
            }
        });
        let mut metrics = Metrics::default();
        let directory = Arc::clone(&registry);
        let broker = match disk {
            None => Broker::new(config, directory, observations, clock, &mut metrics),
            Some(disk) => {
                let disk = Box::new(disk);
                let made =
                    Broker::durable(config, directory, disk, observations, clock, &mut metrics);
                made.unwrap()
            }
        };
        let tls = listen(&broker, Entrance::tls(server_tls.clone())).await;
        let plain = listen(&broker, Entrance::plain(policy_name("open"))).await;
        let http = |entrance| Entrance {
            protocol: Protocol::Http,
            origins: vec!["https://fleet.example.org".to_owned()].into(),
            ..entrance
        };
        let https = listen(&broker, http(Entrance::tls(server_tls))).await;
        let http = listen(&broker, http(Entrance::plain(policy_name("open")))).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &authority_pem).unwrap();
        Self {
            broker,
            registry,
            tls,
            plain,
            https,
            http,
            folder,
            metrics,
            authority,
            authority_pem,
            observed,
            broken_clock,
        }
    }

    /// A certificate that nobody registered.
    pub(crate) fn stranger(&self, name: &str, last_year: i32) -> Device {
        let mut params = CertificateParams::new([]).unwrap();
        params.not_after = date_time_ymd(last_year, 1, 1);
        self.certified(name, params)
    }

    /// A certificate that nobody registered and that is valid for one second more, and for what is
    /// left of this one.
    pub(crate) fn short_lived(&self, name: &str) -> Device {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(since.as_secs() + 1);
        self.certified(name, params)
    }

    fn certified(&self, name: &str, mut params: CertificateParams) -> Device {
        params.not_before = date_time_ymd(2001, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let certificate_file = self.folder.path().join(format!("{name}.pem"));
        let key_file = self.folder.path().join(format!("{name}.key"));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let id = picket_broker::certificate::PresentedCertificate::from_der(certificate.der())
            .unwrap()
            .facts
            .id
            .clone();
        Device {
            id,
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            certificate_file,
            key_file,
        }
    }

    /// A device whose certificate is registered and active, under a policy of its own with its name.
    pub(crate) fn device(&self, name: &str, policy: &str) -> Device {
        let device = self.stranger(name, 2100);
        self.register(name, &device, policy);
        device
    }

    /// Registers a certificate as active, under a policy of its own with this name.
    pub(crate) fn register(&self, name: &str, device: &Device, policy: &str) {
        self.registry.set_certificate(&device.id, CertificateStatus::Active);
        self.registry.set_policy(name, policy);
        self.registry.attach(name, &device.id);
    }

    /// A list of revoked certificates that the CA signed.
    pub(crate) fn revocations(&self, revoked: &[&Device]) -> Revocations {
        let issuers = ListIssuer::from_pem(self.authority_pem.as_bytes()).unwrap();
        let serial = |device: &&Device| {
            let (_, certificate) = X509Certificate::from_der(&device.certificate).unwrap();
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(certificate.raw_serial()),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2025, 2, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(serial).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.authority).unwrap();
        Revocations::new(RevocationList::read(list.der(), &issuers).unwrap())
    }

    /// The CA's certificate in PEM form.
    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Makes the broker's sessions decide again, as its owner does after a commit.
    pub(crate) fn changed(&self, change: Change) {
        self.broker.changed(&[change]);
    }

    /// A client of the plain listener that is connected as MQTT 5, with a clean start.
    pub(crate) async fn plain_peer(&self, client: &str) -> Peer {
        let mut peer = Peer::plain(self.plain).await;
        peer.connect_v5(client, |_| {}).await;
        peer
    }

    /// A client of the TLS listener that is connected as MQTT 5, with a clean start.
    pub(crate) async fn tls_peer(&self, device: &Device, client: &str) -> Peer {
        let mut peer = Peer::tls(self, Some(device)).await;
        peer.connect_v5(client, |_| {}).await;
        peer
    }

    /// Waits until what was observed is as wanted, and gives it.
    pub(crate) async fn observed(
        &self,
        what: &str,
        is_there: impl Fn(&[Observation]) -> bool,
    ) -> Vec<Observation> {
        let mut observed = self.observed.clone();
        let found =
            soon(what, async { observed.wait_for(|all| is_there(all)).await.unwrap().clone() });
        found.await
    }

    /// Waits until a fact of a device was observed.
    pub(crate) async fn fact(&self, device: &str, is_it: impl Fn(&Fact) -> bool) -> Observation {
        let is_it = |it: &Observation| it.device.as_str() == device && is_it(&it.fact);
        let all = self.observed("the observation", |all| all.iter().any(is_it)).await;
        all.into_iter().find(is_it).unwrap()
    }

    /// A counter's value, by its name with labels as in the text form; 0 where it is not shown.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("picket_mqtt_{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a counter has a value. There is no event for that, so it is looked at again.
    pub(crate) async fn counted(&self, name: &str, value: u64) {
        let counted = async {
            while self.counter(name) != value {
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("{name} = {value}"), counted).await;
    }
}
