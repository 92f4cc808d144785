//! Mitigation actions.

use picket_model::{MitigationAction, MitigationActionName, MitigationActionParams};
use picket_store::mitigation_actions;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{action_arn, params};
use crate::detect::{listed, page};
use crate::error::ApiError;
use crate::input::{Members, missing, one_of, parsed, role_arn, seconds};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateMitigationAction", create),
    operation!(Iot, "DescribeMitigationAction", describe),
    operation!(Iot, "UpdateMitigationAction", update),
    operation!(Iot, "DeleteMitigationAction", delete),
    operation!(Iot, "ListMitigationActions", list),
];

/// The kinds of actions. Source: aws `MitigationActionType`.
const ACTION_TYPES: [&str; 6] = [
    "UPDATE_DEVICE_CERTIFICATE",
    "UPDATE_CA_CERTIFICATE",
    "ADD_THINGS_TO_THING_GROUP",
    "REPLACE_DEFAULT_POLICY_VERSION",
    "ENABLE_IOT_LOGGING",
    "PUBLISH_FINDING_TO_SNS",
];

fn name(request: &Request) -> Result<MitigationActionName, ApiError> {
    parsed("actionName", request.label("actionName")?, MitigationActionName::parse)
}

fn role(members: &Members) -> Result<Option<String>, ApiError> {
    let role = members.str("roleArn")?.map(role_arn).transpose();
    let role = role.map_err(|error| ApiError::invalid(format!("`roleArn`: {error}")))?;
    Ok(role.map(str::to_owned))
}

fn action_params(
    state: &ApiState,
    members: &Members,
) -> Result<Option<MitigationActionParams>, ApiError> {
    let params = members.object("actionParams")?;
    params.map(|params| params::read(&state.account, &params)).transpose()
}

/// What creating and changing an action answer.
fn identity(state: &ApiState, action: &MitigationAction) -> Response {
    Response::json(&json!({
        "actionArn": action_arn(&state.account, &action.name),
        "actionId": action.id,
    }))
}

/// aws: CreateMitigationAction
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let now = state.now();
    let action = MitigationAction {
        name: name(&request)?,
        id: Uuid::new_v4().to_string(),
        role_arn: role(&members)?.ok_or_else(|| missing("roleArn"))?,
        params: action_params(state, &members)?.ok_or_else(|| missing("actionParams"))?,
        created_at: now,
        modified_at: now,
    };
    let answer = identity(state, &action);
    state.write(move |tx| Ok(mitigation_actions::create(tx, &action)?)).await?;
    Ok(answer)
}

/// aws: DescribeMitigationAction
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let action = state.read(move |tx| Ok(mitigation_actions::get(tx, &name)?)).await?;
    Ok(Response::json(&json!({
        "actionName": action.name.as_str(),
        "actionType": action.params.action_type(),
        "actionArn": action_arn(&state.account, &action.name),
        "actionId": action.id,
        "roleArn": action.role_arn,
        "actionParams": params::to_json(&action.params),
        "creationDate": seconds(action.created_at),
        "lastModifiedDate": seconds(action.modified_at),
    })))
}

/// aws: UpdateMitigationAction. A task that was started keeps the action as it was.
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let members = request.members()?;
    let (role_arn, params) = (role(&members)?, action_params(state, &members)?);
    let now = state.now();
    let action = state
        .write(move |tx| {
            let mut action = mitigation_actions::get(tx, &name)?;
            action.role_arn = role_arn.unwrap_or(action.role_arn);
            action.params = params.unwrap_or(action.params);
            action.modified_at = now;
            mitigation_actions::update(tx, &action)?;
            Ok(action)
        })
        .await?;
    Ok(identity(state, &action))
}

/// aws: DeleteMitigationAction. One that does not exist is deleted, too; a task that was started
/// keeps it.
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    state.write(move |tx| Ok(mitigation_actions::delete(tx, &name)?)).await?;
    Ok(Response::empty())
}

/// aws: ListMitigationActions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&request)?;
    let types = ACTION_TYPES.map(|it| (it, it));
    let action_type =
        request.query("actionType").map(|text| one_of("actionType", text, &types)).transpose()?;
    let list = state.read(move |tx| Ok(mitigation_actions::list(tx, action_type, &page)?)).await?;
    let identifier = |action: &MitigationAction| -> Value {
        json!({
            "actionName": action.name.as_str(),
            "actionArn": action_arn(&state.account, &action.name),
            "creationDate": seconds(action.created_at),
        })
    };
    Ok(listed("actionIdentifiers", list.items.iter().map(identifier).collect(), list.next))
}
