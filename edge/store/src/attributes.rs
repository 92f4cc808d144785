//! Attributes of things and groups: how an update changes them, and how many there may be.

use std::collections::BTreeMap;

use picket_model::limits;

use crate::error::RegistryError;

/// The attributes after an update.
///
/// With `merge` the given ones are laid over those that are there, otherwise they take their
/// place. An empty value removes the attribute. Source: aws `AttributePayload`.
pub(crate) fn updated(
    old: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
    merge: bool,
) -> BTreeMap<String, String> {
    let mut new = if merge { old.clone() } else { BTreeMap::new() };
    for (name, value) in given {
        if value.is_empty() {
            new.remove(name);
        } else {
            new.insert(name.clone(), value.clone());
        }
    }
    new
}

/// Refuses more attributes than a thing may have.
pub(crate) fn check_thing(
    attributes: &BTreeMap<String, String>,
    has_type: bool,
) -> Result<(), RegistryError> {
    if has_type {
        return check(attributes, limits::ATTRIBUTES_WITH_TYPE_MAX, "a thing with a thing type");
    }
    check(attributes, limits::ATTRIBUTES_WITHOUT_TYPE_MAX, "a thing without a thing type")
}

/// Refuses more attributes than a group may have.
pub(crate) fn check_group(attributes: &BTreeMap<String, String>) -> Result<(), RegistryError> {
    check(attributes, limits::ATTRIBUTES_WITH_TYPE_MAX, "a thing group")
}

fn check(
    attributes: &BTreeMap<String, String>,
    max: usize,
    who: &str,
) -> Result<(), RegistryError> {
    if attributes.len() > max {
        return Err(RegistryError::Invalid(format!(
            "{} attributes given; {who} has at most {max}",
            attributes.len()
        )));
    }
    Ok(())
}
