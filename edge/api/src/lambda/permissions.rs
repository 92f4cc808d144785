//! Who may run a function: its resource policy.

use picket_model::Account;
use picket_respond::function_policy::{Principal, Statement};
use picket_store::functions;
use serde_json::{Value, json};

use super::{expect_revision, function_name, refused};
use crate::error::{ApiError, ErrorKind};
use crate::input::{Members, invalid_value};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Lambda, "AddPermission", add),
    operation!(Lambda, "GetPolicy", get),
    operation!(Lambda, "RemovePermission", remove),
];

/// Longest policy of a function, in bytes. Source: AWS Lambda quotas (20 KB).
const POLICY_BYTES_MAX: usize = 20 * 1024;

/// aws: AddPermission
async fn add(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let members = request.members()?;
    let statement = statement(&members, state.account.function_arn(&name))?;
    let expected = members.str("RevisionId")?.map(str::to_owned);
    let json = statement.to_json().to_string();
    let answer = Response::json(&json!({ "Statement": json }));
    let account = state.account.clone();
    state
        .write(move |tx| {
            let refused = |error| refused(&account, &name, error);
            expect_revision(&functions::get(tx, &name).map_err(refused)?, expected.as_deref())?;
            let policy = functions::policy(tx, &name).map_err(refused)?;
            if policy.iter().any(|(sid, _)| *sid == statement.sid) {
                return Err(ApiError::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "The statement id ({}) provided already exists. Please provide a new \
                         statement id, or remove the existing statement.",
                        statement.sid
                    ),
                ));
            }
            let bytes = json.len() + policy.iter().map(|(_, json)| json.len()).sum::<usize>();
            if bytes > POLICY_BYTES_MAX {
                return Err(ApiError::new(
                    ErrorKind::PolicyTooLong,
                    format!(
                        "The final policy size ({bytes}) is bigger than the limit \
                         ({POLICY_BYTES_MAX})."
                    ),
                ));
            }
            functions::add_permission(tx, &name, &statement.sid, &json).map_err(refused)
        })
        .await?;
    Ok(answer.with_status(axum::http::StatusCode::CREATED))
}

/// Reads and checks the statement that a request describes.
fn statement(members: &Members, resource: String) -> Result<Statement, ApiError> {
    for (member, problem) in [
        ("FunctionUrlAuthType", "functions have no URLs here"),
        ("InvokedViaFunctionUrl", "functions have no URLs here"),
        ("EventSourceToken", "Alexa is not supported"),
        ("PrincipalOrgID", "organizations are not supported"),
    ] {
        // A condition that is not checked must not be accepted.
        if members.get(member).is_some() {
            return Err(ApiError::invalid(format!("`{member}` was given: {problem}")));
        }
    }
    let sid = members.required_str("StatementId")?;
    let is_sid = (1..=100).contains(&sid.len())
        && sid.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !is_sid {
        let rule = "Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]{1,100})";
        return Err(invalid_value(sid, "statementId", rule));
    }
    let action = members.required_str("Action")?;
    let is_action = action == "*"
        || action.strip_prefix("lambda:").is_some_and(|action| {
            action == "*" || (!action.is_empty() && action.chars().all(|c| c.is_ascii_alphabetic()))
        });
    if !is_action || action.len() > 100 {
        let rule =
            "Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])";
        return Err(invalid_value(action, "action", rule));
    }
    let text = members.required_str("Principal")?;
    let principal = Principal::parse(text).filter(|_| text.len() <= 2_048).ok_or_else(|| {
        ApiError::invalid(format!(
            "The provided principal was invalid: `{}`; give a service (sns.amazonaws.com), an \
             account of 12 digits, an ARN, or *",
            text.escape_debug()
        ))
    })?;
    let source_arn = members.str("SourceArn")?;
    if let Some(arn) = source_arn {
        let is_arn = arn.starts_with("arn:")
            && arn.splitn(6, ':').count() == 6
            && arn.len() <= 2_048
            && !arn.chars().any(|c| c.is_control() || c.is_whitespace());
        if !is_arn {
            return Err(invalid_value(arn, "sourceArn", "Member must be an ARN"));
        }
    }
    let source_account = members.str("SourceAccount")?;
    if let Some(account) = source_account
        && !Account::is_id(account)
    {
        return Err(invalid_value(account, "sourceAccount", "Member must be 12 digits"));
    }
    Ok(Statement {
        sid: sid.to_owned(),
        action: action.to_owned(),
        principal,
        resource,
        source_arn: source_arn.map(str::to_owned),
        source_account: source_account.map(str::to_owned),
    })
}

fn no_policy() -> ApiError {
    ApiError::new(ErrorKind::NotFound, "The resource you requested does not exist.")
}

/// aws: GetPolicy
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let account = state.account.clone();
    let (function, policy) = state
        .read(move |tx| {
            let refused = |error| refused(&account, &name, error);
            let function = functions::get(tx, &name).map_err(refused)?;
            Ok((function, functions::policy(tx, &name).map_err(refused)?))
        })
        .await?;
    if policy.is_empty() {
        return Err(no_policy());
    }
    // What cannot be read allows nothing, and is shown as the text that it is.
    let statements: Vec<Value> = policy
        .into_iter()
        .map(|(_, text)| serde_json::from_str(&text).unwrap_or(Value::String(text)))
        .collect();
    let policy = json!({"Version": "2012-10-17", "Id": "default", "Statement": statements});
    Ok(Response::json(&json!({
        "Policy": policy.to_string(),
        "RevisionId": function.revision_id,
    })))
}

/// aws: RemovePermission
async fn remove(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let sid = request.label("StatementId")?.to_owned();
    let expected = request.query("RevisionId").map(str::to_owned);
    let account = state.account.clone();
    state
        .write(move |tx| {
            let refused = |error| refused(&account, &name, error);
            expect_revision(&functions::get(tx, &name).map_err(refused)?, expected.as_deref())?;
            if !functions::policy(tx, &name).map_err(refused)?.iter().any(|(it, _)| *it == sid) {
                return Err(ApiError::new(
                    ErrorKind::NotFound,
                    format!("Statement {} is not found in resource policy.", sid.escape_debug()),
                ));
            }
            functions::remove_permission(tx, &name, &sid).map_err(refused)
        })
        .await?;
    Ok(Response::empty().with_status(axum::http::StatusCode::NO_CONTENT))
}
