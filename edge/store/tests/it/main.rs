//! What a store does, seen from outside.
//!
//! Everything but `files`, `crash` and `migrations` speaks to the public interface alone: another store that
//! keeps the same promises passes the same tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's own exception covers test functions, not the helpers that they share"
)]

mod access;
mod changes;
mod crash;
mod custom_metrics;
mod datapoints;
mod dimensions;
mod engine_state;
mod enrollment;
mod files;
mod functions;
mod measure;
mod migrations;
mod mitigation_actions;
mod mitigation_tasks;
mod model_training;
mod outbox;
mod paging;
mod profiles;
mod properties;
mod registry;
mod registry_events;
mod scene;
mod sealing;
mod sessions;
mod topics;
mod violations;
mod writing;
