//! What the crate promises, one module per promise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod authority;
mod custom;
mod fixture;
mod hostile;
mod lenient;
mod properties;
mod rate;
mod refusals;
mod replies;
mod samples;
