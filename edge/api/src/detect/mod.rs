//! Detect: security profiles, their targets and what they refer to, violations and metric values.

mod behaviors;
mod custom_metrics;
mod dimensions;
mod metric_values;
mod model_training;
mod profile;
mod references;
mod retained;
mod security_profiles;
#[cfg(test)]
mod tests;
mod violation;
mod violations;

pub(crate) use behaviors::ProfileRules;
pub(crate) use violations::moments;

use picket_store::Page;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::operation::Operation;
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;

pub(crate) const OPERATIONS: &[&[Operation]] = &[
    security_profiles::OPERATIONS,
    custom_metrics::OPERATIONS,
    dimensions::OPERATIONS,
    violations::OPERATIONS,
    metric_values::OPERATIONS,
    model_training::OPERATIONS,
];

/// The page of a list of the store that a request asks for.
pub(crate) fn page(request: &Request) -> Result<Page, ApiError> {
    Ok(PageRequest::next_token(request)?.of_store())
}

/// A list as an answer, with the token of the page after it.
pub(crate) fn listed(member: &str, items: Vec<Value>, next: Option<String>) -> Response {
    Response::json(&with_next(json!({ member: items }), "nextToken", next))
}
