use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::service::Service::Lambda;
use crate::testing::{Api, json, pretty};

const FUNCTIONS: &str = "/2015-03-31/functions";

/// A zip that holds one small file, stored as it is.
fn zip(name: &str, text: &str) -> String {
    let crc = text.bytes().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    });
    let (name_len, len) = (u16::try_from(name.len()).unwrap(), u32::try_from(text.len()).unwrap());
    let mut common = Vec::new();
    common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x58]);
    common.extend((!crc).to_le_bytes());
    common.extend(len.to_le_bytes());
    common.extend(len.to_le_bytes());
    common.extend(name_len.to_le_bytes());
    common.extend([0, 0]);
    let mut zip = Vec::new();
    zip.write_all(b"PK\x03\x04").unwrap();
    zip.extend(&common);
    zip.extend(name.as_bytes());
    zip.extend(text.as_bytes());
    let directory_at = u32::try_from(zip.len()).unwrap();
    zip.extend(b"PK\x01\x02\x14\x03");
    zip.extend(&common);
    zip.extend([0, 0, 0, 0, 0, 0]);
    zip.extend((0o100_755_u32 << 16).to_le_bytes());
    zip.extend([0, 0, 0, 0]);
    zip.extend(name.as_bytes());
    let directory_len = u32::try_from(zip.len()).unwrap() - directory_at;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend(directory_len.to_le_bytes());
    zip.extend(directory_at.to_le_bytes());
    zip.extend([0, 0]);
    BASE64.encode(zip)
}

fn body(name: &str) -> Value {
    json!({
        "FunctionName": name,
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::123456789012:role/IsolateDevice",
        "Handler": "index.lambda_handler",
        "Timeout": 5,
        "Environment": {"Variables": {"ThingGroupName": "IsolatedDevices"}},
        "Code": {"ZipFile": zip("index.py", "def lambda_handler(event, context): pass\n")},
    })
}

async fn with_function() -> Api {
    let api = Api::new();
    json(api.rest(Lambda, &format!("POST {FUNCTIONS}"), body("IsolateDevice")).await, 201);
    api
}

async fn get(api: &Api, name: &str) -> Value {
    let line = format!("GET {FUNCTIONS}/{name}/configuration");
    json(api.rest(Lambda, &line, Value::Null).await, 200)
}

#[tokio::test]
async fn a_function_is_made_found_changed_and_deleted() {
    let api = with_function().await;
    let line = format!("GET {FUNCTIONS}/IsolateDevice");
    let mut found = json(api.rest(Lambda, &line, Value::Null).await, 200);
    found["Configuration"]["RevisionId"] = "a UUID".into();
    found["Configuration"]["Architectures"] = "this machine's".into();
    insta::assert_snapshot!(pretty(&found));

    let again = api.rest(Lambda, &format!("POST {FUNCTIONS}"), body("IsolateDevice")).await;
    assert_eq!(json(again, 409)["Message"], "Function already exist: IsolateDevice");

    let before = get(&api, "IsolateDevice").await;
    api.pass_secs(1);
    let line = format!("PUT {FUNCTIONS}/IsolateDevice/configuration");
    let change = json!({"Timeout": 9, "RevisionId": before["RevisionId"]});
    let changed = json(api.rest(Lambda, &line, change.clone()).await, 200);
    assert_eq!(changed["Timeout"], 9);
    assert_eq!(changed["Environment"], before["Environment"]);
    assert_eq!(changed["LastModified"], "2026-11-20T10:05:01.000+0000");
    json(api.rest(Lambda, &line, change).await, 412);

    let line = format!("PUT {FUNCTIONS}/IsolateDevice/code");
    let code = zip("index.py", "def lambda_handler(event, context): return 1\n");
    let tried = json!({"ZipFile": code, "DryRun": true});
    let tried = json(api.rest(Lambda, &line, tried).await, 200);
    assert_eq!(get(&api, "IsolateDevice").await["CodeSha256"], before["CodeSha256"]);
    let changed = json(api.rest(Lambda, &line, json!({"ZipFile": code})).await, 200);
    assert_eq!(changed["CodeSha256"], tried["CodeSha256"]);
    assert_ne!(changed["CodeSha256"], before["CodeSha256"]);
    assert_eq!(changed["Timeout"], 9);

    let line = format!("DELETE {FUNCTIONS}/IsolateDevice");
    assert_eq!(api.rest(Lambda, &line, Value::Null).await, (204, String::new()));
    let refusal = json(api.rest(Lambda, &line, Value::Null).await, 404);
    insta::assert_snapshot!(pretty(&refusal), @r#"
    {
      "Message": "Function not found: arn:aws:lambda:us-east-1:123456789012:function:IsolateDevice",
      "Type": "User",
      "message": "Function not found: arn:aws:lambda:us-east-1:123456789012:function:IsolateDevice"
    }
    "#);
}

#[tokio::test]
async fn a_function_is_reached_by_every_name_it_has_and_has_no_versions() {
    let api = with_function().await;
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3AIsolateDevice";
    for name in [arn, &format!("{arn}%3A%24LATEST"), "IsolateDevice?Qualifier=%24LATEST"] {
        let line = format!("GET {FUNCTIONS}/{name}");
        json(api.rest(Lambda, &line, Value::Null).await, 200);
    }
    for (name, status) in [
        ("IsolateDevice?Qualifier=1", 404),
        ("IsolateDevice%3Aprod", 404),
        ("IsolateDevice%3Aprod?Qualifier=%24LATEST", 400),
        ("999999999999%3Afunction%3AIsolateDevice", 400),
        ("a%20b", 400),
        ("..%2Fetc", 400),
    ] {
        let line = format!("GET {FUNCTIONS}/{name}");
        json(api.rest(Lambda, &line, Value::Null).await, status);
    }
    let line = format!("DELETE {FUNCTIONS}/IsolateDevice?Qualifier=%24LATEST");
    json(api.rest(Lambda, &line, Value::Null).await, 400);
}

#[tokio::test]
async fn code_that_could_not_run_makes_no_function() {
    let api = Api::new();
    let check = async |changes: Value, expected: &str| {
        let mut body = body("F");
        for (member, value) in changes.as_object().unwrap() {
            body[member] = value.clone();
        }
        let refusal = json(api.rest(Lambda, &format!("POST {FUNCTIONS}"), body).await, 400);
        let message = refusal["Message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}\nshould contain\n{expected}");
    };
    check(json!({"Code": {"ZipFile": "%%"}}), "is not base64").await;
    check(json!({"Code": {"ZipFile": "UEsDBAAA"}}), "Could not unzip uploaded file").await;
    check(json!({"Code": {"ZipFile": zip("../evil.py", "")}}), "evil.py").await;
    check(json!({"Code": {"S3Bucket": "b", "S3Key": "k"}}), "there is no S3").await;
    check(json!({"Code": {}}), "`ZipFile` is missing").await;
    check(json!({"Code": 7}), "'Code'").await;
    check(json!({"Runtime": "provided.al2023"}), "bootstrap").await;
    check(json!({"Runtime": "java21"}), "`java21` is not run here").await;
    check(json!({"Role": null}), "`Role` is missing").await;
    check(json!({"FunctionName": "a/b"}), "function name `a/b`").await;
    check(json!({"Tags": {"aws:x": "y"}}), "tag `aws:x`").await;
    json(api.rest(Lambda, &format!("GET {FUNCTIONS}/F"), Value::Null).await, 404);
}

#[tokio::test]
async fn functions_are_listed_in_pages() {
    let api = Api::new();
    for n in 0..3 {
        let line = format!("POST {FUNCTIONS}");
        json(api.rest(Lambda, &line, body(&format!("f{n}"))).await, 201);
    }
    let first =
        json(api.rest(Lambda, &format!("GET {FUNCTIONS}?MaxItems=2"), Value::Null).await, 200);
    assert_eq!(first["Functions"].as_array().unwrap().len(), 2);
    let marker = first["NextMarker"].as_str().unwrap();
    let line = format!("GET {FUNCTIONS}?MaxItems=2&Marker={marker}");
    let second = json(api.rest(Lambda, &line, Value::Null).await, 200);
    assert_eq!(second["Functions"][0]["FunctionName"], "f2");
    assert!(second.get("NextMarker").is_none());
    for wrong in ["MaxItems=0", "MaxItems=10001", "MaxItems=x", "Marker=x"] {
        json(api.rest(Lambda, &format!("GET {FUNCTIONS}?{wrong}"), Value::Null).await, 400);
    }
}

#[tokio::test]
async fn permissions_make_a_policy() {
    let api = with_function().await;
    let policy = format!("{FUNCTIONS}/IsolateDevice/policy");
    json(api.rest(Lambda, &format!("GET {policy}"), Value::Null).await, 404);
    let permission = json!({
        "StatementId": "sns",
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": "arn:aws:sns:us-east-1:123456789012:BadIoTDevices",
    });
    let line = format!("POST {policy}");
    json(api.rest(Lambda, &line, permission.clone()).await, 201);
    json(api.rest(Lambda, &line, permission.clone()).await, 409);
    let found = json(api.rest(Lambda, &format!("GET {policy}"), Value::Null).await, 200);
    let document: Value = serde_json::from_str(found["Policy"].as_str().unwrap()).unwrap();
    insta::assert_snapshot!(pretty(&document));

    for (member, value) in [
        ("StatementId", json!("a b")),
        ("StatementId", json!(null)),
        ("Action", json!("lambda:")),
        ("Action", json!("lambda:Get*")),
        ("Principal", json!("nobody")),
        ("SourceArn", json!("x")),
        ("SourceArn", json!("arn:aws:sns:us-east-1:123456789012:a\nb")),
        ("SourceAccount", json!("1")),
        ("EventSourceToken", json!("t")),
        ("FunctionUrlAuthType", json!("NONE")),
    ] {
        let mut wrong = permission.clone();
        wrong[member] = value;
        json(api.rest(Lambda, &line, wrong).await, 400);
    }
    let remove = format!("DELETE {policy}/sns");
    assert_eq!(api.rest(Lambda, &remove, Value::Null).await.0, 204);
    json(api.rest(Lambda, &remove, Value::Null).await, 404);
    let nowhere = format!("POST {FUNCTIONS}/Nowhere/policy");
    json(api.rest(Lambda, &nowhere, permission).await, 404);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_it_is_started() {
    let api = with_function().await;
    let line = format!("POST {FUNCTIONS}/IsolateDevice/invocations");
    let check = async |headers: &[(&'static str, &str)], body: &str, status: u16| {
        json(api.raw(Lambda, &line, headers, body.to_owned().into()).await, status)
    };
    for kind in ["RequestResponse", "Event"] {
        let headers = [("x-amz-invocation-type", kind)];
        let refusal = check(&headers, "{", 400).await;
        let message = refusal["Message"].as_str().unwrap();
        assert!(message.starts_with("Could not parse request body into json: "), "{message}");
        check(&headers, &"[".repeat(100_000), 400).await;
        check(&headers, &format!("\"{}\"", "x".repeat(6 * 1024 * 1024)), 413).await;
    }
    let event = [("x-amz-invocation-type", "Event")];
    check(&event, &format!("\"{}\"", "x".repeat(1024 * 1024)), 413).await;
    check(&[("x-amz-invocation-type", "Later")], "{}", 400).await;
    check(&[("x-amz-log-type", "All")], "{}", 400).await;
    check(&[("x-amz-client-context", "e30=")], "{}", 400).await;
    // There is no Python where this host looks for it.
    let refusal = check(&[], "{}", 502).await;
    let message = refusal["Message"].as_str().unwrap();
    assert!(
        message.starts_with("there is no Python to run function `IsolateDevice`: "),
        "{message}"
    );

    let dry = [("x-amz-invocation-type", "DryRun")];
    let answer = api.raw(Lambda, &line, &dry, "{}".into()).await;
    assert_eq!(answer, (204, String::new()));
    let nowhere = format!("POST {FUNCTIONS}/Nowhere/invocations");
    for kind in ["DryRun", "RequestResponse", "Event"] {
        let headers = [("x-amz-invocation-type", kind)];
        json(api.raw(Lambda, &nowhere, &headers, "{}".into()).await, 404);
    }
}
