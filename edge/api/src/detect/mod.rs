//! Detect: security profiles, their targets, violations and metric values.

mod metric_values;
mod profile;
mod security_profiles;
#[cfg(test)]
mod tests;
mod violation;
mod violations;

pub(crate) use profile::ProfileRules;

use picket_store::Page;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::operation::Operation;
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;

pub(crate) const OPERATIONS: &[&[Operation]] =
    &[security_profiles::OPERATIONS, violations::OPERATIONS, metric_values::OPERATIONS];

/// The page of a list of the store that a request asks for.
fn page(request: &Request) -> Result<Page, ApiError> {
    Ok(PageRequest::next_token(request)?.of_store())
}

/// A list as an answer, with the token of the page after it.
fn listed(member: &str, items: Vec<Value>, next: Option<String>) -> Response {
    Response::json(&with_next(json!({ member: items }), "nextToken", next))
}
