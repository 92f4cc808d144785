//! Policies.

use picket_model::PolicyName;
use picket_policy::Document;
use picket_store::policies;
use serde_json::{Value, json};

use super::names;
use crate::error::{ApiError, ErrorKind};
use crate::input::{Members, seconds};
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreatePolicy", create),
    operation!(Iot, "GetPolicy", get),
    operation!(Iot, "DeletePolicy", delete),
    operation!(Iot, "ListPolicies", list),
];

/// A policy and its ARN, as lists of policies carry them.
pub(super) fn reference(state: &ApiState, policy: &PolicyName) -> Value {
    json!({ "policyName": policy.as_str(), "policyArn": state.account.policy_arn(policy) })
}

/// The `policyDocument` of a body, if it is one that can be decided by.
pub(super) fn document(members: &Members) -> Result<String, ApiError> {
    let text = members.required_str("policyDocument")?;
    match Document::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(ApiError::new(ErrorKind::MalformedPolicy, error.to_string())),
    }
}

/// aws: CreatePolicy
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    let document = document(&request.members()?)?;
    let now = state.now();
    let policy = state.write(move |tx| Ok(policies::create(tx, &name, &document, now)?)).await?;
    let mut answer = reference(state, &policy.name);
    answer["policyDocument"] = json!(policy.default_version.document);
    answer["policyVersionId"] = json!(policy.default_version.id.to_string());
    Ok(Response::json(&answer))
}

/// aws: GetPolicy
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    let policy = state.read(move |tx| Ok(policies::get(tx, &name)?)).await?;
    let mut answer = reference(state, &policy.name);
    answer["policyDocument"] = json!(policy.default_version.document);
    answer["defaultVersionId"] = json!(policy.default_version.id.to_string());
    answer["creationDate"] = seconds(policy.created_at);
    answer["lastModifiedDate"] = seconds(policy.modified_at);
    answer["generationId"] = json!(policy.generation_id);
    Ok(Response::json(&answer))
}

/// aws: DeletePolicy
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = names::policy("policyName", request.label("policyName")?)?;
    state.write(move |tx| Ok(policies::delete(tx, &name)?)).await?;
    Ok(Response::empty())
}

/// aws: ListPolicies
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let ascending = request.query_bool("isAscendingOrder")?.unwrap_or(false);
    let page = PageRequest::marker(&request)?.of_store();
    let found = state.read(move |tx| Ok(policies::list(tx, ascending, &page)?)).await?;
    let list: Vec<Value> = found.items.iter().map(|it| reference(state, it)).collect();
    Ok(Response::json(&with_next(json!({ "policies": list }), "nextMarker", found.next)))
}
