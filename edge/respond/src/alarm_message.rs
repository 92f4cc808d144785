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
    metric_dimension: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppress_alerts: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    export_metric: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CriteriaMember {
    consecutive_datapoints_to_clear: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<Value>,
    consecutive_datapoints_to_alarm: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison_operator: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistical_threshold: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ml_detection_config: Option<Value>,
}

impl BehaviorMember {
    /// The members come from the one place that knows the wire form of a behavior; only their
    /// order is ours.
    fn of(behavior: &Behavior) -> Self {
        let mut json = behavior_to_json(behavior);
        let criteria = &mut json["criteria"];
        let criteria = CriteriaMember {
            consecutive_datapoints_to_clear: criteria["consecutiveDatapointsToClear"].take(),
            value: taken(criteria, "value"),
            duration_seconds: taken(criteria, "durationSeconds"),
            consecutive_datapoints_to_alarm: criteria["consecutiveDatapointsToAlarm"].take(),
            comparison_operator: taken(criteria, "comparisonOperator"),
            statistical_threshold: taken(criteria, "statisticalThreshold"),
            ml_detection_config: taken(criteria, "mlDetectionConfig"),
        };
        Self {
            criteria,
            name: json["name"].take(),
            metric: json["metric"].take(),
            metric_dimension: taken(&mut json, "metricDimension"),
            suppress_alerts: taken(&mut json, "suppressAlerts"),
            export_metric: taken(&mut json, "exportMetric"),
        }
    }
}

/// A member that is there only where it says something.
fn taken(object: &mut Value, member: &str) -> Option<Value> {
    object.get_mut(member).map(Value::take)
}

/// Writes the message of a violation event, as AWS IoT Device Defender does.
///
/// Times are in milliseconds here, although the API speaks seconds. There is no account and no
/// region in it. An invalidated alarm has no `metricValue`. Of lists, only the elements outside the
/// normal. What came to behaviors after AWS's published examples (fleet percentiles, ML, dimensions,
/// suppressing, exporting) has a member only where it is set, behind those that were there before.
/// Source: AWS guide "Detect", the alarm messages of its SNS topics.
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
        DeviceName, Evidence, Explanation, MetricValue, Number, ProfileName, Timestamp,
        ViolationEventKind, ViolationId, WindowLen,
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
                notes: Vec::new(),
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

    /// The message about the event above, with another behavior and value.
    fn message(behavior: Value, value: Option<MetricValue>) -> String {
        let behavior = Arc::new(behavior_from_json(&behavior, 1).unwrap());
        alarm_message(&ViolationEvent { behavior, value, ..event() })
    }

    /// Checks what the message says of a behavior, which is the rest of a JSON object that begins
    /// with its name.
    fn check_behavior(behavior: &str, expected: &str) {
        let behavior = serde_json::from_str(&format!(r#"{{"name":"B",{behavior}"#)).unwrap();
        let message = message(behavior, None);
        let from = message.find(r#""behavior":"#).unwrap() + r#""behavior":"#.len();
        let until = message.find(r#","violationEventType""#).unwrap();
        assert_eq!(&message[from..until], expected);
    }

    /// Checks how a value is told.
    fn check_value(value: MetricValue, expected: &str) {
        let message = alarm_message(&ViolationEvent { value: Some(value), ..event() });
        let from = message.find(r#""metricValue":"#).unwrap() + r#""metricValue":"#.len();
        let until = message.find(r#","violationId""#).unwrap();
        assert_eq!(&message[from..until], expected);
    }

    #[test]
    fn a_behavior_that_needs_no_window_has_none() {
        check_behavior(
            r#""metric":"aws:message-byte-size","criteria":{
                "comparisonOperator":"less-than-equals","value":{"count":1000}}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":1,"value":{"count":1000},"consecutiveDatapointsToAlarm":1,"comparisonOperator":"less-than-equals"},"name":"B","metric":"aws:message-byte-size"}"#,
        );
    }

    #[test]
    fn a_fleet_percentile_stands_instead_of_the_value() {
        check_behavior(
            r#""metric":"aws:all-bytes-out","criteria":{"comparisonOperator":"less-than-equals",
                "statisticalThreshold":{"statistic":"p99.9"},"durationSeconds":300,
                "consecutiveDatapointsToAlarm":2,"consecutiveDatapointsToClear":3}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":3,"durationSeconds":300,"consecutiveDatapointsToAlarm":2,"comparisonOperator":"less-than-equals","statisticalThreshold":{"statistic":"p99.9"}},"name":"B","metric":"aws:all-bytes-out"}"#,
        );
    }

    #[test]
    fn a_learned_behavior_says_how_sure_the_model_has_to_be() {
        check_behavior(
            r#""metric":"aws:all-bytes-in","criteria":{
                "mlDetectionConfig":{"confidenceLevel":"HIGH"}}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":1,"consecutiveDatapointsToAlarm":1,"mlDetectionConfig":{"confidenceLevel":"HIGH"}},"name":"B","metric":"aws:all-bytes-in"}"#,
        );
    }

    #[test]
    fn a_dimension_and_the_flags_come_behind_the_metric() {
        check_behavior(
            r#""metric":"aws:num-messages-sent","suppressAlerts":true,"exportMetric":true,
               "metricDimension":{"dimensionName":"Firmware","operator":"NOT_IN"},
               "criteria":{"comparisonOperator":"less-than","value":{"count":1},
               "durationSeconds":60}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":1,"value":{"count":1},"durationSeconds":60,"consecutiveDatapointsToAlarm":1,"comparisonOperator":"less-than"},"name":"B","metric":"aws:num-messages-sent","metricDimension":{"dimensionName":"Firmware","operator":"NOT_IN"},"suppressAlerts":true,"exportMetric":true}"#,
        );
    }

    #[test]
    fn sets_are_told_as_they_were_given() {
        check_behavior(
            r#""metric":"aws:listening-tcp-ports","criteria":{
                "comparisonOperator":"in-port-set","value":{"ports":[22,443]}}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":1,"value":{"ports":[22,443]},"consecutiveDatapointsToAlarm":1,"comparisonOperator":"in-port-set"},"name":"B","metric":"aws:listening-tcp-ports"}"#,
        );
        check_behavior(
            r#""metric":"firmware","criteria":{
                "comparisonOperator":"in-set","value":{"strings":["1.0","1.1"]}}}"#,
            r#"{"criteria":{"consecutiveDatapointsToClear":1,"value":{"strings":["1.0","1.1"]},"consecutiveDatapointsToAlarm":1,"comparisonOperator":"in-set"},"name":"B","metric":"firmware"}"#,
        );
    }

    #[test]
    fn an_invalidated_alarm_has_no_value() {
        let event =
            ViolationEvent { kind: ViolationEventKind::Invalidated, value: None, ..event() };
        let message = alarm_message(&event);
        let expected = r#"},"violationEventType":"alarm-invalidated","violationId":"37e1"#;
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn every_kind_of_value_has_its_member() {
        let number = |value| Number::new(value).unwrap();
        let addresses: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        check_value(MetricValue::Count(54), r#"{"count":54}"#);
        check_value(MetricValue::Number(number(-3.5)), r#"{"number":-3.5}"#);
        check_value(MetricValue::Ports([23, 8080].into()), r#"{"ports":[23,8080]}"#);
        check_value(
            MetricValue::Numbers([number(1.0), number(2.5)].into()),
            r#"{"numbers":[1,2.5]}"#,
        );
        check_value(
            MetricValue::Strings(["a \"b\"".into(), "c".into()].into()),
            r#"{"strings":["a \"b\"","c"]}"#,
        );
        check_value(
            MetricValue::Addresses(addresses.into()),
            r#"{"cidrs":["192.0.2.7/32","2001:db8::7/128"]}"#,
        );
    }
}
