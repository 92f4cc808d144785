//! A security profile as the API takes it and gives it.
//!
//! What one behavior may say is checked by [`picket_model::wire`], so that the store and the alarm
//! message cannot drift from it; here is what holds for a profile as a whole.

use std::collections::BTreeSet;

use picket_model::limits::{BEHAVIORS_PER_PROFILE_MAX, VALUE_ELEMENTS_PER_PROFILE_MAX};
use picket_model::wire::{behavior_from_json, behavior_to_json, metric_named};
use picket_model::{
    Account, AlertTarget, Behavior, Comparison, Metric, SecurityProfile, WindowLen,
};
use serde_json::{Map, Value, json};

use crate::input::Members;

/// Longest description of a profile or of a verification state, in characters.
/// Source: aws `SecurityProfileDescription`, `VerificationStateDescription`.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Lengths of a role's ARN. Source: aws `RoleArn`.
const ROLE_ARN_BYTES: std::ops::RangeInclusive<usize> = 20..=2_048;

/// Entries of a profile's list of retained metrics: there are only eight metrics, so even every
/// one in both dialects of the list is far fewer.
const RETAINED_ENTRIES_MAX: usize = 100;

/// What the operator allows beyond AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProfileRules {
    /// Refuse window lengths that AWS does not know (`[detect] aws_durations_only`).
    pub(crate) aws_durations_only: bool,
}

/// The members of a create or update request that describe the profile; `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProfileInput {
    pub(super) description: Option<String>,
    pub(super) behaviors: Option<Vec<Behavior>>,
    pub(super) alert_targets: Option<Vec<AlertTarget>>,
    pub(super) retained_metrics: Option<Vec<Metric>>,
}

impl ProfileInput {
    /// Reads and checks the members of a body.
    ///
    /// # Errors
    /// A sentence; where several behaviors are wrong, one for each, joined by `; `.
    pub(super) fn parse(
        account: &Account,
        rules: ProfileRules,
        body: &Members,
    ) -> Result<Self, String> {
        if body.get("metricsExportConfig").is_some() {
            return Err("`metricsExportConfig` is not supported yet; leave it out".to_owned());
        }
        Ok(Self {
            description: body.get("securityProfileDescription").map(description).transpose()?,
            behaviors: body
                .get("behaviors")
                .map(|json| behaviors(rules, json).map_err(|errors| errors.join("; ")))
                .transpose()?,
            alert_targets: body
                .get("alertTargets")
                .map(|json| alert_targets(account, json))
                .transpose()?,
            retained_metrics: retained_metrics(body)?,
        })
    }
}

fn description(json: &Value) -> Result<String, String> {
    const WHAT: &str = "`securityProfileDescription`";
    let text = json.as_str().ok_or_else(|| format!("{WHAT} must be a string"))?;
    plain_text(WHAT, text)
}

/// A text for people: bounded, and without control characters.
pub(super) fn plain_text(what: &str, text: &str) -> Result<String, String> {
    let len = text.chars().count();
    if len > DESCRIPTION_CHARS_MAX {
        return Err(format!(
            "{what} is {len} characters long; at most {DESCRIPTION_CHARS_MAX} are allowed"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} contains control characters"));
    }
    Ok(text.to_owned())
}

/// Reads and checks a list of behaviors.
///
/// # Errors
/// Every problem found, one sentence each, in the order of the behaviors.
pub(super) fn behaviors(rules: ProfileRules, json: &Value) -> Result<Vec<Behavior>, Vec<String>> {
    let list = json.as_array().ok_or_else(|| vec!["`behaviors` must be a list".to_owned()])?;
    if list.len() > BEHAVIORS_PER_PROFILE_MAX {
        return Err(vec![format!(
            "there are {} behaviors; a security profile has at most {BEHAVIORS_PER_PROFILE_MAX}",
            list.len()
        )]);
    }
    let mut behaviors: Vec<Behavior> = Vec::with_capacity(list.len());
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, json) in list.iter().enumerate() {
        let behavior = match behavior_from_json(json, index + 1) {
            Ok(behavior) => behavior,
            Err(error) => {
                errors.push(error.to_string());
                continue;
            }
        };
        if !names.insert(behavior.name.clone()) {
            errors.push(format!(
                "behavior `{}`: the name is given twice in this profile",
                behavior.name
            ));
        }
        if let Some(window) = behavior.criteria.window
            && rules.aws_durations_only
            && !window.is_aws()
        {
            errors.push(format!(
                "behavior `{}`: `durationSeconds` {} is not one of {:?}, and this installation \
                 takes no others ([detect] aws_durations_only)",
                behavior.name,
                window.as_secs(),
                WindowLen::AWS_SECS
            ));
        }
        behaviors.push(behavior);
    }
    let elements: usize = behaviors.iter().map(value_elements).sum();
    if elements > VALUE_ELEMENTS_PER_PROFILE_MAX {
        errors.push(format!(
            "the values of the behaviors have {elements} elements together; a security profile \
             has at most {VALUE_ELEMENTS_PER_PROFILE_MAX}"
        ));
    }
    if errors.is_empty() { Ok(behaviors) } else { Err(errors) }
}

/// Elements that a behavior's value counts for against the bound of its profile.
fn value_elements(behavior: &Behavior) -> usize {
    match &behavior.criteria.comparison {
        Comparison::InCidrSet(nets) | Comparison::NotInCidrSet(nets) => nets.len(),
        Comparison::LessThan(_)
        | Comparison::LessThanEquals(_)
        | Comparison::GreaterThan(_)
        | Comparison::GreaterThanEquals(_) => 1,
    }
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
            let role_arn = text("roleArn")?;
            let is_role = ROLE_ARN_BYTES.contains(&role_arn.len())
                && role_arn.starts_with("arn:")
                && !role_arn.chars().any(|c| c.is_control() || c.is_whitespace());
            if !is_role {
                return Err(format!(
                    "`alertTargets.SNS.roleArn`: `{}` is not the ARN of a role (20 to 2048 \
                     characters, arn:aws:iam::ACCOUNT:role/NAME)",
                    role_arn.escape_debug()
                ));
            }
            Ok(AlertTarget { topic_arn: topic_arn.to_owned(), role_arn: role_arn.to_owned() })
        })
        .collect()
}

/// Both lists of retained metrics, the older of names and the newer of objects, as one.
fn retained_metrics(body: &Members) -> Result<Option<Vec<Metric>>, String> {
    let mut retained: Option<Vec<Metric>> = None;
    for member in ["additionalMetricsToRetain", "additionalMetricsToRetainV2"] {
        let Some(json) = body.get(member) else { continue };
        let list =
            json.as_array().filter(|list| list.len() <= RETAINED_ENTRIES_MAX).ok_or_else(|| {
                format!("`{member}` must be a list of at most {RETAINED_ENTRIES_MAX}")
            })?;
        let retained = retained.get_or_insert_default();
        for entry in list {
            let metric = if member == "additionalMetricsToRetain" {
                entry.as_str()
            } else {
                refuse_later(member, entry)?;
                entry.get("metric").and_then(Value::as_str)
            };
            let name = metric.ok_or_else(|| format!("`{member}` has an entry without a metric"))?;
            let metric = metric_named(name).map_err(|error| format!("`{member}`: {error}"))?;
            if !retained.contains(&metric) {
                retained.push(metric);
            }
        }
    }
    Ok(retained)
}

/// Refuses the members of a retained metric that mean something which is not done yet.
fn refuse_later(member: &str, entry: &Value) -> Result<(), String> {
    for later in ["metricDimension", "exportMetric"] {
        let value = entry.get(later).unwrap_or(&Value::Null);
        if !value.is_null() && value != &Value::Bool(false) {
            return Err(format!("`{member}`: `{later}` is not supported yet; leave it out"));
        }
    }
    Ok(())
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
    let retained: Vec<_> = profile.retained_metrics.iter().map(|metric| metric.as_str()).collect();
    let retained_v2: Vec<_> = retained.iter().map(|metric| json!({ "metric": metric })).collect();
    let mut json = json!({
        "securityProfileName": profile.name.as_str(),
        "securityProfileArn": account.profile_arn(&profile.name),
        "behaviors": profile.behaviors.iter().map(behavior_to_json).collect::<Vec<_>>(),
        "alertTargets": alert_targets,
        "additionalMetricsToRetain": retained,
        "additionalMetricsToRetainV2": retained_v2,
        "version": profile.version,
        "creationDate": profile.created_at.as_secs_f64(),
        "lastModifiedDate": profile.modified_at.as_secs_f64(),
    });
    if let Some(description) = &profile.description {
        json["securityProfileDescription"] = description.as_str().into();
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

    fn behavior(name: &str, duration_s: u32) -> Value {
        json!({
            "name": name,
            "metric": "aws:num-messages-sent",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 100},
                "durationSeconds": duration_s,
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
        body["behaviors"] = json!([behavior("a", 300), behavior("b", 30)]);
        body["additionalMetricsToRetain"] = json!(["aws:message-byte-size"]);
        body["additionalMetricsToRetainV2"] =
            json!([{"metric": "aws:message-byte-size"}, {"metric": "aws:num-disconnects"}]);
        let input = parse(body).unwrap();
        assert_eq!(input.behaviors.unwrap().len(), 2);
        assert_eq!(input.alert_targets.unwrap()[0].topic_arn, TOPIC);
        let retained = input.retained_metrics.unwrap();
        assert_eq!(retained, [Metric::MessageByteSize, Metric::Disconnects]);
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
            json!({"behaviors": [behavior("a", 300), behavior("a", 300)]}),
            "behavior `a`: the name is given twice in this profile",
        );
        check_refused(
            json!({"behaviors": vec![behavior("a", 300); 101]}),
            "there are 101 behaviors; a security profile has at most 100",
        );
        check_refused(
            json!({"metricsExportConfig": {"mqttTopic": "t", "roleArn": ROLE}}),
            "`metricsExportConfig` is not supported yet",
        );
        check_refused(
            json!({"additionalMetricsToRetain": ["aws:all-bytes-out"]}),
            "`additionalMetricsToRetain`: metric `aws:all-bytes-out` is not measured",
        );
        check_refused(
            json!({"additionalMetricsToRetainV2": [{"metric": "aws:num-disconnects",
                   "metricDimension": {"dimensionName": "d"}}]}),
            "`metricDimension` is not supported yet; leave it out",
        );
        check_refused(json!({"additionalMetricsToRetainV2": ["x"]}), "an entry without a metric");
        check_refused(json!({"additionalMetricsToRetain": vec![""; 101]}), "a list of at most 100");
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

    #[test]
    fn every_wrong_behavior_is_named() {
        let mut wrong = behavior("b", 300);
        wrong["metric"] = "x".into();
        let list = json!([wrong, behavior("c", 300), behavior("d", 7)]);
        let errors = behaviors(ProfileRules::default(), &list).unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].starts_with("behavior `b`: "), "{errors:?}");
        assert!(errors[1].starts_with("behavior `d`: "), "{errors:?}");
    }

    #[test]
    fn values_are_counted_over_the_whole_profile() {
        let cidrs = |name: &str, n: usize| {
            json!({"name": name, "metric": "aws:source-ip-address", "criteria": {
                "comparisonOperator": "in-cidr-set", "value": {"cidrs": vec!["10.0.0.0/8"; n]}}})
        };
        let rules = ProfileRules::default();
        assert!(behaviors(rules, &json!([cidrs("a", 500), cidrs("b", 500)])).is_ok());
        let errors = behaviors(rules, &json!([cidrs("a", 500), cidrs("b", 501)])).unwrap_err();
        assert!(errors[0].contains("1001 elements"), "{errors:?}");
    }

    #[test]
    fn windows_that_aws_does_not_know_are_refused_where_the_operator_says_so() {
        let list = json!([behavior("a", 30), behavior("b", 300)]);
        assert!(behaviors(ProfileRules::default(), &list).is_ok());
        let errors = behaviors(ProfileRules { aws_durations_only: true }, &list).unwrap_err();
        assert_eq!(
            errors,
            ["behavior `a`: `durationSeconds` 30 is not one of [300, 600, 900, 1800, 3600], and \
              this installation takes no others ([detect] aws_durations_only)"]
        );
    }
}
