//! The broker as its clients see it: real sockets, real TLS, real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it in the same way"
)]

mod admission;
mod aws_limits;
mod bounds;
mod bringing;
mod clients;
mod connections;
mod delivery;
mod denials;
mod directory;
mod disk;
mod durable;
mod events;
mod faults;
mod hostile;
mod https;
mod observations;
mod peer;
mod reports;
mod restarts;
mod retained;
mod revoked;
mod rights;
mod sessions;
mod slices;
mod standard;
mod testbed;
mod tricks;
mod websocket;
mod wills;
