//! IoT policies as the registry keeps them; `core/policy` reads and decides.

use crate::{PolicyName, Timestamp};

/// A policy with its version in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Unchangeable name.
    pub name: PolicyName,
    /// The version that is in force.
    pub default_version: PolicyVersion,
    /// When the policy was made.
    pub created_at: Timestamp,
    /// When its version in force last changed.
    pub modified_at: Timestamp,
    /// Changes with every change of the policy.
    pub generation_id: String,
}

/// One version of a policy's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// "1", "2", ...: counted up, never used again.
    pub id: u32,
    /// The document, exactly as it was given.
    pub document: String,
    /// Whether it is the one in force.
    pub is_default: bool,
    /// When it was made.
    pub created_at: Timestamp,
}
