//! Every bound on a report, with the reason for the number.

/// Largest report, in bytes: AWS IoT's largest message. Source: AWS IoT Core quotas (128 KB).
pub const BYTES_MAX: usize = 128 * 1024;

/// Objects and lists within each other, the report itself included. A report needs six; the rest
/// is room for members that later agents add.
pub const DEPTH_MAX: usize = 16;

/// Ports in one list. Agents name at most 50 of many, or all that there are; a host with more open
/// ports than this would have to say so with `total`.
pub const PORTS_MAX: usize = 4_096;

/// Connections in one list. Agents name at most 50 of many, or all that there are: a report of
/// [`BYTES_MAX`] in the usual long form has room for about 1,900.
pub const CONNECTIONS_MAX: usize = 4_096;

/// Longest name of an interface, in bytes: Windows allows 256 characters, Linux 15.
pub const INTERFACE_BYTES_MAX: usize = 256;

/// Custom metrics in one report: ten times what one security profile can judge.
pub const CUSTOM_METRICS_MAX: usize = 1_000;

/// Elements of one custom list: as many as the values of one security profile may have, so that
/// each could be named there.
pub const CUSTOM_ELEMENTS_MAX: usize = 1_000;

/// Longest string in a custom `string_list`, in bytes; a longer one is dropped. Ours: as long as a
/// name may be.
pub const CUSTOM_STRING_BYTES_MAX: usize = 128;

/// Longest piece of a report that a refusal repeats, in characters: enough to find it by.
pub const QUOTED_CHARS_MAX: usize = 64;

/// Devices whose reports are paced at once, about 120 bytes each: as many as are watched. Whoever
/// finds no room waits until others have not reported for an interval.
pub const REPORTERS_MAX: usize = 1_000_000;

/// Least time between two rejections told to one device, in milliseconds: a device that floods is
/// told once a second, and its flood is not doubled by our answers.
pub const REJECTION_INTERVAL_MS: i64 = 1_000;

/// How much earlier than the interval the next report may come, in percent: agents' timers and the
/// network jitter, and a report that comes at 299 s of 300 is no flood.
pub const INTERVAL_ALLOWANCE_PERCENT: i64 = 10;
