//! What a device asks to do, as policies name it.

use std::fmt;

/// An action that a device's request needs. Source: AWS guide "AWS IoT Core policy actions".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Connect with a client id.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Subscribe to a topic filter.
    Subscribe,
    /// Be handed a message of a topic.
    Receive,
    /// Publish to a topic and let the message be retained; needed besides [`Action::Publish`].
    RetainPublish,
    /// Read the retained message of a topic.
    GetRetainedMessage,
    /// Read a thing's shadow.
    GetThingShadow,
    /// Change a thing's shadow.
    UpdateThingShadow,
    /// Delete a thing's shadow.
    DeleteThingShadow,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 9] = [
        Action::Connect,
        Action::Publish,
        Action::Subscribe,
        Action::Receive,
        Action::RetainPublish,
        Action::GetRetainedMessage,
        Action::GetThingShadow,
        Action::UpdateThingShadow,
        Action::DeleteThingShadow,
    ];

    /// The spelling of policies, for example `iot:Publish`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
            Self::RetainPublish => "iot:RetainPublish",
            Self::GetRetainedMessage => "iot:GetRetainedMessage",
            Self::GetThingShadow => "iot:GetThingShadow",
            Self::UpdateThingShadow => "iot:UpdateThingShadow",
            Self::DeleteThingShadow => "iot:DeleteThingShadow",
        }
    }

    /// What stands before the resource's name in its ARN, for example `topic/`.
    pub const fn resource_prefix(self) -> &'static str {
        match self {
            Self::Connect => "client/",
            Self::Publish | Self::Receive | Self::RetainPublish | Self::GetRetainedMessage => {
                "topic/"
            }
            Self::Subscribe => "topicfilter/",
            Self::GetThingShadow | Self::UpdateThingShadow | Self::DeleteThingShadow => "thing/",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions: which ones the patterns of a statement mean is settled when it is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActionSet(u16);

impl ActionSet {
    /// The actions for which `is_meant` holds.
    pub(crate) fn of(is_meant: impl Fn(Action) -> bool) -> Self {
        let bits = Action::ALL.into_iter().filter(|&action| is_meant(action)).map(Self::bit);
        Self(bits.fold(0, |set, bit| set | bit))
    }

    /// Whether the action is in the set.
    pub(crate) const fn contains(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }

    const fn bit(action: Action) -> u16 {
        1 << action as u16
    }
}
