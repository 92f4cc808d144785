//! When a condition holds.

use picket_policy::{ConnectAttributes, ConnectionFacts};

use crate::fixture::{decide, guest, pump};

/// Checks whether `OPERATOR KEY VALUES` holds, in an allow and in a deny.
fn check(facts: &ConnectionFacts, condition: &str, holds: bool) {
    check_allow(facts, condition, holds);
    check_deny(facts, condition, holds);
}

fn check_allow(facts: &ConnectionFacts, condition: &str, holds: bool) {
    let allow = format!("allow iot:Publish * if {condition}");
    let expected = if holds { "allowed by P1.1" } else { "denied" };
    assert_eq!(decide(&allow, facts, "iot:Publish a"), expected, "allow if {condition}");
}

fn check_deny(facts: &ConnectionFacts, condition: &str, holds: bool) {
    let deny = format!("allow iot:Publish * ; deny iot:Publish * if {condition}");
    let expected = if holds { "denied by P1.2" } else { "allowed by P1.1" };
    assert_eq!(decide(&deny, facts, "iot:Publish a"), expected, "deny if {condition}");
}

#[test]
fn texts_are_compared() {
    for (condition, holds) in [
        ("StringEquals iot:ClientId pump-7", true),
        ("StringEquals iot:ClientId a,pump-7", true),
        ("StringEquals iot:ClientId pump-*", false),
        ("StringEquals iot:ClientId PUMP-7", false),
        ("StringEqualsIgnoreCase iot:ClientId PUMP-7", true),
        ("StringLike iot:ClientId p?mp-*", true),
        ("StringLike iot:ClientId p?mp", false),
        ("StringNotEquals iot:ClientId pump-7", false),
        ("StringNotEquals iot:ClientId a,b", true),
        ("StringNotEquals iot:ClientId a,pump-7", false),
        ("StringNotEqualsIgnoreCase iot:ClientId PUMP-7", false),
        ("StringNotLike iot:ClientId pump-*", false),
        ("StringNotLike iot:ClientId valve-*", true),
        ("StringEquals IOT:CLIENTID pump-7", true),
        ("StringEquals iot:ClientId ${iot:Connection.Thing.ThingName}", true),
        ("StringEqualsIgnoreCase iot:ClientId ${IOT:Connection.Thing.ThingName}", true),
    ] {
        check(&pump(), condition, holds);
    }
}

#[test]
fn numbers_dates_and_truth_are_compared() {
    let floor = "iot:Connection.Thing.Attributes[floor]";
    let since = "iot:Connection.Thing.Attributes[since]";
    for (operator, key, value, holds) in [
        ("NumericEquals", floor, "2.0", true),
        ("NumericNotEquals", floor, "2", false),
        ("NumericNotEquals", floor, "3", true),
        ("NumericLessThan", floor, "2", false),
        ("NumericLessThan", floor, "10", true),
        ("NumericLessThanEquals", floor, "2", true),
        ("NumericGreaterThan", floor, "1.5", true),
        ("NumericGreaterThanEquals", floor, "3", false),
        ("NumericEquals", "iot:ClientId", "2", false),
        ("DateEquals", since, "2026-11-20T11:00:00+01:00", true),
        ("DateNotEquals", since, "2026", true),
        ("DateLessThan", since, "2027", true),
        ("DateLessThanEquals", since, "2026-11-20", false),
        ("DateGreaterThan", since, "2026-11-20", true),
        ("DateGreaterThanEquals", since, "1795168800", true),
        ("Bool", "iot:Connection.Thing.IsAttached", "true", true),
        ("Bool", "iot:Connection.Thing.IsAttached", "TRUE", true),
        ("Bool", "iot:Connection.Thing.IsAttached", "false", false),
        ("Bool", "iot:ClientId", "true", false),
    ] {
        check(&pump(), &format!("{operator} {key} {value}"), holds);
    }
    check(&guest(), "Bool iot:Connection.Thing.IsAttached false", true);
}

#[test]
fn addresses_are_compared_with_ranges() {
    for (condition, holds) in [
        ("IpAddress aws:SourceIp 192.0.2.0/24", true),
        ("IpAddress aws:SourceIp 192.0.2.7", true),
        ("IpAddress aws:SourceIp 10.0.0.0/8,192.0.2.7/32", true),
        ("IpAddress aws:SourceIp 10.0.0.0/8", false),
        ("IpAddress aws:SourceIp ::/0", false),
        ("NotIpAddress aws:SourceIp 10.0.0.0/8", true),
        ("NotIpAddress aws:SourceIp 192.0.2.0/24", false),
        ("IpAddress iot:ClientId 0.0.0.0/0", false),
    ] {
        check(&pump(), condition, holds);
    }
    let mut facts = pump();
    facts.source_ip = Some("::ffff:192.0.2.7".parse().unwrap());
    check(&facts, "IpAddress aws:SourceIp 192.0.2.0/24", true);
}

#[test]
fn arns_are_compared_part_by_part() {
    let key = "iot:Connection.Thing.Attributes[arn]";
    for (operator, value, holds) in [
        ("ArnEquals", "arn:aws:iot:us-east-1:123456789012:thing/pump-7", true),
        ("ArnLike", "arn:aws:iot:*:*:thing/*", true),
        ("ArnEquals", "arn:aws:iot:*:*:thing/pump-?", true),
        ("ArnLike", "arn:aws:iot:*:*:thing/${iot:ClientId}", true),
        ("ArnLike", "arn:aws:iot:us-*thing/pump-7:*:*", false),
        ("ArnLike", "*", true),
        ("ArnNotEquals", "arn:aws:iot:*:*:thing/*", false),
        ("ArnNotLike", "arn:aws:sns:*:*:*", true),
    ] {
        check(&pump(), &format!("{operator} {key} {value}"), holds);
    }
    check(&pump(), "ArnLike iot:ClientId arn:aws:iot:*:*:*", false);
}

#[test]
fn a_key_without_value_fails_all_but_the_negated() {
    let key = "iot:Connection.Thing.ThingName";
    for (operator, value, holds) in [
        ("StringEquals", "a", false),
        ("StringNotEquals", "a", true),
        ("StringLike", "*", false),
        ("NumericLessThan", "9", false),
        ("NotIpAddress", "10.0.0.0/8", true),
        ("StringEqualsIfExists", "a", true),
        ("StringNotEqualsIfExists", "a", true),
        ("Null", "true", true),
        ("Null", "false", false),
        ("ForAllValues:StringEquals", "a", true),
        ("ForAllValues:StringNotEquals", "a", true),
        ("ForAnyValue:StringEquals", "a", false),
        ("ForAnyValue:StringNotEquals", "a", false),
        ("ForAnyValue:StringEqualsIfExists", "a", true),
    ] {
        check(&guest(), &format!("{operator} {key} {value}"), holds);
    }
    check(&guest(), "StringEquals aws:CurrentTime 2026", false);
    check(&guest(), "StringNotEquals aws:NoSuchKey a", true);
}

#[test]
fn a_key_with_a_value_is_not_null() {
    check(&pump(), "Null iot:Certificate.SerialNumber false", true);
    check(&pump(), "Null iot:Certificate.SerialNumber true", false);
    check(&pump(), "StringEqualsIfExists iot:ClientId a", false);
}

#[test]
fn several_values_are_asked_one_by_one() {
    let key = "iot:Certificate.Subject.OrganizationalUnit.List";
    for (operator, values, holds) in [
        ("ForAnyValue:StringEquals", "west,nowhere", true),
        ("ForAnyValue:StringEquals", "beyond-the-fifth", false),
        ("ForAllValues:StringEquals", "north,south,east,west", false),
        ("ForAllValues:StringEquals", "north,south,east,west,up,down", true),
        ("ForAllValues:StringLike", "*", true),
        ("ForAnyValue:StringNotEquals", "north", true),
        ("ForAnyValue:StringNotLike", "*", false),
        ("ForAllValues:StringNotEquals", "north", false),
        ("ForAllValues:StringNotEquals", "nowhere", true),
        ("StringEquals", "west", true),
        ("StringNotEquals", "west", false),
        ("StringNotEquals", "nowhere", true),
    ] {
        check(&pump(), &format!("{operator} {key} {values}"), holds);
    }
    check(
        &pump(),
        "ForAnyValue:StringEquals iot:Certificate.AvailableKeys \
         iot:Certificate.Subject.CommonName",
        true,
    );
}

#[test]
fn a_policy_lists_what_a_connect_may_ask_for() {
    // aws: guide "Policy examples", connect with PersistentConnect and LastWill
    let both = "ForAllValues:StringEquals iot:ConnectAttributes PersistentConnect,LastWill";
    let persistent = "ForAllValues:StringEquals iot:ConnectAttributes PersistentConnect";
    let no_persistent = "ForAllValues:StringNotEquals iot:ConnectAttributes PersistentConnect";
    for (asked, condition, holds) in [
        ("", both, true),
        ("persistent", both, true),
        ("persistent will", both, true),
        ("", persistent, true),
        ("persistent", persistent, true),
        ("will", persistent, false),
        ("persistent will", persistent, false),
        ("", no_persistent, true),
        ("will", no_persistent, true),
        ("persistent", no_persistent, false),
    ] {
        let connect = ConnectAttributes {
            persistent: asked.contains("persistent"),
            will: asked.contains("will"),
        };
        check(&ConnectionFacts { connect, ..pump() }, condition, holds);
    }
    let connect = ConnectAttributes { persistent: true, will: true };
    let plain =
        decide("allow iot:Connect *", &ConnectionFacts { connect, ..pump() }, "iot:Connect x");
    assert_eq!(
        plain, "allowed by P1.1",
        "a policy that does not mention the key restricts nothing"
    );
}

#[test]
fn all_operators_and_keys_have_to_hold() {
    check(
        &pump(),
        "StringEquals iot:ClientId pump-7 if Bool iot:Connection.Thing.IsAttached true",
        true,
    );
    check(
        &pump(),
        "StringEquals iot:ClientId pump-8 if Bool iot:Connection.Thing.IsAttached true",
        false,
    );
    check(
        &pump(),
        "StringEquals iot:ClientId pump-7 if StringEquals aws:SourceIp 192.0.2.8",
        false,
    );
}

#[test]
fn a_comparison_in_doubt_never_allows_and_never_weakens_a_deny() {
    for condition in [
        "StringNotEquals iot:ClientId ${iot:Connection.Thing.ThingName}",
        "StringNotLike iot:ClientId ${iot:Connection.Thing.ThingName}*",
        "ForAllValues:StringNotEquals iot:ClientId ${iot:Connection.Thing.ThingName}",
        "ArnNotLike iot:ClientId arn:aws:iot:::thing/${iot:Connection.Thing.ThingName}",
    ] {
        check_allow(&guest(), condition, false);
        check_deny(&guest(), condition, true);
    }
    check(&guest(), "StringEquals iot:ClientId ${iot:Connection.Thing.ThingName}", false);
    check(&guest(), "StringLike iot:ClientId ${iot:Connection.Thing.ThingName}*", false);
}
