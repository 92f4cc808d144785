//! What there is to do for one violation of a task.

use picket_model::{
    MitigationAction, MitigationActionName, MitigationExecution, MitigationExecutionStatus,
};

/// The next thing to do for a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Run this action.
    Run(&'a MitigationAction),
    /// Record that this action is not tried, because the named one before it failed.
    Skip(&'a MitigationAction, &'a MitigationActionName),
}

/// The next step after what is recorded of one violation's executions, none at the end: actions run
/// in their order, and none behind one that failed.
pub(super) fn next<'a>(
    actions: &'a [MitigationAction],
    recorded: &[MitigationExecution],
) -> Option<Step<'a>> {
    let mut failed = None;
    for action in actions {
        let execution = recorded.iter().find(|it| it.action == action.name);
        match execution.map(|it| it.status) {
            Some(MitigationExecutionStatus::Successful | MitigationExecutionStatus::Skipped) => {}
            Some(MitigationExecutionStatus::Failed) => failed = failed.or(Some(&action.name)),
            Some(MitigationExecutionStatus::InProgress) | None => {
                return Some(match failed {
                    Some(failed) => Step::Skip(action, failed),
                    None => Step::Run(action),
                });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use picket_model::{
        DeviceName, MitigationActionParams, MitigationTaskId, Timestamp, ViolationId,
    };

    use super::*;

    fn action(name: &str) -> MitigationAction {
        MitigationAction {
            name: MitigationActionName::parse(name).unwrap(),
            id: String::new(),
            role_arn: String::new(),
            params: MitigationActionParams::UpdateDeviceCertificate,
            created_at: Timestamp::EPOCH,
            modified_at: Timestamp::EPOCH,
        }
    }

    fn execution(action: &str, status: MitigationExecutionStatus) -> MitigationExecution {
        MitigationExecution {
            task: MitigationTaskId::parse("T").unwrap(),
            violation: ViolationId::parse("V").unwrap(),
            action: MitigationActionName::parse(action).unwrap(),
            device: DeviceName::parse("D").unwrap(),
            started_at: Timestamp::EPOCH,
            ended_at: None,
            status,
            error_code: None,
            message: None,
        }
    }

    /// Checks the next step after `recorded`: for each of the actions a, b and c `S`uccessful,
    /// `F`ailed, s`K`ipped, `I`n progress or not recorded (`-`).
    fn check(recorded: &str, expected: &str) {
        use MitigationExecutionStatus as Status;
        let actions = ["a", "b", "c"].map(action);
        let recorded: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .zip(recorded.chars())
            .filter_map(|(name, status)| {
                let status = match status {
                    'S' => Status::Successful,
                    'F' => Status::Failed,
                    'K' => Status::Skipped,
                    'I' => Status::InProgress,
                    _ => return None,
                };
                Some(execution(name, status))
            })
            .collect();
        let step = match next(&actions, &recorded) {
            Some(Step::Run(action)) => format!("run {}", action.name),
            Some(Step::Skip(action, failed)) => format!("skip {} because of {failed}", action.name),
            None => "done".to_owned(),
        };
        assert_eq!(step, expected);
    }

    #[test]
    fn actions_run_in_their_order_and_none_behind_one_that_failed() {
        check("---", "run a");
        check("S--", "run b");
        check("SS-", "run c");
        check("SSS", "done");
        check("F--", "skip b because of a");
        check("FK-", "skip c because of a");
        check("FKK", "done");
        check("SF-", "skip c because of b");
        check("SSF", "done");
        // Whoever was killed in the middle left no trace of what it did.
        check("SI-", "run b");
    }
}
