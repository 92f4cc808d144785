//! Retained messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_mqtt::http::check_topic;
use picket_mqtt::packet::UserProperties;
use serde_json::{Value, json};

use super::publish::refuse;
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::ports::RetainedMessage;
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(IotData, "GetRetainedMessage", get),
    operation!(IotData, "ListRetainedMessages", list),
];

/// Largest page. Source: aws `MaxResults`.
const PAGE_MAX: usize = 200;

/// aws: iot-data GetRetainedMessage
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let topic = request.label("topic")?;
    check_topic("topic", topic).map_err(refuse)?;
    let found = state
        .retained
        .get(topic)
        .ok_or_else(|| ApiError::not_found("a retained message of topic", topic.escape_debug()))?;
    let RetainedMessage { message, at } = found;
    let mut answer = json!({
        "topic": message.topic.as_str(),
        "payload": STANDARD.encode(&message.payload),
        "qos": message.qos.as_u8(),
        "lastModifiedTime": at.as_millis(),
    });
    let user = message.properties.as_ref().map(|properties| &properties.user);
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        answer["userProperties"] = json!(STANDARD.encode(shown(user)));
    }
    Ok(Response::json(&answer))
}

/// User properties as Publish takes them: one object for each, so that a name may be there twice.
fn shown(user: &UserProperties) -> String {
    let pairs = user.iter().map(|(name, value)| json!({ (&**name): &**value }));
    pairs.collect::<Value>().to_string()
}

/// aws: iot-data ListRetainedMessages
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = PageRequest::next_token_up_to(&request, PAGE_MAX)?;
    let after = page.after()?;
    if let Some(topic) = &after {
        check_topic("nextToken", topic).map_err(refuse)?;
    }
    let mut messages = state.retained.after(after.as_deref(), page.limit() + 1);
    let has_more = messages.len() > page.limit();
    messages.truncate(page.limit());
    let next = messages
        .last()
        .filter(|_| has_more)
        .map(|it| PageRequest::token(it.message.topic.as_str()));
    let listed = messages.iter().map(|RetainedMessage { message, at }| {
        json!({
            "topic": message.topic.as_str(),
            "payloadSize": message.payload.len(),
            "qos": message.qos.as_u8(),
            "lastModifiedTime": at.as_millis(),
        })
    });
    let answer = json!({ "retainedTopics": listed.collect::<Value>() });
    Ok(Response::json(&with_next(answer, "nextToken", next)))
}
