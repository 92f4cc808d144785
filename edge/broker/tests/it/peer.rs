//! A client that does exactly as it is told, right or wrong.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use picket_mqtt::codec;
use picket_mqtt::packet::{
    Ack, ConnAck, Connect, ConnectProperties, Disconnect, MessageProperties, Packet, PacketId,
    Publish, Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};
use picket_mqtt::{QoS, ReasonCode, Text};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::testbed::{Device, Testbed, soon};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection of a client.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    input: BytesMut,
    pub(crate) version: Version,
}

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// A CONNECT with nothing special.
pub(crate) fn connect(client: &str, version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: text(client),
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

/// A PUBLISH with nothing special.
pub(crate) fn publish(topic: &str, payload: &str, qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: text(topic),
        packet_id: (qos > QoS::AtMostOnce).then(|| id(77)),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        topic_alias: None,
        subscription_ids: Vec::new(),
        properties: MessageProperties::default(),
    }
}

/// A will on a topic.
pub(crate) fn will(topic: &str, payload: &str) -> Will {
    Will {
        topic: text(topic),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_s: None,
        properties: MessageProperties::default(),
    }
}

/// TLS as a device speaks it, with or without a certificate.
pub(crate) fn client_config(bed: &Testbed, device: Option<&Device>) -> ClientConfig {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(bed.authority_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match device {
        None => config.with_no_client_auth(),
        Some(device) => config
            .with_client_auth_cert(vec![device.certificate.clone()], device.key.clone_key())
            .unwrap(),
    }
}

/// A TLS connection to a listener, of a client that names these protocols.
pub(crate) async fn tls_stream(
    bed: &Testbed,
    device: Option<&Device>,
    address: SocketAddr,
    protocols: &[&str],
) -> TlsStream<TcpStream> {
    let mut config = client_config(bed, device);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

impl Peer {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn tls(bed: &Testbed, device: Option<&Device>) -> Self {
        Self::over(tls_stream(bed, device, bed.tls, &[]).await)
    }

    /// One that speaks MQTT over any stream.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), input: BytesMut::new(), version: Version::V5 }
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        codec::encode(&packet, self.version, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// Sends packets in one go, so that the server reads them at once.
    pub(crate) async fn send_all(&mut self, packets: impl Iterator<Item = Packet>) {
        let mut bytes = BytesMut::new();
        packets.for_each(|packet| codec::encode(&packet, self.version, &mut bytes));
        self.send_bytes(&bytes).await;
    }

    /// The next packet; `None` once the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(frame) = codec::frame(&self.input, 1 << 20).unwrap() {
                let packet = codec::decode(&frame, self.version).unwrap();
                let len = frame.len;
                self.input.advance(len);
                return Some(packet);
            }
            let read = soon("a packet or the end", self.stream.read_buf(&mut self.input)).await;
            // A reset is an end too: the peer sent what the server no longer reads.
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next byte, whatever it means; `None` once the server has closed.
    pub(crate) async fn next_byte(&mut self) -> Option<u8> {
        soon("a byte or the end", self.stream.read_u8()).await.ok()
    }

    pub(crate) async fn expect(&mut self) -> Packet {
        self.next().await.expect("the server closed instead of answering")
    }

    /// Connects and gives the CONNACK.
    pub(crate) async fn connect(&mut self, connect: Connect) -> ConnAck {
        self.version = connect.version;
        self.send(Packet::Connect(Box::new(connect))).await;
        match self.expect().await {
            Packet::ConnAck(connack) => *connack,
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Connects as MQTT 5 and must be let in.
    pub(crate) async fn connect_v5(
        &mut self,
        client: &str,
        adjust: impl FnOnce(&mut Connect),
    ) -> ConnAck {
        let mut wanted = connect(client, Version::V5);
        adjust(&mut wanted);
        let connack = self.connect(wanted).await;
        assert_eq!(connack.code, ReasonCode::SUCCESS, "{client} is let in");
        connack
    }

    /// Subscribes to one filter and gives the code of the answer.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        self.subscribe_with(filter, options, None).await
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filter: &str,
        options: SubscribeOptions,
        subscription_id: Option<u32>,
    ) -> ReasonCode {
        let subscribe = Subscribe {
            packet_id: id(9),
            filters: vec![(text(filter), options)],
            subscription_id: subscription_id.and_then(|id| id.try_into().ok()),
            user: Vec::new(),
        };
        self.send(Packet::Subscribe(Box::new(subscribe))).await;
        match self.expect().await {
            Packet::SubAck(codes) => codes.codes[0],
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// Unsubscribes and gives the codes of the answer.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Vec<ReasonCode> {
        let filters = vec![text(filter)];
        let unsubscribe = Unsubscribe { packet_id: id(10), filters, user: Vec::new() };
        self.send(Packet::Unsubscribe(Box::new(unsubscribe))).await;
        match self.expect().await {
            Packet::UnsubAck(codes) => codes.codes,
            other => panic!("{other:?} instead of UNSUBACK"),
        }
    }

    /// Publishes at QoS 1 and gives the reason code of the answer.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> ReasonCode {
        self.publish_with(publish(topic, payload, QoS::AtLeastOnce)).await
    }

    /// Publishes at QoS 1 and lets it be retained.
    pub(crate) async fn retain(&mut self, topic: &str, payload: &str) -> ReasonCode {
        let publish = publish(topic, payload, QoS::AtLeastOnce);
        self.publish_with(Publish { retain: true, ..publish }).await
    }

    pub(crate) async fn publish_with(&mut self, publish: Publish) -> ReasonCode {
        self.send(Packet::Publish(Box::new(publish))).await;
        match self.expect().await {
            Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason,
            other => panic!("{other:?} instead of PUBACK"),
        }
    }

    /// The next message, acknowledged as far as PUBACK or PUBREC.
    pub(crate) async fn message(&mut self) -> Publish {
        let Packet::Publish(publish) = self.expect().await else { panic!("no message") };
        if let Some(packet_id) = publish.packet_id {
            let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
            self.send(match publish.qos {
                QoS::ExactlyOnce => Packet::PubRec(ack),
                _ => Packet::PubAck(ack),
            })
            .await;
        }
        *publish
    }

    /// The next message's topic and payload.
    pub(crate) async fn received(&mut self) -> String {
        let message = self.message().await;
        format!("{} {}", &*message.topic, String::from_utf8_lossy(&message.payload))
    }

    /// A round trip: what the server had for the client before is here, and there was nothing.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(Packet::PingReq).await;
        assert_eq!(self.expect().await, Packet::PingResp);
    }

    /// Nothing comes, for a moment that is long beside a round trip.
    pub(crate) async fn expect_silence(&mut self) {
        let read = self.stream.read_buf(&mut self.input);
        let heard = tokio::time::timeout(std::time::Duration::from_millis(50), read).await;
        assert!(heard.is_err() && self.input.is_empty(), "the server says something");
    }

    /// Waits for the server's DISCONNECT and its close; the code of the former.
    pub(crate) async fn closed(&mut self) -> Option<ReasonCode> {
        let mut code = None;
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect(disconnect) = packet {
                code = Some(disconnect.reason);
            }
        }
        code
    }

    pub(crate) async fn disconnect(mut self, reason: ReasonCode) {
        self.send(Packet::Disconnect(Disconnect { reason, ..Disconnect::default() })).await;
        self.closed().await;
    }
}
