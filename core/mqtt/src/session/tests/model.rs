//! The session against a client that loses its connection and a server that is killed, written as
//! plainly as can be: QoS 1 comes at least once, QoS 2 exactly once, and each in its order, both ways
//! and in both versions.
//!
//! What a durable session is to remember is appended to a log, of which the disk has some beginning.
//! A server that is killed goes on from that beginning.

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
    /// The disk has so many entries of the log more, if there are.
    Sync(usize),
    /// The server is killed and comes back with what the disk has; the client connects again.
    Kill,
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
        8 => (1..12usize).prop_map(Step::Sync),
        2 => Just(Step::Kill),
    ]
}

/// What a server must not forget.
#[derive(Clone, Debug)]
enum Entry {
    /// A message waits for the client.
    Queued(Delivery),
    /// A publish of the client's is where it belongs: its number, and its QoS.
    Routed(usize, QoS),
    /// The session's own.
    Record(Record),
}

/// What a log says, read from its beginning.
#[derive(Default)]
struct Memory {
    waiting: BTreeMap<DeliveryNumber, Delivery>,
    in_flight: BTreeMap<DeliveryNumber, Remembered>,
    unreleased: BTreeSet<PacketId>,
}

impl Memory {
    fn of(log: &[Entry]) -> Self {
        let mut memory = Self::default();
        for entry in log {
            match entry.clone() {
                Entry::Routed(..) => {}
                Entry::Queued(delivery) => {
                    memory.waiting.insert(delivery.number.unwrap(), delivery);
                }
                Entry::Record(record) => memory.note(record),
            }
        }
        memory
    }

    fn note(&mut self, record: Record) {
        match record {
            Record::Taken(id) => assert!(self.unreleased.insert(id)),
            Record::Freed(id) => assert!(self.unreleased.remove(&id)),
            Record::Sent { number, packet_id, qos } => {
                let delivery = self.waiting.remove(&number).unwrap();
                assert_eq!(delivery.qos, qos);
                self.in_flight.insert(number, Remembered::Sent(packet_id, delivery));
            }
            Record::Released(number) => {
                let remembered = self.in_flight.get_mut(&number).unwrap();
                let Remembered::Sent(packet_id, _) = *remembered else { panic!("released twice") };
                *remembered = Remembered::Released(packet_id, number);
            }
            Record::Over(number) => assert!(self.in_flight.remove(&number).is_some()),
        }
    }
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
    /// What is to be remembered, in order; of it the disk has the first `n_synced`.
    log: Vec<Entry>,
    n_synced: usize,
    /// What is sent from now on waits until the disk has so many.
    awaited: usize,
    /// What is to be sent, with how many entries it waits for.
    withheld: VecDeque<(usize, Output)>,
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
    /// Those of them that the server forgot when it was killed: nobody was promised them yet.
    forgotten: BTreeSet<usize>,
}

impl World {
    fn new(version: Version, send_max: u16, is_durable: bool) -> Self {
        let terms = Terms {
            send_max,
            is_durable,
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
            log: Vec::new(),
            n_synced: 0,
            awaited: 0,
            withheld: VecDeque::new(),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            received: Vec::new(),
            client_unreleased: BTreeSet::new(),
            client_aliases: BTreeMap::new(),
            client_open: Vec::new(),
            routed: Vec::new(),
            published: Vec::new(),
            delivered: Vec::new(),
            forgotten: BTreeSet::new(),
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
                self.delivered.push(qos);
                if self.terms.is_durable && qos > QoS::AtMostOnce {
                    delivery.number = DeliveryNumber::new(self.delivered.len() as u64);
                    self.log.push(Entry::Queued(delivery.clone()));
                }
                self.waiting.push(delivery).unwrap();
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
            Step::Reconnect => {
                let ending = self.session.take().unwrap().end(End::Abnormal, START);
                self.reconnect(ending.kept.unwrap().state);
            }
            Step::Sync(n) => self.sync(n),
            Step::Kill if self.terms.is_durable => self.kill(),
            Step::Kill => self.step(Step::Reconnect),
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
        self.emit(out);
    }

    /// Appends what is to be remembered to the log, and withholds what must not leave before it is
    /// on the disk.
    fn emit(&mut self, out: Vec<Output>) {
        for output in out {
            let Output::Record(record) = output else {
                self.withheld.push_back((self.awaited, output));
                continue;
            };
            assert!(self.terms.is_durable);
            self.log.push(Entry::Record(record));
            if record.is_awaited() {
                self.awaited = self.log.len();
            }
        }
        self.let_out();
    }

    fn let_out(&mut self) {
        let n_free = self.withheld.partition_point(|(awaited, _)| *awaited <= self.n_synced);
        self.to_client.extend(self.withheld.drain(..n_free).map(|(_, output)| output));
    }

    fn sync(&mut self, n: usize) {
        self.n_synced = (self.n_synced + n).min(self.log.len());
        // A QoS 2 message and its packet id are kept together or not at all: one without the other
        // would make it come twice, or never.
        let parts = |at: usize| matches!(self.log[at - 1], Entry::Routed(_, QoS::ExactlyOnce));
        self.n_synced += usize::from(self.n_synced > 0 && parts(self.n_synced));
        self.let_out();
    }

    fn kill(&mut self) {
        for lost in self.log.drain(self.n_synced..) {
            match lost {
                Entry::Queued(delivery) => {
                    let number = usize::try_from(delivery.number.unwrap().get()).unwrap();
                    self.forgotten.insert(number - 1);
                }
                Entry::Routed(number, _) => {
                    let last = self.routed.iter().rposition(|(it, _)| *it == number).unwrap();
                    self.routed.remove(last);
                }
                Entry::Record(_) => {}
            }
        }
        let Memory { waiting, in_flight, unreleased } = Memory::of(&self.log);
        self.waiting.clear();
        waiting.into_values().for_each(|delivery| self.waiting.push(delivery).unwrap());
        let state = SessionState::restored(in_flight.into_values(), unreleased);
        self.session = None;
        self.reconnect(state.unwrap());
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
                            if self.terms.is_durable && qos > QoS::AtMostOnce {
                                self.log.push(Entry::Routed(number, qos));
                                self.awaited = self.log.len();
                            }
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
        self.emit(out);
    }

    fn reconnect(&mut self, state: SessionState) {
        // What the last connection left unkept is awaited by the first packet of this one.
        self.awaited = self.log.len();
        self.withheld.clear();
        self.to_client.clear();
        self.to_server.clear();
        // mqtt-5 [MQTT-3.3.2-7]
        self.client_aliases.clear();
        let (mut session, dropped) = Session::resume(state, self.terms, None, START, |_| true);
        assert_eq!(dropped, []);
        let mut out = Vec::new();
        session.resend(START, &mut out);
        self.session = Some(session);
        self.emit(out);
        for Open { id, number, qos, is_recorded } in self.client_open.clone() {
            let release = || Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS);
            self.to_server.push_back(match is_recorded {
                true => ToServer::Packet(Packet::PubRel(release())),
                false => ToServer::Publish { number, qos, id },
            });
        }
    }

    fn settle(&mut self) {
        while !(self.withheld.is_empty() && self.to_client.is_empty() && self.to_server.is_empty())
        {
            self.step(Step::Sync(usize::MAX / 2));
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
    let kept_1: Vec<_> = at_1.into_iter().filter(|it| promised_1.contains(it)).collect();
    assert_eq!(kept_1, promised_1, "QoS 1: at least once, first in order");
    // mqtt-3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6], mqtt-5 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    let above_0 = first_of_each(of(arrived, |qos| qos > QoS::AtMostOnce));
    assert!(above_0.is_sorted(), "both together in order: {above_0:?}");
    // mqtt-3.1.1 [MQTT-4.3.1-1], mqtt-5 [MQTT-4.3.1-1]
    let at_0 = of(arrived, |qos| qos == QoS::AtMostOnce);
    assert!(at_0.is_sorted_by(|a, b| a < b), "QoS 0: at most once, in order: {at_0:?}");
}

proptest! {
    #[test]
    fn qos_keeps_its_promise_over_lost_connections_and_killed_servers(
        steps in vec(step(), 1..300),
        send_max in 1u16..6,
        is_v5 in any::<bool>(),
        is_durable in prop::bool::weighted(0.8),
    ) {
        let version = if is_v5 { Version::V5 } else { Version::V311 };
        let mut world = World::new(version, send_max, is_durable);
        steps.iter().for_each(|&step| world.step(step));
        // Whatever was lost last is made good by one more connection.
        world.step(Step::Reconnect);
        world.settle();

        prop_assert!(world.waiting.is_empty());
        prop_assert_eq!(world.session().state.in_flight(), 0);
        prop_assert_eq!(world.session().unacknowledged_bytes(), 0);
        prop_assert!(world.session().state.unreleased.is_empty());
        prop_assert!(world.client_open.is_empty());
        let Memory { waiting, in_flight, unreleased } = Memory::of(&world.log);
        prop_assert!(waiting.is_empty() && in_flight.is_empty() && unreleased.is_empty());

        let is_promised = |(number, _): &(usize, QoS)| !world.forgotten.contains(number);
        let delivered = || world.delivered.iter().copied().enumerate().filter(is_promised);
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
