//! The value of a custom metric, as its source writes it.

use std::net::IpAddr;

use picket_model::{CustomValue, Number};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::limits::{CUSTOM_LIST_MAX, CUSTOM_TEXT_BYTES_MAX};

/// The types that a custom metric can have, spelled as AWS spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One number.
    Number,
    /// Some numbers.
    NumberList,
    /// Some texts.
    StringList,
    /// Some addresses.
    IpAddressList,
}

/// Why a text is no value of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// It is no JSON.
    #[error("it is no JSON")]
    Json,
    /// It is JSON of another kind.
    #[error("{0} is wanted")]
    Kind(&'static str),
    /// The list is too long.
    #[error("the list has {0} elements; at most {CUSTOM_LIST_MAX} are sent")]
    TooMany(usize),
    /// A text that AWS would drop without a word.
    #[error(
        "`{}` is no text that is taken: 1 to {CUSTOM_TEXT_BYTES_MAX} letters, digits and `: _ - / .`",
        .0.escape_debug()
    )]
    Text(String),
    /// No address.
    #[error("`{}` is no IP address", .0.escape_debug())]
    Address(String),
}

/// Reads the JSON text of a value.
///
/// # Errors
/// [`ValueError`] says what is wrong with it.
pub fn parse(text: &str, kind: Kind) -> Result<CustomValue, ValueError> {
    let value = serde_json::from_str(text.trim()).map_err(|_| ValueError::Json)?;
    read(&value, kind)
}

/// Reads a value that is JSON already.
///
/// What AWS drops in silence is refused here with a reason: the guide ("Custom metrics") takes
/// letters, digits and `: _ - / .` in texts, and only valid addresses.
///
/// # Errors
/// [`ValueError`] says what is wrong with it.
pub fn read(value: &Value, kind: Kind) -> Result<CustomValue, ValueError> {
    match kind {
        Kind::Number => Ok(CustomValue::Number(number(value)?)),
        Kind::NumberList => list(value, "a list of numbers", number).map(CustomValue::NumberList),
        Kind::StringList => list(value, "a list of texts", text).map(CustomValue::StringList),
        Kind::IpAddressList => list(value, "a list of addresses", address).map(CustomValue::IpList),
    }
}

fn list<T>(
    value: &Value,
    wanted: &'static str,
    element: impl Fn(&Value) -> Result<T, ValueError>,
) -> Result<Vec<T>, ValueError> {
    let elements = value.as_array().ok_or(ValueError::Kind(wanted))?;
    if elements.len() > CUSTOM_LIST_MAX {
        return Err(ValueError::TooMany(elements.len()));
    }
    elements.iter().map(element).collect()
}

fn number(value: &Value) -> Result<Number, ValueError> {
    value.as_f64().and_then(Number::new).ok_or(ValueError::Kind("a number"))
}

fn text(value: &Value) -> Result<Box<str>, ValueError> {
    let text = value.as_str().ok_or(ValueError::Kind("a text"))?;
    let is_taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '/' | '.');
    if (1..=CUSTOM_TEXT_BYTES_MAX).contains(&text.len()) && text.chars().all(is_taken) {
        return Ok(text.into());
    }
    Err(ValueError::Text(text.chars().take(CUSTOM_TEXT_BYTES_MAX).collect()))
}

fn address(value: &Value) -> Result<IpAddr, ValueError> {
    let text = value.as_str().ok_or(ValueError::Kind("an address as text"))?;
    let shown = || text.chars().take(CUSTOM_TEXT_BYTES_MAX).collect();
    text.parse().map_err(|_| ValueError::Address(shown()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, kind: Kind, expected: Result<&str, &str>) {
        let found = parse(text, kind).map(|value| match value {
            CustomValue::Number(n) => n.to_string(),
            CustomValue::NumberList(list) => format!("{list:?}"),
            CustomValue::StringList(list) => format!("{list:?}"),
            CustomValue::IpList(list) => format!("{list:?}"),
        });
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn a_value_is_json_of_its_kind() {
        check(" 12.5\n", Kind::Number, Ok("12.5"));
        check("-3e2", Kind::Number, Ok("-300"));
        check("[1, -2.5]", Kind::NumberList, Ok("[Number(1.0), Number(-2.5)]"));
        check("[]", Kind::NumberList, Ok("[]"));
        check(r#"["eth0", "a:b_c-d/e.f"]"#, Kind::StringList, Ok(r#"["eth0", "a:b_c-d/e.f"]"#));
        check(r#"["10.0.0.1", "::1"]"#, Kind::IpAddressList, Ok("[10.0.0.1, ::1]"));
    }

    #[test]
    fn json_of_another_kind_is_refused() {
        check("[1]", Kind::Number, Err("a number is wanted"));
        check("\"1\"", Kind::Number, Err("a number is wanted"));
        check("1", Kind::NumberList, Err("a list of numbers is wanted"));
        check("[1, null]", Kind::NumberList, Err("a number is wanted"));
        check("{}", Kind::StringList, Err("a list of texts is wanted"));
        check("[1]", Kind::StringList, Err("a text is wanted"));
        check("[1]", Kind::IpAddressList, Err("an address as text is wanted"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "NaN", "1 2", "[1", "1e999", "{\"a\":", "\u{0}"] {
            check(text, Kind::Number, Err("it is no JSON"));
        }
    }

    #[test]
    fn what_aws_would_drop_is_refused_with_a_reason() {
        for text in ["", "a b", "ä", "a\u{7}", &"x".repeat(129)] {
            let json = serde_json::to_string(&[text]).unwrap();
            let error = parse(&json, Kind::StringList).unwrap_err();
            assert!(matches!(error, ValueError::Text(_)), "{text}");
        }
        check(r#"["10.0.0.300"]"#, Kind::IpAddressList, Err("`10.0.0.300` is no IP address"));
        check(r#"["10.0.0.0/8"]"#, Kind::IpAddressList, Err("`10.0.0.0/8` is no IP address"));
    }

    #[test]
    fn a_list_has_a_bound() {
        let list = |n: usize| serde_json::to_string(&vec![0; n]).unwrap();
        assert!(parse(&list(1_000), Kind::NumberList).is_ok());
        assert_eq!(parse(&list(1_001), Kind::NumberList), Err(ValueError::TooMany(1_001)));
    }

    #[test]
    fn nested_beyond_reason_is_refused() {
        check(&"[".repeat(100_000), Kind::NumberList, Err("it is no JSON"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            for kind in [Kind::Number, Kind::NumberList, Kind::StringList, Kind::IpAddressList] {
                let _ = parse(&text, kind);
            }
        }
    }
}
