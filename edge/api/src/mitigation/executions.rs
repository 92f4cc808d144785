//! What tasks did: one action for one violation each.

use picket_model::{DeviceName, MitigationExecution, MitigationTaskId, Timestamp, ViolationId};
use picket_store::mitigation_tasks::{self, ExecutionFilter};
use serde_json::{Value, json};

use crate::detect::{listed, moments, page};
use crate::error::ApiError;
use crate::input::{parsed, seconds};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] =
    &[operation!(Iot, "ListDetectMitigationActionsExecutions", list)];

/// Longest message of an execution, in characters. Source: aws `ErrorMessage`.
const MESSAGE_CHARS_MAX: usize = 2_048;

fn filter(request: &Request) -> Result<ExecutionFilter, ApiError> {
    let task = request
        .query("taskId")
        .map(|text| parsed("taskId", text, MitigationTaskId::parse))
        .transpose()?;
    let violation = request
        .query("violationId")
        .map(|text| parsed("violationId", text, ViolationId::parse))
        .transpose()?;
    let device = request
        .query("thingName")
        .map(|text| parsed("thingName", text, DeviceName::parse))
        .transpose()?;
    let has_time = ["startTime", "endTime"].iter().any(|it| request.query(it).is_some());
    // Source: aws ListDetectMitigationActionsExecutions, "either the startTime and endTime or the
    // taskId, but not both".
    if task.is_some() && has_time {
        return Err(ApiError::invalid("give `taskId`, or `startTime` and `endTime`, but not both"));
    }
    if task.is_none() && violation.is_none() && device.is_none() && !has_time {
        return Err(ApiError::invalid(
            "say which executions: give `taskId`, `violationId`, `thingName`, or `startTime` and \
             `endTime`",
        ));
    }
    let times: Option<(Timestamp, Timestamp)> = has_time.then(|| moments(request)).transpose()?;
    Ok(ExecutionFilter {
        task,
        violation,
        device,
        from: times.map(|(from, _)| from),
        until: times.map(|(_, until)| until),
    })
}

/// aws: ListDetectMitigationActionsExecutions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let filter = filter(&request)?;
    let page = page(&request)?;
    let list = state.read(move |tx| Ok(mitigation_tasks::executions(tx, &filter, &page)?)).await?;
    Ok(listed("actionsExecutions", list.items.iter().map(to_json).collect(), list.next))
}

fn to_json(execution: &MitigationExecution) -> Value {
    let mut json = json!({
        "taskId": execution.task.as_str(),
        "violationId": execution.violation.as_str(),
        "actionName": execution.action.as_str(),
        "thingName": execution.device.as_str(),
        "executionStartDate": seconds(execution.started_at),
        "status": execution.status.as_str(),
    });
    if let Some(ended_at) = execution.ended_at {
        json["executionEndDate"] = seconds(ended_at);
    }
    if let Some(error_code) = &execution.error_code {
        json["errorCode"] = error_code.as_str().into();
    }
    if let Some(message) = &execution.message {
        json["message"] = message.chars().take(MESSAGE_CHARS_MAX).collect::<String>().into();
    }
    json
}
