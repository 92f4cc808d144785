//! The two clocks of the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_model::Timestamp;

/// Wall time, for whatever leaves the broker as data.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Time that never jumps, for deadlines: keep-alive, expiry, will delay.
///
/// Its timestamps begin at an arbitrary moment and mean something only among themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic {
    origin: Instant,
}

impl Monotonic {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let millis = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis)
    }

    /// The moment for a timer of tokio's.
    pub(crate) fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let millis = u64::try_from(at.as_millis()).unwrap_or(0);
        tokio::time::Instant::from_std(self.origin + Duration::from_millis(millis))
    }
}
