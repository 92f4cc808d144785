//! What a program prints, within a time and a size.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use thiserror::Error;

/// Why a program printed nothing of use.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    /// It could not be listened to.
    #[error("what it prints cannot be read")]
    Read(#[source] io::Error),
    /// It took too long, and was killed.
    #[error("it took longer than {:.1} s and was killed", .0.as_secs_f32())]
    TooLong(Duration),
    /// It printed too much, and was killed.
    #[error("it printed more than {0} bytes and was killed")]
    TooMuch(usize),
    /// It failed.
    #[error("it ended with {0}")]
    Failed(ExitStatus),
    /// It printed no UTF-8.
    #[error("it printed no UTF-8")]
    NoText,
}

/// Runs a program and returns what it printed.
///
/// It gets no input, its standard error is the agent's own, and it runs in a process group of its
/// own: when it takes too long, what it started goes with it.
///
/// # Errors
/// [`CommandError`] says what went wrong; the program has ended in every case.
pub fn run(words: &[String], timeout: Duration, bytes_max: usize) -> Result<String, CommandError> {
    let (program, arguments) = words.split_first().map_or(("", words), |(p, rest)| (p, rest));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(CommandError::Start)?;
    let deadline = Instant::now() + timeout;
    let result = listen(&mut child, deadline, timeout, bytes_max);
    // Ends what still runs in its group; a group that is gone already is no trouble. The program is
    // not waited for before, so that the number of its group cannot be another's by now.
    if let Some(group) = number_of(&child) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(CommandError::Read)?;
    let output = result?;
    if !status.success() {
        return Err(CommandError::Failed(status));
    }
    String::from_utf8(output).map_err(|_| CommandError::NoText)
}

/// Reads until the program closes its output, then gives it a moment to end.
fn listen(
    child: &mut Child,
    deadline: Instant,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, CommandError> {
    let mut output = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok(output) };
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        let n_ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, left.as_ref()))
            .map_err(|error| CommandError::Read(error.into()))?;
        if n_ready == 0 {
            return Err(CommandError::TooLong(timeout));
        }
        match stdout.read(&mut chunk).map_err(CommandError::Read)? {
            0 => break,
            n => output.extend(&chunk[..n]),
        }
        if output.len() > bytes_max {
            return Err(CommandError::TooMuch(bytes_max));
        }
    }
    loop {
        if has_ended(child).map_err(CommandError::Read)? {
            return Ok(output);
        }
        if Instant::now() >= deadline {
            return Err(CommandError::TooLong(timeout));
        }
        // Between closing its output and its end a program does little else.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the program is through; its exit status is still there to be waited for.
fn has_ended(child: &Child) -> io::Result<bool> {
    let Some(number) = number_of(child) else { return Ok(true) };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(rustix::process::waitid(WaitId::Pid(number), look)?.is_some())
}

fn number_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, timeout: Duration) -> Result<String, CommandError> {
        run(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], timeout, 1_000)
    }

    #[test]
    fn what_a_program_prints_comes_back() {
        assert_eq!(sh("echo 12; echo x >&2", LONG).unwrap(), "12\n");
        assert_eq!(sh(":", LONG).unwrap(), "");
        assert_eq!(sh("cat", LONG).unwrap(), "", "there is no input");
    }

    #[test]
    fn a_program_that_fails_has_no_value() {
        assert!(matches!(sh("echo 12; exit 3", LONG), Err(CommandError::Failed(_))));
        assert!(matches!(sh("kill -9 $$", LONG), Err(CommandError::Failed(_))));
        let nowhere = run(&["/no/such/program".to_owned()], LONG, 9);
        assert!(matches!(nowhere, Err(CommandError::Start(_))));
        assert!(matches!(run(&[], LONG, 9), Err(CommandError::Start(_))));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let soon = Duration::from_millis(50);
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script =
            format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; sleep 1000", pids.display());
        // Long enough to write its numbers, short enough to be waited for: tried until it was.
        let numbers = (1..).find_map(|attempt| {
            assert!(matches!(sh(&script, soon * attempt), Err(CommandError::TooLong(_))));
            let text = std::fs::read_to_string(&pids).unwrap_or_default();
            let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            (numbers.len() == 2).then_some(numbers)
        });
        let deadline = Instant::now() + LONG;
        for number in numbers.unwrap() {
            // It is gone, or waits for its new parent to look: a zombie has no command line.
            let lives = || {
                let command_line = std::fs::read(format!("/proc/{number}/cmdline"));
                !command_line.unwrap_or_default().is_empty()
            };
            while lives() {
                assert!(Instant::now() < deadline, "process {number} lives");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_program_that_prints_without_end_is_killed() {
        assert!(matches!(sh("yes", LONG), Err(CommandError::TooMuch(1_000))));
    }

    #[test]
    fn a_program_that_prints_no_text_has_no_value() {
        assert!(matches!(sh(r"printf '\377'", LONG), Err(CommandError::NoText)));
    }
}
