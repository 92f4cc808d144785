//! Bounds on what the program itself holds or waits for. Those of each edge are in its own crate.

use std::time::Duration;

/// Observations on their way to the shard. When it is full, sessions wait: a flood slows its own
/// device down, and nothing is lost.
pub(crate) const OBSERVATIONS_MAX: usize = 16 * 1024;

/// Observations that the shard takes in one go.
pub(crate) const OBSERVATIONS_AT_ONCE: usize = 1024;

/// Verdicts gathered before a commit is due whatever the time: bounds memory and the transaction.
pub(crate) const VERDICTS_MAX: usize = 10_000;

/// Values in one row of the store: a row is read as a whole, and this many are some hundred KB.
pub(crate) const DATAPOINTS_PER_ROW: usize = 10_000;

/// Devices watched at once, registered or not. A device needs about 500 bytes; whoever may connect
/// under any client id must not be able to fill the memory with names.
pub(crate) const DEVICES_MAX: usize = 1_000_000;

/// Watched devices from which on only registered ones are added: half the room is theirs alone.
pub(crate) const UNREGISTERED_UP_TO: usize = DEVICES_MAX / 2;

/// Parsed policy documents kept. A fleet has a handful of policies; each connection under one
/// shares the parsed form.
pub(crate) const DOCUMENTS_MAX: usize = 1024;

/// Gateways that the configuration names: they are gone through for each report of another device.
pub(crate) const DELEGATES_MAX: usize = 64;

/// Sockets for devices to listen on: more than any one machine has addresses for.
pub(crate) const LISTENERS_MAX: usize = 64;

/// Connections that wait to be accepted, for each listener: a fleet that comes back at once. The kernel
/// lowers it to its `net.core.somaxconn`, usually as much. One without room tries again after a
/// second, and the standard library's 128 are soon taken.
pub(crate) const ACCEPT_QUEUE_MAX: u32 = 4_096;

/// Connections of one HTTP listener, where the limit of open files allows it.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 512;

/// Largest head of an HTTP request. The largest one in use carries MQTT 5 user properties (8 KiB)
/// and a session token (8 KiB).
pub(crate) const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Time for a whole head to arrive: seconds are enough on a slow network, and a place is not held
/// for longer than an operator waits.
pub(crate) const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time in which a client that is being answered takes nothing of it in.
pub(crate) const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Devices whose groups are read in one go: one look at the store for many, and short enough that
/// the log it holds up stays small.
pub(crate) const ASSIGNED_AT_ONCE: usize = 1024;

/// Values that wait to be exported, with the elements of lists: about 200 bytes each, and what
/// 100,000 devices have in a period with five metrics.
pub(crate) const EXPORT_ELEMENTS_MAX: usize = 500_000;

/// Time between two export messages of one profile: what waits for a subscriber is bounded to
/// eight of them, and one that takes a message in this time loses none.
pub(crate) const EXPORT_PACE: Duration = Duration::from_millis(20);

/// Registry events published in one go: a commit for many, and what a subscriber has in flight.
pub(crate) const REGISTRY_EVENTS_AT_ONCE: usize = 100;

/// Time between two goes: a subscriber that takes a hundred messages in this time loses none.
pub(crate) const REGISTRY_EVENTS_PACE: Duration = Duration::from_millis(20);

/// Largest file with certificates or a key: hundreds of certificates.
pub(crate) const TLS_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Files of revocation lists, and of those who issue them: a fleet has one or two authorities.
pub(crate) const TLS_FILES_MAX: usize = 64;

/// Time between two looks at whether certificates and revocation lists have changed: one `stat` for
/// each, and a revoked device is out before anybody has looked whether it is.
pub(crate) const TLS_FILES_INTERVAL: Duration = Duration::from_secs(2);

/// Origins of web pages that a listener names: each is compared with every request.
pub(crate) const ORIGINS_MAX: usize = 64;
