//! What is measured besides the network: custom metrics.
//!
//! A [`CustomMetric`] has a name, a [`Kind`] and a [`Source`]: one that is [`Ready`]-made, a
//! [`command`], a file, or programs of this device that send values to a [`mailbox`]. Whatever the
//! source writes is JSON, read by [`value`]. A value that cannot be had leaves its metric out of the
//! report, and is named.

pub mod command;
pub mod mailbox;
mod measure;
mod metric;
pub mod ready;
pub mod value;

pub use measure::Measurer;
pub use metric::{CustomError, CustomMetric, CustomMetricConfig, Source};
pub use ready::Ready;
pub use value::Kind;
