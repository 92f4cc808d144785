//! The API's way into the broker.

use std::pin::Pin;

use picket_api::{Message, Messages, PublishError};
use picket_broker::{Broker, InternalPublish};

/// The broker behind the API's port.
pub(crate) struct BrokerMessages {
    broker: Broker,
}

impl BrokerMessages {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    fn hand_over(&self, message: Message) -> Result<(), PublishError> {
        let Message { topic, payload, qos, retain, properties } = message;
        let publish = InternalPublish { topic, payload, qos, retain, properties };
        self.broker.publish(publish).map_err(|error| match error {
            picket_broker::PublishError::TooLarge { bytes, max } => {
                PublishError::TooLarge { len: bytes, max }
            }
            error @ picket_broker::PublishError::Topic(_) => {
                PublishError::Invalid(error.to_string())
            }
        })
    }
}

impl Messages for BrokerMessages {
    fn publish(
        &self,
        message: Message,
    ) -> Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + '_>> {
        Box::pin(async move {
            self.hand_over(message)?;
            self.broker.committed().await;
            Ok(())
        })
    }
}
