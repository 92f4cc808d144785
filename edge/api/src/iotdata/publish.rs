//! Publishing a message to devices.

use picket_mqtt::http::{BadMember, HttpMessage, check_topic};
use serde_json::json;

use crate::error::{ApiError, ErrorKind};
use crate::operation::{Operation, operation};
use crate::ports::{Message, PublishError};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[operation!(IotData, "Publish", publish)];

/// aws: iot-data Publish.
async fn publish(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let topic = request.label("topic")?.to_owned();
    check_topic("topic", &topic).map_err(refuse)?;
    let said = HttpMessage::read(|name| request.query(name), |name| request.header(name));
    let HttpMessage { qos, retain, properties } = said.map_err(refuse)?;
    let message = Message { topic, payload: request.body, qos, retain, properties };
    state.messages.publish(message).await.map_err(not_published)?;
    Ok(Response::json(&json!({ "message": "OK", "traceId": request.id })))
}

/// How it is said that a message was not taken.
pub(super) fn not_published(error: PublishError) -> ApiError {
    match error {
        PublishError::Invalid(_) => ApiError::invalid(error),
        PublishError::TooLarge { .. } => ApiError::new(ErrorKind::TooLarge, error.to_string()),
        PublishError::Unavailable => ApiError::unavailable(error),
    }
}

/// A part of the request that is not as it must be.
pub(super) fn refuse(bad: BadMember) -> ApiError {
    ApiError::invalid(bad)
}
