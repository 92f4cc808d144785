//! Every bound of the agent, with the reason for the number.

use std::time::Duration;

/// Entries named in one list of a report; the totals stay true. The AWS Python agent's number, and
/// what a report of 128 KiB holds many times over.
pub const LIST_DEFAULT: usize = 50;

/// Largest sample that may be asked for: three lists of 1,000 entries in long JSON are 200 KB, so
/// more could not be sent in any case.
pub const LIST_MAX: usize = 1_000;

/// Different listening (port, address) pairs of one protocol that are kept to be counted: every
/// port on two addresses. What is beyond is counted without looking whether it was seen before.
pub const LISTENERS_MAX: usize = 131_072;

/// Addresses of this machine whose interface is remembered. A host of containers has hundreds.
pub const ADDRESSES_MAX: usize = 4_096;

/// Network interfaces whose counters are followed. A host of containers has hundreds.
pub const INTERFACES_MAX: usize = 4_096;

/// What one read from a netlink socket takes. The kernel fills what it is given up to 32 KiB: fewer
/// calls for many sockets.
pub const NETLINK_BUFFER_BYTES: usize = 32 * 1024;

/// Longest wait for the kernel's next netlink message; it answers in microseconds or not at all.
pub const NETLINK_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest line read from a file of `/proc`. The longest real one, of `/proc/net/tcp6`, has 180.
pub const PROC_LINE_BYTES_MAX: usize = 4_096;

/// Shortest time between two reports, in seconds: Picket's shortest window. AWS takes a report
/// every 300 s and may drop what comes sooner.
pub const INTERVAL_S_MIN: u32 = 5;

/// Longest time between two reports, in seconds: a day. Longer, and nobody would notice for days
/// that a device fell silent.
pub const INTERVAL_S_MAX: u32 = 86_400;

/// Longest keep-alive, in seconds. Source: AWS IoT Core quotas.
pub const KEEP_ALIVE_S_MAX: u16 = 1_200;

/// Shortest keep-alive, in seconds. Source: AWS IoT Core quotas.
pub const KEEP_ALIVE_S_MIN: u16 = 30;

/// Largest report. Source: AWS IoT Core quotas (128 KiB for a message).
pub const REPORT_BYTES_MAX: usize = 128 * 1024;

/// Largest packet taken from the server: it answers a report with a few hundred bytes, but may send
/// any message to whom the policy lets subscribe.
pub const PACKET_BYTES_MAX: usize = 132 * 1024;

/// Longest wait for a TCP connection, for the end of a TLS handshake, for one answer, for the server
/// to take what is sent.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait until a report is accepted or refused before the log says that nobody answered.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait before the second attempt to connect; doubled with each one after that.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest wait between two attempts to connect: a fleet that lost its server comes back within
/// ten minutes of it.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// Longest text that is logged of what the server sends.
pub const REPLY_TEXT_CHARS_MAX: usize = 300;

/// Largest configuration file: thousands of custom metrics.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Largest file of certificates or of a key: a bundle of every public authority has 220 KB.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;

/// Custom metrics of one device. AWS has 100 for a whole account.
pub const CUSTOM_METRICS_MAX: usize = 100;

/// Longest value of a custom metric as its source writes it: a list of 1,000 short texts.
pub const CUSTOM_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Elements in a list of a custom metric; what Picket takes.
pub const CUSTOM_LIST_MAX: usize = 1_000;

/// Longest text in a custom metric; what Picket takes.
pub const CUSTOM_TEXT_BYTES_MAX: usize = 128;

/// Longest run of a custom metric's command: a report waits for it.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest run of all commands of one report together: meanwhile nothing else is done, and the
/// server waits for signs of life.
pub const COMMANDS_TIMEOUT: Duration = Duration::from_secs(30);

/// Lines taken from the metrics socket at once; whoever sends more waits for [`MAILBOX_PAUSE`].
pub const MAILBOX_LINES_MAX: usize = 256;

/// Time between two looks into the metrics socket: a program that floods it costs a few
/// milliseconds each second, and does not keep reports from going out.
pub const MAILBOX_PAUSE: Duration = Duration::from_secs(1);

/// How long a connection must have stood for the next trouble to be a new one. A device that is
/// cut off as soon as it connects must not come back at once each time.
pub const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Largest answer to an enrolment: two certificates of 48 KiB in PEM form, and some names.
pub const ENROLL_ANSWER_BYTES_MAX: u64 = 192 * 1024;
