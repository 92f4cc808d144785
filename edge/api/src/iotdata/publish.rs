//! Publishing a message to devices.

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_model::limits::MqttLimits;
use serde_json::{Value, json};

use crate::error::{ApiError, ErrorKind};
use crate::input::{in_range, invalid_value, one_of};
use crate::operation::{Operation, operation};
use crate::ports::{Message, MessageProperties, PublishError};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[operation!(IotData, "Publish", publish)];

/// Longest MQTT 5 text property. Source: MQTT 5, 1.5.4: a text's length is two bytes.
const PROPERTY_BYTES_MAX: usize = 65_535;

/// User properties of one message. Source: AWS IoT quotas ("user properties", 20).
const USER_PROPERTIES_MAX: usize = 20;

/// aws: iot-data Publish.
async fn publish(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let topic = request.label("topic")?.to_owned();
    check_topic("topic", &topic)?;
    let qos = in_range("qos", request.query_u64("qos")?.unwrap_or(0), 0, 1)?;
    let message = Message {
        topic,
        at_least_once: qos == 1,
        retain: request.query_bool("retain")?.unwrap_or(false),
        properties: properties(&request)?,
        payload: request.body,
    };
    match state.messages.publish(message).await {
        Ok(()) => Ok(Response::json(&json!({ "message": "OK", "traceId": request.id }))),
        Err(error @ PublishError::Invalid(_)) => Err(ApiError::invalid(error)),
        Err(error @ PublishError::TooLarge { .. }) => {
            Err(ApiError::new(ErrorKind::TooLarge, error.to_string()))
        }
        Err(error @ PublishError::Unavailable) => Err(ApiError::unavailable(error)),
    }
}

/// A topic name that can be published to: mqtt-5.0 4.7, and not reserved for the server.
fn check_topic(member: &str, topic: &str) -> Result<(), ApiError> {
    let bytes_max = MqttLimits::default().topic_bytes_max;
    let rule = if topic.is_empty() {
        "Member must not be empty".to_owned()
    } else if topic.len() > bytes_max {
        format!("Member must have at most {bytes_max} bytes")
    } else if topic.contains(['+', '#']) {
        "Member must be a topic name, without the wildcards + and #".to_owned()
    } else if topic.chars().any(char::is_control) {
        "Member must not have control characters".to_owned()
    } else if topic.starts_with("$share/") {
        "Member must not begin with $share/".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid_value(topic, member, rule))
}

/// MQTT 5 properties: some in the query, some in headers.
fn properties(request: &Request) -> Result<MessageProperties, ApiError> {
    let text = |name: &str| match request.query(name).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > PROPERTY_BYTES_MAX || text.chars().any(char::is_control) => {
            Err(invalid_value(
                text,
                name,
                "Member must be a text of at most 65535 bytes without control characters",
            ))
        }
        other => Ok(other.map(str::to_owned)),
    };
    let response_topic = text("responseTopic")?;
    if let Some(topic) = &response_topic {
        check_topic("responseTopic", topic)?;
    }
    let correlation_data = request
        .header("x-amz-mqtt5-correlation-data")
        .map(|text| {
            let bytes =
                STANDARD.decode(text).ok().filter(|bytes| bytes.len() <= PROPERTY_BYTES_MAX);
            bytes
                .map(Bytes::from)
                .ok_or_else(|| invalid_value(text, "correlationData", "Member must be base64"))
        })
        .transpose()?;
    let is_text = request
        .header("x-amz-mqtt5-payload-format-indicator")
        .map(|text| {
            let set = [("UTF8_DATA", true), ("UNSPECIFIED_BYTES", false)];
            one_of("payloadFormatIndicator", text, &set)
        })
        .transpose()?;
    let expiry_s = match request.query_u64("messageExpiry")? {
        None => None,
        Some(seconds) => {
            let seconds = in_range("messageExpiry", seconds, 0, u64::from(u32::MAX))?;
            u32::try_from(seconds).ok().filter(|&seconds| seconds > 0)
        }
    };
    Ok(MessageProperties {
        is_text,
        content_type: text("contentType")?,
        response_topic,
        correlation_data,
        expiry_s,
        user_properties: request
            .header("x-amz-mqtt5-user-properties")
            .map_or(Ok(Vec::new()), user_properties)?,
    })
}

/// User properties: a JSON list of objects, each with its names and values, in base64.
///
/// botocore writes what it is given as JSON; whoever gives it the JSON text that the guide asks
/// for sends that text as a JSON string.
fn user_properties(header: &str) -> Result<Vec<(String, String)>, ApiError> {
    let refuse = || {
        let rule = "Member must be a JSON list of objects from strings to strings, in base64";
        invalid_value(header, "userProperties", rule)
    };
    let bytes = STANDARD.decode(header).map_err(|_| refuse())?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| refuse())?;
    if let Value::String(text) = &value {
        value = serde_json::from_str(text).map_err(|_| refuse())?;
    }
    let Value::Array(list) = value else { return Err(refuse()) };
    let mut properties = Vec::new();
    for object in &list {
        for (name, value) in object.as_object().ok_or_else(refuse)? {
            let value = value.as_str().ok_or_else(refuse)?;
            if name.len() > PROPERTY_BYTES_MAX || value.len() > PROPERTY_BYTES_MAX {
                return Err(refuse());
            }
            properties.push((name.clone(), value.to_owned()));
        }
    }
    if properties.len() > USER_PROPERTIES_MAX {
        return Err(ApiError::invalid(format!(
            "a message has at most {USER_PROPERTIES_MAX} user properties"
        )));
    }
    Ok(properties)
}
