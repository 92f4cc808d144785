//! What Publish takes: checked, and brought into the form of the outbox.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use picket_model::limits::NOTIFICATION_BYTES_MAX;
use picket_store::MessageAttribute;
use serde_json::Value;

use crate::query::{Form, FormError};

/// Longest subject. Source: aws sns Publish (up to 100 characters).
const SUBJECT_CHARS_MAX: usize = 100;
/// Longest name of a message attribute. Source: AWS SNS guide "Message attributes".
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;

/// A message as its subscribers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: Option<String>,
    /// With `MessageStructure=json` the text meant for functions.
    pub(super) text: String,
    pub(super) attributes: BTreeMap<String, MessageAttribute>,
}

impl Message {
    /// Reads and checks the fields of a Publish request.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(form: &Form) -> Result<Self, String> {
        let message = form.get("Message").unwrap_or_default();
        if message.is_empty() {
            return Err("Empty message".to_owned());
        }
        let subject = form.get("Subject").map(subject).transpose()?;
        let attributes = attributes(form)?;
        let attribute_bytes: usize = attributes
            .iter()
            .map(|(name, attribute)| name.len() + attribute.data_type.len() + attribute.value.len())
            .sum();
        if message.len() + attribute_bytes > NOTIFICATION_BYTES_MAX {
            return Err(format!(
                "Message too long: {} bytes with its attributes; at most {NOTIFICATION_BYTES_MAX}",
                message.len() + attribute_bytes
            ));
        }
        let text = match form.get("MessageStructure") {
            None | Some("") => message.to_owned(),
            Some("json") => for_functions(message)?,
            Some(_) => return Err("MessageStructure must be json".to_owned()),
        };
        Ok(Self { subject, text, attributes })
    }
}

fn subject(text: &str) -> Result<String, String> {
    // Source: aws sns Publish: ASCII, begins with a letter, digit or punctuation mark, no line
    // breaks or control characters. Letters beyond ASCII are our addition.
    let right = (1..=SUBJECT_CHARS_MAX).contains(&text.chars().count())
        && !text.starts_with(char::is_whitespace)
        && !text.chars().any(char::is_control);
    right.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "Subject has 1 to {SUBJECT_CHARS_MAX} characters, begins with a letter, digit or mark, \
             and holds no control characters"
        )
    })
}

/// The text for functions out of a message that has one for each protocol.
fn for_functions(message: &str) -> Result<String, String> {
    const PROBLEM: &str = "Message Structure - JSON message body failed to parse";
    let json: Value = serde_json::from_str(message).map_err(|_| PROBLEM)?;
    let texts = json.as_object().ok_or(PROBLEM)?;
    let default = texts
        .get("default")
        .and_then(Value::as_str)
        .ok_or("Message Structure - No default entry in JSON message body")?;
    match texts.get("lambda") {
        None => Ok(default.to_owned()),
        Some(text) => {
            let text =
                text.as_str().ok_or("Message Structure - the entry `lambda` must be a string")?;
            Ok(text.to_owned())
        }
    }
}

fn attributes(form: &Form) -> Result<BTreeMap<String, MessageAttribute>, String> {
    let mut attributes = BTreeMap::new();
    for entry in form.entries("MessageAttributes") {
        let field = |field: &str| form.get(&format!("{entry}.{field}"));
        let missing = |field: &'static str| FormError::HalfEntry(entry.clone(), field).to_string();
        let name = field("Name").ok_or_else(|| missing("Name"))?;
        let is_name = (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
            && !name.starts_with('.')
            && !name.ends_with('.')
            && !name.contains("..");
        if !is_name {
            return Err(format!("message attribute `{}` is not a name", name.escape_debug()));
        }
        let attribute = attribute(
            field("Value.DataType").ok_or_else(|| missing("Value.DataType"))?,
            field("Value.StringValue"),
            field("Value.BinaryValue"),
        )
        .map_err(|problem| format!("message attribute `{name}` {problem}"))?;
        if attributes.insert(name.to_owned(), attribute).is_some() {
            return Err(format!("message attribute `{name}` is given twice"));
        }
    }
    Ok(attributes)
}

fn attribute(
    data_type: &str,
    string: Option<&str>,
    binary: Option<&str>,
) -> Result<MessageAttribute, &'static str> {
    if data_type.len() > ATTRIBUTE_NAME_BYTES_MAX || data_type.chars().any(char::is_control) {
        return Err("has a data type that is too long or holds control characters");
    }
    // Behind a dot there may be a label of the user's: `Binary.png`.
    let kind = data_type.split('.').next();
    let value = match kind {
        Some("Binary") => {
            let value = binary.filter(|value| !value.is_empty()).ok_or("has no BinaryValue")?;
            BASE64.decode(value).map_err(|_| "has a BinaryValue that is not base64")?;
            value
        }
        Some("String" | "Number") => {
            string.filter(|value| !value.is_empty()).ok_or("has no StringValue")?
        }
        _ => return Err("has a data type that is not String, String.Array, Number or Binary"),
    };
    if kind == Some("Number") && !value.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err("is not a number");
    }
    Ok(MessageAttribute { data_type: data_type.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Message, String> {
        Message::parse(&Form::parse(body.as_bytes()).unwrap())
    }

    #[track_caller]
    fn check_refused(body: &str, expected: &str) {
        let error = parse(body).unwrap_err();
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }

    #[test]
    fn a_message_is_taken_as_it_is() {
        let message = parse("Message=%7B%22a%22%3A1%7D%0A%07&Subject=Hi+there").unwrap();
        assert_eq!(message.text, "{\"a\":1}\n\u{7}");
        assert_eq!(message.subject.as_deref(), Some("Hi there"));
        assert_eq!(parse("Message=x").unwrap().subject, None);
    }

    #[test]
    fn a_message_for_each_protocol_gives_functions_theirs() {
        let json = "MessageStructure=json&Message=";
        assert_eq!(parse(&format!("{json}{{\"default\":\"d\"}}")).unwrap().text, "d");
        let both = format!("{json}{{\"default\":\"d\",\"lambda\":\"l\"}}");
        assert_eq!(parse(&both).unwrap().text, "l");
        check_refused(&format!("{json}{{\"lambda\":\"l\"}}"), "No default entry");
        check_refused(&format!("{json}{{\"default\":{{}}}}"), "No default entry");
        check_refused(&format!("{json}{{"), "failed to parse");
        check_refused(&format!("{json}[]"), "failed to parse");
        check_refused("MessageStructure=xml&Message=x", "must be json");
    }

    #[test]
    fn attributes_are_typed() {
        let entry = |n: u32, name: &str, kind: &str, field: &str, value: &str| {
            let entry = format!("MessageAttributes.entry.{n}");
            format!(
                "&{entry}.Name={name}&{entry}.Value.DataType={kind}&{entry}.Value.{field}={value}"
            )
        };
        let text = entry(1, "a.b", "String", "StringValue", "v");
        let number = entry(2, "n", "Number", "StringValue", "4.5");
        let binary = entry(3, "b", "Binary.png", "BinaryValue", "AQI%3D");
        let message = parse(&format!("Message=x{text}{number}{binary}")).unwrap();
        assert_eq!(message.attributes.len(), 3);
        assert_eq!(message.attributes["b"].value, "AQI=");
        for (wrong, expected) in [
            (entry(1, "a..b", "String", "StringValue", "v"), "`a..b` is not a name"),
            (entry(1, "a", "Blob", "StringValue", "v"), "data type"),
            (entry(1, "a", "Binary", "BinaryValue", "%25%25"), "not base64"),
            (entry(1, "a", "String", "BinaryValue", "v"), "has no StringValue"),
            (entry(1, "a", "Number", "StringValue", "v"), "is not a number"),
            (format!("{text}{}", entry(2, "a.b", "String", "StringValue", "v")), "twice"),
            ("&MessageAttributes.entry.1.Name=a".to_owned(), "without `Value.DataType`"),
        ] {
            check_refused(&format!("Message=x{wrong}"), expected);
        }
    }

    #[test]
    fn bounds_and_characters_are_kept() {
        check_refused("Message=", "Empty message");
        check_refused("", "Empty message");
        check_refused(
            &format!("Message={}", "x".repeat(NOTIFICATION_BYTES_MAX + 1)),
            "Message too long",
        );
        assert!(parse(&format!("Message={}", "x".repeat(NOTIFICATION_BYTES_MAX))).is_ok());
        check_refused(&format!("Message=x&Subject={}", "x".repeat(101)), "Subject has 1 to 100");
        check_refused("Message=x&Subject=a%0Ab", "Subject has");
        check_refused("Message=x&Subject=+a", "Subject has");
        check_refused("Message=x&Subject=", "Subject has");
    }
}
