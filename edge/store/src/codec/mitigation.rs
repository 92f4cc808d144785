//! Mitigation actions as JSON: the store's own form, which nothing else reads.

use picket_model::{
    GroupName, MitigationAction, MitigationActionName, MitigationActionParams, Timestamp,
};
use serde_json::{Value, json};

/// What an action does, as a column holds it.
pub(crate) fn params_to_json(params: &MitigationActionParams) -> Value {
    let mut json = match params {
        MitigationActionParams::UpdateDeviceCertificate
        | MitigationActionParams::UpdateCaCertificate
        | MitigationActionParams::ReplaceDefaultPolicyVersion => json!({}),
        MitigationActionParams::AddThingsToThingGroup { groups, override_dynamic_groups } => {
            let groups: Vec<&str> = groups.iter().map(GroupName::as_str).collect();
            json!({ "groups": groups, "override_dynamic_groups": override_dynamic_groups })
        }
        MitigationActionParams::EnableIotLogging { role_arn, log_level } => {
            json!({ "role_arn": role_arn, "log_level": log_level })
        }
        MitigationActionParams::PublishFindingToSns { topic_arn } => {
            json!({ "topic_arn": topic_arn })
        }
    };
    json["type"] = params.action_type().into();
    json
}

/// Reads what [`params_to_json`] wrote.
pub(crate) fn params_from_json(json: &Value) -> Option<MitigationActionParams> {
    let text = |member: &str| json[member].as_str().map(str::to_owned);
    Some(match json["type"].as_str()? {
        "UPDATE_DEVICE_CERTIFICATE" => MitigationActionParams::UpdateDeviceCertificate,
        "UPDATE_CA_CERTIFICATE" => MitigationActionParams::UpdateCaCertificate,
        "REPLACE_DEFAULT_POLICY_VERSION" => MitigationActionParams::ReplaceDefaultPolicyVersion,
        "ADD_THINGS_TO_THING_GROUP" => MitigationActionParams::AddThingsToThingGroup {
            groups: json["groups"]
                .as_array()?
                .iter()
                .map(|group| GroupName::parse(group.as_str()?).ok())
                .collect::<Option<_>>()?,
            override_dynamic_groups: json["override_dynamic_groups"].as_bool()?,
        },
        "ENABLE_IOT_LOGGING" => MitigationActionParams::EnableIotLogging {
            role_arn: text("role_arn")?,
            log_level: text("log_level")?,
        },
        "PUBLISH_FINDING_TO_SNS" => {
            MitigationActionParams::PublishFindingToSns { topic_arn: text("topic_arn")? }
        }
        _ => return None,
    })
}

/// An action as the list of a task holds it.
pub(crate) fn action_to_json(action: &MitigationAction) -> Value {
    json!({
        "name": action.name.as_str(),
        "id": action.id,
        "role_arn": action.role_arn,
        "params": params_to_json(&action.params),
        "created_at": action.created_at.as_millis(),
        "modified_at": action.modified_at.as_millis(),
    })
}

/// Reads what [`action_to_json`] wrote.
pub(crate) fn action_from_json(json: &Value) -> Option<MitigationAction> {
    let time = |member: &str| json[member].as_i64().map(Timestamp::from_millis);
    Some(MitigationAction {
        name: MitigationActionName::parse(json["name"].as_str()?).ok()?,
        id: json["id"].as_str()?.to_owned(),
        role_arn: json["role_arn"].as_str()?.to_owned(),
        params: params_from_json(&json["params"])?,
        created_at: time("created_at")?,
        modified_at: time("modified_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for params in [
            MitigationActionParams::UpdateDeviceCertificate,
            MitigationActionParams::UpdateCaCertificate,
            MitigationActionParams::ReplaceDefaultPolicyVersion,
            MitigationActionParams::AddThingsToThingGroup {
                groups: vec![GroupName::parse("A").unwrap(), GroupName::parse("B").unwrap()],
                override_dynamic_groups: true,
            },
            MitigationActionParams::EnableIotLogging {
                role_arn: "r".to_owned(),
                log_level: "WARN".to_owned(),
            },
            MitigationActionParams::PublishFindingToSns { topic_arn: "t".to_owned() },
        ] {
            let action = MitigationAction {
                name: MitigationActionName::parse("act").unwrap(),
                id: "1".to_owned(),
                role_arn: "r".to_owned(),
                params,
                created_at: Timestamp::from_millis(1),
                modified_at: Timestamp::from_millis(-2),
            };
            assert_eq!(action_from_json(&action_to_json(&action)), Some(action));
        }
    }

    #[test]
    fn anything_else_is_no_action() {
        for json in [
            json!(null),
            json!({}),
            json!({ "type": "OTHER" }),
            json!({ "type": "ADD_THINGS_TO_THING_GROUP", "groups": ["a b"] }),
            json!({ "type": "ADD_THINGS_TO_THING_GROUP", "groups": ["a"] }),
            json!({ "type": "PUBLISH_FINDING_TO_SNS" }),
        ] {
            assert_eq!(params_from_json(&json), None, "{json}");
            assert_eq!(action_from_json(&json), None, "{json}");
        }
    }
}
