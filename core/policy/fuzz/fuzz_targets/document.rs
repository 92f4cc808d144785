//! Any text as a policy document, and any other as what is asked under it.
//!
//! The input's first line is the resource, the rest the document. Beyond not panicking, two laws:
//! a request that nothing allows is never told to be allowed, and who is said to be able to do
//! nothing is allowed nothing.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use picket_model::{Account, ClientId, PolicyName, ThingName};
use picket_policy::{
    Action, ConnectionFacts, Document, NamedDocument, Permissions, Report, ThingFacts,
};

fuzz_target!(|input: &str| {
    let (resource, text) = input.split_once('\n').unwrap_or(("a/b", input));
    let Ok(document) = Document::parse(text) else { return };
    let thing = ThingFacts {
        name: ThingName::parse("pump-7").expect("a right name"),
        thing_type: None,
        attributes: [("x".to_owned(), resource.to_owned())].into(),
        is_attached: true,
    };
    let facts = ConnectionFacts {
        client_id: ClientId::parse(resource).ok(),
        source_ip: "192.0.2.7".parse().ok(),
        thing: Some(thing),
        ..ConnectionFacts::default()
    };
    let documents = [NamedDocument {
        policy: PolicyName::parse("P").expect("a right name"),
        version: 1,
        document: Arc::new(document),
    }];
    let account = Account::default();
    let permissions = Permissions::compile(&account, &documents, &facts);
    let allows_anything = permissions.allows_anything();
    for action in Action::ALL {
        let decision = permissions.decide(action, resource);
        let report = Report::of(&account, &documents, &facts, action, resource);
        assert_eq!(decision, report.decision);
        assert_eq!(
            decision.is_allowed(),
            !report.allowed_by.is_empty() && report.denied_by.is_empty()
        );
        assert!(allows_anything || action == Action::Connect || !decision.is_allowed());
    }
});
