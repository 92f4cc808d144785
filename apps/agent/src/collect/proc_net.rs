//! The text files below `/proc/net`, line by line.
//!
//! `tcp`, `tcp6`, `udp` and `udp6` say what netlink says, at several times the cost; they are there
//! where netlink is forbidden and where the `/proc` of another machine is mounted. `dev` has the
//! counters of the interfaces. Source: `proc_pid_net(5)`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::interface::Counters;
use super::socket::{Protocol, Socket};

/// Reads a line of `tcp`, `tcp6`, `udp` or `udp6`; `None` for the heading and what is no such line.
pub fn socket(line: &str, protocol: Protocol) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace();
    let _number = words.next()?.strip_suffix(':')?;
    let local = socket_address(words.next()?)?;
    let remote = socket_address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    Some(Socket { protocol, state, local, remote, interface_index: 0 })
}

/// Reads a line of `dev`: an interface and its counters; `None` for the headings.
pub fn interface(line: &str) -> Option<(&str, Counters)> {
    // The name may hold a colon, as in `eth0:1`, the numbers do not.
    let (name, numbers) = line.rsplit_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = |skip: usize| numbers.nth(skip)?.ok();
    let counters = Counters {
        bytes_in: next(0)?,
        packets_in: next(0)?,
        bytes_out: next(6)?,
        packets_out: next(0)?,
    };
    Some((name.trim(), counters))
}

/// Reads `0100007F:1F90`: the address as numbers of 32 bits in the machine's order, in hex.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (i, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(8 * i)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a line of a socket table says, as `local remote state`.
    fn check(line: &str, expected: Option<&str>) {
        let found = socket(line, Protocol::Tcp);
        let found = found.map(|s| format!("{} {} {}", s.local, s.remote, s.state));
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_is_a_socket() {
        check(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0",
            Some("127.0.0.1:8080 0.0.0.0:0 10"),
        );
        check("  17: 0500000A:9C40 070200C0:01BB 01 0:0", Some("10.0.0.5:40000 192.0.2.7:443 1"));
        check(
            "   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A",
            Some("[::1]:631 [::]:0 10"),
        );
        check(
            "   1: 0000000000000000FFFF00000500000A:0277 0000000000000000FFFF0000070200C0:0001 01",
            Some("10.0.0.5:631 192.0.2.7:1 1"),
        );
    }

    #[test]
    fn what_is_no_socket_is_left_out() {
        for line in [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid",
            "",
            "0:",
            "0: 0100007F 00000000:0000 0A",
            "0: 0100007F:1F90 00000000:0000",
            "0: 0100007F:1F90 00000000:0000 XX",
            "0: 0100007:1F90 00000000:0000 0A",
            "0: éééé:1F90 00000000:0000 0A",
            "0: 0100007F:11F90 00000000:0000 0A",
        ] {
            check(line, None);
        }
    }

    #[test]
    fn a_line_is_an_interface() {
        for (line, expected) in [
            (
                "  eth0: 1730486463   58411    0    0    0     0          0         0  4107051   38510    0    0    0     0       0          0",
                Some(("eth0", [1_730_486_463, 58_411, 4_107_051, 38_510])),
            ),
            ("lo:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", Some(("lo", [1, 2, 9, 10]))),
            ("eth0:1: 1 2 3 4 5 6 7 8 9 10", Some(("eth0:1", [1, 2, 9, 10]))),
            ("eth0: 1 2 3 4 5 6 7 8 9", None),
            ("eth0: 1 2 3 4 5 6 7 8 -9 10", None),
            ("Inter-|   Receive                            |  Transmit", None),
            (" face |bytes    packets errs drop fifo frame compressed multicast|bytes", None),
            ("", None),
        ] {
            let found = interface(line)
                .map(|(name, c)| (name, [c.bytes_in, c.packets_in, c.bytes_out, c.packets_out]));
            assert_eq!(found, expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_readers_panic(line: String) {
            let _ = socket(&line, Protocol::Udp);
            let _ = interface(&line);
        }

        #[test]
        fn an_address_is_read_back(ip: IpAddr, port: u16) {
            let words = |octets: &[u8]| octets
                .chunks_exact(4)
                .map(|w| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]])))
                .collect::<String>();
            let hex = match ip {
                IpAddr::V4(ip) => words(&ip.octets()),
                IpAddr::V6(ip) => words(&ip.octets()),
            };
            let expected = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(socket_address(&format!("{hex}:{port:04X}")), Some(expected));
        }
    }
}
