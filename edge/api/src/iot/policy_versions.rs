//! Versions of policies; one of them is in force.

use picket_model::PolicyName;
use picket_store::policies;
use serde_json::{Value, json};

use super::names;
use super::policies::document;
use crate::error::ApiError;
use crate::input::{invalid_value, seconds};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreatePolicyVersion", create),
    operation!(Iot, "GetPolicyVersion", get),
    operation!(Iot, "ListPolicyVersions", list),
    operation!(Iot, "DeletePolicyVersion", delete),
    operation!(Iot, "SetDefaultPolicyVersion", set_default),
];

/// The policy and version that a path names.
fn policy_and_version(request: &Request) -> Result<(PolicyName, u32), ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    let text = request.label("policyVersionId")?;
    let version = text.parse().map_err(|_| {
        invalid_value(
            text,
            "policyVersionId",
            "Member must satisfy regular expression pattern: [0-9]+",
        )
    })?;
    Ok((name, version))
}

/// aws: CreatePolicyVersion
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    let document = document(&request.members()?)?;
    let set_default = request.query_bool("setAsDefault")?.unwrap_or(false);
    let now = state.now();
    let arn = state.account.policy_arn(&name);
    let version = state
        .write(move |tx| Ok(policies::create_version(tx, &name, &document, set_default, now)?))
        .await?;
    Ok(Response::json(&json!({
        "policyArn": arn,
        "policyDocument": version.document,
        "policyVersionId": version.id.to_string(),
        "isDefaultVersion": version.is_default,
    })))
}

/// aws: GetPolicyVersion
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (name, version) = policy_and_version(&request)?;
    let (policy, version) = state
        .read(move |tx| Ok((policies::get(tx, &name)?, policies::get_version(tx, &name, version)?)))
        .await?;
    Ok(Response::json(&json!({
        "policyArn": state.account.policy_arn(&policy.name),
        "policyName": policy.name.as_str(),
        "policyDocument": version.document,
        "policyVersionId": version.id.to_string(),
        "isDefaultVersion": version.is_default,
        "creationDate": seconds(version.created_at),
        // A version never changes.
        "lastModifiedDate": seconds(version.created_at),
        "generationId": policy.generation_id,
    })))
}

/// aws: ListPolicyVersions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    let versions = state.read(move |tx| Ok(policies::list_versions(tx, &name)?)).await?;
    let list: Vec<Value> = versions
        .iter()
        .map(|version| {
            json!({
                "versionId": version.id.to_string(),
                "isDefaultVersion": version.is_default,
                "createDate": seconds(version.created_at),
            })
        })
        .collect();
    Ok(Response::json(&json!({ "policyVersions": list })))
}

/// aws: DeletePolicyVersion
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (name, version) = policy_and_version(&request)?;
    state.write(move |tx| Ok(policies::delete_version(tx, &name, version)?)).await?;
    Ok(Response::empty())
}

/// aws: SetDefaultPolicyVersion
async fn set_default(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (name, version) = policy_and_version(&request)?;
    let now = state.now();
    state.write(move |tx| Ok(policies::set_default(tx, &name, version, now)?)).await?;
    Ok(Response::empty())
}
