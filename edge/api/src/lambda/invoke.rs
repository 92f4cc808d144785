//! Running a function.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use picket_model::text::chain;
use picket_model::{Account, FunctionName};
use picket_respond::{Invocation, InvokeError};
use picket_store::functions;

use super::{LATEST, function_name, not_found, refused};
use crate::error::{ApiError, ErrorKind};
use crate::input::one_of;
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[operation!(Lambda, "Invoke", invoke)];

/// Largest event that is accepted for later, in bytes: they wait in memory, many at once.
/// Source: AWS Lambda quotas (1 MB, asynchronous).
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// How a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InvocationType {
    /// For the answer.
    RequestResponse,
    /// Not at all.
    Event,
    /// For nothing to be run.
    DryRun,
}

const INVOCATION_TYPES: [(&str, InvocationType); 3] = [
    ("RequestResponse", InvocationType::RequestResponse),
    ("Event", InvocationType::Event),
    ("DryRun", InvocationType::DryRun),
];

/// aws: Invoke
async fn invoke(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let invocation_type = match request.header("x-amz-invocation-type") {
        None => InvocationType::RequestResponse,
        Some(text) => one_of("invocationType", text, &INVOCATION_TYPES)?,
    };
    let with_log = match request.header("x-amz-log-type") {
        None => false,
        Some(text) => one_of("logType", text, &[("None", false), ("Tail", true)])?,
    };
    for header in ["x-amz-client-context", "x-amz-tenant-id", "x-amz-durable-execution-name"] {
        // The function would not see it.
        if request.header(header).is_some() {
            return Err(ApiError::invalid(format!("header `{header}` is not supported")));
        }
    }
    let event = request.body;
    match invocation_type {
        InvocationType::RequestResponse => {
            let invocation = state.functions.invoke(&name, event).await;
            let invocation = invocation.map_err(|error| not_run(&state.account, &name, error))?;
            Ok(answer(invocation, with_log))
        }
        InvocationType::Event => {
            if event.len() > EVENT_BYTES_MAX {
                let (len, max) = (event.len(), EVENT_BYTES_MAX);
                let error = InvokeError::EventTooLarge { len, max };
                return Err(not_run(&state.account, &name, error));
            }
            let accepted = state.functions.invoke_later(&name, event).await;
            accepted.map_err(|error| not_run(&state.account, &name, error))?;
            Ok(nothing(StatusCode::ACCEPTED))
        }
        InvocationType::DryRun => {
            let account = state.account.clone();
            let check = state.read(move |tx| {
                functions::get(tx, &name).map_err(|error| refused(&account, &name, error))
            });
            check.await?;
            Ok(nothing(StatusCode::NO_CONTENT))
        }
    }
}

/// What a function answered.
fn answer(invocation: Invocation, with_log: bool) -> Response {
    let mut response = Response::bytes("application/json", invocation.payload)
        .with_header("x-amz-executed-version", LATEST);
    if let Some(error) = &invocation.function_error {
        response = response.with_header("x-amz-function-error", error);
    }
    if with_log {
        response = response.with_header("x-amz-log-result", &BASE64.encode(invocation.log_tail));
    }
    response
}

fn nothing(status: StatusCode) -> Response {
    Response::bytes("application/json", "").with_status(status)
}

/// Why a function was not run, for the caller: whoever may run it may know.
fn not_run(account: &Account, name: &FunctionName, error: InvokeError) -> ApiError {
    let kind = match &error {
        InvokeError::NotFound(_) => return not_found(account, name),
        InvokeError::EventNotJson(problem) => {
            return ApiError::new(
                ErrorKind::UnreadableBody,
                format!("Could not parse request body into json: {problem}"),
            );
        }
        InvokeError::EventTooLarge { .. } => ErrorKind::TooLarge,
        InvokeError::Busy(_) => ErrorKind::Throttled,
        InvokeError::Code { .. } => ErrorKind::UnusableCode,
        InvokeError::Python { .. } => ErrorKind::NoRuntime,
        InvokeError::Start { .. } | InvokeError::Store { .. } => return ApiError::internal(error),
        InvokeError::Stopping => return ApiError::unavailable(error),
    };
    ApiError::new(kind, chain(&error))
}
