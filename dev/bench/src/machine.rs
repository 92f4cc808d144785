//! What the figures were measured on, and what a process has used of it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The machine in one line: processor, cores, memory, kernel.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("an unnamed processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, {} GiB, Linux {}", kib / 1024 / 1024, kernel.trim())
}

/// Processor time, user and system, that a process has used so far.
///
/// # Errors
/// When the process is gone or the kernel does not tell.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses may hold blanks: fields are counted from behind it.
    let fields: Vec<_> =
        stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok());
    let used = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    // Linux counts in hundredths of a second on every architecture that Picket runs on.
    used.map(|ticks| Duration::from_millis(ticks * 10))
        .context("the kernel's figures are unreadable")
}

/// Memory of a process, in bytes: its own, and its share of what it has in common with others.
/// Buffers of sockets are the kernel's and not in it.
///
/// # Errors
/// When the process is gone or the kernel does not tell.
pub(crate) fn memory_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("process {pid} is gone"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("the kernel's figures are unreadable")?.parse()?;
    Ok(kib * 1024)
}

/// How long the disk of temporary files takes to have 4 KiB more of a file for good; the median of a
/// hundred times.
///
/// # Errors
/// When it cannot be written to.
pub(crate) fn sync_time() -> Result<Duration> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// What else the machine was doing: the average of runnable tasks over one minute, before the run.
pub(crate) fn load() -> String {
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loadavg.split(' ').next().unwrap_or_default().to_owned()
}

/// The first line that a program prints when asked for its version.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn first_line(program: &Path, option: &str) -> Result<String> {
    // mosquitto has no such option, says its version with its help, and calls that a failure.
    let output = Command::new(program)
        .arg(option)
        .output()
        .with_context(|| format!("{} cannot be started; install it", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Lets this process, and those that it starts from now on, open as many files as it may.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn raise_open_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
