//! PUBLISH: where nearly all packets go.

use std::sync::Arc;

use bytes::Bytes;
use picket_mqtt::codec::{Frame, PublishRef};
use picket_mqtt::session::{AfterDecision, Arrival, Pace, Session, Undecided};
use picket_mqtt::{DecodeError, Message, ProtocolError, QoS, ReasonCode, TopicError};
use tracing::info;

use super::{Close, Connection, HOLD_MS, Held};
use crate::authorize::{Denial, Fresh, PublishTopic, PublishTopics, TopicText};
use crate::metrics::{Broken, Dropped, Reported};
use crate::reports::Arrived;
use crate::retained::Owner;
use crate::router::{Delivered, Flags};
use crate::tally::Flush;

/// Why the topic of a PUBLISH cannot be used.
enum BadTopic {
    /// The packet is at fault as a whole.
    ProtocolError(ProtocolError),
    /// The name can be said no to.
    Name(TopicError),
}

impl From<TopicError> for BadTopic {
    fn from(error: TopicError) -> Self {
        Self::Name(error)
    }
}

impl From<DecodeError> for BadTopic {
    fn from(error: DecodeError) -> Self {
        Self::ProtocolError(error.into())
    }
}

impl<IO> Connection<IO> {
    /// Decides a PUBLISH, routes it, and only then acknowledges it.
    pub(super) fn publish(&mut self, frame: &Frame<'_>) -> Result<(), Close> {
        let publish = PublishRef::decode(frame, self.session.version()).map_err(protocol_error)?;
        let bytes_max = self.shared.config.limits.payload_bytes_max;
        if publish.payload.len() > bytes_max {
            let bytes = publish.payload.len();
            return Err(protocol_error(ProtocolError::PayloadTooLarge { bytes, max: bytes_max }));
        }
        let arrival = self.session.publish_arrived(&publish, self.now, &mut self.out);
        let undecided = match arrival.map_err(protocol_error)? {
            Arrival::Fresh(undecided) => undecided,
            Arrival::Again => {
                // It was routed before, but the alias that it sets up is this connection's own.
                let found = topic(&mut self.publishing, &mut self.session, &publish);
                return match found {
                    Ok(_) | Err(BadTopic::Name(_)) => Ok(()),
                    Err(BadTopic::ProtocolError(error)) => Err(protocol_error(error)),
                };
            }
        };
        // A QoS 2 message is kept with its packet id or not at all, for all whom it is for: a part of
        // it would come to some of them twice, or never.
        let shared = Arc::clone(&self.shared);
        let journal = shared.journal.as_ref().filter(|_| publish.qos == QoS::ExactlyOnce);
        let whole = journal.map(|journal| journal.whole());
        let reason = match self.decide_and_route(&publish, undecided.pace()) {
            Ok(reason) => reason,
            Err(BadTopic::ProtocolError(error)) => return Err(protocol_error(error)),
            Err(BadTopic::Name(error)) => return self.refuse_topic(undecided, error),
        };
        let after = self.session.publish_decided(undecided, reason, &mut self.out);
        if whole.is_some() {
            self.encode();
        }
        match after {
            AfterDecision::GoOn => Ok(()),
            AfterDecision::Close(ReasonCode::QUOTA_EXCEEDED) => Err(Close::TooFast),
            AfterDecision::Close(_) => Err(Close::RequestDenied),
        }
    }

    fn decide_and_route(
        &mut self,
        publish: &PublishRef<'_>,
        pace: Pace,
    ) -> Result<ReasonCode, BadTopic> {
        let topic = topic(&mut self.publishing, &mut self.session, publish)?;
        let properties = publish.properties.as_ref().map(|given| &given.message);
        let response_topic = properties.and_then(|given| given.response_topic.as_ref());
        if response_topic.is_some_and(|topic| topic.contains(['+', '#'])) {
            // mqtt-5 [MQTT-3.3.2-14]
            let error = ProtocolError::Protocol("a response topic with a wildcard");
            return Err(BadTopic::ProtocolError(error));
        }
        let permit = match topic.decide(&self.access, publish.retain) {
            (Ok(permit), _) => permit,
            (Err(Denial { action, decision }), fresh) => {
                if fresh == Fresh::Yes {
                    info!(
                        client.id = %self.presence.who.client.as_str().escape_debug(),
                        topic = %topic.name.as_str().escape_debug(),
                        "{action} {decision}"
                    );
                }
                self.shared.metrics.deny(action);
                let slices = topic.slices(self.tally.slices(), &self.presence.who.client);
                let flush = self.tally.denied(self.at, action, topic.name.as_str(), slices);
                self.flush_now |= flush == Flush::Now;
                return Ok(ReasonCode::NOT_AUTHORIZED);
            }
        };
        let bytes = publish.payload.len() as u64;
        let slices = topic.slices(self.tally.slices(), &self.presence.who.client);
        let flush = self.tally.published(self.at, bytes, &topic.name, slices);
        self.flush_now |= flush == Flush::Now;
        if pace == Pace::Exceeded {
            // Decided and counted all the same: a flood must not hide from Detect behind its bound.
            self.shared.metrics.drop_message(Dropped::TooFast);
            return Ok(ReasonCode::QUOTA_EXCEEDED);
        }
        let report = topic.report.clone();
        if report.is_some() && publish.retain {
            // Nobody reports again what was so once, as a retained message would. It is counted
            // nevertheless: what the device sent, it sent.
            info!(client.id = %self.presence.who.client.as_str().escape_debug(), "report refused: it is to be retained");
            self.shared.metrics.report(Reported::Retained);
            return Ok(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
        }
        self.counts.messages_in += 1;
        self.counts.bytes_in += bytes;

        let name = topic.name.clone();
        let is_wanted = publish.retain || report.is_some();
        if !is_wanted && topic.route(&self.shared.router).is_empty() {
            return Ok(ReasonCode::SUCCESS);
        }
        let properties = properties.filter(|given| !given.is_empty()).cloned().map(Box::new);
        let payload = Bytes::copy_from_slice(publish.payload);
        self.arrived = report
            .map(|topic| Box::new(Arrived { name: name.clone(), topic, payload: payload.clone() }));
        let message = Message::received(name, payload, publish.qos, properties, self.now);
        let message = Arc::new(message);
        let flags = Flags { publisher: Some(self.lease.mailbox.session), retain: publish.retain };
        let metrics = &self.shared.metrics;
        if publish.retain {
            // Before it is routed: who subscribes meanwhile finds it here or gets it on the way.
            let retained = &self.shared.retained;
            let owner = self.owner.get_or_insert_with(|| retained.owner(self.watch.clone()));
            let owner = Owner::Client(Arc::clone(owner));
            retained.set(permit, &message, &owner, self.now, self.at, metrics);
        }
        let route = topic.route(&self.shared.router);
        let Delivered { crowded, kept } =
            self.shared.router.deliver(permit, route, &message, flags, metrics);
        // Its own mailbox is emptied by this very connection: waiting would not help.
        if let Some(mailbox) = crowded.filter(|it| Some(it.session) != flags.publisher) {
            self.held = Some(Held { mailbox: Arc::clone(mailbox), until: self.now + HOLD_MS });
        }
        self.withhold(kept);
        Ok(ReasonCode::SUCCESS)
    }

    /// Says no to a topic name, by closing where no packet can.
    fn refuse_topic(&mut self, undecided: Undecided, error: TopicError) -> Result<(), Close> {
        let reason = ReasonCode::TOPIC_NAME_INVALID;
        match self.session.publish_decided(undecided, reason, &mut self.out) {
            AfterDecision::GoOn => {
                info!(client.id = %self.presence.who.client.as_str().escape_debug(), "topic name refused: {error}");
                self.shared.metrics.count_protocol_error(Broken::TopicName);
                Ok(())
            }
            AfterDecision::Close(_) => Err(protocol_error(ProtocolError::TopicName(error))),
        }
    }
}

/// What is known of the topic of a PUBLISH, whether it is named or stands behind an alias.
///
/// Where it is named with an alias, the alias is set up, whatever becomes of the message.
fn topic<'a>(
    publishing: &'a mut PublishTopics,
    session: &mut Session,
    publish: &PublishRef<'_>,
) -> Result<&'a mut PublishTopic, BadTopic> {
    let alias = publish.properties.as_ref().and_then(|given| given.topic_alias);
    match alias {
        Some(alias) if publish.topic_bytes.is_empty() => {
            let name = session.aliased(alias).map_err(BadTopic::ProtocolError)?;
            publishing.of(name.as_str().as_bytes(), || Ok(TopicText::Name(name.clone())))
        }
        Some(alias) => {
            let topic = publishing.of(publish.topic_bytes, || text(publish))?;
            session.set_alias(alias, &topic.name).map_err(BadTopic::ProtocolError)?;
            Ok(topic)
        }
        None => publishing.of(publish.topic_bytes, || text(publish)),
    }
}

fn text<'a>(publish: &PublishRef<'a>) -> Result<TopicText<'a>, BadTopic> {
    publish.topic().map(TopicText::Text).map_err(BadTopic::from)
}

fn protocol_error(error: impl Into<ProtocolError>) -> Close {
    Close::ProtocolError(error.into())
}
