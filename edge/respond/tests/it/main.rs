//! Everything here runs real processes; what is pure is tested beside the code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod bootstrap;
mod crash;
mod delivery;
mod mitigation;
mod private_python;
mod python;
mod support;
mod unpacking;
mod workshop;
