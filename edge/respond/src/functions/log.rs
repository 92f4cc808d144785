//! A function's log: what its processes write to stdout and stderr, and what the host adds.
//!
//! One file for a function, one older file beside it. Every line starts with the time and eight
//! digits that name the process, so that nothing a function prints can pass for a line of another
//! process.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::limits::{
    LOG_FILE_BYTES_MAX, LOG_INVOCATION_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_TAIL_BYTES_MAX,
};
use crate::ports::Clock;

/// The log of one function, shared by its processes.
///
/// Writing is not allowed to fail: a full disk must not stop a function that isolates a device. A
/// line that cannot be written is counted, and the log says how many are missing when it can be
/// written again.
pub(super) struct FunctionLog {
    path: PathBuf,
    clock: Clock,
    file_bytes_max: u64,
    state: Mutex<LogFile>,
}

#[derive(Default)]
struct LogFile {
    file: Option<File>,
    bytes: u64,
    lines_missing: u64,
}

impl FunctionLog {
    /// Makes the log that lies at `path`; the file is opened with the first line.
    pub(super) fn new(path: PathBuf, clock: Clock) -> Self {
        Self { path, clock, file_bytes_max: LOG_FILE_BYTES_MAX, state: Mutex::default() }
    }

    /// Appends a line of process `process`. The line must be clean: see [`LineBuffer`].
    pub(super) fn write(&self, process: &str, line: &str) {
        let at = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(line.len() + 64);
        if state.lines_missing > 0 {
            let missing = state.lines_missing;
            let _ = writeln!(text, "{at} {process} [{missing} lines could not be written]");
        }
        let _ = writeln!(text, "{at} {process} {line}");
        match state.append(&self.path, self.file_bytes_max, text.as_bytes()) {
            Ok(()) => state.lines_missing = 0,
            Err(error) => {
                // Said once, not for each line of a disk that stays full.
                if state.lines_missing == 0 {
                    tracing::warn!(%error, "cannot write the log {}", self.path.display());
                }
                state.lines_missing += 1;
                state.file = None;
            }
        }
    }
}

impl LogFile {
    fn append(&mut self, path: &Path, bytes_max: u64, text: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.bytes + text.len() as u64 > bytes_max {
            self.file = None;
            fs::rename(path, older(path))?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                self.bytes = file.metadata()?.len();
                none.insert(file)
            }
        };
        file.write_all(text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// Where the part of a log goes that is rotated out.
fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// What one invocation has written so far.
#[derive(Default)]
pub(super) struct InvocationLog {
    bytes: u64,
    lines_dropped: u64,
    tail: VecDeque<u8>,
}

impl InvocationLog {
    /// Takes a line of the function, and says whether it still is to be written.
    pub(super) fn admit(&mut self, line: &str) -> bool {
        if self.bytes + line.len() as u64 > LOG_INVOCATION_BYTES_MAX {
            self.lines_dropped += 1;
            return false;
        }
        self.bytes += line.len() as u64 + 1;
        self.append_tail(line);
        true
    }

    /// Takes a line of the host, which is always written.
    pub(super) fn append_tail(&mut self, line: &str) {
        self.tail.extend(line.as_bytes());
        self.tail.push_back(b'\n');
        let excess = self.tail.len().saturating_sub(LOG_TAIL_BYTES_MAX);
        self.tail.drain(..excess);
    }

    /// What to say about lines that were not written, if it has not been said yet.
    pub(super) fn take_dropped(&mut self) -> Option<String> {
        let dropped = std::mem::take(&mut self.lines_dropped);
        (dropped > 0).then(|| {
            format!(
                "[{dropped} more lines were dropped: one invocation may write {} KiB]",
                LOG_INVOCATION_BYTES_MAX / 1024
            )
        })
    }

    /// The last bytes written, starting at a character's start.
    pub(super) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let start = bytes.iter().position(|byte| byte & 0xC0 != 0x80).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }
}

/// Cuts what a process writes into clean lines.
///
/// A line ends with a line feed or a carriage return (AWS's Python runtime joins the lines of a
/// traceback with the latter); empty lines are left out. Other control characters and those that
/// turn the direction of writing are escaped, bytes that are not UTF-8 replaced.
#[derive(Default)]
pub(super) struct LineBuffer {
    line: Vec<u8>,
}

impl LineBuffer {
    /// Takes bytes and hands every line that they complete to `each`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            self.extend(&bytes[..end], &mut each);
            self.finish(&mut each);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, &mut each);
    }

    fn finish(&mut self, each: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            each(&clean(&self.line));
            self.line.clear();
        }
    }

    fn extend(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&str)) {
        while self.line.len() + bytes.len() > LOG_LINE_BYTES_MAX {
            let (fitting, rest) = bytes.split_at(LOG_LINE_BYTES_MAX - self.line.len());
            self.line.extend_from_slice(fitting);
            // A character must not be cut in two: its start waits for the rest.
            let cut = whole_characters(&self.line);
            let started = self.line.split_off(cut);
            self.finish(each);
            self.line = started;
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
    }
}

/// How many bytes of a text that was cut anywhere hold whole characters.
fn whole_characters(text: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0xC0 == 0x80;
    let tail = text.iter().rev().take(3).take_while(|&&byte| is_continuation(byte)).count();
    let Some(start) = text.len().checked_sub(tail + 1) else { return text.len() };
    let len = match text[start] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    if start > 0 && start + len > text.len() { start } else { text.len() }
}

fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let turns = |c: char| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => clean.push(c),
            _ if c.is_control() || turns(c) => clean.extend(c.escape_unicode()),
            _ => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_model::Timestamp;

    use super::*;

    /// The lines that come out of `parts`, joined by `|`.
    fn lines(parts: &[&[u8]]) -> String {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for part in parts {
            buffer.push(part, |line| lines.push(line.to_owned()));
        }
        buffer.push(b"\n", |line| lines.push(line.to_owned()));
        lines.join("|")
    }

    #[track_caller]
    fn check(parts: &[&[u8]], expected: &str) {
        assert_eq!(lines(parts), expected);
    }

    #[test]
    fn a_line_may_come_in_parts() {
        check(&[b"one\ntw", b"o\nthree"], "one|two|three");
        check(&[b"", b"\n\n", b"x\n"], "x");
    }

    #[test]
    fn a_traceback_joined_by_carriage_returns_is_lines_again() {
        check(
            &[b"Traceback:\r  File \"index.py\"\r\nKeyError"],
            "Traceback:|  File \"index.py\"|KeyError",
        );
    }

    #[test]
    fn control_characters_are_escaped_and_tabs_stay() {
        check(&[b"a\x1b[31mred\x00\tb"], "a\\u{1b}[31mred\\u{0}\tb");
        check(&["x\u{202E}y\u{85}z".as_bytes()], "x\\u{202e}y\\u{85}z");
        check(&[b"\xff\xfe"], "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_character_that_comes_in_two_parts_is_one() {
        check(&[b"\xc3", b"\xa4\n"], "ä");
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let long = "ä".repeat(LOG_LINE_BYTES_MAX);
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        buffer.push(b"x", |_| ());
        buffer.push(long.as_bytes(), |line| lines.push(line.to_owned()));
        buffer.push(b"\n", |line| lines.push(line.to_owned()));
        assert_eq!(lines.concat(), format!("x{long}"));
        assert!(lines.iter().all(|line| line.len() <= LOG_LINE_BYTES_MAX));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_cutting() {
        let long = vec![0x80; 3 * LOG_LINE_BYTES_MAX];
        assert!(lines(&[&long]).chars().all(|c| c == '\u{fffd}' || c == '|'));
    }

    #[test]
    fn the_tail_is_the_last_four_kilobytes() {
        let mut log = InvocationLog::default();
        for number in 0..1_000 {
            assert!(log.admit(&format!("ä line {number}")));
        }
        let tail = log.tail();
        assert!(tail.len() <= LOG_TAIL_BYTES_MAX && tail.len() > LOG_TAIL_BYTES_MAX - 4);
        assert!(tail.ends_with("ä line 999\n"), "{tail}");
    }

    #[test]
    fn an_invocation_that_writes_too_much_is_told_so() {
        let mut log = InvocationLog::default();
        let line = "x".repeat(1023);
        let written = (0..2_000).filter(|_| log.admit(&line)).count();
        assert_eq!(written, 1024);
        assert_eq!(
            log.take_dropped().unwrap(),
            "[976 more lines were dropped: one invocation may write 1024 KiB]"
        );
        assert_eq!(log.take_dropped(), None);
    }

    #[test]
    fn a_log_keeps_one_older_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f/log");
        let clock: Clock = Arc::new(|| Timestamp::EPOCH);
        let mut log = FunctionLog::new(path.clone(), clock);
        log.file_bytes_max = 100;
        for number in 0..10 {
            log.write("7f7f7f7f", &format!("line {number}"));
        }
        let newer = fs::read_to_string(&path).unwrap();
        let old = fs::read_to_string(older(&path)).unwrap();
        assert!(newer.len() <= 100 && old.len() <= 100);
        assert!(newer.ends_with("1970-01-01T00:00:00.000Z 7f7f7f7f line 9\n"), "{newer}");
        assert_eq!(old.lines().count() + newer.lines().count(), 4);
    }
}
