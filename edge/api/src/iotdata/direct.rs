//! Sending a message to one client.

use std::time::Duration;

use picket_mqtt::QoS;
use picket_mqtt::http::{HttpMessage, check_topic};
use picket_mqtt::packet::MessageProperties;
use serde_json::json;

use super::connections::{client_id, unknown};
use super::publish::{not_published, refuse};
use crate::error::{ApiError, ErrorKind};
use crate::input::in_range;
use crate::operation::{Operation, operation};
use crate::ports::{Message, SendError};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[operation!(IotData, "SendDirectMessage", send)];

/// Seconds that are waited for the client to confirm. Source: aws SendDirectMessage, `timeout`.
const TIMEOUT_S_DEFAULT: u64 = 5;

/// The longest that can be asked for.
const TIMEOUT_S_MAX: u64 = 15;

/// aws: iot-data SendDirectMessage
async fn send(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let client = client_id(&request)?;
    let topic = request.query_required("topic")?.to_owned();
    check_topic("topic", &topic).map_err(refuse)?;
    let is_confirmed = request.query_bool("confirmation")?.unwrap_or(false);
    let timeout_s = match request.query_u64("timeout")? {
        Some(seconds) if is_confirmed => in_range("timeout", seconds, 1, TIMEOUT_S_MAX)?,
        Some(_) | None => TIMEOUT_S_DEFAULT,
    };
    let said = HttpMessage::read(|name| request.query(name), |name| request.header(name));
    // The rest of what Publish takes is not this operation's.
    let properties = MessageProperties { expiry_s: None, ..said.map_err(refuse)?.properties };
    let qos = if is_confirmed { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let message = Message { topic, payload: request.body, qos, retain: false, properties };
    let sent = state.connections.send(&client, message, Duration::from_secs(timeout_s)).await;
    match sent {
        Ok(()) => Ok(Response::json(&json!({ "message": "OK", "traceId": request.id }))),
        Err(SendError::Message(error)) => Err(not_published(error)),
        Err(SendError::NotConnected) => Err(unknown(&client)),
        Err(error @ SendError::Denied) => {
            Err(ApiError::new(ErrorKind::Forbidden, error.to_string()))
        }
        Err(error @ SendError::Unfit) => Err(ApiError::new(ErrorKind::TooLarge, error.to_string())),
        Err(error @ SendError::Unconfirmed) => {
            Err(ApiError::new(ErrorKind::Unconfirmed, error.to_string()))
        }
    }
}
