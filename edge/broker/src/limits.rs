//! Bounds on what HTTP and WebSocket add to MQTT. Those of MQTT itself are an operator's to set:
//! [`MqttLimits`](picket_model::limits::MqttLimits).

use std::time::Duration;

/// Largest head of an HTTP request, in bytes. The largest one in use carries MQTT 5 user properties
/// (8 KiB) and their like.
pub(crate) const HTTP_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Time in which a client that is known must begin another request: a device that publishes once a
/// minute keeps its connection. What keeps a request from ending, a body or an answer that nobody
/// takes, ends with it too.
pub(crate) const HTTP_REQUEST_INTERVAL: Duration = Duration::from_secs(75);

/// Time for the body of a request, as long as the API gives.
pub(crate) const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is taken in and forgotten of a body that is too large, in bytes, and for how long: a client
/// that sends its whole request before it reads sees the answer and no broken connection.
pub(crate) const HTTP_DRAINED_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const HTTP_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for requests that are being answered when the server stops.
pub(crate) const HTTP_STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Buffer that a WebSocket reads into. It is kept for as long as the connection lives, so it is
/// small; larger frames are read into one of their size.
pub(crate) const WEBSOCKET_READ_BYTES: usize = 4 * 1024;

/// Bytes of MQTT in one frame towards a client: enough to be few, and a bound for what a client that
/// does not read makes wait outside of [`Wire::output`](crate::wire::Wire).
pub(crate) const WEBSOCKET_WRITE_BYTES: usize = 32 * 1024;
