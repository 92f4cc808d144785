use insta::assert_snapshot;
use serde_json::json;

use crate::harness::{DEVICE_ARN, DEVICE_ID, DEVICE_PEM, Server};

#[tokio::test]
async fn keys_and_a_certificate_are_made_and_the_key_given_once() {
    let server = Server::start().await;
    let made = server.call("POST /keys-and-certificate?setAsActive=true").await.json();
    let id = made["certificateId"].as_str().unwrap();
    assert_eq!(made["certificateArn"], format!("arn:aws:iot:us-east-1:123456789012:cert/{id}"));
    let key = made["keyPair"]["PrivateKey"].as_str().unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"));

    let described = server.call(&format!("GET /certificates/{id}")).await;
    assert!(!String::from_utf8_lossy(&described.body).contains("PRIVATE KEY"));
    let described = &described.json()["certificateDescription"];
    assert_eq!(described["status"], "ACTIVE");
    assert_eq!(described["certificatePem"], made["certificatePem"]);
    // 2049-12-31T23:59:59Z
    assert_eq!(described["validity"]["notAfter"], 2_524_607_999.0);

    let inactive = server.call("POST /keys-and-certificate").await.json();
    let id = inactive["certificateId"].as_str().unwrap();
    let described = server.call(&format!("GET /certificates/{id}")).await.json();
    assert_eq!(described["certificateDescription"]["status"], "INACTIVE");
}

#[tokio::test]
async fn a_certificate_made_elsewhere_is_registered_once_and_goes_when_nothing_holds_it() {
    let server = Server::start().await;
    let register = json!({ "certificatePem": DEVICE_PEM, "status": "ACTIVE" });
    let register = format!("POST /certificate/register-no-ca {register}");
    let policy = r#"{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}}"}"#;
    server.given(&[&format!("POST /policies/P {policy}"), "POST /things/a {}", &register]).await;
    let id = DEVICE_ID;
    let transcript = server
        .transcript(&[
            &register,
            &format!("GET /certificates/{id}"),
            &format!("PUT /things/a/principals x-amzn-principal={DEVICE_ARN}"),
            &format!(r#"PUT /target-policies/P {{"target":"{DEVICE_ARN}"}}"#),
            &format!("DELETE /certificates/{id}"),
            &format!("PUT /certificates/{id}?newStatus=INACTIVE"),
            &format!("PUT /certificates/{id}?newStatus=PENDING_TRANSFER"),
            &format!("PUT /certificates/{id}?newStatus=GONE"),
            &format!("PUT /certificates/{id}"),
            &format!("DELETE /certificates/{id}?forceDelete=true"),
            &format!("DELETE /things/a/principals x-amzn-principal={DEVICE_ARN}"),
            &format!("DELETE /certificates/{id}"),
            &format!("DELETE /certificates/{id}?forceDelete=true"),
            &format!("DELETE /certificates/{id}"),
            "GET /certificates/abc",
            "GET /certificates",
        ])
        .await;
    assert_snapshot!(transcript.replace(&register, "[register]").replace(id, "[id]"));
}

#[tokio::test]
async fn what_is_no_usable_certificate_is_refused() {
    let server = Server::start().await;
    let old = json!({ "certificatePem": DEVICE_PEM });
    let transcript = server
        .transcript(&[
            r#"POST /certificate/register-no-ca {"certificatePem":"nonsense"}"#,
            r#"POST /certificate/register-no-ca {"certificatePem":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}"#,
            "POST /certificate/register-no-ca {}",
            r#"POST /certificate/register-no-ca {"certificatePem":"x","status":"PENDING_ACTIVATION"}"#,
            r#"POST /certificates {"certificateSigningRequest":"nonsense"}"#,
        ])
        .await;
    assert_snapshot!(transcript);
    // Out of its time.
    server.advance(30 * 365 * 24 * 3600);
    let answer = server.call(&format!("POST /certificate/register-no-ca {old}")).await.shown();
    assert!(answer.starts_with("400 CertificateValidationException"), "{answer}");
    assert!(answer.contains("the certificate is valid from "), "{answer}");
}

#[tokio::test]
async fn certificates_are_listed_newest_first_unless_told_otherwise() {
    let server = Server::start().await;
    server.given_device_certificate().await;
    server.advance(1);
    let newer = server.call("POST /keys-and-certificate").await.json();
    let list = |answer: serde_json::Value| -> Vec<String> {
        let list = answer["certificates"].as_array().unwrap();
        list.iter().map(|it| it["certificateId"].as_str().unwrap().to_owned()).collect()
    };
    let newer = newer["certificateId"].as_str().unwrap();
    let all = list(server.call("GET /certificates").await.json());
    assert_eq!(all, [newer, DEVICE_ID]);
    let first = server.call("GET /certificates?isAscendingOrder=true&pageSize=1").await.json();
    let marker = first["nextMarker"].as_str().unwrap().to_owned();
    assert_eq!(list(first), [DEVICE_ID]);
    let line = format!("GET /certificates?isAscendingOrder=true&pageSize=1&marker={marker}");
    let second = server.call(&line).await.json();
    assert!(second["nextMarker"].is_null());
    assert_eq!(list(second), [newer]);
}

#[tokio::test]
async fn a_certificate_is_attached_to_things_for_itself_alone_or_for_many() {
    let server = Server::start().await;
    server.given(&["POST /things/a {}", "POST /things/b {}"]).await;
    server.given_device_certificate().await;
    let arn = DEVICE_ARN;
    let unknown = DEVICE_ARN.replace(DEVICE_ID, &"0".repeat(64));
    let transcript = server
        .transcript(&[
            &format!("PUT /things/a/principals x-amzn-principal={arn}"),
            &format!("PUT /things/a/principals x-amzn-principal={arn}"),
            &format!("PUT /things/b/principals?thingPrincipalType=EXCLUSIVE_THING x-amzn-principal={arn}"),
            &format!("PUT /things/b/principals?thingPrincipalType=NON_EXCLUSIVE_THING x-amzn-principal={arn}"),
            &format!("PUT /things/b/principals?thingPrincipalType=MINE x-amzn-principal={arn}"),
            "GET /things/a/principals",
            "GET /things/a/principals-v2",
            "GET /things/a/principals-v2?thingPrincipalType=EXCLUSIVE_THING",
            &format!("GET /principals/things x-amzn-principal={arn}"),
            &format!("GET /principals/things?maxResults=1 x-amzn-principal={arn}"),
            &format!("GET /principals/things-v2 x-amzn-principal={arn}"),
            "DELETE /things/a",
            &format!("DELETE /things/a/principals x-amzn-principal={arn}"),
            &format!("DELETE /things/a/principals x-amzn-principal={arn}"),
            "DELETE /things/a",
            &format!("PUT /things/b/principals?thingPrincipalType=EXCLUSIVE_THING x-amzn-principal={arn}"),
            "GET /things/b/principals-v2",
            "PUT /things/b/principals",
            "PUT /things/b/principals x-amzn-principal=me",
            &format!("PUT /things/b/principals x-amzn-principal={unknown}"),
            &format!("PUT /things/c/principals x-amzn-principal={arn}"),
            "GET /things/c/principals",
            &format!("GET /principals/things x-amzn-principal={unknown}"),
        ])
        .await;
    assert_snapshot!(transcript.replace(DEVICE_ID, "[id]"));
}
