//! Names and identifiers: checked once, when they are made.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::text::hex;

/// Why a text is not a name of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// What was to be named, for example "thing name".
        what: &'static str,
    },
    /// The text is longer than the kind of name allows.
    #[error("{what} is {len} bytes long; at most {max} are allowed")]
    TooLong {
        /// What was to be named.
        what: &'static str,
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// A character is outside the set that the kind of name allows.
    #[error("{what} `{name}` contains `{found}`; allowed are {allowed}")]
    Character {
        /// What was to be named.
        what: &'static str,
        /// The text as given, control characters escaped.
        name: String,
        /// The first character that is not allowed, escaped.
        found: String,
        /// The allowed characters, in words.
        allowed: &'static str,
    },
}

/// Checks `text` against a length and a set of characters.
fn check(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
    is_allowed: fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > max {
        return Err(NameError::TooLong { what, len: text.len(), max });
    }
    match text.chars().find(|&c| !is_allowed(c)) {
        None => Ok(()),
        Some(c) => Err(NameError::Character {
            what,
            name: text.escape_debug().to_string(),
            found: c.escape_debug().to_string(),
            allowed,
        }),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        ///
        /// Clones share the text.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the text and makes the name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, NameError> {
                let text = text.into();
                check($what, &text, $max, $allowed, $is_allowed)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_registry_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')
}

fn is_policy_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

name!(
    /// Name of a registered device. Source: aws CreateThing, `[a-zA-Z0-9:_-]{1,128}`.
    ThingName, "thing name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of a thing type. Source: aws CreateThingType.
    ThingTypeName, "thing type name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of a thing group. Source: aws CreateThingGroup.
    GroupName, "thing group name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of an IoT policy. Source: aws CreatePolicy, `[\w+=,.@-]{1,128}`.
    PolicyName, "policy name", 128, "letters, digits and `_+=,.@-`", is_policy_char
);
name!(
    /// Name of a security profile. Source: aws CreateSecurityProfile.
    ProfileName, "security profile name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of a behavior, unique in its security profile.
    BehaviorName, "behavior name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of a custom metric. Source: aws CreateCustomMetric; names that begin with `aws:` or
    /// `picket:` are refused where one is made.
    CustomMetricName, "custom metric name", 128, "letters, digits, `:`, `_` and `-`",
    is_registry_char
);
name!(
    /// Name of a dimension. Source: aws CreateDimension.
    DimensionName, "dimension name", 128, "letters, digits, `:`, `_` and `-`", is_registry_char
);
name!(
    /// Name of a mitigation action. Source: aws CreateMitigationAction.
    MitigationActionName, "mitigation action name", 128, "letters, digits, `_` and `-`",
    is_topic_char
);
name!(
    /// Id of a task that runs mitigation actions; the caller chooses it.
    /// Source: aws StartDetectMitigationActionsTask.
    MitigationTaskId, "task id", 128, "letters, digits, `_` and `-`", is_topic_char
);
name!(
    /// Name of a notification topic (AWS: an SNS topic), never of an MQTT topic.
    NotificationTopicName, "notification topic name", 256, "letters, digits, `_` and `-`",
    is_topic_char
);
name!(
    /// Name of a function. Source: aws lambda CreateFunction.
    FunctionName, "function name", 64, "letters, digits, `_` and `-`", is_topic_char
);
name!(
    /// MQTT client id of a connection: any text without control characters.
    ///
    /// Whether it may hold `+`, `#` or `/` is the policy's business, not the name's.
    ClientId, "client id", crate::limits::CLIENT_ID_BYTES_MAX, "all but control characters",
    |c| !c.is_control()
);
name!(
    /// What Detect calls a device: the thing that a connection speaks for, or else its client id.
    ///
    /// A connection speaks for the thing that its client id names if its certificate is attached
    /// to that, and otherwise for the one thing that its certificate is attached to.
    /// Source: docs/adr/0005-a-device-is-who-its-certificate-says.md.
    DeviceName, "device name", crate::limits::CLIENT_ID_BYTES_MAX, "all but control characters",
    |c| !c.is_control()
);
name!(
    /// One alarm's life, from in-alarm until cleared or invalidated: 32 hex digits of ours.
    ViolationId, "violation id", 128, "letters, digits and `-`",
    |c| c.is_ascii_alphanumeric() || c == '-'
);

impl ViolationId {
    /// Takes the digest that names a violation and writes it as 32 lower-case hex digits.
    pub fn from_digest(digest: [u8; 16]) -> Self {
        Self(hex(&digest).into())
    }
}

impl TryFrom<&ClientId> for ThingName {
    type Error = NameError;

    /// The thing that a client id names. Shares its text.
    fn try_from(client: &ClientId) -> Result<Self, NameError> {
        Self::parse(Arc::clone(&client.0))
    }
}

impl From<&ThingName> for DeviceName {
    fn from(thing: &ThingName) -> Self {
        Self(Arc::clone(&thing.0))
    }
}

impl From<&ClientId> for DeviceName {
    fn from(client: &ClientId) -> Self {
        Self(Arc::clone(&client.0))
    }
}

/// Identity of a certificate: the SHA-256 of its DER form, as 64 lower-case hex digits.
///
/// Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId(Arc<str>);

impl CertificateId {
    /// Takes the digest itself.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self(hex(&digest).into())
    }

    /// Checks that the text is 64 hex digits; upper case is folded.
    ///
    /// # Errors
    /// [`NameError`] when it is not.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        const WHAT: &str = "certificate id";
        let text = text.into().to_ascii_lowercase();
        check(WHAT, &text, 64, "64 hex digits", |c| c.is_ascii_hexdigit())?;
        if text.len() < 64 {
            return Err(NameError::Character {
                what: WHAT,
                found: "the end after fewer than 64 digits".to_owned(),
                name: text,
                allowed: "64 hex digits",
            });
        }
        Ok(Self(text.into()))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_rule_it_breaks() {
        let error = |text: &str| ThingName::parse(text).unwrap_err().to_string();
        assert_eq!(error(""), "thing name is empty");
        assert_eq!(
            error(&"x".repeat(129)),
            "thing name is 129 bytes long; at most 128 are allowed"
        );
        assert_eq!(
            error("pump 7\n"),
            "thing name `pump 7\\n` contains ` `; allowed are letters, digits, `:`, `_` and `-`"
        );
        assert!(ThingName::parse("Pump:7_a-b").is_ok());
    }

    #[test]
    fn a_certificate_id_is_64_hex_digits_in_lower_case() {
        let id = CertificateId::from_sha256([0xAB; 32]);
        assert_eq!(CertificateId::parse("AB".repeat(32)).unwrap(), id);
        assert!(CertificateId::parse("ab").is_err());
        assert!(CertificateId::parse("zz".repeat(32)).is_err());
    }

    #[test]
    fn a_client_id_holds_no_control_characters() {
        assert!(ClientId::parse("sensor/1 +#").is_ok());
        assert!(ClientId::parse("a\u{7}b").is_err());
    }
}
