//! Things: the devices that the registry knows.

use std::collections::BTreeMap;

use crate::{ThingName, ThingTypeName, Timestamp};

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// Unchangeable name.
    pub name: ThingName,
    /// Unchangeable id in the form of a UUID.
    pub id: String,
    /// Type, if it has one.
    pub thing_type: Option<ThingTypeName>,
    /// Searchable attributes.
    pub attributes: BTreeMap<String, String>,
    /// Starts at 1 and grows by one with every change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}
