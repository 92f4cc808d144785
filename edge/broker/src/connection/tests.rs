//! Connections over a pipe in memory, where it can be seen how much the broker reads.

mod kicks;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use picket_model::{
    Certificate, CertificateId, ClientId, DeviceName, Observation, PolicyName, ThingName, Timestamp,
};
use picket_policy::{Document, NamedDocument};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::*;
use crate::admission::{Identity, Peer};
use crate::broker::{Broker, BrokerConfig};
use crate::greeting::greet;
use crate::ports::{Directory, Principal, Rights, Unavailable};
use crate::wire::OUTPUT_HIGH_BYTES;

/// Everybody may do everything.
pub(super) struct Open;

impl Directory for Open {
    fn certificate(&self, _: &CertificateId) -> Result<Option<Certificate>, Unavailable> {
        Ok(None)
    }

    fn rights(&self, _: &Principal, client: &ClientId) -> Result<Rights, Unavailable> {
        let text = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
        let document = Arc::new(Document::parse(text).unwrap());
        let policy = PolicyName::parse("open").unwrap();
        Ok(Rights {
            active: true,
            documents: vec![NamedDocument { policy, version: 1, document }],
            thing: None,
            device: DeviceName::from(client),
            registered: false,
            is_client_registered: false,
            things: Arc::default(),
            depends_on: BTreeSet::new(),
        })
    }

    fn attribute(&self, _: &ThingName, _: &str) -> Result<Option<String>, Unavailable> {
        Ok(None)
    }
}

/// A broker that lets everybody in, and what it observes.
fn broker() -> (Broker, mpsc::Receiver<Observation>) {
    let (observations, observed) = mpsc::channel(10);
    let clock = Arc::new(|| Timestamp::EPOCH);
    let config = BrokerConfig::default();
    let broker = Broker::new(config, Arc::new(Open), observations, clock, &mut Registry::default());
    (broker, observed)
}

/// The client's end of a connection that has said CONNECT.
async fn connecting(broker: Broker, connect: &[u8], pipe_bytes: usize) -> DuplexStream {
    let (near, mut far) = tokio::io::duplex(pipe_bytes);
    tokio::spawn(async move {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let identity = Identity::Plain(PolicyName::parse("open").unwrap());
        let peer = Peer { source, source_port: 1, target: None, identity };
        let greeted = greet(broker.shared(), peer, near).await;
        let Ok(connection) = greeted else { panic!("not let in") };
        connection.run().await;
    });
    far.write_all(connect).await.unwrap();
    far
}

/// The client's end of a connection that has said CONNECT and heard CONNACK.
async fn connected(pipe_bytes: usize) -> DuplexStream {
    let (broker, mut observed) = broker();
    tokio::spawn(async move { while observed.recv().await.is_some() {} });
    let connect = b"\x10\x0d\0\x04MQTT\x04\x02\x02\x58\0\x01a";
    let mut far = connecting(broker, connect, pipe_bytes).await;
    let mut connack = [0; 4];
    far.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    far
}

/// A client that floods with requests and never reads is held up, not served from memory; once it
/// reads, it gets every answer.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_read() {
    let mut far = connected(4096).await;
    let pings = [0xC0, 0].repeat(1 << 20);
    let mut n_written = 0;
    let flood = async {
        while n_written < pings.len() {
            n_written += far.write(&pings[n_written..]).await.unwrap();
        }
    };
    let stalled = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(stalled.is_err());
    assert!(n_written < 2 * OUTPUT_HIGH_BYTES, "{n_written} bytes were taken in");

    let (mut reads, mut writes) = tokio::io::split(far);
    let writer = async { writes.write_all(&pings[n_written..]).await.unwrap() };
    let mut answers = vec![0; pings.len()];
    let reader = async { reads.read_exact(&mut answers).await.unwrap() };
    tokio::join!(writer, reader);
    assert!(answers.chunks(2).all(|answer| answer == [0xD0, 0]));
}
