//! What a store does, seen from outside.
//!
//! Everything but `files` and `crash` speaks to the public interface alone: another store that
//! keeps the same promises passes the same tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's own exception covers test functions, not the helpers that they share"
)]

mod access;
mod changes;
mod crash;
mod detect;
mod files;
mod functions;
mod outbox;
mod paging;
mod properties;
mod registry;
mod scene;
mod topics;
mod writing;
