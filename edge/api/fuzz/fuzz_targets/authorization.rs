//! Any request line, headers and body as a signed request.
//!
//! The input is a request as text: `METHOD target`, one header a line, an empty line, the body.
//! Beyond not panicking, one law: nothing is verified under a secret that nobody signed with.
#![no_main]

use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use picket_api::sigv4::{Authorization, query_parameters};
use picket_model::Timestamp;

/// 2026-11-20T10:05:00Z, the date of the requests in the corpus.
const NOW: Timestamp = Timestamp::from_secs(1_795_169_100);

fuzz_target!(|input: &str| {
    let (head, body) = input.split_once("\n\n").unwrap_or((input, ""));
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    let (parts, ()) = request.into_parts();
    let _ = query_parameters(parts.uri.query().unwrap_or_default());
    if let Ok(authorization) = Authorization::read(&parts, NOW) {
        assert!(authorization.verify(&parts, body.as_bytes(), "nobody signed with this").is_err());
    }
});
