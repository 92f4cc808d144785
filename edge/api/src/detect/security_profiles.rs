//! Security profiles and what they are attached to.

use picket_model::{Account, Metric, ProfileName, ProfileTarget, SecurityProfile};
use picket_store::{Paged, ReadTx, groups, profiles};
use serde_json::{Value, json};

use super::profile::{ProfileInput, behaviors, profile_to_json};
use super::{listed, page};
use crate::error::ApiError;
use crate::input::{missing, parsed};
use crate::operation::{Operation, operation};
use crate::paging::PageRequest;
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateSecurityProfile", create),
    operation!(Iot, "UpdateSecurityProfile", update),
    operation!(Iot, "DescribeSecurityProfile", describe),
    operation!(Iot, "DeleteSecurityProfile", delete),
    operation!(Iot, "ListSecurityProfiles", list),
    operation!(Iot, "AttachSecurityProfile", attach),
    operation!(Iot, "DetachSecurityProfile", detach),
    operation!(Iot, "ListTargetsForSecurityProfile", list_targets),
    operation!(Iot, "ListSecurityProfilesForTarget", list_for_target),
    operation!(Iot, "ValidateSecurityProfileBehaviors", validate),
];

fn name(request: &Request) -> Result<ProfileName, ApiError> {
    parsed("securityProfileName", request.label("securityProfileName")?, ProfileName::parse)
}

fn target(state: &ApiState, request: &Request) -> Result<ProfileTarget, ApiError> {
    let arn = request.query_required("securityProfileTargetArn")?;
    ProfileTarget::parse(&state.account, arn).map_err(ApiError::invalid)
}

/// aws: CreateSecurityProfile
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let input = ProfileInput::parse(&state.account, state.profile_rules(), &request.members()?)
        .map_err(ApiError::invalid)?;
    let now = state.now();
    let profile = SecurityProfile {
        name: name.clone(),
        description: input.description,
        behaviors: input.behaviors.unwrap_or_default(),
        alert_targets: input.alert_targets.unwrap_or_default(),
        retained_metrics: input.retained_metrics.unwrap_or_default(),
        version: 1,
        created_at: now,
        modified_at: now,
    };
    state.write(move |tx| Ok(profiles::create(tx, &profile)?)).await?;
    Ok(Response::json(&json!({
        "securityProfileName": name.as_str(),
        "securityProfileArn": state.account.profile_arn(&name),
    })))
}

/// aws: UpdateSecurityProfile
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let expected_version = request.query_u64("expectedVersion")?;
    let members = request.members()?;
    let mut input = ProfileInput::parse(&state.account, state.profile_rules(), &members)
        .map_err(ApiError::invalid)?;
    delete_or_set(&members, "deleteBehaviors", &mut input.behaviors)?;
    delete_or_set(&members, "deleteAlertTargets", &mut input.alert_targets)?;
    delete_or_set(&members, "deleteAdditionalMetricsToRetain", &mut input.retained_metrics)?;
    let now = state.now();
    let profile = state
        .write(move |tx| {
            let mut profile = profiles::get(tx, &name)?;
            profile.description = input.description.or(profile.description);
            profile.behaviors = input.behaviors.unwrap_or(profile.behaviors);
            profile.alert_targets = input.alert_targets.unwrap_or(profile.alert_targets);
            profile.retained_metrics = input.retained_metrics.unwrap_or(profile.retained_metrics);
            profile.modified_at = now;
            Ok(profiles::update(tx, &profile, expected_version)?)
        })
        .await?;
    Ok(Response::json(&profile_to_json(&state.account, &profile)))
}

/// Takes a `delete..` flag for an empty list, and refuses it beside a new one.
fn delete_or_set<T>(
    members: &crate::input::Members,
    flag: &str,
    list: &mut Option<Vec<T>>,
) -> Result<(), ApiError> {
    if members.bool(flag)? != Some(true) {
        return Ok(());
    }
    if list.is_some() {
        return Err(ApiError::invalid(format!(
            "`{flag}` is given together with what would take the place of the deleted; give one \
             of them"
        )));
    }
    *list = Some(Vec::new());
    Ok(())
}

/// aws: DescribeSecurityProfile
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let profile = state.read(move |tx| Ok(profiles::get(tx, &name)?)).await?;
    Ok(Response::json(&profile_to_json(&state.account, &profile)))
}

/// aws: DeleteSecurityProfile
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let expected_version = request.query_u64("expectedVersion")?;
    state.write(move |tx| Ok(profiles::delete(tx, &name, expected_version)?)).await?;
    Ok(Response::empty())
}

/// aws: ListSecurityProfiles
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&request)?;
    let dimension = request.query("dimensionName");
    let metric = request.query("metricName").map(Metric::parse);
    let list = match (metric, dimension) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("give `metricName` or `dimensionName`, not both"));
        }
        // No profile has a dimension, or a metric that is not known here.
        (Some(None), None) | (None, Some(_)) => Paged { items: Vec::new(), next: None },
        (metric, None) => {
            state.read(move |tx| Ok(profiles::list(tx, metric.flatten(), &page)?)).await?
        }
    };
    let items = list.items.iter().map(|name| identifier(&state.account, name)).collect();
    Ok(listed("securityProfileIdentifiers", items, list.next))
}

fn identifier(account: &Account, name: &ProfileName) -> Value {
    json!({"name": name.as_str(), "arn": account.profile_arn(name)})
}

/// aws: AttachSecurityProfile
async fn attach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (name, target) = (name(&request)?, target(state, &request)?);
    state.write(move |tx| Ok(profiles::attach(tx, &name, &target)?)).await?;
    Ok(Response::empty())
}

/// aws: DetachSecurityProfile
async fn detach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (name, target) = (name(&request)?, target(state, &request)?);
    state.write(move |tx| Ok(profiles::detach(tx, &name, &target)?)).await?;
    Ok(Response::empty())
}

/// aws: ListTargetsForSecurityProfile
async fn list_targets(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let page = page(&request)?;
    let list = state.read(move |tx| Ok(profiles::targets(tx, &name, &page)?)).await?;
    let arn = |target: &ProfileTarget| json!({ "arn": target.arn(&state.account) });
    Ok(listed("securityProfileTargets", list.items.iter().map(arn).collect(), list.next))
}

/// aws: ListSecurityProfilesForTarget
async fn list_for_target(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let target = target(state, &request)?;
    let with_children = request.query_bool("recursive")?.unwrap_or(false);
    let page = PageRequest::next_token(&request)?;
    let attachments = state.read(move |tx| attachments(tx, &target, with_children)).await?;
    let (attachments, next) = page.cut(attachments, |(profile, target)| {
        // Neither holds a blank.
        format!("{profile} {}", target.arn(&state.account))
    })?;
    let mappings: Vec<Value> = attachments
        .iter()
        .map(|(profile, target)| {
            json!({
                "securityProfileIdentifier": identifier(&state.account, profile),
                "target": {"arn": target.arn(&state.account)},
            })
        })
        .collect();
    Ok(listed("securityProfileTargetMappings", mappings, next))
}

/// What is attached to a target, and where asked for to the groups below it; in the order of
/// (profile, target's ARN).
fn attachments(
    tx: &ReadTx,
    target: &ProfileTarget,
    with_children: bool,
) -> Result<Vec<(ProfileName, ProfileTarget)>, ApiError> {
    let mut found = Vec::new();
    match target {
        ProfileTarget::Group(group) => {
            groups::get(tx, group)?;
            for (profile, attached_to) in profiles::attachments(tx)? {
                let ProfileTarget::Group(other) = &attached_to else { continue };
                if other == group || (with_children && groups::path(tx, other)?.contains(group)) {
                    found.push((profile, attached_to));
                }
            }
        }
        ProfileTarget::AllThings
        | ProfileTarget::RegisteredThings
        | ProfileTarget::UnregisteredThings => {
            let names = profiles::for_target(tx, target)?;
            found.extend(names.into_iter().map(|name| (name, target.clone())));
        }
    }
    found.sort();
    Ok(found)
}

/// aws: ValidateSecurityProfileBehaviors
async fn validate(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let list = members.get("behaviors").ok_or_else(|| missing("behaviors"))?;
    let errors = behaviors(state.profile_rules(), list).err().unwrap_or_default();
    let errors_json: Vec<Value> = errors
        .iter()
        .map(|error| json!({"errorMessage": error.chars().take(2_048).collect::<String>()}))
        .collect();
    Ok(Response::json(&json!({
        "valid": errors.is_empty(),
        "validationErrors": errors_json,
    })))
}
