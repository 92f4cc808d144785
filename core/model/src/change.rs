//! What a committed transaction changed, for whoever has to decide again.

use crate::{
    CertificateId, DimensionName, FunctionName, GroupName, PolicyName, ProfileName, ThingName,
};

/// A noun whose change may change somebody's rights or what is watched.
///
/// A change names what was touched, not what became of it: who cares reads the store again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A certificate: its status, its policies, or the things it is attached to.
    Certificate(CertificateId),
    /// A thing: made, deleted, changed, attached, or moved between groups.
    Thing(ThingName),
    /// A group: made, deleted, or its policies changed. Membership is [`Change::Thing`].
    Group(GroupName),
    /// A policy: the version in force.
    Policy(PolicyName),
    /// A security profile: made, changed, deleted, attached or detached.
    Profile(ProfileName),
    /// A dimension: its topic filters.
    Dimension(DimensionName),
    /// A task of mitigation actions was started or canceled.
    MitigationTask,
    /// A function: its configuration or its code.
    Function(FunctionName),
    /// Something waits in the outbox.
    Outbox,
    /// An event of the registry waits to be published.
    RegistryEvent,
}
