//! Reading a form: flat names to nested lists and maps.

use std::collections::BTreeMap;

use thiserror::Error;

/// Fields of one form. An `AssumeRole` with every option has about 150, a topic with 50 tags 110.
const FIELDS_MAX: usize = 1_000;

/// Longest field name. The longest of ours, `MessageAttributes.entry.100.Value.StringValue`, has 47.
const FIELD_NAME_BYTES_MAX: usize = 256;

/// Why a body is not a form that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FormError {
    /// A `%` without two hex digits, or bytes that are not UTF-8.
    #[error("the body is not a form in UTF-8")]
    Encoding,
    /// More fields than any operation has.
    #[error("the form has more than {FIELDS_MAX} fields")]
    TooMany,
    /// A name longer than any operation has.
    #[error("the form has a field whose name is longer than {FIELD_NAME_BYTES_MAX} bytes")]
    LongName,
    /// The same field twice: which one counts would be anybody's guess.
    #[error("field `{0}` is given twice")]
    Twice(String),
    /// A field that the operation needs.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A list or a map whose numbering does not hold together.
    #[error("`{0}` has an entry without `{1}`")]
    HalfEntry(String, &'static str),
    /// A map that names one key twice.
    #[error("`{0}` has the key `{1}` twice")]
    DoubleKey(&'static str, String),
}

/// The fields of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    fields: BTreeMap<String, String>,
}

impl Form {
    /// Reads an `application/x-www-form-urlencoded` body.
    ///
    /// # Errors
    /// [`FormError`] if it is none, or one that no client of ours would send.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut fields = BTreeMap::new();
        for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if name.len() > FIELD_NAME_BYTES_MAX {
                return Err(FormError::LongName);
            }
            if fields.len() == FIELDS_MAX {
                return Err(FormError::TooMany);
            }
            if fields.contains_key(&name) {
                return Err(FormError::Twice(name.escape_debug().to_string()));
            }
            fields.insert(name, value);
        }
        Ok(Self { fields })
    }

    /// A field as it was sent; an empty one is there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A field that must be there; an empty one counts as missing, as it does at AWS.
    ///
    /// # Errors
    /// [`FormError::Missing`].
    pub(crate) fn need(&self, name: &'static str) -> Result<&str, FormError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or(FormError::Missing(name))
    }

    /// Whether any field lies below `name`, which is how a list or a structure is given.
    pub(crate) fn has_below(&self, name: &str) -> bool {
        let below = format!("{name}.");
        self.fields
            .range(below.clone()..)
            .next()
            .is_some_and(|(field, _)| field.starts_with(&below))
    }

    /// The map `NAME.entry.N.key` / `NAME.entry.N.value`, as SNS attributes are sent.
    ///
    /// # Errors
    /// [`FormError::HalfEntry`] and [`FormError::DoubleKey`].
    pub(crate) fn map(&self, name: &'static str) -> Result<BTreeMap<String, String>, FormError> {
        let mut map = BTreeMap::new();
        for entry in self.numbered(&format!("{name}.entry.")) {
            let part = |part: &'static str| {
                self.get(&format!("{entry}.{part}"))
                    .ok_or_else(|| FormError::HalfEntry(entry.clone(), part))
            };
            let (key, value) = (part("key")?, part("value")?);
            if map.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(FormError::DoubleKey(name, key.escape_debug().to_string()));
            }
        }
        Ok(map)
    }

    /// The prefixes `NAME.entry.1`, `NAME.entry.2` .. of a map of structures, in their order.
    pub(crate) fn entries(&self, name: &str) -> Vec<String> {
        self.numbered(&format!("{name}.entry."))
    }

    /// The distinct `PREFIX` + number that fields begin with, by number.
    fn numbered(&self, prefix: &str) -> Vec<String> {
        let mut numbers: Vec<u32> = self
            .fields
            .range(prefix.to_owned()..)
            .take_while(|(field, _)| field.starts_with(prefix))
            .filter_map(|(field, _)| field[prefix.len()..].split('.').next()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| format!("{prefix}{number}")).collect()
    }
}

/// Undoes `+` and `%XX`; unlike the lossy usual, refuses what is not UTF-8.
fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = rest.next().and_then(|&byte| char::from(byte).to_digit(16));
                    digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(FormError::Encoding)
                };
                digit()? << 4 | digit()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        Form::parse(body.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check_error(body: &str, expected: &str) {
        assert_eq!(Form::parse(body.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_field_is_decoded_once() {
        let form = form("Action=Publish&Message=a%2Bb+c%253D%26%C3%A4&Empty=&Bare");
        assert_eq!(form.get("Message"), Some("a+b c%3D&ä"));
        assert_eq!(form.get("Empty"), Some(""));
        assert_eq!(form.get("Bare"), Some(""));
        assert_eq!(form.get("Nowhere"), None);
    }

    #[test]
    fn an_empty_field_is_missing_where_one_is_needed() {
        assert_eq!(form("Name=").need("Name").unwrap_err().to_string(), "`Name` is missing");
        assert_eq!(form("Name=x").need("Name"), Ok("x"));
    }

    #[test]
    fn a_map_is_read_by_its_numbers_not_by_their_spelling() {
        let mut body = String::new();
        for n in (1..=11).rev() {
            body += &format!("A.entry.{n}.key=k{n}&A.entry.{n}.value=v{n}&");
        }
        let form = form(&body);
        assert_eq!(form.map("A").unwrap().len(), 11);
        assert_eq!(form.entries("A")[1], "A.entry.2");
        assert_eq!(form.entries("A")[10], "A.entry.11");
        assert!(form.map("Other").unwrap().is_empty());
    }

    #[test]
    fn half_an_entry_and_a_key_given_twice_are_refused() {
        let half = form("A.entry.1.key=k").map("A").unwrap_err();
        assert_eq!(half.to_string(), "`A.entry.1` has an entry without `value`");
        let twice = "A.entry.1.key=k&A.entry.1.value=1&A.entry.2.key=k&A.entry.2.value=2";
        assert_eq!(form(twice).map("A").unwrap_err().to_string(), "`A` has the key `k` twice");
    }

    #[test]
    fn what_lies_below_a_name_is_seen() {
        assert!(form("Tags.member.1.Key=a").has_below("Tags"));
        assert!(!form("TagsX=a&Tags=b").has_below("Tags"));
    }

    #[test]
    fn a_hostile_form_is_refused() {
        check_error("a=%", "the body is not a form in UTF-8");
        check_error("a=%4", "the body is not a form in UTF-8");
        check_error("a=%zz", "the body is not a form in UTF-8");
        check_error("a=%ff", "the body is not a form in UTF-8");
        check_error("a=1&a=2", "field `a` is given twice");
        check_error("%00=1&%00=2", "field `\\0` is given twice");
        check_error(&"x".repeat(300), "the form has a field whose name is longer than 256 bytes");
        let many: String = (0..1_001).map(|n| format!("f{n}=&")).collect();
        check_error(&many, "the form has more than 1000 fields");
        // Numbers that are none, or too large for one, name nothing.
        assert!(form("A.entry.x.key=k&A.entry.99999999999.key=k").map("A").unwrap().is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic() {
        for seed in 0..2_000_u32 {
            let bytes: Vec<u8> = (0..seed % 40)
                .map(|n| {
                    b"a=&%+.4f\xff\x00entry1"
                        [((seed.wrapping_mul(2_654_435_761) >> (n % 24)) % 15) as usize]
                })
                .collect();
            let _ = Form::parse(&bytes).map(|form| form.map("a"));
        }
    }
}
