//! What `/proc` says about the processes of functions.
//!
//! Where there is no `/proc` (other systems than Linux) everything here comes out empty: memory
//! limits are then not kept, and leftovers of a killed server are not found.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;

/// Memory that a process and its descendants hold, in bytes.
///
/// Resident pages are added up first, which counts shared ones for each process; only when that is
/// over `allowed_bytes` the exact share of each is asked for, which is dear.
pub(super) fn memory_bytes(root: Pid, allowed_bytes: u64) -> u64 {
    let family = family(root);
    let resident = family.iter().filter_map(|&pid| resident_bytes(pid)).sum();
    if resident <= allowed_bytes || family.len() == 1 {
        return resident;
    }
    family.iter().filter_map(|&pid| proportional_bytes(pid).or_else(|| resident_bytes(pid))).sum()
}

/// A process and its living descendants.
fn family(root: Pid) -> Vec<Pid> {
    // A process that forks without end is found by its memory; the walk must end before that.
    const FAMILY_MAX: usize = 1_000;
    let mut family = vec![root];
    let mut seen = 0;
    while seen < family.len() && family.len() < FAMILY_MAX {
        let task = format!("/proc/{}/task", family[seen].as_raw_nonzero());
        seen += 1;
        // Children hang on the thread that forked them.
        let threads = fs::read_dir(task).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
            );
        }
    }
    family
}

fn resident_bytes(pid: Pid) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn proportional_bytes(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Processes whose home folder is `folder` or lies below it, by the environment that they were
/// started with.
///
/// That finds also what left its process group or lost its parent. It reads the environment of
/// every process on the machine that it may read: some milliseconds.
pub(super) fn living_in(folder: &Path) -> Vec<Pid> {
    let myself = rustix::process::getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let environ = fs::read(entry.path().join("environ")).ok()?;
            (pid != myself && is_home(&environ, folder)).then_some(pid)
        })
        .collect()
}

fn is_home(environ: &[u8], folder: &Path) -> bool {
    environ
        .split(|&byte| byte == 0)
        .filter_map(|variable| {
            variable.strip_prefix(b"HOME=").or_else(|| variable.strip_prefix(b"TMPDIR="))
        })
        .filter_map(|home| home.strip_prefix(folder.as_os_str().as_bytes()))
        .any(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The user whose socket a TCP connection over loopback comes from; `None` if it is not found.
///
/// Reads the list of all connections of the machine: a millisecond for each few thousand.
pub(super) fn connection_owner(client: SocketAddrV4, server: SocketAddrV4) -> Option<u32> {
    // A client may use a socket of IPv6 for an address of IPv4.
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| owner_in(line, client, server))
    })
}

fn owner_in(line: &str, client: SocketAddrV4, server: SocketAddrV4) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (columns.next()?, columns.next()?);
    // State, queues, timer, retransmissions.
    let owner = columns.nth(4)?;
    (is_address(local, client) && is_address(remote, server)).then(|| owner.parse().ok())?
}

/// Whether a column holds an address: its bytes as a number of this machine, in hex; those of IPv6
/// have more digits before.
fn is_address(column: &str, address: SocketAddrV4) -> bool {
    let number = u32::from_ne_bytes(address.ip().octets());
    column.ends_with(&format!("{number:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_belongs_to_who_made_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = v4(listener.local_addr().unwrap());
        let stream = TcpStream::connect(server).unwrap();
        let client = v4(stream.local_addr().unwrap());
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(connection_owner(client, server), Some(me));
        // The same socket seen from the other side is not a client's.
        let nobody = SocketAddrV4::new(*client.ip(), 1);
        assert_eq!(connection_owner(nobody, server), None);
    }

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    #[test]
    fn a_home_below_the_folder_counts_and_a_longer_name_does_not() {
        let folder = Path::new("/data/scratch");
        assert!(is_home(b"A=1\0HOME=/data/scratch/7f\0", folder));
        assert!(is_home(b"HOME=/data/scratch", folder));
        assert!(is_home(b"TMPDIR=/data/scratch/7f\0", folder));
        assert!(!is_home(b"HOME=/data/scratches\0", folder));
        assert!(!is_home(b"OLD_HOME=/data/scratch/7f\0", folder));
        assert!(!is_home(b"", folder));
    }

    #[test]
    fn this_process_holds_memory() {
        let myself = rustix::process::getpid();
        assert!(memory_bytes(myself, u64::MAX) > 1024 * 1024);
        assert!(memory_bytes(myself, 0) > 0);
    }
}
