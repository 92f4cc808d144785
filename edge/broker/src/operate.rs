//! What the broker's owner asks of single clients and of retained messages.

use std::sync::Arc;
use std::time::Duration;

use picket_model::{ClientId, Timestamp};
use picket_mqtt::session::Ending;
use picket_mqtt::{Message, QoS, TopicFilter, TopicName};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::asks::{Ask, Direct, NotSent};
use crate::broker::{Broker, InternalPublish, PublishError};
use crate::clients::{ConnectionRecord, ConnectionStatus};
use crate::sessions::{self, Kick};
use crate::will;

/// Longest wait for a connection that is to answer or to go. Its task has nothing to wait for but
/// room in the queue of observations.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a client is made to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dismissal {
    /// Whether its session ends too, whatever was agreed.
    pub ends_session: bool,
    /// Whether its will is not sent.
    pub without_will: bool,
}

impl Dismissal {
    /// What is left of a session that would end so otherwise.
    pub(crate) fn leaves(self, ending: Ending, now: Timestamp) -> Ending {
        let kept = ending.kept.filter(|_| !self.ends_session);
        let will = ending.will.filter(|_| !self.without_will);
        // mqtt-5 section 3.1.3.2.2: with the session's end at the latest.
        let will = will.map(|(will, due)| (will, if self.ends_session { now } else { due }));
        Ending { kept, will }
    }
}

/// Why a session did not tell what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// There is none.
    #[error("the client has no session")]
    NoSession,
    /// It does not get to it.
    #[error("the connection is too busy to answer")]
    Busy,
}

/// Why a message was not sent to a client, or whether it was is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// It cannot go to any client.
    #[error(transparent)]
    Message(#[from] PublishError),
    /// The client is not connected.
    #[error("the client is not connected")]
    NotConnected,
    /// Its policies do not let it receive the topic.
    #[error("the client's policies do not allow it to receive the topic")]
    Denied,
    /// It takes no packets of that size.
    #[error("the client takes no message of that size")]
    Unfit,
    /// It was not sent in time, or not acknowledged.
    #[error("the client did not confirm the message in time")]
    Unconfirmed,
}

/// A retained message and when it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The message.
    pub message: Arc<Message>,
    /// When it took the place of the one before it.
    pub at: Timestamp,
}

impl Broker {
    /// How a client stands: connected, away with a session that is kept, or gone for half an hour at
    /// most.
    pub fn connection(&self, client: &ClientId) -> Option<ConnectionRecord> {
        let record = self.shared.clients.find(client, self.shared.monotonic.now());
        let is_kept = || self.shared.sessions.is_kept(client);
        let away = ConnectionStatus::Away(None);
        match record {
            Some(record) if record.status != away => Some(record),
            record if is_kept() => Some(record.unwrap_or(ConnectionRecord {
                status: away,
                is_persistent: true,
                details: None,
            })),
            Some(_) | None => None,
        }
    }

    /// Makes a client go, and returns when it has gone; false if it is not connected and no session
    /// is kept for it. An absent one loses its session, or its will that waits, if that is asked for.
    pub async fn dismiss(&self, client: &ClientId, dismissal: Dismissal) -> bool {
        let shared = &self.shared;
        if let Some(live) = shared.sessions.kick(client, Kick::Operator(dismissal)) {
            let _ = tokio::time::timeout(PATIENCE, live.gone()).await;
            return true;
        }
        let session = match dismissal.ends_session {
            true => sessions::end_kept(shared, client),
            false => shared.sessions.kept_key(client),
        };
        let Some(session) = session else { return false };
        if dismissal != Dismissal::default()
            && let Some(last) = shared.wills.take(session)
            && !dismissal.without_will
        {
            will::send(shared, last).await;
        }
        true
    }

    /// What a client is subscribed to and at which QoS, ordered by filter, also while it is away.
    ///
    /// # Errors
    /// [`AskError`]
    pub async fn subscriptions(
        &self,
        client: &ClientId,
    ) -> Result<Vec<(TopicFilter, QoS)>, AskError> {
        let sessions = &self.shared.sessions;
        let asked = async {
            loop {
                if let Some(subscriptions) = sessions.kept_subscriptions(client) {
                    return Ok(subscriptions);
                }
                let Some(mailbox) = sessions.mailbox(client) else {
                    return Err(AskError::NoSession);
                };
                let (answer, answered) = oneshot::channel();
                if mailbox.asks.put(Ask::Subscriptions(answer)) {
                    mailbox.wake();
                    if let Ok(subscriptions) = answered.await {
                        return Ok(subscriptions);
                    }
                }
                // The connection ended meanwhile: look again what became of the session.
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(AskError::Busy))
    }

    /// Sends a message to one client that is connected, subscribed to the topic or not, and returns
    /// when it is sent (QoS 0) or acknowledged (QoS 1), or after `patience`. It is not retained.
    ///
    /// The client's policies must let it receive the topic.
    ///
    /// # Errors
    /// [`SendError`]. A message of QoS 1 that is [`SendError::Unconfirmed`] may still arrive.
    pub async fn send(
        &self,
        client: &ClientId,
        publish: InternalPublish,
        patience: Duration,
    ) -> Result<(), SendError> {
        let message = self.message(publish)?;
        let mailbox = self.shared.sessions.mailbox(client).ok_or(SendError::NotConnected)?;
        let is_confirmed = message.qos > QoS::AtMostOnce;
        let (outcome, told) = oneshot::channel();
        if !mailbox.asks.put(Ask::Send(Direct { message, outcome })) {
            return Err(SendError::NotConnected);
        }
        mailbox.wake();
        match tokio::time::timeout(patience, told).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(NotSent::Denied))) => Err(SendError::Denied),
            Ok(Ok(Err(NotSent::Unfit))) => Err(SendError::Unfit),
            // The connection ended with it.
            Ok(Err(_)) if !is_confirmed => Err(SendError::NotConnected),
            Ok(Err(_)) | Err(_) => Err(SendError::Unconfirmed),
        }
    }

    /// The retained message of a topic, if its publisher still has the right to it.
    pub fn retained(&self, topic: &TopicName) -> Option<RetainedMessage> {
        self.shared.retained.get(topic, self.shared.monotonic.now())
    }

    /// The retained messages whose publishers still have the right to them, ordered by the levels of
    /// their topics: at most `max` of those behind `after`.
    pub fn retained_after(&self, after: Option<&TopicName>, max: usize) -> Vec<RetainedMessage> {
        self.shared.retained.after(after, max, self.shared.monotonic.now())
    }
}
