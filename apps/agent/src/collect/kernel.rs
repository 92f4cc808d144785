//! Asking the kernel: a netlink socket, and files of `/proc` read line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::netlink::{self as protocols, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::netlink::{self, Family, NetlinkError, Step};
use super::socket::{CLOSE, ESTABLISHED, LISTEN, Protocol, Socket};
use crate::limits::{NETLINK_BUFFER_BYTES, NETLINK_TIMEOUT, PROC_LINE_BYTES_MAX};

/// Hands every socket of a protocol that a report may speak of to `take`, by netlink.
///
/// # Errors
/// The kernel forbids it, has no such answer (a module may be missing), or falls silent.
pub(super) fn sockets(protocol: Protocol, mut take: impl FnMut(&Socket)) -> io::Result<()> {
    let states: &[u8] = match protocol {
        Protocol::Tcp => &[ESTABLISHED, LISTEN],
        Protocol::Udp => &[CLOSE],
    };
    for family in [Family::V4, Family::V6] {
        let question = netlink::ask_for_sockets(protocol, family, states);
        let answer = ask(Some(protocols::SOCK_DIAG), &question, |datagram| {
            walk(netlink::sockets(datagram, protocol), &mut take)
        });
        match answer {
            // A kernel without IPv6 has no such sockets.
            Err(error) if family == Family::V6 && is_unknown(&error) => {}
            answer => answer?,
        }
    }
    Ok(())
}

fn is_unknown(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::NOENT, rustix::io::Errno::AFNOSUPPORT]
        .iter()
        .any(|unknown| code == Some(unknown.raw_os_error()))
}

/// Hands every address of this machine to `take`, with index and name of its interface.
///
/// # Errors
/// The kernel forbids it or falls silent.
pub(super) fn addresses(mut take: impl FnMut(IpAddr, u32, &str)) -> io::Result<()> {
    let mut found = Vec::new();
    ask(None, &netlink::ask_for_addresses(), |datagram| {
        walk(netlink::addresses(datagram), |entry: &(u32, IpAddr)| found.push(*entry))
    })?;
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    for (index, ip) in found {
        // An interface may go between the two questions.
        if let Ok(name) = rustix::net::netdevice::index_to_name(&any, index) {
            take(ip, index, &name);
        }
    }
    Ok(())
}

/// Sends a question and reads its answer, datagram by datagram, until `read` says that it is over.
/// Protocol `None` is number 0, `NETLINK_ROUTE`.
fn ask(
    protocol: Option<rustix::net::Protocol>,
    question: &[u8],
    mut read: impl FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(NETLINK_TIMEOUT))?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, question, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; NETLINK_BUFFER_BYTES];
    loop {
        // With TRUNC the true length comes back, even where the buffer was too short for it.
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC)
        })?;
        let (_, len) = received;
        let Some(datagram) = buffer.get(..len) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, NetlinkError::CutShort));
        };
        if read(datagram)? {
            return Ok(());
        }
    }
}

/// Hands over the entries of a datagram; `true` when the answer is over.
fn walk<T>(
    steps: impl Iterator<Item = Result<Step<T>, NetlinkError>>,
    mut take: impl FnMut(&T),
) -> io::Result<bool> {
    for step in steps {
        match step {
            Ok(Step::Entry(entry)) => take(&entry),
            Ok(Step::Done) => return Ok(true),
            Err(NetlinkError::Refused(code)) => return Err(io::Error::from_raw_os_error(code)),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
    Ok(false)
}

/// Hands every line of a file to `take`; a line that is too long or no UTF-8 is left out.
///
/// # Errors
/// The file cannot be opened or read.
pub(crate) fn lines(file: &Path, mut take: impl FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let max = PROC_LINE_BYTES_MAX as u64;
        if reader.by_ref().take(max).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || line.len() < PROC_LINE_BYTES_MAX;
        if !is_whole {
            reader.skip_until(b'\n')?;
        } else if let Ok(line) = std::str::from_utf8(&line) {
            take(line);
        }
    }
}
