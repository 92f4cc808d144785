//! The collector against the tools that people trust, in a network of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod namespace;
mod sockets;
mod traffic;
