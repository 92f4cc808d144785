//! The session against a client that loses its connection, written as plainly as can be: QoS 1 comes
//! at least once, QoS 2 exactly once, and each in its order, both ways and in both versions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::queue::DeliveryQueue;

/// Packet ids of the client: few, so that each is used again and again.
const CLIENT_IDS: u16 = 6;

/// Packet ids that nobody uses: acknowledgements of them come out of turn.
const STRAY_IDS: std::ops::Range<u16> = 40_000..40_010;

const TOPICS: [&str; 3] = ["a", "a/b", "c"];

/// What can happen between a session and its client.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The broker has a message for the client, on one of the topics.
    Deliver(QoS, usize),
    /// The client wants to publish; whether policies allow it.
    Publish(QoS, bool),
    /// The client acknowledges, in one of four ways, what was never sent.
    Stray(u8, u16),
    /// The client asks whether the server is there.
    Ping,
    /// The client reads one packet.
    ClientReads,
    /// The session reads one packet.
    ServerReads,
    /// The connection is lost with all that is on its way, and made again.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || (0u8..3).prop_map(|qos| QoS::from_u8(qos).unwrap());
    prop_oneof![
        6 => (qos(), 0..TOPICS.len()).prop_map(|(qos, topic)| Step::Deliver(qos, topic)),
        6 => (qos(), prop::bool::weighted(0.8)).prop_map(|(qos, allowed)| Step::Publish(qos, allowed)),
        1 => (0u8..4, STRAY_IDS).prop_map(|(kind, id)| Step::Stray(kind, id)),
        1 => Just(Step::Ping),
        15 => Just(Step::ClientReads),
        15 => Just(Step::ServerReads),
        2 => Just(Step::Reconnect),
    ]
}

/// What the client has sent and the session has not read.
#[derive(Clone, Debug)]
enum ToServer {
    Publish { number: usize, qos: QoS, id: u16 },
    Packet(Packet),
}

/// A publish of the client's that is not acknowledged.
#[derive(Clone, Debug)]
struct Open {
    id: u16,
    number: usize,
    qos: QoS,
    /// Whether PUBREC came.
    is_recorded: bool,
}

/// A client and a session with two wires between them.
struct World {
    session: Option<Session>,
    terms: Terms,
    waiting: DeliveryQueue,
    to_client: VecDeque<Output>,
    to_server: VecDeque<ToServer>,
    /// Numbers that the client received, in order, with their QoS.
    received: Vec<(usize, QoS)>,
    client_unreleased: BTreeSet<PacketId>,
    /// What the server told the client of its aliases, on this connection.
    client_aliases: BTreeMap<u16, String>,
    /// The client's own publishes, in the order of sending.
    client_open: Vec<Open>,
    /// Numbers that the broker routed, with their QoS.
    routed: Vec<(usize, QoS)>,
    /// Of what the client published: the QoS, whether it was sent, whether it is allowed.
    published: Vec<(QoS, bool, bool)>,
    /// Of what the broker had for the client.
    delivered: Vec<QoS>,
}

impl World {
    fn new(version: Version, send_max: u16) -> Self {
        let terms = Terms {
            send_max,
            // What MQTT 3.1.1 has no packets for.
            send_aliases_max: if version == Version::V5 { 2 } else { 0 },
            receive_max: CLIENT_IDS,
            session_expiry_s: 100,
            ..terms(version)
        };
        Self {
            session: Some(session(terms)),
            terms,
            waiting: DeliveryQueue::new(usize::MAX, usize::MAX),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            received: Vec::new(),
            client_unreleased: BTreeSet::new(),
            client_aliases: BTreeMap::new(),
            client_open: Vec::new(),
            routed: Vec::new(),
            published: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(qos, on) => {
                let mut delivery = message(self.delivered.len(), qos);
                Arc::make_mut(&mut delivery.message).topic = topic(TOPICS[on]);
                self.waiting.push(delivery).unwrap();
                self.delivered.push(qos);
            }
            Step::Publish(qos, allowed) => self.publish(qos, allowed),
            Step::Stray(kind, id) => {
                let ack = Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS);
                self.to_server.push_back(ToServer::Packet(match kind {
                    0 => Packet::PubAck(ack),
                    1 => Packet::PubRec(ack),
                    2 => Packet::PubRel(ack),
                    _ => Packet::PubComp(ack),
                }));
            }
            Step::Ping => self.to_server.push_back(ToServer::Packet(Packet::PingReq)),
            Step::ClientReads => self.client_reads(),
            Step::ServerReads => self.server_reads(),
            Step::Reconnect => self.reconnect(),
        }
        self.pump();
        let (send_max, receive_max) = (self.terms.send_max, self.terms.receive_max);
        let state = &self.session().state;
        // mqtt-5 [MQTT-3.3.4-9] [MQTT-4.9.0-2]
        assert!(state.in_flight() <= usize::from(send_max));
        assert!(state.unreleased.len() <= usize::from(receive_max));
    }

    fn publish(&mut self, qos: QoS, allowed: bool) {
        let number = self.published.len();
        // A denial that no packet can tell closes the connection; that is a test of its own.
        let allowed = allowed || qos == QoS::AtMostOnce || self.terms.version == Version::V311;
        let is_free = |id: &u16| self.client_open.iter().all(|open| open.id != *id);
        let id = match qos {
            QoS::AtMostOnce => Some(0),
            _ => (1..=CLIENT_IDS).find(is_free),
        };
        self.published.push((qos, id.is_some(), allowed));
        let Some(id) = id else { return };
        if qos > QoS::AtMostOnce {
            self.client_open.push(Open { id, number, qos, is_recorded: false });
        }
        self.to_server.push_back(ToServer::Publish { number, qos, id });
    }

    fn pump(&mut self) {
        let mut batch = Vec::new();
        let room = self.session().room();
        self.waiting.take(&mut batch, room, usize::MAX);
        let mut out = Vec::new();
        for delivery in batch {
            assert_eq!(self.session().send(delivery, START, &mut out), Sent::Yes);
        }
        self.to_client.extend(out);
    }

    /// The topic as the client understands it.
    fn topic_of(&mut self, publish: &Outgoing) -> String {
        let parts = publish.parts();
        match parts.topic_alias {
            None => parts.topic.to_owned(),
            Some(alias) if parts.topic.is_empty() => self.client_aliases[&alias].clone(),
            Some(alias) => {
                // mqtt-5 [MQTT-3.1.2-26]
                assert!((1..=self.terms.send_aliases_max).contains(&alias));
                self.client_aliases.insert(alias, parts.topic.to_owned());
                parts.topic.to_owned()
            }
        }
    }

    fn client_reads(&mut self) {
        let answer = match self.to_client.pop_front() {
            None => return,
            Some(Output::Publish(publish)) => {
                assert_eq!(self.topic_of(&publish), publish.delivery.message.topic.as_str());
                let payload = std::str::from_utf8(&publish.delivery.message.payload).unwrap();
                let number = payload.parse().unwrap();
                let qos = publish.delivery.qos;
                match (qos, publish.packet_id) {
                    (QoS::ExactlyOnce, Some(id)) => {
                        if self.client_unreleased.insert(id) {
                            self.received.push((number, qos));
                        }
                        Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS))
                    }
                    (_, id) => {
                        self.received.push((number, qos));
                        let Some(id) = id else { return };
                        Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS))
                    }
                }
            }
            Some(Output::Packet(Packet::PubRel(ack))) => {
                self.client_unreleased.remove(&ack.packet_id);
                Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::SUCCESS))
            }
            Some(Output::Packet(Packet::PubAck(ack) | Packet::PubComp(ack))) => {
                self.client_open.retain(|open| open.id != ack.packet_id.get());
                return;
            }
            Some(Output::Packet(Packet::PubRec(ack))) => {
                let id = ack.packet_id.get();
                if ack.reason.is_error() {
                    self.client_open.retain(|open| open.id != id);
                    return;
                }
                if let Some(open) = self.client_open.iter_mut().find(|open| open.id == id) {
                    open.is_recorded = true;
                }
                Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::SUCCESS))
            }
            Some(Output::Packet(Packet::PingResp)) => return,
            Some(other) => panic!("{other:?}"),
        };
        self.to_server.push_back(ToServer::Packet(answer));
    }

    fn server_reads(&mut self) {
        let mut out = Vec::new();
        match self.to_server.pop_front() {
            None => return,
            Some(ToServer::Packet(packet)) => {
                let request = self.session().packet_arrived(packet, START, &mut out).unwrap();
                assert_eq!(request, Request::Nothing);
            }
            Some(ToServer::Publish { number, qos, id }) => {
                let payload = number.to_string();
                let publish = publish(qos, id, payload.as_bytes());
                match self.session().publish_arrived(&publish, START, &mut out).unwrap() {
                    Arrival::Again => {}
                    Arrival::Fresh(undecided) => {
                        let (_, _, allowed) = self.published[number];
                        let reason = if allowed {
                            self.routed.push((number, qos));
                            ReasonCode::SUCCESS
                        } else {
                            ReasonCode::NOT_AUTHORIZED
                        };
                        let after = self.session().publish_decided(undecided, reason, &mut out);
                        assert_eq!(after, AfterDecision::GoOn);
                    }
                }
            }
        }
        self.to_client.extend(out);
    }

    fn reconnect(&mut self) {
        self.to_client.clear();
        self.to_server.clear();
        // mqtt-5 [MQTT-3.3.2-7]
        self.client_aliases.clear();
        let ending = self.session.take().unwrap().end(End::Abnormal, START);
        let state = ending.kept.unwrap().state;
        let (mut session, dropped) = Session::resume(state, self.terms, None, START, |_| true);
        assert_eq!(dropped, []);
        let mut out = Vec::new();
        session.resend(START, &mut out);
        self.to_client.extend(out);
        self.session = Some(session);
        for Open { id, number, qos, is_recorded } in self.client_open.clone() {
            let release = || Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS);
            self.to_server.push_back(match is_recorded {
                true => ToServer::Packet(Packet::PubRel(release())),
                false => ToServer::Publish { number, qos, id },
            });
        }
    }

    fn settle(&mut self) {
        while !(self.to_client.is_empty() && self.to_server.is_empty()) {
            self.step(Step::ClientReads);
            self.step(Step::ServerReads);
        }
    }
}

fn of(all: &[(usize, QoS)], wanted: impl Fn(QoS) -> bool) -> Vec<usize> {
    all.iter().filter(|(_, qos)| wanted(*qos)).map(|(number, _)| *number).collect()
}

fn first_of_each(numbers: Vec<usize>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    numbers.into_iter().filter(|&number| seen.insert(number)).collect()
}

/// The numbers at a QoS that were promised to arrive.
fn promised(all: impl Iterator<Item = (usize, QoS)>, qos: QoS) -> Vec<usize> {
    all.filter(|(_, it)| *it == qos).map(|(number, _)| number).collect()
}

/// What arrived of what was promised, in either direction.
fn check(arrived: &[(usize, QoS)], promised_1: &[usize], promised_2: &[usize]) {
    // mqtt-3.1.1 [MQTT-4.3.3-1] [MQTT-4.3.3-2], mqtt-5 [MQTT-4.3.3-10] [MQTT-4.3.3-12]
    assert_eq!(of(arrived, |qos| qos == QoS::ExactlyOnce), promised_2, "QoS 2: once, in order");
    // mqtt-3.1.1 [MQTT-4.3.2-1] [MQTT-4.3.2-2], mqtt-5 [MQTT-4.3.2-4] [MQTT-4.3.2-5]
    let at_1 = first_of_each(of(arrived, |qos| qos == QoS::AtLeastOnce));
    assert_eq!(at_1, promised_1, "QoS 1: at least once, first in order");
    // mqtt-3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6], mqtt-5 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    let above_0 = first_of_each(of(arrived, |qos| qos > QoS::AtMostOnce));
    assert!(above_0.is_sorted(), "both together in order: {above_0:?}");
    // mqtt-3.1.1 [MQTT-4.3.1-1], mqtt-5 [MQTT-4.3.1-1]
    let at_0 = of(arrived, |qos| qos == QoS::AtMostOnce);
    assert!(at_0.is_sorted_by(|a, b| a < b), "QoS 0: at most once, in order: {at_0:?}");
}

proptest! {
    #[test]
    fn qos_keeps_its_promise_over_lost_connections(
        steps in vec(step(), 1..300),
        send_max in 1u16..6,
        is_v5 in any::<bool>(),
    ) {
        let mut world = World::new(if is_v5 { Version::V5 } else { Version::V311 }, send_max);
        steps.iter().for_each(|&step| world.step(step));
        // Whatever was lost last is made good by one more connection.
        world.step(Step::Reconnect);
        world.settle();

        prop_assert!(world.waiting.is_empty());
        prop_assert_eq!(world.session().state.in_flight(), 0);
        prop_assert_eq!(world.session().unacknowledged_bytes(), 0);
        prop_assert!(world.session().state.unreleased.is_empty());
        prop_assert!(world.client_open.is_empty());

        let delivered = || world.delivered.iter().copied().enumerate();
        let [to_client_1, to_client_2] =
            [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| promised(delivered(), qos));
        check(&world.received, &to_client_1, &to_client_2);

        let all = || world.published.iter().enumerate();
        let sent = || all().filter(|(_, (_, sent, allowed))| *sent && *allowed);
        let kinds = || sent().map(|(number, (qos, ..))| (number, *qos));
        let [to_server_1, to_server_2] =
            [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| promised(kinds(), qos));
        check(&world.routed, &to_server_1, &to_server_2);
    }
}
