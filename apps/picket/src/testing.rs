//! What tests of several parts together stand on: a store, a broker that lets plain clients in, and
//! real clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use picket_broker::{Broker, BrokerConfig, Entrance};
use picket_model::wire::behavior_from_json;
use picket_model::{
    Account, DeviceName, Observation, PolicyName, ProfileName, ProfileTarget, SecurityProfile,
    Violation,
};
use picket_store::violations::{self, ViolationFilter};
use picket_store::{Page, RegistryError, Store, WriteTx, policies, profiles};
use prometheus_client::registry::Registry;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::clock;
use crate::directory::StoreDirectory;
use crate::limits::OBSERVATIONS_MAX;

/// A store and a broker in front of it.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    port: u16,
}

impl Bed {
    /// Everybody may do everything. Gives besides what the broker observes.
    pub(crate) async fn new(dir: &Path) -> (Self, mpsc::Receiver<Observation>) {
        let store = Store::open(dir, Account::default()).unwrap();
        let policy = PolicyName::parse("Everything").unwrap();
        let name = policy.clone();
        let document = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
        let made = store.write(move |tx| policies::create(tx, &name, document, clock::now()));
        made.await.unwrap();
        let (observe, observations) = mpsc::channel(OBSERVATIONS_MAX);
        let broker = Broker::new(
            BrokerConfig::default(),
            Arc::new(StoreDirectory::new(store.clone())),
            observe,
            clock::shared(),
            &mut Registry::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(broker.serve(listener, Entrance::plain(policy)));
        (Self { store, broker, port }, observations)
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut WriteTx) -> Result<T, RegistryError> + Send + 'static,
    ) -> T {
        self.store.write(write).await.unwrap()
    }

    /// Makes a profile of these behaviors for every device, as `change` leaves it.
    pub(crate) async fn watch(
        &self,
        name: &str,
        behaviors: &[Value],
        change: impl FnOnce(&mut SecurityProfile),
    ) {
        let now = clock::now();
        let behaviors = behaviors.iter().map(|json| behavior_from_json(json, 1).unwrap());
        let mut profile = SecurityProfile {
            name: ProfileName::parse(name).unwrap(),
            description: None,
            behaviors: behaviors.collect(),
            alert_targets: vec![],
            retained_metrics: vec![],
            export: None,
            version: 1,
            created_at: now,
            modified_at: now,
        };
        change(&mut profile);
        self.write(move |tx| {
            profiles::create(tx, &profile)?;
            profiles::attach(tx, &profile.name, &ProfileTarget::AllThings)
        })
        .await;
    }

    /// The alarms that are on for a device.
    pub(crate) fn alarms(&self, device: &str) -> Vec<Violation> {
        let device = Some(DeviceName::parse(device).unwrap());
        let filter = ViolationFilter { device, ..ViolationFilter::default() };
        let page = Page::first(250);
        self.store.read(|tx| violations::list_active(tx, &filter, &page)).unwrap().items
    }

    /// Connects a client.
    pub(crate) async fn connect(&self, client_id: &str) -> Client {
        let options = MqttOptions::new(client_id, "127.0.0.1", self.port);
        let (client, mut connection) = AsyncClient::new(options, 16);
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = connection.poll().await {
                if let Event::Incoming(packet) = event
                    && tell.send(packet).is_err()
                {
                    return;
                }
            }
        });
        let mut client = Client { client, told };
        client.hear(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        client
    }
}

/// A client that is connected.
pub(crate) struct Client {
    client: AsyncClient,
    told: mpsc::UnboundedReceiver<Packet>,
}

impl Client {
    /// Publishes, and waits until the broker took it.
    pub(crate) async fn publish(&mut self, topic: &str, payload: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.hear(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    /// Subscribes, and waits until that is so.
    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.hear(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Publish {
        self.hear(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
        .await
    }

    async fn hear<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let heard = async {
            loop {
                let packet = self.told.recv().await.expect("the connection is open");
                if let Some(it) = wanted(packet) {
                    return it;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("heard in time")
    }
}

/// Longer than any machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
