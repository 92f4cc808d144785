//! Messages to devices over HTTP (AWS: IoT Data Plane).

mod publish;

use crate::operation::Operation;

/// What is served, by noun.
pub(crate) const OPERATIONS: &[&[Operation]] = &[publish::OPERATIONS];
