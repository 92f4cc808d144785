//! Which behaviors and retained metrics the engine exports from.
//!
//! The engine exports the values of everything that asks for it. Where a profile asks twice for the
//! same metric and dimension, say for counts over a minute and over five, a subscriber who adds up
//! would count everything twice. So one of them is exported from, and the others are not.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use picket_model::catalogue::Source;
use picket_model::{Comparison, Metric, MetricDimension, SecurityProfile, WindowLen};

/// Something that asks for the export of a metric; the smallest is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asking {
    /// Values of reports are exported one by one, where something looks at them one by one.
    in_windows_of_reports: bool,
    /// Short windows can be added up, long ones not taken apart.
    window: WindowLen,
    /// Behaviors before retained metrics, each in their order.
    is_retained: bool,
    place: usize,
}

/// The profile as it is, with one export of each metric and dimension. Alarm messages of the others
/// do not say that they export.
pub(super) fn once(profile: &Arc<SecurityProfile>) -> Arc<SecurityProfile> {
    let mut asking: BTreeMap<(&Metric, Option<&MetricDimension>), Vec<Asking>> = BTreeMap::new();
    for (place, behavior) in profile.behaviors.iter().enumerate().filter(|(_, it)| it.export) {
        let is_fleet = matches!(behavior.criteria.comparison, Comparison::Percentile(..));
        let asks = Asking {
            in_windows_of_reports: is_fleet && behavior.metric.source() == Source::Device,
            window: behavior.criteria.window_or_default(),
            is_retained: false,
            place,
        };
        asking.entry((&behavior.metric, behavior.dimension.as_ref())).or_default().push(asks);
    }
    for (place, retained) in profile.retained_metrics.iter().enumerate().filter(|(_, it)| it.export)
    {
        let asks = Asking {
            in_windows_of_reports: false,
            window: WindowLen::DEFAULT,
            is_retained: true,
            place,
        };
        asking.entry((&retained.metric, retained.dimension.as_ref())).or_default().push(asks);
    }
    let mut superfluous = Vec::new();
    for mut asking in asking.into_values().filter(|asking| asking.len() > 1) {
        asking.sort_by_key(|asks| Reverse(*asks));
        asking.pop();
        superfluous.append(&mut asking);
    }
    if superfluous.is_empty() {
        return Arc::clone(profile);
    }
    let mut profile = SecurityProfile::clone(profile);
    for Asking { is_retained, place, .. } in superfluous {
        if is_retained {
            profile.retained_metrics[place].export = false;
        } else {
            profile.behaviors[place].export = false;
        }
    }
    Arc::new(profile)
}

#[cfg(test)]
mod tests {
    use picket_model::wire::{behavior_from_json, dimension_from_json};
    use picket_model::{ProfileName, RetainedMetric, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn behavior(metric: &str, dimension: Option<&str>, criteria: &str) -> Value {
        let criteria = match criteria.split_once(" over ") {
            Some(("p50", secs)) => json!({
                "comparisonOperator": "less-than",
                "statisticalThreshold": {"statistic": "p50"},
                "durationSeconds": secs.parse::<u32>().unwrap(),
            }),
            Some((count, secs)) => json!({
                "comparisonOperator": "less-than",
                "value": {"count": count.parse::<u64>().unwrap()},
                "durationSeconds": secs.parse::<u32>().unwrap(),
            }),
            None => panic!("criteria are a value `over` seconds"),
        };
        let mut json =
            json!({"name": "B", "metric": metric, "criteria": criteria, "exportMetric": true});
        if let Some(name) = dimension {
            json["metricDimension"] = json!({"dimensionName": name});
        }
        json
    }

    /// Checks from where a profile is exported: each line a behavior `metric[/dimension] VALUE over
    /// SECONDS`, or a retained metric without the rest; all ask for export, and `expected` names
    /// the places of those that are taken.
    fn check(lines: &[&str], expected: &[usize]) {
        let mut profile = SecurityProfile {
            name: ProfileName::parse("P").unwrap(),
            description: None,
            behaviors: Vec::new(),
            alert_targets: Vec::new(),
            retained_metrics: Vec::new(),
            export: None,
            version: 1,
            created_at: Timestamp::EPOCH,
            modified_at: Timestamp::EPOCH,
        };
        for line in lines {
            let (subject, criteria) = line.split_once(' ').unwrap_or((line, ""));
            let (metric, dimension) = match subject.split_once('/') {
                Some((metric, dimension)) => (metric, Some(dimension)),
                None => (subject, None),
            };
            if criteria.is_empty() {
                let metric = Metric::parse(metric).unwrap();
                let json = dimension.map(|name| json!({"dimensionName": name}));
                let dimension = dimension_from_json(json.as_ref(), &metric).unwrap();
                profile.retained_metrics.push(RetainedMetric { metric, dimension, export: true });
            } else {
                let json = behavior(metric, dimension, criteria);
                profile.behaviors.push(behavior_from_json(&json, 1).unwrap());
            }
        }
        let once = once(&Arc::new(profile));
        let behaviors = once.behaviors.iter().map(|it| it.export);
        let exports = behaviors.chain(once.retained_metrics.iter().map(|it| it.export));
        let taken: Vec<_> =
            exports.enumerate().filter_map(|(place, export)| export.then_some(place)).collect();
        assert_eq!(taken, expected, "{lines:?}");
    }

    #[test]
    fn each_metric_and_dimension_is_exported_once() {
        check(&["aws:num-messages-sent 5 over 300"], &[0]);
        check(&["aws:num-messages-sent 5 over 300", "aws:num-disconnects 5 over 300"], &[0, 1]);
        check(&["aws:num-messages-sent 5 over 300", "aws:num-messages-sent/D 5 over 300"], &[0, 1]);
        check(&["aws:num-messages-sent/D 5 over 300", "aws:num-messages-sent/E"], &[0, 1]);
    }

    #[test]
    fn the_shortest_windows_are_taken() {
        check(&["aws:num-messages-sent 5 over 300", "aws:num-messages-sent 1 over 60"], &[1]);
        check(&["aws:num-messages-sent 5 over 300", "aws:num-messages-sent"], &[0]);
        check(&["aws:num-messages-sent 5 over 900", "aws:num-messages-sent"], &[1]);
        check(&["aws:num-messages-sent 5 over 60", "aws:num-messages-sent p50 over 60"], &[0]);
    }

    #[test]
    fn values_of_reports_are_taken_one_by_one_where_something_looks_at_them_so() {
        check(&["aws:all-bytes-out p50 over 60", "aws:all-bytes-out 5 over 300"], &[1]);
        check(&["aws:all-bytes-out p50 over 60", "aws:all-bytes-out"], &[1]);
        check(&["aws:all-bytes-out p50 over 60"], &[0]);
    }
}
