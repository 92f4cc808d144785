//! The registry, certificates and policies (AWS: IoT). One file for each noun.

mod attributes;
mod authorization;
mod certificates;
mod endpoint;
mod event_configurations;
mod group_members;
mod groups;
mod names;
mod policies;
mod policy_attachments;
mod policy_versions;
mod thing_principals;
mod thing_types;
mod things;

use crate::operation::Operation;

/// What is served, by noun.
pub(crate) const OPERATIONS: &[&[Operation]] = &[
    authorization::OPERATIONS,
    certificates::OPERATIONS,
    endpoint::OPERATIONS,
    event_configurations::OPERATIONS,
    group_members::OPERATIONS,
    groups::OPERATIONS,
    policies::OPERATIONS,
    policy_attachments::OPERATIONS,
    policy_versions::OPERATIONS,
    thing_principals::OPERATIONS,
    thing_types::OPERATIONS,
    things::OPERATIONS,
];
