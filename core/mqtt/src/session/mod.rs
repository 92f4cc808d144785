//! One client's MQTT session as a state machine: inputs and the time in, packets out.
//!
//! [`SessionState`] is what may outlive a connection: messages in flight, and QoS 2 publishes not yet
//! released. [`Session`] is that state with a connection's [`Terms`], made by [`Session::resume`] and
//! taken apart by [`Session::end`]. What waits to be sent lies in a [`crate::queue::DeliveryQueue`]
//! outside; [`Session::room`] says how much of it may leave.
//!
//! A PUBLISH is acknowledged after the edge's decision and not before: [`Session::publish_arrived`]
//! gives out an [`Undecided`], and only [`Session::publish_decided`] can turn one into a PUBACK or
//! PUBREC. A QoS 2 message is decided and routed when its PUBLISH arrives; what remains until PUBREL
//! is its packet id, so no content waits for a right that may have gone in between.
//!
//! A session that is to survive the server says so by [`Terms::is_durable`]. Then [`Record`]s stand
//! among what is sent, and what was kept of them makes the state again: [`SessionState::restored`].

mod alias;
mod inflight;
mod pace;
mod record;
mod state;
mod terms;

#[cfg(test)]
mod tests;

use bytes::BytesMut;
use picket_model::Timestamp;

use self::alias::Aliases;
use self::inflight::{Recorded, Stage};
pub use self::pace::{Pace, PublishPace};
pub use self::record::Record;
pub use self::state::{Remembered, SessionState};
pub use self::terms::{PACKET_OVERHEAD_BYTES, Terms, UNRELEASED_MAX_V311, packet_bytes_max};
use crate::codec::{PublishParts, PublishRef, encode, encode_publish};
use crate::packet::{
    Ack, Codes, Disconnect, Packet, PacketId, Subscribe, Unsubscribe, Version, Will,
};
use crate::{Delivery, DeliveryNumber, ProtocolError, QoS, ReasonCode, Text, TopicName};

/// A session with its connection.
#[derive(Debug)]
pub struct Session {
    state: SessionState,
    terms: Terms,
    will: Option<Box<Will>>,
    heard_at: Timestamp,
    /// QoS 2 publishes that may wait for their release: those that waited when the connection began
    /// do not count against what it agreed on.
    unreleased_max: usize,
    /// Where there is a bound on how fast the client may publish.
    pace: Option<PublishPace>,
    aliases: Aliases,
}

/// What is to be sent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A packet.
    Packet(Packet),
    /// A message, which is shared and not copied into a packet.
    Publish(Outgoing),
    /// Nothing that is sent, but what has to be remembered before more is.
    Record(Record),
}

/// A message with what its PUBLISH says beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What is sent.
    pub delivery: Delivery,
    /// There exactly when the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Whether it was sent before.
    pub dup: bool,
    /// Stands for the topic; with it, whether the client knows it and the topic is left out.
    pub topic_alias: Option<(u16, bool)>,
    /// What is left of its expiry, in seconds.
    pub expiry_s: Option<u32>,
}

impl Outgoing {
    /// Of a message that is sent for the first time, its packet id still missing.
    fn first(delivery: Delivery, now: Timestamp) -> Self {
        let expiry_s = delivery.message.expiry_left_s(now);
        Self { delivery, packet_id: None, dup: false, topic_alias: None, expiry_s }
    }

    /// Borrows what is written.
    pub fn parts(&self) -> PublishParts<'_> {
        let message = &self.delivery.message;
        let topic_is_known = self.topic_alias.is_some_and(|(_, is_known)| is_known);
        PublishParts {
            dup: self.dup,
            qos: self.delivery.qos,
            retain: self.delivery.retain,
            topic: if topic_is_known { "" } else { message.topic.as_str() },
            packet_id: self.packet_id,
            payload: &message.payload,
            topic_alias: self.topic_alias.map(|(alias, _)| alias),
            subscription_ids: self.delivery.subscription_ids.as_deref().unwrap_or_default(),
            properties: message.properties.as_deref(),
            expiry_s: self.expiry_s,
        }
    }
}

impl Output {
    /// Appends it as bytes; a record has none.
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Packet(packet) => encode(packet, version, out),
            Self::Publish(publish) => encode_publish(&publish.parts(), version, out),
            Self::Record(_) => {}
        }
    }
}

/// A PUBLISH that waits for the edge's decision. Without one it is never acknowledged.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a PUBLISH that is not decided is never acknowledged"]
pub struct Undecided {
    qos: QoS,
    packet_id: Option<PacketId>,
    pace: Pace,
}

impl Undecided {
    /// Whether it comes at the pace agreed on. Where it does not, the decision is
    /// [`ReasonCode::QUOTA_EXCEEDED`] at best.
    pub const fn pace(&self) -> Pace {
        self.pace
    }
}

/// What a PUBLISH is to the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message: decide, route, then call [`Session::publish_decided`].
    Fresh(Undecided),
    /// A QoS 2 message that came before and was routed then. It is acknowledged again.
    Again,
}

/// What the edge must do after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDecision {
    /// Nothing: what there is to say has been said.
    GoOn,
    /// Close the connection: there is no packet that could say no.
    Close(ReasonCode),
}

/// What a packet asks of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing; but messages that waited may have room now.
    Nothing,
    /// Subscribe, then call [`Session::subscribed`].
    Subscribe(Box<Subscribe>),
    /// Unsubscribe, then call [`Session::unsubscribed`].
    Unsubscribe(Box<Unsubscribe>),
    /// Close; then [`Session::end`] with [`End::Goodbye`].
    Goodbye(Disconnect),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the output.
    Yes,
    /// It had expired.
    Expired,
    /// The client does not take packets of its size. Source: mqtt-5 [MQTT-3.1.2-24].
    TooLarge,
    /// The window is full: the caller did not look at [`Session::room`].
    NoRoom,
}

/// A message in flight that is not sent again when its client is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotResent {
    /// The client may not receive messages of its topic any more.
    Denied(Delivery),
    /// The client does not take packets of its size any more.
    TooLarge(Delivery),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said DISCONNECT.
    Goodbye(Disconnect),
    /// It was lost, closed by the server, or taken over.
    Abnormal,
    /// Its right to be here is gone: no will is sent for it and nothing of it is kept.
    Denied,
}

/// What is left of a session when its connection has ended.
#[derive(Debug)]
pub struct Ending {
    /// The state to resume from; `None` when the session is over.
    pub kept: Option<KeptSession>,
    /// The will to send and when.
    pub will: Option<(Will, Timestamp)>,
}

/// A session without a connection.
#[derive(Debug)]
pub struct KeptSession {
    /// What it resumes from.
    pub state: SessionState,
    /// When it is over.
    pub until: Timestamp,
}

impl Session {
    /// Begins a connection with a new or kept state.
    ///
    /// What `may_receive` denies is dropped: a right may have gone while the client was away. So is
    /// what the client does not take packets of the size of. The second part of the result is what
    /// was dropped, in the order of sending; that it is over is the caller's to remember. Nothing is
    /// sent yet: see [`Session::resend`].
    ///
    /// Source: mqtt-3.1.1 [MQTT-4.4.0-1], mqtt-5 [MQTT-4.4.0-1].
    pub fn resume(
        mut state: SessionState,
        terms: Terms,
        will: Option<Will>,
        now: Timestamp,
        may_receive: impl Fn(&TopicName) -> bool,
    ) -> (Self, Vec<NotResent>) {
        let mut dropped = Vec::new();
        state.window.resume(|delivery| {
            if !may_receive(&delivery.message.topic) {
                dropped.push(NotResent::Denied(delivery.clone()));
                return false;
            }
            let fits = fits(&terms, &Outgoing::first(delivery.clone(), now));
            if !fits {
                dropped.push(NotResent::TooLarge(delivery.clone()));
            }
            fits
        });
        // mqtt-5 section 4.9: the quota begins anew with each connection. The bound for all of them
        // keeps connection after connection from adding up.
        let receive_max = usize::from(terms.receive_max);
        let unreleased_max = receive_max
            .max((state.unreleased.len() + receive_max).min(usize::from(UNRELEASED_MAX_V311)));
        let session = Self {
            state,
            terms,
            will: will.map(Box::new),
            heard_at: now,
            unreleased_max,
            pace: terms.publishes_per_s_max.map(|per_s_max| PublishPace::new(per_s_max, now)),
            aliases: Aliases::default(),
        };
        (session, dropped)
    }

    /// The terms of the connection.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The protocol version of the connection.
    pub const fn version(&self) -> Version {
        self.terms.version
    }

    /// The message left for the case that the client goes without goodbye.
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Forgets the will: the client may not publish it any more.
    pub fn drop_will(&mut self) {
        self.will = None;
    }

    /// How many messages above QoS 0 may be sent now.
    ///
    /// None while more than [`Terms::unacknowledged_bytes_max`] is unacknowledged. What the caller
    /// then has in its hands already may still be sent.
    pub fn room(&self) -> usize {
        if self.unacknowledged_bytes() >= self.terms.unacknowledged_bytes_max {
            return 0;
        }
        self.state.window.room(self.terms.send_max)
    }

    /// Bytes of messages that were sent and are kept until they are acknowledged.
    pub const fn unacknowledged_bytes(&self) -> usize {
        self.state.window.bytes()
    }

    /// When the connection is to be closed unless something is heard.
    ///
    /// Source: mqtt-3.1.1 [MQTT-3.1.2-24], mqtt-5 [MQTT-3.1.2-22].
    pub fn keep_alive_until(&self) -> Timestamp {
        self.heard_at + i64::from(self.terms.keep_alive_s) * 1500
    }

    /// Judges the silence.
    ///
    /// # Errors
    /// [`ProtocolError::KeepAlive`] when it was too long.
    pub fn tick(&self, now: Timestamp) -> Result<(), ProtocolError> {
        if now < self.keep_alive_until() {
            return Ok(());
        }
        Err(ProtocolError::KeepAlive { silent_ms: now.millis_since(self.heard_at) })
    }

    /// The topic that an alias stands for.
    ///
    /// # Errors
    /// The alias is outside the agreed range, or was not set up.
    pub fn aliased(&mut self, alias: u16) -> Result<&TopicName, ProtocolError> {
        self.aliases.received(&self.terms).get(alias)
    }

    /// Sets up an alias for later publishes.
    ///
    /// # Errors
    /// The alias is outside the agreed range.
    pub fn set_alias(&mut self, alias: u16, topic: &TopicName) -> Result<(), ProtocolError> {
        self.aliases.received(&self.terms).set(alias, topic)
    }

    /// Takes a PUBLISH in. Its topic and alias are the caller's business.
    ///
    /// # Errors
    /// [`ProtocolError`] when the client must not send it now.
    pub fn publish_arrived(
        &mut self,
        publish: &PublishRef<'_>,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<Arrival, ProtocolError> {
        self.heard_at = now;
        if publish.properties.as_ref().is_some_and(|given| !given.subscription_ids.is_empty()) {
            // mqtt-5 [MQTT-3.3.4-6]
            return Err(ProtocolError::Protocol("a subscription identifier from a client"));
        }
        if publish.qos > self.terms.qos_max {
            // mqtt-5 [MQTT-3.2.2-11]
            return Err(ProtocolError::Qos { max: self.terms.qos_max });
        }
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            if self.state.unreleased.contains(&packet_id) {
                // mqtt-3.1.1 [MQTT-4.3.3-2], mqtt-5 [MQTT-4.3.3-10]
                out.push(Output::Packet(Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS))));
                return Ok(Arrival::Again);
            }
            if self.state.unreleased.len() >= self.unreleased_max {
                // mqtt-5 [MQTT-3.3.4-7]
                return Err(ProtocolError::ReceiveMaximum { max: self.terms.receive_max });
            }
        }
        let pace = self.pace.as_mut().map_or(Pace::Kept, |pace| pace.publish(now));
        Ok(Arrival::Fresh(Undecided { qos: publish.qos, packet_id: publish.packet_id, pace }))
    }

    /// Acknowledges a PUBLISH as it was decided: [`ReasonCode::SUCCESS`] or why not.
    pub fn publish_decided(
        &mut self,
        undecided: Undecided,
        reason: ReasonCode,
        out: &mut Vec<Output>,
    ) -> AfterDecision {
        let refused = reason.is_error();
        let Some(packet_id) = undecided.packet_id else {
            // Being too much is no reason to close: at QoS 0 a message may be lost.
            let closes = refused && reason != ReasonCode::QUOTA_EXCEEDED;
            return if closes { AfterDecision::Close(reason) } else { AfterDecision::GoOn };
        };
        if refused && self.terms.version == Version::V311 {
            // mqtt-3.1.1 [MQTT-3.3.5-2]: acknowledge or close, and an acknowledgement would lie.
            return AfterDecision::Close(reason);
        }
        let ack = Ack::new(packet_id, reason);
        if undecided.qos == QoS::ExactlyOnce {
            if !refused {
                self.state.unreleased.insert(packet_id);
                self.remember(Record::Taken(packet_id), out);
            }
            out.push(Output::Packet(Packet::PubRec(ack)));
        } else {
            out.push(Output::Packet(Packet::PubAck(ack)));
        }
        AfterDecision::GoOn
    }

    /// Takes any packet but PUBLISH in.
    ///
    /// # Errors
    /// [`ProtocolError`] when a client must not send it, or not now.
    pub fn packet_arrived(
        &mut self,
        packet: Packet,
        now: Timestamp,
        out: &mut Vec<Output>,
    ) -> Result<Request, ProtocolError> {
        self.heard_at = now;
        match packet {
            Packet::PubAck(ack) => {
                // An acknowledgement of nothing is ignored: real devices send them after a restart.
                let finished = self.state.window.finish(ack.packet_id, |stage| {
                    matches!(stage, Stage::Published(delivery) if delivery.qos == QoS::AtLeastOnce)
                });
                self.forget(finished.and_then(|it| it.number()), out);
                self.resend(now, out);
            }
            Packet::PubRec(ack) => self.recorded(&ack, now, out),
            Packet::PubRel(ack) => {
                let known = self.state.unreleased.remove(&ack.packet_id);
                if known {
                    self.remember(Record::Freed(ack.packet_id), out);
                }
                // mqtt-5 section 4.3.3: an unknown id is said to be unknown; mqtt-3.1.1
                // [MQTT-4.3.3-2] wants PUBCOMP in any case.
                out.push(Output::Packet(Packet::PubComp(Ack::new(ack.packet_id, found(known)))));
            }
            Packet::PubComp(ack) => {
                let is_released = |stage: &Stage| matches!(stage, Stage::Released(_));
                let finished = self.state.window.finish(ack.packet_id, is_released);
                self.forget(finished.and_then(|it| it.number()), out);
                self.resend(now, out);
            }
            // mqtt-3.1.1 [MQTT-3.12.4-1], mqtt-5 [MQTT-3.12.4-1]
            Packet::PingReq => out.push(Output::Packet(Packet::PingResp)),
            Packet::Subscribe(subscribe) => return Ok(Request::Subscribe(subscribe)),
            Packet::Unsubscribe(unsubscribe) => return Ok(Request::Unsubscribe(unsubscribe)),
            Packet::Disconnect(disconnect) => {
                if self.terms.session_expiry_s == 0 && disconnect.session_expiry_s.unwrap_or(0) > 0
                {
                    // mqtt-5 section 3.14.2.2.2
                    return Err(ProtocolError::Protocol("a session that was to end is to be kept"));
                }
                return Ok(Request::Goodbye(disconnect));
            }
            // mqtt-3.1.1 [MQTT-3.1.0-2], mqtt-5 [MQTT-3.1.0-2]
            Packet::Connect(_) => return Err(ProtocolError::Protocol("a second CONNECT")),
            // mqtt-5 [MQTT-4.12.0-6]: we never begin such an exchange.
            Packet::Auth(_) => {
                return Err(ProtocolError::Protocol("AUTH without an authentication method"));
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(ProtocolError::Protocol("a packet that only a server sends"));
            }
            Packet::Publish(_) => {
                return Err(ProtocolError::Protocol("PUBLISH has a way in of its own"));
            }
        }
        Ok(Request::Nothing)
    }

    fn recorded(&mut self, ack: &Ack, now: Timestamp, out: &mut Vec<Output>) {
        if ack.reason.is_error() {
            // mqtt-5 section 4.3.3: the receiver refused it; the exchange is over.
            let finished = self.state.window.finish(ack.packet_id, |stage| {
                matches!(stage, Stage::Published(delivery) if delivery.qos == QoS::ExactlyOnce)
            });
            self.forget(finished.and_then(|it| it.number()), out);
            self.resend(now, out);
            return;
        }
        let recorded = self.state.window.release(ack.packet_id);
        if let Recorded::Now(Some(number)) = recorded {
            self.remember(Record::Released(number), out);
        }
        let known = recorded != Recorded::Unknown;
        out.push(Output::Packet(Packet::PubRel(Ack::new(ack.packet_id, found(known)))));
    }

    fn remember(&self, record: Record, out: &mut Vec<Output>) {
        if self.terms.is_durable {
            out.push(Output::Record(record));
        }
    }

    /// Says that a delivery need not be remembered any more, if it was.
    pub fn forget(&self, number: Option<DeliveryNumber>, out: &mut Vec<Output>) {
        if let Some(number) = number {
            self.remember(Record::Over(number), out);
        }
    }

    /// Sends again what was in flight when the last connection ended, as far as there is room.
    ///
    /// To be called once after CONNACK; later acknowledgements do it by themselves.
    pub fn resend(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some(item) = self.state.window.next_resend(self.terms.send_max) {
            out.push(match &item.stage {
                Stage::Released(_) => {
                    Output::Packet(Packet::PubRel(Ack::new(item.packet_id, ReasonCode::SUCCESS)))
                }
                Stage::Published(delivery) => Output::Publish(Outgoing {
                    delivery: delivery.clone(),
                    packet_id: Some(item.packet_id),
                    // mqtt-3.1.1 [MQTT-3.3.1-1], mqtt-5 [MQTT-3.3.1-1]
                    dup: true,
                    topic_alias: self.aliases.sent(&delivery.message.topic, &self.terms),
                    expiry_s: delivery.message.expiry_left_s(now),
                }),
            });
        }
    }

    /// Sends a message, or says why not.
    pub fn send(&mut self, delivery: Delivery, now: Timestamp, out: &mut Vec<Output>) -> Sent {
        let message = &delivery.message;
        if message.is_expired(now) {
            self.forget(delivery.number, out);
            return Sent::Expired;
        }
        let has_id = delivery.qos > QoS::AtMostOnce;
        if has_id && self.state.window.room(self.terms.send_max) == 0 {
            self.forget(delivery.number, out);
            return Sent::NoRoom;
        }
        let mut outgoing = Outgoing::first(delivery, now);
        if !fits(&self.terms, &outgoing) {
            self.forget(outgoing.delivery.number, out);
            return Sent::TooLarge;
        }
        if self.terms.version == Version::V5 {
            outgoing.topic_alias = self.aliases.sent(&outgoing.delivery.message.topic, &self.terms);
        }
        if has_id {
            let packet_id = self.state.window.push(outgoing.delivery.clone());
            outgoing.packet_id = Some(packet_id);
            let Delivery { number, qos, .. } = outgoing.delivery;
            if let Some(number) = number {
                self.remember(Record::Sent { number, packet_id, qos }, out);
            }
        }
        out.push(Output::Publish(outgoing));
        Sent::Yes
    }

    /// Answers a SUBSCRIBE with one code for each filter, in their order.
    pub fn subscribed(
        &self,
        packet_id: PacketId,
        mut codes: Vec<ReasonCode>,
        out: &mut Vec<Output>,
    ) {
        if self.terms.version == Version::V311 {
            // mqtt-3.1.1 [MQTT-3.9.3-2]: 0x80 is the only failure there is.
            for code in codes.iter_mut().filter(|code| code.is_error()) {
                *code = ReasonCode::UNSPECIFIED_ERROR;
            }
        }
        out.push(Output::Packet(Packet::SubAck(Codes { packet_id, codes, properties: None })));
    }

    /// Answers an UNSUBSCRIBE with one code for each filter, in their order.
    pub fn unsubscribed(&self, packet_id: PacketId, codes: Vec<ReasonCode>, out: &mut Vec<Output>) {
        let codes = if self.terms.version == Version::V311 { Vec::new() } else { codes };
        out.push(Output::Packet(Packet::UnsubAck(Codes { packet_id, codes, properties: None })));
    }

    /// The packet that says why the server closes, in words too where the client takes a packet of
    /// that size; MQTT 3.1.1 has none.
    pub fn farewell(&self, reason: ReasonCode, words: Option<&str>) -> Option<Packet> {
        // Code, two lengths, the property's identifier and its length, and the fixed header.
        const OVERHEAD_BYTES: usize = 16;
        if self.terms.version != Version::V5 {
            return None;
        }
        let mut disconnect = Disconnect { reason, ..Disconnect::default() };
        // mqtt-5 [MQTT-3.14.2-3]
        let fits =
            |words: &&str| words.len() + OVERHEAD_BYTES <= self.terms.send_bytes_max as usize;
        disconnect.properties.reason_string = words.filter(fits).and_then(Text::new);
        Some(Packet::Disconnect(disconnect))
    }

    /// Ends the connection and says what is left.
    pub fn end(self, how: End, now: Timestamp) -> Ending {
        let mut expiry_s = self.terms.session_expiry_s;
        let sends_will = match how {
            // Whoever lost the right to be here speaks no more, not even by testament.
            End::Denied => return Ending { kept: None, will: None },
            End::Abnormal => true,
            End::Goodbye(disconnect) => {
                if let Some(asked_s) = disconnect.session_expiry_s {
                    expiry_s = asked_s.min(self.terms.session_expiry_s_max);
                }
                // mqtt-3.1.1 [MQTT-3.14.4-3], mqtt-5 [MQTT-3.14.4-3]
                disconnect.reason == ReasonCode::DISCONNECT_WITH_WILL
            }
        };
        let over_at = now + i64::from(expiry_s) * 1000;
        let will = self.will.filter(|_| sends_will).map(|will| {
            let delay_ms = i64::from(will.delay_s.unwrap_or(0)) * 1000;
            // mqtt-5 section 3.1.3.2.2: after its delay or with the session's end.
            (*will, (now + delay_ms).min(over_at))
        });
        let kept = (expiry_s > 0).then_some(KeptSession { state: self.state, until: over_at });
        Ending { kept, will }
    }
}

/// Whether the client takes a packet of this size, at the largest it can become.
fn fits(terms: &Terms, outgoing: &Outgoing) -> bool {
    const ALIAS_AND_PACKET_ID_BYTES: usize = 5;
    if terms.send_bytes_max == u32::MAX {
        return true;
    }
    let bytes = outgoing.parts().encoded_len(terms.version) + ALIAS_AND_PACKET_ID_BYTES;
    u32::try_from(bytes).is_ok_and(|bytes| bytes <= terms.send_bytes_max)
}

/// The reason code for a packet id that is known or is not; MQTT 3.1.1 leaves it out.
const fn found(known: bool) -> ReasonCode {
    if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND }
}
