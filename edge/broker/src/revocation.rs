//! Certificates that their issuers took back: revocation lists, read and held against the
//! certificates of connections.
//!
//! A list counts only if somebody whom the operator named signed it: an issuer is a certificate
//! that is given beside the lists, or the installation's own authority. Whom a list revokes is told
//! by the name of the issuer and the serial number, whichever key of that issuer signed: an
//! authority with a new key revokes with it what it issued with the old one.
//! Source: RFC 5280 5 and 6.3.

use std::collections::{HashMap, HashSet};
use std::fmt;

use picket_model::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::asn1_rs::oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use crate::certificate::{self, CertificateError};

/// Largest file of revocation lists: about 400,000 revoked certificates, which take 150 MB while
/// they are read and 40 MB afterwards.
pub const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who issued a certificate, and under which number: what revocation lists go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedAs {
    /// SHA-256 of the issuer's name in DER form.
    issuer: [u8; 32],
    serial: Box<[u8]>,
}

/// Somebody whose revocation lists count.
pub struct ListIssuer {
    der: CertificateDer<'static>,
}

/// One revocation list whose signature is right.
#[derive(Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Who issued it, for the log.
    pub issuer: String,
    /// When the next one should be there; `None` where it does not say. It counts after that all the
    /// same: what was revoked stays so, and nobody comes in by keeping a new list from this server.
    pub next_update: Option<Timestamp>,
    issuer_hash: [u8; 32],
    serials: HashSet<Box<[u8]>>,
}

/// The revocation lists in force.
#[derive(Debug, Default)]
pub struct Revocations {
    by_issuer: HashMap<[u8; 32], Vec<RevocationList>>,
}

/// Why a file is not a revocation list that counts.
#[derive(Debug, Error)]
pub enum RevocationError {
    /// It is larger than any that is read.
    #[error("it has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// There is none in it.
    #[error("there is no revocation list in it")]
    Empty,
    /// It is neither DER nor PEM of a revocation list.
    #[error("it is no revocation list: {problem}")]
    Malformed {
        /// What the reader says.
        problem: String,
    },
    /// It is signed with an algorithm that proves nothing any more.
    #[error(
        "the list of `{issuer}` is signed with SHA-1, which proves nothing; have it signed with SHA-256"
    )]
    Weak {
        /// Who is said to have issued it.
        issuer: String,
    },
    /// It says something that must be understood and is not.
    #[error("the list of `{issuer}` cannot be used: {what}")]
    Unsupported {
        /// Who is said to have issued it.
        issuer: String,
        /// What it says.
        what: String,
    },
    /// Nobody of that name is an issuer.
    #[error("nobody named `{issuer}` is among the issuers of revocation lists")]
    UnknownIssuer {
        /// Who is said to have issued it.
        issuer: String,
    },
    /// None of the issuers of that name signed it, or not with an algorithm that is known here.
    #[error(
        "the signature of `{issuer}` on the list is wrong; get the list again, or name the certificate whose key signs it among the issuers of revocation lists"
    )]
    Signature {
        /// Who is said to have issued it.
        issuer: String,
    },
}

/// Why a certificate is not that of an issuer of revocation lists.
#[derive(Debug, Error)]
pub enum ListIssuerError {
    /// The text is not PEM of certificates.
    #[error("it cannot be read as PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// There is none in it.
    #[error("there is no certificate in it")]
    Empty,
    /// One of them cannot be read.
    #[error("a certificate in it cannot be read")]
    Certificate(#[source] CertificateError),
    /// Its owner says that the key is for something else.
    #[error("the key of `{name}` is not for signing revocation lists")]
    KeyUsage {
        /// Whose certificate it is.
        name: String,
    },
}

impl IssuedAs {
    /// Who issued a certificate.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            issuer: Sha256::digest(certificate.issuer().as_raw()).into(),
            serial: significant(certificate.raw_serial()),
        }
    }
}

impl ListIssuer {
    /// Reads the certificates of a PEM file.
    ///
    /// # Errors
    /// [`ListIssuerError`] if there is none, or one that is not for this.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, ListIssuerError> {
        let read = |der: CertificateDer<'static>| {
            let certificate = certificate::read(&der).map_err(ListIssuerError::Certificate)?;
            match certificate.key_usage() {
                Ok(None) => Ok(Self { der }),
                Ok(Some(usage)) if usage.value.crl_sign() => Ok(Self { der }),
                Ok(Some(_)) | Err(_) => {
                    Err(ListIssuerError::KeyUsage { name: certificate.subject().to_string() })
                }
            }
        };
        let issuers: Vec<Self> = CertificateDer::pem_slice_iter(pem)
            .map(|der| read(der.map_err(ListIssuerError::Pem)?))
            .collect::<Result<_, _>>()?;
        if issuers.is_empty() { Err(ListIssuerError::Empty) } else { Ok(issuers) }
    }
}

impl RevocationList {
    /// Reads the lists of a file: one in DER form, or any number in PEM form.
    ///
    /// Takes seconds of one core for the largest: not for an async worker.
    ///
    /// # Errors
    /// [`RevocationError`] about the first list that does not count.
    pub fn read(bytes: &[u8], issuers: &[ListIssuer]) -> Result<Vec<Self>, RevocationError> {
        if bytes.len() > LIST_BYTES_MAX {
            return Err(RevocationError::TooLarge { bytes: bytes.len(), max: LIST_BYTES_MAX });
        }
        const SEQUENCE: u8 = 0x30;
        if bytes.first() == Some(&SEQUENCE) {
            return Ok(vec![Self::from_der(bytes, issuers)?]);
        }
        let mut lists = Vec::new();
        for block in Pem::iter_from_buffer(bytes) {
            let block = block.map_err(|error| malformed(&error))?;
            if block.label == "X509 CRL" {
                lists.push(Self::from_der(&block.contents, issuers)?);
            }
        }
        if lists.is_empty() { Err(RevocationError::Empty) } else { Ok(lists) }
    }

    fn from_der(der: &[u8], issuers: &[ListIssuer]) -> Result<Self, RevocationError> {
        let (rest, list) =
            CertificateRevocationList::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&format!("{} bytes follow it", rest.len())));
        }
        verify(&list, issuers)?;
        check_extensions(&list)?;
        let serial = |revoked: &RevokedCertificate<'_>| significant(revoked.raw_serial());
        Ok(Self {
            issuer: list.issuer().to_string(),
            next_update: list.next_update().map(|at| Timestamp::from_secs(at.timestamp())),
            issuer_hash: Sha256::digest(list.issuer().as_raw()).into(),
            serials: list.iter_revoked_certificates().map(serial).collect(),
        })
    }

    /// How many certificates it revokes.
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }

    fn revokes(&self, certificate: &IssuedAs) -> bool {
        self.serials.contains(&certificate.serial)
    }
}

impl Revocations {
    /// Puts lists in force together.
    pub fn new(lists: Vec<RevocationList>) -> Self {
        let mut by_issuer: HashMap<_, Vec<_>> = HashMap::new();
        for list in lists {
            by_issuer.entry(list.issuer_hash).or_default().push(list);
        }
        Self { by_issuer }
    }

    /// Whether one of the lists revokes a certificate.
    pub(crate) fn revoke(&self, certificate: &IssuedAs) -> bool {
        let lists = self.by_issuer.get(&certificate.issuer);
        lists.is_some_and(|lists| lists.iter().any(|list| list.revokes(certificate)))
    }
}

impl fmt::Debug for ListIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListIssuer").finish_non_exhaustive()
    }
}

/// Whether one of the issuers signed a list.
fn verify(
    list: &CertificateRevocationList<'_>,
    issuers: &[ListIssuer],
) -> Result<(), RevocationError> {
    let issuer = || list.issuer().to_string();
    if is_sha1(&list.signature_algorithm) {
        return Err(RevocationError::Weak { issuer: issuer() });
    }
    let mut is_known = false;
    for candidate in issuers {
        // It was read before.
        let Ok(certificate) = certificate::read(&candidate.der) else { continue };
        if certificate.subject().as_raw() != list.issuer().as_raw() {
            continue;
        }
        is_known = true;
        if list.verify_signature(certificate.public_key()).is_ok() {
            return Ok(());
        }
    }
    Err(match is_known {
        true => RevocationError::Signature { issuer: issuer() },
        false => RevocationError::UnknownIssuer { issuer: issuer() },
    })
}

/// Whether what is signed is SHA-1 of something, whichever kind of key signs it.
fn is_sha1(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let name = &algorithm.algorithm;
    // Source: RFC 3279 2.2.3, ecdsa-with-SHA1.
    let is_ecdsa = || *name == oid!(1.2.840.10045.4.1);
    let is_pss = || {
        let parameters = algorithm.parameters.as_ref().filter(|_| *name == OID_PKCS1_RSASSAPSS);
        let parameters = parameters.and_then(|it| RsaSsaPssParams::try_from(it).ok());
        parameters.is_some_and(|it| *it.hash_algorithm_oid() == OID_HASH_SHA1)
    };
    *name == OID_PKCS1_SHA1WITHRSA || *name == OID_SHA1_WITH_RSA || is_ecdsa() || is_pss()
}

/// Refuses what would be read wrongly: lists that only add to another, that speak for other issuers
/// or for some reasons only, and whatever else is critical and not known here.
///
/// A part of the truth taken for the whole would let revoked certificates in.
fn check_extensions(list: &CertificateRevocationList<'_>) -> Result<(), RevocationError> {
    let unsupported = |what: String| {
        Err(RevocationError::Unsupported { issuer: list.issuer().to_string(), what })
    };
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point)
                if point.indirect_crl
                    || point.only_some_reasons.is_some()
                    || point.only_contains_ca_certs
                    || point.only_contains_attribute_certs =>
            {
                return unsupported("it is about a part of the certificates only".to_owned());
            }
            ParsedExtension::IssuingDistributionPoint(_) => {}
            _ if extension.critical => {
                return unsupported(format!("extension {} is critical", extension.oid));
            }
            _ => {}
        }
    }
    for revoked in list.iter_revoked_certificates() {
        if let Some(critical) = revoked.extensions().iter().find(|it| it.critical) {
            return unsupported(format!("extension {} of an entry is critical", critical.oid));
        }
    }
    Ok(())
}

/// A number without the zeros before it: some write one too many or too few.
fn significant(number: &[u8]) -> Box<[u8]> {
    let from = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    number[from..].into()
}

fn malformed(problem: &impl ToString) -> RevocationError {
    RevocationError::Malformed { problem: problem.to_string() }
}

#[cfg(test)]
mod tests;
