//! Wall time: the one place where this program asks what time it is.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use picket_model::Timestamp;

/// The time now. A clock before 1970 is taken for 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The clock in the form that the edges take it.
pub(crate) fn shared() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    Arc::new(now)
}
