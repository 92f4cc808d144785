//! Three sensors: real MQTT 5 clients that connect over mutual TLS and publish a temperature.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use picket_model::Timestamp;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::provision::Sensor;
use crate::clock;
use crate::serve::Server;

/// How often a sensor speaks.
pub(super) const NORMAL_INTERVAL: Duration = Duration::from_secs(1);

/// Payload of a device that went bad, in bytes.
const BAD_BYTES: usize = 3_000;

/// How long a device waits before it tries to come back.
const COME_BACK: Duration = Duration::from_millis(500);

/// The end of a connection, or of an attempt to make one, as the device saw it.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) at: Timestamp,
    pub(super) reason: String,
}

/// What a device tells the story of.
enum Told {
    Connected,
    Cut(Cut),
    Refused(Cut),
}

/// The three of them.
pub(super) struct Fleet {
    devices: BTreeMap<&'static str, Device>,
}

struct Device {
    client: AsyncClient,
    counters: Arc<Counters>,
    told: mpsc::UnboundedReceiver<Told>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// Connections lost and refused.
    troubles: AtomicU64,
    is_bad: AtomicBool,
    is_leaving: AtomicBool,
    /// Wakes the speaker, so that the bad message goes out at the moment that is shown.
    turned: tokio::sync::Notify,
}

impl Fleet {
    /// Connects every sensor and lets it speak.
    pub(super) async fn connect(server: &Server, sensors: Vec<Sensor>) -> Result<Self> {
        let mut devices = BTreeMap::new();
        for (number, sensor) in (1..).zip(sensors) {
            let topic = format!("temperature-device-{number:02}");
            devices.insert(sensor.name, Device::start(server, &sensor, topic)?);
        }
        for (name, device) in &mut devices {
            match device.told.recv().await {
                Some(Told::Connected) => {}
                Some(Told::Cut(cut) | Told::Refused(cut)) => {
                    bail!("{name} cannot connect: {}", cut.reason)
                }
                None => bail!("{name} ended"),
            }
        }
        Ok(Self { devices })
    }

    /// Checks that nobody was disturbed and everybody is heard.
    pub(super) fn everyone_is_well(&self, interval: Duration) -> Result<()> {
        for (name, device) in &self.devices {
            let Counters { sent, acknowledged, troubles, .. } = &*device.counters;
            let sent = sent.load(Ordering::SeqCst);
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            ensure!(troubles.load(Ordering::SeqCst) == 0, "{name} lost its connection");
            ensure!(
                acknowledged > 0 && acknowledged + 2 > sent,
                "{name} sent {sent} messages, one every {interval:?}, but only {acknowledged} were acknowledged"
            );
        }
        Ok(())
    }

    pub(super) fn acknowledged(&self) -> BTreeMap<&'static str, u64> {
        let count = |device: &Device| device.counters.acknowledged.load(Ordering::SeqCst);
        self.devices.iter().map(|(name, device)| (*name, count(device))).collect()
    }

    pub(super) fn acknowledged_in_all(&self) -> u64 {
        self.acknowledged().values().sum()
    }

    /// Lets one go bad; gives the moment.
    pub(super) fn turn_bad(&self, name: &str) -> Result<Timestamp> {
        let device = self.devices.get(name).context("there is no such device")?;
        let at = clock::now();
        device.counters.is_bad.store(true, Ordering::SeqCst);
        device.counters.turned.notify_one();
        Ok(at)
    }

    /// Waits until the device's connection is closed by the server.
    pub(super) async fn cut(&mut self, name: &str, patience: Duration) -> Result<Cut> {
        self.wait(name, patience, |told| match told {
            Told::Cut(cut) => Some(cut),
            Told::Connected | Told::Refused(_) => None,
        })
        .await
    }

    /// Waits until the device is refused as it tries to come back.
    pub(super) async fn refused(&mut self, name: &str, patience: Duration) -> Result<Cut> {
        self.wait(name, patience, |told| match told {
            Told::Refused(cut) => Some(cut),
            Told::Connected | Told::Cut(_) => None,
        })
        .await
    }

    async fn wait(
        &mut self,
        name: &str,
        patience: Duration,
        wanted: impl Fn(Told) -> Option<Cut>,
    ) -> Result<Cut> {
        let device = self.devices.get_mut(name).context("there is no such device")?;
        let waiting = async {
            while let Some(told) = device.told.recv().await {
                if let Some(cut) = wanted(told) {
                    return Ok(cut);
                }
            }
            bail!("{name} ended");
        };
        tokio::time::timeout(patience, waiting).await.context("nothing happened to it")?
    }

    /// Checks that all but one went on since `before`, without losing a connection or a message.
    pub(super) fn others_are_untouched(
        &self,
        bad: &str,
        before: &BTreeMap<&'static str, u64>,
    ) -> Result<()> {
        let now = self.acknowledged();
        for (name, device) in self.devices.iter().filter(|(name, _)| **name != bad) {
            let troubles = device.counters.troubles.load(Ordering::SeqCst);
            ensure!(troubles == 0, "{name} lost its connection {troubles} times");
            ensure!(now[name] > before[name], "{name} is not heard any more");
        }
        ensure!(now[bad] == before[bad], "{bad} is still heard");
        Ok(())
    }

    /// Ends all connections in the orderly way.
    pub(super) async fn disconnect(self) {
        for device in self.devices.into_values() {
            let [listening, speaking] = device.tasks;
            speaking.abort();
            device.counters.is_leaving.store(true, Ordering::SeqCst);
            // A device that was cut off has nobody to say goodbye to.
            let _ = device.client.try_disconnect();
            let _ = tokio::time::timeout(COME_BACK, listening).await;
        }
    }
}

impl Device {
    fn start(server: &Server, sensor: &Sensor, topic: String) -> Result<Self> {
        let address = server.endpoints().mqtts[0];
        let mut options = MqttOptions::new(sensor.name, "localhost", address.port());
        options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
        let config = tls(&server.ca_pem()?, sensor)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
        let (client, connection) = AsyncClient::new(options, 16);
        let counters = Arc::new(Counters::default());
        let (tell, told) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(connection, Arc::clone(&counters), tell));
        let speaking = tokio::spawn(speak(client.clone(), topic, Arc::clone(&counters)));
        Ok(Self { client, counters, told, tasks: [listening, speaking] })
    }
}

fn tls(ca_pem: &str, sensor: &Sensor) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
    let certificate = CertificateDer::from_pem_slice(sensor.certificate_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(sensor.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

/// Sends a temperature every second; once bad, random letters and digits.
async fn speak(client: AsyncClient, topic: String, counters: Arc<Counters>) {
    let mut interval = tokio::time::interval(NORMAL_INTERVAL);
    for number in 0_u64.. {
        tokio::select! {
            _ = interval.tick() => {}
            () = counters.turned.notified() => {}
        }
        let payload = if counters.is_bad.load(Ordering::SeqCst) {
            random_text(BAD_BYTES)
        } else {
            temperature(&topic, number)
        };
        if client.publish(&topic, QoS::AtLeastOnce, false, payload).await.is_err() {
            return;
        }
        counters.sent.fetch_add(1, Ordering::SeqCst);
    }
}

/// About 120 bytes of JSON.
fn temperature(topic: &str, number: u64) -> String {
    json!({
        "device": topic,
        "time": clock::now().to_string(),
        "temperature": 20.0 + (number % 70) as f64 / 10.0,
        "unit": "C",
        "sequence": number,
    })
    .to_string()
}

/// Letters and digits; what they are does not matter, only that they do not compress to nothing.
fn random_text(len: usize) -> String {
    let mut text = String::with_capacity(len + 32);
    while text.len() < len {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string().to_uppercase());
    }
    text.truncate(len);
    text
}

/// Follows the connection and comes back when it is lost.
async fn listen(
    mut connection: EventLoop,
    counters: Arc<Counters>,
    tell: mpsc::UnboundedSender<Told>,
) {
    let mut is_connected = false;
    loop {
        let told = match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                is_connected = true;
                Told::Connected
            }
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                counters.acknowledged.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Ok(_) => continue,
            Err(_) if counters.is_leaving.load(Ordering::SeqCst) => return,
            Err(error) => {
                counters.troubles.fetch_add(1, Ordering::SeqCst);
                let cut = Cut { at: clock::now(), reason: in_words(&error) };
                if std::mem::take(&mut is_connected) { Told::Cut(cut) } else { Told::Refused(cut) }
            }
        };
        let is_trouble = !matches!(told, Told::Connected);
        if tell.send(told).is_err() {
            return;
        }
        if is_trouble {
            tokio::time::sleep(COME_BACK).await;
        }
    }
}

fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let why = reason_string.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("the server closed the connection ({reason_code:?}{why})")
        }
        ConnectionError::ConnectionRefused(code) => format!("the server refused it ({code:?})"),
        other => other.to_string(),
    }
}
