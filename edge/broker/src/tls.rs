//! TLS: the server's side of a device's handshake.
//!
//! A client certificate is a name and a key here, not a link of a chain: whether it is let in
//! depends on its being registered and active, which admission asks afterwards. The handshake
//! proves one thing only, that the client owns the certificate's key.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, PeerMisbehaved, ServerConfig, SignatureScheme,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::FromDer;

use crate::certificate::{self, CertificateError, PresentedCertificate};

/// Protocols that device clients name in their hello, in the order in which they are preferred.
/// Source: AWS guide "Device communication protocols", port mapping; RFC 7301 6.
const APPLICATION_PROTOCOLS: [(&[u8], Protocol); 4] = [
    (b"x-amzn-mqtt-ca", Protocol::Mqtt),
    (b"mqtt", Protocol::Mqtt),
    (b"x-amzn-http-ca", Protocol::Http),
    (b"http/1.1", Protocol::Http),
];

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT, from the first byte on.
    Mqtt,
    /// HTTP/1.1: a WebSocket that carries MQTT, or messages to publish.
    Http,
}

/// What a TLS listener needs. Clones share the server's certificate.
#[derive(Clone)]
pub struct ServerTls {
    /// For clients that name one of our protocols, or none.
    naming: Arc<ServerConfig>,
    /// For clients that name only protocols unknown here. A server that has a list must refuse
    /// them (RFC 7301 3.2); one without a list ignores theirs.
    silent: Arc<ServerConfig>,
    identity: Arc<CurrentIdentity>,
}

/// The server's certificate, the chain behind it and its key.
pub struct ServerIdentity(Arc<CertifiedKey>);

/// What is asked of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client may come without one. Admission then has nobody to let in, and can say so in MQTT.
    Requested,
    /// The handshake fails without one.
    Required,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The encrypted connection.
    pub stream: TlsStream<IO>,
    /// The certificate whose key the client owns, if it presented one.
    pub certificate: Option<PresentedCertificate>,
    /// The host name that the client asked for.
    pub server_name: Option<String>,
    /// What the client said that it will speak; `None` if it said nothing that is known here.
    pub protocol: Option<Protocol>,
}

/// Why a server identity cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The certificate's text is not PEM, or holds no certificate.
    #[error("the server's certificate cannot be read as PEM")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// There is no certificate in the text.
    #[error("there is no certificate for the server")]
    NoCertificate,
    /// The key's text is not PEM, or holds no private key.
    #[error("the server's private key cannot be read as PEM")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Key and certificate do not belong together, or the key is of an unknown kind.
    #[error("the server's private key cannot be used with its certificate")]
    Mismatch(#[source] rustls::Error),
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// No proper client hello came: not a TLS client, or the connection was lost.
    #[error("no TLS client hello")]
    Hello(#[source] io::Error),
    /// The handshake failed after the hello.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The client's certificate is unreadable.
    #[error("the client's certificate is unreadable")]
    Certificate(#[source] CertificateError),
}

impl ServerIdentity {
    /// Reads a certificate with its chain, and a private key.
    ///
    /// # Errors
    /// [`IdentityError`] if one cannot be read or the two do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let certificates = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        Self::from_der(certificates, key)
    }

    /// Takes a certificate with its chain, the server's own first, and a private key.
    ///
    /// # Errors
    /// [`IdentityError`] if there is none or the two do not belong together.
    pub fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        if certificates.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        CertifiedKey::from_der(certificates, key, &provider())
            .map(|identity| Self(Arc::new(identity)))
            .map_err(IdentityError::Mismatch)
    }
}

impl ServerTls {
    /// Prepares TLS 1.2 and 1.3 with the server's identity.
    ///
    /// # Errors
    /// [`rustls::Error`] if the cryptography at hand supports neither version.
    pub fn new(
        identity: ServerIdentity,
        clients: ClientCertificates,
    ) -> Result<Self, rustls::Error> {
        let identity = Arc::new(CurrentIdentity(ArcSwap::new(identity.0)));
        let provider = Arc::new(provider());
        let possession = Arc::new(Possession {
            provider: Arc::clone(&provider),
            is_mandatory: clients == ClientCertificates::Required,
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(possession)
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        // A resumed session skips the proof of possession, and remembering sessions costs memory
        // for each of a hundred thousand devices that reconnect once a week. AWS IoT has none.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let silent = Arc::new(config.clone());
        config.alpn_protocols = APPLICATION_PROTOCOLS.map(|(name, _)| name.to_vec()).into();
        Ok(Self { naming: Arc::new(config), silent, identity })
    }

    /// Uses another server identity from the next handshake on. Connections stay.
    pub fn replace_identity(&self, identity: ServerIdentity) {
        self.identity.0.store(identity.0);
    }

    /// Makes the handshake.
    ///
    /// Waits as long as the client takes: the caller sets the deadline, one for this and CONNECT
    /// together.
    ///
    /// # Errors
    /// [`HandshakeError`]. The client has been told by an alert where there was one to tell.
    pub async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io)
            .await
            .map_err(HandshakeError::Hello)?;
        let config = self.config_for(&hello.client_hello());
        let stream = hello.into_stream(config).await.map_err(HandshakeError::Handshake)?;
        let (_, connection) = stream.get_ref();
        let certificate = connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|der| PresentedCertificate::from_der(der))
            .transpose()
            .map_err(HandshakeError::Certificate)?;
        let server_name = connection.server_name().map(str::to_owned);
        let protocol = connection.alpn_protocol().and_then(spoken);
        Ok(Accepted { certificate, server_name, protocol, stream })
    }

    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let is_known = |name: &[u8]| spoken(name).is_some();
        let knows_none = hello.alpn().is_some_and(|mut offered| !offered.any(is_known));
        Arc::clone(if knows_none { &self.silent } else { &self.naming })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// What is spoken by clients that name a protocol.
fn spoken(name: &[u8]) -> Option<Protocol> {
    let known = APPLICATION_PROTOCOLS.iter().find(|(known, _)| *known == name);
    known.map(|(_, protocol)| *protocol)
}

/// The one cryptography provider, named so that none has to be installed for the process.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The server's identity at this moment.
#[derive(Debug)]
struct CurrentIdentity(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Verifies that a client owns the key of its certificate, and nothing else about it.
///
/// Chain, names and validity are left to admission, which can refuse with a reason in MQTT and a
/// line in the log. The standard verifier also refuses certificates of X.509 version 1, which is
/// what OpenSSL signs without an extensions file; the proof here needs only the public key.
#[derive(Debug)]
struct Possession {
    provider: Arc<CryptoProvider>,
    is_mandatory: bool,
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        certificate::read(end_entity).map_err(|_| bad_encoding())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = certificate::read(certificate).map_err(|_| bad_encoding())?;
        let key = certificate.public_key();
        // TLS 1.2 names no curve with ECDSA, so that several algorithms stand for one scheme; the
        // key says which of them it is for.
        let algorithm = key_algorithm(key.raw).ok_or_else(bad_encoding)?;
        let schemes = self.provider.signature_verification_algorithms.mapping;
        let algorithms = schemes.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) =
            algorithms.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let verifies = algorithms
            .iter()
            .filter(|candidate| *candidate.public_key_alg_id() == *algorithm)
            .any(|candidate| {
                let key = &key.subject_public_key.data;
                candidate.verify_signature(key, message, signed.signature()).is_ok()
            });
        if verifies {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(rustls::CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = certificate::read(certificate).map_err(|_| bad_encoding())?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn bad_encoding() -> rustls::Error {
    rustls::CertificateError::BadEncoding.into()
}

/// The contents of the AlgorithmIdentifier of a SubjectPublicKeyInfo, both in DER form.
fn key_algorithm(public_key_info: &[u8]) -> Option<&[u8]> {
    let (_, info) = Any::from_der(public_key_info).ok()?;
    let (_, algorithm) = Any::from_der(info.data).ok()?;
    Some(algorithm.data)
}

#[cfg(test)]
mod tests;
