//! What `${..}` stands for.

use std::net::IpAddr;

use picket_policy::ConnectionFacts;

use crate::fixture::{decide, guest, pump};

/// Checks that a policy for `topic/VARIABLE` allows to publish to exactly `topic`.
fn is(variable: &str, topic: &str) {
    let policy = format!("allow iot:Publish topic/{variable}");
    let request = format!("iot:Publish {topic}");
    assert_eq!(decide(&policy, &pump(), &request), "allowed by P1.1", "{variable}");
    assert_eq!(decide(&policy, &pump(), "iot:Publish other"), "denied", "{variable}");
}

/// Checks that a variable has no value: neither its text nor anything else matches.
fn is_nothing(facts: &ConnectionFacts, variable: &str) {
    let allow = format!("allow iot:Publish topic/{variable}*");
    let deny = format!("allow iot:Publish * ; deny iot:Publish topic/{variable}*");
    for topic in [variable, "", "a", "undefined", "*", "a?", "$aws", "a+", "#", "a*b"] {
        let request = format!("iot:Publish {topic}");
        assert_eq!(decide(&allow, facts, &request), "denied", "{variable}");
        assert_eq!(decide(&deny, facts, &request), "allowed by P1.1", "{variable}");
    }
}

#[test]
fn a_variable_stands_for_what_is_known_of_the_connection() {
    is("${iot:ClientId}", "pump-7");
    is("${aws:SourceIp}", "192.0.2.7");
    is("${iot:Connection.Thing.ThingName}", "pump-7");
    is("${iot:Connection.Thing.ThingTypeName}", "Pump");
    is("${iot:Connection.Thing.Attributes[floor]}", "2");
    is("${iot:Connection.Thing.IsAttached}", "true");
    is("${iot:Certificate.SerialNumber}", "10525622389124227206");
    is("${iot:Certificate.Subject.CommonName}", "pump-seven");
    is("${iot:Certificate.Issuer.Country}", "DE");
    is("${iot:Certificate.Subject.AlternativeName.DirectoryName}", "cn=Bulb,ou=Home,c=US");
    is("a/${iot:ClientId}/b/${iot:ClientId}", "a/pump-7/b/pump-7");
}

#[test]
fn case_counts_only_in_names_of_attributes_of_things() {
    is("${IOT:clientid}", "pump-7");
    is("${iot:certificate.subject.commonname}", "pump-seven");
    is("${iot:connection.thing.attributes[floor]}", "2");
    is_nothing(&pump(), "${iot:Connection.Thing.Attributes[Floor]}");
}

#[test]
fn of_several_values_a_suffix_says_which() {
    is("${iot:Certificate.Subject.OrganizationalUnit}", "north");
    is("${iot:Certificate.Subject.OrganizationalUnit.1}", "south");
    is("${iot:Certificate.Subject.OrganizationalUnit.4}", "up");
    for unit in ["north", "south", "up"] {
        is("u/${iot:Certificate.Subject.OrganizationalUnit.List}/x", &format!("u/{unit}/x"));
    }
}

#[test]
fn of_more_than_five_values_the_others_do_not_exist() {
    is_nothing(&pump(), "${iot:Certificate.Subject.OrganizationalUnit.5}");
    let policy = "allow iot:Publish topic/${iot:Certificate.Subject.OrganizationalUnit.List}";
    assert_eq!(decide(policy, &pump(), "iot:Publish beyond-the-fifth"), "denied");
}

#[test]
fn a_second_list_in_one_text_has_no_value() {
    let list = "${iot:Certificate.Subject.OrganizationalUnit.List}";
    is_nothing(&pump(), &format!("{list}/{list}"));
}

#[test]
fn a_value_that_could_widen_the_policy_is_never_put_in() {
    is_nothing(&pump(), "${iot:Certificate.Subject.Title}");
    is_nothing(&pump(), "${iot:Connection.Thing.Attributes[wide]}");
    for client in ["*", "a?", "$aws", "a+", "#"] {
        let mut facts = guest();
        facts.client_id = Some(picket_model::ClientId::parse(client).unwrap());
        is_nothing(&facts, "${iot:ClientId}");
    }
}

#[test]
fn a_value_is_put_in_up_to_its_longest() {
    is("${iot:Certificate.Subject.GivenName}", &"x".repeat(1024));
    is_nothing(&pump(), "${iot:Certificate.Subject.Surname}");
}

#[test]
fn special_characters_of_names_are_escaped() {
    // The space would part words in the fixture, so it is a wildcard.
    let policy = "allow iot:Publish topic/${iot:Certificate.Subject.Organization}";
    let request = "iot:Publish Water Works\\, Inc";
    assert_eq!(decide(policy, &pump(), request), "allowed by P1.1");
    assert_eq!(decide(policy, &pump(), "iot:Publish Water Works, Inc"), "denied");
}

#[test]
fn an_unresolved_variable_matches_nothing_in_allow_and_in_deny() {
    for variable in [
        "${iot:Connection.Thing.ThingName}",
        "${iot:Connection.Thing.Attributes[floor]}",
        "${iot:Certificate.SerialNumber}",
        "${aws:SourceIp}",
        "${aws:CurrentTime}",
        "${no such thing}",
        "${}",
    ] {
        is_nothing(&guest(), &variable.replace(' ', "-"));
    }
}

#[test]
fn a_thing_that_the_certificate_is_not_attached_to_has_no_values() {
    let mut facts = pump();
    facts.thing.as_mut().unwrap().is_attached = false;
    is_nothing(&facts, "${iot:Connection.Thing.ThingName}");
    let policy = "allow iot:Publish topic/${iot:Connection.Thing.IsAttached}";
    assert_eq!(decide(policy, &facts, "iot:Publish false"), "allowed by P1.1");
}

#[test]
fn an_exception_in_doubt_never_allows_and_never_weakens_a_deny() {
    let own = "topic/${iot:Connection.Thing.ThingName}";
    let allow = format!("allow iot:Publish !{own}");
    let deny = format!("allow iot:Publish * ; deny iot:Publish !{own}");
    assert_eq!(decide(&allow, &pump(), "iot:Publish a"), "allowed by P1.1");
    assert_eq!(decide(&allow, &guest(), "iot:Publish a"), "denied");
    assert_eq!(decide(&deny, &pump(), "iot:Publish pump-7"), "allowed by P1.1");
    assert_eq!(decide(&deny, &guest(), "iot:Publish guest"), "denied by P1.2");
    let allow = format!("allow iot:Publish !topic/a,{own}");
    assert_eq!(decide(&allow, &guest(), "iot:Publish b"), "denied");
}

#[test]
fn wildcards_can_be_written_as_themselves() {
    is("a${*}b", "a*b");
    is("a${?}b", "a?b");
    is("${$}aws/x", "$aws/x");
    is("$aws/x", "$aws/x");
}

#[test]
fn a_v4_address_in_v6_clothes_is_a_v4_address() {
    let mut facts = guest();
    facts.source_ip = Some("::ffff:192.0.2.7".parse::<IpAddr>().unwrap());
    let policy = "allow iot:Publish topic/${aws:SourceIp}";
    assert_eq!(decide(policy, &facts, "iot:Publish 192.0.2.7"), "allowed by P1.1");
}
