//! What this crate needs from above.

use std::fmt;
use std::sync::Arc;

use picket_model::Timestamp;

/// Tells the time, for data that carries it; deadlines are kept by a monotonic clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Issues short-lived keys for the API to a function.
pub trait IssueKeys: Send + Sync + 'static {
    /// Makes keys that act as `role_arn` until `until`.
    ///
    /// `session` names whoever holds them, for people who read logs: the function's name.
    fn issue(&self, role_arn: &str, session: &str, until: Timestamp) -> Keys;
}

/// Keys for the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Public part.
    pub access_key_id: String,
    /// Secret part; never logged.
    pub secret_access_key: String,
    /// Goes with every request; carries role and expiry.
    pub session_token: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}
