//! Which things are in which groups.

use picket_model::{GroupName, ThingName};
use picket_store::{groups, things};
use serde_json::{Value, json};

use super::groups::reference;
use super::names;
use crate::error::ApiError;
use crate::input::Members;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "AddThingToThingGroup", add),
    operation!(Iot, "RemoveThingFromThingGroup", remove),
    operation!(Iot, "UpdateThingGroupsForThing", update),
    operation!(Iot, "ListThingsInThingGroup", list_things),
    operation!(Iot, "ListThingGroupsForThing", list_groups),
];

fn thing_and_group(
    state: &ApiState,
    members: &Members,
) -> Result<(ThingName, GroupName), ApiError> {
    let account = &state.account;
    let thing =
        names::by_name_or_arn(account, members, ("thingName", "thingArn"), "thing/", names::thing)?;
    let group = names::by_name_or_arn(
        account,
        members,
        ("thingGroupName", "thingGroupArn"),
        "thinggroup/",
        names::group,
    )?;
    Ok((thing, group))
}

/// aws: AddThingToThingGroup. A member stays one, silently: functions count on it.
async fn add(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (thing, group) = thing_and_group(state, &request.members()?)?;
    state.write(move |tx| Ok(groups::add_thing(tx, &thing, &group)?)).await?;
    Ok(Response::empty())
}

/// aws: RemoveThingFromThingGroup
async fn remove(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (thing, group) = thing_and_group(state, &request.members()?)?;
    state.write(move |tx| Ok(groups::remove_thing(tx, &thing, &group)?)).await?;
    Ok(Response::empty())
}

/// aws: UpdateThingGroupsForThing. First out of the old groups, then into the new ones, all or
/// nothing; so a thing can move within a hierarchy.
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let thing = names::thing("thingName", members.required_str("thingName")?)?;
    let names = |member: &str| -> Result<Vec<GroupName>, ApiError> {
        members.str_list(member)?.into_iter().map(|text| names::group(member, text)).collect()
    };
    let (to_add, to_remove) = (names("thingGroupsToAdd")?, names("thingGroupsToRemove")?);
    state
        .write(move |tx| {
            for group in &to_remove {
                groups::remove_thing(tx, &thing, group)?;
            }
            for group in &to_add {
                groups::add_thing(tx, &thing, group)?;
            }
            Ok(things::get(tx, &thing).map(drop)?)
        })
        .await?;
    Ok(Response::empty())
}

/// aws: ListThingsInThingGroup
async fn list_things(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let group = names::group("thingGroupName", request.label("thingGroupName")?)?;
    let recursive = request.query_bool("recursive")?.unwrap_or(false);
    let page = PageRequest::next_token(&request)?.of_store();
    let found = state.read(move |tx| Ok(groups::members(tx, &group, recursive, &page)?)).await?;
    let things: Vec<&str> = found.items.iter().map(ThingName::as_str).collect();
    Ok(Response::json(&with_next(json!({ "things": things }), "nextToken", found.next)))
}

/// aws: ListThingGroupsForThing. The groups that the thing is in itself, not those above them.
async fn list_groups(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let thing = names::thing("thingName", request.label("thingName")?)?;
    let page = PageRequest::next_token(&request)?;
    let groups = state
        .read(move |tx| {
            things::get(tx, &thing)?;
            Ok(groups::groups_of(tx, &thing)?)
        })
        .await?;
    let (groups, next) = page.cut(groups, ToString::to_string)?;
    let groups: Vec<Value> = groups.iter().map(|it| reference(state, it)).collect();
    Ok(Response::json(&with_next(json!({ "thingGroups": groups }), "nextToken", next)))
}
