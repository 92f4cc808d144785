//! Security profiles: named sets of behaviors, and what they are attached to.

use crate::{
    Account, ArnError, Behavior, GroupName, Metric, MetricDimension, ProfileName, Timestamp,
};

/// A named set of behaviors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityProfile {
    /// Unchangeable name.
    pub name: ProfileName,
    /// For people.
    pub description: Option<String>,
    /// What is normal. May be empty: a profile that only retains metrics.
    pub behaviors: Vec<Behavior>,
    /// Who is told of violation events.
    pub alert_targets: Vec<AlertTarget>,
    /// Metrics whose values are kept although no behavior judges them.
    pub retained_metrics: Vec<RetainedMetric>,
    /// Where values of exporting behaviors and metrics are published.
    pub export: Option<MetricsExport>,
    /// Starts at 1 and grows by one with every change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// A metric whose values are kept although no behavior judges it. Source: aws `MetricToRetain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetainedMetric {
    /// What is measured.
    pub metric: Metric,
    /// Which part of it, if not all.
    pub dimension: Option<MetricDimension>,
    /// Whether its values are published to the profile's export topic.
    pub export: bool,
}

/// Where a profile's values are published. Source: aws `MetricsExportConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsExport {
    /// MQTT topic, 1 to 512 characters.
    pub mqtt_topic: String,
    /// Kept and given back; there are no roles to assume here.
    pub role_arn: String,
}

/// Who is told. Source: aws `AlertTarget`; the only kind of key is `SNS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertTarget {
    /// ARN of a notification topic.
    pub topic_arn: String,
    /// Kept and given back; there are no roles to assume here.
    pub role_arn: String,
}

/// What a security profile is attached to. Source: aws AttachSecurityProfile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileTarget {
    /// Every device.
    AllThings,
    /// Devices that are things.
    RegisteredThings,
    /// Devices that are not.
    UnregisteredThings,
    /// The things in a group or in a group below it.
    Group(GroupName),
}

impl ProfileTarget {
    /// The target as an ARN.
    pub fn arn(&self, account: &Account) -> String {
        match self {
            Self::AllThings => account.iot_arn("all/things"),
            Self::RegisteredThings => account.iot_arn("all/registered-things"),
            Self::UnregisteredThings => account.iot_arn("all/unregistered-things"),
            Self::Group(group) => account.group_arn(group),
        }
    }

    /// The target that an ARN names.
    ///
    /// # Errors
    /// [`ArnError`] if it names none, a single thing among others.
    pub fn parse(account: &Account, arn: &str) -> Result<Self, ArnError> {
        let target = match account.iot_resource(arn) {
            Some("all/things") => Some(Self::AllThings),
            Some("all/registered-things") => Some(Self::RegisteredThings),
            Some("all/unregistered-things") => Some(Self::UnregisteredThings),
            Some(resource) => resource
                .strip_prefix("thinggroup/")
                .and_then(|name| GroupName::parse(name).ok())
                .map(Self::Group),
            None => None,
        };
        target.ok_or_else(|| ArnError {
            arn: arn.to_owned(),
            expected: "a target of a security profile: the ARN of a thing group, or \
                       arn:aws:iot:REGION:ACCOUNT:all/things, all/registered-things or \
                       all/unregistered-things",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_thing_is_no_target() {
        let account = Account::default();
        let error = ProfileTarget::parse(&account, "arn:aws:iot:us-east-1:123456789012:thing/T");
        assert!(error.is_err());
        for target in [ProfileTarget::AllThings, ProfileTarget::UnregisteredThings] {
            assert_eq!(ProfileTarget::parse(&account, &target.arn(&account)), Ok(target));
        }
    }
}
