//! Addresses as agents write them.

use std::net::{IpAddr, SocketAddr};

/// Reads an address with its port.
///
/// IPv6 stands in brackets, or bare, as one agent writes it: then the last colon is the port's. A
/// zone is left out. An IPv4 address in IPv6 clothes, which is what the peers of a dual-stack
/// socket look like, is the IPv4 address: or it would lie in none of the ranges meant for it.
pub(crate) fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    let bare = match address.strip_prefix('[') {
        // Brackets are IPv6's.
        Some(rest) => rest.strip_suffix(']').filter(|rest| rest.contains(':'))?,
        None => address,
    };
    Some(SocketAddr::new(ip(bare)?, port))
}

/// Reads an address without a port; see [`socket`] for zones and IPv4 in IPv6.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        // Zones are IPv6's.
        Some((address, zone)) if !zone.is_empty() && address.contains(':') => address,
        Some(_) => return None,
        None => text,
    };
    address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_port_are_read_in_every_form_that_agents_send() {
        for (text, expected) in [
            ("127.0.0.1:1883", Some("127.0.0.1:1883")),
            ("[::1]:15999", Some("[::1]:15999")),
            // Without brackets the last colon is the port's.
            ("::1:15999", Some("[::1]:15999")),
            ("2001:db8::7:443", Some("[2001:db8::7]:443")),
            ("::ffff:192.0.2.1:443", Some("192.0.2.1:443")),
            ("[::ffff:192.0.2.1]:443", Some("192.0.2.1:443")),
            ("fe80::1%eth0:80", Some("[fe80::1]:80")),
            ("[fe80::1%3]:80", Some("[fe80::1]:80")),
            ("192.0.2.1:0", Some("192.0.2.1:0")),
            ("192.0.2.1:65535", Some("192.0.2.1:65535")),
            ("192.0.2.1:65536", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:+1", None),
            ("192.0.2.1:-1", None),
            ("192.0.2.1", None),
            ("::1", None),
            ("[192.0.2.1]:1", None),
            ("[::1:1", None),
            ("::1]:1", None),
            ("192.0.2.1%eth0:1", None),
            ("fe80::1%:1", None),
            ("host.example:443", None),
            (" 192.0.2.1:443", None),
            ("192.0.2.300:443", None),
            (":443", None),
            (":", None),
            ("", None),
        ] {
            let read = socket(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
