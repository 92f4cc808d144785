//! Which statement wins.

use picket_model::PolicyName;
use picket_policy::{Decision, StatementRef};

use crate::fixture::{decide, pump};

fn check(policies: &str, request: &str, expected: &str) {
    assert_eq!(decide(policies, &pump(), request), expected, "{policies}: {request}");
}

#[test]
fn what_no_statement_allows_is_denied() {
    check("allow iot:Publish topic/a", "iot:Publish b", "denied");
    check("allow iot:Publish topic/a", "iot:Subscribe a", "denied");
}

#[test]
fn an_allow_names_every_statement_that_allows() {
    check(
        "allow iot:Publish topic/a ; allow iot:* * | allow iot:Connect * | allow * *",
        "iot:Publish a",
        "allowed by P1.1 P1.2 P3.1",
    );
}

#[test]
fn one_deny_in_any_policy_wins_over_all() {
    check(
        "allow iot:* * | allow iot:* * ; deny iot:Publish topic/a/*",
        "iot:Publish a/b",
        "denied by P2.2",
    );
    check("allow iot:* * | deny iot:Publish topic/a/*", "iot:Publish b", "allowed by P1.1");
    check("deny iot:* *", "iot:Connect pump-7", "denied by P1.1");
}

#[test]
fn an_action_is_spelled_in_any_case_and_with_wildcards() {
    check("allow IOT:publish topic/a", "iot:Publish a", "allowed by P1.1");
    check("allow iot:*Publish topic/a", "iot:RetainPublish a", "allowed by P1.1");
    check("allow iot:?ublish topic/a", "iot:Publish a", "allowed by P1.1");
    check("allow iot:?ublish topic/a", "iot:RetainPublish a", "denied");
    check("allow greengrass:*,iot:Subscrib topicfilter/a", "iot:Subscribe a", "denied");
}

#[test]
fn all_but_an_action_is_every_other_one() {
    check("allow !iot:Publish *", "iot:Publish a", "denied");
    check("allow !iot:Publish *", "iot:RetainPublish a", "allowed by P1.1");
    check("allow !iot:Publish,iot:Retain* *", "iot:RetainPublish a", "denied");
}

#[test]
fn each_action_has_its_own_kind_of_resource() {
    for (action, kind) in [
        ("iot:Connect", "client"),
        ("iot:Publish", "topic"),
        ("iot:Receive", "topic"),
        ("iot:RetainPublish", "topic"),
        ("iot:GetRetainedMessage", "topic"),
        ("iot:Subscribe", "topicfilter"),
        ("iot:GetThingShadow", "thing"),
    ] {
        for other in ["client", "topic", "topicfilter", "thing"] {
            let expected = if kind == other { "allowed by P1.1" } else { "denied" };
            check(&format!("allow iot:* {other}/x"), &format!("{action} x"), expected);
        }
    }
}

#[test]
fn a_star_crosses_levels_and_a_question_mark_is_one_character() {
    check("allow iot:Publish topic/a/*", "iot:Publish a/b/c", "allowed by P1.1");
    check("allow iot:Publish topic/a/*", "iot:Publish a", "denied");
    check("allow iot:Publish topic/a?c", "iot:Publish aéc", "allowed by P1.1");
    check("allow iot:Publish topic/a?c", "iot:Publish ac", "denied");
    check("allow iot:Publish arn:aws:iot:*:*:topic/a", "iot:Publish a", "allowed by P1.1");
}

#[test]
fn wildcards_of_mqtt_mean_themselves() {
    check("allow iot:Subscribe topicfilter/a/+/#", "iot:Subscribe a/+/#", "allowed by P1.1");
    check("allow iot:Subscribe topicfilter/a/+/#", "iot:Subscribe a/b/c", "denied");
    check("allow iot:Publish topic/#", "iot:Publish a", "denied");
}

#[test]
fn a_topic_cannot_pretend_to_be_another_resource() {
    check(
        "allow iot:Publish arn:aws:iot:us-east-1:123456789012:client/x",
        "iot:Publish x:client/x",
        "denied",
    );
    check(
        "allow iot:Publish arn:aws:iot:us-east-1:999999999999:topic/a",
        "iot:Publish a",
        "denied",
    );
    check("allow iot:Publish topic/a", "iot:Publish *", "denied");
}

#[test]
fn all_but_a_resource_is_every_other_one() {
    check("allow iot:Publish !topic/secret/*", "iot:Publish a", "allowed by P1.1");
    check("allow iot:Publish !topic/secret/*", "iot:Publish secret/a", "denied");
    check("allow iot:* * ; deny iot:* !topic/a,client/*", "iot:Publish b", "denied by P1.2");
    check("allow iot:* * ; deny iot:* !topic/a,client/*", "iot:Publish a", "allowed by P1.1");
}

#[test]
fn a_decision_reads_as_a_sentence() {
    let by = |statement, sid: Option<&str>| StatementRef {
        policy: PolicyName::parse("Isolate").unwrap(),
        version: 2,
        statement,
        sid: sid.map(str::to_owned),
    };
    insta::assert_snapshot!(
        Decision::ExplicitDeny { by: vec![by(0, None), by(1, Some("Quiet\n"))] },
        @r"denied by statement 1 of policy `Isolate` version 2, statement 2 (`Quiet\n`) of policy `Isolate` version 2"
    );
    insta::assert_snapshot!(
        Decision::Allowed { by: vec![by(0, Some("Own"))] },
        @"allowed by statement 1 (`Own`) of policy `Isolate` version 2"
    );
    insta::assert_snapshot!(Decision::ImplicitDeny, @"denied: no statement allows it");
}
