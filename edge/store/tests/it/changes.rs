//! Which write changes what: whoever watches decides again on exactly these.

use crate::scene::Scene;

/// After `before`, `command` changes exactly `expected`.
#[track_caller]
fn check(before: &str, command: &str, expected: &str) {
    assert_eq!(Scene::with(before).changes(command), expected, "`{command}` after `{before}`");
}

#[test]
fn a_thing_changes_when_it_is_made_changed_or_deleted() {
    check("", "thing T", "thing T");
    check("thing T a=1", "thing T a=1", "");
    check("thing T", "update-thing T a=1", "thing T");
    check("thing T", "delete-thing T", "thing T");
    check("", "delete-thing T", "");
}

#[test]
fn a_thing_changes_when_it_moves_between_groups() {
    check("thing T; group G", "add T G", "thing T");
    check("thing T; group G; add T G", "add T G", "");
    check("thing T; group G; add T G", "remove T G", "thing T");
    check("thing T; group G", "remove T G", "");
}

#[test]
fn a_group_changes_when_it_is_made_or_deleted() {
    check("", "group G", "group G");
    check("group G", "group G", "");
    check("group G", "group H in G", "group H");
    check("group G", "update-group G a=1", "");
    check("", "delete-group G", "");
}

#[test]
fn a_deleted_group_changes_its_members_and_the_profiles_that_watched_it() {
    check(
        "group G; thing T; thing U; add T G; add U G; profile S; watch S G",
        "delete-group G",
        "group G, thing T, thing U, profile S",
    );
}

#[test]
fn a_certificate_changes_with_its_status_and_its_life() {
    check("", "cert 1", "certificate 1");
    check("cert 1", "status 1 INACTIVE", "certificate 1");
    check("cert 1", "status 1 ACTIVE", "");
    check("cert 1 INACTIVE", "delete-cert 1", "certificate 1");
}

#[test]
fn an_attachment_changes_the_certificate_and_the_thing() {
    check("cert 1; thing T", "bind 1 T", "certificate 1, thing T");
    check("cert 1; thing T; bind 1 T", "bind 1 T", "");
    check("cert 1; thing T; bind 1 T", "bind 1 T alone", "certificate 1, thing T");
    check("cert 1; thing T; bind 1 T", "unbind 1 T", "certificate 1, thing T");
    check("cert 1; thing T", "unbind 1 T", "");
}

#[test]
fn a_policy_changes_with_the_version_in_force() {
    check("", "policy P", "policy P");
    check("policy P", "version P 2", "");
    check("policy P", "version P 2 in-force", "policy P");
    check("policy P; version P 2", "in-force P 2", "policy P");
    check("policy P; version P 2", "in-force P 1", "");
    check("policy P; version P 2", "delete-version P 2", "");
    check("policy P", "delete-policy P", "policy P");
}

#[test]
fn what_a_policy_is_attached_to_changes() {
    check("policy P; cert 1", "attach P 1", "certificate 1");
    check("policy P; group G", "attach P G", "group G");
    check("policy P; group G; attach P G", "attach P G", "");
    check("policy P; group G; attach P G", "detach P G", "group G");
    check("policy P; cert 1; attach P 1", "detach P 1", "certificate 1");
    check("policy P; cert 1", "detach P 1", "");
    check("policy P; cert 1 INACTIVE; attach P 1", "delete-cert 1 force", "certificate 1");
}

#[test]
fn a_profile_changes_with_its_life_and_its_targets() {
    check("", "profile S", "profile S");
    check("profile S", "update-profile S", "profile S");
    check("profile S", "delete-profile S", "profile S");
    check("", "delete-profile S", "");
    check("profile S", "watch S all", "profile S");
    check("profile S; watch S all", "watch S all", "");
    check("profile S; watch S all", "unwatch S all", "profile S");
    check("profile S", "unwatch S all", "");
}

#[test]
fn a_function_changes_with_its_configuration_and_its_code() {
    check("", "function F", "function F");
    check("function F", "update-function F", "function F");
    check("function F", "update-code F", "function F");
    check("function F", "delete-function F", "function F");
    check("function F", "allow F sid", "");
}

#[test]
fn a_message_changes_the_outbox() {
    check("", "push E Alerts", "outbox");
    check("push E Alerts", "push E Alerts", "");
    check("push E Alerts", "expand E", "");
}

#[test]
fn topics_and_subscriptions_change_nobodys_rights() {
    check("", "topic A", "");
    check("topic A", "subscribe A f", "");
    check("", "type X", "");
}
