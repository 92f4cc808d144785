//! Static thing groups.

use picket_model::GroupName;
use picket_store::groups::{self, GroupFilter, GroupUpdate, NewGroup};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{attributes, names};
use crate::error::ApiError;
use crate::input::{Members, at_most_chars, seconds};
use crate::limits::DESCRIPTION_CHARS_MAX;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateThingGroup", create),
    operation!(Iot, "DescribeThingGroup", describe),
    operation!(Iot, "UpdateThingGroup", update),
    operation!(Iot, "DeleteThingGroup", delete),
    operation!(Iot, "ListThingGroups", list),
];

/// A group and its ARN, as lists of groups carry them.
pub(super) fn reference(state: &ApiState, group: &GroupName) -> Value {
    json!({ "groupName": group.as_str(), "groupArn": state.account.group_arn(group) })
}

fn description(properties: &Members) -> Result<Option<String>, ApiError> {
    let member = "thingGroupProperties.thingGroupDescription";
    let text = properties.str("thingGroupDescription")?;
    text.map(|text| at_most_chars(member, text, DESCRIPTION_CHARS_MAX).map(str::to_owned))
        .transpose()
}

/// aws: CreateThingGroup
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let parent = members.str("parentGroupName")?.map(|text| names::group("parentGroupName", text));
    let mut new = NewGroup {
        name: names::group("thingGroupName", request.label("thingGroupName")?)?,
        parent: parent.transpose()?,
        description: None,
        attributes: Default::default(),
    };
    if let Some(properties) = members.object("thingGroupProperties")? {
        new.description = description(&properties)?;
        new.attributes = attributes::payload(&properties)?.0.unwrap_or_default();
    }
    let (id, now) = (Uuid::new_v4().to_string(), state.now());
    let group = state.write(move |tx| Ok(groups::create(tx, &new, &id, now)?)).await?;
    Ok(Response::json(&json!({
        "thingGroupName": group.name.as_str(),
        "thingGroupArn": state.account.group_arn(&group.name),
        "thingGroupId": group.id,
    })))
}

/// aws: DescribeThingGroup
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::group("thingGroupName", request.label("thingGroupName")?)?;
    let (group, path) =
        state.read(move |tx| Ok((groups::get(tx, &name)?, groups::path(tx, &name)?))).await?;
    let mut metadata = json!({ "creationDate": seconds(group.created_at) });
    if let Some(parent) = &group.parent {
        // The path begins with the group itself and ends with the root.
        let above: Vec<Value> = path.iter().skip(1).rev().map(|it| reference(state, it)).collect();
        metadata["parentGroupName"] = json!(parent.as_str());
        metadata["rootToParentThingGroups"] = json!(above);
    }
    let mut properties = json!({ "attributePayload": { "attributes": group.attributes } });
    if let Some(text) = &group.description {
        properties["thingGroupDescription"] = json!(text);
    }
    Ok(Response::json(&json!({
        "thingGroupName": group.name.as_str(),
        "thingGroupArn": state.account.group_arn(&group.name),
        "thingGroupId": group.id,
        "version": group.version,
        "thingGroupProperties": properties,
        "thingGroupMetadata": metadata,
    })))
}

/// aws: UpdateThingGroup
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::group("thingGroupName", request.label("thingGroupName")?)?;
    let members = request.members()?;
    let properties = members.required_object("thingGroupProperties")?;
    let (attributes, merge) = attributes::payload(&properties)?;
    let update = GroupUpdate {
        description: description(&properties)?,
        attributes,
        merge,
        expected_version: members.u64("expectedVersion")?,
    };
    let group = state.write(move |tx| Ok(groups::update(tx, &name, &update)?)).await?;
    Ok(Response::json(&json!({ "version": group.version })))
}

/// aws: DeleteThingGroup. A group that does not exist is deleted, too.
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::group("thingGroupName", request.label("thingGroupName")?)?;
    let expected_version = request.query_u64("expectedVersion")?;
    state.write(move |tx| Ok(groups::delete(tx, &name, expected_version)?)).await?;
    Ok(Response::empty())
}

/// aws: ListThingGroups
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let parent = request.query("parentGroup").map(|text| names::group("parentGroup", text));
    let prefix =
        request.query("namePrefixFilter").map(|text| names::group("namePrefixFilter", text));
    let filter = GroupFilter {
        parent: parent.transpose()?,
        prefix: prefix.transpose()?.map(|it| it.to_string()),
        // aws: ListThingGroups: "If true, return child groups as well"; without a parent AWS
        // lists groups of all levels unless told otherwise.
        recursive: request.query_bool("recursive")?.unwrap_or(true),
    };
    let page = PageRequest::next_token(&request)?.of_store();
    let found = state.read(move |tx| Ok(groups::list(tx, &filter, &page)?)).await?;
    let groups: Vec<Value> = found.items.iter().map(|it| reference(state, &it.name)).collect();
    Ok(Response::json(&with_next(json!({ "thingGroups": groups }), "nextToken", found.next)))
}
