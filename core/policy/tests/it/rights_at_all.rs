//! When a connection can do nothing at all.

use picket_model::Account;
use picket_policy::{ConnectionFacts, Permissions};

use crate::fixture::{guest, policies, pump};

fn check(policies_text: &str, expected: bool) {
    let permissions = Permissions::compile(&Account::default(), &policies(policies_text), &pump());
    assert_eq!(permissions.allows_anything(), expected, "{policies_text}");
}

#[test]
fn connecting_is_not_anything() {
    check("allow iot:Connect *", false);
    check("allow iot:Connect * ; allow iot:Publish topic/a", true);
}

#[test]
fn a_deny_of_everything_leaves_nothing() {
    check("allow iot:* *", true);
    check("allow iot:* * | deny iot:* *", false);
    check("allow iot:* * ; deny !iot:Connect *", false);
    check("allow iot:Publish topic/a/b ; deny iot:Publish topic/a/*", false);
    check("allow iot:Publish topic/a/* ; deny iot:Publish topic/a/b", true);
    check("allow iot:Publish * ; deny iot:Publish topic/*", false);
    check("allow iot:Publish arn:aws:iot:*:*:* ; deny iot:Publish topic/*", false);
    check("allow iot:Publish !client/* ; deny iot:Publish topic/*", false);
}

#[test]
fn a_deny_of_all_but_a_lane_leaves_the_lane() {
    let deny = "deny iot:* !topic/$aws/things/*,client/*";
    check(&format!("allow iot:Publish topic/$aws/things/pump-7/defender/* ; {deny}"), true);
    check(&format!("allow iot:Publish topic/data/* ; {deny}"), false);
    check(&format!("allow iot:* * ; {deny}"), true);
}

#[test]
fn a_resource_of_another_kind_is_nothing() {
    check("allow iot:Subscribe topic/a", false);
    check("allow iot:* client/*", false);
    check("allow iot:Publish !topic/*", false);
    check("allow iot:Publish !*", false);
    check("allow iot:Subscribe arn:aws:iot:us-east-1:999999999999:topicfilter/*", false);
}

#[test]
fn an_unresolved_allow_is_nothing() {
    let documents = policies("allow iot:Publish topic/${iot:Connection.Thing.ThingName}");
    let allows = |facts: ConnectionFacts| {
        Permissions::compile(&Account::default(), &documents, &facts).allows_anything()
    };
    assert!(allows(pump()));
    assert!(!allows(guest()));
}

#[test]
fn no_permissions_are_nothing() {
    assert!(!Permissions::none().allows_anything());
}
