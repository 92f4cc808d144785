//! Which events of the registry are published.

use std::collections::BTreeMap;

use picket_model::EventType;
use picket_store::event_configurations;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::input::{one_of, seconds};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "DescribeEventConfigurations", describe),
    operation!(Iot, "UpdateEventConfigurations", update),
];

/// aws: DescribeEventConfigurations. Every kind is named; what nobody spoke of is off.
async fn describe(state: &ApiState, _request: Request) -> Result<Response, ApiError> {
    let found = state.read(|tx| Ok(event_configurations::get(tx)?)).await?;
    let configurations = EventType::ALL.into_iter().map(|event_type| {
        let enabled = found.enabled.get(&event_type).copied().unwrap_or(false);
        (event_type.as_str().to_owned(), json!({ "Enabled": enabled }))
    });
    let mut answer = json!({ "eventConfigurations": configurations.collect::<Value>() });
    if let Some((created_at, modified_at)) = found.times {
        answer["creationDate"] = seconds(created_at);
        answer["lastModifiedDate"] = seconds(modified_at);
    }
    Ok(Response::json(&answer))
}

/// aws: UpdateEventConfigurations. Kinds that are not named stay as they are.
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    const MEMBER: &str = "eventConfigurations";
    let mut enabled = BTreeMap::new();
    if let Some(configurations) = request.members()?.object(MEMBER)? {
        let set = EventType::ALL.map(|event_type| (event_type.as_str(), event_type));
        for name in configurations.names() {
            let event_type = one_of(MEMBER, name, &set)?;
            let configuration = configurations.required_object(name)?;
            enabled.insert(event_type, configuration.bool("Enabled")?.unwrap_or(false));
        }
    }
    let now = state.now();
    state.write(move |tx| Ok(event_configurations::update(tx, &enabled, now)?)).await?;
    Ok(Response::empty())
}
