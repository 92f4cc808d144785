//! Mitigation: actions, and the tasks that run them for violations. They are run elsewhere; here
//! they are written down and shown.

mod actions;
mod executions;
mod params;
mod target;
mod tasks;
#[cfg(test)]
mod tests;

use picket_model::{Account, MitigationActionName};

use crate::operation::Operation;

pub(crate) const OPERATIONS: &[&[Operation]] =
    &[actions::OPERATIONS, tasks::OPERATIONS, executions::OPERATIONS];

/// ARN of a mitigation action.
fn action_arn(account: &Account, name: &MitigationActionName) -> String {
    account.iot_arn(format_args!("mitigationaction/{name}"))
}
