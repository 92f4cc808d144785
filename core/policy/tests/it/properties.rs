//! Laws, held against definitions that are too slow to use.

use picket_model::Account;
use picket_policy::{Action, ConnectionFacts, Decision, Document, NamedDocument, Permissions};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{guest, policies, pump};

/// A statement as the naive decision reads it.
#[derive(Clone, Debug)]
struct Plain {
    allows: bool,
    not_action: bool,
    actions: Vec<String>,
    not_resource: bool,
    resources: Vec<String>,
    condition: Option<(bool, String)>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let action = prop::sample::select(vec![
        "*",
        "iot:*",
        "iot:Publish",
        "iot:publish",
        "iot:Subscribe",
        "iot:Con*",
        "iot:*ish",
        "iot:Receiv?",
        "s3:*",
    ]);
    let resource = prop::sample::select(vec![
        "*",
        "arn:*",
        "topic/*",
        "topic/a",
        "topic/a/?",
        "topic/a/*/b",
        "topicfilter/a/+",
        "topicfilter/*",
        "client/*",
        "topic/${iot:ClientId}",
        "topic/${iot:ClientId}/*",
        "topic/${iot:Connection.Thing.ThingName}",
    ]);
    let condition = (any::<bool>(), prop::sample::select(vec!["pump-7", "guest", "nobody"]));
    let texts = |items: prop::sample::Select<&'static str>| {
        prop::collection::vec(items.prop_map(str::to_owned), 1..3)
    };
    (
        any::<bool>(),
        prop::bool::weighted(0.2),
        texts(action),
        prop::bool::weighted(0.2),
        texts(resource),
        prop::option::weighted(0.3, condition.prop_map(|(not, id)| (not, id.to_owned()))),
    )
        .prop_map(|(allows, not_action, actions, not_resource, resources, condition)| Plain {
            allows,
            not_action,
            actions,
            not_resource,
            resources,
            condition,
        })
}

impl Plain {
    fn json(&self) -> Value {
        let full = |resource: &String| match resource.split_once('/') {
            None => resource.clone(),
            Some(_) => Account::default().iot_arn(resource),
        };
        let resources: Vec<String> = self.resources.iter().map(full).collect();
        let mut statement = json!({
            "Effect": if self.allows { "Allow" } else { "Deny" },
            (if self.not_action { "NotAction" } else { "Action" }): self.actions,
            (if self.not_resource { "NotResource" } else { "Resource" }): resources,
        });
        if let Some((not, id)) = &self.condition {
            let operator = if *not { "StringNotEquals" } else { "StringEquals" };
            statement["Condition"] = json!({ operator: { "iot:ClientId": id } });
        }
        statement
    }

    /// Whether the statement speaks about the request: the words of the guide, one by one.
    fn is_about(&self, client: &str, thing: Option<&str>, action: Action, arn: &str) -> bool {
        if let Some((not, id)) = &self.condition
            && (id == client) == *not
        {
            return false;
        }
        let name = action.as_str().to_lowercase();
        if self.actions.iter().any(|a| matches(&a.to_lowercase(), &name)) == self.not_action {
            return false;
        }
        let mut is_in_doubt = false;
        let mut any = false;
        for resource in &self.resources {
            let mut text = match resource.split_once('/') {
                None => resource.clone(),
                Some(_) => Account::default().iot_arn(resource),
            };
            text = text.replace("${iot:ClientId}", client);
            if let Some(thing) = thing {
                text = text.replace("${iot:Connection.Thing.ThingName}", thing);
            }
            if text.contains("${") {
                is_in_doubt = true;
            } else {
                any |= matches(&text, arn);
            }
        }
        match (self.not_resource, self.allows) {
            (false, _) => any,
            (true, true) => !any && !is_in_doubt,
            (true, false) => !any,
        }
    }
}

/// Wildcards by their definition; exponential.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern_chars, mut text_chars) = (pattern.chars(), text.chars());
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('*') => {
            matches(pattern_chars.as_str(), text)
                || (text_chars.next().is_some() && matches(pattern, text_chars.as_str()))
        }
        Some(c) => {
            text_chars.next().is_some_and(|t| c == '?' || c == t)
                && matches(pattern_chars.as_str(), text_chars.as_str())
        }
    }
}

fn compile(statements: &[Plain], facts: &ConnectionFacts) -> Permissions {
    let statements: Vec<Value> = statements.iter().map(Plain::json).collect();
    let document = json!({ "Statement": statements }).to_string();
    let documents = [NamedDocument {
        policy: picket_model::PolicyName::parse("P").unwrap(),
        version: 1,
        document: Document::parse(&document).unwrap().into(),
    }];
    Permissions::compile(&Account::default(), &documents, facts)
}

fn requests() -> impl Iterator<Item = (Action, &'static str)> {
    let resources =
        ["a", "a/b", "a/b/c/b", "pump-7", "pump-7/x", "guest", "a/+", "${iot:ClientId}"];
    Action::ALL.into_iter().flat_map(move |action| resources.map(|resource| (action, resource)))
}

proptest! {
    #[test]
    fn a_decision_is_what_the_guide_says(
        statements in prop::collection::vec(plain(), 1..6),
        is_pump in any::<bool>(),
    ) {
        let facts = if is_pump { pump() } else { guest() };
        let client = facts.client_id.clone().unwrap();
        let thing = facts.thing.as_ref().map(|thing| thing.name.as_str());
        let permissions = compile(&statements, &facts);
        for (action, resource) in requests() {
            let arn = Account::default().iot_arn(format!("{}{resource}", action.resource_prefix()));
            let about = |allows| -> Vec<usize> {
                let numbered = statements.iter().enumerate();
                numbered
                    .filter(|(_, s)| s.allows == allows)
                    .filter(|(_, s)| s.is_about(client.as_str(), thing, action, &arn))
                    .map(|(i, _)| i)
                    .collect()
            };
            let (allowing, denying) = (about(true), about(false));
            let numbers = |by: &[picket_policy::StatementRef]| -> Vec<usize> {
                by.iter().map(|by| by.statement).collect()
            };
            match permissions.decide(action, resource) {
                Decision::ExplicitDeny { by } => prop_assert_eq!(numbers(&by), denying),
                Decision::Allowed { by } => {
                    prop_assert!(denying.is_empty());
                    prop_assert_eq!(numbers(&by), allowing);
                }
                Decision::ImplicitDeny => {
                    prop_assert!(allowing.is_empty() && denying.is_empty(), "{} {}", action, resource);
                }
            }
        }
    }

    #[test]
    fn who_can_do_nothing_is_allowed_nothing(
        statements in prop::collection::vec(plain(), 1..5),
    ) {
        let permissions = compile(&statements, &pump());
        if !permissions.allows_anything() {
            for (action, resource) in requests().filter(|(action, _)| *action != Action::Connect) {
                prop_assert!(!permissions.decide(action, resource).is_allowed(), "{action} {resource}");
            }
        }
    }

    #[test]
    fn one_more_deny_never_allows_more(
        statements in prop::collection::vec(plain(), 1..4),
        deny in plain(),
    ) {
        let before = compile(&statements, &pump());
        let mut statements = statements;
        statements.push(Plain { allows: false, ..deny });
        let after = compile(&statements, &pump());
        for (action, resource) in requests() {
            let (before, after) = (before.decide(action, resource), after.decide(action, resource));
            prop_assert!(before.is_allowed() || !after.is_allowed());
        }
        prop_assert!(before.allows_anything() || !after.allows_anything());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Document::parse(&text);
    }

    #[test]
    fn no_json_makes_it_panic(json in any_policy_like_json()) {
        if let Ok(document) = Document::parse(&json.to_string()) {
            let mut documents = policies("allow iot:* *");
            documents[0].document = document.into();
            for facts in [pump(), guest()] {
                let permissions = Permissions::compile(&Account::default(), &documents, &facts);
                permissions.allows_anything();
                for (action, resource) in requests() {
                    permissions.decide(action, resource);
                }
            }
        }
    }

    #[test]
    fn no_substituted_value_brings_a_wildcard(value in "[a-c*?+#$/{}]{0,6}") {
        let mut facts = pump();
        facts.thing.as_mut().unwrap().attributes.insert("floor".to_owned(), value.clone());
        let documents = policies("allow iot:Publish topic/${iot:Connection.Thing.Attributes[floor]}");
        let permissions = Permissions::compile(&Account::default(), &documents, &facts);
        let can_widen = value.contains(['*', '$', '+', '?', '#']);
        for topic in ["a", "b", "ab", "a/b", "c/a", "abc", "", &value] {
            let is_allowed = permissions.decide(Action::Publish, topic).is_allowed();
            prop_assert_eq!(is_allowed, topic == value && !can_widen);
        }
    }
}

/// JSON that is often nearly a policy.
fn any_policy_like_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "Version",
        "2012-10-17",
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "StringLike",
        "ForAnyValue:StringNotEquals",
        "DateLessThan",
        "NumericEquals",
        "Null",
        "ArnLike",
        "IpAddress",
        "iot:ClientId",
        "iot:*",
        "*",
        "arn:${*}${iot:Certificate.Subject.OrganizationalUnit.List}?*",
        "arn:a:b:c:d:${x}",
        "${",
        "}",
        "2026-11-20T10:05Z",
        "1e9",
        "true",
        "::/0",
        "",
    ])
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    let json = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    (json.clone(), json, prop::bool::ANY).prop_map(|(resource, condition, is_framed)| {
        if !is_framed {
            return condition;
        }
        json!({ "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": resource, "Condition": condition,
        } })
    })
}
