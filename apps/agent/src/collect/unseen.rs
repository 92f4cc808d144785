//! What the agent could not see.

use std::fmt;

/// Something that a report lacks, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unseen {
    /// What is missing, in words: "sockets by netlink".
    pub what: String,
    /// Why, in words.
    pub why: String,
}

impl Unseen {
    /// Says what is missing and why.
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not seen: {} ({})", self.what, self.why)
    }
}
