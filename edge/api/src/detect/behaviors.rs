//! The behaviors of a security profile as the API takes them.
//!
//! What one behavior may say is checked by [`picket_model::wire`], so that the store and the alarm
//! message cannot drift from it; here is what holds for all of a profile together. What they refer
//! to is looked up in `references`.

use std::collections::BTreeSet;

use picket_model::limits::{BEHAVIORS_PER_PROFILE_MAX, VALUE_ELEMENTS_PER_PROFILE_MAX};
use picket_model::wire::behavior_from_json;
use picket_model::{Behavior, Comparison, WindowLen};
use serde_json::Value;

/// Longest message about one behavior, in characters. Source: aws `ErrorMessage`.
const PROBLEM_CHARS_MAX: usize = 2_048;

/// Problems that the refusal of a profile tells. All are told by ValidateSecurityProfileBehaviors.
const PROBLEMS_TOLD_MAX: usize = 10;

/// What the operator allows beyond AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProfileRules {
    /// Refuse window lengths that AWS does not know (`[detect] aws_durations_only`).
    pub(crate) aws_durations_only: bool,
}

/// Reads and checks a list of behaviors: those that can be read, and every problem found, one
/// sentence each, in the order of the behaviors.
pub(super) fn read(rules: ProfileRules, json: &Value) -> (Vec<Behavior>, Vec<String>) {
    let Some(list) = json.as_array() else {
        return (Vec::new(), vec!["`behaviors` must be a list".to_owned()]);
    };
    if list.len() > BEHAVIORS_PER_PROFILE_MAX {
        let problem = format!(
            "there are {} behaviors; a security profile has at most {BEHAVIORS_PER_PROFILE_MAX}",
            list.len()
        );
        return (Vec::new(), vec![problem]);
    }
    let mut behaviors: Vec<Behavior> = Vec::with_capacity(list.len());
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, json) in list.iter().enumerate() {
        let behavior = match behavior_from_json(json, index + 1) {
            Ok(behavior) => behavior,
            Err(error) => {
                // It may repeat what it refuses, however long that is.
                problems.push(error.to_string().chars().take(PROBLEM_CHARS_MAX).collect());
                continue;
            }
        };
        if !names.insert(behavior.name.clone()) {
            problems.push(format!(
                "behavior `{}`: the name is given twice in this profile",
                behavior.name
            ));
        }
        if let Some(window) = behavior.criteria.window
            && rules.aws_durations_only
            && !window.is_aws()
        {
            problems.push(format!(
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
        problems.push(format!(
            "the values of the behaviors have {elements} elements together; a security profile \
             has at most {VALUE_ELEMENTS_PER_PROFILE_MAX}"
        ));
    }
    (behaviors, problems)
}

/// What is wrong with the behaviors of a profile, as one refusal.
pub(super) fn joined(problems: &[String]) -> String {
    let told = problems.len().min(PROBLEMS_TOLD_MAX);
    let mut text = problems[..told].join("; ");
    if problems.len() > told {
        text += &format!(
            "; and {} more, which ValidateSecurityProfileBehaviors tells",
            problems.len() - told
        );
    }
    text
}

/// Elements that a behavior's value counts for against the bound of its profile.
fn value_elements(behavior: &Behavior) -> usize {
    match &behavior.criteria.comparison {
        Comparison::Set(_, set) => set.len(),
        Comparison::Limit(..) => 1,
        Comparison::Percentile(..) | Comparison::Learned(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    fn problems(json: &Value) -> Vec<String> {
        read(ProfileRules::default(), json).1
    }

    #[test]
    fn every_wrong_behavior_is_named_and_the_others_are_read() {
        let mut wrong = behavior("b", 300);
        wrong["metric"] = "aws:x".into();
        let list = json!([wrong, behavior("c", 300), behavior("d", 7)]);
        let (behaviors, problems) = read(ProfileRules::default(), &list);
        assert_eq!(behaviors.len(), 1);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("behavior `b`: "), "{problems:?}");
        assert!(problems[1].starts_with("behavior `d`: "), "{problems:?}");
    }

    #[test]
    fn a_refusal_has_bounds() {
        let wrong = |name: &str, cidr: &str| {
            json!({"name": name, "metric": "aws:source-ip-address", "criteria": {
                "comparisonOperator": "in-cidr-set", "value": {"cidrs": [cidr]}}})
        };
        let long = problems(&json!([wrong("a", &"x".repeat(400_000))]));
        assert_eq!(long[0].chars().count(), PROBLEM_CHARS_MAX);
        let many: Vec<_> = (0..25).map(|n| wrong(&format!("b{n}"), "x")).collect();
        let text = joined(&problems(&json!(many)));
        assert!(text.contains("behavior `b9`: ") && !text.contains("behavior `b10`: "), "{text}");
        assert!(text.ends_with("; and 15 more, which ValidateSecurityProfileBehaviors tells"));
        assert_eq!(joined(&["a".to_owned(), "b".to_owned()]), "a; b");
    }

    #[test]
    fn elements_of_values_are_counted_over_the_whole_profile() {
        let cidrs = |name: &str, n: usize| {
            json!({"name": name, "metric": "aws:source-ip-address", "criteria": {
                "comparisonOperator": "in-cidr-set", "value": {"cidrs": vec!["10.0.0.0/8"; n]}}})
        };
        assert!(problems(&json!([cidrs("a", 500), cidrs("b", 500)])).is_empty());
        let problems = problems(&json!([cidrs("a", 500), cidrs("b", 501)]));
        assert!(problems[0].contains("1001 elements"), "{problems:?}");
    }

    #[test]
    fn windows_that_aws_does_not_know_are_refused_where_the_operator_says_so() {
        let list = json!([behavior("a", 30), behavior("b", 300)]);
        assert!(problems(&list).is_empty());
        let (_, problems) = read(ProfileRules { aws_durations_only: true }, &list);
        assert_eq!(
            problems,
            ["behavior `a`: `durationSeconds` 30 is not one of [300, 600, 900, 1800, 3600], and \
              this installation takes no others ([detect] aws_durations_only)"]
        );
    }
}
