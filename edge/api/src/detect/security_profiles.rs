//! Security profiles and what they are attached to.

use picket_model::{
    Account, CustomMetricName, DimensionName, Metric, ProfileName, ProfileTarget, SecurityProfile,
};
use picket_store::{ReadTx, custom_metrics, dimensions, groups, profiles};
use serde_json::{Value, json};

use super::profile::{ProfileInput, profile_to_json};
use super::{behaviors, listed, page, references};
use crate::error::ApiError;
use crate::input::{Members, missing, parsed};
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
    let profile_name = name.clone();
    state
        .write(move |tx| {
            let retained = input.retained_metrics.unwrap_or_default();
            let profile = SecurityProfile {
                name: profile_name,
                description: input.description,
                behaviors: input.behaviors.unwrap_or_default(),
                alert_targets: input.alert_targets.unwrap_or_default(),
                retained_metrics: references::resolve(tx, retained)?,
                export: input.export,
                version: 1,
                created_at: now,
                modified_at: now,
            };
            check_references(tx, &profile)?;
            Ok(profiles::create(tx, &profile)?)
        })
        .await?;
    Ok(Response::json(&json!({
        "securityProfileName": name.as_str(),
        "securityProfileArn": state.account.profile_arn(&name),
    })))
}

/// Checks that what a profile refers to is there, and not too much of it.
fn check_references(tx: &ReadTx, profile: &SecurityProfile) -> Result<(), ApiError> {
    let problems = references::problems(tx, &profile.behaviors)?;
    if !problems.is_empty() {
        return Err(ApiError::invalid(behaviors::joined(&problems)));
    }
    references::check_slices(tx, profile)
}

/// aws: UpdateSecurityProfile
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let expected_version = request.query_u64("expectedVersion")?;
    let members = request.members()?;
    let mut input = ProfileInput::parse(&state.account, state.profile_rules(), &members)
        .map_err(ApiError::invalid)?;
    deleted(&members, "deleteBehaviors", &mut input.behaviors)?;
    deleted(&members, "deleteAlertTargets", &mut input.alert_targets)?;
    deleted(&members, "deleteAdditionalMetricsToRetain", &mut input.retained_metrics)?;
    let mut export = input.export.map(Some);
    deleted(&members, "deleteMetricsExportConfig", &mut export)?;
    let now = state.now();
    let profile = state
        .write(move |tx| {
            let mut profile = profiles::get(tx, &name)?;
            profile.description = input.description.or(profile.description);
            profile.behaviors = input.behaviors.unwrap_or(profile.behaviors);
            profile.alert_targets = input.alert_targets.unwrap_or(profile.alert_targets);
            if let Some(retained) = input.retained_metrics {
                profile.retained_metrics = references::resolve(tx, retained)?;
            }
            profile.export = export.unwrap_or(profile.export);
            profile.modified_at = now;
            check_references(tx, &profile)?;
            Ok(profiles::update(tx, &profile, expected_version)?)
        })
        .await?;
    Ok(Response::json(&profile_to_json(&state.account, &profile)))
}

/// Takes a `delete..` flag for a member that is given and empty, and refuses it beside a new one.
fn deleted<T: Default>(
    members: &Members,
    flag: &str,
    member: &mut Option<T>,
) -> Result<(), ApiError> {
    if members.bool(flag)? != Some(true) {
        return Ok(());
    }
    if member.is_some() {
        return Err(ApiError::invalid(format!(
            "`{flag}` is given together with what would take the place of the deleted; give one \
             of them"
        )));
    }
    *member = Some(T::default());
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
    let metric = request
        .query("metricName")
        .map(|text| parsed("metricName", text, CustomMetricName::parse))
        .transpose()?;
    let dimension = request
        .query("dimensionName")
        .map(|text| parsed("dimensionName", text, DimensionName::parse))
        .transpose()?;
    if metric.is_some() && dimension.is_some() {
        return Err(ApiError::invalid("give `metricName` or `dimensionName`, not both"));
    }
    let list = state
        .read(move |tx| {
            if let Some(metric) = &metric {
                check_metric(tx, metric)?;
            }
            if let Some(dimension) = &dimension {
                dimensions::get(tx, dimension)?;
            }
            let metric = metric.as_ref().map(CustomMetricName::as_str);
            Ok(profiles::list(tx, metric, dimension.as_ref(), &page)?)
        })
        .await?;
    let items = list.items.iter().map(|name| identifier(&state.account, name)).collect();
    Ok(listed("securityProfileIdentifiers", items, list.next))
}

/// Checks that there is a metric of a name, built in or custom. The names of both have one form.
fn check_metric(tx: &ReadTx, name: &CustomMetricName) -> Result<(), ApiError> {
    if Metric::parse(name.as_str()).is_none() && custom_metrics::find(tx, name)?.is_none() {
        return Err(ApiError::not_found("metric", name));
    }
    Ok(())
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
    let (behaviors, mut errors) = behaviors::read(state.profile_rules(), list);
    // What can be read is looked up although other behaviors cannot: all is told at once.
    errors.extend(state.read(move |tx| Ok(references::problems(tx, &behaviors)?)).await?);
    let errors_json: Vec<Value> =
        errors.iter().map(|error| json!({ "errorMessage": error })).collect();
    Ok(Response::json(&json!({
        "valid": errors.is_empty(),
        "validationErrors": errors_json,
    })))
}
