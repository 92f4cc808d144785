//! Events of the registry: which kinds there are.

/// A kind of event that can be switched on. Source: aws `EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// Things made, changed and deleted.
    Thing,
    /// Thing groups made, changed and deleted.
    ThingGroup,
    /// Thing types made, deprecated and deleted.
    ThingType,
    /// Things that come into groups and leave them.
    ThingGroupMembership,
    /// Groups made below others and deleted there.
    ThingGroupHierarchy,
    /// Things that get a type and lose it.
    ThingTypeAssociation,
    /// Kept and given back; there are no jobs.
    Job,
    /// Kept and given back; there are no jobs.
    JobExecution,
    /// Kept and given back; AWS documents no such event.
    Policy,
    /// Kept and given back; AWS documents no such event.
    Certificate,
    /// Kept and given back; there are no registered authorities.
    CaCertificate,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Thing,
        Self::ThingGroup,
        Self::ThingType,
        Self::ThingGroupMembership,
        Self::ThingGroupHierarchy,
        Self::ThingTypeAssociation,
        Self::Job,
        Self::JobExecution,
        Self::Policy,
        Self::Certificate,
        Self::CaCertificate,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Thing => "THING",
            Self::ThingGroup => "THING_GROUP",
            Self::ThingType => "THING_TYPE",
            Self::ThingGroupMembership => "THING_GROUP_MEMBERSHIP",
            Self::ThingGroupHierarchy => "THING_GROUP_HIERARCHY",
            Self::ThingTypeAssociation => "THING_TYPE_ASSOCIATION",
            Self::Job => "JOB",
            Self::JobExecution => "JOB_EXECUTION",
            Self::Policy => "POLICY",
            Self::Certificate => "CERTIFICATE",
            Self::CaCertificate => "CA_CERTIFICATE",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == text)
    }
}
