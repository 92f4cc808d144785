//! Violations: those that are on, what happened to them, and what a person made of them.

use picket_model::{
    CriteriaType, DeviceName, ProfileName, Timestamp, VerificationState, ViolationId,
};
use picket_store::RegistryError;
use picket_store::violations::{self, ViolationFilter};
use serde_json::Value;

use super::profile::{DESCRIPTION_CHARS_MAX, plain_text};
use super::violation::{event_to_json, violation_to_json};
use super::{listed, page};
use crate::error::ApiError;
use crate::input::{one_of, parsed, timestamp};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "ListActiveViolations", list_active),
    operation!(Iot, "ListViolationEvents", list_events),
    operation!(Iot, "PutVerificationStateOnViolation", put_verification),
];

/// Reads a verification state.
fn verification_state(text: &str) -> Result<VerificationState, ApiError> {
    one_of("verificationState", text, &VerificationState::ALL.map(|state| (state.as_str(), state)))
}

/// The filters that both lists take.
fn filter(request: &Request) -> Result<ViolationFilter, ApiError> {
    let types = CriteriaType::ALL.map(|it| (it.as_str(), it));
    let query = |member: &'static str| request.query(member).map(|text| (member, text));
    Ok(ViolationFilter {
        device: query("thingName")
            .map(|(member, text)| parsed(member, text, DeviceName::parse))
            .transpose()?,
        profile: query("securityProfileName")
            .map(|(member, text)| parsed(member, text, ProfileName::parse))
            .transpose()?,
        criteria_type: query("behaviorCriteriaType")
            .map(|(member, text)| one_of(member, text, &types))
            .transpose()?,
        // Without the flag, suppressed alerts are left out; with it, they come besides.
        suppressed: match request.query_bool("listSuppressedAlerts")? {
            Some(true) => None,
            Some(false) | None => Some(false),
        },
        verification: request.query("verificationState").map(verification_state).transpose()?,
    })
}

/// A moment of the query that must be there.
fn required_time(request: &Request, member: &str) -> Result<Timestamp, ApiError> {
    timestamp(member, request.query_required(member)?)
}

/// `startTime` and `endTime`. Both are part of what is meant.
pub(crate) fn moments(request: &Request) -> Result<(Timestamp, Timestamp), ApiError> {
    let from = required_time(request, "startTime")?;
    let until = required_time(request, "endTime")?;
    if until < from {
        return Err(ApiError::invalid("`endTime` is before `startTime`"));
    }
    Ok((from, until))
}

/// `startTime` and `endTime`, the second made exclusive: a caller who names a window's end means
/// to see what happened at it.
pub(super) fn period(request: &Request) -> Result<(Timestamp, Timestamp), ApiError> {
    let (from, until) = moments(request)?;
    Ok((from, until + 1))
}

/// aws: ListActiveViolations
async fn list_active(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&request)?;
    let filter = filter(&request)?;
    let list = state.read(move |tx| Ok(violations::list_active(tx, &filter, &page)?)).await?;
    let items: Vec<Value> = list.items.iter().map(violation_to_json).collect();
    Ok(listed("activeViolations", items, list.next))
}

/// aws: ListViolationEvents
async fn list_events(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (from, until) = period(&request)?;
    let page = page(&request)?;
    let filter = filter(&request)?;
    let list =
        state.read(move |tx| Ok(violations::list_events(tx, from, until, &filter, &page)?)).await?;
    let items: Vec<Value> = list
        .items
        .iter()
        .map(|(event, state, description)| event_to_json(event, *state, description.as_deref()))
        .collect();
    Ok(listed("violationEvents", items, list.next))
}

/// aws: PutVerificationStateOnViolation
async fn put_verification(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = parsed("violationId", request.label("violationId")?, ViolationId::parse)?;
    let members = request.members()?;
    let verification = verification_state(members.required_str("verificationState")?)?;
    let description = members
        .str("verificationStateDescription")?
        .map(|text| plain_text("`verificationStateDescription`", text, DESCRIPTION_CHARS_MAX))
        .transpose()
        .map_err(ApiError::invalid)?;
    state
        .write(move |tx| {
            let set = violations::set_verification(tx, &id, verification, description.as_deref());
            set.map_err(|error| match error {
                // The operation has no error of its own for this.
                RegistryError::NotFound { .. } => ApiError::invalid(error),
                other => other.into(),
            })
        })
        .await?;
    Ok(Response::empty())
}
