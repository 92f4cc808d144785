//! Every bound of the store's own, with the reason for the number.
//!
//! How many things, policies or groups there may be is in [`picket_model::limits`].

use std::time::Duration;

/// Groups of changes kept for a watcher that is behind. One that falls further behind is told so
/// by its receiver (`Lagged`) and has to read everything again.
pub(crate) const CHANGES_KEPT: usize = 1024;

/// Reader connections kept open while idle; each costs a few hundred KB of page cache.
pub(crate) const IDLE_READERS_MAX: usize = 8;

/// Prepared statements kept for each connection: more than there are in this crate.
pub(crate) const STATEMENTS_KEPT: usize = 256;

/// Closures waiting for the writer. Callers wait when it is full; a thousand small writes are
/// about a tenth of a second of work.
pub(crate) const QUEUE_MAX: usize = 1024;

/// Closures in one transaction: what bounds the memory of a group.
pub(crate) const GROUP_MAX: usize = 512;

/// Time after which a group takes no more closures: what bounds the wait of its first.
pub(crate) const GROUP_TIME_MAX: Duration = Duration::from_millis(20);

/// Longest token that is decoded at all: two texts of 256 bytes, numbers, the listing's name, all
/// in hex.
pub(crate) const TOKEN_BYTES_MAX: usize = 2048;

/// Things of its certificate that a connection is told of. A certificate is for one thing; one that
/// a fleet shares must not cost each of its connections the names of all.
pub(crate) const THINGS_PER_CONNECTION_MAX: u32 = 1_000;

/// Attributes that a thing type may name as searchable. Source: aws CreateThingType.
pub(crate) const SEARCHABLE_MAX: usize = 3;

/// How long a violation event is kept. Source: AWS Device Defender limits.
pub const EVENTS_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// How long a metric's value is kept. Source: AWS Device Defender (ListMetricValues, 14 days).
pub const VALUES_KEPT_MS: i64 = 14 * 24 * 3_600_000;

/// How long an entry of the outbox is kept, with its deliveries and dead letters: as long as
/// violation events, which is far longer than anybody pushes the same one again.
pub const ENTRIES_KEPT_MS: i64 = EVENTS_KEPT_MS;

/// How long a task of mitigation actions is kept after it ended, with its executions: as long as
/// somebody may ask who isolated a device, and three times as long as violation events.
pub const MITIGATIONS_KEPT_MS: i64 = 90 * 24 * 3_600_000;

/// The time that a model is trained with. Source: AWS guide "ML Detect" (the trailing 14 days).
pub const TRAINING_MS: i64 = 14 * 24 * 3_600_000;

/// How often values are worth moving from batches into days: the batches of an hour are few enough
/// to be searched for one device, and a day is written only 24 times.
pub const SEALING_PERIOD_MS: i64 = 3_600_000;

/// Bytes of batches that are sealed together, and held in memory for it. One that is larger is
/// sealed alone.
pub(crate) const SEALED_TOGETHER_BYTES_MAX: i64 = 32 * 1024 * 1024;

/// Devices whose values one transaction seals.
pub(crate) const SEALED_DEVICES_MAX: usize = 128;

/// Bytes of days that one transaction seals, give or take one device: with the number of devices
/// it keeps the writer busy for a few milliseconds at most.
pub(crate) const SEALED_BYTES_MAX: usize = 256 * 1024;

/// Batches that one transaction deletes after they were sealed.
pub(crate) const SEALED_BATCHES_MAX: usize = 8;

/// Size from which a part of a day grows no more: an ordinary day of 8 metrics is a fifth of it,
/// and one of long lists is not written again and again.
pub(crate) const DAY_PART_BYTES_MAX: usize = 32 * 1024;

/// Enrollment tokens that are kept: an installation makes one for each batch of devices.
pub const ENROLLMENT_TOKENS_MAX: u32 = 10_000;

/// How long a token is kept after its time is over, in milliseconds, so that whoever comes with it
/// is told why it opens nothing: 30 days, as long as violation events.
pub const EXPIRED_TOKENS_KEPT_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// Registry events that wait to be published: what a fleet of 100,000 things makes when all of it is
/// moved at once, some 50 MB. They leave as fast as they can be published; more are counted as lost.
pub(crate) const REGISTRY_EVENTS_MAX: i64 = 100_000;
