//! Notification topics and their subscriptions (AWS: SNS). Not MQTT topics.

use std::collections::BTreeMap;
use std::fmt;

use crate::{NotificationTopicName, Timestamp};

/// A notification topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationTopic {
    /// Unchangeable name.
    pub name: NotificationTopicName,
    /// Attributes that a user set: `DisplayName`, `Policy` and the like.
    pub attributes: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Somebody who wants what is published on a notification topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// ARN: the topic's ARN, `:` and a UUID.
    pub arn: String,
    /// The topic.
    pub topic: NotificationTopicName,
    /// How to reach the subscriber.
    pub protocol: Protocol,
    /// Where: for [`Protocol::Lambda`] the function's ARN.
    pub endpoint: String,
    /// Attributes that a user set.
    pub attributes: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How a subscriber is reached. More protocols follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A function of this installation.
    Lambda,
}

impl Protocol {
    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        (text == Self::Lambda.as_str()).then_some(Self::Lambda)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
