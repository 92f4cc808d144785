//! The API's view of the broker's clients and retained messages.

use std::time::Duration;

use picket_api::{
    Busy, Connection, ConnectionDetails, Connections, Later, Message, RetainedMessage,
    RetainedMessages, SendError, Subscriptions,
};
use picket_broker::{AskError, Broker, ConnectionStatus, Dismissal};
use picket_model::ClientId;
use picket_model::limits::MqttLimits;
use picket_mqtt::{TopicLimits, TopicName};

use crate::messages::{not_published, publish};

/// The broker behind the API's ports.
pub(crate) struct BrokerClients {
    broker: Broker,
}

impl BrokerClients {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }
}

impl Connections for BrokerClients {
    fn find(&self, client: &ClientId) -> Option<Connection> {
        let record = self.broker.connection(client)?;
        let (connected_at, farewell) = match record.status {
            ConnectionStatus::Connected { since } => (Some(since), None),
            ConnectionStatus::Away(farewell) => (None, farewell),
        };
        Some(Connection {
            connected_at,
            disconnected: farewell.map(|farewell| (farewell.at, farewell.reason)),
            is_persistent: record.is_persistent,
            details: record.details.map(|it| ConnectionDetails {
                thing: it.thing,
                session_expiry_s: it.session_expiry_s,
                keep_alive_s: it.keep_alive_s,
                source: it.source,
                target: it.target,
            }),
        })
    }

    fn end<'a>(
        &'a self,
        client: &'a ClientId,
        ends_session: bool,
        without_will: bool,
    ) -> Later<'a, bool> {
        Box::pin(self.broker.dismiss(client, Dismissal { ends_session, without_will }))
    }

    fn subscriptions<'a>(
        &'a self,
        client: &'a ClientId,
    ) -> Later<'a, Result<Option<Subscriptions>, Busy>> {
        Box::pin(async {
            match self.broker.subscriptions(client).await {
                Ok(subscriptions) => Ok(Some(subscriptions)),
                Err(AskError::NoSession) => Ok(None),
                Err(AskError::Busy) => Err(Busy),
            }
        })
    }

    fn send<'a>(
        &'a self,
        client: &'a ClientId,
        message: Message,
        timeout: Duration,
    ) -> Later<'a, Result<(), SendError>> {
        Box::pin(async move {
            let sent = self.broker.send(client, publish(message), timeout).await;
            sent.map_err(|error| match error {
                picket_broker::SendError::Message(error) => {
                    SendError::Message(not_published(error))
                }
                picket_broker::SendError::NotConnected => SendError::NotConnected,
                picket_broker::SendError::Denied => SendError::Denied,
                picket_broker::SendError::Unfit => SendError::Unfit,
                picket_broker::SendError::Unconfirmed => SendError::Unconfirmed,
            })
        })
    }
}

impl RetainedMessages for BrokerClients {
    fn get(&self, topic: &str) -> Option<RetainedMessage> {
        self.broker.retained(&name(topic)?).map(shown)
    }

    fn after(&self, topic: Option<&str>, max: usize) -> Vec<RetainedMessage> {
        let after = match topic.map(name) {
            Some(None) => return Vec::new(),
            Some(after) => after,
            None => None,
        };
        self.broker.retained_after(after.as_ref(), max).into_iter().map(shown).collect()
    }
}

/// What can be the topic of a retained message; what is longer than any is none.
fn name(topic: &str) -> Option<TopicName> {
    TopicName::parse(topic, &TopicLimits::from(&MqttLimits::default())).ok()
}

fn shown(retained: picket_broker::RetainedMessage) -> RetainedMessage {
    let picket_broker::RetainedMessage { message, at } = retained;
    RetainedMessage { message, at }
}
