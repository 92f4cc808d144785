//! Policies in a line of text, and a connection to try them on.
//!
//! A statement is written `allow iot:Publish topic/a/*`: effect, actions, resources, each list with
//! commas, a `!` before the list for "all but". Resources get the front of their ARN. Conditions
//! follow as `if OPERATOR KEY VALUE,VALUE`; statements are parted by `;`, policies by `|`.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_model::{Account, CertificateId, ClientId, PolicyName, ThingName, ThingTypeName};
use picket_policy::{
    Action, AlternativeName, CertificateFacts, ConnectionFacts, Decision, Document, NameAttribute,
    NamedDocument, Permissions, ThingFacts,
};

/// The policies of a line: `P1`, `P2`, ... in version 1, 2, ...
pub(crate) fn policies(text: &str) -> Vec<NamedDocument> {
    let named = |(i, text): (usize, &str)| NamedDocument {
        policy: PolicyName::parse(format!("P{}", i + 1)).unwrap(),
        version: i as u32 + 1,
        document: Arc::new(Document::parse(&json(text)).unwrap()),
    };
    text.split('|').enumerate().map(named).collect()
}

/// The JSON of one policy's line.
pub(crate) fn json(text: &str) -> String {
    let statements: Vec<_> = text.split(';').map(|text| statement(text.trim())).collect();
    serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn statement(text: &str) -> serde_json::Value {
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("statement `{text}` is too short"));
    let effect = match next() {
        "allow" => "Allow",
        "deny" => "Deny",
        other => panic!("no effect `{other}`"),
    };
    let (action, actions) = list(next(), "Action", "NotAction");
    let (resource, resources) = list(next(), "Resource", "NotResource");
    let resources: Vec<String> = resources.iter().map(|resource| arn(resource)).collect();
    let mut conditions: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    while let Some(word) = words.next() {
        assert_eq!(word, "if", "in `{text}`");
        let (operator, key) = (words.next().unwrap(), words.next().unwrap());
        let values = words.next().unwrap().split(',').collect();
        conditions.entry(operator).or_default().insert(key, values);
    }
    serde_json::json!({
        "Effect": effect, action: actions, resource: resources, "Condition": conditions,
    })
}

fn list<'a>(text: &'a str, name: &'a str, except: &'a str) -> (&'a str, Vec<&'a str>) {
    match text.strip_prefix('!') {
        Some(text) => (except, text.split(',').collect()),
        None => (name, text.split(',').collect()),
    }
}

fn arn(resource: &str) -> String {
    if resource == "*" || resource.starts_with("arn:") {
        resource.to_owned()
    } else {
        Account::default().iot_arn(resource)
    }
}

/// A pump that is a thing, with a certificate full of names.
pub(crate) fn pump() -> ConnectionFacts {
    let texts = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    let subject = BTreeMap::from([
        (NameAttribute::CommonName, texts(&["pump-seven"])),
        (NameAttribute::Organization, texts(&["Water Works, Inc"])),
        (
            NameAttribute::OrganizationalUnit,
            texts(&["north", "south", "east", "west", "up", "beyond-the-fifth"]),
        ),
        (NameAttribute::Title, texts(&["a*b"])),
        (NameAttribute::Surname, vec!["x".repeat(1025)]),
        (NameAttribute::GivenName, vec!["x".repeat(1024)]),
    ]);
    ConnectionFacts {
        client_id: Some(ClientId::parse("pump-7").unwrap()),
        source_ip: Some("192.0.2.7".parse().unwrap()),
        thing: Some(ThingFacts {
            name: ThingName::parse("pump-7").unwrap(),
            thing_type: Some(ThingTypeName::parse("Pump").unwrap()),
            attributes: BTreeMap::from([
                ("floor".to_owned(), "2".to_owned()),
                ("since".to_owned(), "2026-11-20T10:00:00Z".to_owned()),
                ("wide".to_owned(), "#".to_owned()),
                ("arn".to_owned(), "arn:aws:iot:us-east-1:123456789012:thing/pump-7".to_owned()),
            ]),
            is_attached: true,
        }),
        certificate: Some(Arc::new(CertificateFacts {
            id: CertificateId::from_sha256([7; 32]),
            serial_number: "10525622389124227206".to_owned(),
            subject: subject.into(),
            issuer: BTreeMap::from([(NameAttribute::Country, texts(&["DE"]))]).into(),
            subject_alternative: BTreeMap::from([(
                AlternativeName::DirectoryName,
                texts(&["cn=Bulb,ou=Home,c=US"]),
            )])
            .into(),
            issuer_alternative: BTreeMap::new().into(),
        })),
        connect: Default::default(),
    }
}

/// Somebody about whom nothing is known but the client id `guest`.
pub(crate) fn guest() -> ConnectionFacts {
    ConnectionFacts {
        client_id: Some(ClientId::parse("guest").unwrap()),
        ..ConnectionFacts::default()
    }
}

/// Reads a request like `iot:Publish a/b`.
pub(crate) fn request(text: &str) -> (Action, &str) {
    let (action, resource) = text.split_once(' ').unwrap();
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action);
    (action.unwrap_or_else(|| panic!("no action in `{text}`")), resource)
}

/// Decides a request under the policies of a line; the answer names statements as `P1.1`.
pub(crate) fn decide(policies_text: &str, facts: &ConnectionFacts, request_text: &str) -> String {
    let (action, resource) = request(request_text);
    let permissions = Permissions::compile(&Account::default(), &policies(policies_text), facts);
    let (word, by) = match permissions.decide(action, resource) {
        Decision::ImplicitDeny => return "denied".to_owned(),
        Decision::Allowed { by } => ("allowed by", by),
        Decision::ExplicitDeny { by } => ("denied by", by),
    };
    by.iter().fold(word.to_owned(), |text, by| format!("{text} {}.{}", by.policy, by.statement + 1))
}
