//! For which violations a task runs, as the API takes and gives it.

use picket_model::{BehaviorName, MitigationTarget, ProfileName, ViolationId};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::input::{Members, parsed};

/// Violations of one task. Source: aws `TargetViolationIdsForDetectMitigationActions`.
const VIOLATIONS_MAX: usize = 25;

/// Reads `target`: violations, or a security profile with or without a behavior of it.
///
/// # Errors
/// Invalid request.
pub(super) fn read(target: &Members) -> Result<MitigationTarget, ApiError> {
    let profile = target
        .str("securityProfileName")?
        .map(|text| parsed("target.securityProfileName", text, ProfileName::parse))
        .transpose()?;
    let behavior = target
        .str("behaviorName")?
        .map(|text| parsed("target.behaviorName", text, BehaviorName::parse))
        .transpose()?;
    let has_violations = target.get("violationIds").is_some();
    match (profile, behavior) {
        (Some(profile), behavior) if !has_violations => {
            Ok(MitigationTarget::Profile(profile, behavior))
        }
        (None, None) if has_violations => violations(target).map(MitigationTarget::Violations),
        (None, Some(_)) if !has_violations => Err(ApiError::invalid(
            "`target.behaviorName` names a behavior of a security profile; give \
             `target.securityProfileName` too",
        )),
        _ => Err(ApiError::invalid(
            "`target` must have either `violationIds`, or `securityProfileName` with or without \
             `behaviorName`",
        )),
    }
}

fn violations(target: &Members) -> Result<Vec<ViolationId>, ApiError> {
    const MEMBER: &str = "target.violationIds";
    let texts = target.str_list("violationIds")?;
    if texts.is_empty() || texts.len() > VIOLATIONS_MAX {
        return Err(ApiError::invalid(format!(
            "`{MEMBER}` has {} elements; 1 to {VIOLATIONS_MAX} are allowed",
            texts.len()
        )));
    }
    let mut violations: Vec<ViolationId> = Vec::with_capacity(texts.len());
    for text in texts {
        let violation = parsed(MEMBER, text, ViolationId::parse)?;
        if !violations.contains(&violation) {
            violations.push(violation);
        }
    }
    Ok(violations)
}

/// Writes what [`read`] reads.
pub(super) fn to_json(target: &MitigationTarget) -> Value {
    match target {
        MitigationTarget::Violations(violations) => json!({
            "violationIds": violations.iter().map(ViolationId::as_str).collect::<Vec<_>>()
        }),
        MitigationTarget::Profile(profile, None) => {
            json!({ "securityProfileName": profile.as_str() })
        }
        MitigationTarget::Profile(profile, Some(behavior)) => json!({
            "securityProfileName": profile.as_str(),
            "behaviorName": behavior.as_str(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<MitigationTarget, String> {
        let members = Members::of(body, "target").map_err(|error| error.message)?;
        read(&members).map_err(|error| error.message)
    }

    #[test]
    fn a_target_is_violations_or_a_profile() {
        for body in [
            json!({"violationIds": ["a", "b"]}),
            json!({"securityProfileName": "P"}),
            json!({"securityProfileName": "P", "behaviorName": "b"}),
        ] {
            assert_eq!(to_json(&parse(&body).unwrap()), body);
        }
        let twice = parse(&json!({"violationIds": ["a", "a"]})).unwrap();
        assert_eq!(to_json(&twice), json!({"violationIds": ["a"]}));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for (body, expected) in [
            (json!({}), "must have either `violationIds`, or"),
            (json!({"violationIds": ["a"], "securityProfileName": "P"}), "must have either"),
            (json!({"violationIds": ["a"], "behaviorName": "b"}), "must have either"),
            (json!({"behaviorName": "b"}), "give `target.securityProfileName` too"),
            (json!({"violationIds": []}), "has 0 elements; 1 to 25 are allowed"),
            (json!({"violationIds": vec!["a"; 26]}), "has 26 elements"),
            (json!({"violationIds": ["a b"]}), "violation id `a b` contains ` `"),
            (json!({"violationIds": "a"}), "Member must be a list"),
            (json!({"securityProfileName": "a b"}), "security profile name `a b`"),
            (json!({"securityProfileName": 7}), "Member must be a string"),
            (json!([]), "Member must be an object"),
        ] {
            let error = parse(&body).unwrap_err();
            assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
        }
    }
}
