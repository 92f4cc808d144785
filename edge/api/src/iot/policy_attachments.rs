//! Which policies are attached to which certificates and groups.

use picket_model::{PolicyName, PolicyTarget};
use picket_store::policies;
use serde_json::{Value, json};

use super::names;
use super::policies::reference;
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "AttachPolicy", attach),
    operation!(Iot, "DetachPolicy", detach),
    operation!(Iot, "ListAttachedPolicies", list_attached),
    operation!(Iot, "ListTargetsForPolicy", list_targets),
    operation!(Iot, "AttachPrincipalPolicy", attach_principal),
    operation!(Iot, "DetachPrincipalPolicy", detach_principal),
    operation!(Iot, "ListPrincipalPolicies", list_principal_policies),
    operation!(Iot, "ListPolicyPrincipals", list_policy_principals),
];

/// The header of the older operations that carries the principal.
const PRINCIPAL: &str = "x-amzn-iot-principal";

/// The header of ListPolicyPrincipals that carries the policy's name.
const POLICY: &str = "x-amzn-iot-policy";

fn label_policy(request: &Request) -> Result<PolicyName, ApiError> {
    names::policy("policyName", request.label("policyName")?)
}

fn body_target(state: &ApiState, request: &Request) -> Result<PolicyTarget, ApiError> {
    names::policy_target(&state.account, "target", request.members()?.required_str("target")?)
}

/// The older operations call a certificate's or group's ARN a principal.
fn header_target(state: &ApiState, request: &Request) -> Result<PolicyTarget, ApiError> {
    names::policy_target(
        &state.account,
        "principal",
        request.header_required(PRINCIPAL, "principal")?,
    )
}

async fn do_attach(
    state: &ApiState,
    policy: PolicyName,
    target: PolicyTarget,
) -> Result<Response, ApiError> {
    state.write(move |tx| Ok(policies::attach(tx, &policy, &target)?)).await?;
    Ok(Response::empty())
}

async fn do_detach(
    state: &ApiState,
    policy: PolicyName,
    target: PolicyTarget,
) -> Result<Response, ApiError> {
    state.write(move |tx| Ok(policies::detach(tx, &policy, &target)?)).await?;
    Ok(Response::empty())
}

/// aws: AttachPolicy
async fn attach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    do_attach(state, label_policy(&request)?, body_target(state, &request)?).await
}

/// aws: DetachPolicy
async fn detach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    do_detach(state, label_policy(&request)?, body_target(state, &request)?).await
}

/// aws: AttachPrincipalPolicy
async fn attach_principal(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    do_attach(state, label_policy(&request)?, header_target(state, &request)?).await
}

/// aws: DetachPrincipalPolicy
async fn detach_principal(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    do_detach(state, label_policy(&request)?, header_target(state, &request)?).await
}

/// A page of the policies of a target.
async fn page_of_policies(
    state: &ApiState,
    request: &Request,
    target: PolicyTarget,
    recursive: bool,
) -> Result<Response, ApiError> {
    let page = PageRequest::marker(request)?;
    let mut found = state.read(move |tx| Ok(policies::attached(tx, &target, recursive)?)).await?;
    // With the groups above, the order is by group; a marker needs one order.
    found.sort();
    let (found, next) = page.cut(found, ToString::to_string)?;
    let list: Vec<Value> = found.iter().map(|it| reference(state, it)).collect();
    Ok(Response::json(&with_next(json!({ "policies": list }), "nextMarker", next)))
}

/// aws: ListAttachedPolicies
async fn list_attached(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let target = names::policy_target(&state.account, "target", request.label("target")?)?;
    let recursive = request.query_bool("recursive")?.unwrap_or(false);
    page_of_policies(state, &request, target, recursive).await
}

/// aws: ListPrincipalPolicies
async fn list_principal_policies(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let target = header_target(state, &request)?;
    page_of_policies(state, &request, target, false).await
}

/// aws: ListTargetsForPolicy
async fn list_targets(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let policy = label_policy(&request)?;
    let page = PageRequest::marker(&request)?.of_store();
    let found = state.read(move |tx| Ok(policies::targets(tx, &policy, &page)?)).await?;
    let list: Vec<String> =
        found.items.iter().map(|it| state.account.policy_target_arn(it)).collect();
    Ok(Response::json(&with_next(json!({ "targets": list }), "nextMarker", found.next)))
}

/// aws: ListPolicyPrincipals. Certificates only.
async fn list_policy_principals(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let policy = names::policy("policyName", request.header_required(POLICY, "policyName")?)?;
    let page = PageRequest::marker(&request)?.of_store();
    let found = state.read(move |tx| Ok(policies::targets(tx, &policy, &page)?)).await?;
    // Certificates come first: where a group is reached, nothing is left.
    let is_end = found.items.iter().any(|it| matches!(it, PolicyTarget::Group(_)));
    let list: Vec<String> = found
        .items
        .iter()
        .filter(|it| matches!(it, PolicyTarget::Certificate(_)))
        .map(|it| state.account.policy_target_arn(it))
        .collect();
    let next = found.next.filter(|_| !is_end);
    Ok(Response::json(&with_next(json!({ "principals": list }), "nextMarker", next)))
}
