//! Figures for docs/performance.md, taken by hand and never asserted:
//!
//! ```sh
//! cargo test --release -p picket publishers_of_durable -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use picket_broker::{Broker, BrokerConfig, Entrance};
use picket_model::limits::MqttLimits;
use picket_mqtt::codec::{decode, encode, frame};
use picket_mqtt::packet::{
    Ack, Connect, ConnectProperties, MessageProperties, Packet, Publish, Subscribe,
};
use picket_mqtt::{ReasonCode, Text};
use picket_store::policies;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock;
use crate::directory::StoreDirectory;

const PUBLISHERS: usize = 8;
const PAYLOAD_BYTES: usize = 128;
const TIME: Duration = Duration::from_secs(3);

/// Where the subscriber is, and whether its session is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    InMemory,
    Present,
    Absent,
}

/// A client as small as can be, that its share of the processor is small too.
struct Client {
    stream: TcpStream,
    /// What was read and not understood yet.
    input: Vec<u8>,
}

impl Client {
    async fn connect(port: u16, id: &str, is_kept: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, input: Vec::new() };
        let connect = Connect {
            version: Version::V311,
            clean_start: !is_kept,
            keep_alive_s: 600,
            client_id: Text::new(id).unwrap(),
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        };
        client.send([Packet::Connect(Box::new(connect))]).await;
        client.packets().await;
        client
    }

    async fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let mut bytes = Default::default();
        packets.into_iter().for_each(|packet| encode(&packet, Version::V311, &mut bytes));
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packets, at least one; none once the server has closed.
    async fn packets(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while packets.is_empty() {
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                break;
            }
            let mut taken = 0;
            while let Some(found) = frame(&self.input[taken..], 1 << 20).unwrap() {
                packets.push(decode(&found, Version::V311).unwrap());
                taken += found.len;
            }
            self.input.drain(..taken);
        }
        packets
    }

    /// Publishes for a while with so many in flight; how many were acknowledged.
    async fn publish(mut self, window: usize) -> usize {
        let publish = |n: usize| {
            Packet::Publish(Box::new(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: Text::new("t").unwrap(),
                packet_id: PacketId::new(u16::try_from(n % 60_000 + 1).unwrap()),
                payload: vec![b'x'; PAYLOAD_BYTES].into(),
                topic_alias: None,
                subscription_ids: Vec::new(),
                properties: MessageProperties::default(),
            }))
        };
        let began = Instant::now();
        self.send((0..window).map(publish)).await;
        let mut acknowledged = 0;
        while began.elapsed() < TIME {
            let n = self.packets().await.len();
            acknowledged += n;
            self.send((0..n).map(|n| publish(acknowledged + window + n))).await;
        }
        acknowledged
    }

    /// Takes and acknowledges everything, for ever.
    async fn read(mut self) {
        loop {
            let acks = self.packets().await.into_iter().filter_map(|packet| match packet {
                Packet::Publish(publish) => {
                    let packet_id = publish.packet_id?;
                    Some(Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS)))
                }
                _ => None,
            });
            let acks: Vec<_> = acks.collect();
            self.send(acks).await;
        }
    }
}

/// Messages acknowledged and commits, each in a second.
async fn measure(setting: Setting, window: usize) -> String {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Account::default()).unwrap();
    let policy = PolicyName::parse("Everything").unwrap();
    let name = policy.clone();
    let document = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
    let made = store.write(move |tx| policies::create(tx, &name, document, clock::now()));
    made.await.unwrap();
    // An absent client's queue would be full after a moment.
    let limits = MqttLimits {
        queue_messages_max: 10_000_000,
        queue_bytes_max: 1 << 32,
        queues_bytes_max: 1 << 32,
        ..MqttLimits::default()
    };
    let config = BrokerConfig { limits, ..BrokerConfig::default() };
    let directory = Arc::new(StoreDirectory::new(store.clone()));
    let (observe, mut observations) = mpsc::channel(1000);
    tokio::spawn(async move { while observations.recv().await.is_some() {} });
    let mut registry = Registry::default();
    let broker = if setting == Setting::InMemory {
        Broker::new(config, directory, observe, clock::shared(), &mut registry)
    } else {
        let sessions = Box::new(StoredInDatabase::new(SessionStore::open(&store).unwrap()));
        Broker::durable(config, directory, sessions, observe, clock::shared(), &mut registry)
            .unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(broker.serve(listener, Entrance::plain(policy)));

    let mut subscriber = Client::connect(port, "subscriber", true).await;
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let subscribe = Subscribe {
        packet_id: PacketId::MIN,
        filters: vec![(Text::new("t").unwrap(), options)],
        subscription_id: None,
        user: Vec::new(),
    };
    subscriber.send([Packet::Subscribe(Box::new(subscribe))]).await;
    subscriber.packets().await;
    if setting == Setting::Absent {
        drop(subscriber);
    } else {
        tokio::spawn(subscriber.read());
    }
    let mut publishers = Vec::new();
    for n in 0..PUBLISHERS {
        publishers.push(Client::connect(port, &format!("publisher-{n}"), false).await);
    }
    let commits_before = commits(&registry);
    let running: Vec<_> =
        publishers.into_iter().map(|it| tokio::spawn(it.publish(window))).collect();
    let mut acknowledged = 0;
    for publisher in running {
        acknowledged += publisher.await.unwrap();
    }
    let in_a_second = |n: usize| n / usize::try_from(TIME.as_secs()).unwrap();
    let n_commits = in_a_second(commits(&registry) - commits_before);
    let n_messages = in_a_second(acknowledged);
    broker.shutdown(Duration::from_secs(60)).await;
    format!("{setting:?}, window {window}: {n_messages} messages, {n_commits} commits in a second")
}

fn commits(registry: &Registry) -> usize {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("picket_mqtt_journal_commits_total "));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
#[ignore = "slow: measures"]
async fn publishers_of_durable_subscribers() {
    for setting in [Setting::InMemory, Setting::Present, Setting::Absent] {
        for window in [100, 4, 1] {
            println!("{}", measure(setting, window).await);
        }
    }
}
