//! Tasks that run mitigation actions for violations.

use picket_model::{
    MitigationAction, MitigationActionName, MitigationActionParams, MitigationStatistics,
    MitigationTarget, MitigationTask, MitigationTaskId, MitigationTaskStatus, Timestamp,
};
use picket_store::{ReadTx, RegistryError, mitigation_actions, mitigation_tasks};
use serde_json::{Value, json};

use super::{params, target};
use crate::detect::{listed, moments, page};
use crate::error::{ApiError, ErrorKind};
use crate::input::{Members, client_request_token, missing, parsed, seconds};
use crate::limits::MITIGATION_TASKS_UNFINISHED_MAX;
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "StartDetectMitigationActionsTask", start),
    operation!(Iot, "DescribeDetectMitigationActionsTask", describe),
    operation!(Iot, "ListDetectMitigationActionsTasks", list),
    operation!(Iot, "CancelDetectMitigationActionsTask", cancel),
];

/// Actions of one task. Source: aws `DetectMitigationActionsToExecuteList`.
const ACTIONS_MAX: usize = 5;

fn id(request: &Request) -> Result<MitigationTaskId, ApiError> {
    parsed("taskId", request.label("taskId")?, MitigationTaskId::parse)
}

/// `actions`: 1 to 5 names, in the order in which they run.
fn action_names(members: &Members) -> Result<Vec<MitigationActionName>, ApiError> {
    const MEMBER: &str = "actions";
    if members.get(MEMBER).is_none() {
        return Err(missing(MEMBER));
    }
    let texts = members.str_list(MEMBER)?;
    if texts.is_empty() || texts.len() > ACTIONS_MAX {
        return Err(ApiError::invalid(format!(
            "`{MEMBER}` has {} elements; 1 to {ACTIONS_MAX} are allowed",
            texts.len()
        )));
    }
    let mut names: Vec<MitigationActionName> = Vec::with_capacity(texts.len());
    for text in texts {
        let name = parsed(MEMBER, text, MitigationActionName::parse)?;
        // Executions go by the action's name: a second one of that name could not be told apart.
        if names.contains(&name) {
            return Err(ApiError::invalid(format!("`{MEMBER}` names `{name}` twice")));
        }
        names.push(name);
    }
    Ok(names)
}

/// `violationEventOccurrenceRange`, if it is given.
fn occurrence_range(members: &Members) -> Result<Option<(Timestamp, Timestamp)>, ApiError> {
    const MEMBER: &str = "violationEventOccurrenceRange";
    let Some(range) = members.object(MEMBER)? else { return Ok(None) };
    let at =
        |name: &str| range.timestamp(name)?.ok_or_else(|| missing(&format!("{MEMBER}.{name}")));
    let (from, until) = (at("startTime")?, at("endTime")?);
    if until < from {
        return Err(ApiError::invalid(format!("`{MEMBER}`: `endTime` is before `startTime`")));
    }
    Ok(Some((from, until)))
}

/// The actions as they are now. All must be such as Detect has a use for.
fn actions(tx: &ReadTx, names: &[MitigationActionName]) -> Result<Vec<MitigationAction>, ApiError> {
    let action = |name| {
        // The operation has no error of its own for what is not there.
        let action = mitigation_actions::get(tx, name).map_err(|error| match error {
            RegistryError::NotFound { .. } => ApiError::invalid(error),
            other => other.into(),
        })?;
        match &action.params {
            MitigationActionParams::AddThingsToThingGroup { .. } => Ok(action),
            MitigationActionParams::UpdateDeviceCertificate
            | MitigationActionParams::UpdateCaCertificate
            | MitigationActionParams::ReplaceDefaultPolicyVersion
            | MitigationActionParams::EnableIotLogging { .. }
            | MitigationActionParams::PublishFindingToSns { .. } => {
                Err(ApiError::invalid(format!(
                    "mitigation action `{name}` is of type {}; for violations only \
                     ADD_THINGS_TO_THING_GROUP can be run",
                    action.params.action_type()
                )))
            }
        }
    };
    names.iter().map(action).collect()
}

/// Checks that the violations that a task names exist; none is looked for by time or state.
fn check_violations(tx: &ReadTx, task: &MitigationTask) -> Result<(), ApiError> {
    let MitigationTarget::Violations(named) = &task.target else { return Ok(()) };
    let all = MitigationTask {
        occurred: None,
        only_active: false,
        include_suppressed: true,
        ..task.clone()
    };
    let found = mitigation_tasks::violations(tx, &all, None, named.len())?;
    match named.iter().find(|id| !found.iter().any(|(known, _)| known == *id)) {
        None => Ok(()),
        Some(unknown) => Err(ApiError::invalid(format!("violation `{unknown}` does not exist"))),
    }
}

/// aws: StartDetectMitigationActionsTask. The same again with the same token starts nothing.
async fn start(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = id(&request)?;
    let members = request.members()?;
    let names = action_names(&members)?;
    let mut task = MitigationTask {
        id: id.clone(),
        client_token: client_request_token(&members)?.to_owned(),
        status: MitigationTaskStatus::InProgress,
        started_at: state.now(),
        ended_at: None,
        target: target::read(&members.required_object("target")?)?,
        occurred: occurrence_range(&members)?,
        only_active: members.bool("includeOnlyActiveViolations")?.unwrap_or(false),
        include_suppressed: members.bool("includeSuppressedAlerts")?.unwrap_or(false),
        actions: Vec::new(),
        statistics: MitigationStatistics::default(),
    };
    state
        .write(move |tx| {
            match mitigation_tasks::get(tx, &task.id) {
                // What it rests on may be gone since then.
                Ok(started) if started.client_token == task.client_token => return Ok(()),
                Ok(_) => {
                    let message = format!("task `{}` already exists", task.id);
                    return Err(ApiError::new(ErrorKind::TaskAlreadyExists, message));
                }
                Err(RegistryError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let unfinished = mitigation_tasks::unfinished(tx)?.len();
            if unfinished >= MITIGATION_TASKS_UNFINISHED_MAX {
                return Err(ApiError::new(
                    ErrorKind::Limit,
                    format!(
                        "{unfinished} tasks are in progress; at most \
                         {MITIGATION_TASKS_UNFINISHED_MAX} can be"
                    ),
                ));
            }
            task.actions = actions(tx, &names)?;
            check_violations(tx, &task)?;
            mitigation_tasks::start(tx, &task)?;
            Ok(())
        })
        .await?;
    Ok(Response::json(&json!({ "taskId": id.as_str() })))
}

fn summary(task: &MitigationTask) -> Value {
    let action = |action: &MitigationAction| {
        json!({
            "name": action.name.as_str(),
            "id": action.id,
            "roleArn": action.role_arn,
            "actionParams": params::to_json(&action.params),
        })
    };
    let mut json = json!({
        "taskId": task.id.as_str(),
        "taskStatus": task.status.as_str(),
        "taskStartTime": seconds(task.started_at),
        "target": target::to_json(&task.target),
        "onlyActiveViolationsIncluded": task.only_active,
        "suppressedAlertsIncluded": task.include_suppressed,
        "actionsDefinition": task.actions.iter().map(action).collect::<Vec<_>>(),
        "taskStatistics": {
            "actionsExecuted": task.statistics.executed,
            "actionsSkipped": task.statistics.skipped,
            "actionsFailed": task.statistics.failed,
        },
    });
    if let Some(ended_at) = task.ended_at {
        json["taskEndTime"] = seconds(ended_at);
    }
    if let Some((from, until)) = task.occurred {
        json["violationEventOccurrenceRange"] =
            json!({"startTime": seconds(from), "endTime": seconds(until)});
    }
    json
}

/// aws: DescribeDetectMitigationActionsTask
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = id(&request)?;
    let task = state.read(move |tx| Ok(mitigation_tasks::get(tx, &id)?)).await?;
    Ok(Response::json(&json!({ "taskSummary": summary(&task) })))
}

/// aws: ListDetectMitigationActionsTasks
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let (from, until) = moments(&request)?;
    let page = page(&request)?;
    let list = state.read(move |tx| Ok(mitigation_tasks::list(tx, from, until, &page)?)).await?;
    Ok(listed("tasks", list.items.iter().map(summary).collect(), list.next))
}

/// aws: CancelDetectMitigationActionsTask. One that has ended stays as it is.
async fn cancel(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = id(&request)?;
    let now = state.now();
    state
        .write(move |tx| {
            mitigation_tasks::cancel(tx, &id, now)?;
            Ok(())
        })
        .await?;
    Ok(Response::empty())
}
