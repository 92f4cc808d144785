//! Static thing groups: a tree of sets of things.

use std::collections::BTreeMap;

use crate::{GroupName, Timestamp};

/// A static thing group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Unchangeable name.
    pub name: GroupName,
    /// Unchangeable id in the form of a UUID.
    pub id: String,
    /// The group it was made in, for good.
    pub parent: Option<GroupName>,
    /// For people.
    pub description: Option<String>,
    /// Searchable attributes.
    pub attributes: BTreeMap<String, String>,
    /// Starts at 1 and grows by one with every change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A group and all groups above it: the group itself first, the root last.
///
/// Policies and security profiles attached to any of them hold for what is in the first.
pub type GroupPath = Vec<GroupName>;
