//! Datapoints: what is judged, and what is kept for people to look at.

use std::sync::Arc;

use crate::{DeviceName, Metric, MetricDimension, MetricValue, Timestamp};

/// The value of one metric of one device: for a window, or of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datapoint {
    /// Whose.
    pub device: DeviceName,
    /// What was measured.
    pub metric: Metric,
    /// Which part of it, if not all.
    pub dimension: Option<Arc<MetricDimension>>,
    /// End of the window, or when the report came.
    pub at: Timestamp,
    /// The value; of message sizes the largest.
    pub value: MetricValue,
}
