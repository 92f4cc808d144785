//! Messages to devices over HTTP, and what becomes of connections (AWS: IoT Data Plane).

mod connections;
mod direct;
mod publish;
mod retained;

use crate::operation::Operation;

/// What is served, by noun.
pub(crate) const OPERATIONS: &[&[Operation]] =
    &[connections::OPERATIONS, direct::OPERATIONS, publish::OPERATIONS, retained::OPERATIONS];
