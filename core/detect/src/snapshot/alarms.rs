//! Alarms that are on, as records: with their behavior in full.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use picket_model::wire::{behavior_from_json, behavior_to_json};
use picket_model::{
    Behavior, BehaviorName, Comparison, Criteria, Metric, Operator, ProfileName, Quantity,
    SetOperator, Timestamp, ValueSet, WindowLen,
};

use crate::snapshot::{RestoreProblem, moment};
use crate::watch::Judged;

/// An alarm that is on.
///
/// In version 1 the behavior stood in the numbers 2 to 10; it only knew metrics of the broker.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AlarmRecord {
    #[n(0)]
    pub(super) started_at: i64,
    #[n(1)]
    profile: String,
    #[n(2)]
    behavior: Option<String>,
    #[n(3)]
    metric: Option<String>,
    #[n(4)]
    operator: Option<String>,
    #[n(5)]
    limit: Option<u64>,
    #[n(6)]
    nets: Option<Vec<String>>,
    #[n(7)]
    window_s: Option<u32>,
    #[n(8)]
    datapoints_to_alarm: Option<u8>,
    #[n(9)]
    datapoints_to_clear: Option<u8>,
    #[n(10)]
    suppress_alerts: Option<bool>,
    /// The behavior as the API writes it.
    #[n(11)]
    json: Option<String>,
}

/// Writes an alarm.
pub(super) fn record(started_at: Timestamp, judged: &Judged) -> AlarmRecord {
    AlarmRecord {
        started_at: started_at.as_millis(),
        profile: judged.profile.to_string(),
        behavior: None,
        metric: None,
        operator: None,
        limit: None,
        nets: None,
        window_s: None,
        datapoints_to_alarm: None,
        datapoints_to_clear: None,
        suppress_alerts: None,
        json: Some(behavior_to_json(&judged.behavior).to_string()),
    }
}

/// Reads an alarm.
pub(super) fn restore(record: AlarmRecord) -> Result<(Timestamp, Judged), RestoreProblem> {
    let behavior = match &record.json {
        Some(json) => {
            let json = serde_json::from_str(json).map_err(|_| RestoreProblem::Behavior)?;
            behavior_from_json(&json, 1).map_err(|_| RestoreProblem::Behavior)?
        }
        None => restore_version_1(&record)?,
    };
    let profile = ProfileName::parse(record.profile)?;
    Ok((moment(record.started_at)?, Judged { profile, behavior: Arc::new(behavior) }))
}

fn restore_version_1(record: &AlarmRecord) -> Result<Behavior, RestoreProblem> {
    let text = |text: &Option<String>| text.clone().ok_or(RestoreProblem::Behavior);
    let limit = record.limit.ok_or(RestoreProblem::Behavior);
    let nets = record.nets.as_ref().ok_or(RestoreProblem::Behavior).and_then(|nets| {
        let nets = nets.iter().map(|net| net.parse());
        nets.collect::<Result<_, _>>().map_err(|_| RestoreProblem::Behavior)
    });
    let comparison = match text(&record.operator)?.as_str() {
        "in-cidr-set" => Comparison::Set(SetOperator::In, ValueSet::Cidrs(nets?)),
        "not-in-cidr-set" => Comparison::Set(SetOperator::NotIn, ValueSet::Cidrs(nets?)),
        operator => Comparison::Limit(
            Operator::parse(operator).ok_or(RestoreProblem::Behavior)?,
            Quantity::Count(limit?),
        ),
    };
    let window = record.window_s.map(|s| WindowLen::from_secs(s).ok_or(RestoreProblem::Behavior));
    Ok(Behavior {
        name: BehaviorName::parse(text(&record.behavior)?)?,
        metric: Metric::parse(&text(&record.metric)?).ok_or(RestoreProblem::Behavior)?,
        dimension: None,
        criteria: Criteria {
            comparison,
            window: window.transpose()?,
            datapoints_to_alarm: record.datapoints_to_alarm.ok_or(RestoreProblem::Behavior)?,
            datapoints_to_clear: record.datapoints_to_clear.ok_or(RestoreProblem::Behavior)?,
        },
        suppress_alerts: record.suppress_alerts.unwrap_or(false),
        export: false,
    })
}
