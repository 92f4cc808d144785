//! What the crate promises, one module per promise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod conditions;
mod decisions;
mod fixture;
mod grammar;
mod properties;
mod reports;
mod rights_at_all;
mod variables;
