//! Reading what a caller sent, with AWS's wording where a member is not as it must be.
//!
//! SDKs check types and required members only; patterns, enums, lengths and ranges are checked
//! here.

use std::collections::BTreeMap;
use std::fmt;

use picket_model::Timestamp;
use serde_json::{Map, Value};

use crate::error::{ApiError, ErrorKind};

/// Characters of a refused value that its message repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// "1 validation error detected: ..", as AWS words it. Long values are cut and control characters
/// escaped.
pub fn invalid_value(value: &str, member: &str, constraint: impl fmt::Display) -> ApiError {
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    ApiError::invalid(format!(
        "1 validation error detected: Value '{}' at '{member}' failed to satisfy constraint: {constraint}",
        shown.escape_debug()
    ))
}

/// The same for a member that is not there.
pub fn missing(member: &str) -> ApiError {
    ApiError::invalid(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    ))
}

/// Parses a text with the type's own rule, for example `parsed("thingName", text, ThingName::parse)`.
///
/// # Errors
/// Invalid request, with the rule's own sentence.
pub fn parsed<'a, T, E: fmt::Display>(
    member: &str,
    text: &'a str,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> Result<T, ApiError> {
    parse(text).map_err(|error| invalid_value(text, member, error))
}

/// Reads one of a closed set of texts, for example a status.
///
/// # Errors
/// Invalid request that lists the set.
pub fn one_of<T: Copy>(member: &str, text: &str, set: &[(&str, T)]) -> Result<T, ApiError> {
    set.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        invalid_value(text, member, format_args!("Member must satisfy enum value set: [{names}]"))
    })
}

/// Checks a number against a range, both ends included.
///
/// # Errors
/// Invalid request that names the end that is passed.
pub fn in_range(member: &str, number: u64, min: u64, max: u64) -> Result<u64, ApiError> {
    let text = number.to_string();
    if number < min {
        let rule = format_args!("Member must have value greater than or equal to {min}");
        return Err(invalid_value(&text, member, rule));
    }
    if number > max {
        let rule = format_args!("Member must have value less than or equal to {max}");
        return Err(invalid_value(&text, member, rule));
    }
    Ok(number)
}

/// Checks that a text has at most `max` characters.
///
/// # Errors
/// Invalid request.
pub fn at_most_chars<'a>(member: &str, text: &'a str, max: usize) -> Result<&'a str, ApiError> {
    if text.chars().count() > max {
        let rule = format_args!("Member must have length less than or equal to {max}");
        return Err(invalid_value(text, member, rule));
    }
    Ok(text)
}

/// Checks that a text can be the ARN of a role. Roles are kept and given back, never assumed.
///
/// Source: aws `RoleArn`, 20 to 2,048 characters.
///
/// # Errors
/// A sentence.
pub fn role_arn(text: &str) -> Result<&str, String> {
    let is_role = (20..=2_048).contains(&text.len())
        && text.starts_with("arn:")
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_role {
        return Ok(text);
    }
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    Err(format!(
        "`{}` is not the ARN of a role (20 to 2048 characters, arn:aws:iam::ACCOUNT:role/NAME)",
        shown.escape_debug()
    ))
}

/// The caller's `clientRequestToken`: the same request with the same token is done once.
///
/// Source: aws `ClientRequestToken`, `[a-zA-Z0-9-_]{1,64}`. SDKs fill it in.
///
/// # Errors
/// Invalid request.
pub fn client_request_token(members: &Members) -> Result<&str, ApiError> {
    const MEMBER: &str = "clientRequestToken";
    let token = members.required_str(MEMBER)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if token.is_empty() || token.len() > 64 || !token.chars().all(is_allowed) {
        let rule = "Member must have 1 to 64 letters, digits, `-` and `_`";
        return Err(invalid_value(token, MEMBER, rule));
    }
    Ok(token)
}

/// A moment in a query: ISO 8601 with an offset, or seconds since the epoch.
///
/// # Errors
/// Invalid request.
pub fn timestamp(member: &str, text: &str) -> Result<Timestamp, ApiError> {
    let rule = "Member must be a time in ISO 8601, for example 2026-11-20T10:05:00Z";
    let millis = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.as_millisecond(),
        Err(_) => text
            .parse::<f64>()
            .ok()
            .and_then(millis)
            .ok_or_else(|| invalid_value(text, member, rule))?,
    };
    Ok(Timestamp::from_millis(millis))
}

/// A moment for a JSON body: seconds since the epoch, milliseconds as a fraction.
pub fn seconds(at: Timestamp) -> Value {
    Value::from(at.as_secs_f64())
}

/// Milliseconds of a number of seconds, unless it lies outside the years 1 to 9999.
fn millis(seconds: f64) -> Option<i64> {
    const YEAR_9999_S: f64 = 253_402_300_799.0;
    const YEAR_1_S: f64 = -62_135_596_800.0;
    let millis = (seconds * 1000.0).round();
    (YEAR_1_S..=YEAR_9999_S).contains(&seconds).then_some(millis as i64)
}

/// The members of a JSON object, and where it stands in the body, for messages.
#[derive(Clone, Debug)]
pub struct Members {
    object: Map<String, Value>,
    at: String,
}

impl Members {
    /// Reads a body; an empty one is an empty object.
    ///
    /// # Errors
    /// Serialization error if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { object: Map::new(), at: String::new() });
        }
        let unreadable = |message: String| ApiError::new(ErrorKind::UnreadableBody, message);
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(Self { object, at: String::new() }),
            Ok(_) => Err(unreadable("the body is JSON, but not an object".to_owned())),
            Err(error) => Err(unreadable(format!("the body is not JSON: {error}"))),
        }
    }

    /// The members of an object that stands at `at` in the body.
    ///
    /// # Errors
    /// Invalid request if it is no object.
    pub fn of(value: &Value, at: impl Into<String>) -> Result<Self, ApiError> {
        let at = at.into();
        match value {
            Value::Object(object) => Ok(Self { object: object.clone(), at }),
            other => Err(wrong_type(&at, other, "an object")),
        }
    }

    /// The full name of a member, for messages.
    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// The names of all members, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// A member as it is; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is no text.
    pub fn str(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Invalid request.
    pub fn required_str(&self, name: &str) -> Result<&str, ApiError> {
        self.str(name)?.ok_or_else(|| missing(&self.path(name)))
    }

    /// A boolean, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is none.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A whole number of at least 0, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is none.
    pub fn u64(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.typed(name, "a whole number, 0 or more", Value::as_u64)
    }

    /// A moment as seconds since the epoch, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is none.
    pub fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let read = |value: &Value| value.as_f64().and_then(millis).map(Timestamp::from_millis);
        self.typed(name, "a time in seconds since 1970", read)
    }

    /// A list, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is none.
    pub fn list(&self, name: &str) -> Result<Option<&Vec<Value>>, ApiError> {
        self.typed(name, "a list", Value::as_array)
    }

    /// A list of texts; empty if it is not there.
    ///
    /// # Errors
    /// Invalid request if it is no list, or something in it is no text.
    pub fn str_list(&self, name: &str) -> Result<Vec<&str>, ApiError> {
        let Some(list) = self.list(name)? else { return Ok(Vec::new()) };
        list.iter()
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| wrong_type(&self.path(name), value, "a list of strings"))
            })
            .collect()
    }

    /// An object, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is none.
    pub fn object(&self, name: &str) -> Result<Option<Members>, ApiError> {
        self.get(name).map(|value| Members::of(value, self.path(name))).transpose()
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// Invalid request.
    pub fn required_object(&self, name: &str) -> Result<Members, ApiError> {
        self.object(name)?.ok_or_else(|| missing(&self.path(name)))
    }

    /// The objects of a list; empty if it is not there.
    ///
    /// # Errors
    /// Invalid request if it is no list, or something in it is no object.
    pub fn objects(&self, name: &str) -> Result<Vec<Members>, ApiError> {
        let Some(list) = self.list(name)? else { return Ok(Vec::new()) };
        list.iter()
            .enumerate()
            .map(|(n, value)| Members::of(value, format!("{}.{}.member", self.path(name), n + 1)))
            .collect()
    }

    /// A map from texts to texts, if it is there.
    ///
    /// # Errors
    /// Invalid request if it is no map, or a value is no text.
    pub fn str_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        let Some(members) = self.object(name)? else { return Ok(None) };
        let pair = |(key, value): (&String, &Value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            other => Err(wrong_type(&members.path(key), other, "a string")),
        };
        members.object.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// A member of a type.
    fn typed<'a, T>(
        &'a self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(wrong_type(&self.path(name), value, expected)),
            },
        }
    }
}

fn wrong_type(path: &str, value: &Value, expected: &str) -> ApiError {
    invalid_value(&value.to_string(), path, format_args!("Member must be {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.unwrap_err().message
    }

    #[test]
    fn a_member_that_is_not_as_it_must_be_is_named_with_its_path_and_value() {
        let body = br#"{"a":{"b":7,"m":{"k":1}},"l":[{"x":"1"},5],"n":null}"#;
        let members = Members::parse(body).unwrap();
        let a = members.object("a").unwrap().unwrap();
        let constraint = |text: String| text.split_once(": ").unwrap().1.to_owned();
        assert_eq!(
            constraint(message(a.str("b"))),
            "Value '7' at 'a.b' failed to satisfy constraint: Member must be a string"
        );
        assert_eq!(
            constraint(message(a.str_map("m"))),
            "Value '1' at 'a.m.k' failed to satisfy constraint: Member must be a string"
        );
        assert_eq!(
            constraint(message(members.objects("l"))),
            "Value '5' at 'l.2.member' failed to satisfy constraint: Member must be an object"
        );
        assert_eq!(
            constraint(message(members.required_str("n"))),
            "Value null at 'n' failed to satisfy constraint: Member must not be null"
        );
    }

    #[test]
    fn an_empty_body_has_no_members() {
        assert!(Members::parse(b"").unwrap().get("x").is_none());
        assert!(Members::parse(b" \n").unwrap().get("x").is_none());
        assert_eq!(Members::parse(b"[]").unwrap_err().kind, ErrorKind::UnreadableBody);
        assert_eq!(Members::parse(b"{").unwrap_err().kind, ErrorKind::UnreadableBody);
    }

    #[test]
    fn a_moment_is_read_in_every_spelling_that_sdks_use() {
        for (text, millis) in [
            ("2024-01-02T03:04:05.123000Z", 1_704_164_645_123),
            ("2024-01-02T03:04:05Z", 1_704_164_645_000),
            ("2024-01-02T04:04:05+01:00", 1_704_164_645_000),
            ("1704164645", 1_704_164_645_000),
            ("1704164645.5", 1_704_164_645_500),
        ] {
            assert_eq!(timestamp("startTime", text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "yesterday", "NaN", "1e300", "2024-01-02"] {
            assert!(timestamp("startTime", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_has_1_to_64_letters_digits_and_dashes() {
        let token = |token: &str| {
            let members = Members::of(&serde_json::json!({ "clientRequestToken": token }), "");
            client_request_token(&members.unwrap()).map(str::to_owned)
        };
        let uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        assert_eq!(token(uuid).unwrap(), uuid);
        assert!(token(&"x".repeat(64)).is_ok());
        for wrong in ["", "a b", "a:b", "ä", &"x".repeat(65)] {
            assert!(token(wrong).is_err(), "{wrong}");
        }
        assert!(client_request_token(&Members::parse(b"{}").unwrap()).is_err());
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let text = message(Err::<(), _>(invalid_value(&"ä".repeat(5000), "m", "no")));
        assert!(text.len() < 700, "{}", text.len());
    }
}
