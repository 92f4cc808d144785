//! The AWS-compatible HTTP API: AWS SDKs, the AWS CLI and functions call it unchanged, with this
//! server as their endpoint.
//!
//! One port serves five services ([`Service`]); which one is meant stands in the signature. A
//! request goes through `serve`: its signature is verified (`sigv4`, [`credentials`]), its path
//! is routed (`routes`, by the table in `specs/aws-operations.toml`), its body is read within its
//! bound ([`limits`]), and a handler answers it: an `async fn(&ApiState, Request) ->
//! Result<Response, ApiError>`, in one file for each noun. What handlers refuse is spelled as AWS
//! spells it in one table ([`error`]).
//!
//! To add an operation: write its handler, name it in its module's `OPERATIONS`, and mark it
//! `done` in `specs/aws-operations.toml`; a test holds the two against each other.

pub mod credentials;
pub mod enroll;
pub mod error;
pub mod input;
pub mod issuer;
pub mod limits;
pub mod paging;
pub mod ports;
pub mod sigv4;

mod detect;
mod iot;
mod iotdata;
mod lambda;
mod metrics;
mod mitigation;
mod operation;
mod query;
mod request;
mod response;
mod routes;
mod serve;
mod service;
mod sns;
mod spec;
mod state;
mod sts;
#[cfg(test)]
mod testing;

pub use credentials::{AccessKey, Caller, Credentials, SessionKeys};
pub use error::{ApiError, ErrorKind};
pub use issuer::Issuer;
pub use metrics::ApiMetrics;
pub use ports::{
    Busy, Clock, Connection, ConnectionDetails, Connections, Later, Message, Messages,
    PublishError, RetainedMessage, RetainedMessages, SendError, Subscriptions,
};
pub use request::Request;
pub use response::Response;
pub use serve::router;
pub use service::Service;
pub use state::{ApiState, ReadCertificateFacts};
