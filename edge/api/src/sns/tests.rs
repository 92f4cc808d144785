use picket_model::NotificationTopicName;
use picket_store::outbox;

use crate::service::Service::Sns;
use crate::testing::{Answer, Api, NOON, element};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:BadIoTDevices";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:IsolateDevice";

async fn call(api: &Api, action: &str, fields: &[(&str, &str)]) -> Answer {
    let version = [("Action", action), ("Version", "2010-03-31")];
    let fields: Vec<_> = version.iter().chain(fields).copied().collect();
    api.form(Sns, &fields).await
}

/// The XML of an answer that must be a success.
async fn done(api: &Api, action: &str, fields: &[(&str, &str)]) -> String {
    let (status, xml) = call(api, action, fields).await;
    assert_eq!(status, 200, "{xml}");
    xml
}

/// The code and the message of a refusal with a status.
async fn refused(api: &Api, action: &str, fields: &[(&str, &str)], expected: u16) -> String {
    let (status, xml) = call(api, action, fields).await;
    assert_eq!(status, expected, "{xml}");
    format!("{}: {}", element(&xml, "Code"), element(&xml, "Message"))
}

async fn with_topic() -> Api {
    let api = Api::new();
    done(&api, "CreateTopic", &[("Name", "BadIoTDevices")]).await;
    api
}

async fn subscribe(api: &Api) -> String {
    let fields = [("TopicArn", TOPIC), ("Protocol", "lambda"), ("Endpoint", FUNCTION)];
    let xml = done(api, "Subscribe", &fields).await;
    element(&xml, "SubscriptionArn").to_owned()
}

#[tokio::test]
async fn a_topic_is_made_once_and_named_by_its_arn() {
    let api = Api::new();
    let xml = done(&api, "CreateTopic", &[("Name", "BadIoTDevices")]).await;
    insta::assert_snapshot!(xml);
    assert_eq!(done(&api, "CreateTopic", &[("Name", "BadIoTDevices")]).await, xml);
    insta::assert_snapshot!(done(&api, "ListTopics", &[]).await);
    done(&api, "DeleteTopic", &[("TopicArn", TOPIC)]).await;
    insta::assert_snapshot!(done(&api, "DeleteTopic", &[("TopicArn", TOPIC)]).await);
    insta::assert_snapshot!(call(&api, "GetTopicAttributes", &[("TopicArn", TOPIC)]).await.1);
}

#[tokio::test]
async fn a_topic_that_cannot_be_is_refused_in_words() {
    let api = Api::new();
    let check = async |name: &str, expected: &str| {
        let refusal = refused(&api, "CreateTopic", &[("Name", name)], 400).await;
        assert!(refusal.starts_with("InvalidParameter: "), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}\nshould contain\n{expected}");
    };
    check("", "`Name` is missing").await;
    check("a b", "Invalid parameter: Topic Name Reason: ").await;
    check("a\0b", "contains `\\0`").await;
    check("ordered.fifo", "strict order").await;
    check(&"x".repeat(257), "257 bytes long").await;
    let attribute = [
        ("Name", "T"),
        ("Attributes.entry.1.key", "KmsMasterKeyId"),
        ("Attributes.entry.1.value", "alias/x"),
    ];
    let refusal = refused(&api, "CreateTopic", &attribute, 400).await;
    assert!(refusal.contains("Attributes Reason: attribute `KmsMasterKeyId`"), "{refusal}");
}

#[tokio::test]
async fn an_attribute_of_a_topic_is_set_and_taken_away() {
    let api = with_topic().await;
    let set = async |value: &str| {
        let fields =
            [("TopicArn", TOPIC), ("AttributeName", "DisplayName"), ("AttributeValue", value)];
        done(&api, "SetTopicAttributes", &fields).await;
        done(&api, "GetTopicAttributes", &[("TopicArn", TOPIC)]).await
    };
    let name = "<entry><key>DisplayName</key><value>";
    assert!(set("Bad & worse").await.contains(&format!("{name}Bad &amp; worse</value>")));
    assert!(set("").await.contains(&format!("{name}</value>")));
}

#[tokio::test]
async fn a_function_is_subscribed_at_once_and_only_once() {
    let api = with_topic().await;
    let arn = subscribe(&api).await;
    assert_eq!(subscribe(&api).await, arn);
    let id = arn.strip_prefix(&format!("{TOPIC}:")).unwrap();
    assert_eq!(id.len(), 36);
    for (action, fields) in [
        ("ListSubscriptions", &[][..]),
        ("ListSubscriptionsByTopic", &[("TopicArn", TOPIC)]),
        ("GetSubscriptionAttributes", &[("SubscriptionArn", &arn)]),
    ] {
        let xml = done(&api, action, fields).await.replace(id, "UUID");
        insta::assert_snapshot!(action, xml);
    }
    done(&api, "Unsubscribe", &[("SubscriptionArn", &arn)]).await;
    done(&api, "Unsubscribe", &[("SubscriptionArn", &arn)]).await;
    let gone = [("SubscriptionArn", arn.as_str())];
    let refusal = refused(&api, "GetSubscriptionAttributes", &gone, 404).await;
    assert!(refusal.starts_with("NotFound: "), "{refusal}");
}

#[tokio::test]
async fn what_cannot_be_told_is_not_subscribed() {
    let api = with_topic().await;
    let check = async |protocol: &str, endpoint: &str, expected: &str| {
        let fields = [("TopicArn", TOPIC), ("Protocol", protocol), ("Endpoint", endpoint)];
        let refusal = refused(&api, "Subscribe", &fields, 400).await;
        assert!(refusal.contains(expected), "{refusal}\nshould contain\n{expected}");
    };
    for protocol in ["https", "email", "sqs", "sms", "firehose"] {
        check(protocol, "x", "is not supported by this version; supported is lambda").await;
    }
    check("pigeon", "x", "`pigeon` is not a protocol; supported is lambda").await;
    check("", "x", "`Protocol` is missing").await;
    check("lambda", "", "`Endpoint` is missing").await;
    check("lambda", "IsolateDevice", "Lambda endpoint ARN Reason: ").await;
    check("lambda", &FUNCTION.replace("123456789012", "999999999999"), "of this account").await;
    let nowhere = format!("{TOPIC}2");
    let fields = [("TopicArn", nowhere.as_str()), ("Protocol", "lambda"), ("Endpoint", FUNCTION)];
    refused(&api, "Subscribe", &fields, 404).await;
    let token = [("TopicArn", TOPIC), ("Token", "abc")];
    let refusal = refused(&api, "ConfirmSubscription", &token, 400).await;
    assert_eq!(refusal, "InvalidParameter: Invalid parameter: Token");
    let arn = [("SubscriptionArn", TOPIC)];
    refused(&api, "Unsubscribe", &arn, 400).await;
}

#[tokio::test]
async fn a_message_lies_in_the_outbox_when_its_id_is_given() {
    let api = with_topic().await;
    let fields = [
        ("TopicArn", TOPIC),
        ("Subject", "hello"),
        ("MessageStructure", "json"),
        ("Message", r#"{"default":"d","lambda":"l\u0007"}"#),
        ("MessageAttributes.entry.1.Name", "kind"),
        ("MessageAttributes.entry.1.Value.DataType", "String"),
        ("MessageAttributes.entry.1.Value.StringValue", "test"),
    ];
    let xml = done(&api, "Publish", &fields).await;
    let id = element(&xml, "MessageId").to_owned();
    let entry = api.state.store.read(|tx| outbox::entry(tx, &id)).unwrap().unwrap();
    assert_eq!(entry.topic_arn, TOPIC);
    assert_eq!(entry.subject.as_deref(), Some("hello"));
    assert_eq!(entry.message, "l\u{7}");
    assert_eq!(entry.attributes["kind"].value, "test");
    assert_eq!(entry.at, NOON);
}

#[tokio::test]
async fn what_is_refused_is_not_published() {
    let api = with_topic().await;
    let long = "x".repeat(300_000);
    let nowhere = format!("{TOPIC}2");
    for (fields, status) in [
        (&[("TopicArn", TOPIC)][..], 400),
        (&[("Message", "m")], 400),
        (&[("TopicArn", TOPIC), ("Message", &long)], 400),
        (&[("TopicArn", TOPIC), ("Message", "m"), ("Subject", "a\nb")], 400),
        (&[("TopicArn", TOPIC), ("TargetArn", TOPIC), ("Message", "m")], 400),
        (&[("PhoneNumber", "+1"), ("Message", "m")], 400),
        (&[("TopicArn", "x"), ("Message", "m")], 400),
        (&[("TopicArn", &nowhere), ("Message", "m")], 404),
        (&[("TopicArn", TOPIC), ("TopicArn", TOPIC), ("Message", "m")], 400),
    ] {
        refused(&api, "Publish", fields, status).await;
    }
    let waiting = api.state.store.read(|tx| outbox::pending(tx, 10)).unwrap();
    assert!(waiting.is_empty());
    let (status, _) = api.raw(Sns, "POST /", &[], "Action=Publish&Message=%ff".into()).await;
    assert_eq!(status, 400);
    // The topic's name of its own kind is still free of what was refused.
    let name = NotificationTopicName::parse("BadIoTDevices").unwrap();
    assert!(api.state.store.read(|tx| picket_store::topics::find(tx, &name)).unwrap().is_some());
}

#[tokio::test]
async fn lists_come_in_pages_of_a_hundred() {
    let api = Api::new();
    for n in 0..101 {
        done(&api, "CreateTopic", &[("Name", &format!("t{n:03}"))]).await;
    }
    let first = done(&api, "ListTopics", &[]).await;
    assert_eq!(first.matches("<TopicArn>").count(), 100);
    let token = element(&first, "NextToken");
    let second = done(&api, "ListTopics", &[("NextToken", token)]).await;
    assert_eq!(second.matches("<TopicArn>").count(), 1);
    assert!(second.contains(":t100<") && !second.contains("NextToken"));
    refused(&api, "ListTopics", &[("NextToken", "x")], 400).await;
    refused(&api, "ListSubscriptions", &[("NextToken", token)], 400).await;
}
