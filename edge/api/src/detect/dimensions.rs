//! Dimensions: named sets of topic filters that narrow a metric.

use picket_model::limits::MqttLimits;
use picket_model::{Dimension, DimensionName};
use picket_mqtt::{TopicFilter, TopicLimits};
use picket_store::dimensions;
use serde_json::{Value, json};

use super::{listed, page};
use crate::error::ApiError;
use crate::input::{
    Members, client_request_token, invalid_value, missing, one_of, parsed, seconds,
};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateDimension", create),
    operation!(Iot, "DescribeDimension", describe),
    operation!(Iot, "UpdateDimension", update),
    operation!(Iot, "DeleteDimension", delete),
    operation!(Iot, "ListDimensions", list),
];

/// Filters of one dimension. Source: aws `DimensionStringValues`.
const FILTERS_MAX: usize = 100;

/// Longest filter, in characters. Source: aws `DimensionStringValue`.
const FILTER_CHARS_MAX: usize = 256;

/// What stands in a filter for the client id of the connection. Source: AWS guide "Dimensions".
const CLIENT_ID: &str = "${iot:ClientId}";

fn name(request: &Request) -> Result<DimensionName, ApiError> {
    parsed("name", request.label("name")?, DimensionName::parse)
}

/// `stringValues`: 1 to 100 topic filters.
fn filters(members: &Members) -> Result<Vec<String>, ApiError> {
    const MEMBER: &str = "stringValues";
    if members.get(MEMBER).is_none() {
        return Err(missing(MEMBER));
    }
    let filters = members.str_list(MEMBER)?;
    if filters.is_empty() || filters.len() > FILTERS_MAX {
        return Err(ApiError::invalid(format!(
            "`{MEMBER}` has {} elements; 1 to {FILTERS_MAX} are allowed",
            filters.len()
        )));
    }
    filters
        .into_iter()
        .map(|filter| match check_filter(filter) {
            Ok(()) => Ok(filter.to_owned()),
            Err(rule) => Err(invalid_value(filter, MEMBER, rule)),
        })
        .collect()
}

fn check_filter(filter: &str) -> Result<(), String> {
    let len = filter.chars().count();
    if len > FILTER_CHARS_MAX {
        return Err(format!("Member must have length less than or equal to {FILTER_CHARS_MAX}"));
    }
    // A client id fills a place within a level, so a letter does for it here.
    let filled = filter.replace(CLIENT_ID, "c");
    if filled.contains("${") {
        return Err(format!("Member must have no other variable than {CLIENT_ID}"));
    }
    let filter = TopicFilter::parse(&filled, &TopicLimits::from(&MqttLimits::default()))
        .map_err(|error| format!("Member must be an MQTT topic filter: {error}"))?;
    if filter.share_group().is_some() {
        return Err("Member must not be a shared subscription".to_owned());
    }
    Ok(())
}

fn arn(state: &ApiState, name: &DimensionName) -> String {
    state.account.iot_arn(format_args!("dimension/{name}"))
}

fn to_json(state: &ApiState, dimension: &Dimension) -> Value {
    json!({
        "name": dimension.name.as_str(),
        "arn": arn(state, &dimension.name),
        "type": "TOPIC_FILTER",
        "stringValues": dimension.filters,
        "creationDate": seconds(dimension.created_at),
        "lastModifiedDate": seconds(dimension.modified_at),
    })
}

/// aws: CreateDimension. The same again with the same token gives what is there.
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let members = request.members()?;
    one_of("type", members.required_str("type")?, &[("TOPIC_FILTER", ())])?;
    let now = state.now();
    let dimension =
        Dimension { name, filters: filters(&members)?, created_at: now, modified_at: now };
    let token = client_request_token(&members)?.to_owned();
    let dimension = state.write(move |tx| Ok(dimensions::create(tx, &dimension, &token)?)).await?;
    Ok(Response::json(&json!({
        "name": dimension.name.as_str(),
        "arn": arn(state, &dimension.name),
    })))
}

/// aws: DescribeDimension
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let dimension = state.read(move |tx| Ok(dimensions::get(tx, &name)?)).await?;
    Ok(Response::json(&to_json(state, &dimension)))
}

/// aws: UpdateDimension
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let filters = filters(&request.members()?)?;
    let now = state.now();
    let dimension =
        state.write(move |tx| Ok(dimensions::set_filters(tx, &name, filters, now)?)).await?;
    Ok(Response::json(&to_json(state, &dimension)))
}

/// aws: DeleteDimension. One that does not exist is deleted, too; one that a security profile uses
/// is not.
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    state.write(move |tx| Ok(dimensions::delete(tx, &name)?)).await?;
    Ok(Response::empty())
}

/// aws: ListDimensions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&request)?;
    let list = state.read(move |tx| Ok(dimensions::list(tx, &page)?)).await?;
    let names = list.items.iter().map(|name| name.as_str().into()).collect();
    Ok(listed("dimensionNames", names, list.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_that_a_client_could_subscribe_to() {
        for right in [
            "admin/#",
            "#",
            "+",
            "/",
            "a/+/c",
            "$aws/things/+/shadow/#",
            "devices/${iot:ClientId}/telemetry",
            "x-${iot:ClientId}",
            &"x".repeat(256),
        ] {
            assert_eq!(check_filter(right), Ok(()), "{right}");
        }
        for (wrong, expected) in [
            ("", "it is empty"),
            ("a#", "a wildcard where none can be"),
            ("a/#/b", "a wildcard where none can be"),
            ("#${iot:ClientId}", "a wildcard where none can be"),
            ("a/\u{0}", "control character"),
            ("$share/g/a", "shared subscription"),
            ("${iot:Connection.Thing.ThingName}/a", "no other variable than ${iot:ClientId}"),
            (&"x".repeat(257), "less than or equal to 256"),
            (&"/".repeat(40), "41 levels"),
        ] {
            let error = check_filter(wrong).unwrap_err();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }
}
