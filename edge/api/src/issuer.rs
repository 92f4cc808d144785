//! The installation's own certificate authority: it signs the server's certificate and the
//! devices' certificates.
//!
//! Devices trust the server by this authority's certificate; the server trusts devices by their
//! entry in the registry, whoever signed them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use picket_model::{CertificateId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber, date_time_ymd,
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Largest certificate or request that is read, in bytes of PEM. Source: aws `CertificatePem`,
/// `CertificateSigningRequest`: 65,536 and 4,096; large keys and many names fit in the first.
pub const PEM_BYTES_MAX: usize = 65_536;

/// The server's certificate is made anew at every start; this is for those that run on and on.
const SERVER_CERTIFICATE_DAYS: u64 = 3_650;

/// Clocks of devices may be a little behind.
const BACKDATED: Duration = Duration::from_secs(120);

/// Why a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// A request for a certificate is not one that can be signed.
    #[error("the certificate signing request cannot be signed: {0}")]
    Request(String),
    /// A text is not a certificate that can be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// A text is not a private key that can be used.
    #[error("the private key cannot be used")]
    Key(#[source] rcgen::Error),
    /// A name is not one that a server certificate can carry.
    #[error("`{name}` is not a name that a server certificate can carry")]
    Name {
        /// The name.
        name: String,
        /// The reason.
        #[source]
        source: rcgen::Error,
    },
    /// The cryptography failed.
    #[error("a key or certificate could not be made")]
    Crypto(#[source] rcgen::Error),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// A certificate that was made or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// SHA-256 of the DER form.
    pub id: CertificateId,
    /// The certificate, alone, in PEM form.
    pub pem: String,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity, inclusive.
    pub not_after: Timestamp,
}

/// A certificate with its new key.
#[derive(Clone)]
pub struct KeysAndCertificate {
    /// The certificate.
    pub certificate: CertificateInfo,
    /// Its private key in PEM form; it is kept nowhere.
    pub private_key_pem: String,
    /// Its public key in PEM form.
    pub public_key_pem: String,
}

impl fmt::Debug for KeysAndCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeysAndCertificate")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate authority.
pub struct Issuer {
    certificate: CertificateInfo,
    key_pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("certificate", &self.certificate.id).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes a new authority with an ECDSA P-256 key, valid until the end of 2049.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn create(now: Timestamp) -> Result<Self, IssuerError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssuerError::Crypto)?;
        let mut params = new_params(now)?;
        let id = serial()?;
        let name = format!("Picket CA {:02x}{:02x}{:02x}", id[1], id[2], id[3]);
        params.distinguished_name.push(DnType::OrganizationName, "Picket");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).map_err(IssuerError::Crypto)?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    /// Reads an authority that was kept.
    ///
    /// # Errors
    /// [`IssuerError`] if one of the two is not readable, or the key is not the certificate's.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssuerError> {
        let key = KeyPair::from_pem(key_pem).map_err(IssuerError::Key)?;
        let certificate = read_certificate(certificate_pem)?;
        let der = pem_contents(&certificate.pem).map_err(IssuerError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(unreadable)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(IssuerError::Certificate("it is not the private key's".to_owned()));
        }
        let issuer =
            rcgen::Issuer::from_ca_cert_pem(&certificate.pem, key).map_err(IssuerError::Crypto)?;
        Ok(Self { certificate, key_pem: key_pem.to_owned(), issuer })
    }

    /// The authority's own certificate: what devices must trust.
    pub fn certificate(&self) -> &CertificateInfo {
        &self.certificate
    }

    /// The authority's private key in PEM form, to be kept where only the server reads it.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A certificate for a server that is reached by `names`: DNS names and IP addresses.
    ///
    /// # Errors
    /// [`IssuerError::Name`] for a name that a certificate cannot carry.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<KeysAndCertificate, IssuerError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssuerError::Crypto)?;
        let mut params = new_params(now)?;
        params.not_after =
            params.not_before + Duration::from_secs(SERVER_CERTIFICATE_DAYS * 24 * 3600);
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().map_or("picket", String::as_str));
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => {
                    let refuse = |source| IssuerError::Name { name: name.clone(), source };
                    SanType::DnsName(name.as_str().try_into().map_err(refuse)?)
                }
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(IssuerError::Crypto)?;
        Ok(KeysAndCertificate {
            certificate: read_certificate(&certificate.pem())?,
            private_key_pem: key.serialize_pem(),
            public_key_pem: key.public_key_pem(),
        })
    }

    /// A device's certificate with a new RSA key of 2,048 bits, valid until the end of 2049.
    ///
    /// Takes 50 to 500 ms of one core: not for an async worker. Source: aws
    /// CreateKeysAndCertificate.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn device_certificate(&self, now: Timestamp) -> Result<KeysAndCertificate, IssuerError> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
            .map_err(IssuerError::Crypto)?;
        let mut params = device_params(now)?;
        params.distinguished_name.push(DnType::CommonName, "Picket IoT Certificate");
        let certificate = params.signed_by(&key, &self.issuer).map_err(IssuerError::Crypto)?;
        Ok(KeysAndCertificate {
            certificate: read_certificate(&certificate.pem())?,
            private_key_pem: rsa_private_key_pem(&key),
            public_key_pem: key.public_key_pem(),
        })
    }

    /// A device's certificate for a key that the device keeps, valid until the end of 2049.
    ///
    /// Of the request only the subject and the key are taken: what a certificate may be used for
    /// is not the requester's to say. Source: aws CreateCertificateFromCsr.
    ///
    /// # Errors
    /// [`IssuerError::Request`] if it is no request, its signature is wrong, or its key is neither
    /// RSA of at least 2,048 bits nor ECDSA on P-256 or P-384.
    pub fn sign_request(
        &self,
        csr_pem: &str,
        now: Timestamp,
    ) -> Result<CertificateInfo, IssuerError> {
        let refuse = |reason: String| IssuerError::Request(reason);
        let der = pem_contents(csr_pem).map_err(refuse)?;
        let request = CertificateSigningRequestParams::from_der(&der.as_slice().into())
            .map_err(|error| refuse(request_problem(&error)))?;
        let (_, parsed) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&der)
                .map_err(|_| refuse("it is PEM, but no request is in it".to_owned()))?;
        let key = &parsed.certification_request_info.subject_pki;
        check_key(&key.parsed()).map_err(refuse)?;

        let mut params = device_params(now)?;
        params.distinguished_name = request.params.distinguished_name;
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(IssuerError::Crypto)?;
        // rcgen takes the kind of the key from the request's signature; where the two do not
        // belong together it would certify another key.
        let (_, made) = X509Certificate::from_der(certificate.der()).map_err(unreadable)?;
        if made.public_key().raw != key.raw {
            return Err(refuse("its signature algorithm does not fit its key".to_owned()));
        }
        read_certificate(&certificate.pem())
    }
}

/// Reads one certificate that somebody made elsewhere.
///
/// # Errors
/// [`IssuerError::Certificate`] if it is no certificate, or its key is too weak to be trusted.
pub fn read_certificate(pem: &str) -> Result<CertificateInfo, IssuerError> {
    let der = pem_contents(pem).map_err(IssuerError::Certificate)?;
    let (rest, parsed) = X509Certificate::from_der(&der).map_err(unreadable)?;
    if !rest.is_empty() {
        return Err(IssuerError::Certificate("something follows it".to_owned()));
    }
    check_key(&parsed.public_key().parsed()).map_err(IssuerError::Certificate)?;
    let validity = parsed.validity();
    Ok(CertificateInfo {
        id: CertificateId::from_sha256(Sha256::digest(&der).into()),
        pem: encode_pem("CERTIFICATE", &der),
        not_before: Timestamp::from_secs(validity.not_before.timestamp()),
        not_after: Timestamp::from_secs(validity.not_after.timestamp()),
    })
}

/// Why a request was not read, in the requester's words.
fn request_problem(error: &rcgen::Error) -> String {
    match error {
        rcgen::Error::CouldNotParseCertificationRequest => "it is PEM, but no request is in it",
        rcgen::Error::InvalidCertificationRequestSignature => {
            "its signature is wrong: it is not signed with its own key"
        }
        rcgen::Error::UnsupportedExtension => "it asks for an extension that is not known here",
        rcgen::Error::UnsupportedSignatureAlgorithm => "its signature algorithm is not known here",
        other => return other.to_string(),
    }
    .to_owned()
}

/// What the parser says is about DER and helps nobody who pasted the wrong text.
fn unreadable<E>(_: E) -> IssuerError {
    IssuerError::Certificate("it is PEM, but no X.509 certificate is in it".to_owned())
}

/// The contents of the first block of a PEM text.
fn pem_contents(pem: &str) -> Result<Vec<u8>, String> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(format!("it has more than {PEM_BYTES_MAX} bytes"));
    }
    match Pem::iter_from_buffer(pem.as_bytes()).next() {
        Some(Ok(block)) => Ok(block.contents),
        Some(Err(_)) | None => Err("it is not PEM".to_owned()),
    }
}

/// A key must be one that the TLS stack takes, and no weaker than AWS allows.
fn check_key(key: &Result<PublicKey<'_>, x509_parser::error::X509Error>) -> Result<(), String> {
    match key {
        Ok(PublicKey::RSA(key)) if key.key_size() < 2048 => {
            Err(format!("its RSA key has {} bits; at least 2048 are needed", key.key_size()))
        }
        Ok(PublicKey::RSA(key)) if key.key_size() > 8192 => {
            Err(format!("its RSA key has {} bits; at most 8192 are taken", key.key_size()))
        }
        Ok(PublicKey::RSA(_)) => Ok(()),
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384 | 521 | 528) => Ok(()),
        Ok(_) | Err(_) => {
            Err("its key is neither RSA nor ECDSA on P-256, P-384 or P-521".to_owned())
        }
    }
}

/// What all certificates of ours have in common.
fn new_params(now: Timestamp) -> Result<CertificateParams, IssuerError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let since_1970 = Duration::from_millis(now.as_millis().max(0).unsigned_abs());
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970.saturating_sub(BACKDATED);
    params.not_after = date_time_ymd(2049, 12, 31) + Duration::from_secs(24 * 3600 - 1);
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn device_params(now: Timestamp) -> Result<CertificateParams, IssuerError> {
    let mut params = new_params(now)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// A serial number: 20 random bytes, positive.
fn serial() -> Result<[u8; 20], IssuerError> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssuerError::NoRandomness)?;
    // The first bit is the sign; and a leading zero byte would have to be left out.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

/// An RSA key as AWS gives it: `BEGIN RSA PRIVATE KEY` (PKCS #1).
///
/// Some device software reads only this form. PKCS #8 wraps it in an octet string.
fn rsa_private_key_pem(key: &KeyPair) -> String {
    let pkcs8 = key.serialize_der();
    match pkcs1_of(&pkcs8) {
        Some(pkcs1) => encode_pem("RSA PRIVATE KEY", pkcs1),
        None => key.serialize_pem(),
    }
}

/// The octet string of a PKCS #8 document: SEQUENCE { INTEGER, SEQUENCE, OCTET STRING }.
fn pkcs1_of(pkcs8: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    let (document, _) = der_value(pkcs8, SEQUENCE)?;
    let (_, document) = der_value(document, INTEGER)?;
    let (_, document) = der_value(document, SEQUENCE)?;
    der_value(document, OCTET_STRING).map(|(key, _)| key)
}

/// The contents of the DER element at the start of `bytes`, if it has this tag, and what follows.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(len) } else { None }
}

/// PEM with lines of 64 characters that end in `\n`.
fn encode_pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (n, c) in text.chars().enumerate() {
        if n > 0 && n % 64 == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests;
