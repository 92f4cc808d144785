//! What rights follow from.

use picket_model::{Change, ThingName};
use picket_store::{RightsFacts, access};

use crate::scene::{Scene, cert, client, document, in_words, thing};

fn rights(scene: &Scene, certificate: Option<u32>, client_id: &str) -> RightsFacts {
    let id = certificate.map(cert);
    scene.read(|tx| Ok(access::rights(tx, id.as_ref(), &client(client_id))?))
}

/// The thing, the groups and the policies, in words: `T | G H | 1:P G:Q`.
fn summary(facts: &RightsFacts) -> String {
    let thing = facts.thing.as_ref().map_or("-", |thing| thing.name.as_str());
    let groups: Vec<&str> = facts.groups.iter().map(|group| group.as_str()).collect();
    let policies: Vec<String> = facts
        .policies
        .iter()
        .map(|(target, policy, version)| {
            assert!(version.is_default);
            assert_eq!(version.document, document(policy.as_str(), version.id));
            let target = match target {
                picket_model::PolicyTarget::Certificate(id) => {
                    id.as_str().trim_start_matches('0').to_owned()
                }
                picket_model::PolicyTarget::Group(name) => name.to_string(),
            };
            format!("{target}:{policy}{}", version.id)
        })
        .collect();
    format!("{thing} | {} | {}", groups.join(" "), policies.join(" "))
}

/// A connection with certificate 1 and `client_id` has the rights `expected`.
#[track_caller]
fn check(script: &str, client_id: &str, expected: &str) {
    let facts = rights(&Scene::with(script), Some(1), client_id);
    assert_eq!(summary(&facts), expected, "{script}");
    let thing = facts.thing.as_ref().map(|thing| thing.name.as_str());
    assert_eq!(facts.is_named, thing == Some(client_id));
}

#[test]
fn a_client_named_like_its_thing_has_the_rights_of_the_things_groups_and_their_ancestors() {
    check(
        "cert 1; thing T; bind 1 T; group G; group H in G; add T H
         policy P; policy Q; policy R; attach P 1; attach Q H; attach R G",
        "T",
        "T | G H | 1:P1 G:R1 H:Q1",
    );
}

#[test]
fn a_policy_of_a_group_beside_does_not_count() {
    check(
        "cert 1; thing T; bind 1 T; group G; group H in G; group I in G; add T H
         policy P; attach P I",
        "T",
        "T | G H | ",
    );
}

#[test]
fn a_client_named_like_a_thing_of_others_speaks_for_the_only_thing_of_its_certificate() {
    let neighbours = "cert 1; thing T; thing U; bind 1 U; group G; group H; add T G; add U H";
    check(neighbours, "T", "U | H | ");
    let facts = rights(&Scene::with(neighbours), Some(1), "T");
    assert_eq!((facts.device.as_str(), facts.registered), ("U", true));
}

#[test]
fn a_client_named_like_a_thing_speaks_for_none_if_its_certificate_has_none_or_several() {
    check("cert 1; thing T", "T", "- |  | ");
    check("cert 1; thing T; thing U; thing V; bind 1 U; bind 1 V", "T", "- |  | ");
    let facts = rights(&Scene::with("cert 1; thing T"), Some(1), "T");
    assert_eq!((facts.device.as_str(), facts.registered), ("T", true));
}

#[test]
fn a_client_of_another_name_speaks_for_the_only_thing_of_its_certificate() {
    check("cert 1; thing T; bind 1 T; group G; add T G", "agent/7", "T | G | ");
    let facts = rights(&Scene::with("cert 1; thing T; bind 1 T"), Some(1), "agent/7");
    assert_eq!((facts.device.as_str(), facts.registered), ("T", true));
}

#[test]
fn a_certificate_with_two_things_leaves_a_client_of_another_name_without_one() {
    check("cert 1; thing T; thing U; bind 1 T; bind 1 U", "agent", "- |  | ");
    check("cert 1; thing T; thing U; bind 1 T; bind 1 U", "U", "U |  | ");
    let facts = rights(&Scene::with("cert 1"), Some(1), "agent");
    assert_eq!((facts.device.as_str(), facts.registered), ("agent", false));
}

#[test]
fn the_version_in_force_counts() {
    check("cert 1; policy P; attach P 1; version P 2", "c", "- |  | 1:P1");
    check("cert 1; policy P; attach P 1; version P 2 in-force", "c", "- |  | 1:P2");
}

#[test]
fn an_unknown_certificate_and_none_at_all_have_no_rights() {
    let scene = Scene::with("thing T; cert 2; bind 2 T; group G; add T G");
    for certificate in [None, Some(1)] {
        let facts = rights(&scene, certificate, "T");
        assert_eq!(summary(&facts), "- |  | ");
        assert_eq!((facts.certificate, facts.registered), (None, true));
    }
}

#[test]
fn rights_depend_on_exactly_what_they_were_read_from() {
    let check = |script: &str, client_id: &str, expected: &str| {
        let facts = rights(&Scene::with(script), Some(1), client_id);
        let depends_on: Vec<Change> = facts.depends_on.into_iter().collect();
        assert_eq!(in_words(&depends_on), expected, "{script}");
    };
    check("", "T", "certificate 1, thing T");
    check("", "no/thing", "certificate 1");
    check("cert 1; thing T; bind 1 T", "agent", "certificate 1, thing T, thing agent");
    check(
        "cert 1; thing T; bind 1 T; group G; group H in G; add T H; policy P; attach P G",
        "T",
        "certificate 1, thing T, group G, group H, policy P",
    );
}

#[test]
fn effective_policies_ask_for_no_attachment_but_for_existence() {
    let scene = Scene::with(
        "cert 1; thing T; group G; add T G; policy P; policy Q; attach P 1; attach Q G",
    );
    let names = |certificate: Option<u32>, name: Option<ThingName>| {
        let id = certificate.map(cert);
        let found = scene.read(|tx| access::effective_policies(tx, id.as_ref(), name.as_ref()));
        found.into_iter().map(|(_, policy, _)| policy.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Some(1), Some(thing("T"))), "P Q");
    assert_eq!(names(Some(1), None), "P");
    assert_eq!(names(None, Some(thing("T"))), "Q");
    let missing = scene.refused(|tx| access::effective_policies(tx, None, Some(&thing("U"))));
    assert_eq!(missing, "thing `U` does not exist");
    let missing = scene.refused(|tx| access::effective_policies(tx, Some(&cert(2)), None));
    assert!(missing.starts_with("certificate `000"), "{missing}");
}

/// The things that a connection with certificate 1 and `client_id` may report for, and with a `!`
/// that a thing is named like the client id.
#[track_caller]
fn check_things(script: &str, client_id: &str, expected: &str) {
    let facts = rights(&Scene::with(script), Some(1), client_id);
    let mut found: Vec<&str> = facts.things.iter().map(|thing| thing.as_str()).collect();
    found.extend(facts.is_client_registered.then_some("!"));
    assert_eq!(found.join(" "), expected, "{script}");
}

#[test]
fn a_connection_is_told_the_things_of_its_certificate_and_whether_its_name_is_taken() {
    let neighbours = "cert 1; cert 2; thing T; thing U; thing V; bind 1 V; bind 1 U; bind 2 T";
    check_things(neighbours, "agent", "U V");
    check_things(neighbours, "U", "U V !");
    check_things(neighbours, "T", "U V !");
    check_things("cert 1; thing T", "T", "!");
    check_things("cert 1; thing T", "no/thing", "");
    // A certificate that is not registered is attached to nothing.
    check_things("thing T", "T", "!");
}

#[test]
fn a_connection_is_told_a_thousand_things_at_most() {
    let mut script = "cert 1".to_owned();
    for number in 0..1_005 {
        script += &format!("; thing T{number:04}; bind 1 T{number:04}");
    }
    let facts = rights(&Scene::with(&script), Some(1), "agent");
    assert_eq!(facts.things.len(), 1_000);
    assert_eq!(facts.things.last().map(ThingName::as_str), Some("T0999"));
    // And of its own in any case.
    let facts = rights(&Scene::with(&script), Some(1), "T1004");
    assert_eq!(facts.things.last().map(ThingName::as_str), Some("T1004"));
}
