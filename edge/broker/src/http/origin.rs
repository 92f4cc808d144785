//! Which web pages may use a browser's certificate here.
//!
//! A browser shows its user's certificate on whatever page asks for it. So a request that comes from
//! a page is served only if the page is this server's own or the operator named its origin. Whoever
//! is no browser sends no `Origin`, or one that is the server's. Source: RFC 6455 10.2, RFC 6454.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use super::refusal::Refusal;

/// Origins that are let in besides the server's own, as browsers write them:
/// `https://fleet.example.org`.
pub(crate) type Origins = Arc<[String]>;

/// Checks where a request says that it comes from.
///
/// # Errors
/// [`Refusal::Origin`] with what it says.
pub(super) fn check_origin(
    headers: &HeaderMap,
    is_tls: bool,
    allowed: &[String],
) -> Result<(), Refusal> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let refuse = || Refusal::Origin(String::from_utf8_lossy(origin.as_bytes()).into_owned());
    let origin = origin.to_str().map_err(|_| refuse())?;
    if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_own = origin.split_once("://").zip(host).is_some_and(|((scheme, authority), host)| {
        // A page in clear text is whoever sits on the wire. Without TLS here there may be a proxy
        // that has it.
        let is_as_safe = !is_tls || scheme.eq_ignore_ascii_case("https");
        is_as_safe && with_port(scheme, authority) == with_port(scheme, host)
    });
    if is_own { Ok(()) } else { Err(refuse()) }
}

/// A host in lower case with its port, also where that is the scheme's own.
fn with_port(scheme: &str, authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    // The colons of an IPv6 address stand in brackets.
    let has_port = port.is_some_and(|port| !port.contains(']'));
    match (has_port, scheme.eq_ignore_ascii_case("https")) {
        (true, _) => authority,
        (false, true) => format!("{authority}:443"),
        (false, false) => format!("{authority}:80"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a request with these headers is served over TLS.
    fn check(origin: &str, host: &str, expected: bool) {
        check_at(true, origin, host, expected);
    }

    fn check_at(is_tls: bool, origin: &str, host: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        headers.insert(HOST, host.parse().unwrap());
        let allowed = ["https://fleet.example.org".to_owned()];
        assert_eq!(
            check_origin(&headers, is_tls, &allowed).is_ok(),
            expected,
            "{origin} at {host}"
        );
    }

    #[test]
    fn a_page_is_the_servers_own_or_a_named_one() {
        check("https://broker:8443", "broker:8443", true);
        check("https://Broker:8443", "broker:8443", true);
        check("https://broker", "broker:443", true);
        check("https://broker:443", "broker", true);
        check("https://[::1]", "[::1]:443", true);
        check("https://fleet.example.org", "broker:8443", true);
        check("https://broker:8444", "broker:8443", false);
        check("http://broker:8443", "broker:8443", false);
        check("https://fleet.example.org.evil.example", "broker:8443", false);
        check("https://evil.example", "broker:8443", false);
        check("null", "broker:8443", false);
        check("", "broker:8443", false);
    }

    #[test]
    fn a_proxy_may_have_the_tls() {
        check_at(false, "https://broker", "broker", true);
        check_at(false, "http://broker:8080", "broker:8080", true);
        check_at(false, "https://evil.example", "broker", false);
    }

    #[test]
    fn who_is_no_browser_says_nothing_of_it() {
        assert!(check_origin(&HeaderMap::new(), true, &[]).is_ok());
    }

    #[test]
    fn an_origin_that_is_no_text_or_has_no_host_to_be_held_against_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, hyper::header::HeaderValue::from_bytes(b"https://\xff").unwrap());
        assert!(check_origin(&headers, true, &[]).is_err());
        headers.insert(ORIGIN, "https://broker".parse().unwrap());
        assert!(check_origin(&headers, true, &[]).is_err());
    }
}
