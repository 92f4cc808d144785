//! A security profile as the API takes it and gives it.

use picket_model::limits::MqttLimits;
use picket_model::wire::behavior_to_json;
use picket_model::{Account, AlertTarget, Behavior, MetricsExport, SecurityProfile};
use picket_mqtt::{TopicLimits, TopicName};
use serde_json::{Map, Value, json};

use super::behaviors::{self, ProfileRules};
use super::retained::{self, RetainedInput};
use crate::input::{Members, role_arn};

/// Longest description of a profile or of a verification state, in characters.
/// Source: aws `SecurityProfileDescription`, `VerificationStateDescription`.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Longest topic of exported metrics, in characters. Source: aws `MqttTopic`.
const EXPORT_TOPIC_CHARS_MAX: usize = 512;

/// The members of a create or update request that describe the profile; `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProfileInput {
    pub(super) description: Option<String>,
    pub(super) behaviors: Option<Vec<Behavior>>,
    pub(super) alert_targets: Option<Vec<AlertTarget>>,
    pub(super) retained_metrics: Option<Vec<RetainedInput>>,
    pub(super) export: Option<MetricsExport>,
}

impl ProfileInput {
    /// Reads and checks the members of a body. What they refer to is not looked up.
    ///
    /// # Errors
    /// A sentence; where several behaviors are wrong, one for each, joined by `; `.
    pub(super) fn parse(
        account: &Account,
        rules: ProfileRules,
        body: &Members,
    ) -> Result<Self, String> {
        Ok(Self {
            description: body.get("securityProfileDescription").map(description).transpose()?,
            behaviors: body
                .get("behaviors")
                .map(|json| match behaviors::read(rules, json) {
                    (behaviors, problems) if problems.is_empty() => Ok(behaviors),
                    (_, problems) => Err(behaviors::joined(&problems)),
                })
                .transpose()?,
            alert_targets: body
                .get("alertTargets")
                .map(|json| alert_targets(account, json))
                .transpose()?,
            retained_metrics: retained::read(body)?,
            export: body.get("metricsExportConfig").map(metrics_export).transpose()?,
        })
    }
}

fn description(json: &Value) -> Result<String, String> {
    const WHAT: &str = "`securityProfileDescription`";
    let text = json.as_str().ok_or_else(|| format!("{WHAT} must be a string"))?;
    plain_text(WHAT, text, DESCRIPTION_CHARS_MAX)
}

/// A text for people: bounded, and without control characters.
pub(super) fn plain_text(what: &str, text: &str, chars_max: usize) -> Result<String, String> {
    let len = text.chars().count();
    if len > chars_max {
        return Err(format!("{what} is {len} characters long; at most {chars_max} are allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} contains control characters"));
    }
    Ok(text.to_owned())
}

fn alert_targets(account: &Account, json: &Value) -> Result<Vec<AlertTarget>, String> {
    let targets = json.as_object().ok_or("`alertTargets` must be an object")?;
    targets
        .iter()
        .map(|(kind, target)| {
            if kind != "SNS" {
                return Err(format!(
                    "`alertTargets` has the kind `{}`; the only kind is SNS",
                    kind.escape_debug()
                ));
            }
            let text = |member: &str| {
                target
                    .get(member)
                    .and_then(Value::as_str)
                    .ok_or_else(|| format!("`alertTargets.SNS.{member}` is missing"))
            };
            let topic_arn = text("alertTargetArn")?;
            account
                .parse_notification_topic(topic_arn)
                .map_err(|error| format!("`alertTargets.SNS.alertTargetArn`: {error}"))?;
            let role_arn = role_arn(text("roleArn")?)
                .map_err(|error| format!("`alertTargets.SNS.roleArn`: {error}"))?;
            Ok(AlertTarget { topic_arn: topic_arn.to_owned(), role_arn: role_arn.to_owned() })
        })
        .collect()
}

/// Where values are published: a topic that messages can be published to.
fn metrics_export(json: &Value) -> Result<MetricsExport, String> {
    const TOPIC: &str = "`metricsExportConfig.mqttTopic`";
    if !json.is_object() {
        return Err("`metricsExportConfig` must be an object".to_owned());
    }
    let text = |member: &str| {
        let text = json.get(member).and_then(Value::as_str);
        text.ok_or_else(|| format!("`metricsExportConfig.{member}` is missing"))
    };
    let topic = text("mqttTopic")?;
    let len = topic.chars().count();
    if !(1..=EXPORT_TOPIC_CHARS_MAX).contains(&len) {
        return Err(format!(
            "{TOPIC} is {len} characters long; 1 to {EXPORT_TOPIC_CHARS_MAX} are allowed"
        ));
    }
    TopicName::parse(topic, &TopicLimits::from(&MqttLimits::default()))
        .map_err(|error| format!("{TOPIC} is no topic name: {error}"))?;
    if topic.starts_with('$') {
        return Err(format!(
            "{TOPIC}: `{}` begins with `$`; such topics are reserved for the server",
            topic.escape_debug()
        ));
    }
    let role_arn = role_arn(text("roleArn")?)
        .map_err(|error| format!("`metricsExportConfig.roleArn`: {error}"))?;
    Ok(MetricsExport { mqtt_topic: topic.to_owned(), role_arn: role_arn.to_owned() })
}

/// A profile as DescribeSecurityProfile and UpdateSecurityProfile give it.
pub(super) fn profile_to_json(account: &Account, profile: &SecurityProfile) -> Value {
    let alert_targets: Map<String, Value> = profile
        .alert_targets
        .iter()
        .map(|target| {
            let json = json!({"alertTargetArn": target.topic_arn, "roleArn": target.role_arn});
            ("SNS".to_owned(), json)
        })
        .collect();
    let mut json = json!({
        "securityProfileName": profile.name.as_str(),
        "securityProfileArn": account.profile_arn(&profile.name),
        "behaviors": profile.behaviors.iter().map(behavior_to_json).collect::<Vec<_>>(),
        "alertTargets": alert_targets,
        "additionalMetricsToRetain": retained::names_to_json(&profile.retained_metrics),
        "additionalMetricsToRetainV2": retained::objects_to_json(&profile.retained_metrics),
        "version": profile.version,
        "creationDate": profile.created_at.as_secs_f64(),
        "lastModifiedDate": profile.modified_at.as_secs_f64(),
    });
    if let Some(description) = &profile.description {
        json["securityProfileDescription"] = description.as_str().into();
    }
    if let Some(MetricsExport { mqtt_topic, role_arn }) = &profile.export {
        json["metricsExportConfig"] = json!({"mqttTopic": mqtt_topic, "roleArn": role_arn});
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<ProfileInput, String> {
        let rules = ProfileRules::default();
        ProfileInput::parse(&Account::default(), rules, &Members::of(&body, "").unwrap())
    }

    #[track_caller]
    fn check_refused(body: Value, expected: &str) {
        let error = parse(body).unwrap_err();
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }

    fn behavior(name: &str) -> Value {
        json!({
            "name": name,
            "metric": "aws:num-messages-sent",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 100},
                "durationSeconds": 300,
            },
        })
    }

    fn sns(topic: &str, role: &str) -> Value {
        json!({"alertTargets": {"SNS": {"alertTargetArn": topic, "roleArn": role}}})
    }

    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:Alerts";
    const ROLE: &str = "arn:aws:iam::123456789012:role/Alerts";

    #[test]
    fn what_is_not_given_stays_none_and_what_is_empty_is_given() {
        assert_eq!(parse(json!({})).unwrap(), ProfileInput::default());
        let given =
            parse(json!({"behaviors": [], "alertTargets": {}, "additionalMetricsToRetain": []}));
        let given = given.unwrap();
        assert_eq!(given.behaviors, Some(vec![]));
        assert_eq!(given.alert_targets, Some(vec![]));
        assert_eq!(given.retained_metrics, Some(vec![]));
        assert_eq!(parse(json!({"behaviors": null})).unwrap().behaviors, None);
    }

    #[test]
    fn a_profile_is_read_whole() {
        let mut body = sns(TOPIC, ROLE);
        body["securityProfileDescription"] = "größer als normal".into();
        body["behaviors"] = json!([behavior("a"), behavior("b")]);
        body["additionalMetricsToRetain"] = json!(["aws:message-byte-size"]);
        body["metricsExportConfig"] = json!({"mqttTopic": "metrics/all", "roleArn": ROLE});
        let input = parse(body).unwrap();
        assert_eq!(input.behaviors.unwrap().len(), 2);
        assert_eq!(input.alert_targets.unwrap()[0].topic_arn, TOPIC);
        assert_eq!(input.retained_metrics.unwrap().len(), 1);
        assert_eq!(input.export.unwrap().mqtt_topic, "metrics/all");
    }

    #[test]
    fn each_member_says_what_is_wrong_with_it() {
        check_refused(
            json!({"securityProfileDescription": "x".repeat(1_001)}),
            "`securityProfileDescription` is 1001 characters long; at most 1000 are allowed",
        );
        check_refused(json!({"securityProfileDescription": "a\u{7}"}), "control characters");
        check_refused(json!({"securityProfileDescription": 7}), "must be a string");
        check_refused(json!({"behaviors": {}}), "`behaviors` must be a list");
        check_refused(json!({"behaviors": [7]}), "behavior `number 1`: `name` is missing");
        check_refused(
            json!({"behaviors": [behavior("a"), behavior("a")]}),
            "behavior `a`: the name is given twice in this profile",
        );
        check_refused(
            json!({"behaviors": vec![behavior("a"); 101]}),
            "there are 101 behaviors; a security profile has at most 100",
        );
        check_refused(
            json!({"additionalMetricsToRetain": ["aws:all-bites-out"]}),
            "`additionalMetricsToRetain`: there is no metric `aws:all-bites-out`",
        );
    }

    #[test]
    fn metrics_are_exported_to_a_topic_name() {
        let check = |topic: &str, role: &str, expected: &str| {
            let config = json!({"mqttTopic": topic, "roleArn": role});
            check_refused(json!({ "metricsExportConfig": config }), expected);
        };
        check("", ROLE, "is 0 characters long; 1 to 512 are allowed");
        check(&"x".repeat(513), ROLE, "is 513 characters long");
        check("metrics/#", ROLE, "`metrics/#` contains a wildcard");
        check("metrics/\u{7}", ROLE, "control character");
        check("$aws/things/t/shadow/update", ROLE, "reserved for the server");
        check("metrics", "arn:x", "`metricsExportConfig.roleArn`: `arn:x` is not the ARN");
        check_refused(json!({"metricsExportConfig": {}}), "`metricsExportConfig.mqttTopic` is mis");
        check_refused(json!({"metricsExportConfig": "t"}), "must be an object");
    }

    #[test]
    fn an_alert_target_is_a_topic_of_this_account_and_a_role() {
        assert!(parse(sns(TOPIC, ROLE)).is_ok());
        check_refused(sns("arn:aws:sns:us-east-1:999999999999:T", ROLE), "the ARN of a topic");
        check_refused(sns(TOPIC, "arn:short"), "is not the ARN of a role");
        check_refused(
            sns(TOPIC, &format!("arn:aws:iam::123456789012:role/{}", "x".repeat(2_048))),
            "20 to 2048",
        );
        check_refused(json!({"alertTargets": {"EMAIL": {}}}), "the only kind is SNS");
        check_refused(
            json!({"alertTargets": {"SNS": {}}}),
            "`alertTargets.SNS.alertTargetArn` is missing",
        );
        check_refused(json!({"alertTargets": []}), "must be an object");
    }
}
