//! The brokers that loads are put on: Picket, and Debian's mosquitto beside it. Each listens with
//! TLS, for clients with a certificate, and without.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use picket_api::Issuer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::client::{self, Door};
use crate::server::{Registered, Server, allow_all};

/// The programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Ours.
    pub(crate) picket: PathBuf,
    /// Debian's.
    pub(crate) mosquitto: PathBuf,
}

/// Which broker, and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// mosquitto, without access control and with no bound on its queues.
    Mosquitto {
        /// Whether it writes sessions to disk, every half hour and when it ends; it acknowledges
        /// messages before.
        is_saving: bool,
    },
    /// Picket with policies.
    Picket {
        /// Whether a security profile watches every device.
        is_watching: bool,
        /// Whether a queue has room for a million messages in place of a thousand.
        has_long_queues: bool,
    },
}

/// Whether clients speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP alone.
    Plain,
    /// TLS 1.3 with client certificates.
    Tls,
}

/// A running broker; killed when dropped.
pub(crate) struct Broker {
    /// Its process id.
    pub(crate) pid: u32,
    plain: Door,
    tls: Door,
    process: Process,
}

/// Held so that it ends with the broker.
enum Process {
    Picket(Server),
    Mosquitto { _process: Child, _folder: TempDir },
}

impl Broker {
    /// Starts one.
    ///
    /// # Errors
    /// When the program is missing or does not come up.
    pub(crate) async fn start(kind: Kind, programs: &Programs) -> Result<Self> {
        match kind {
            Kind::Mosquitto { is_saving } => start_mosquitto(&programs.mosquitto, is_saving).await,
            Kind::Picket { is_watching, has_long_queues } => {
                start_picket(&programs.picket, is_watching, has_long_queues).await
            }
        }
    }

    /// The way in.
    pub(crate) fn door(&self, transport: Transport) -> &Door {
        match transport {
            Transport::Plain => &self.plain,
            Transport::Tls => &self.tls,
        }
    }

    /// What a counter of Picket's has counted, see [`Server::counter`]. `None` of mosquitto.
    ///
    /// # Errors
    /// When the broker does not tell.
    pub(crate) async fn counter(&self, name: &str) -> Result<Option<u64>> {
        match &self.process {
            Process::Picket(server) => server.counter(name).await.map(Some),
            Process::Mosquitto { .. } => Ok(None),
        }
    }
}

/// A server whose one policy allows everything, also on a plain listener. All clients with TLS
/// show one certificate.
async fn start_picket(program: &Path, is_watching: bool, has_long_queues: bool) -> Result<Broker> {
    const CONFIG: &str = "[[mqtt.listener]]\nlisten = \"127.0.0.1:0\"\ntls = false\n\
                          anonymous_policy = \"Bench\"\n";
    const LONG_QUEUES: &str =
        "[mqtt.limits]\nqueue_messages_max = 1_000_000\nqueue_bytes_max = 1_073_741_824\n";
    let mut config = CONFIG.to_owned();
    if has_long_queues {
        config.push_str(LONG_QUEUES);
    }
    let server = Server::start(program, &config).await?;
    server.policy("Bench", &allow_all()).await?;
    let Registered { certificate_pem, key_pem, .. } = server.certificate("Bench").await?;
    if is_watching {
        watch(&server).await?;
    }
    let tls = client::tls(&server.ca_pem()?, &certificate_pem, &key_pem)?;
    Ok(Broker {
        pid: server.pid()?,
        plain: Door { address: server.address("mqtt")?, tls: None },
        tls: Door { address: server.address("mqtts")?, tls: Some(tls) },
        process: Process::Picket(server),
    })
}

/// Three behaviors on every device, about all that its messages are counted for; none is violated.
async fn watch(server: &Server) -> Result<()> {
    let behavior = |metric: &str| {
        json!({"name": metric.replace(':', "-"), "metric": metric, "criteria": {
            "comparisonOperator": "less-than-equals", "durationSeconds": 300,
            "value": {"count": 1_000_000_000_u64}}})
    };
    let metrics = ["aws:message-byte-size", "aws:num-messages-sent", "aws:num-messages-received"];
    let behaviors: Vec<Value> = metrics.map(behavior).into();
    server.call("iot", "POST /security-profiles/Bench", json!({"behaviors": behaviors})).await?;
    let target = "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Aall%2Fthings";
    let line = format!("PUT /security-profiles/Bench/targets?securityProfileTargetArn={target}");
    server.call("iot", &line, Value::Null).await.map(drop)
}

async fn start_mosquitto(program: &Path, is_saving: bool) -> Result<Broker> {
    let folder = tempfile::tempdir()?;
    let now = picket::clock::now();
    let issuer = Issuer::create(now)?;
    let server = issuer.server_certificate(&["localhost".to_owned()], now)?;
    let device_key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&device_key)?.pem()?;
    let device = issuer.sign_request(&request, now)?;
    let ca_pem = &issuer.certificate().pem;
    let file = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let ca = file("ca.pem", ca_pem)?;
    let certificate = file("server.pem", &server.certificate.pem)?;
    let key = file("server.key", &server.private_key_pem)?;
    let (plain, tls) = (free_address()?, free_address()?);
    // As root it would give up its rights and then not be able to read these files.
    let config = format!(
        "user root\nallow_anonymous true\npersistence {is_saving}\npersistence_location {}/\n\
         max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n\
         listener {} 127.0.0.1\n\
         listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        folder.path().display(),
        plain.port(),
        tls.port(),
        ca.display(),
        certificate.display(),
        key.display(),
    );
    let config = file("mosquitto.conf", &config)?;
    let mut process = Command::new(program)
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} cannot be started; install it", program.display()))?;
    wait_for(&mut process, plain).await?;
    let connector = client::tls(ca_pem.as_bytes(), &device.pem, &device_key.serialize_pem())?;
    Ok(Broker {
        pid: process.id().context("mosquitto has ended")?,
        plain: Door { address: plain, tls: None },
        tls: Door { address: tls, tls: Some(connector) },
        process: Process::Mosquitto { _process: process, _folder: folder },
    })
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until something listens: mosquitto does not say when it is ready.
async fn wait_for(process: &mut Child, address: SocketAddr) -> Result<()> {
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = process.try_wait()? {
            bail!("mosquitto ended with {status}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("mosquitto does not listen on {address}")
}
