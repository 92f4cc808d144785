//! The event that a function gets for a notification (AWS: the Lambda event of an SNS record).

use std::collections::BTreeMap;

use picket_store::OutboxEntry;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Members as AWS orders and spells them. It spells the two URLs differently for other
/// subscribers (`SigningCertURL`); here it is `Url`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    records: [Record<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    event_source: &'static str,
    event_version: &'static str,
    event_subscription_arn: &'a str,
    sns: Sns<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sns<'a> {
    r#type: &'static str,
    message_id: String,
    topic_arn: &'a str,
    subject: Option<&'a str>,
    message: &'a str,
    timestamp: String,
    signature_version: &'static str,
    signature: &'static str,
    signing_cert_url: &'static str,
    unsubscribe_url: &'static str,
    message_attributes: BTreeMap<&'a str, Attribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute<'a> {
    r#type: &'a str,
    value: &'a str,
}

/// The id of an entry's message: the same for each of its subscribers and each attempt, so that
/// they can drop doubles.
///
/// A UUID (version 8: of our own making) from the first bytes of the SHA-256 of the entry's id.
pub fn message_id(entry_id: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(format!("picket message {entry_id}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Writes the event of one subscription's share of an entry.
///
/// Nothing is signed here: the function's resource policy says who may invoke it. The members
/// about signatures are there because handlers may look at them.
pub fn sns_event(entry: &OutboxEntry, subscription_arn: &str) -> String {
    let attributes = entry.attributes.iter().map(|(name, attribute)| {
        let attribute = Attribute { r#type: &attribute.data_type, value: &attribute.value };
        (name.as_str(), attribute)
    });
    let event = Event {
        records: [Record {
            event_source: "aws:sns",
            event_version: "1.0",
            event_subscription_arn: subscription_arn,
            sns: Sns {
                r#type: "Notification",
                message_id: message_id(&entry.id).to_string(),
                topic_arn: &entry.topic_arn,
                subject: entry.subject.as_deref(),
                message: &entry.message,
                timestamp: entry.at.to_string(),
                signature_version: "1",
                signature: "UNSIGNED",
                signing_cert_url: "",
                unsubscribe_url: "",
                message_attributes: attributes.collect(),
            },
        }],
    };
    #[expect(clippy::expect_used, reason = "strings can be written as JSON")]
    serde_json::to_string(&event).expect("a notification event is JSON")
}

#[cfg(test)]
mod tests {
    use picket_model::Timestamp;
    use picket_store::MessageAttribute;
    use serde_json::{Value, json};

    use super::*;

    fn entry() -> OutboxEntry {
        OutboxEntry {
            id: "alarm".to_owned(),
            topic_arn: "arn:aws:sns:us-east-1:000000000000:BadIoTDevices".to_owned(),
            subject: None,
            message: r#"{"thingName":"Thing01"}"#.to_owned(),
            attributes: BTreeMap::new(),
            at: Timestamp::from_millis(1_573_786_836_527),
        }
    }

    #[test]
    fn the_event_is_shaped_as_aws_shapes_it() {
        assert_eq!(
            sns_event(&entry(), "arn:aws:sns:us-east-1:000000000000:BadIoTDevices:1"),
            concat!(
                r#"{"Records":[{"EventSource":"aws:sns","EventVersion":"1.0","#,
                r#""EventSubscriptionArn":"arn:aws:sns:us-east-1:000000000000:BadIoTDevices:1","#,
                r#""Sns":{"Type":"Notification","MessageId":"6da751b1-51df-8936-9cb4-fe29e88c4a68","#,
                r#""TopicArn":"arn:aws:sns:us-east-1:000000000000:BadIoTDevices","Subject":null,"#,
                r#""Message":"{\"thingName\":\"Thing01\"}","#,
                r#""Timestamp":"2019-11-15T03:00:36.527Z","SignatureVersion":"1","#,
                r#""Signature":"UNSIGNED","SigningCertUrl":"","UnsubscribeUrl":"","#,
                r#""MessageAttributes":{}}}]}"#,
            )
        );
    }

    #[test]
    fn subject_and_attributes_are_handed_on() {
        let mut entry = entry();
        entry.subject = Some("a subject".to_owned());
        let attribute = MessageAttribute { data_type: "String".into(), value: "red".into() };
        entry.attributes.insert("color".to_owned(), attribute);
        let event: Value = serde_json::from_str(&sns_event(&entry, "arn")).unwrap();
        let sns = &event["Records"][0]["Sns"];
        assert_eq!(sns["Subject"], "a subject");
        let expected = json!({ "color": { "Type": "String", "Value": "red" } });
        assert_eq!(sns["MessageAttributes"], expected);
    }

    #[test]
    fn a_message_keeps_its_id_and_another_has_another() {
        assert_eq!(message_id("one"), message_id("one"));
        assert_ne!(message_id("one"), message_id("two"));
        assert_eq!(message_id("one").get_version_num(), 8);
    }
}
