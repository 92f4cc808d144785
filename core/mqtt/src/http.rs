//! A message as HTTP carries it: the topic in the path, the payload as the body, and what MQTT says
//! besides in query and headers.
//!
//! Both doors take it in this form: the API's `Publish`, and devices that publish by HTTPS.
//! Source: aws iot-data Publish; AWS guide "HTTPS".

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use picket_model::limits::MqttLimits;
use serde_json::Value;

use crate::packet::{MessageProperties, UserProperties};
use crate::{QoS, Text};

/// User properties of one message. Source: AWS IoT quotas ("user properties", 20).
const USER_PROPERTIES_MAX: usize = 20;

/// What a request says of its message besides topic and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpMessage {
    /// Quality of service, 0 or 1.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// What MQTT 5 can carry besides.
    pub properties: MessageProperties,
}

/// A part of a request that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMember {
    /// Its name, as the service model spells it.
    pub member: &'static str,
    /// What it says.
    pub value: String,
    /// What it must satisfy, in AWS's words where there are some.
    pub rule: String,
}

/// Characters of a refused value that its message repeats.
const SHOWN_CHARS_MAX: usize = 200;

impl fmt::Display for BadMember {
    /// Writes it as AWS words it. Long values are cut and control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member, value, rule } = self;
        let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        write!(
            f,
            "1 validation error detected: Value '{}' at '{member}' failed to satisfy constraint: {rule}",
            shown.escape_debug()
        )
    }
}

impl HttpMessage {
    /// Reads it. `query` and `header` give the value under a name, if there is one.
    ///
    /// # Errors
    /// [`BadMember`], the first one.
    pub fn read<'r>(
        query: impl Fn(&str) -> Option<&'r str>,
        header: impl Fn(&str) -> Option<&'r str>,
    ) -> Result<Self, BadMember> {
        let qos = match number("qos", query("qos"), 1)? {
            None | Some(0) => QoS::AtMostOnce,
            Some(_) => QoS::AtLeastOnce,
        };
        let retain = match query("retain") {
            None | Some("false" | "False" | "FALSE") => false,
            Some("true" | "True" | "TRUE") => true,
            Some(other) => return Err(bad("retain", other, "Member must be true or false")),
        };
        Ok(Self { qos, retain, properties: properties(query, header)? })
    }
}

/// Checks that a topic can be published to: mqtt-5.0 4.7, and not reserved for the server.
///
/// # Errors
/// [`BadMember`] under the name `member`.
pub fn check_topic(member: &'static str, topic: &str) -> Result<(), BadMember> {
    let bytes_max = MqttLimits::default().topic_bytes_max;
    let rule = if topic.is_empty() {
        "Member must not be empty".to_owned()
    } else if topic.len() > bytes_max {
        format!("Member must have at most {bytes_max} bytes")
    } else if topic.contains(['+', '#']) {
        "Member must be a topic name, without the wildcards + and #".to_owned()
    } else if topic.chars().any(char::is_control) {
        "Member must not have control characters".to_owned()
    } else if topic.starts_with("$share/") {
        "Member must not begin with $share/".to_owned()
    } else {
        return Ok(());
    };
    Err(bad(member, topic, rule))
}

fn bad(member: &'static str, value: &str, rule: impl Into<String>) -> BadMember {
    BadMember { member, value: value.to_owned(), rule: rule.into() }
}

fn properties<'r>(
    query: impl Fn(&str) -> Option<&'r str>,
    header: impl Fn(&str) -> Option<&'r str>,
) -> Result<MessageProperties, BadMember> {
    let text = |name: &'static str| {
        let given = query(name).filter(|text| !text.is_empty());
        let rule = "Member must be a text of at most 65535 bytes without control characters";
        let read = |given| one_text(given).ok_or_else(|| bad(name, given, rule));
        given.map(read).transpose()
    };
    let response_topic = text("responseTopic")?;
    if let Some(topic) = &response_topic {
        check_topic("responseTopic", topic)?;
    }
    let correlation_data = header("x-amz-mqtt5-correlation-data").map(|given| {
        let bytes = STANDARD.decode(given).ok();
        let bytes = bytes.filter(|bytes| bytes.len() <= usize::from(u16::MAX)).map(Bytes::from);
        bytes.ok_or_else(|| bad("correlationData", given, "Member must be base64"))
    });
    let payload_is_utf8 = match header("x-amz-mqtt5-payload-format-indicator") {
        None => None,
        Some("UTF8_DATA") => Some(true),
        Some("UNSPECIFIED_BYTES") => Some(false),
        Some(other) => {
            let rule = "Member must satisfy enum value set: [UTF8_DATA, UNSPECIFIED_BYTES]";
            return Err(bad("payloadFormatIndicator", other, rule));
        }
    };
    let expiry = number("messageExpiry", query("messageExpiry"), u32::MAX)?;
    let user = header("x-amz-mqtt5-user-properties");
    Ok(MessageProperties {
        payload_is_utf8,
        expiry_s: expiry.filter(|&seconds| seconds > 0),
        content_type: text("contentType")?,
        response_topic,
        correlation_data: correlation_data.transpose()?,
        user: user.map_or(Ok(UserProperties::new()), user_properties)?,
    })
}

fn one_text(text: &str) -> Option<Text> {
    Text::new(text).filter(|text| !text.chars().any(char::is_control))
}

fn number(member: &'static str, given: Option<&str>, max: u32) -> Result<Option<u32>, BadMember> {
    let Some(given) = given else { return Ok(None) };
    let number: u64 =
        given.parse().map_err(|_| bad(member, given, "Member must be a whole number"))?;
    let too_large =
        || bad(member, given, format!("Member must have value less than or equal to {max}"));
    u32::try_from(number).ok().filter(|number| *number <= max).map(Some).ok_or_else(too_large)
}

/// User properties: a JSON list of objects, each with its names and values, in base64.
///
/// botocore writes what it is given as JSON; whoever gives it the JSON text that the guide asks
/// for sends that text as a JSON string.
fn user_properties(header: &str) -> Result<UserProperties, BadMember> {
    let refuse = || {
        let rule = "Member must be a JSON list of objects from strings to strings, in base64";
        bad("userProperties", header, rule)
    };
    let bytes = STANDARD.decode(header).map_err(|_| refuse())?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| refuse())?;
    if let Value::String(text) = &value {
        value = serde_json::from_str(text).map_err(|_| refuse())?;
    }
    let Value::Array(list) = value else { return Err(refuse()) };
    let mut properties = UserProperties::new();
    for object in &list {
        for (name, value) in object.as_object().ok_or_else(refuse)? {
            let value = value.as_str().and_then(Text::new).ok_or_else(refuse)?;
            properties.push((Text::new(name).ok_or_else(refuse)?, value));
        }
    }
    if properties.len() > USER_PROPERTIES_MAX {
        let rule = format!("Member must have at most {USER_PROPERTIES_MAX} properties");
        return Err(bad("userProperties", header, rule));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a query and headers, or what is wrong with which member.
    fn check(
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        expected: Result<HttpMessage, &str>,
    ) {
        let find = |pairs: &[(&'static str, &'static str)], name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let leak = |pairs: &[(&str, &str)]| -> Vec<(&'static str, &'static str)> {
            let leak = |text: &str| -> &'static str { String::from(text).leak() };
            pairs.iter().map(|(name, value)| (leak(name), leak(value))).collect()
        };
        let (query, headers) = (leak(query), leak(headers));
        let read = HttpMessage::read(|name| find(&query, name), |name| find(&headers, name));
        assert_eq!(read.map_err(|bad| bad.member), expected, "{query:?} {headers:?}");
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        check(&[], &[], Ok(HttpMessage::default()));
        check(&[("qos", "0"), ("retain", "false")], &[], Ok(HttpMessage::default()));
        check(&[("messageExpiry", "0"), ("contentType", "")], &[], Ok(HttpMessage::default()));
    }

    #[test]
    fn everything_can_be_said() {
        let text = |text| Text::new(text).unwrap();
        let message = HttpMessage {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: MessageProperties {
                payload_is_utf8: Some(true),
                expiry_s: Some(60),
                content_type: Some(text("text/plain")),
                response_topic: Some(text("r/1")),
                correlation_data: Some(Bytes::from_static(b"c-1")),
                user: vec![(text("k"), text("v")), (text("k"), text("w"))],
            },
        };
        let query = [
            ("qos", "1"),
            ("retain", "true"),
            ("messageExpiry", "60"),
            ("contentType", "text/plain"),
            ("responseTopic", "r/1"),
        ];
        for user in ["W3siayI6InYifSx7ImsiOiJ3In1d", "Ilt7XCJrXCI6XCJ2XCJ9LHtcImtcIjpcIndcIn1dIg=="]
        {
            let headers = [
                ("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA"),
                ("x-amz-mqtt5-correlation-data", "Yy0x"),
                ("x-amz-mqtt5-user-properties", user),
            ];
            check(&query, &headers, Ok(message.clone()));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (name, value) in [
            ("qos", "2"),
            ("qos", "-1"),
            ("qos", ""),
            ("retain", "perhaps"),
            ("messageExpiry", "4294967296"),
            ("messageExpiry", "99999999999999999999999"),
            ("contentType", "a\nb"),
            ("responseTopic", "a/#"),
            ("responseTopic", "$share/g/a"),
        ] {
            check(&[(name, value)], &[], Err(name));
        }
        let too_many = STANDARD.encode(format!("[{}]", vec![r#"{"k":"v"}"#; 21].join(",")));
        let too_long = STANDARD.encode(format!(r#"[{{"k":"{}"}}]"#, "v".repeat(65_536)));
        let nested = STANDARD.encode("[".repeat(100_000));
        for (name, value, member) in [
            ("x-amz-mqtt5-correlation-data", "%", "correlationData"),
            ("x-amz-mqtt5-payload-format-indicator", "TEXT", "payloadFormatIndicator"),
            ("x-amz-mqtt5-user-properties", "e30=", "userProperties"),
            ("x-amz-mqtt5-user-properties", "W3siayI6MX1d", "userProperties"),
            ("x-amz-mqtt5-user-properties", &too_many, "userProperties"),
            ("x-amz-mqtt5-user-properties", &too_long, "userProperties"),
            ("x-amz-mqtt5-user-properties", &nested, "userProperties"),
        ] {
            check(&[], &[(name, value)], Err(member));
        }
    }

    #[test]
    fn a_long_value_is_cut_where_it_is_told() {
        let error = check_topic("topic", &"#".repeat(300)).unwrap_err().to_string();
        assert!(error.len() < 400 && error.contains('…'), "{error}");
    }
}
