//! The message that a violation event puts on a notification topic.

use picket_model::wire::{behavior_to_json, metric_value_to_json};
use picket_model::{Behavior, ViolationEvent};
use serde::Serialize;
use serde_json::Value;

/// The members in the order in which AWS sends them. Consumers should not care; those that compare
/// text do.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    violation_event_time: i64,
    thing_name: &'a str,
    behavior: BehaviorMember,
    violation_event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_value: Option<Value>,
    violation_id: &'a str,
    security_profile_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BehaviorMember {
    criteria: CriteriaMember,
    name: Value,
    metric: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppress_alerts: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CriteriaMember {
    consecutive_datapoints_to_clear: Value,
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<Value>,
    consecutive_datapoints_to_alarm: Value,
    comparison_operator: Value,
}

impl BehaviorMember {
    /// The members come from the one place that knows the wire form of a behavior; only their
    /// order is ours.
    fn of(behavior: &Behavior) -> Self {
        let mut json = behavior_to_json(behavior);
        let criteria = &mut json["criteria"];
        let duration_seconds = criteria.get_mut("durationSeconds").map(Value::take);
        let criteria = CriteriaMember {
            consecutive_datapoints_to_clear: criteria["consecutiveDatapointsToClear"].take(),
            value: criteria["value"].take(),
            duration_seconds,
            consecutive_datapoints_to_alarm: criteria["consecutiveDatapointsToAlarm"].take(),
            comparison_operator: criteria["comparisonOperator"].take(),
        };
        Self {
            criteria,
            name: json["name"].take(),
            metric: json["metric"].take(),
            suppress_alerts: json.get_mut("suppressAlerts").map(Value::take),
        }
    }
}

/// Writes the message of a violation event, as AWS IoT Device Defender does.
///
/// Times are in milliseconds here, although the API speaks seconds. There is no account and no
/// region in it. An invalidated alarm has no `metricValue`. Addresses are only those outside the
/// normal. Source: AWS guide "Detect", the alarm messages of its SNS topics.
pub fn alarm_message(event: &ViolationEvent) -> String {
    let message = Message {
        violation_event_time: event.at.as_millis(),
        thing_name: event.device.as_str(),
        behavior: BehaviorMember::of(&event.behavior),
        violation_event_type: event.kind.as_str(),
        metric_value: event.value.as_ref().map(metric_value_to_json),
        violation_id: event.violation.as_str(),
        security_profile_name: event.profile.as_str(),
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and JSON values can be written")]
    serde_json::to_string(&message).expect("an alarm message is JSON")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use picket_model::wire::behavior_from_json;
    use picket_model::{
        DeviceName, Evidence, Explanation, MetricValue, ProfileName, Timestamp, ViolationEventKind,
        ViolationId, WindowLen,
    };
    use serde_json::json;

    use super::*;

    /// The event that AWS's message below tells of.
    pub(crate) fn event() -> ViolationEvent {
        let behavior = json!({
            "name": "MessagesPub",
            "metric": "aws:num-messages-sent",
            "criteria": {
                "comparisonOperator": "less-than",
                "value": { "count": 10 },
                "durationSeconds": 300,
            },
        });
        let at = Timestamp::from_millis(1_573_786_800_000);
        ViolationEvent {
            violation: ViolationId::parse("37e18651d207bbc74236c13faf146127").unwrap(),
            kind: ViolationEventKind::InAlarm,
            at,
            device: DeviceName::parse("dev-1").unwrap(),
            profile: ProfileName::parse("MySecProfile").unwrap(),
            behavior: Arc::new(behavior_from_json(&behavior, 1).unwrap()),
            value: Some(MetricValue::Count(54)),
            explanation: Explanation {
                sentence: "sent 54 messages in 5 min".to_owned(),
                window_start: at - 300_000,
                window: WindowLen::DEFAULT,
                early: false,
                evidence: Evidence::Nothing,
            },
        }
    }

    #[test]
    fn the_message_is_the_one_that_aws_sends() {
        assert_eq!(
            alarm_message(&event()),
            concat!(
                r#"{"violationEventTime":1573786800000,"thingName":"dev-1","#,
                r#""behavior":{"criteria":{"consecutiveDatapointsToClear":1,"value":{"count":10},"#,
                r#""durationSeconds":300,"consecutiveDatapointsToAlarm":1,"#,
                r#""comparisonOperator":"less-than"},"#,
                r#""name":"MessagesPub","metric":"aws:num-messages-sent"},"#,
                r#""violationEventType":"in-alarm","metricValue":{"count":54},"#,
                r#""violationId":"37e18651d207bbc74236c13faf146127","#,
                r#""securityProfileName":"MySecProfile"}"#,
            )
        );
    }

    #[test]
    fn what_is_not_set_is_left_out() {
        let mut event = event();
        event.kind = ViolationEventKind::Invalidated;
        event.value = None;
        let mut behavior = (*event.behavior).clone();
        behavior.criteria.window = None;
        behavior.suppress_alerts = true;
        event.behavior = Arc::new(behavior);
        let message = alarm_message(&event);
        assert!(message.contains(r#""violationEventType":"alarm-invalidated","violationId""#));
        assert!(message.contains(r#""metric":"aws:num-messages-sent","suppressAlerts":true}"#));
        assert!(!message.contains("durationSeconds") && !message.contains("metricValue"));
    }

    #[test]
    fn addresses_are_ranges_of_one() {
        let mut event = event();
        let addresses: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        event.value = Some(MetricValue::Addresses(addresses.into()));
        let message = alarm_message(&event);
        let expected = r#""metricValue":{"cidrs":["192.0.2.7/32","2001:db8::7/128"]}"#;
        assert!(message.contains(expected), "{message}");
    }
}
