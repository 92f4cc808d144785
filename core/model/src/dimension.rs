//! Dimensions: named sets of topic filters that narrow a metric.

use std::fmt;

use crate::{DimensionName, Timestamp};

/// A dimension. Source: aws CreateDimension; the only type is `TOPIC_FILTER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Unchangeable name.
    pub name: DimensionName,
    /// Topic filters, 1 to 100; `${iot:ClientId}` in one stands for the client id of the
    /// connection.
    pub filters: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// What of a metric a behavior judges. Source: aws `MetricDimension`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricDimension {
    /// Which dimension.
    pub name: DimensionName,
    /// Which side of it.
    pub operator: DimensionOperator,
}

impl fmt::Display for MetricDimension {
    /// Writes `IN NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operator.as_str(), self.name)
    }
}

/// Which side of a dimension. Source: aws `DimensionValueOperator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DimensionOperator {
    /// Messages whose topic matches any of the filters.
    #[default]
    In,
    /// Messages whose topic matches none of them.
    NotIn,
}

impl DimensionOperator {
    /// Both.
    pub const ALL: [DimensionOperator; 2] = [DimensionOperator::In, DimensionOperator::NotIn];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "IN",
            Self::NotIn => "NOT_IN",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == text)
    }
}
