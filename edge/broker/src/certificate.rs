//! Certificates as clients present them: who they name, and from when to when.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use picket_model::{CertificateId, Timestamp, limits};
use picket_policy::{AlternativeName, CertificateFacts, NameAttribute, NameFacts};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::revocation::IssuedAs;

/// Longest serial number that is read, in bytes. RFC 5280 allows 20; writing thousands of digits
/// would be work that a stranger can ask for.
const SERIAL_BYTES_MAX: usize = 64;

/// What a client's certificate says. That the client owns its key is proven by the handshake that
/// it came through, not by this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// Its id and names, as policies see them.
    pub facts: Arc<CertificateFacts>,
    /// When it is valid.
    pub validity: Validity,
    /// Who issued it, as revocation lists know it.
    pub issued_as: IssuedAs,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last second, inclusive.
    pub not_after: Timestamp,
}

/// Why bytes are not a certificate that can be presented.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// It is larger than any that could be registered.
    #[error("the certificate has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Its serial number is longer than is read.
    #[error("the certificate's serial number has {bytes} bytes; at most {max} are read")]
    SerialTooLong {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// It is not an X.509 certificate in DER form.
    #[error("the certificate cannot be read: {problem}")]
    Malformed {
        /// What the reader says.
        problem: String,
    },
}

impl PresentedCertificate {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// [`CertificateError`] if it is none, or one beyond the bounds.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = read(der)?;
        let mut subject_alternative = BTreeMap::new();
        let mut issuer_alternative = BTreeMap::new();
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    collect_alternative(&mut subject_alternative, &names.general_names);
                }
                ParsedExtension::IssuerAlternativeName(names) => {
                    collect_alternative(&mut issuer_alternative, &names.general_names);
                }
                _ => {}
            }
        }
        let validity = certificate.validity();
        Ok(Self {
            facts: Arc::new(CertificateFacts {
                id: CertificateId::from_sha256(Sha256::digest(der).into()),
                serial_number: certificate.tbs_certificate.serial.to_string(),
                subject: name_facts(certificate.subject()),
                issuer: name_facts(certificate.issuer()),
                subject_alternative: subject_alternative.into(),
                issuer_alternative: issuer_alternative.into(),
            }),
            validity: Validity {
                not_before: Timestamp::from_secs(validity.not_before.timestamp()),
                not_after: Timestamp::from_secs(validity.not_after.timestamp()),
            },
            issued_as: IssuedAs::of(&certificate),
        })
    }
}

impl Validity {
    /// Whether the certificate is valid at a moment.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.end()
    }

    /// The first moment at which it is not valid any more.
    pub fn end(&self) -> Timestamp {
        self.not_after.plus_millis(1000)
    }
}

/// Reads the structure of a certificate within its bounds.
///
/// # Errors
/// [`CertificateError`] as for [`PresentedCertificate::from_der`].
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let max = limits::CERTIFICATE_BYTES_MAX;
    if der.len() > max {
        return Err(CertificateError::TooLarge { bytes: der.len(), max });
    }
    let malformed = |problem: String| CertificateError::Malformed { problem };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let bytes = certificate.raw_serial().len();
    if bytes > SERIAL_BYTES_MAX {
        return Err(CertificateError::SerialTooLong { bytes, max: SERIAL_BYTES_MAX });
    }
    Ok(certificate)
}

fn name_facts(name: &X509Name<'_>) -> NameFacts {
    let mut facts: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for attribute in name.iter_attributes() {
        let known = name_attribute(&attribute.attr_type().to_id_string());
        if let (Some((attribute_name, _)), Ok(value)) = (known, attribute.as_str()) {
            facts.entry(attribute_name).or_default().push(value.to_owned());
        }
    }
    facts.into()
}

/// The attributes that policies know, by object identifier, and how a directory name abbreviates
/// them. Source: X.520; RFC 4519.
fn name_attribute(oid: &str) -> Option<(NameAttribute, &'static str)> {
    Some(match oid {
        "2.5.4.3" => (NameAttribute::CommonName, "cn"),
        "2.5.4.4" => (NameAttribute::Surname, "sn"),
        "2.5.4.5" => (NameAttribute::SerialNumber, "serialNumber"),
        "2.5.4.6" => (NameAttribute::Country, "c"),
        "2.5.4.8" => (NameAttribute::State, "st"),
        "2.5.4.10" => (NameAttribute::Organization, "o"),
        "2.5.4.11" => (NameAttribute::OrganizationalUnit, "ou"),
        "2.5.4.12" => (NameAttribute::Title, "title"),
        "2.5.4.42" => (NameAttribute::GivenName, "givenName"),
        "2.5.4.43" => (NameAttribute::Initials, "initials"),
        "2.5.4.44" => (NameAttribute::GenerationQualifier, "generationQualifier"),
        "2.5.4.46" => (NameAttribute::DistinguishedNameQualifier, "dnQualifier"),
        "2.5.4.65" => (NameAttribute::Pseudonym, "pseudonym"),
        _ => return None,
    })
}

fn collect_alternative(
    into: &mut BTreeMap<AlternativeName, Vec<String>>,
    names: &[GeneralName<'_>],
) {
    for name in names {
        let (kind, value) = match name {
            GeneralName::RFC822Name(mail) => (AlternativeName::Rfc822Name, (*mail).to_owned()),
            GeneralName::DNSName(host) => (AlternativeName::DnsName, (*host).to_owned()),
            GeneralName::URI(uri) => {
                (AlternativeName::UniformResourceIdentifier, (*uri).to_owned())
            }
            GeneralName::DirectoryName(name) => {
                (AlternativeName::DirectoryName, directory_name(name))
            }
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => (AlternativeName::IpAddress, address),
                None => continue,
            },
            // Policies have no words for the other kinds.
            _ => continue,
        };
        into.entry(kind).or_default().push(value);
    }
}

/// Writes a name the way that policies spell it: `cn=Bulb,ou=Home,c=US`, most specific first.
/// Source: AWS guide "Using X.509 certificate policy variables", subject alternate names.
fn directory_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_attributes()
        .map(|attribute| {
            let oid = attribute.attr_type().to_id_string();
            let value = attribute.as_str().unwrap_or_default();
            match (name_attribute(&oid), oid.as_str()) {
                (Some((_, short)), _) => format!("{short}={value}"),
                (None, "2.5.4.7") => format!("l={value}"),
                (None, oid) => format!("{oid}={value}"),
            }
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_string());
    v4.or(v6).ok()
}
