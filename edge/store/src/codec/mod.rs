//! How values lie in columns.

pub(crate) mod bytes;
pub(crate) mod column;
pub(crate) mod datapoints;
pub(crate) mod days;
pub(crate) mod explanation;
pub(crate) mod mitigation;
pub(crate) mod values;
