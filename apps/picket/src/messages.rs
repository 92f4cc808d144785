//! The API's way into the broker.

use std::pin::Pin;

use picket_api::{Message, MessageProperties, Messages, PublishError};
use picket_broker::{Broker, InternalPublish};
use picket_mqtt::{QoS, Text, packet};

/// The broker behind the API's port.
pub(crate) struct BrokerMessages {
    broker: Broker,
}

impl BrokerMessages {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    fn hand_over(&self, message: Message) -> Result<(), PublishError> {
        let properties = properties(message.properties)?;
        let publish = InternalPublish {
            topic: message.topic,
            payload: message.payload,
            qos: if message.at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: message.retain,
            properties,
        };
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
        let handed_over = self.hand_over(message);
        Box::pin(std::future::ready(handed_over))
    }
}

fn properties(given: MessageProperties) -> Result<packet::MessageProperties, PublishError> {
    let text = |text: String| {
        let refuse = || PublishError::Invalid("a property is too long or holds U+0000".to_owned());
        Text::new(&text).ok_or_else(refuse)
    };
    let user = given.user_properties.into_iter();
    Ok(packet::MessageProperties {
        payload_is_utf8: given.is_text,
        expiry_s: given.expiry_s,
        content_type: given.content_type.map(text).transpose()?,
        response_topic: given.response_topic.map(text).transpose()?,
        correlation_data: given.correlation_data,
        user: user
            .map(|(name, value)| Ok((text(name)?, text(value)?)))
            .collect::<Result<_, PublishError>>()?,
    })
}
