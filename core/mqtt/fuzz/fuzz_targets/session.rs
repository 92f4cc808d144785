//! A whole session under whatever a client sends, and whatever happens to it meanwhile.
//!
//! The input is a script: bytes from the client, messages for it, time that passes, connections that
//! are lost and made again on other terms. A naive account of what is open on the wire is kept beside
//! the session. The laws: nothing panics; what the session sends is a packet of the version; no
//! packet id is given out while it is open, and no more are open than the client takes; a topic alias
//! is set up before it stands alone; a QoS 2 publish is fresh once until it is released; no more
//! publishes keep the pace than the time since the connection began has room for.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use picket_model::Timestamp;
use picket_model::limits::MqttLimits;
use picket_mqtt::codec::{self, PacketType, PublishRef};
use picket_mqtt::packet::{Connect, ConnectProperties};
use picket_mqtt::session::{
    AfterDecision, Arrival, End, Output, Pace, Request, Sent, Session, SessionState, Terms,
    UNRELEASED_MAX_V311,
};
use picket_mqtt::{
    Delivery, Message, Packet, ProtocolError, QoS, ReasonCode, Text, TopicLimits, TopicName,
    Version,
};

const PACKET_BYTES_MAX: usize = 1024;
const TOPICS: [&str; 4] = ["a", "a/b", "c", "a/long/way/to/go"];
const LIMITS: TopicLimits = TopicLimits { bytes_max: 64, levels_max: 8 };

/// The script, read from the front.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// How far an exchange towards the client is, as the wire tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    AtLeastOnce,
    Published,
    Released,
}

struct World {
    session: Session,
    now: Timestamp,
    /// Towards the client, on this connection.
    open: BTreeMap<u16, Open>,
    /// Those of them whose PUBLISH was sent on this connection: they use up the client's quota.
    counted: BTreeSet<u16>,
    aliases: BTreeMap<u16, String>,
    /// QoS 2 publishes of the client's that were taken and not released.
    unreleased: BTreeSet<u16>,
    /// How many of them were taken on this connection, released ones included.
    taken: usize,
    /// When this connection began, and how many publishes kept its pace.
    began_at: Timestamp,
    in_pace: i64,
    buffer: Vec<u8>,
}

/// Terms as a CONNECT asks for them, in two bytes of the script.
fn terms(script: &mut Script<'_>) -> Terms {
    let (flags, max) = (script.byte().unwrap_or(0), script.byte().unwrap_or(0));
    let version = if flags & 1 == 0 { Version::V311 } else { Version::V5 };
    let mut properties = ConnectProperties::default();
    if version == Version::V5 {
        properties = ConnectProperties {
            // Kept long enough to be taken up again, or not kept.
            session_expiry_s: (flags & 2 == 0).then_some(1_000),
            receive_max: NonZeroU16::new(u16::from(max % 5)),
            topic_alias_max: (flags & 4 != 0).then_some(u16::from(max % 3)),
            packet_bytes_max: (flags & 8 != 0).then_some(NonZeroU32::new(24)).flatten(),
            ..properties
        };
    }
    let connect = Connect {
        version,
        clean_start: flags & 16 != 0,
        keep_alive_s: u16::from(max),
        client_id: Text::default(),
        username: None,
        password: None,
        will: None,
        properties,
    };
    let limits = MqttLimits {
        inflight_max: 4,
        topic_aliases_max: 2,
        exactly_once: flags & 32 == 0,
        publishes_per_s_max: if flags & 64 == 0 { 0 } else { 3 },
        ..MqttLimits::default()
    };
    Terms::settle(&connect, &limits).0
}

impl World {
    fn begin(script: &mut Script<'_>) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let (session, _) =
            Session::resume(SessionState::default(), terms(script), None, now, |_| true);
        Self {
            session,
            now,
            open: BTreeMap::new(),
            counted: BTreeSet::new(),
            aliases: BTreeMap::new(),
            unreleased: BTreeSet::new(),
            taken: 0,
            began_at: now,
            in_pace: 0,
            buffer: Vec::new(),
        }
    }

    /// The connection is over; the next one begins, with the state if it is kept.
    fn reconnect(self, how: End, script: &mut Script<'_>) -> Self {
        let Self { session, now, mut unreleased, .. } = self;
        let state = match session.end(how, now).kept {
            Some(kept) => {
                assert!(kept.until > now);
                kept.state
            }
            None => {
                unreleased.clear();
                SessionState::default()
            }
        };
        let denied = script.byte().unwrap_or(0);
        let may_receive =
            |topic: &TopicName| denied >= 4 || topic.as_str() != TOPICS[usize::from(denied)];
        let (session, _) = Session::resume(state, terms(script), None, now, may_receive);
        let mut world = Self {
            session,
            now,
            open: BTreeMap::new(),
            counted: BTreeSet::new(),
            aliases: BTreeMap::new(),
            unreleased,
            taken: 0,
            began_at: now,
            in_pace: 0,
            buffer: Vec::new(),
        };
        let mut out = Vec::new();
        world.session.resend(now, &mut out);
        world.see(out);
        world
    }

    /// Looks at everything that goes to the client.
    fn see(&mut self, out: Vec<Output>) {
        let version = self.session.version();
        for output in out {
            let mut bytes = BytesMut::new();
            output.encode(version, &mut bytes);
            let frame = codec::frame(&bytes, usize::MAX).expect("a packet").expect("a whole one");
            assert_eq!(frame.len, bytes.len());
            let packet = codec::decode(&frame, version).expect("a packet of the version");
            match packet {
                Packet::Publish(publish) => {
                    assert!(bytes.len() as u64 <= u64::from(self.session.terms().send_bytes_max));
                    if let Some(alias) = publish.topic_alias {
                        assert!(alias >= 1 && alias <= self.session.terms().send_aliases_max);
                        if publish.topic.is_empty() {
                            assert!(self.aliases.contains_key(&alias));
                        } else {
                            self.aliases.insert(alias, publish.topic.to_string());
                        }
                    } else {
                        assert!(!publish.topic.is_empty());
                    }
                    if let Some(id) = publish.packet_id {
                        let open = match publish.qos {
                            QoS::AtLeastOnce => Open::AtLeastOnce,
                            _ => Open::Published,
                        };
                        assert_eq!(self.open.insert(id.get(), open), None, "id {id} is open");
                        self.counted.insert(id.get());
                    }
                }
                Packet::PubRel(ack) => {
                    // It answers a PUBREC, or a release is sent again. That it answers a PUBREC of
                    // nothing does not show on the wire in MQTT 3.1.1.
                    let is_error = matches!(&output, Output::Packet(Packet::PubRel(ack)) if ack.reason.is_error());
                    if !is_error {
                        self.open.insert(ack.packet_id.get(), Open::Released);
                    }
                }
                Packet::PubAck(_)
                | Packet::PubRec(_)
                | Packet::PubComp(_)
                | Packet::PingResp
                | Packet::SubAck(_)
                | Packet::UnsubAck(_) => {}
                other => panic!("the session does not send {other:?}"),
            }
        }
        assert!(self.counted.len() <= usize::from(self.session.terms().send_max));
        assert!(self.unreleased.len() <= usize::from(UNRELEASED_MAX_V311));
    }

    /// Notes what an acknowledgement ends, before the session does.
    fn acknowledged(&mut self, packet: &Packet) {
        let (id, ends): (u16, fn(Open) -> bool) = match packet {
            Packet::PubAck(ack) => (ack.packet_id.get(), |open| open == Open::AtLeastOnce),
            Packet::PubRec(ack) if ack.reason.is_error() => {
                (ack.packet_id.get(), |open| open == Open::Published)
            }
            Packet::PubComp(ack) => (ack.packet_id.get(), |open| open == Open::Released),
            Packet::PubRel(ack) => {
                self.unreleased.remove(&ack.packet_id.get());
                return;
            }
            _ => return,
        };
        if self.open.get(&id).is_some_and(|open| ends(*open)) {
            self.open.remove(&id);
            self.counted.remove(&id);
        }
    }

    /// Takes in what the client sent, as the edge does; `Some` where the connection ends.
    fn take_in(&mut self, decides: u8) -> Option<End> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        let end = loop {
            match codec::frame(rest, PACKET_BYTES_MAX) {
                Err(_) => break Some(End::Abnormal),
                Ok(None) => break None,
                Ok(Some(frame)) => {
                    rest = &rest[frame.len..];
                    let end = match frame.packet_type {
                        PacketType::Publish => self.publish(&frame, decides),
                        _ => self.packet(&frame),
                    };
                    if end.is_some() {
                        break end;
                    }
                }
            }
        };
        self.buffer = rest.to_vec();
        end
    }

    fn publish(&mut self, frame: &codec::Frame<'_>, decides: u8) -> Option<End> {
        let Ok(publish) = PublishRef::decode(frame, self.session.version()) else {
            return Some(End::Abnormal);
        };
        let mut out = Vec::new();
        let id = publish.packet_id.map(NonZeroU16::get);
        let is_second =
            publish.qos == QoS::ExactlyOnce && id.is_some_and(|id| self.unreleased.contains(&id));
        let end = match self.session.publish_arrived(&publish, self.now, &mut out) {
            Err(ProtocolError::ReceiveMaximum { max }) => {
                assert!(self.taken >= usize::from(max), "the client is within its quota");
                Some(End::Abnormal)
            }
            Err(_) => Some(End::Abnormal),
            Ok(Arrival::Again) => {
                assert!(is_second, "nothing came again that was not there");
                None
            }
            Ok(Arrival::Fresh(undecided)) => {
                assert!(!is_second, "a QoS 2 publish is fresh once");
                let alias = publish.properties.as_ref().and_then(|given| given.topic_alias);
                let known = match (alias, publish.topic()) {
                    (_, Err(_)) => return Some(End::Abnormal),
                    (Some(alias), Ok("")) => self.session.aliased(alias).is_ok(),
                    (alias, Ok(text)) => match TopicName::parse(text, &LIMITS) {
                        Ok(name) => {
                            alias.is_none_or(|alias| self.session.set_alias(alias, &name).is_ok())
                        }
                        Err(_) => false,
                    },
                };
                let is_denied = !known || decides & 1 != 0;
                let reason = match undecided.pace() {
                    _ if is_denied => ReasonCode::NOT_AUTHORIZED,
                    Pace::Exceeded => ReasonCode::QUOTA_EXCEEDED,
                    Pace::Kept => ReasonCode::SUCCESS,
                };
                self.see_pace(undecided.pace());
                let refused = reason.is_error();
                let qos = publish.qos;
                match self.session.publish_decided(undecided, reason, &mut out) {
                    AfterDecision::Close(code) => {
                        assert!(refused && code == reason);
                        assert!(is_denied || qos > QoS::AtMostOnce, "it may be lost");
                        Some(End::Abnormal)
                    }
                    AfterDecision::GoOn => {
                        if qos == QoS::ExactlyOnce && !refused {
                            self.unreleased.extend(id);
                            self.taken += 1;
                        }
                        None
                    }
                }
            }
        };
        self.see(out);
        end
    }

    fn see_pace(&mut self, pace: Pace) {
        let Some(per_s_max) = self.session.terms().publishes_per_s_max else {
            assert_eq!(pace, Pace::Kept);
            return;
        };
        self.in_pace += i64::from(pace == Pace::Kept);
        let room = i64::from(per_s_max.get()) * (1000 + self.now.millis_since(self.began_at));
        assert!(self.in_pace * 1000 <= room);
    }

    fn packet(&mut self, frame: &codec::Frame<'_>) -> Option<End> {
        let Ok(packet) = codec::decode(frame, self.session.version()) else {
            return Some(End::Abnormal);
        };
        self.acknowledged(&packet);
        let mut out = Vec::new();
        let end = match self.session.packet_arrived(packet, self.now, &mut out) {
            Err(_) => Some(End::Abnormal),
            Ok(Request::Nothing) => None,
            Ok(Request::Subscribe(it)) => {
                let codes = vec![ReasonCode::QUOTA_EXCEEDED; it.filters.len()];
                self.session.subscribed(it.packet_id, codes, &mut out);
                None
            }
            Ok(Request::Unsubscribe(it)) => {
                let codes = vec![ReasonCode::SUCCESS; it.filters.len()];
                self.session.unsubscribed(it.packet_id, codes, &mut out);
                None
            }
            Ok(Request::Goodbye(disconnect)) => Some(End::Goodbye(disconnect)),
        };
        self.see(out);
        end
    }

    fn deliver(&mut self, what: u8, bytes: u8) {
        let limits = TopicLimits { bytes_max: 64, levels_max: 8 };
        let topic = TOPICS[usize::from(what >> 2) % TOPICS.len()];
        let qos = QoS::from_u8(what & 3).unwrap_or_default().min(self.session.terms().qos_max);
        let message = Message {
            topic: TopicName::parse(topic, &limits).expect("a topic"),
            payload: Bytes::from(vec![b'x'; usize::from(bytes)]),
            qos,
            properties: None,
            expires_at: (what & 0x40 != 0).then_some(self.now + i64::from(bytes)),
        };
        let delivery = Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            subscription_ids: None,
            shared: None,
            number: None,
        };
        let room = self.session.room();
        let mut out = Vec::new();
        match self.session.send(delivery, self.now, &mut out) {
            Sent::Yes => assert_eq!(out.len(), 1),
            Sent::NoRoom => assert!(room == 0 && qos > QoS::AtMostOnce && out.is_empty()),
            Sent::Expired | Sent::TooLarge => assert!(out.is_empty()),
        }
        self.see(out);
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut world = World::begin(&mut script);
    while let Some(step) = script.byte() {
        let end = match step % 8 {
            // Bytes of the client, whole packets or not.
            0..=3 => {
                let n = script.byte().unwrap_or(0);
                let bytes = script.take(usize::from(n));
                world.buffer.extend_from_slice(bytes);
                world.take_in(step >> 3)
            }
            4 | 5 => {
                let (what, bytes) = (script.byte().unwrap_or(0), script.byte().unwrap_or(0));
                world.deliver(what, bytes);
                None
            }
            6 => {
                let ms = i64::from(script.byte().unwrap_or(0)) * 500;
                world.now = world.now + ms;
                world.session.tick(world.now).is_err().then_some(End::Abnormal)
            }
            _ => Some(if step >> 3 == 0 { End::Denied } else { End::Abnormal }),
        };
        if let Some(how) = end {
            world = world.reconnect(how, &mut script);
        }
    }
});
