//! Clients' connections and sessions.

use std::net::SocketAddr;

use picket_model::{ClientId, Timestamp};
use serde_json::{Value, json};

use crate::error::{ApiError, ErrorKind};
use crate::input::{in_range, invalid_value, parsed};
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::ports::Connection;
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(IotData, "GetConnection", get),
    operation!(IotData, "DeleteConnection", delete),
    operation!(IotData, "ListSubscriptions", list_subscriptions),
];

/// Page of a list of subscriptions where the caller does not say. Source: aws ListSubscriptions.
const PAGE_DEFAULT: usize = 20;

/// Largest page of it. Source: aws `MaxResults`.
const PAGE_MAX: usize = 200;

/// aws: iot-data GetConnection
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let client = client_id(&request)?;
    let with_sockets = request.query_bool("includeSocketInformation")?.unwrap_or(false);
    let found = state.connections.find(&client).ok_or_else(|| unknown(&client))?;
    Ok(Response::json(&shown(&client, &found, with_sockets)))
}

/// aws: iot-data DeleteConnection
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let client = client_id(&request)?;
    let ends_session = request.query_bool("cleanSession")?.unwrap_or(false);
    let without_will = request.query_bool("preventWillMessage")?.unwrap_or(false);
    match state.connections.end(&client, ends_session, without_will).await {
        true => Ok(Response::empty()),
        false => Err(unknown(&client)),
    }
}

/// aws: iot-data ListSubscriptions
async fn list_subscriptions(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let client = client_id(&request)?;
    let size = request.query_u64("maxResults")?.unwrap_or(PAGE_DEFAULT as u64);
    let size = in_range("maxResults", size, 1, PAGE_MAX as u64)?;
    let token = ("nextToken", request.query("nextToken"));
    let page = PageRequest::read(("maxResults", Some(size)), token)?;
    let subscriptions = state.connections.subscriptions(&client).await;
    let busy = |error| ApiError::new(ErrorKind::Throttled, format!("{error}"));
    let subscriptions = subscriptions.map_err(busy)?.ok_or_else(|| unknown(&client))?;
    let (subscriptions, next) =
        page.cut(subscriptions, |(filter, _)| filter.as_str().to_owned())?;
    let listed = subscriptions
        .iter()
        .map(|(filter, qos)| json!({ "topicFilter": filter.as_str(), "qos": qos.as_u8() }));
    let answer = json!({ "subscriptions": listed.collect::<Value>() });
    Ok(Response::json(&with_next(answer, "nextToken", next)))
}

/// The client id of the path. Source: aws `ClientId`.
pub(super) fn client_id(request: &Request) -> Result<ClientId, ApiError> {
    const MEMBER: &str = "clientId";
    let text = request.label(MEMBER)?;
    if text.starts_with('$') {
        return Err(invalid_value(text, MEMBER, "Member must not begin with $"));
    }
    parsed(MEMBER, text, ClientId::parse)
}

/// How it is said that nothing is known of a client.
pub(super) fn unknown(client: &ClientId) -> ApiError {
    ApiError::not_found("a connection or session of client", client.as_str().escape_debug())
}

fn shown(client: &ClientId, connection: &Connection, with_sockets: bool) -> Value {
    let Connection { connected_at, disconnected, is_persistent, details } = connection;
    let mut shown = json!({
        "clientId": client.as_str(),
        "connected": connected_at.is_some(),
        "cleanSession": !is_persistent,
    });
    let mut set = |member: &str, value: Value| shown[member] = value;
    if let Some(at) = connected_at {
        set("connectedSince", millis(*at));
    }
    if let Some((at, reason)) = disconnected {
        set("disconnectedSince", millis(*at));
        set("disconnectReason", json!(reason.as_str()));
    }
    let Some(details) = details else { return shown };
    if let Some(thing) = &details.thing {
        set("thingName", json!(thing.as_str()));
    }
    set("keepAliveDuration", json!(details.keep_alive_s));
    set("sessionExpiry", json!(details.session_expiry_s));
    if with_sockets && connected_at.is_some() {
        let sockets = [("source", Some(details.source)), ("target", details.target)];
        for (side, address) in sockets {
            let Some(address) = address else { continue };
            set(&format!("{side}Ip"), json!(SocketAddr::ip(&address)));
            set(&format!("{side}Port"), json!(address.port()));
        }
    }
    shown
}

fn millis(at: Timestamp) -> Value {
    json!(at.as_millis())
}
