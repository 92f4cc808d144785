//! Custom metrics: what an account measures beside the built-in ones.

use crate::catalogue::{Kind, Operators};
use crate::{CustomMetricName, Timestamp};

/// A custom metric. Source: aws CreateCustomMetric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomMetric {
    /// Unchangeable name.
    pub name: CustomMetricName,
    /// Unchangeable kind of value.
    pub kind: CustomMetricKind,
    /// For people.
    pub display_name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// The kind of value of a custom metric. Source: aws `CustomMetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CustomMetricKind {
    /// One number.
    Number,
    /// Numbers.
    NumberList,
    /// Strings.
    StringList,
    /// Addresses.
    IpAddressList,
}

impl CustomMetricKind {
    /// All of them.
    pub const ALL: [CustomMetricKind; 4] = [
        CustomMetricKind::Number,
        CustomMetricKind::NumberList,
        CustomMetricKind::StringList,
        CustomMetricKind::IpAddressList,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::NumberList => "number-list",
            Self::StringList => "string-list",
            Self::IpAddressList => "ip-address-list",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How its values are judged.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Number => Kind::Gauge,
            Self::NumberList => Kind::Numbers,
            Self::StringList => Kind::Strings,
            Self::IpAddressList => Kind::Addresses,
        }
    }

    /// The operators that fit.
    pub const fn operators(self) -> Operators {
        match self {
            Self::Number => Operators::Numbers,
            Self::NumberList => Operators::NumberSet,
            Self::StringList => Operators::StringSet,
            Self::IpAddressList => Operators::Cidrs,
        }
    }
}
