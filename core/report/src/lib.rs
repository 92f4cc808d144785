//! The metrics report of a device: JSON or CBOR, long or short names, to a typed
//! [`Report`](picket_model::Report) or a precise refusal, and back.
//!
//! [`decode`] reads a report or says in a [`Refusal`] what is wrong with it, [`encode`] writes one,
//! [`encode_reply`] writes the answer. [`ReportTopic`] says whom a report is about,
//! [`may_report`] who may give it, [`TokenBucket`] whether its turn has come. One table (`fields.rs`) names the members for all of
//! them.
//!
//! Architecture invariants: no clock, no IO; bytes from outside never make this crate panic,
//! recurse without a bound, or allocate by a length that they merely declare.

mod address;
mod authority;
mod decode;
mod encode;
mod fields;
mod format;
pub mod limits;
mod rate;
mod refusal;
mod reply;
mod topic;

pub use authority::{Authority, REPORTED_BY, Reporter, may_report};
pub use decode::{decode, decode_with_losses};
pub use encode::encode;
pub use format::{Format, Names};
pub use rate::{ReportRate, TokenBucket, Turn};
pub use refusal::Refusal;
pub use reply::{ErrorCode, Reply, encode_reply};
pub use topic::ReportTopic;
