//! Who is told of a violation event.

use std::collections::{BTreeMap, BTreeSet};

use picket_model::{SecurityProfile, ViolationEvent};
use picket_store::OutboxEntry;

use crate::alarm_message;

/// The messages that a violation event calls for: one for each notification topic among the
/// profile's alert targets, in their order.
///
/// A behavior whose alerts are suppressed calls for none. Ids follow from violation, kind of event
/// and topic, so the same event planned twice is in the outbox once: an alarm is raised, cleared
/// and invalidated at most once in its life.
pub fn plan(event: &ViolationEvent, profile: &SecurityProfile) -> Vec<OutboxEntry> {
    if event.behavior.suppress_alerts {
        return Vec::new();
    }
    let mut told = BTreeSet::new();
    profile
        .alert_targets
        .iter()
        .filter(|target| told.insert(target.topic_arn.as_str()))
        .map(|target| OutboxEntry {
            id: format!("{} {} {}", event.violation, event.kind.as_str(), target.topic_arn),
            topic_arn: target.topic_arn.clone(),
            subject: None,
            message: alarm_message(event),
            attributes: BTreeMap::new(),
            at: event.at,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_model::{AlertTarget, Behavior, ProfileName, Timestamp, ViolationEventKind};

    use super::*;
    use crate::alarm_message::tests::event;

    fn profile(topics: &[&str]) -> SecurityProfile {
        let target = |topic: &&str| AlertTarget {
            topic_arn: format!("arn:aws:sns:us-east-1:123456789012:{topic}"),
            role_arn: String::new(),
        };
        SecurityProfile {
            name: ProfileName::parse("MySecProfile").unwrap(),
            description: None,
            behaviors: Vec::new(),
            alert_targets: topics.iter().map(target).collect(),
            retained_metrics: Vec::new(),
            export: None,
            version: 1,
            created_at: Timestamp::EPOCH,
            modified_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn every_target_is_told_once() {
        let entries = plan(&event(), &profile(&["B", "A", "B"]));
        let topics: Vec<_> = entries.iter().map(|entry| &entry.topic_arn[35..]).collect();
        assert_eq!(topics, ["B", "A"]);
        assert!(entries.iter().all(|entry| entry.message == alarm_message(&event())));
        assert!(entries.iter().all(|entry| entry.subject.is_none() && entry.at == event().at));
    }

    #[test]
    fn each_event_of_an_alarm_has_an_id_of_its_own_and_always_the_same() {
        let id = |kind| {
            let event = ViolationEvent { kind, ..event() };
            plan(&event, &profile(&["A"]))[0].id.clone()
        };
        assert_eq!(id(ViolationEventKind::InAlarm), id(ViolationEventKind::InAlarm));
        assert_ne!(id(ViolationEventKind::InAlarm), id(ViolationEventKind::Cleared));
        assert_eq!(
            id(ViolationEventKind::InAlarm),
            "37e18651d207bbc74236c13faf146127 in-alarm arn:aws:sns:us-east-1:123456789012:A"
        );
    }

    const KINDS: [ViolationEventKind; 3] =
        [ViolationEventKind::InAlarm, ViolationEventKind::Cleared, ViolationEventKind::Invalidated];

    /// How many are told of an event of a kind, of a behavior that is suppressed or not.
    fn n_told(kind: ViolationEventKind, suppress_alerts: bool) -> usize {
        let behavior = Behavior { suppress_alerts, ..(*event().behavior).clone() };
        let event = ViolationEvent { kind, behavior: Arc::new(behavior), ..event() };
        plan(&event, &profile(&["A"])).len()
    }

    #[test]
    fn the_beginning_and_both_ends_of_an_alarm_are_told() {
        assert_eq!(KINDS.map(|kind| n_told(kind, false)), [1, 1, 1]);
    }

    #[test]
    fn nobody_is_told_of_a_suppressed_behavior() {
        assert_eq!(KINDS.map(|kind| n_told(kind, true)), [0, 0, 0]);
    }
}
