//! A watch: one thing that is judged or retained of a device, compiled from a profile.

use std::sync::Arc;

use picket_model::catalogue::{Kind, Source};
use picket_model::{Behavior, Comparison, Metric, MetricDimension, ProfileName, WindowLen};

use crate::fingerprint::Fingerprint;
use crate::judge::{breaks_for_good, tests_largest};

/// One thing that is measured of a device: for a behavior, or to be retained.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Tells whether a watch of another plan is the same.
    pub(crate) fingerprint: Fingerprint,
    /// What is measured.
    pub(crate) metric: Metric,
    /// Which part of it, if not all.
    pub(crate) dimension: Option<Arc<MetricDimension>>,
    /// How long its windows are.
    pub(crate) len: WindowLen,
    /// What its datapoints are made of.
    pub(crate) feed: Feed,
    /// What the watch does with a datapoint.
    pub(crate) test: Test,
    /// Place of what is counted for it among [`crate::plan::Plan::series`]; none if it needs no
    /// windows.
    pub(crate) series: Option<u32>,
    /// Whether the metric's datapoints are taken from this watch.
    pub(crate) emits: bool,
    /// Profiles that publish its values.
    pub(crate) exports: Box<[ProfileName]>,
    /// Whether a window that breaks the criteria is judged at once.
    pub(crate) is_early: bool,
    /// The behavior with its profile; none for a metric that is only retained.
    pub(crate) judged: Option<Judged>,
}

/// What the datapoints of a watch are made of, and hence when there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// What the broker counted: one for each window.
    Window,
    /// How long the device has been away: one for each tick.
    Away,
    /// How long the device has not reported: one for each tick.
    Unreported,
    /// What a report says: one for each report.
    Report,
    /// What a report says, judged together with the reports of the window behind it. Holds the
    /// metric's place in [`crate::plan::Plan::trailing`].
    Trailing(u16),
    /// What a report says beside what the broker saw: one for each report.
    Disagreement,
}

/// What a watch does with a datapoint beside giving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// Nothing: the metric is only retained.
    Nothing,
    /// Judges it by itself.
    Alone,
    /// Judges it, when its window ended, among those of all devices of the profile. Holds the
    /// number of the population.
    Fleet(u32),
    /// Counts it, as there is no model yet. Holds the number of what is trained.
    Train(u32),
}

/// The behavior of a watch.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Whose behavior it is.
    pub(crate) profile: ProfileName,
    /// What is normal.
    pub(crate) behavior: Arc<Behavior>,
}

impl Watch {
    /// The watch of a behavior that `test` judges.
    pub(crate) fn of_behavior(
        profile: &ProfileName,
        fingerprint: Fingerprint,
        behavior: &Arc<Behavior>,
        dimension: Option<Arc<MetricDimension>>,
        test: Test,
    ) -> Self {
        let export = behavior.export.then(|| profile.clone());
        Self {
            fingerprint,
            metric: behavior.metric.clone(),
            dimension,
            len: behavior.criteria.window_or_default(),
            feed: Feed::of(&behavior.metric, Some(&behavior.criteria.comparison)),
            test,
            series: None,
            emits: false,
            exports: export.into_iter().collect(),
            is_early: breaks_for_good(&behavior.metric, &behavior.criteria.comparison),
            judged: Some(Judged { profile: profile.clone(), behavior: Arc::clone(behavior) }),
        }
    }

    /// The watch of a metric that `exports` retain, beside behaviors that may judge it.
    pub(crate) fn of_retained(
        metric: Metric,
        dimension: Option<Arc<MetricDimension>>,
        exports: Box<[ProfileName]>,
    ) -> Self {
        Self {
            fingerprint: Fingerprint::of_retained(&metric, dimension.as_deref()),
            len: WindowLen::DEFAULT,
            feed: Feed::of(&metric, None),
            test: Test::Nothing,
            series: None,
            emits: false,
            exports,
            is_early: false,
            judged: None,
            metric,
            dimension,
        }
    }

    /// What it compares with, if it judges.
    pub(crate) fn comparison(&self) -> Option<&Comparison> {
        self.judged.as_ref().map(|judged| &judged.behavior.criteria.comparison)
    }

    /// Whether a violating sum stays one whatever else is added to it.
    pub(crate) fn breaks_for_good(&self) -> bool {
        self.comparison().is_some_and(tests_largest)
    }

    /// How far back reports are summed, in milliseconds.
    ///
    /// A tenth less than the window: a device that reports every 300 s does so a little sooner or
    /// later, and its window of 300 s must hold one report, not now two and now one.
    pub(crate) fn trailing_ms(&self) -> i64 {
        self.len.as_millis() / 10 * 9
    }
}

impl Feed {
    fn of(metric: &Metric, comparison: Option<&Comparison>) -> Self {
        match (metric.source(), metric.kind(), comparison) {
            (Source::Device, Kind::Increment, Some(Comparison::Limit(..))) => {
                Self::Trailing(u16::MAX)
            }
            (Source::Device, ..) => Self::Report,
            (Source::Evidence, Kind::Duration, _) => Self::Unreported,
            (Source::Evidence, ..) => Self::Disagreement,
            (Source::Cloud, Kind::Duration, _) => Self::Away,
            (Source::Cloud, ..) => Self::Window,
        }
    }
}
