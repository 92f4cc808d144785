//! The one account and region of an installation, and the ARNs that name what is in it.

use std::fmt;

use thiserror::Error;

use crate::{
    CertificateId, FunctionName, GroupName, NotificationTopicName, PolicyName, ProfileName,
    ThingName,
};

/// The account that every resource of this installation belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// The region written into ARNs. Every region name in a request reaches the same resources.
    pub region: String,
}

impl Default for Account {
    fn default() -> Self {
        Self { id: "123456789012".to_owned(), region: "us-east-1".to_owned() }
    }
}

/// Why a text is not the ARN asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{arn}` is not {expected}")]
pub struct ArnError {
    /// The text as given.
    pub arn: String,
    /// What would have been right, with an example.
    pub expected: &'static str,
}

/// What an IoT policy can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyTarget {
    /// A certificate.
    Certificate(CertificateId),
    /// A static thing group; its child groups and the things in them inherit the policy.
    Group(GroupName),
}

impl Account {
    /// Whether a text is an account's id: twelve digits.
    pub fn is_id(text: &str) -> bool {
        text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// `arn:aws:iot:REGION:ACCOUNT:RESOURCE`.
    pub fn iot_arn(&self, resource: impl fmt::Display) -> String {
        format!("arn:aws:iot:{}:{}:{resource}", self.region, self.id)
    }

    /// ARN of a thing.
    pub fn thing_arn(&self, thing: &ThingName) -> String {
        self.iot_arn(format_args!("thing/{thing}"))
    }

    /// ARN of a thing group.
    pub fn group_arn(&self, group: &GroupName) -> String {
        self.iot_arn(format_args!("thinggroup/{group}"))
    }

    /// ARN of a certificate.
    pub fn certificate_arn(&self, certificate: &CertificateId) -> String {
        self.iot_arn(format_args!("cert/{certificate}"))
    }

    /// ARN of an IoT policy.
    pub fn policy_arn(&self, policy: &PolicyName) -> String {
        self.iot_arn(format_args!("policy/{policy}"))
    }

    /// ARN of a security profile.
    pub fn profile_arn(&self, profile: &ProfileName) -> String {
        self.iot_arn(format_args!("securityprofile/{profile}"))
    }

    /// ARN of what a policy is attached to.
    pub fn policy_target_arn(&self, target: &PolicyTarget) -> String {
        match target {
            PolicyTarget::Certificate(certificate) => self.certificate_arn(certificate),
            PolicyTarget::Group(group) => self.group_arn(group),
        }
    }

    /// ARN of a notification topic.
    pub fn notification_topic_arn(&self, topic: &NotificationTopicName) -> String {
        format!("arn:aws:sns:{}:{}:{topic}", self.region, self.id)
    }

    /// ARN of a function.
    pub fn function_arn(&self, function: &FunctionName) -> String {
        format!("arn:aws:lambda:{}:{}:function:{function}", self.region, self.id)
    }

    /// The resource part of an ARN of `service` in this account, whatever its region.
    fn resource<'a>(&self, arn: &'a str, service: &str) -> Option<&'a str> {
        let mut parts = arn.splitn(6, ':');
        let right = parts.next() == Some("arn")
            && parts.next().is_some_and(|partition| partition.starts_with("aws"))
            && parts.next() == Some(service)
            && parts.next().is_some()
            && parts.next() == Some(self.id.as_str());
        if right { parts.next() } else { None }
    }

    /// The resource part of an IoT ARN of this account, for example `thing/pump-7`.
    pub fn iot_resource<'a>(&self, arn: &'a str) -> Option<&'a str> {
        self.resource(arn, "iot")
    }

    /// The certificate that an ARN names.
    ///
    /// # Errors
    /// [`ArnError`] if the text is not a certificate's ARN of this account.
    pub fn parse_certificate(&self, arn: &str) -> Result<CertificateId, ArnError> {
        self.iot_resource(arn)
            .and_then(|resource| resource.strip_prefix("cert/"))
            .and_then(|id| CertificateId::parse(id).ok())
            .ok_or_else(|| ArnError {
                arn: arn.to_owned(),
                expected: "the ARN of a certificate of this account (arn:aws:iot:REGION:ACCOUNT:cert/ID)",
            })
    }

    /// The certificate or thing group that an ARN names.
    ///
    /// # Errors
    /// [`ArnError`] if it names neither.
    pub fn parse_policy_target(&self, arn: &str) -> Result<PolicyTarget, ArnError> {
        let group = || {
            let name = self.iot_resource(arn)?.strip_prefix("thinggroup/")?;
            GroupName::parse(name).ok().map(PolicyTarget::Group)
        };
        self.parse_certificate(arn).map(PolicyTarget::Certificate).ok().or_else(group).ok_or_else(
            || ArnError {
                arn: arn.to_owned(),
                expected: "the ARN of a certificate or a thing group of this account",
            },
        )
    }

    /// The notification topic that an ARN names.
    ///
    /// # Errors
    /// [`ArnError`] if it names none.
    pub fn parse_notification_topic(&self, arn: &str) -> Result<NotificationTopicName, ArnError> {
        self.resource(arn, "sns")
            .and_then(|name| NotificationTopicName::parse(name).ok())
            .ok_or_else(|| ArnError {
                arn: arn.to_owned(),
                expected: "the ARN of a topic of this account (arn:aws:sns:REGION:ACCOUNT:NAME)",
            })
    }

    /// The function that an ARN names; a qualifier behind the name is dropped.
    ///
    /// # Errors
    /// [`ArnError`] if it names none.
    pub fn parse_function(&self, arn: &str) -> Result<FunctionName, ArnError> {
        self.resource(arn, "lambda")
            .and_then(|resource| resource.strip_prefix("function:"))
            .and_then(|name| FunctionName::parse(name.split(':').next().unwrap_or(name)).ok())
            .ok_or_else(|| ArnError {
                arn: arn.to_owned(),
                expected: "the ARN of a function of this account (arn:aws:lambda:REGION:ACCOUNT:function:NAME)",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_of_any_region_names_the_same_resource() {
        let account = Account::default();
        let group = GroupName::parse("IsolatedDevices").unwrap();
        for region in ["us-east-1", "eu-west-1", ""] {
            let arn = format!("arn:aws:iot:{region}:123456789012:thinggroup/IsolatedDevices");
            assert_eq!(account.parse_policy_target(&arn), Ok(PolicyTarget::Group(group.clone())));
        }
    }

    #[test]
    fn an_arn_of_another_account_or_service_names_nothing_here() {
        let account = Account::default();
        for arn in [
            "arn:aws:iot:us-east-1:999999999999:thinggroup/G",
            "arn:aws:sns:us-east-1:123456789012:thinggroup/G",
            "arn:aws:iot:us-east-1:123456789012:thinggroup/",
            "thinggroup/G",
            "",
        ] {
            assert!(account.parse_policy_target(arn).is_err(), "{arn}");
        }
    }

    #[test]
    fn what_is_formatted_can_be_parsed() {
        let account = Account { id: "000000000000".into(), region: "eu-west-1".into() };
        let topic = NotificationTopicName::parse("BadIoTDevices").unwrap();
        let function = FunctionName::parse("IsolateDevice").unwrap();
        let arn = account.notification_topic_arn(&topic);
        assert_eq!(account.parse_notification_topic(&arn), Ok(topic));
        let arn = account.function_arn(&function);
        assert_eq!(account.parse_function(&format!("{arn}:$LATEST")), Ok(function));
    }
}
