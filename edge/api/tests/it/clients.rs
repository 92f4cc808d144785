//! A broker with three clients and some retained messages, which remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use picket_api::{
    Busy, Connection, ConnectionDetails, Connections, Later, Message, RetainedMessage,
    RetainedMessages, SendError, Subscriptions,
};
use picket_model::{ClientId, DisconnectReason, ThingName, Timestamp};
use picket_mqtt::packet::MessageProperties;
use picket_mqtt::{QoS, Text, TopicFilter, TopicLimits, TopicName};

/// Connected: `here`, and `busy`, which answers nothing. Away with a session: `away`.
#[derive(Default)]
pub(crate) struct Clients {
    /// What was asked for, in words.
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) sent: Mutex<Vec<Message>>,
}

const LIMITS: TopicLimits = TopicLimits { bytes_max: 99, levels_max: 9 };

const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_123);

impl Connections for Clients {
    fn find(&self, client: &ClientId) -> Option<Connection> {
        let details = ConnectionDetails {
            thing: Some(ThingName::parse("pump-7").unwrap()),
            session_expiry_s: 3600,
            keep_alive_s: 60,
            source: ([192, 0, 2, 7], 40_000).into(),
            target: Some(([192, 0, 2, 1], 8883).into()),
        };
        let connection = Connection {
            connected_at: Some(NOON),
            disconnected: None,
            is_persistent: true,
            details: Some(details),
        };
        match client.as_str() {
            "here" => Some(connection),
            "away" => Some(Connection {
                connected_at: None,
                disconnected: Some((NOON, DisconnectReason::KeepAliveTimeout)),
                ..connection
            }),
            "from/before" => Some(Connection {
                connected_at: None,
                disconnected: None,
                is_persistent: true,
                details: None,
            }),
            _ => None,
        }
    }

    fn end<'a>(
        &'a self,
        client: &'a ClientId,
        ends_session: bool,
        without_will: bool,
    ) -> Later<'a, bool> {
        let asked = format!("end {client} session {ends_session} without will {without_will}");
        self.asked.lock().unwrap().push(asked);
        let is_known = self.find(client).is_some();
        Box::pin(async move { is_known })
    }

    fn subscriptions<'a>(
        &'a self,
        client: &'a ClientId,
    ) -> Later<'a, Result<Option<Subscriptions>, Busy>> {
        let subscriptions = (0..25).map(|n| {
            let filter = TopicFilter::parse(&format!("a/{n:02}/#"), &LIMITS).unwrap();
            (filter, if n == 1 { QoS::AtLeastOnce } else { QoS::AtMostOnce })
        });
        let answer = match client.as_str() {
            "here" | "away" => Ok(Some(subscriptions.collect())),
            "busy" => Err(Busy),
            _ => Ok(None),
        };
        Box::pin(async { answer })
    }

    fn send<'a>(
        &'a self,
        client: &'a ClientId,
        message: Message,
        timeout: Duration,
    ) -> Later<'a, Result<(), SendError>> {
        let asked = format!("send {client} within {timeout:?}");
        self.asked.lock().unwrap().push(asked);
        let sent = match client.as_str() {
            "here" => Ok(()),
            "busy" => Err(SendError::Unconfirmed),
            "small" => Err(SendError::Unfit),
            "denied" => Err(SendError::Denied),
            _ => Err(SendError::NotConnected),
        };
        if sent.is_ok() {
            self.sent.lock().unwrap().push(message);
        }
        Box::pin(async { sent })
    }
}

impl RetainedMessages for Clients {
    fn get(&self, topic: &str) -> Option<RetainedMessage> {
        self.after(None, 9).into_iter().find(|found| found.message.topic.as_str() == topic)
    }

    fn after(&self, topic: Option<&str>, max: usize) -> Vec<RetainedMessage> {
        let text = |text: &str| Text::new(text).unwrap();
        let message = |topic: &str, payload: &'static str, user: &[(&str, &str)]| {
            let topic = TopicName::parse(topic, &LIMITS).unwrap();
            let user = user.iter().map(|(name, value)| (text(name), text(value))).collect();
            let properties = Box::new(MessageProperties { user, ..MessageProperties::default() });
            let (qos, now) = (QoS::AtLeastOnce, Timestamp::EPOCH);
            let message =
                picket_mqtt::Message::received(topic, payload.into(), qos, Some(properties), now);
            RetainedMessage { message: Arc::new(message), at: NOON }
        };
        let all = [
            message("a", "1", &[]),
            message("a/b c", "22", &[("k", "v"), ("k", "w")]),
            message("b", "333", &[]),
        ];
        let is_behind =
            |it: &RetainedMessage| topic.is_none_or(|after| it.message.topic.as_str() > after);
        all.into_iter().filter(is_behind).take(max).collect()
    }
}
