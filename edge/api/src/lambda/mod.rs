//! Lambda: functions, running them, and who may.

mod configuration;
mod functions;
mod invoke;
mod name;
mod permissions;
#[cfg(test)]
mod tests;

use picket_model::{Account, Function, FunctionName};
use picket_store::RegistryError;

use crate::error::{ApiError, ErrorKind};
use crate::operation::Operation;
use crate::request::Request;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[&[Operation]] =
    &[functions::OPERATIONS, invoke::OPERATIONS, permissions::OPERATIONS];

/// The one version there is of a function.
const LATEST: &str = "$LATEST";

/// The function that the path names, in any of the ways to name one.
///
/// # Errors
/// Invalid request, or not found if a version or an alias is asked for: there are none.
fn function_name(state: &ApiState, request: &Request) -> Result<FunctionName, ApiError> {
    let (name, qualifier) =
        name::parse(&state.account, request.label("FunctionName")?).map_err(ApiError::invalid)?;
    let parameter = request.query("Qualifier");
    if let (Some(one), Some(other)) = (qualifier, parameter)
        && one != other
    {
        return Err(ApiError::invalid(format!(
            "The derived qualifier from the function name `{}` does not match the specified \
             qualifier `{}`",
            one.escape_debug(),
            other.escape_debug()
        )));
    }
    match parameter.or(qualifier) {
        None | Some(LATEST) => Ok(name),
        Some(other) => Err(ApiError::new(
            ErrorKind::NotFound,
            format!(
                "Function not found: {}:{} (versions and aliases are not kept here; there is only \
                 {LATEST})",
                state.account.function_arn(&name),
                other.escape_debug()
            ),
        )),
    }
}

fn not_found(account: &Account, name: &FunctionName) -> ApiError {
    let arn = account.function_arn(name);
    ApiError::new(ErrorKind::NotFound, format!("Function not found: {arn}"))
}

/// What the store says about a function, in Lambda's words where they differ from the registry's.
fn refused(account: &Account, name: &FunctionName, error: RegistryError) -> ApiError {
    match error {
        RegistryError::NotFound { .. } => not_found(account, name),
        RegistryError::AlreadyExists { .. } => {
            ApiError::new(ErrorKind::AlreadyExists, format!("Function already exist: {name}"))
        }
        other => other.into(),
    }
}

/// Checks the revision that a caller expects.
///
/// # Errors
/// Precondition failed.
fn expect_revision(function: &Function, expected: Option<&str>) -> Result<(), ApiError> {
    match expected {
        Some(expected) if expected != function.revision_id => Err(ApiError::new(
            ErrorKind::PreconditionFailed,
            "The RevisionId provided does not match the latest RevisionId. Call the GetFunction \
             or the GetPolicy API to retrieve the latest RevisionId",
        )),
        _ => Ok(()),
    }
}
