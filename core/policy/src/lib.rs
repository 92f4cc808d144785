//! IoT policies: what a connection may do, and which statement says so.
//!
//! The cast: a [`Document`] is a policy's text, parsed once and shared. [`ConnectionFacts`] say who
//! is connected, from where and with which certificate. [`Permissions`] are documents with these
//! facts filled in, made once per connection and change of rights: conditions are settled and
//! variables replaced, so that a [`Decision`] about one topic is a handful of text comparisons.
//! A [`Report`] tells the same with everything that a person asking "why" wants to know.
//!
//! Architecture invariant: when in doubt, deny. What cannot be resolved or compared never allows
//! anything, and a statement that excludes something ("all but") excludes less, not more.
//!
//! Source: AWS guide "AWS IoT Core policies" and "IAM JSON policy elements reference".

mod action;
mod condition;
mod date;
mod decision;
mod document;
mod error;
mod facts;
mod json;
mod key;
mod pattern;
mod permissions;
mod report;
mod template;

pub use action::Action;
pub use decision::{Decision, StatementRef};
pub use document::Document;
pub use error::PolicyError;
pub use facts::{
    AlternativeName, CertificateFacts, ConnectAttributes, ConnectionFacts, NameAttribute,
    NameFacts, Names, ThingFacts,
};
pub use permissions::{NamedDocument, Permissions};
pub use report::Report;
