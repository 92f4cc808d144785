//! An MQTT session with the server: connected, subscribed to the answers, alive.
//!
//! It asks for no session to be kept: whatever is missed while the line is down is not wanted later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use picket_mqtt::codec;
use picket_mqtt::packet::{
    Ack, Connect, ConnectProperties, Disconnect, MessageProperties, Packet, PacketId, Publish,
    Subscribe, SubscribeOptions, Version,
};
use picket_mqtt::{DecodeError, QoS, ReasonCode, Text};
use picket_report::{Format, ReportTopic};
use rustix::event::{PollFd, PollFlags, Timespec};
use thiserror::Error;

use crate::config::Connection;
use crate::limits::{ANSWER_TIMEOUT, PACKET_BYTES_MAX};
use crate::reply::Reply;
use crate::tls::{Identity, Line, TlsError};

/// Why there is no session, or no longer.
#[derive(Debug, Error)]
pub enum SessionError {
    /// There is no line.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The line is cut.
    #[error("the connection is lost")]
    Lost(#[source] io::Error),
    /// The server closed the line and said nothing; a server that cuts a device off does so.
    #[error("the server closed the connection")]
    Closed,
    /// The server closed the line and said why (MQTT 5).
    #[error("the server closed the connection: {0}")]
    Dismissed(ReasonCode),
    /// The server does not want this client.
    #[error("the server refuses the connection: {0}")]
    Refused(String),
    /// The server does not answer.
    #[error("the server does not answer {0}")]
    Silent(&'static str),
    /// The server does not speak MQTT.
    #[error("the server sends what is no MQTT")]
    Decode(#[from] DecodeError),
    /// A name is longer than MQTT can say.
    #[error("a name is too long for MQTT")]
    TooLong,
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A report is accepted.
    Accepted(Reply),
    /// A report is refused.
    Rejected(Reply),
}

/// A session that stands.
#[derive(Debug)]
pub struct Session {
    line: Line,
    version: Version,
    format: Format,
    topic: Text,
    accepted: Text,
    rejected: Text,
    keep_alive: Duration,
    /// What came and is no whole packet yet.
    inbox: Vec<u8>,
    last_sent: Instant,
    /// When the ping was sent that is not yet answered.
    pinged: Option<Instant>,
    /// Topics whose answers the server does not let through, in words; empty if all is well.
    pub deaf_to: Vec<String>,
}

impl Session {
    /// Connects, says hello and subscribes.
    ///
    /// # Errors
    /// [`SessionError`] says how far it came. A refused subscription is none: reports are taken
    /// without it as well.
    pub fn open(
        connection: &Connection,
        identity: &Identity,
        topic: &ReportTopic,
    ) -> Result<Self, SessionError> {
        let text = |text: &str| Text::new(text).ok_or(SessionError::TooLong);
        let line = Line::connect(&connection.endpoint, identity)?;
        let mut session = Self {
            line,
            version: connection.version,
            format: topic.format,
            topic: text(&topic.report())?,
            accepted: text(&topic.accepted())?,
            rejected: text(&topic.rejected())?,
            keep_alive: Duration::from_secs(connection.keep_alive_s.into()),
            inbox: Vec::new(),
            last_sent: Instant::now(),
            pinged: None,
            deaf_to: Vec::new(),
        };
        session.say_hello(connection, text(&connection.client_id)?)?;
        session.subscribe()?;
        Ok(session)
    }

    fn say_hello(&mut self, connection: &Connection, client_id: Text) -> Result<(), SessionError> {
        self.send(&Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: connection.keep_alive_s,
            client_id,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties {
                packet_bytes_max: u32::try_from(PACKET_BYTES_MAX)
                    .ok()
                    .and_then(std::num::NonZeroU32::new),
                ..ConnectProperties::default()
            },
        })))?;
        let Packet::ConnAck(answer) =
            self.answer("CONNECT", |packet| matches!(packet, Packet::ConnAck(_)))?
        else {
            return Err(SessionError::Silent("CONNECT"));
        };
        if answer.code != ReasonCode::SUCCESS {
            return Err(SessionError::Refused(refusal(self.version, answer.code)));
        }
        if let Some(seconds) = answer.properties.server_keep_alive_s.filter(|seconds| *seconds > 0)
        {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), SessionError> {
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        let filters = [&self.accepted, &self.rejected].map(|topic| (topic.clone(), options));
        self.send(&Packet::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::MIN,
            filters: filters.to_vec(),
            subscription_id: None,
            user: Vec::new(),
        })))?;
        let Packet::SubAck(answer) =
            self.answer("SUBSCRIBE", |packet| matches!(packet, Packet::SubAck(_)))?
        else {
            return Err(SessionError::Silent("SUBSCRIBE"));
        };
        let topics = [&self.accepted, &self.rejected];
        let refused = topics.into_iter().zip(answer.codes).filter(|(_, code)| code.is_error());
        self.deaf_to = refused.map(|(topic, code)| format!("{topic}: {code}")).collect();
        Ok(())
    }

    /// Waits for a packet that `is_answer` is true of; others that come before it are dropped.
    fn answer(
        &mut self,
        to: &'static str,
        is_answer: impl Fn(&Packet) -> bool,
    ) -> Result<Packet, SessionError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            while let Some(packet) = self.next_packet()? {
                if is_answer(&packet) {
                    return Ok(packet);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut fds = [PollFd::new(&self.line, PollFlags::IN)];
            let n_ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&left)))
                .map_err(|error| SessionError::Lost(error.into()))?;
            if n_ready == 0 {
                return Err(SessionError::Silent(to));
            }
            self.fill()?;
        }
    }

    /// Sends a report, once: what the server does not get is not sent again.
    ///
    /// # Errors
    /// The line is cut.
    pub fn report(&mut self, payload: Vec<u8>) -> Result<(), SessionError> {
        self.send(&Packet::Publish(Box::new(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: self.topic.clone(),
            packet_id: None,
            payload: Bytes::from(payload),
            topic_alias: None,
            subscription_ids: Vec::new(),
            properties: MessageProperties::default(),
        })))
    }

    /// Takes in what the server sent; called when the line is readable.
    ///
    /// # Errors
    /// The server ended the session, or sends nonsense.
    pub fn receive(&mut self) -> Result<Vec<Event>, SessionError> {
        let filled = self.fill();
        let mut events = Vec::new();
        while let Some(packet) = self.next_packet()? {
            match packet {
                Packet::Publish(publish) => {
                    if let (QoS::AtLeastOnce, Some(id)) = (publish.qos, publish.packet_id) {
                        self.send(&Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS)))?;
                    }
                    let reply = || Reply::read(self.format, &publish.payload);
                    if publish.topic == self.accepted {
                        events.push(Event::Accepted(reply()));
                    } else if publish.topic == self.rejected {
                        events.push(Event::Rejected(reply()));
                    }
                }
                Packet::PingResp => self.pinged = None,
                Packet::Disconnect(goodbye) => return Err(SessionError::Dismissed(goodbye.reason)),
                _ => {}
            }
        }
        // What came before the end is heard first.
        if events.is_empty() { filled.map(|()| events) } else { Ok(events) }
    }

    /// When something has to be done if nothing else happens: a ping, or giving up.
    pub fn due(&self) -> Instant {
        match self.pinged {
            Some(at) => at + ANSWER_TIMEOUT,
            None => self.last_sent + self.keep_alive,
        }
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// A ping was not answered, or cannot be sent.
    pub fn keep_alive(&mut self, now: Instant) -> Result<(), SessionError> {
        if now < self.due() {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(SessionError::Silent("PINGREQ"));
        }
        self.send(&Packet::PingReq)?;
        self.pinged = Some(now);
        Ok(())
    }

    /// Says goodbye.
    pub fn close(mut self) {
        // Whether the server hears it or not, the session is over.
        let _ = self.send(&Packet::Disconnect(Disconnect::default()));
        self.line.close();
    }

    fn send(&mut self, packet: &Packet) -> Result<(), SessionError> {
        let mut bytes = BytesMut::new();
        codec::encode(packet, self.version, &mut bytes);
        self.line.send(&bytes).map_err(SessionError::Lost)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    fn fill(&mut self) -> Result<(), SessionError> {
        match self.line.receive(&mut self.inbox) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SessionError::Closed),
            Err(error) => Err(SessionError::Lost(error)),
        }
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, SessionError> {
        let Some(frame) = codec::frame(&self.inbox, PACKET_BYTES_MAX)? else { return Ok(None) };
        let len = frame.len;
        let packet = codec::decode(&frame, self.version)?;
        self.inbox.drain(..len);
        if self.inbox.is_empty() {
            // A large message must not be remembered by the room that it took.
            self.inbox = Vec::new();
        }
        Ok(Some(packet))
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

/// The refusal of a CONNECT in words. Source: mqtt-3.1.1 table 3.1.
fn refusal(version: Version, code: ReasonCode) -> String {
    let words = match (version, code.0) {
        (Version::V5, _) => return code.to_string(),
        (Version::V311, 1) => "it does not speak MQTT 3.1.1",
        (Version::V311, 2) => "it does not like the client id",
        (Version::V311, 3) => "it is not available",
        (Version::V311, 4) => "bad user name or password",
        (Version::V311, 5) => "not authorized",
        (Version::V311, _) => "unknown return code",
    };
    format!("{words} ({})", code.0)
}
