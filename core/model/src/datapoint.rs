//! Datapoints: what is judged, and what is kept for people to look at.

use crate::{DeviceName, Metric, MetricValue, Timestamp};

/// The value of one metric of one device for one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datapoint {
    /// Whose.
    pub device: DeviceName,
    /// What was measured.
    pub metric: Metric,
    /// End of the window.
    pub at: Timestamp,
    /// The value; of message sizes the largest.
    pub value: MetricValue,
}
