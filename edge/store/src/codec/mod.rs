//! How values lie in columns.

pub(crate) mod column;
pub(crate) mod datapoints;
pub(crate) mod explanation;
