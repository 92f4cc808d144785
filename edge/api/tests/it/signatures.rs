use insta::assert_snapshot;

use crate::harness::{Call, Server};

const LINE: &str = "GET /things?maxResults=1";

/// What becomes of a call after it was signed and then changed.
async fn answer(
    server: &Server,
    line: &str,
    change: impl FnOnce(&mut Call, &mut Vec<(String, String)>),
) -> String {
    let mut call = Call::parse(line);
    let mut headers = server.signed(&call);
    change(&mut call, &mut headers);
    let answer = server.raw(&call.method, &call.target, &headers, &call.body).await;
    answer.shown()
}

fn set(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(found, _)| found != name);
    headers.push((name.to_owned(), value.to_owned()));
}

fn edit(headers: &mut [(String, String)], name: &str, from: &str, to: &str) {
    let (_, value) = headers.iter_mut().find(|(found, _)| found == name).unwrap();
    assert!(value.contains(from), "{value}");
    *value = value.replace(from, to);
}

#[tokio::test]
async fn nothing_is_answered_without_a_right_signature() {
    let server = Server::start().await;
    let mut text = String::new();
    macro_rules! case {
        ($what:literal, $line:expr, $change:expr) => {
            let answer = answer(&server, $line, $change).await;
            assert!(!answer.starts_with("200"), "{}: {answer}", $what);
            text.push_str(&format!("{}\n  {answer}\n", $what));
        };
    }
    case!("no signature", LINE, |_, headers| headers.retain(|(name, _)| name != "authorization"));
    case!("no signature, in a form", "sns:POST / Action=ListTopics", |_, headers| {
        headers.retain(|(name, _)| name != "authorization");
        set(headers, "content-type", "application/x-www-form-urlencoded");
    });
    case!("signed in the query", LINE, |call, headers| {
        headers.retain(|(name, _)| name != "authorization");
        call.target.push_str("&X-Amz-Signature=00");
    });
    case!("another scheme", LINE, |_, headers| set(headers, "authorization", "Bearer x"));
    case!("no signed headers", LINE, |_, headers| {
        edit(headers, "authorization", "SignedHeaders=", "Headers=");
    });
    case!("a short signature", LINE, |_, headers| {
        let (_, value) = headers.iter_mut().find(|(name, _)| name == "authorization").unwrap();
        value.truncate(value.len() - 2);
    });
    case!("a broken scope", LINE, |_, headers| {
        edit(headers, "authorization", "/aws4_request", "/aws5_request");
    });
    case!("no date", LINE, |_, headers| headers.retain(|(name, _)| name != "x-amz-date"));
    case!("another date", LINE, |_, headers| {
        edit(headers, "x-amz-date", "20270115T", "20270114T");
    });
    case!("another time", LINE, |_, headers| edit(headers, "x-amz-date", "T0800", "T0801"));
    case!("the host not signed", LINE, |_, headers| {
        edit(headers, "authorization", "SignedHeaders=host;", "SignedHeaders=");
    });
    case!("a header added that is not signed", LINE, |_, headers| {
        headers.push(("x-amzn-principal".to_owned(), "arn".to_owned()));
    });
    case!("another method", "POST /things/a {}", |call, _| call.method = "DELETE".to_owned());
    case!("another path", "GET /things/a", |call, _| call.target = "/things/b".to_owned());
    case!("another query", LINE, |call, _| call.target = "/things?maxResults=2".to_owned());
    case!("one more parameter", LINE, |call, _| call.target.push_str("&nextToken=x"));
    case!("another body", "POST /things/a {}", |call, _| call.body = b"{ }".to_vec());
    case!("another host", LINE, |_, headers| set(headers, "host", "elsewhere"));
    case!("another service", "GET /things", |_, headers| {
        edit(headers, "authorization", "/iot/", "/lambda/");
    });
    case!("another region", LINE, |_, headers| {
        edit(headers, "authorization", "/us-east-1/", "/eu-west-1/");
    });
    case!("an unknown key", LINE, |_, headers| {
        edit(headers, "authorization", "AKIATESTTESTTESTTEST", "AKIAOTHER");
    });
    case!("an unknown key, in a form", "sts:POST / Action=GetCallerIdentity", |_, headers| {
        edit(headers, "authorization", "AKIATESTTESTTESTTEST", "AKIAOTHER");
    });
    case!("a wrong secret, in a form", "sts:POST / Action=GetCallerIdentity", |_, headers| {
        edit(headers, "authorization", "Signature=", "Signature=00");
        let (_, value) = headers.iter_mut().find(|(name, _)| name == "authorization").unwrap();
        value.truncate(value.len() - 2);
    });
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("<RequestId>") {
            Some((before, after)) => format!("{before}<RequestId>{}", &after[36..]),
            None => line.to_owned(),
        })
        .collect();
    assert_snapshot!(text.join("\n"));
}

#[tokio::test]
async fn an_unsigned_payload_is_refused_even_if_that_is_signed() {
    let server = Server::start().await;
    let line = "POST /things/a x-amz-content-sha256=UNSIGNED-PAYLOAD {}";
    let refused = server.call(line).await.shown();
    assert!(refused.starts_with("403 InvalidSignatureException"), "{refused}");
    let right = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let line = format!("POST /things/a x-amz-content-sha256={right} {{}}");
    assert_eq!(server.call(&line).await.status, 200);
}

#[tokio::test]
async fn a_signature_is_good_for_five_minutes_each_way() {
    let server = Server::start().await;
    for (seconds, status) in [(0, 200), (300, 200), (301, 403), (-300, 200), (-301, 403)] {
        let call = Call::parse(LINE);
        let headers = server.signed(&call);
        server.advance(seconds);
        let answer = server.raw(&call.method, &call.target, &headers, b"").await;
        assert_eq!(answer.status, status, "after {seconds} s: {}", answer.shown());
        server.advance(-seconds);
    }
}

#[tokio::test]
async fn keys_for_a_while_need_their_token_and_end() {
    let server = Server::start().await;
    let role = "arn:aws:iam::123456789012:role/IsolateDevice";
    let keys = server.credentials.issue(role, "IsolateDevice", server.now() + 60_000).unwrap();
    let mut call = Call::parse(LINE);
    call.key = (keys.access_key_id.clone(), keys.secret_access_key.clone());
    let without = server.send(&call).await.shown();
    assert!(without.starts_with("403 UnrecognizedClientException"), "{without}");
    call.headers.push(("x-amz-security-token".to_owned(), keys.session_token.clone()));
    assert_eq!(server.send(&call).await.status, 200);
    server.advance(60);
    let late = server.send(&call).await.shown();
    assert!(late.starts_with("403 ExpiredTokenException"), "{late}");
}

#[tokio::test]
async fn every_region_sees_the_same_resources() {
    let server = Server::start().await;
    server.given(&["POST /things/a {}"]).await;
    let mut call = Call::parse("GET /things/a");
    call.region = "eu-central-1".to_owned();
    assert_eq!(server.send(&call).await.status, 200);
}

#[tokio::test]
async fn labels_arrive_decoded_however_they_were_encoded() {
    let server = Server::start().await;
    server.given(&["POST /things/a:b {}", "GET /things/a%3Ab", "GET /things/a%3ab"]).await;
}
