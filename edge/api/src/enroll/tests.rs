use picket_model::Account;
use picket_store::groups::NewGroup;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::*;
use crate::testing::Api;

const TOKEN: &str = "a token of the tests";

/// An API with a group and a token that is good for two things for an hour.
async fn api() -> (Api, Enroll) {
    let api = Api::new();
    let now = api.state.now();
    let group = GroupName::parse("Pumps").unwrap();
    let token = EnrollmentToken {
        hash: hash(TOKEN),
        group: group.clone(),
        uses_max: 2,
        created_at: now,
        expires_at: now.plus_millis(3_600_000),
    };
    api.state
        .write(move |tx| {
            let attributes = Default::default();
            let new = NewGroup { name: group, parent: None, description: None, attributes };
            groups::create(tx, &new, "id", now)?;
            Ok(enrollment::create(tx, &token)?)
        })
        .await
        .unwrap();
    let enroll = Enroll {
        state: api.state.clone(),
        endpoint: "localhost:8883".to_owned(),
        authority_pem: api.state.issuer.certificate().pem.clone(),
    };
    (api, enroll)
}

/// A request for a certificate with these common names.
fn csr(names: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (i, name) in names.iter().enumerate() {
        let kind = if i == 0 { DnType::CommonName } else { DnType::OrganizationName };
        params.distinguished_name.push(kind, *name);
    }
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

async fn send(enroll: &Enroll, body: String) -> (u16, Value) {
    let result = work(enroll, Body::from(body)).await;
    let response = result.unwrap_or_else(|error| error.response(Service::Iot, "id"));
    let body = serde_json::from_slice(&response.body).unwrap();
    (response.status.as_u16(), body)
}

fn request(token: &str, thing: &str, csr: &str) -> String {
    json!({"token": token, "thingName": thing, "certificateSigningRequest": csr}).to_string()
}

/// What enrolling comes to: `ok`, or status and message.
async fn check(enroll: &Enroll, body: String, expected: &str) {
    let (status, answer) = send(enroll, body).await;
    let found = match status {
        200 => "ok".to_owned(),
        _ => format!("{status} {}", answer["message"].as_str().unwrap()),
    };
    assert!(found.starts_with(expected), "`{found}` instead of `{expected}`");
}

#[tokio::test]
async fn an_enrolled_thing_has_an_active_certificate_and_is_in_the_group() {
    let (api, enroll) = api().await;
    let (status, answer) = send(&enroll, request(TOKEN, "pump-7", &csr(&["pump-7"]))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["thingName"], &answer["endpoint"]),
        (&json!("pump-7"), &json!("localhost:8883"))
    );
    assert_eq!(answer["caPem"], json!(api.state.issuer.certificate().pem));
    let id = CertificateId::parse(answer["certificateId"].as_str().unwrap()).unwrap();
    let arn = Account::default().certificate_arn(&id);
    assert_eq!(answer["certificateArn"], json!(arn));
    let thing = ThingName::parse("pump-7").unwrap();
    let (certificate, things, members) = api
        .state
        .read(move |tx| {
            let certificate = certificates::get(tx, &id)?;
            let things = certificates::things_of(tx, &id)?;
            Ok((certificate, things, groups::groups_of(tx, &thing)?))
        })
        .await
        .unwrap();
    assert_eq!(certificate.status, CertificateStatus::Active);
    assert_eq!(answer["certificatePem"], json!(certificate.pem));
    assert_eq!(things.iter().map(ThingName::as_str).collect::<Vec<_>>(), ["pump-7"]);
    assert_eq!(members.iter().map(GroupName::as_str).collect::<Vec<_>>(), ["Pumps"]);
}

#[tokio::test]
async fn a_token_opens_for_as_many_things_and_as_long_as_it_is_good_for() {
    let (api, enroll) = api().await;
    let ask = |thing: &str| request(TOKEN, thing, &csr(&[thing]));
    check(&enroll, request("guess", "a", &csr(&["a"])), "401 the token is not known").await;
    check(&enroll, ask("a"), "ok").await;
    check(&enroll, ask("a"), "409 thing `a` already exists").await;
    api.pass_secs(3_599);
    check(&enroll, ask("b"), "ok").await;
    check(&enroll, ask("c"), "401 the token has been used 2 times").await;
    api.pass_secs(1);
    check(&enroll, ask("c"), "401 the token expired at").await;
}

#[tokio::test]
async fn a_certificate_says_nothing_but_the_name_of_its_thing() {
    let (_api, enroll) = api().await;
    for names in [&["admin"][..], &[], &["a", "Picket"]] {
        let body = request(TOKEN, "a", &csr(names));
        check(&enroll, body, "400 the certificate signing request must have the subject `CN=a`")
            .await;
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_without_repeating_the_token() {
    let (_api, enroll) = api().await;
    let csr = csr(&["a"]);
    for (body, expected) in [
        (String::new(), "400 the body at line 1 column 0: not as it must be"),
        ("[]".to_owned(), "400 the body at"),
        ("{}".to_owned(), "400 the body at line 1 column 2: missing field `token`"),
        (format!("{{\"token\": \"{TOKEN}\", \"thingName\": 5}}"), "400 the body at"),
        (request(TOKEN, "a/b", &csr), "400 1 validation error detected: Value 'a/b'"),
        (request(TOKEN, "a", "no request"), "400 the certificate signing request cannot be signed"),
        (request(TOKEN, &"x".repeat(ENROLL_BODY_BYTES_MAX), &csr), "413 "),
    ] {
        let (_, answer) = send(&enroll, body.clone()).await;
        assert!(!answer.to_string().contains(TOKEN));
        check(&enroll, body, expected).await;
    }
}

#[tokio::test]
async fn of_many_that_come_at_once_as_many_enter_as_may() {
    let (api, enroll) = api().await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..8 {
        let enroll = enroll.clone();
        let thing = format!("pump-{n}");
        let body = request(TOKEN, &thing, &csr(&[&thing]));
        attempts.spawn(async move { send(&enroll, body).await.0 });
    }
    let mut statuses = attempts.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 401, 401, 401, 401, 401, 401]);
    let uses = api.state.read(|tx| Ok(enrollment::uses(tx, hash(TOKEN))?)).await.unwrap();
    assert_eq!(uses.len(), 2);
}

#[tokio::test]
async fn a_request_that_is_sent_again_gives_nothing_again() {
    let (api, enroll) = api().await;
    let body = request(TOKEN, "a", &csr(&["a"]));
    check(&enroll, body.clone(), "ok").await;
    check(&enroll, body, "409 thing `a` already exists").await;
    let uses = api.state.read(|tx| Ok(enrollment::uses(tx, hash(TOKEN))?)).await.unwrap();
    assert_eq!(uses.len(), 1);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_and_costs_nothing() {
    let (api, enroll) = api().await;
    for name in ["", "a/b", "$aws", "a b", "a\u{0}", "../a", "a\nb", "ä", "*", &"x".repeat(129)] {
        check(&enroll, request(TOKEN, name, &csr(&["a"])), "400 ").await;
    }
    let uses = api.state.read(|tx| Ok(enrollment::uses(tx, hash(TOKEN))?)).await.unwrap();
    assert_eq!(uses, []);
}

#[tokio::test]
async fn a_request_for_more_than_a_name_gets_no_more() {
    let (_api, enroll) = api().await;
    // A name of somebody else: what the certificate may be is not the device's say.
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "a");
    let key = KeyPair::generate().unwrap();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let (status, answer) = send(&enroll, request(TOKEN, "a", &csr)).await;
    assert_eq!(status, 200, "{answer}");
    let (_, pem) = parse_x509_pem(answer["certificatePem"].as_str().unwrap().as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert!(certificate.subject_alternative_name().unwrap().is_none());
    assert!(!certificate.is_ca());
}

#[tokio::test]
async fn a_huge_request_for_a_certificate_is_refused() {
    let (_api, enroll) = api().await;
    let pem = |n| {
        let lines = format!("{}\n", "A".repeat(64)).repeat(n);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n")
    };
    check(&enroll, request(TOKEN, "a", &pem(1_000)), "413 ").await;
    // Within the bound of the body, and nonsense.
    let nonsense = "400 the certificate signing request cannot be signed";
    check(&enroll, request(TOKEN, "a", &pem(200)), nonsense).await;
}

/// Signed as `role` or as the administrator, or not at all.
async fn tokens_as(api: &Api, signer: Option<crate::sigv4::Signer>) -> Result<Response, ApiError> {
    let request = axum::http::Request::get("/picket/enroll-tokens").header("host", "localhost");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    if let Some(signer) = signer {
        signer.sign(&mut parts, b"", "iot", api.state.now()).unwrap();
    }
    tokens(&api.state, &parts, Body::empty()).await
}

#[tokio::test]
async fn tokens_are_for_the_administrator_alone() {
    let (api, _) = api().await;
    let signer = |id: &str, secret: &str, token: Option<String>| crate::sigv4::Signer {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: token,
        region: "us-east-1".to_owned(),
    };
    let listed = tokens_as(&api, Some(signer("AKIATEST", "secret", None))).await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(listed["tokens"][0]["thingGroupName"], json!("Pumps"));
    assert!(!listed.to_string().contains(TOKEN));

    assert_eq!(tokens_as(&api, None).await.unwrap_err().kind, ErrorKind::Unsigned);
    let wrong = tokens_as(&api, Some(signer("AKIATEST", "guess", None))).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::SignatureMismatch);
    let until = api.state.now().plus_millis(60_000);
    let keys = api.state.credentials.issue("arn:aws:iam::1:role/f", "s", until).unwrap();
    let role = signer(&keys.access_key_id, &keys.secret_access_key, Some(keys.session_token));
    assert_eq!(tokens_as(&api, Some(role)).await.unwrap_err().kind, ErrorKind::Forbidden);
}
