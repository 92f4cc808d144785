//! SNS: notification topics, their subscriptions, and publishing.

mod attributes;
mod message;
mod publish;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

use picket_model::NotificationTopicName;

use crate::error::ApiError;
use crate::operation::Operation;
use crate::query::Form;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[&[Operation]] =
    &[topics::OPERATIONS, subscriptions::OPERATIONS, publish::OPERATIONS];

/// Items of one page of a list. Source: aws sns ListTopics ("limited to 100").
const PAGE: usize = 100;

/// "Invalid parameter: ..", as SNS words it.
fn invalid(problem: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("Invalid parameter: {problem}"))
}

/// The topic that a field names by its ARN.
fn topic(
    state: &ApiState,
    form: &Form,
    field: &'static str,
) -> Result<NotificationTopicName, ApiError> {
    let arn = form.need(field)?;
    state
        .account
        .parse_notification_topic(arn)
        .map_err(|error| invalid(format_args!("{field} Reason: {error}")))
}

/// The page that `NextToken` asks for.
fn page(form: &Form) -> picket_store::Page {
    let after = form.get("NextToken").filter(|token| !token.is_empty()).map(str::to_owned);
    picket_store::Page { limit: PAGE, after }
}
