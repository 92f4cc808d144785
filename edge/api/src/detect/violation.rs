//! Violations and their events as the API gives them.
//!
//! Beside AWS's members there is one of ours, `explanation`: SDKs drop members that they do not
//! know, and whoever reads the answer itself (the console, curl) is told why.

use picket_model::wire::{behavior_to_json, metric_value_to_json, quantity_to_json};
use picket_model::{
    Behavior, Comparison, Evidence, Explanation, Note, VerificationState, Violation, ViolationEvent,
};
use serde_json::{Value, json};

/// A member of `activeViolations`.
pub(super) fn violation_to_json(violation: &Violation) -> Value {
    let mut json = json!({
        "violationId": violation.id.as_str(),
        "thingName": violation.device.as_str(),
        "securityProfileName": violation.profile.as_str(),
        "behavior": behavior_to_json(&violation.behavior),
        "lastViolationValue": metric_value_to_json(&violation.last_value),
        "lastViolationTime": violation.last_violated_at.as_secs_f64(),
        "violationStartTime": violation.started_at.as_secs_f64(),
        "explanation": explanation_to_json(&violation.explanation),
    });
    additional_info(&mut json, &violation.behavior);
    verification(&mut json, violation.verification, violation.verification_description.as_deref());
    json
}

/// A member of `violationEvents`, with what a person made of its violation.
pub(super) fn event_to_json(
    event: &ViolationEvent,
    state: VerificationState,
    description: Option<&str>,
) -> Value {
    let mut json = json!({
        "violationId": event.violation.as_str(),
        "thingName": event.device.as_str(),
        "securityProfileName": event.profile.as_str(),
        "behavior": behavior_to_json(&event.behavior),
        "violationEventType": event.kind.as_str(),
        "violationEventTime": event.at.as_secs_f64(),
        "explanation": explanation_to_json(&event.explanation),
    });
    if let Some(value) = &event.value {
        json["metricValue"] = metric_value_to_json(value);
    }
    additional_info(&mut json, &event.behavior);
    verification(&mut json, state, description);
    json
}

/// What AWS says besides of a violation of a learned criteria.
fn additional_info(json: &mut Value, behavior: &Behavior) {
    if let Comparison::Learned(confidence) = behavior.criteria.comparison {
        let info = json!({ "confidenceLevel": confidence.as_str() });
        json["violationEventAdditionalInfo"] = info;
    }
}

fn verification(json: &mut Value, state: VerificationState, description: Option<&str>) {
    json["verificationState"] = state.as_str().into();
    if let Some(description) = description {
        json["verificationStateDescription"] = description.into();
    }
}

fn explanation_to_json(explanation: &Explanation) -> Value {
    json!({
        "sentence": explanation.sentence,
        "windowStart": explanation.window_start.as_secs_f64(),
        "windowSeconds": explanation.window.as_secs(),
        "early": explanation.early,
        "evidence": evidence_to_json(&explanation.evidence),
        "notes": explanation.notes.iter().map(note_to_json).collect::<Vec<_>>(),
    })
}

fn note_to_json(note: &Note) -> Value {
    json!({"kind": note.kind.as_str(), "sentence": note.sentence})
}

/// One member, named for the kind of evidence; times in seconds like AWS's.
fn evidence_to_json(evidence: &Evidence) -> Value {
    match evidence {
        Evidence::Messages { count, first_at, last_at, largest_bytes, largest_topic } => json!({
            "messages": {
                "count": count,
                "firstAt": first_at.as_secs_f64(),
                "lastAt": last_at.as_secs_f64(),
                "largestBytes": largest_bytes,
                "largestTopic": &**largest_topic,
            }
        }),
        Evidence::Count { count, first_at, last_at } => json!({
            "count": {
                "count": count,
                "firstAt": first_at.as_secs_f64(),
                "lastAt": last_at.as_secs_f64(),
            }
        }),
        Evidence::Denials { count, first_at, last_at, last_action, last_resource } => json!({
            "denials": {
                "count": count,
                "firstAt": first_at.as_secs_f64(),
                "lastAt": last_at.as_secs_f64(),
                "lastAction": last_action,
                "lastResource": &**last_resource,
            }
        }),
        Evidence::Addresses(addresses) => json!({
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        Evidence::Absence { since } => json!({ "absence": { "since": since.as_secs_f64() } }),
        Evidence::Reports { count, first_at, last_at, last_id } => json!({
            "reports": {
                "count": count,
                "firstAt": first_at.as_secs_f64(),
                "lastAt": last_at.as_secs_f64(),
                "lastId": last_id,
            }
        }),
        Evidence::ListeningPorts(ports) => {
            let port = |(port, interface): &(u16, Option<Box<str>>)| match interface {
                Some(interface) => json!({"port": port, "interface": &**interface}),
                None => json!({ "port": port }),
            };
            json!({ "listeningPorts": ports.iter().map(port).collect::<Vec<_>>() })
        }
        Evidence::Destinations(destinations) => json!({
            "destinations": destinations.iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        Evidence::Fleet { value, percentile, limit, devices } => json!({
            "fleet": {
                "value": quantity_to_json(*value),
                "percentile": percentile.as_str(),
                "limit": quantity_to_json(*limit),
                "devices": devices,
            }
        }),
        Evidence::Nothing => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_model::{
        BehaviorName, Confidence, Criteria, DeviceName, Metric, MetricValue, NoteKind, Operator,
        Percentile, ProfileName, Quantity, Timestamp, ViolationEventKind, ViolationId, WindowLen,
    };

    use super::*;

    fn behavior() -> Arc<Behavior> {
        Arc::new(Behavior {
            name: BehaviorName::parse("LargeMessageSize").unwrap(),
            metric: Metric::MessageByteSize,
            dimension: None,
            criteria: Criteria {
                comparison: Comparison::Limit(Operator::LessThanEquals, Quantity::Count(1000)),
                window: WindowLen::from_secs(300),
                datapoints_to_alarm: 1,
                datapoints_to_clear: 2,
            },
            suppress_alerts: false,
            export: false,
        })
    }

    fn explanation() -> Explanation {
        Explanation {
            sentence: "a message of 3,000 bytes; normal is message size <= 1,000 bytes".into(),
            window_start: Timestamp::from_secs(1_573_786_800),
            window: WindowLen::DEFAULT,
            early: true,
            evidence: Evidence::Messages {
                count: 12,
                first_at: Timestamp::from_millis(1_573_786_801_250),
                last_at: Timestamp::from_millis(1_573_786_812_500),
                largest_bytes: 3000,
                largest_topic: "temperature-device-02".into(),
            },
            notes: vec![Note {
                kind: NoteKind::ReportIdRepeated,
                sentence: "report 7 came twice".into(),
            }],
        }
    }

    #[test]
    fn an_active_violation_carries_its_reason_beside_what_aws_says() {
        let violation = Violation {
            id: ViolationId::parse("37e18651d207bbc74236c13faf146127").unwrap(),
            device: DeviceName::parse("SensorDevice02").unwrap(),
            profile: ProfileName::parse("DetectLargeMessageSize").unwrap(),
            behavior: behavior(),
            started_at: Timestamp::from_millis(1_573_786_812_500),
            last_violated_at: Timestamp::from_millis(1_573_786_812_500),
            last_value: MetricValue::Count(3000),
            explanation: explanation(),
            verification: VerificationState::TruePositive,
            verification_description: Some("seen on site".into()),
        };
        let json = violation_to_json(&violation);
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
    }

    #[test]
    fn an_event_has_its_time_in_seconds() {
        let event = ViolationEvent {
            violation: ViolationId::parse("37e18651d207bbc74236c13faf146127").unwrap(),
            kind: ViolationEventKind::InAlarm,
            at: Timestamp::from_millis(1_573_786_812_500),
            device: DeviceName::parse("SensorDevice02").unwrap(),
            profile: ProfileName::parse("DetectLargeMessageSize").unwrap(),
            behavior: behavior(),
            value: Some(MetricValue::Count(3000)),
            explanation: explanation(),
        };
        let json = event_to_json(&event, VerificationState::Unknown, None);
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
        let invalidated =
            ViolationEvent { value: None, kind: ViolationEventKind::Invalidated, ..event };
        let json = event_to_json(&invalidated, VerificationState::Unknown, None);
        assert!(json.get("metricValue").is_none());
        assert_eq!(json["violationEventType"], "alarm-invalidated");
    }

    #[test]
    fn an_alarm_of_a_learned_criteria_says_how_sure_its_model_is() {
        let mut behavior = Behavior::clone(&behavior());
        behavior.criteria.comparison = Comparison::Learned(Confidence::Medium);
        let mut json = json!({});
        additional_info(&mut json, &behavior);
        assert_eq!(json, json!({"violationEventAdditionalInfo": {"confidenceLevel": "MEDIUM"}}));
    }

    #[test]
    fn every_kind_of_evidence_names_itself() {
        let at = Timestamp::from_secs(1);
        let cases = [
            (Evidence::Count { count: 7, first_at: at, last_at: at }, "count"),
            (
                Evidence::Denials {
                    count: 7,
                    first_at: at,
                    last_at: at,
                    last_action: "iot:Publish".into(),
                    last_resource: "a/b".into(),
                },
                "denials",
            ),
            (Evidence::Addresses(vec!["192.0.2.1".parse().unwrap()]), "addresses"),
            (Evidence::Absence { since: at }, "absence"),
            (Evidence::Reports { count: 2, first_at: at, last_at: at, last_id: 7 }, "reports"),
            (
                Evidence::ListeningPorts(vec![(22, None), (23, Some("eth0".into()))]),
                "listeningPorts",
            ),
            (Evidence::Destinations(vec!["[2001:db8::1]:443".parse().unwrap()]), "destinations"),
            (
                Evidence::Fleet {
                    value: Quantity::Count(3000),
                    percentile: Percentile::P50,
                    limit: Quantity::Count(120),
                    devices: 9,
                },
                "fleet",
            ),
        ];
        for (evidence, name) in cases {
            let json = evidence_to_json(&evidence);
            assert!(json.get(name).is_some() && json.as_object().unwrap().len() == 1, "{json}");
        }
        assert_eq!(evidence_to_json(&Evidence::Nothing), json!({}));
    }
}
