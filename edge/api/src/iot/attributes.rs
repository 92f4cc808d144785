//! Attributes of things and groups.

use std::collections::BTreeMap;

use picket_model::limits::{ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX};

use crate::error::ApiError;
use crate::input::{Members, invalid_value};

/// The `attributes` of an `attributePayload`, checked, and whether they are merged into those that
/// are there. Values may be empty. How many there may be depends on the thing: the store knows.
///
/// Source: aws AttributePayload; names `[a-zA-Z0-9_.,@/:#-]+`, values `[a-zA-Z0-9_.,@/:#=\[\]-]*`.
pub(crate) fn payload(
    members: &Members,
) -> Result<(Option<BTreeMap<String, String>>, bool), ApiError> {
    let Some(payload) = members.object("attributePayload")? else { return Ok((None, false)) };
    let attributes = payload.str_map("attributes")?;
    for (name, value) in attributes.iter().flatten() {
        check_name("attributePayload.attributes", name)?;
        check_value("attributePayload.attributes", value)?;
    }
    Ok((attributes, payload.bool("merge")?.unwrap_or(false)))
}

fn is_common(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.,@/:#-".contains(c)
}

/// Checks an attribute's name.
pub(crate) fn check_name(member: &str, name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX || !name.chars().all(is_common) {
        let rule = format!(
            "Map keys must have 1 to {ATTRIBUTE_NAME_BYTES_MAX} letters, digits and `_.,@/:#-`"
        );
        return Err(invalid_value(name, member, rule));
    }
    Ok(())
}

fn check_value(member: &str, value: &str) -> Result<(), ApiError> {
    let is_allowed = |c: char| is_common(c) || "=[]".contains(c);
    if value.len() > ATTRIBUTE_VALUE_BYTES_MAX || !value.chars().all(is_allowed) {
        let rule = format!(
            "Map values must have at most {ATTRIBUTE_VALUE_BYTES_MAX} letters, digits and `_.,@/:#=[]-`"
        );
        return Err(invalid_value(value, member, rule));
    }
    Ok(())
}
