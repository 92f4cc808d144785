//! The API as its callers see it: real sockets, a real store, signed requests.
//!
//! A test is a transcript: requests in, answers out, kept as a snapshot. Volatile values are
//! redacted by their names; the clock stands still unless a test moves it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod sign;

mod certificates;
mod detect;
mod groups;
mod mitigation;
mod policies;
mod publish;
mod refusals;
mod signatures;
mod things;
