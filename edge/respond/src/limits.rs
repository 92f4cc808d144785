//! Every bound of this crate on what comes from outside, with the reason for the number.
//!
//! What AWS's quotas say about functions as such is in [`picket_model::limits`].

use std::time::Duration;

/// Path depth of a file in a function's zip: a package tree is ten deep, a loop has no end.
pub const ZIP_PATH_DEPTH_MAX: usize = 64;

/// Longest path of a file in a function's zip, in bytes: below PATH_MAX with room for the folder
/// that it is unpacked into.
pub const ZIP_PATH_BYTES_MAX: usize = 1024;

/// Unpacked bytes for each packed byte, once a zip unpacks to more than
/// [`ZIP_RATIO_APPLIES_FROM_BYTES`]. Source code packs 3 to 6 times, logs 20 times, a bomb
/// 1,000 times.
pub const ZIP_RATIO_MAX: u64 = 200;

/// Below this many unpacked bytes the ratio says nothing: a file of blanks is no bomb.
pub const ZIP_RATIO_APPLIES_FROM_BYTES: u64 = 10 * 1024 * 1024;

/// Largest request head that a function's process may send to its Runtime API: the runtime clients
/// put up to 1 MB of error cause into a header.
pub const RUNTIME_API_HEAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Connections that a function's process may hold to its Runtime API. Clients use one or two.
pub const RUNTIME_API_CONNECTIONS_MAX: usize = 16;

/// Bytes of an answer that is too large which are read and thrown away so that its sender hears of
/// it; after that the connection is closed.
pub const RUNTIME_API_DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest line of a function's log, in bytes; a longer one is written as several.
/// A quarter of CloudWatch's event.
pub const LOG_LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that one invocation may write to its function's log; the rest is counted and dropped, so
/// that one invocation cannot push all others out of the log.
pub const LOG_INVOCATION_BYTES_MAX: u64 = 1024 * 1024;

/// Size at which a function's log is rotated; one older file is kept.
pub const LOG_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Log bytes given back with an answer. Source: aws lambda Invoke, `LogType` (4 KB).
pub const LOG_TAIL_BYTES_MAX: usize = 4 * 1024;

/// Callers that may wait for a process of one function.
pub const INVOCATIONS_WAITING_MAX: usize = 1_000;

/// Events accepted for later (invocation type `Event`) and not done yet, all functions together.
pub const EVENTS_WAITING_MAX: usize = 1_000;

/// Mitigation tasks that take turns. More wait for one to end: each holds violations in memory, and
/// with more of them every one would only be slower.
pub const MITIGATION_TASKS_AT_ONCE: usize = 16;

/// Violations of one task that are read together: one look at the store for many, and a kilobyte
/// each at the most.
pub const VIOLATIONS_AT_ONCE: usize = 256;

/// What an operator may set about functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Processes of one function, and so its invocations at the same time. Default 8.
    pub processes_per_function_max: usize,
    /// Processes of all functions. Default 48: at 60 MB for Python with boto3, 3 GB.
    pub processes_max: usize,
    /// Time from the start of a process until it asks for work. Default 30 s; AWS gives 10 s, on
    /// machines whose disks and processors are known.
    pub start_timeout: Duration,
    /// How long a process without work is kept. Default 5 min.
    pub idle_timeout: Duration,
    /// How long a process is given new work, and so the least life of its keys. Default 1 h.
    pub process_age_max: Duration,
    /// How long a caller waits for its process to be ready again after the answer, so that whoever
    /// calls next finds it warm. Default 100 ms; a ready process takes less than one.
    pub settle_timeout: Duration,
    /// How long a caller waits for a process to become free. Default 30 s.
    pub queue_timeout: Duration,
    /// Between two looks at the memory of a process that works. Default 50 ms.
    pub memory_check_interval: Duration,
    /// Waits before an `Event` invocation whose function failed is made again; there are as many
    /// repetitions as entries. Default 1 and 2 min, as AWS.
    pub event_retries: [Duration; 2],
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            processes_per_function_max: 8,
            processes_max: 48,
            start_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            process_age_max: Duration::from_secs(3600),
            settle_timeout: Duration::from_millis(100),
            queue_timeout: Duration::from_secs(30),
            memory_check_interval: Duration::from_millis(50),
            event_retries: [Duration::from_secs(60), Duration::from_secs(120)],
        }
    }
}
