use axum::http::Request;
use serde::Deserialize;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// When all of them were signed.
const NOW: Timestamp = Timestamp::from_secs(1_795_169_100);

/// Requests as a client signed them.
#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Vector {
    fn parts(&self) -> Parts {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verify(&self) -> Result<(), SignatureError> {
        self.verify_at(NOW)
    }

    fn verify_at(&self, now: Timestamp) -> Result<(), SignatureError> {
        let parts = self.parts();
        Authorization::read(&parts, now)?.verify(&parts, self.body.as_bytes(), SECRET)
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str::<Vectors>(include_str!("vectors.json")).unwrap().vectors
}

#[test]
fn whatever_botocore_signs_is_verified() {
    for vector in vectors() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.name);
    }
}

#[test]
fn the_example_of_the_aws_general_reference_is_verified() {
    let header = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                  SignedHeaders=host;x-amz-date, \
                  Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let vector = Vector {
        name: "get-vanilla".to_owned(),
        method: "GET".to_owned(),
        target: "/".to_owned(),
        headers: vec![
            ("host".to_owned(), "example.amazonaws.com".to_owned()),
            ("x-amz-date".to_owned(), "20150830T123600Z".to_owned()),
            ("authorization".to_owned(), header.to_owned()),
        ],
        body: String::new(),
    };
    assert_eq!(vector.verify_at(Timestamp::from_secs(1_440_938_160)), Ok(()));
}

#[test]
fn no_signed_request_can_be_changed_in_any_byte() {
    for vector in vectors() {
        let mut changed = vector.clone();
        changed.body.push(' ');
        assert!(changed.verify().is_err(), "{}: body", vector.name);
        let mut changed = vector.clone();
        changed.method = "PATCH".to_owned();
        assert!(changed.verify().is_err(), "{}: method", vector.name);
        let mut changed = vector.clone();
        changed.target.push('x');
        assert!(changed.verify().is_err(), "{}: target", vector.name);
        let is_covered = |name: &str| !matches!(name, "user-agent" | "x-amzn-trace-id");
        for n in 0..vector.headers.len() {
            let mut changed = vector.clone();
            let (name, value) = &mut changed.headers[n];
            if is_covered(&name.to_ascii_lowercase()) {
                value.push('0');
                assert!(changed.verify().is_err(), "{}: {}", vector.name, vector.headers[n].0);
            }
        }
    }
}

#[test]
fn http_2_has_its_host_in_the_request_line() {
    let mut vector = vectors().remove(1);
    vector.headers.retain(|(name, _)| name != "host");
    vector.target = format!("http://127.0.0.1:8080{}", vector.target);
    assert_eq!(vector.verify(), Ok(()));
}

#[test]
fn a_date_is_a_date() {
    assert_eq!(parse_amz_date("20150830T123600Z").unwrap().as_millis(), 1_440_938_160_000);
    for text in
        ["", "20150830", "20150230T000000Z", "20150830T250000Z", "+0150830T123600Z", "２０１５"]
    {
        assert!(parse_amz_date(text).is_none(), "{text}");
    }
}
