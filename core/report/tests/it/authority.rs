//! Who may report for whom.

use std::collections::BTreeSet;

use picket_model::{ClientId, DeviceName, ThingName};
use picket_report::{Authority, Reporter, may_report};

/// Checks who may report. A connection is its client id, with a `!` if a thing of that name is
/// registered, and the things that its certificate is attached to.
#[track_caller]
fn check(who: &str, named: &str, delegates: &str, reported_by: Option<&str>, expected: Authority) {
    let mut words = who.split(' ');
    let client = words.next().unwrap();
    let things: BTreeSet<ThingName> = words.map(|it| ThingName::parse(it).unwrap()).collect();
    let reporter = Reporter {
        client: &ClientId::parse(client.trim_end_matches('!')).unwrap(),
        is_client_registered: client.ends_with('!'),
        things: &things,
    };
    let delegates: Vec<DeviceName> =
        delegates.split_whitespace().map(|it| DeviceName::parse(it).unwrap()).collect();
    let named = DeviceName::parse(named).unwrap();
    let authority = may_report(&reporter, &named, &delegates, reported_by);
    assert_eq!(authority, expected, "{who} for {named}");
    assert_eq!(authority.is_given(), expected != Authority::None);
}

#[test]
fn the_certificate_speaks_for_its_things_whatever_the_client_id_is() {
    check("pump! pump", "pump", "", None, Authority::AttachedThing);
    check("any pump", "pump", "", None, Authority::AttachedThing);
    check("any valve pump", "pump", "", None, Authority::AttachedThing);
    check("any valve", "pump", "", None, Authority::None);
}

#[test]
fn an_unregistered_device_speaks_for_itself() {
    check("stranger", "stranger", "", None, Authority::UnregisteredItself);
    check("stranger", "other", "", None, Authority::None);
    check("stranger pump", "stranger", "", None, Authority::UnregisteredItself);
}

#[test]
fn a_client_id_is_no_proof_of_a_registered_device() {
    check("pump!", "pump", "", None, Authority::None);
    check("pump! valve", "pump", "", None, Authority::None);
}

#[test]
fn a_delegate_reports_for_others_if_it_is_who_it_says() {
    check("gateway! gateway", "pump", "gateway", None, Authority::Delegate);
    check("any gateway", "pump", "other gateway", None, Authority::Delegate);
    check("gateway", "pump", "gateway", None, Authority::Delegate);
    check("gateway!", "pump", "gateway", None, Authority::None);
    check("gateway! other", "pump", "gateway", None, Authority::None);
    check("gateway! gateway", "pump", "Gateway", None, Authority::None);
}

#[test]
fn a_thing_may_name_who_reports_for_it() {
    check("gateway! gateway", "pump", "", Some("gateway"), Authority::NamedByThing);
    check("gateway", "pump", "", Some("gateway"), Authority::NamedByThing);
    check("gateway!", "pump", "", Some("gateway"), Authority::None);
    check("gateway! gateway", "pump", "", Some("other"), Authority::None);
    check("gateway! gateway", "pump", "", Some(""), Authority::None);
}

#[test]
fn what_is_nearest_is_the_reason() {
    check("pump! pump", "pump", "pump", Some("pump"), Authority::AttachedThing);
    check("gw! gw", "pump", "gw", Some("gw"), Authority::Delegate);
}
