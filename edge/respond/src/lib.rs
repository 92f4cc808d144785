//! What is done about an alarm: who is told, and the functions that are run.
//!
//! Dramatis personae, in the order in which a violation event meets them:
//!
//! - [`plan()`] is pure: event and profile in, [`OutboxEntry`](picket_store::OutboxEntry)s out. They are committed together
//!   with the event itself.
//! - [`deliver`] empties the outbox. Its *dispatcher* turns an entry into one delivery for each
//!   subscription; its *deliverator* makes attempts until a delivery is done or dead.
//! - [`mitigation`] runs the actions that somebody chose for violations.
//! - [`functions`] runs user code, as AWS Lambda does: [`FunctionHost`] keeps warm processes,
//!   speaks the Lambda Runtime API with them and kills those that misbehave.
//! - [`python`] finds or makes the interpreter that functions written in Python run in.
//!
//! Whether somebody was told follows from the store alone: a server that is killed in the middle
//! makes the attempt again, with the same message id.
//!
//! Architecture invariant: nothing here decides whether an alarm exists. Nothing here holds a
//! database transaction open while it waits for somebody.

pub mod alarm_message;
pub mod deliver;
pub mod function_policy;
pub mod functions;
pub mod limits;
pub mod metrics;
pub mod mitigation;
pub mod plan;
pub mod ports;
pub mod python;
pub mod sns_event;

pub use alarm_message::alarm_message;
pub use functions::{FunctionHost, FunctionHostConfig, Invocation, InvokeError};
pub use metrics::Metrics;
pub use plan::plan;
pub use ports::{Clock, IssueKeys, Keys};
pub use sns_event::{message_id, sns_event};
