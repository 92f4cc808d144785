//! Things.

use picket_model::{Account, Thing};
use picket_store::things::{self, AttributeFilter, NewThing, ThingFilter, ThingUpdate};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{attributes, names};
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateThing", create),
    operation!(Iot, "DescribeThing", describe),
    operation!(Iot, "UpdateThing", update),
    operation!(Iot, "DeleteThing", delete),
    operation!(Iot, "ListThings", list),
];

/// aws: CreateThing
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let (attributes, _) = attributes::payload(&members)?;
    let thing_type =
        members.str("thingTypeName")?.map(|text| names::thing_type("thingTypeName", text));
    if let Some(group) = members.str("billingGroupName")? {
        return Err(ApiError::not_found("billing group", group));
    }
    let new = NewThing {
        name: names::thing("thingName", request.label("thingName")?)?,
        thing_type: thing_type.transpose()?,
        attributes: attributes.unwrap_or_default(),
    };
    let (id, now) = (Uuid::new_v4().to_string(), state.now());
    let thing = state.write(move |tx| Ok(things::create(tx, &new, &id, now)?)).await?;
    Ok(Response::json(&json!({
        "thingName": thing.name.as_str(),
        "thingArn": state.account.thing_arn(&thing.name),
        "thingId": thing.id,
    })))
}

/// aws: DescribeThing
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing("thingName", request.label("thingName")?)?;
    let thing = state.read(move |tx| Ok(things::get(tx, &name)?)).await?;
    let mut answer = summary(&state.account, &thing);
    answer["thingId"] = json!(thing.id);
    answer["defaultClientId"] = json!(thing.name.as_str());
    Ok(Response::json(&answer))
}

/// What ListThings says of a thing.
fn summary(account: &Account, thing: &Thing) -> Value {
    let mut value = json!({
        "thingName": thing.name.as_str(),
        "thingArn": account.thing_arn(&thing.name),
        "attributes": thing.attributes,
        "version": thing.version,
    });
    if let Some(thing_type) = &thing.thing_type {
        value["thingTypeName"] = json!(thing_type.as_str());
    }
    value
}

/// aws: UpdateThing
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing("thingName", request.label("thingName")?)?;
    let members = request.members()?;
    let (attributes, merge) = attributes::payload(&members)?;
    let thing_type =
        members.str("thingTypeName")?.map(|text| names::thing_type("thingTypeName", text));
    let update = ThingUpdate {
        attributes,
        merge,
        thing_type: thing_type.transpose()?,
        remove_type: members.bool("removeThingType")?.unwrap_or(false),
        expected_version: members.u64("expectedVersion")?,
    };
    state.write(move |tx| Ok(things::update(tx, &name, &update)?)).await?;
    Ok(Response::empty())
}

/// aws: DeleteThing. A thing that does not exist is deleted, too.
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::thing("thingName", request.label("thingName")?)?;
    let expected_version = request.query_u64("expectedVersion")?;
    state.write(move |tx| Ok(things::delete(tx, &name, expected_version)?)).await?;
    Ok(Response::empty())
}

/// aws: ListThings
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let attribute = match (request.query("attributeName"), request.query("attributeValue")) {
        (None, None) => None,
        (Some(name), Some(value)) => Some(AttributeFilter {
            name: name.to_owned(),
            value: value.to_owned(),
            prefix: request.query_bool("usePrefixAttributeValue")?.unwrap_or(false),
        }),
        (Some(_), None) | (None, Some(_)) => {
            let sentence = "`attributeName` and `attributeValue` must be given together";
            return Err(ApiError::invalid(sentence));
        }
    };
    let thing_type =
        request.query("thingTypeName").map(|text| names::thing_type("thingTypeName", text));
    let filter = ThingFilter { attribute, thing_type: thing_type.transpose()? };
    let page = PageRequest::next_token(&request)?.of_store();
    let found = state.read(move |tx| Ok(things::list(tx, &filter, &page)?)).await?;
    let things: Vec<Value> = found.items.iter().map(|it| summary(&state.account, it)).collect();
    Ok(Response::json(&with_next(json!({ "things": things }), "nextToken", found.next)))
}
