//! Where the server is.

use std::fmt;

use thiserror::Error;

/// The port of MQTT over TLS.
const PORT_DEFAULT: u16 = 8883;

/// Longest name of a host. Source: RFC 1035, 2.3.4.
const HOST_BYTES_MAX: usize = 253;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is no endpoint: write HOST or HOST:PORT, such as `picket.example.org:8883`", .0.escape_debug())]
pub struct EndpointError(String);

impl Endpoint {
    /// Reads `HOST[:PORT]`; an IPv6 address with a port stands in brackets. The port is 8883 where
    /// none is given.
    ///
    /// # Errors
    /// The text is something else, a URL for example.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let is_address = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
            None if is_address => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_host = (1..=HOST_BYTES_MAX).contains(&host.len())
            && (host.chars().all(is_host_char) || host.parse::<std::net::Ipv6Addr>().is_ok());
        let port = port.map_or(Ok(PORT_DEFAULT), str::parse);
        match port {
            Ok(port) if port != 0 && is_host => Ok(Self { host: host.to_owned(), port }),
            _ => Err(EndpointError(text.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let found = Endpoint::parse(text).ok().map(|endpoint| endpoint.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        check("localhost", Some("localhost:8883"));
        check(
            "abc-ats.iot.us-east-1.amazonaws.com:443",
            Some("abc-ats.iot.us-east-1.amazonaws.com:443"),
        );
        check("192.0.2.7:1", Some("192.0.2.7:1"));
        check("[::1]:443", Some("[::1]:443"));
        check("[::1]", Some("[::1]:8883"));
        check("::1", Some("[::1]:8883"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[]:1",
            "https://a",
            "a/b",
            "a b",
            "a\nb",
            "mqtts://a:8883",
            "[a b]:1",
        ] {
            check(text, None);
        }
        check(&"a".repeat(254), None);
    }
}
