//! Where programs of this device leave values of custom metrics: a UNIX datagram socket.
//!
//! One datagram is one line of JSON, `{"queue_length": 17}`. With datagrams no sender can hold the
//! agent up by writing slowly or not at all, and the kernel bounds what waits.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use picket_model::CustomValue;
use serde_json::Value;
use thiserror::Error;

use super::metric::{CustomMetric, Source};
use super::value::{self, ValueError};
use crate::limits::{CUSTOM_VALUE_BYTES_MAX, MAILBOX_LINES_MAX};

/// Why a line is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// Too long.
    #[error("it is longer than {CUSTOM_VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// No JSON object of names and values.
    #[error("it is no JSON object of metrics and values, such as {{\"queue_length\": 17}}")]
    NoObject,
    /// Nobody configured it.
    #[error("no custom metric `{}` with `socket = true` is configured", .0.escape_debug())]
    Unknown(String),
    /// The value is none.
    #[error("the value of `{name}`: {why}")]
    Value {
        /// The metric.
        name: String,
        /// What is wrong.
        why: ValueError,
    },
}

/// The latest values that programs sent; the file of the socket goes with it.
#[derive(Debug)]
pub struct Mailbox {
    socket: UnixDatagram,
    path: PathBuf,
    values: BTreeMap<String, CustomValue>,
}

impl Mailbox {
    /// Opens the socket. A socket that a killed agent left behind is replaced; anything else there is
    /// left alone.
    ///
    /// # Errors
    /// The file is no socket, another program listens to it, or the folder is not there or not ours
    /// to write to.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if there.file_type().is_socket() => {
                if UnixDatagram::unbound()?.connect(path).is_ok() {
                    let why = "another program listens to it";
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
                }
                fs::remove_file(path)?;
            }
            Ok(_) => {
                let why = "a file that is no socket is there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = UnixDatagram::bind(path)?;
        // Members of the agent's group may send, others may not pretend.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), values: BTreeMap::new() })
    }

    /// Takes in what waits, up to [`MAILBOX_LINES_MAX`] lines; returns what was wrong with them.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&mut self, metrics: &[CustomMetric]) -> io::Result<Vec<LineError>> {
        let mut errors = Vec::new();
        // One more than is taken, to tell a long one from one that was cut.
        let mut buffer = vec![0; CUSTOM_VALUE_BYTES_MAX + 1];
        for _ in 0..MAILBOX_LINES_MAX {
            match self.socket.recv(&mut buffer) {
                Ok(n) => {
                    if let Err(error) = self.take(&buffer[..n], metrics) {
                        errors.push(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(errors),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(errors)
    }

    /// Takes one line; a later value of a metric replaces the one before.
    fn take(&mut self, line: &[u8], metrics: &[CustomMetric]) -> Result<(), LineError> {
        if line.len() > CUSTOM_VALUE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        let object: Value = serde_json::from_slice(line).map_err(|_| LineError::NoObject)?;
        let object = object.as_object().ok_or(LineError::NoObject)?;
        for (name, json) in object {
            let metric = metrics
                .iter()
                .find(|metric| metric.source == Source::Socket && metric.name.as_str() == name);
            let shown = || name.chars().take(128).collect();
            let metric = metric.ok_or_else(|| LineError::Unknown(shown()))?;
            let value = value::read(json, metric.kind)
                .map_err(|why| LineError::Value { name: shown(), why })?;
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Gives a value out, once: what nobody sends again is not measured any more.
    pub fn give(&mut self, name: &str) -> Option<CustomValue> {
        self.values.remove(name)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // If it is gone already, all the better.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use picket_model::{CustomMetricName, Number};

    use super::super::value::Kind;
    use super::*;

    fn metrics() -> Vec<CustomMetric> {
        let metric = |name: &str, kind, source| CustomMetric {
            name: CustomMetricName::parse(name).unwrap(),
            kind,
            source,
        };
        vec![
            metric("queue", Kind::Number, Source::Socket),
            metric("peers", Kind::IpAddressList, Source::Socket),
            metric("file", Kind::Number, Source::File("/run/x".into())),
        ]
    }

    /// Sends each line and says what was wrong with them, and which values are there afterwards.
    fn check(lines: &[&str], errors: &[&str], values: &[(&str, f64)]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut mailbox = Mailbox::open(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let mut found = Vec::new();
        for line in lines {
            sender.send_to(line.as_bytes(), &path).unwrap();
            found.extend(mailbox.receive(&metrics()).unwrap());
        }
        let found: Vec<String> = found.iter().map(LineError::to_string).collect();
        assert_eq!(found, errors);
        for (name, value) in values {
            let expected = CustomValue::Number(Number::new(*value).unwrap());
            assert_eq!(mailbox.give(name), Some(expected), "{name}");
            assert_eq!(mailbox.give(name), None, "a value is given out once");
        }
        assert!(mailbox.values.is_empty());
    }

    #[test]
    fn the_latest_value_counts() {
        check(&["{\"queue\": 1}\n", "{\"queue\": 17}"], &[], &[("queue", 17.0)]);
        check(&["{}"], &[], &[]);
    }

    #[test]
    fn a_line_that_cannot_be_taken_says_why() {
        let no_object =
            "it is no JSON object of metrics and values, such as {\"queue_length\": 17}";
        check(&["", "17", "[1]", "{\"queue\": "], &[no_object; 4], &[]);
        check(
            &["{\"other\": 1}", "{\"file\": 1}", "{\"queue\": \"x\"}", "{\"queue\": 2}"],
            &[
                "no custom metric `other` with `socket = true` is configured",
                "no custom metric `file` with `socket = true` is configured",
                "the value of `queue`: a number is wanted",
            ],
            &[("queue", 2.0)],
        );
        let long = format!("{{\"queue\": {}}}", "1".repeat(CUSTOM_VALUE_BYTES_MAX));
        check(&[&long], &["it is longer than 65536 bytes"], &[]);
    }

    #[test]
    fn a_flood_is_taken_in_portions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut mailbox = Mailbox::open(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Goes on for as long as somebody reads; the last one wakes it from a full queue.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sender.send_to(b"nonsense", &path).unwrap();
                }
            });
            let mut n_lines = 0;
            while n_lines <= MAILBOX_LINES_MAX {
                let taken = mailbox.receive(&metrics()).unwrap().len();
                assert!(taken <= MAILBOX_LINES_MAX);
                n_lines += taken;
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            mailbox.receive(&metrics()).unwrap();
        });
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixDatagram::bind(&path).unwrap());
        drop(Mailbox::open(&path).unwrap());
        assert!(!path.exists(), "it goes with its mailbox");
        let mailbox = Mailbox::open(&path).unwrap();
        assert!(Mailbox::open(&path).is_err(), "another agent has it");
        assert!(path.exists());
        drop(mailbox);
        fs::write(&path, "precious").unwrap();
        assert!(Mailbox::open(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
