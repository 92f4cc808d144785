//! Everything that lasts, in two transactional databases of SQLite.
//!
//! [`Store`] is the handle. [`Store::read`] sees one consistent snapshot; [`Store::write`] runs a
//! closure in a transaction and resolves when it is on disk. What can be read and written is in
//! one module for each noun, as free functions over a [`ReadTx`] or a [`WriteTx`], each with its
//! SQL beside it. Every write notes what it [changes](picket_model::Change); [`Store::changes`]
//! tells the watchers after the commit.
//!
//! [`SessionStore`] is the other: what MQTT sessions were promised, written by the broker's journal
//! with a rhythm of its own.
//!
//! The rules that need the transaction are kept here: that names exist, counts, hierarchies,
//! versions, attachments. What can be checked on the request alone is checked at the API.

mod attributes;
mod codec;
mod error;
mod migrations;
mod page;
mod query;
mod store;
mod tx;
mod writer;

pub mod access;
pub mod certificates;
pub mod custom_metrics;
pub mod datapoints;
pub mod dimensions;
pub mod engine_state;
pub mod enrollment;
pub mod event_configurations;
pub mod functions;
pub mod groups;
pub mod limits;
pub mod meta;
pub mod mitigation_actions;
pub mod mitigation_tasks;
pub mod model_training;
pub mod outbox;
pub mod policies;
pub mod profiles;
pub mod registry_events;
pub mod sessions;
pub mod subscriptions;
pub mod thing_types;
pub mod things;
pub mod topics;
pub mod violations;

pub use access::RightsFacts;
pub use error::{RegistryError, StoreError};
pub use outbox::{Delivery, DeliveryState, MessageAttribute, OutboxEntry};
pub use page::{Page, Paged};
pub use sessions::SessionStore;
pub use store::Store;
pub use tx::{ReadTx, WriteTx};
