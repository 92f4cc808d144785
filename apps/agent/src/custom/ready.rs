//! Metrics that the agent measures itself, from files of the kernel alone.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::value::Kind;
use crate::collect::lines;

/// A metric that is ready-made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// Percent of all processors' time since the report before, 0 to 100.
    CpuUsage,
    /// Percent of memory that no program could get, 0 to 100.
    MemoryUsage,
    /// The hottest sensor, in degrees Celsius.
    Temperature,
    /// Processes.
    ProcessCount,
    /// Logins that failed since the report before.
    LoginFailures,
    /// Names of the network interfaces.
    Interfaces,
}

impl Ready {
    /// What it is called unless the configuration says otherwise.
    pub const fn name(self) -> &'static str {
        match self {
            // The AWS Python agent's name for it.
            Self::CpuUsage => "cpu_usage",
            Self::MemoryUsage => "memory_usage",
            Self::Temperature => "temperature",
            Self::ProcessCount => "process_count",
            Self::LoginFailures => "login_failures",
            Self::Interfaces => "interfaces",
        }
    }

    /// What its value is.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Interfaces => Kind::StringList,
            Self::CpuUsage
            | Self::MemoryUsage
            | Self::Temperature
            | Self::ProcessCount
            | Self::LoginFailures => Kind::Number,
        }
    }
}

/// Bytes of one record of the file of failed logins: `struct utmp` of glibc, which keeps 32-bit
/// times where there is a 32-bit ABI to agree with. Source: `utmp(5)`.
const LOGIN_RECORD_BYTES: u64 = if cfg!(target_arch = "aarch64") { 400 } else { 384 };

/// Where the kernel's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/class/thermal`.
    pub thermal: PathBuf,
    /// The file of failed logins.
    pub logins: PathBuf,
}

impl Places {
    /// The usual ones; `proc` may be mounted elsewhere.
    pub fn with_proc(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            thermal: "/sys/class/thermal".into(),
            logins: "/var/log/btmp".into(),
        }
    }
}

/// Measures, and remembers what has to be compared with the time before.
#[derive(Debug)]
pub struct ReadyMeter {
    places: Places,
    cpu: Option<CpuTimes>,
    login_bytes: Option<u64>,
}

/// Time that processors spent, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

impl ReadyMeter {
    /// A meter that has measured nothing yet.
    pub fn new(places: Places) -> Self {
        Self { places, cpu: None, login_bytes: None }
    }

    /// Measures a number; `None` where it takes a time before to compare with, and there is none.
    /// [`Ready::Interfaces`] is none.
    ///
    /// # Errors
    /// A file of the kernel is not there, may not be read, or says something else.
    pub fn number(&mut self, ready: Ready) -> io::Result<Option<f64>> {
        match ready {
            Ready::CpuUsage => self.cpu_usage(),
            Ready::MemoryUsage => self.memory_usage().map(Some),
            Ready::Temperature => self.temperature().map(Some),
            Ready::ProcessCount => self.process_count().map(Some),
            Ready::LoginFailures => self.login_failures(),
            Ready::Interfaces => Ok(None),
        }
    }

    fn cpu_usage(&mut self) -> io::Result<Option<f64>> {
        let mut first = None;
        lines(&self.places.proc.join("stat"), |line| {
            first = first.or_else(|| cpu_times(line));
        })?;
        let now = first.ok_or_else(|| strange("it has no line `cpu`"))?;
        let then = self.cpu.replace(now);
        Ok(then.map(|then| {
            // After a reboot the ticks begin again, and there is nothing to compare with.
            let all = now.all.saturating_sub(then.all);
            let busy = now.busy.saturating_sub(then.busy);
            if all == 0 { 0.0 } else { tenths(100.0 * busy.min(all) as f64 / all as f64) }
        }))
    }

    fn memory_usage(&self) -> io::Result<f64> {
        let (mut total, mut available) = (None, None);
        lines(&self.places.proc.join("meminfo"), |line| {
            let field = |name| -> Option<u64> {
                let rest: &str = line.strip_prefix(name)?;
                rest.split_ascii_whitespace().next()?.parse().ok()
            };
            total = total.or_else(|| field("MemTotal:"));
            available = available.or_else(|| field("MemAvailable:"));
        })?;
        match (total, available) {
            (Some(total), Some(available)) if total > 0 => {
                Ok(tenths(100.0 * total.saturating_sub(available) as f64 / total as f64))
            }
            _ => Err(strange("it does not say what is available")),
        }
    }

    fn temperature(&self) -> io::Result<f64> {
        let mut hottest: Option<i64> = None;
        for zone in fs::read_dir(&self.places.thermal)? {
            let mut text = String::new();
            let Ok(file) = fs::File::open(zone?.path().join("temp")) else { continue };
            // A sensor that is asleep answers with an error; the others may not.
            if file.take(32).read_to_string(&mut text).is_ok()
                && let Ok(millidegrees) = text.trim().parse()
            {
                hottest = hottest.max(Some(millidegrees));
            }
        }
        let hottest = hottest.ok_or_else(|| strange("there is no sensor that answers"))?;
        Ok(tenths(hottest as f64 / 1_000.0))
    }

    fn process_count(&self) -> io::Result<f64> {
        let mut n = 0u32;
        for entry in fs::read_dir(&self.places.proc)? {
            let name = entry?.file_name();
            n += u32::from(name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        }
        Ok(f64::from(n))
    }

    /// Counts records by the size of the file, which anybody may ask for; what it holds are names
    /// that people typed, passwords by mistake among them, and is not read.
    fn login_failures(&mut self) -> io::Result<Option<f64>> {
        let now = fs::metadata(&self.places.logins)?.len();
        let then = self.login_bytes.replace(now);
        Ok(then.map(|then| {
            // A file that became smaller was begun anew.
            let grown = now.checked_sub(then).unwrap_or(now);
            (grown / LOGIN_RECORD_BYTES) as f64
        }))
    }
}

fn strange(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Rounds to one digit behind the point: what is measured is no more exact.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Reads the line of all processors: user, nice, system, idle, iowait, irq, softirq, steal, and guest
/// times, which user and nice hold already. Waiting for a disk is idle, as in every other tool.
fn cpu_times(line: &str) -> Option<CpuTimes> {
    let numbers = line.strip_prefix("cpu ")?;
    let mut numbers = numbers.split_ascii_whitespace().take(8).map(str::parse::<u64>);
    let (mut busy, mut all) = (0u64, 0u64);
    for i in 0.. {
        let Some(ticks) = numbers.next() else { break };
        let ticks = ticks.ok()?;
        all = all.saturating_add(ticks);
        if !matches!(i, 3 | 4) {
            busy = busy.saturating_add(ticks);
        }
    }
    (all > 0).then_some(CpuTimes { busy, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A meter whose files are in a folder of its own.
    fn meter(dir: &Path) -> ReadyMeter {
        let (proc, thermal) = (dir.join("proc"), dir.join("thermal"));
        fs::create_dir_all(&proc).unwrap();
        ReadyMeter::new(Places { proc, thermal, logins: dir.join("btmp") })
    }

    #[test]
    fn cpu_usage_is_of_the_time_since_the_report_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        let mut at = |stat: &str| {
            fs::write(dir.path().join("proc/stat"), stat).unwrap();
            meter.number(Ready::CpuUsage).unwrap()
        };
        assert_eq!(at("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n"), None);
        assert_eq!(at("cpu  150 0 150 1000 200 0 0 0 90 0\n"), Some(20.0));
        assert_eq!(at("cpu  150 0 150 1000 200 0 0 0 90 0\n"), Some(0.0));
        // After a reboot.
        assert_eq!(at("cpu  10 0 10 20 0 0 0 0 0 0\n"), Some(0.0));
        assert_eq!(at("cpu  20 0 10 20 0 0 0 0 0 0\n"), Some(100.0));
    }

    #[test]
    fn memory_usage_is_what_no_program_could_get() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        let text = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\n";
        fs::write(dir.path().join("proc/meminfo"), text).unwrap();
        assert_eq!(meter.number(Ready::MemoryUsage).unwrap(), Some(75.0));
    }

    #[test]
    fn the_hottest_sensor_counts_and_one_that_is_asleep_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        for (zone, text) in [("zone0", "41200\n"), ("zone1", "-5000\n"), ("zone2", "asleep")] {
            let zone = dir.path().join("thermal").join(zone);
            fs::create_dir_all(&zone).unwrap();
            fs::write(zone.join("temp"), text).unwrap();
        }
        assert_eq!(meter.number(Ready::Temperature).unwrap(), Some(41.2));
    }

    #[test]
    fn processes_are_the_folders_with_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        for name in ["1", "42", "self", "net"] {
            fs::create_dir(dir.path().join("proc").join(name)).unwrap();
        }
        assert_eq!(meter.number(Ready::ProcessCount).unwrap(), Some(2.0));
    }

    #[test]
    fn failed_logins_are_counted_over_a_rotation_of_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        let mut at = |records: usize| {
            let bytes = vec![0; records * LOGIN_RECORD_BYTES as usize];
            fs::write(dir.path().join("btmp"), bytes).unwrap();
            meter.number(Ready::LoginFailures).unwrap()
        };
        assert_eq!([at(7), at(7), at(10), at(2)], [None, Some(0.0), Some(3.0), Some(2.0)]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = meter(dir.path());
        for ready in [Ready::CpuUsage, Ready::MemoryUsage, Ready::Temperature, Ready::LoginFailures]
        {
            assert!(meter.number(ready).is_err(), "{ready:?}");
        }
        fs::write(dir.path().join("proc/stat"), "cpu a b c\n").unwrap();
        fs::write(dir.path().join("proc/meminfo"), "MemTotal: lots\n").unwrap();
        fs::create_dir(dir.path().join("thermal")).unwrap();
        for ready in [Ready::CpuUsage, Ready::MemoryUsage, Ready::Temperature] {
            assert!(meter.number(ready).is_err(), "{ready:?}");
        }
    }
}
