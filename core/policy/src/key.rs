//! The names under which policies ask for facts, as variables `${..}` and as condition keys.

use std::fmt;

use crate::facts::{AlternativeName, ConnectionFacts, NameAttribute};

/// Values of one certificate attribute that are seen at all. Source: AWS guide "X.509 certificate
/// policy variable limitations".
const VALUES_MAX: usize = 5;

/// Something that a policy can ask about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// As the author wrote it.
    text: Box<str>,
    asked: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    ClientId,
    SourceIp,
    ThingName,
    ThingTypeName,
    ThingAttribute(Box<str>),
    IsAttached,
    ConnectAttributes,
    CertificateSerialNumber,
    AvailableKeys,
    Name(Party, NameAttribute, Which),
    Alternative(Party, AlternativeName, Which),
    /// A key that does not exist here: it never has a value.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Subject,
    Issuer,
}

/// Which of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Plain name: the first. Suffix `.1`: the second, and so on.
    At(usize),
    /// Suffix `.List`.
    All,
}

impl Key {
    /// Reads a key's name. Case counts only in the name of an attribute of a thing.
    /// Source: IAM reference "Condition keys are not case-sensitive".
    pub(crate) fn parse(text: &str) -> Self {
        Self { text: text.into(), asked: Asked::parse(text).unwrap_or(Asked::Unknown) }
    }

    /// Its values for a connection, as they are; empty if it has none.
    pub(crate) fn values(&self, facts: &ConnectionFacts) -> Vec<String> {
        let thing = facts.thing.as_ref().filter(|thing| thing.is_attached);
        let certificate = facts.certificate.as_ref();
        match &self.asked {
            Asked::ClientId => one(facts.client_id.as_ref()),
            // A v4 address that arrived through a v6 socket is still that v4 address.
            Asked::SourceIp => one(facts.source_ip.map(|ip| ip.to_canonical())),
            Asked::ThingName => one(thing.map(|thing| &thing.name)),
            Asked::ThingTypeName => one(thing.and_then(|thing| thing.thing_type.as_ref())),
            Asked::ThingAttribute(name) => {
                one(thing.and_then(|thing| thing.attributes.get(&**name)))
            }
            // Always known, so that a policy can deny those who are not.
            Asked::IsAttached => one(Some(thing.is_some())),
            Asked::ConnectAttributes => {
                let connect = facts.connect;
                [("PersistentConnect", connect.persistent), ("LastWill", connect.will)]
                    .into_iter()
                    .filter(|(_, is_asked)| *is_asked)
                    .map(|(name, _)| name.to_owned())
                    .collect()
            }
            Asked::CertificateSerialNumber => {
                one(certificate.map(|certificate| &certificate.serial_number))
            }
            Asked::AvailableKeys => available_keys(facts),
            &Asked::Name(party, attribute, which) => {
                let name = certificate.map(|certificate| match party {
                    Party::Subject => &certificate.subject,
                    Party::Issuer => &certificate.issuer,
                });
                let values = name.and_then(|name| name.get(&attribute));
                which.of(values).iter().map(|value| escape(value)).collect()
            }
            &Asked::Alternative(party, kind, which) => {
                let names = certificate.map(|certificate| match party {
                    Party::Subject => &certificate.subject_alternative,
                    Party::Issuer => &certificate.issuer_alternative,
                });
                which.of(names.and_then(|names| names.get(&kind))).to_vec()
            }
            Asked::Unknown => Vec::new(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Asked {
    fn parse(text: &str) -> Option<Self> {
        let plain = [
            ("iot:ClientId", Self::ClientId),
            ("aws:SourceIp", Self::SourceIp),
            ("iot:Connection.Thing.ThingName", Self::ThingName),
            ("iot:Connection.Thing.ThingTypeName", Self::ThingTypeName),
            ("iot:Connection.Thing.IsAttached", Self::IsAttached),
            ("iot:ConnectAttributes", Self::ConnectAttributes),
            ("iot:Certificate.SerialNumber", Self::CertificateSerialNumber),
            ("iot:Certificate.AvailableKeys", Self::AvailableKeys),
        ];
        if let Some((_, asked)) =
            plain.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text))
        {
            return Some(asked);
        }
        if let Some(rest) = strip_prefix_any_case(text, "iot:Connection.Thing.Attributes[") {
            return rest.strip_suffix(']').map(|name| Self::ThingAttribute(name.into()));
        }
        let rest = strip_prefix_any_case(text, "iot:Certificate.")?;
        let (party, rest) = strip_prefix_any_case(rest, "Subject.")
            .map(|rest| (Party::Subject, rest))
            .or_else(|| strip_prefix_any_case(rest, "Issuer.").map(|r| (Party::Issuer, r)))?;
        if let Some(rest) = strip_prefix_any_case(rest, "AlternativeName.") {
            let (kind, which) = name_and_which(rest)?;
            let kinds = AlternativeName::ALL.iter().copied();
            let kind = { kinds }.find(|known| known.as_str().eq_ignore_ascii_case(kind))?;
            return Some(Self::Alternative(party, kind, which));
        }
        let (attribute, which) = name_and_which(rest)?;
        let attributes = NameAttribute::ALL.iter().copied();
        let attribute =
            { attributes }.find(|known| known.as_str().eq_ignore_ascii_case(attribute))?;
        Some(Self::Name(party, attribute, which))
    }
}

impl Which {
    fn of(self, values: Option<&[String]>) -> &[String] {
        let values = values.unwrap_or_default();
        let seen = &values[..values.len().min(VALUES_MAX)];
        match self {
            Self::At(index) => seen.get(index..=index).unwrap_or_default(),
            Self::All => seen,
        }
    }
}

fn one(value: Option<impl ToString>) -> Vec<String> {
    value.map(|value| value.to_string()).into_iter().collect()
}

/// Splits `CommonName.1` into the name and which value is meant.
fn name_and_which(text: &str) -> Option<(&str, Which)> {
    match text.split_once('.') {
        None => Some((text, Which::At(0))),
        Some((name, suffix)) if suffix.eq_ignore_ascii_case("List") => Some((name, Which::All)),
        Some((name, suffix)) => Some((name, Which::At(suffix.parse().ok()?))),
    }
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Every key about the certificate that has a value.
fn available_keys(facts: &ConnectionFacts) -> Vec<String> {
    let Some(certificate) = &facts.certificate else { return Vec::new() };
    let mut keys = vec!["iot:Certificate.SerialNumber".to_owned()];
    for (party, name, alternative) in [
        ("Subject", &certificate.subject, &certificate.subject_alternative),
        ("Issuer", &certificate.issuer, &certificate.issuer_alternative),
    ] {
        let attributes = name.iter().filter(|(_, values)| !values.is_empty());
        keys.extend(
            attributes.map(|(name, _)| format!("iot:Certificate.{party}.{}", name.as_str())),
        );
        let kinds = alternative.iter().filter(|(_, values)| !values.is_empty());
        keys.extend(
            kinds.map(|(kind, _)| {
                format!("iot:Certificate.{party}.AlternativeName.{}", kind.as_str())
            }),
        );
    }
    keys
}

/// Writes a value of a distinguished name the way that policies have to spell it.
/// Source: AWS guide "X.509 certificate policy variable limitations", special characters.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, ',' | '"' | '\\' | '+' | '=' | '<' | '>' | ';') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
