//! Attributes of topics and subscriptions: which there are, and what they may say.
//!
//! An attribute whose meaning is not done here is refused, not kept: who asks for encryption or a
//! filter must not believe to have it.

use std::collections::BTreeMap;

use picket_model::{Account, NotificationTopic, Subscription};
use serde_json::{Value, json};

/// Longest display name, in characters. Source: aws sns `DisplayName`.
const DISPLAY_NAME_CHARS_MAX: usize = 100;
/// Longest access or delivery policy. Source: AWS SNS quotas (30 KB).
const POLICY_BYTES_MAX: usize = 30 * 1024;

/// Checks one attribute of a topic that a user sets.
///
/// # Errors
/// A sentence that says what is wrong, or that the attribute means nothing here.
pub(super) fn check_topic(name: &str, value: &str) -> Result<(), String> {
    match name {
        "DisplayName" => {
            if value.chars().count() > DISPLAY_NAME_CHARS_MAX {
                return Err(format!(
                    "DisplayName is longer than {DISPLAY_NAME_CHARS_MAX} characters"
                ));
            }
            if value.chars().any(char::is_control) {
                return Err("DisplayName contains control characters".to_owned());
            }
            Ok(())
        }
        "Policy" | "DeliveryPolicy" => {
            if name == "DeliveryPolicy" && value.is_empty() {
                return Ok(());
            }
            if value.len() > POLICY_BYTES_MAX {
                return Err(format!("{name} is longer than {POLICY_BYTES_MAX} bytes"));
            }
            match serde_json::from_str::<Value>(value) {
                Ok(Value::Object(_)) => Ok(()),
                _ => Err(format!("{name} is not a JSON object")),
            }
        }
        "SignatureVersion" if matches!(value, "1" | "2") => Ok(()),
        "TracingConfig" if value == "PassThrough" => Ok(()),
        "FifoTopic" if value == "false" => Ok(()),
        "FifoTopic" => Err("FifoTopic: topics in strict order are not supported".to_owned()),
        "SignatureVersion" | "TracingConfig" => {
            Err(format!("{name} `{}` is not supported", value.escape_debug()))
        }
        _ => Err(format!(
            "attribute `{}` is not supported; supported are DisplayName, Policy, DeliveryPolicy, \
             SignatureVersion and TracingConfig",
            name.escape_debug()
        )),
    }
}

/// Checks one attribute of a subscription to a function that a user sets.
///
/// # Errors
/// A sentence that says what is wrong, or that the attribute means nothing here.
pub(super) fn check_subscription(name: &str, value: &str) -> Result<(), String> {
    match name {
        "RawMessageDelivery" if value == "false" => Ok(()),
        "RawMessageDelivery" => {
            Err("Delivery protocol [lambda] does not support raw message delivery.".to_owned())
        }
        "FilterPolicy" if value.is_empty() || value == "{}" => Ok(()),
        "FilterPolicyScope" if matches!(value, "MessageAttributes" | "MessageBody") => Ok(()),
        "FilterPolicyScope" => {
            Err("FilterPolicyScope must be MessageAttributes or MessageBody".to_owned())
        }
        "FilterPolicy" => Err("FilterPolicy is not supported yet: the subscriber would get every \
                               message; leave it out and filter in the function"
            .to_owned()),
        "RedrivePolicy" => Err("RedrivePolicy is not supported: there are no queues here; failed \
                                deliveries are kept as dead letters"
            .to_owned()),
        _ => Err(format!(
            "attribute `{}` is not supported for protocol lambda; supported are \
             RawMessageDelivery, FilterPolicy and FilterPolicyScope, each with its default value",
            name.escape_debug()
        )),
    }
}

/// Everything that GetTopicAttributes tells of a topic.
pub(super) fn of_topic(
    account: &Account,
    topic: &NotificationTopic,
    subscriptions: usize,
) -> BTreeMap<String, String> {
    let arn = account.notification_topic_arn(&topic.name);
    let mut attributes = topic.attributes.clone();
    attributes.retain(|_, value| !value.is_empty());
    let mut default = |name: &str, value: String| {
        attributes.entry(name.to_owned()).or_insert(value);
    };
    default("DisplayName", String::new());
    default("Policy", default_policy(account, &arn).to_string());
    default("TopicArn", arn);
    default("Owner", account.id.clone());
    default("SubscriptionsConfirmed", subscriptions.to_string());
    default("SubscriptionsPending", "0".to_owned());
    default("SubscriptionsDeleted", "0".to_owned());
    attributes
}

/// What AWS puts on a new topic: its owner may do everything.
fn default_policy(account: &Account, arn: &str) -> Value {
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": [
                "SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:AddPermission",
                "SNS:RemovePermission", "SNS:DeleteTopic", "SNS:Subscribe",
                "SNS:ListSubscriptionsByTopic", "SNS:Publish",
            ],
            "Resource": arn,
            "Condition": {"StringEquals": {"AWS:SourceOwner": account.id}},
        }],
    })
}

/// Everything that GetSubscriptionAttributes tells of a subscription.
pub(super) fn of_subscription(
    account: &Account,
    subscription: &Subscription,
) -> BTreeMap<String, String> {
    let mut attributes = subscription.attributes.clone();
    attributes.retain(|_, value| !value.is_empty());
    for (name, value) in [
        ("SubscriptionArn", subscription.arn.clone()),
        ("TopicArn", account.notification_topic_arn(&subscription.topic)),
        ("Owner", account.id.clone()),
        ("Protocol", subscription.protocol.to_string()),
        ("Endpoint", subscription.endpoint.clone()),
        ("ConfirmationWasAuthenticated", "true".to_owned()),
        ("PendingConfirmation", "false".to_owned()),
    ] {
        attributes.insert(name.to_owned(), value);
    }
    attributes.entry("RawMessageDelivery".to_owned()).or_insert_with(|| "false".to_owned());
    attributes
}

#[cfg(test)]
mod tests {
    use picket_model::{NotificationTopicName, Protocol, Timestamp};

    use super::*;

    #[test]
    fn an_attribute_of_a_topic_is_known_and_right_or_refused() {
        let long = "x".repeat(101);
        for (name, value, problem) in [
            ("DisplayName", "Alarme für Züge", None),
            ("DisplayName", "", None),
            ("DisplayName", &long, Some("longer than 100")),
            ("DisplayName", "a\nb", Some("control characters")),
            ("Policy", "{}", None),
            ("Policy", "", Some("not a JSON object")),
            ("Policy", "[]", Some("not a JSON object")),
            ("DeliveryPolicy", "", None),
            ("SignatureVersion", "2", None),
            ("SignatureVersion", "3", Some("`3` is not supported")),
            ("FifoTopic", "true", Some("strict order")),
            ("FifoTopic", "false", None),
            ("KmsMasterKeyId", "alias/x", Some("attribute `KmsMasterKeyId` is not supported")),
            ("a\u{7}", "", Some("`a\\u{7}` is not supported")),
        ] {
            let found = check_topic(name, value).err();
            match (found.as_deref(), problem) {
                (None, None) => {}
                (Some(found), Some(problem)) if found.contains(problem) => {}
                _ => panic!("{name}={value}: {found:?}, expected {problem:?}"),
            }
        }
    }

    #[test]
    fn a_subscription_takes_no_attribute_that_would_not_be_kept() {
        for (name, value, right) in [
            ("RawMessageDelivery", "false", true),
            ("RawMessageDelivery", "true", false),
            ("FilterPolicy", "{}", true),
            ("FilterPolicy", "{\"a\":[\"b\"]}", false),
            ("FilterPolicyScope", "MessageBody", true),
            ("FilterPolicyScope", "x", false),
            ("RedrivePolicy", "{}", false),
            ("Nonsense", "", false),
        ] {
            assert_eq!(check_subscription(name, value).is_ok(), right, "{name}={value}");
        }
    }

    #[test]
    fn what_is_told_of_a_topic_and_a_subscription() {
        let account = Account::default();
        let topic = NotificationTopic {
            name: NotificationTopicName::parse("BadIoTDevices").unwrap(),
            attributes: BTreeMap::from([("DisplayName".into(), "Bad devices".into())]),
            created_at: Timestamp::EPOCH,
        };
        insta::assert_debug_snapshot!(of_topic(&account, &topic, 1));
        let subscription = Subscription {
            arn: "arn:aws:sns:us-east-1:123456789012:BadIoTDevices:u-u-i-d".into(),
            topic: topic.name,
            protocol: Protocol::Lambda,
            endpoint: "arn:aws:lambda:us-east-1:123456789012:function:IsolateDevice".into(),
            attributes: BTreeMap::new(),
            created_at: Timestamp::EPOCH,
        };
        insta::assert_debug_snapshot!(of_subscription(&account, &subscription));
    }
}
