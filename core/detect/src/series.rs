//! A series: what is counted in windows of one length, for all watches that need the same.

use std::sync::Arc;

use picket_model::catalogue::Kind;
use picket_model::{Metric, MetricDimension, WindowLen};

use crate::fingerprint::Fingerprint;
use crate::watch::{Feed, Test, Watch};

/// What is counted in windows of one length.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Tells whether a series of another plan is the same.
    pub(crate) fingerprint: Fingerprint,
    /// What is counted.
    pub(crate) counted: Counted,
    /// Which part of it, if not all.
    pub(crate) dimension: Option<Arc<MetricDimension>>,
    /// How long the windows are.
    pub(crate) len: WindowLen,
    /// Whether a device that is connected and does nothing has a value: zero.
    pub(crate) counts_zeros: bool,
    /// Places of the watches that it is for, ascending.
    pub(crate) watches: Vec<u32>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Messages sent.
    Messages,
    /// Messages delivered.
    Deliveries,
    /// Denied requests.
    Denials,
    /// Attempts to connect.
    Attempts,
    /// Connections that ended.
    Disconnects,
    /// Addresses.
    Addresses,
    /// The increments of a metric in reports.
    Increments(Metric),
    /// The last value of a metric in reports.
    Gauge(Metric),
}

impl Series {
    /// What has to be counted in windows for a watch; `None` if nothing has.
    pub(crate) fn of(watch: &Watch) -> Option<Self> {
        let counted = match (&watch.metric, watch.feed, watch.test) {
            (Metric::MessageByteSize | Metric::MessagesSent, ..) => Counted::Messages,
            (Metric::MessagesReceived, ..) => Counted::Deliveries,
            (Metric::AuthorizationFailures, ..) => Counted::Denials,
            (Metric::ConnectionAttempts, ..) => Counted::Attempts,
            (Metric::Disconnects, ..) => Counted::Disconnects,
            (Metric::SourceIpAddress, ..) => Counted::Addresses,
            (metric, Feed::Report, Test::Fleet(_)) if metric.kind() == Kind::Increment => {
                Counted::Increments(metric.clone())
            }
            (metric, Feed::Report, Test::Fleet(_)) => Counted::Gauge(metric.clone()),
            _ => return None,
        };
        let counts_zeros = match counted {
            Counted::Messages
            | Counted::Deliveries
            | Counted::Denials
            | Counted::Attempts
            | Counted::Disconnects => true,
            Counted::Addresses | Counted::Increments(_) | Counted::Gauge(_) => false,
        };
        let mut series = Self {
            fingerprint: Fingerprint(0),
            counted,
            dimension: watch.dimension.clone(),
            len: watch.len,
            counts_zeros,
            watches: Vec::new(),
        };
        series.fingerprint = series.make_fingerprint(watch);
        Some(series)
    }

    fn make_fingerprint(&self, watch: &Watch) -> Fingerprint {
        let what = match &self.counted {
            Counted::Messages => "messages".to_owned(),
            Counted::Deliveries => "deliveries".to_owned(),
            Counted::Denials => "denials".to_owned(),
            Counted::Attempts => "attempts".to_owned(),
            Counted::Disconnects => "disconnects".to_owned(),
            // Which addresses are kept where there are too many depends on what is normal, so every
            // watch has its own.
            Counted::Addresses => format!("addresses\0{:016x}", watch.fingerprint.0),
            Counted::Increments(metric) => format!("increments\0{metric}"),
            Counted::Gauge(metric) => format!("gauge\0{metric}"),
        };
        let dimension = self.dimension.as_ref().map(ToString::to_string).unwrap_or_default();
        let len = self.len.as_secs();
        Fingerprint::of_text(&format!("series\0{what}\0{dimension}\0{len}"))
    }
}
