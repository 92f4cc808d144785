//! Subscriptions to notification topics.

use picket_model::{Account, Protocol, Subscription};
use picket_store::{subscriptions, topics};

use super::{attributes, invalid, page, topic};
use crate::error::ApiError;
use crate::operation::{Operation, operation};
use crate::query::{Form, Xml, answer, done, form};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Sns, "Subscribe", subscribe),
    operation!(Sns, "ConfirmSubscription", confirm),
    operation!(Sns, "Unsubscribe", unsubscribe),
    operation!(Sns, "ListSubscriptions", list),
    operation!(Sns, "ListSubscriptionsByTopic", list_by_topic),
    operation!(Sns, "GetSubscriptionAttributes", get_attributes),
    operation!(Sns, "SetSubscriptionAttributes", set_attributes),
];

/// AWS's protocols that are not spoken here yet.
const LATER: [&str; 8] =
    ["http", "https", "email", "email-json", "sms", "sqs", "application", "firehose"];

/// aws: Subscribe
async fn subscribe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let topic = topic(state, &form, "TopicArn")?;
    let protocol = protocol(form.need("Protocol")?)?;
    let endpoint = form.need("Endpoint")?.to_owned();
    match protocol {
        Protocol::Lambda => {
            state
                .account
                .parse_function(&endpoint)
                .map_err(|error| invalid(format_args!("Lambda endpoint ARN Reason: {error}")))?;
        }
    }
    let attributes = form.map("Attributes")?;
    for (name, value) in &attributes {
        attributes::check_subscription(name, value)
            .map_err(|problem| invalid(format_args!("Attributes Reason: {problem}")))?;
    }
    let arn = format!("{}:{}", state.account.notification_topic_arn(&topic), uuid::Uuid::new_v4());
    let subscription =
        Subscription { arn, topic, protocol, endpoint, attributes, created_at: state.now() };
    let subscription =
        state.write(move |tx| Ok(subscriptions::subscribe(tx, &subscription)?)).await?;
    Ok(answer(&request, |xml| xml.text("SubscriptionArn", subscription.arn)))
}

fn protocol(text: &str) -> Result<Protocol, ApiError> {
    Protocol::parse(text).ok_or_else(|| {
        if LATER.contains(&text) {
            invalid(format_args!(
                "Protocol Reason: protocol `{text}` is not supported by this version; supported \
                 is lambda"
            ))
        } else {
            invalid(format_args!(
                "Protocol Reason: `{}` is not a protocol; supported is lambda",
                text.escape_debug()
            ))
        }
    })
}

/// aws: ConfirmSubscription
async fn confirm(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let topic = topic(state, &form, "TopicArn")?;
    form.need("Token")?;
    state.read(move |tx| Ok(topics::get(tx, &topic)?)).await?;
    // Functions are subscribed at once, so no token was ever given out.
    Err(invalid("Token"))
}

/// The ARN of a subscription: a topic's with one part more.
fn arn(account: &Account, form: &Form) -> Result<String, ApiError> {
    let arn = form.need("SubscriptionArn")?;
    let is_subscription = arn.rsplit_once(':').is_some_and(|(topic, id)| {
        !id.is_empty() && account.parse_notification_topic(topic).is_ok()
    });
    is_subscription.then(|| arn.to_owned()).ok_or_else(|| {
        invalid(format_args!(
            "SubscriptionArn Reason: `{}` is not the ARN of a subscription of this account",
            arn.escape_debug()
        ))
    })
}

/// aws: Unsubscribe
async fn unsubscribe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let arn = arn(&state.account, &form(&request)?)?;
    state.write(move |tx| Ok(subscriptions::unsubscribe(tx, &arn)?)).await?;
    Ok(done(&request))
}

fn write_list(
    account: &Account,
    request: &Request,
    list: picket_store::Paged<Subscription>,
) -> Response {
    answer(request, |xml: &mut Xml| {
        xml.members("Subscriptions", list.items, |xml, subscription| {
            xml.text("SubscriptionArn", subscription.arn);
            xml.text("Owner", &account.id);
            xml.text("Protocol", subscription.protocol.as_str());
            xml.text("Endpoint", subscription.endpoint);
            xml.text("TopicArn", account.notification_topic_arn(&subscription.topic));
        });
        xml.maybe("NextToken", list.next);
    })
}

/// aws: ListSubscriptions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&form(&request)?);
    let list = state.read(move |tx| Ok(subscriptions::list(tx, &page)?)).await?;
    Ok(write_list(&state.account, &request, list))
}

/// aws: ListSubscriptionsByTopic
async fn list_by_topic(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let topic = topic(state, &form, "TopicArn")?;
    let page = page(&form);
    let list = state.read(move |tx| Ok(subscriptions::of_topic(tx, &topic, &page)?)).await?;
    Ok(write_list(&state.account, &request, list))
}

/// aws: GetSubscriptionAttributes
async fn get_attributes(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let arn = arn(&state.account, &form(&request)?)?;
    let subscription = state.read(move |tx| Ok(subscriptions::get(tx, &arn)?)).await?;
    let attributes = attributes::of_subscription(&state.account, &subscription);
    Ok(answer(&request, |xml| xml.map("Attributes", &attributes)))
}

/// aws: SetSubscriptionAttributes
async fn set_attributes(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let arn = arn(&state.account, &form)?;
    let name = form.need("AttributeName")?.to_owned();
    let value = form.get("AttributeValue").unwrap_or_default().to_owned();
    attributes::check_subscription(&name, &value)
        .map_err(|problem| invalid(format_args!("AttributeValue Reason: {problem}")))?;
    state.write(move |tx| Ok(subscriptions::set_attribute(tx, &arn, &name, &value)?)).await?;
    Ok(done(&request))
}
