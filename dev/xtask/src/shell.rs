//! Running other programs: announced, timed, and with an error that names the command.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Says what happens next.
pub(crate) fn announce(what: &str) {
    println!("==> {what}");
}

/// Runs one named part of a task and says how long it took.
pub(crate) fn step<T>(what: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
    announce(what);
    let start = Instant::now();
    let result = part();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    println!("<== {what}: {verdict} in {:.0} s", start.elapsed().as_secs_f32());
    result
}

/// A command as a person would type it.
pub(crate) fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a command that speaks for itself; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", typed(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", typed(command));
    }
    Ok(())
}

/// Runs a command for what it prints to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{}`", typed(command)))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", typed(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` prints no UTF-8", typed(command)))
}

/// Runs a command, lets everything that it prints through, and keeps the lines.
pub(crate) fn tee(command: &mut Command) -> Result<(ExitStatus, Vec<String>)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", typed(command)))?;
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        pass_on(stdout, std::io::stdout(), sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pass_on(stderr, std::io::stderr(), sender);
    }
    let lines = lines.into_iter().collect();
    Ok((child.wait()?, lines))
}

fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    lines: mpsc::Sender<String>,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            // Nobody reads any more: the child must not block on a full pipe all the same.
            let _ = to.write_all(&line).and_then(|()| to.flush());
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}

/// Finds a program on the search path, and where Debian keeps servers.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
