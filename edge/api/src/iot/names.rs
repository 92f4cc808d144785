//! Names and ARNs of the registry as callers give them.

use picket_model::{
    Account, CertificateId, GroupName, PolicyName, PolicyTarget, ThingName, ThingTypeName,
};

use crate::error::ApiError;
use crate::input::{Members, invalid_value, missing, parsed};

/// A thing's name.
pub(crate) fn thing(member: &str, text: &str) -> Result<ThingName, ApiError> {
    parsed(member, text, ThingName::parse)
}

/// A thing type's name.
pub(crate) fn thing_type(member: &str, text: &str) -> Result<ThingTypeName, ApiError> {
    parsed(member, text, ThingTypeName::parse)
}

/// A thing group's name.
pub(crate) fn group(member: &str, text: &str) -> Result<GroupName, ApiError> {
    parsed(member, text, GroupName::parse)
}

/// A policy's name.
pub(crate) fn policy(member: &str, text: &str) -> Result<PolicyName, ApiError> {
    parsed(member, text, PolicyName::parse)
}

/// A certificate's id.
pub(crate) fn certificate_id(member: &str, text: &str) -> Result<CertificateId, ApiError> {
    CertificateId::parse(text)
        .map_err(|_| invalid_value(text, member, "Member must have 64 hex digits"))
}

/// A principal: the ARN of a certificate.
pub(crate) fn principal(
    account: &Account,
    member: &str,
    text: &str,
) -> Result<CertificateId, ApiError> {
    parsed(member, text, |text| account.parse_certificate(text))
}

/// What a policy is attached to: the ARN of a certificate or of a thing group.
pub(crate) fn policy_target(
    account: &Account,
    member: &str,
    text: &str,
) -> Result<PolicyTarget, ApiError> {
    parsed(member, text, |text| account.parse_policy_target(text))
}

/// A noun that a body names by `name_member` or by `arn_member`, or by both if they agree.
pub(crate) fn by_name_or_arn<T: PartialEq>(
    account: &Account,
    members: &Members,
    (name_member, arn_member): (&str, &str),
    arn_prefix: &str,
    parse: impl Fn(&str, &str) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let by_name = members.str(name_member)?.map(|text| parse(name_member, text)).transpose()?;
    let by_arn = match members.str(arn_member)? {
        None => None,
        Some(arn) => {
            let name = account.iot_resource(arn).and_then(|it| it.strip_prefix(arn_prefix));
            let name = name.ok_or_else(|| {
                let rule = format!("Member must be an ARN of this account, arn:aws:iot:REGION:ACCOUNT:{arn_prefix}NAME");
                invalid_value(arn, arn_member, rule)
            })?;
            Some(parse(arn_member, name)?)
        }
    };
    match (by_name, by_arn) {
        (Some(name), Some(other)) if name != other => Err(ApiError::invalid(format!(
            "`{name_member}` and `{arn_member}` name two different ones"
        ))),
        (Some(found), _) | (None, Some(found)) => Ok(found),
        (None, None) => Err(missing(name_member)),
    }
}
