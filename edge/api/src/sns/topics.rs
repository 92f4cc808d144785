//! Notification topics.

use picket_model::NotificationTopicName;
use picket_store::{subscriptions, topics};

use super::{attributes, invalid, page, topic};
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::query::{answer, done, form};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Sns, "CreateTopic", create),
    operation!(Sns, "DeleteTopic", delete),
    operation!(Sns, "ListTopics", list),
    operation!(Sns, "GetTopicAttributes", get_attributes),
    operation!(Sns, "SetTopicAttributes", set_attributes),
];

/// aws: CreateTopic
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let name = form.need("Name")?;
    if name.ends_with(".fifo") {
        return Err(invalid("Topic Name Reason: topics in strict order (.fifo) are not supported"));
    }
    let name = NotificationTopicName::parse(name)
        .map_err(|error| invalid(format_args!("Topic Name Reason: {error}")))?;
    let mut attributes = form.map("Attributes")?;
    for (name, value) in &attributes {
        attributes::check_topic(name, value)
            .map_err(|problem| invalid(format_args!("Attributes Reason: {problem}")))?;
    }
    if form.get("DataProtectionPolicy").is_some_and(|policy| !policy.is_empty()) {
        return Err(invalid("DataProtectionPolicy is not supported; leave it out"));
    }
    // What can only be said in one way is not kept.
    attributes.remove("FifoTopic");
    let arn = state.account.notification_topic_arn(&name);
    let now = state.now();
    state.write(move |tx| Ok(topics::create(tx, &name, &attributes, now)?)).await?;
    Ok(answer(&request, |xml| xml.text("TopicArn", arn)))
}

/// aws: DeleteTopic
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = topic(state, &form(&request)?, "TopicArn")?;
    // A topic that is not there is deleted already. Source: aws sns DeleteTopic.
    state.write(move |tx| Ok(topics::delete(tx, &name)?)).await?;
    Ok(done(&request))
}

/// aws: ListTopics
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&form(&request)?);
    let topics = state.read(move |tx| Ok(topics::list(tx, &page)?)).await?;
    Ok(answer(&request, |xml| {
        xml.members("Topics", &topics.items, |xml, topic| {
            xml.text("TopicArn", state.account.notification_topic_arn(&topic.name));
        });
        xml.maybe("NextToken", topics.next);
    }))
}

/// aws: GetTopicAttributes
async fn get_attributes(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = topic(state, &form(&request)?, "TopicArn")?;
    let (topic, n_subscriptions) = state
        .read(move |tx| {
            Ok((topics::get(tx, &name)?, subscriptions::all_of_topic(tx, &name)?.len()))
        })
        .await?;
    let attributes = attributes::of_topic(&state.account, &topic, n_subscriptions);
    Ok(answer(&request, |xml| xml.map("Attributes", &attributes)))
}

/// aws: SetTopicAttributes
async fn set_attributes(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let topic = topic(state, &form, "TopicArn")?;
    let name = form.need("AttributeName")?.to_owned();
    let value = form.get("AttributeValue").unwrap_or_default().to_owned();
    if name == "FifoTopic" {
        return Err(invalid("AttributeName Reason: FifoTopic cannot be changed"));
    }
    attributes::check_topic(&name, &value)
        .map_err(|problem| invalid(format_args!("AttributeValue Reason: {problem}")))?;
    state.write(move |tx| Ok(topics::set_attribute(tx, &topic, &name, &value)?)).await?;
    Ok(done(&request))
}
