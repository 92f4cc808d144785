//! What a mitigation action does, as the API takes and gives it.

use picket_model::{Account, GroupName, MitigationActionParams};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::input::{Members, invalid_value, missing, one_of, parsed, role_arn};

/// Groups of one action. Source: aws `ThingGroupNames` of `AddThingsToThingGroupParams`.
const GROUPS_MAX: usize = 10;

/// Longest ARN of a topic, in characters. Source: aws `SnsTopicArn`.
const TOPIC_ARN_CHARS_MAX: usize = 350;

/// One of the members that `actionParams` may have, and how it is read.
type Kind =
    (&'static str, fn(&Account, &Members, &str) -> Result<MitigationActionParams, ApiError>);

/// All of them. Source: aws `MitigationActionParams`.
const KINDS: [Kind; 6] = [
    ("updateDeviceCertificateParams", |_, members, at| {
        fixed(members, at, "action", "DEACTIVATE")?;
        Ok(MitigationActionParams::UpdateDeviceCertificate)
    }),
    ("updateCACertificateParams", |_, members, at| {
        fixed(members, at, "action", "DEACTIVATE")?;
        Ok(MitigationActionParams::UpdateCaCertificate)
    }),
    ("addThingsToThingGroupParams", add_things_to_thing_group),
    ("replaceDefaultPolicyVersionParams", |_, members, at| {
        fixed(members, at, "templateName", "BLANK_POLICY")?;
        Ok(MitigationActionParams::ReplaceDefaultPolicyVersion)
    }),
    ("enableIoTLoggingParams", enable_iot_logging),
    ("publishFindingToSnsParams", publish_finding_to_sns),
];

/// Reads `actionParams`: exactly one of the six kinds.
///
/// # Errors
/// Invalid request.
pub(super) fn read(
    account: &Account,
    params: &Members,
) -> Result<MitigationActionParams, ApiError> {
    let given: Vec<&Kind> = KINDS.iter().filter(|(name, _)| params.get(name).is_some()).collect();
    let [(name, read)] = given.as_slice() else {
        let names = KINDS.map(|(name, _)| name).join(", ");
        return Err(ApiError::invalid(format!(
            "`actionParams` must have exactly one of the members {names}; it has {}",
            given.len()
        )));
    };
    read(account, &params.required_object(name)?, &format!("actionParams.{name}"))
}

/// A member that has only one right value.
fn fixed(members: &Members, at: &str, name: &str, value: &str) -> Result<(), ApiError> {
    one_of(&format!("{at}.{name}"), members.required_str(name)?, &[(value, ())])
}

fn add_things_to_thing_group(
    _: &Account,
    members: &Members,
    at: &str,
) -> Result<MitigationActionParams, ApiError> {
    let member = format!("{at}.thingGroupNames");
    if members.get("thingGroupNames").is_none() {
        return Err(missing(&member));
    }
    let names = members.str_list("thingGroupNames")?;
    if names.is_empty() || names.len() > GROUPS_MAX {
        return Err(ApiError::invalid(format!(
            "`{member}` has {} elements; 1 to {GROUPS_MAX} are allowed",
            names.len()
        )));
    }
    let mut groups: Vec<GroupName> = Vec::with_capacity(names.len());
    for name in names {
        let group = parsed(&member, name, GroupName::parse)?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let override_dynamic_groups = members.bool("overrideDynamicGroups")?.unwrap_or(false);
    Ok(MitigationActionParams::AddThingsToThingGroup { groups, override_dynamic_groups })
}

fn enable_iot_logging(
    _: &Account,
    members: &Members,
    at: &str,
) -> Result<MitigationActionParams, ApiError> {
    let role_arn = role_arn(members.required_str("roleArnForLogging")?)
        .map_err(|error| ApiError::invalid(format!("`{at}.roleArnForLogging`: {error}")))?;
    // aws: EnableIoTLoggingParams; an action that switches logging off would enable nothing.
    let levels = ["DEBUG", "INFO", "ERROR", "WARN"].map(|level| (level, level));
    let log_level = one_of(&format!("{at}.logLevel"), members.required_str("logLevel")?, &levels)?;
    Ok(MitigationActionParams::EnableIotLogging {
        role_arn: role_arn.to_owned(),
        log_level: log_level.to_owned(),
    })
}

fn publish_finding_to_sns(
    account: &Account,
    members: &Members,
    at: &str,
) -> Result<MitigationActionParams, ApiError> {
    let member = format!("{at}.topicArn");
    let topic_arn = members.required_str("topicArn")?;
    if topic_arn.len() > TOPIC_ARN_CHARS_MAX {
        let rule =
            format_args!("Member must have length less than or equal to {TOPIC_ARN_CHARS_MAX}");
        return Err(invalid_value(topic_arn, &member, rule));
    }
    parsed(&member, topic_arn, |arn| account.parse_notification_topic(arn))?;
    Ok(MitigationActionParams::PublishFindingToSns { topic_arn: topic_arn.to_owned() })
}

/// Writes what [`read`] reads.
pub(super) fn to_json(params: &MitigationActionParams) -> Value {
    match params {
        MitigationActionParams::UpdateDeviceCertificate => {
            json!({"updateDeviceCertificateParams": {"action": "DEACTIVATE"}})
        }
        MitigationActionParams::UpdateCaCertificate => {
            json!({"updateCACertificateParams": {"action": "DEACTIVATE"}})
        }
        MitigationActionParams::AddThingsToThingGroup { groups, override_dynamic_groups } => {
            json!({"addThingsToThingGroupParams": {
                "thingGroupNames": groups.iter().map(GroupName::as_str).collect::<Vec<_>>(),
                "overrideDynamicGroups": override_dynamic_groups,
            }})
        }
        MitigationActionParams::ReplaceDefaultPolicyVersion => {
            json!({"replaceDefaultPolicyVersionParams": {"templateName": "BLANK_POLICY"}})
        }
        MitigationActionParams::EnableIotLogging { role_arn, log_level } => {
            json!({"enableIoTLoggingParams": {
                "roleArnForLogging": role_arn,
                "logLevel": log_level,
            }})
        }
        MitigationActionParams::PublishFindingToSns { topic_arn } => {
            json!({"publishFindingToSnsParams": {"topicArn": topic_arn}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/Mitigation";
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:Findings";

    fn parse(body: &Value) -> Result<MitigationActionParams, String> {
        let members = Members::of(body, "actionParams").map_err(|error| error.message)?;
        read(&Account::default(), &members).map_err(|error| error.message)
    }

    #[track_caller]
    fn check(body: Value, action_type: &str) {
        let params = parse(&body).unwrap();
        assert_eq!(params.action_type(), action_type);
        assert_eq!(to_json(&params), body);
    }

    #[track_caller]
    fn check_refused(body: Value, expected: &str) {
        let error = parse(&body).unwrap_err();
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }

    #[test]
    fn each_of_the_six_kinds_is_read_and_written() {
        let deactivate = json!({"action": "DEACTIVATE"});
        check(json!({"updateDeviceCertificateParams": deactivate}), "UPDATE_DEVICE_CERTIFICATE");
        check(json!({"updateCACertificateParams": deactivate}), "UPDATE_CA_CERTIFICATE");
        check(
            json!({"addThingsToThingGroupParams":
                   {"thingGroupNames": ["Isolated", "Seen"], "overrideDynamicGroups": true}}),
            "ADD_THINGS_TO_THING_GROUP",
        );
        check(
            json!({"replaceDefaultPolicyVersionParams": {"templateName": "BLANK_POLICY"}}),
            "REPLACE_DEFAULT_POLICY_VERSION",
        );
        check(
            json!({"enableIoTLoggingParams": {"roleArnForLogging": ROLE, "logLevel": "WARN"}}),
            "ENABLE_IOT_LOGGING",
        );
        check(json!({"publishFindingToSnsParams": {"topicArn": TOPIC}}), "PUBLISH_FINDING_TO_SNS");
    }

    #[test]
    fn an_action_does_one_thing() {
        check_refused(json!({}), "exactly one of the members updateDeviceCertificateParams, ");
        check_refused(json!({"sendMailParams": {}}), "it has 0");
        let both = json!({
            "updateDeviceCertificateParams": {"action": "DEACTIVATE"},
            "updateCACertificateParams": {"action": "DEACTIVATE"},
        });
        check_refused(both, "it has 2");
        check_refused(json!([]), "Member must be an object");
    }

    #[test]
    fn each_kind_says_what_is_wrong_with_it() {
        check_refused(
            json!({"updateDeviceCertificateParams": {"action": "DELETE"}}),
            "'DELETE' at 'actionParams.updateDeviceCertificateParams.action' failed to satisfy \
             constraint: Member must satisfy enum value set: [DEACTIVATE]",
        );
        check_refused(json!({"updateCACertificateParams": {}}), "CACertificateParams.action'");
        check_refused(json!({"updateCACertificateParams": 7}), "must be an object");
        check_refused(
            json!({"replaceDefaultPolicyVersionParams": {"templateName": "EMPTY"}}),
            "[BLANK_POLICY]",
        );
        let add =
            |groups: Value| json!({"addThingsToThingGroupParams": {"thingGroupNames": groups}});
        check_refused(json!({"addThingsToThingGroupParams": {}}), "thingGroupNames' failed");
        check_refused(add(json!([])), "has 0 elements; 1 to 10 are allowed");
        check_refused(add(json!(vec!["g"; 11])), "has 11 elements; 1 to 10 are allowed");
        check_refused(add(json!(["a b"])), "thing group name `a b` contains ` `");
        check_refused(add(json!([7])), "must be a list of strings");
        check_refused(add(json!("g")), "must be a list");
        let logging = |level: &str, role: &str| json!({"enableIoTLoggingParams": {"roleArnForLogging": role, "logLevel": level}});
        check_refused(logging("DISABLED", ROLE), "[DEBUG, INFO, ERROR, WARN]");
        check_refused(logging("INFO", "arn:x"), "`arn:x` is not the ARN of a role");
        let publish = |topic: &str| json!({"publishFindingToSnsParams": {"topicArn": topic}});
        check_refused(publish("arn:aws:sns:us-east-1:999999999999:T"), "the ARN of a topic");
        check_refused(publish(&"x".repeat(351)), "less than or equal to 350");
    }
}
