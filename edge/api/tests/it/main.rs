//! The API as its callers see it: real sockets, a real store, signed requests.
//!
//! A test is a transcript: requests in, answers out, kept as a snapshot. Volatile values are
//! redacted by their names; the clock stands still unless a test moves it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clients;
mod harness;
mod sign;

mod certificates;
mod connections;
mod detect;
mod events;
mod groups;
mod mitigation;
mod policies;
mod publish;
mod refusals;
mod retained;
mod signatures;
mod things;
