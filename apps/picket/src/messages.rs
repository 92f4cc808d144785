//! The API's way into the broker.

use picket_api::{Later, Message, Messages, PublishError};
use picket_broker::{Broker, InternalPublish};
use picket_mqtt::QoS;

/// The broker behind the API's port.
pub(crate) struct BrokerMessages {
    broker: Broker,
}

impl BrokerMessages {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }
}

impl Messages for BrokerMessages {
    fn publish(&self, message: Message) -> Later<'_, Result<(), PublishError>> {
        Box::pin(async move {
            let is_promised = message.qos > QoS::AtMostOnce;
            self.broker.publish(publish(message)).map_err(not_published)?;
            if is_promised {
                self.broker.committed().await;
            }
            Ok(())
        })
    }
}

/// A message of the API's as the broker takes it.
pub(crate) fn publish(message: Message) -> InternalPublish {
    let Message { topic, payload, qos, retain, properties } = message;
    InternalPublish { topic, payload, qos, retain, properties }
}

/// Why the broker did not take it, in the API's words.
pub(crate) fn not_published(error: picket_broker::PublishError) -> PublishError {
    match error {
        picket_broker::PublishError::TooLarge { bytes, max } => {
            PublishError::TooLarge { len: bytes, max }
        }
        error @ picket_broker::PublishError::Topic(_) => PublishError::Invalid(error.to_string()),
    }
}
