//! Publishing to a notification topic.

use picket_store::{OutboxEntry, outbox, topics};

use super::message::Message;
use super::{invalid, topic};
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::query::{Form, answer, form};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[operation!(Sns, "Publish", publish)];

/// aws: Publish
async fn publish(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let field = target(&form)?;
    let topic = topic(state, &form, field)?;
    for fifo in ["MessageDeduplicationId", "MessageGroupId"] {
        if form.get(fifo).is_some_and(|value| !value.is_empty()) {
            return Err(invalid(format_args!(
                "{fifo} Reason: topics in strict order (.fifo) are not supported"
            )));
        }
    }
    let message = Message::parse(&form).map_err(invalid)?;
    let id = uuid::Uuid::new_v4().to_string();
    let entry = OutboxEntry {
        id: id.clone(),
        topic_arn: state.account.notification_topic_arn(&topic),
        subject: message.subject,
        message: message.text,
        attributes: message.attributes,
        at: state.now(),
    };
    state
        .write(move |tx| {
            topics::get(tx, &topic)?;
            outbox::push(tx, &entry)?;
            Ok(())
        })
        .await?;
    Ok(answer(&request, |xml| xml.text("MessageId", id)))
}

/// The field that names the topic: exactly one of them must be there.
fn target(form: &Form) -> Result<&'static str, ApiError> {
    let is_given = |field: &&str| form.get(field).is_some_and(|value| !value.is_empty());
    if is_given(&"PhoneNumber") {
        return Err(invalid("PhoneNumber Reason: text messages are not supported"));
    }
    let mut given = ["TopicArn", "TargetArn"].into_iter().filter(is_given);
    match (given.next(), given.next()) {
        (Some(field), None) => Ok(field),
        (None, _) => Err(invalid("TopicArn or TargetArn Reason: no value for required parameter")),
        (Some(_), Some(_)) => {
            Err(invalid("TopicArn Reason: both TopicArn and TargetArn specified"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_exactly_one_topic() {
        let target = |body: &str| {
            target(&Form::parse(body.as_bytes()).unwrap()).map_err(|error| error.message)
        };
        assert_eq!(target("TopicArn=a"), Ok("TopicArn"));
        assert_eq!(target("TargetArn=a&TopicArn="), Ok("TargetArn"));
        assert!(target("").unwrap_err().contains("no value"));
        assert!(target("TopicArn=a&TargetArn=b").unwrap_err().contains("both"));
        assert!(target("PhoneNumber=1").unwrap_err().contains("text messages"));
    }
}
