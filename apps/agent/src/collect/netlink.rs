//! Netlink messages: what is asked of the kernel and what it answers, as bytes.
//!
//! Two questions only, each one structure of the kernel's ABI: which sockets are there
//! (`sock_diag(7)`), and which address belongs to which interface (`rtnetlink(7)`). Numbers are in
//! the machine's byte order but for ports and addresses, which are in the network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::socket::{Protocol, Socket};

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// `SOCK_DIAG_BY_FAMILY`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `RTM_NEWADDR` and `RTM_GETADDR`.
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Why an answer of the kernel cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetlinkError {
    /// The kernel refuses.
    #[error("the kernel answers with error {0}")]
    Refused(i32),
    /// A message is shorter than it says or than its kind needs.
    #[error("a netlink message is cut short")]
    CutShort,
}

/// One step of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// One entry.
    Entry(T),
    /// There is nothing more to come.
    Done,
}

/// IP version of the sockets that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 through an IPv6 socket.
    V6,
}

/// The question which sockets of a protocol are in one of `states`: the kernel leaves the others
/// out, which is what makes a machine with many closing connections cheap to look at.
pub fn ask_for_sockets(protocol: Protocol, family: Family, states: &[u8]) -> Vec<u8> {
    let mask = states.iter().fold(0u32, |mask, state| mask | 1 << state);
    let mut body = vec![family_number(family), protocol_number(protocol), 0, 0];
    body.extend(mask.to_ne_bytes());
    // `struct inet_diag_sockid`: no socket in particular.
    body.extend([0; 48]);
    request(SOCK_DIAG_BY_FAMILY, &body)
}

/// The question which addresses this machine has.
pub fn ask_for_addresses() -> Vec<u8> {
    // `struct ifaddrmsg`: any family.
    request(GET_ADDRESS, &[0; 8])
}

/// Reads what `ask_for_sockets` brings.
pub fn sockets(
    datagram: &[u8],
    protocol: Protocol,
) -> impl Iterator<Item = Result<Step<Socket>, NetlinkError>> {
    entries(datagram, SOCK_DIAG_BY_FAMILY, move |body| socket(body, protocol))
}

/// Reads what `ask_for_addresses` brings: the index of an interface and an address of its.
pub fn addresses(
    datagram: &[u8],
) -> impl Iterator<Item = Result<Step<(u32, IpAddr)>, NetlinkError>> {
    entries(datagram, NEW_ADDRESS, address)
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = (HEADER_BYTES + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence number and port id: one question per socket, so there is nothing to tell apart.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Walks the messages of one datagram; `read` reads the body of those of `kind`, `None` from it
/// leaves one out. Ends behind the first error and behind the end of the answer.
fn entries<'a, T: 'a>(
    datagram: &'a [u8],
    kind: u16,
    read: impl Fn(&[u8]) -> Result<Option<T>, NetlinkError> + 'a,
) -> impl Iterator<Item = Result<Step<T>, NetlinkError>> + 'a {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let step = match message(rest) {
                Err(error) => Err(error),
                Ok((found, body, behind)) => {
                    rest = behind;
                    match found {
                        DONE => Ok(Step::Done),
                        ERROR => match number(body, 0).map(|code| code as i32) {
                            // An acknowledgement, which nobody asked for.
                            Some(0) => continue,
                            // The kernel's error numbers are negative here.
                            code => Err(NetlinkError::Refused(code.unwrap_or(0).saturating_neg())),
                        },
                        found if found == kind => match read(body) {
                            Ok(None) => continue,
                            Ok(Some(entry)) => Ok(Step::Entry(entry)),
                            Err(error) => Err(error),
                        },
                        _ => continue,
                    }
                }
            };
            if !matches!(step, Ok(Step::Entry(_))) {
                rest = &[];
            }
            return Some(step);
        }
    })
}

/// Kind and body of the first message, and what is behind it.
fn message(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), NetlinkError> {
    let len = number(bytes, 0).ok_or(NetlinkError::CutShort)? as usize;
    let kind = bytes.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    let body = bytes.get(HEADER_BYTES..len);
    let (Some(kind), Some(body)) = (kind, body) else { return Err(NetlinkError::CutShort) };
    // Messages begin at multiples of four; behind the last one nothing has to be there.
    let behind = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Ok((kind, body, behind))
}

/// Reads `struct inet_diag_msg`; `None` for a family that is not asked for.
fn socket(body: &[u8], protocol: Protocol) -> Result<Option<Socket>, NetlinkError> {
    const STRUCT_BYTES: usize = 72;
    if body.len() < STRUCT_BYTES {
        return Err(NetlinkError::CutShort);
    }
    let port = |at| u16::from_be_bytes([body[at], body[at + 1]]);
    let ip = |at| ip_address(body[0], &body[at..]);
    let (Some(local), Some(remote)) = (ip(8), ip(24)) else { return Ok(None) };
    Ok(Some(Socket {
        protocol,
        state: body[1],
        local: SocketAddr::new(local, port(4)),
        remote: SocketAddr::new(remote, port(6)),
        interface_index: number(body, 40).unwrap_or(0),
    }))
}

/// Reads `struct ifaddrmsg` and its attributes.
fn address(body: &[u8]) -> Result<Option<(u32, IpAddr)>, NetlinkError> {
    // On a link between two ends IFA_ADDRESS is the other one, and IFA_LOCAL ours.
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const STRUCT_BYTES: usize = 8;
    let (Some(index), Some(mut attributes)) = (number(body, 4), body.get(STRUCT_BYTES..)) else {
        return Err(NetlinkError::CutShort);
    };
    let (mut address, mut local) = (None, None);
    while let [l0, l1, k0, k1, ..] = *attributes {
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..len).ok_or(NetlinkError::CutShort)?;
        match u16::from_ne_bytes([k0, k1]) {
            IFA_ADDRESS => address = ip_address(body[0], value),
            IFA_LOCAL => local = ip_address(body[0], value),
            _ => {}
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(local.or(address).map(|ip| (index, ip)))
}

/// The address at the beginning of `bytes`; IPv4 in IPv6 is IPv4.
fn ip_address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => {
            let octets: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        AF_INET6 => {
            let octets: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::collect::socket::{CLOSE, ESTABLISHED, LISTEN};

    /// One message with a header.
    fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A `struct inet_diag_msg`.
    fn diag(
        family: u8,
        state: u8,
        local: (&[u8], u16),
        remote: (&[u8], u16),
        index: u32,
    ) -> Vec<u8> {
        let mut body = vec![family, state, 0, 0];
        body.extend(local.1.to_be_bytes());
        body.extend(remote.1.to_be_bytes());
        for ip in [local.0, remote.0] {
            body.extend(ip);
            body.resize(body.len() + 16 - ip.len(), 0);
        }
        body.extend(index.to_ne_bytes());
        body.resize(72, 0);
        body
    }

    fn read(datagram: &[u8]) -> Vec<Result<Step<Socket>, NetlinkError>> {
        sockets(datagram, Protocol::Tcp).collect()
    }

    /// The one socket in a message, as `local remote state interface`.
    fn check(body: &[u8], expected: &str) {
        match read(&framed(SOCK_DIAG_BY_FAMILY, body)).as_slice() {
            [Ok(Step::Entry(s))] => {
                let found = format!("{} {} {} {}", s.local, s.remote, s.state, s.interface_index);
                assert_eq!(found, expected);
            }
            other => panic!("{expected}: {other:?}"),
        }
    }

    #[test]
    fn a_socket_is_read_as_the_kernel_lays_it_out() {
        let none: (&[u8], u16) = (&[0; 4], 0);
        check(&diag(2, 10, (&[0; 4], 22), none, 0), "0.0.0.0:22 0.0.0.0:0 10 0");
        check(
            &diag(2, 1, (&[10, 0, 0, 5], 40000), (&[192, 0, 2, 7], 443), 3),
            "10.0.0.5:40000 192.0.2.7:443 1 3",
        );
        let mut loopback = [0; 16];
        loopback[15] = 1;
        check(&diag(10, 10, (&loopback, 631), (&[0; 16], 0), 0), "[::1]:631 [::]:0 10 0");
    }

    #[test]
    fn ipv4_through_an_ipv6_socket_is_ipv4() {
        let mapped = |ip: [u8; 4]| [&[0; 10][..], &[0xFF; 2], &ip].concat();
        check(
            &diag(10, 1, (&mapped([10, 0, 0, 5]), 8080), (&mapped([192, 0, 2, 7]), 9), 0),
            "10.0.0.5:8080 192.0.2.7:9 1 0",
        );
    }

    #[test]
    fn the_answer_ends_where_the_kernel_says_so() {
        let one = framed(SOCK_DIAG_BY_FAMILY, &diag(2, 10, (&[0; 4], 22), (&[0; 4], 0), 0));
        let datagram = [one.clone(), one.clone(), framed(DONE, &[0; 4]), one].concat();
        let steps = read(&datagram);
        assert_eq!(steps.len(), 3);
        assert_eq!(steps[2], Ok(Step::Done));
    }

    #[test]
    fn a_refusal_carries_its_number() {
        let refused = framed(ERROR, &(-13i32).to_ne_bytes());
        assert_eq!(read(&refused), [Err(NetlinkError::Refused(13))]);
    }

    #[test]
    fn what_is_cut_short_is_refused_and_nothing_behind_it_read() {
        let one = framed(SOCK_DIAG_BY_FAMILY, &diag(2, 10, (&[0; 4], 22), (&[0; 4], 0), 0));
        for len in 1..one.len() {
            assert_eq!(read(&one[..len]), [Err(NetlinkError::CutShort)], "{len} bytes");
        }
        let short = framed(SOCK_DIAG_BY_FAMILY, &[2; 71]);
        assert_eq!(read(&[short, one].concat()), [Err(NetlinkError::CutShort)]);
    }

    #[test]
    fn an_address_belongs_to_its_interface() {
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes
        };
        let header =
            |family: u8, index: u32| [vec![family, 24, 0, 0], index.to_ne_bytes().to_vec()];
        let ours_and_theirs =
            [header(2, 7).concat(), attribute(1, &[10, 0, 0, 2]), attribute(2, &[10, 0, 0, 1])];
        let only_one = [header(2, 1).concat(), attribute(1, &[127, 0, 0, 1])];
        for (body, expected) in
            [(ours_and_theirs.concat(), (7, "10.0.0.1")), (only_one.concat(), (1, "127.0.0.1"))]
        {
            let found: Vec<_> = addresses(&framed(NEW_ADDRESS, &body)).collect();
            let expected = (expected.0, expected.1.parse().unwrap());
            assert_eq!(found, [Ok(Step::Entry(expected))]);
        }
    }

    #[test]
    fn the_question_names_the_states() {
        let question = ask_for_sockets(Protocol::Tcp, Family::V6, &[ESTABLISHED, LISTEN]);
        assert_eq!(question.len(), 72);
        assert_eq!(number(&question, 0), Some(72));
        assert_eq!(question[16..18], [AF_INET6, 6]);
        assert_eq!(number(&question, 20), Some(1 << 1 | 1 << 10));
        let question = ask_for_sockets(Protocol::Udp, Family::V4, &[CLOSE]);
        assert_eq!(question[16..18], [AF_INET, 17]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_go_on_for_ever(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).len() <= bytes.len());
            prop_assert!(addresses(&bytes).count() <= bytes.len());
        }

        #[test]
        fn no_body_makes_the_reader_panic(kind in 0u16..30, body: Vec<u8>) {
            let datagram = framed(kind, &body);
            prop_assert!(read(&datagram).len() <= 1);
            prop_assert!(addresses(&datagram).count() <= 1);
        }
    }
}
