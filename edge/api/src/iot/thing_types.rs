//! Thing types.

use picket_model::Account;
use picket_store::thing_types::{self, NewThingType, ThingType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{attributes, names};
use crate::error::ApiError;
use crate::input::{at_most_chars, invalid_value, seconds};
use crate::limits::DESCRIPTION_CHARS_MAX;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateThingType", create),
    operation!(Iot, "DescribeThingType", describe),
    operation!(Iot, "DeprecateThingType", deprecate),
    operation!(Iot, "DeleteThingType", delete),
    operation!(Iot, "ListThingTypes", list),
];

/// aws: CreateThingType
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let mut new = NewThingType {
        name: names::thing_type("thingTypeName", request.label("thingTypeName")?)?,
        description: None,
        searchable: Vec::new(),
    };
    if let Some(properties) = request.members()?.object("thingTypeProperties")? {
        let member = "thingTypeProperties.thingTypeDescription";
        new.description = properties
            .str("thingTypeDescription")?
            .map(|text| at_most_chars(member, text, DESCRIPTION_CHARS_MAX).map(str::to_owned))
            .transpose()?;
        for name in properties.str_list("searchableAttributes")? {
            attributes::check_name("thingTypeProperties.searchableAttributes", name)?;
            new.searchable.push(name.to_owned());
        }
        if let Some(value) = properties.get("mqtt5Configuration") {
            let member = "thingTypeProperties.mqtt5Configuration";
            let rule = "Member is not supported: attributes are not added to messages";
            return Err(invalid_value(&value.to_string(), member, rule));
        }
    }
    let (id, now) = (Uuid::new_v4().to_string(), state.now());
    let made = state.write(move |tx| Ok(thing_types::create(tx, &new, &id, now)?)).await?;
    Ok(Response::json(&json!({
        "thingTypeName": made.name.as_str(),
        "thingTypeArn": arn(&state.account, &made),
        "thingTypeId": made.id,
    })))
}

fn arn(account: &Account, thing_type: &ThingType) -> String {
    account.iot_arn(format_args!("thingtype/{}", thing_type.name))
}

/// What ListThingTypes says of a thing type.
fn summary(account: &Account, thing_type: &ThingType) -> Value {
    let mut properties = json!({ "searchableAttributes": thing_type.searchable });
    if let Some(text) = &thing_type.description {
        properties["thingTypeDescription"] = json!(text);
    }
    let mut metadata = json!({
        "deprecated": thing_type.deprecated_at.is_some(),
        "creationDate": seconds(thing_type.created_at),
    });
    if let Some(at) = thing_type.deprecated_at {
        metadata["deprecationDate"] = seconds(at);
    }
    json!({
        "thingTypeName": thing_type.name.as_str(),
        "thingTypeArn": arn(account, thing_type),
        "thingTypeProperties": properties,
        "thingTypeMetadata": metadata,
    })
}

/// aws: DescribeThingType
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing_type("thingTypeName", request.label("thingTypeName")?)?;
    let found = state.read(move |tx| Ok(thing_types::get(tx, &name)?)).await?;
    let mut answer = summary(&state.account, &found);
    answer["thingTypeId"] = json!(found.id);
    Ok(Response::json(&answer))
}

/// aws: DeprecateThingType
async fn deprecate(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing_type("thingTypeName", request.label("thingTypeName")?)?;
    let undo = request.members()?.bool("undoDeprecate")?.unwrap_or(false);
    let now = state.now();
    state.write(move |tx| Ok(thing_types::deprecate(tx, &name, undo, now)?)).await?;
    Ok(Response::empty())
}

/// aws: DeleteThingType
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing_type("thingTypeName", request.label("thingTypeName")?)?;
    let now = state.now();
    state.write(move |tx| Ok(thing_types::delete(tx, &name, now)?)).await?;
    Ok(Response::empty())
}

/// aws: ListThingTypes. With a name it lists that one, or nothing.
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = PageRequest::next_token(&request)?.of_store();
    let only = request
        .query("thingTypeName")
        .map(|text| names::thing_type("thingTypeName", text))
        .transpose()?;
    let (items, next) = state
        .read(move |tx| match &only {
            None => {
                let found = thing_types::list(tx, &page)?;
                Ok((found.items, found.next))
            }
            Some(name) => match thing_types::get(tx, name) {
                Ok(found) => Ok((vec![found], None)),
                Err(picket_store::RegistryError::NotFound { .. }) => Ok((Vec::new(), None)),
                Err(error) => Err(error.into()),
            },
        })
        .await?;
    let types: Vec<Value> = items.iter().map(|it| summary(&state.account, it)).collect();
    Ok(Response::json(&with_next(json!({ "thingTypes": types }), "nextToken", next)))
}
