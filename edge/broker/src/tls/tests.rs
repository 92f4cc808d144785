//! Handshakes in memory, with clients as they come.

use std::net::IpAddr;

use picket_model::Timestamp;
use picket_policy::{AlternativeName, NameAttribute};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

/// A certificate with the key that a client signs with.
#[derive(Clone)]
struct Owned {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

fn signed(params: &CertificateParams, key: &KeyPair) -> Owned {
    let certificate = params.self_signed(key).unwrap().der().clone();
    Owned { certificate, key: key.serialize_der() }
}

fn key(kind: &str) -> KeyPair {
    match kind {
        "P-256" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        "P-384" => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        "Ed25519" => KeyPair::generate_for(&PKCS_ED25519),
        "RSA-2048" => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        kind => panic!("no key `{kind}`"),
    }
    .unwrap()
}

fn client(kind: &str) -> Owned {
    signed(&CertificateParams::default(), &key(kind))
}

fn identity(names: &[&str]) -> (ServerIdentity, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let key = key("P-256");
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let pem = (certificate.pem(), key.serialize_pem());
    (
        ServerIdentity::from_pem(pem.0.as_bytes(), pem.1.as_bytes()).unwrap(),
        certificate.der().clone(),
    )
}

/// A client that presents its certificate whatever the server hints at, and signs with whatever
/// key it has.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the server is, and what the client does.
struct Scene {
    clients: ClientCertificates,
    version: &'static SupportedProtocolVersion,
    presents: Option<Owned>,
    protocols: &'static [&'static str],
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            clients: ClientCertificates::Requested,
            version: &TLS13,
            presents: None,
            protocols: &[],
        }
    }
}

fn config(scene: &Scene, trusted: CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[scene.version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match &scene.presents {
        None => builder.with_no_client_auth(),
        Some(Owned { certificate, key }) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
            let key = provider().key_provider.load_private_key(key).unwrap();
            let key = CertifiedKey::new(vec![certificate.clone()], key);
            builder.with_client_cert_resolver(Arc::new(Presents(Arc::new(key))))
        }
    };
    config.alpn_protocols = scene.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Plays the scene to its end; a byte goes each way, so that both sides know how it went.
async fn play(scene: Scene) -> Result<Accepted<tokio::io::DuplexStream>, HandshakeError> {
    let (identity, trusted) = identity(&["localhost"]);
    let server = ServerTls::new(identity, scene.clients).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config(&scene, trusted)));
    let client = tokio::spawn(async move {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, near).await?;
        stream.write_all(b"?").await?;
        stream.flush().await?;
        stream.read_u8().await
    });
    let mut accepted = match server.accept(far).await {
        Ok(accepted) => accepted,
        Err(error) => {
            client.await.unwrap().expect_err("a refused client is told");
            return Err(error);
        }
    };
    assert_eq!(accepted.stream.read_u8().await.unwrap(), b'?');
    accepted.stream.write_all(b"!").await.unwrap();
    accepted.stream.flush().await.unwrap();
    assert_eq!(client.await.unwrap().unwrap(), b'!');
    Ok(accepted)
}

fn versions() -> [&'static SupportedProtocolVersion; 2] {
    [&TLS12, &TLS13]
}

fn reason(error: &HandshakeError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

#[tokio::test]
async fn a_client_with_a_certificate_is_known_by_it() {
    for version in versions() {
        for kind in ["P-256", "P-384", "RSA-2048", "Ed25519"] {
            let owned = client(kind);
            let expected = PresentedCertificate::from_der(&owned.certificate).unwrap();
            for clients in [ClientCertificates::Requested, ClientCertificates::Required] {
                let presents = Some(owned.clone());
                let scene = Scene { version, clients, presents, ..Scene::default() };
                let accepted = play(scene).await.unwrap();
                assert_eq!(accepted.certificate, Some(expected.clone()), "{version:?} {kind}");
                assert_eq!(accepted.server_name.as_deref(), Some("localhost"));
            }
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody_or_refused() {
    for version in versions() {
        let accepted = play(Scene { version, ..Scene::default() }).await.unwrap();
        assert_eq!(accepted.certificate, None);
        let clients = ClientCertificates::Required;
        let error = play(Scene { version, clients, ..Scene::default() }).await.unwrap_err();
        assert_eq!(reason(&error), "peer sent no certificates");
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    for version in versions() {
        for kind in ["P-256", "RSA-2048"] {
            let stolen = Owned { key: client(kind).key, ..client(kind) };
            let presents = Some(stolen);
            let error = play(Scene { version, presents, ..Scene::default() }).await.unwrap_err();
            assert_eq!(reason(&error), "invalid peer certificate: BadSignature", "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_key_of_another_kind_than_the_certificates_is_refused() {
    for version in versions() {
        let stolen = Owned { key: client("RSA-2048").key, ..client("P-256") };
        let presents = Some(stolen);
        let error = play(Scene { version, presents, ..Scene::default() }).await.unwrap_err();
        assert!(reason(&error).starts_with("invalid peer certificate"), "{}", reason(&error));
    }
}

#[tokio::test]
async fn something_that_is_no_certificate_is_refused() {
    for version in versions() {
        for der in [b"no certificate".to_vec(), vec![0x30; 49 * 1024]] {
            let presents = Some(Owned { certificate: der.into(), ..client("P-256") });
            let error = play(Scene { version, presents, ..Scene::default() }).await.unwrap_err();
            assert_eq!(reason(&error), "invalid peer certificate: BadEncoding");
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_passes_here_and_says_so() {
    let key = key("P-256");
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let presents = Some(signed(&params, &key));
    let accepted = play(Scene { presents, ..Scene::default() }).await.unwrap();
    let validity = accepted.certificate.unwrap().validity;
    assert_eq!(validity.not_before.to_string(), "2020-01-01T00:00:00.000Z");
    assert_eq!(validity.not_after.to_string(), "2021-01-01T00:00:00.000Z");
    for (at, is_valid) in [
        (validity.not_before.plus_millis(-1), false),
        (validity.not_before, true),
        (validity.not_after.plus_millis(999), true),
        (validity.not_after.plus_millis(1000), false),
        (Timestamp::from_secs(1_800_000_000), false),
    ] {
        assert_eq!(validity.contains(at), is_valid, "{at}");
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_as_good_as_any() {
    for version in versions() {
        for kind in ["P-256", "RSA-2048"] {
            let mut owned = client(kind);
            owned.certificate = as_version_1(&owned.certificate).into();
            let id = PresentedCertificate::from_der(&owned.certificate).unwrap().facts.id.clone();
            let stolen = Owned { key: client(kind).key, ..owned.clone() };
            let accepted =
                play(Scene { version, presents: Some(owned), ..Scene::default() }).await.unwrap();
            assert_eq!(accepted.certificate.unwrap().facts.id, id);
            let presents = Some(stolen);
            let error = play(Scene { version, presents, ..Scene::default() }).await.unwrap_err();
            assert_eq!(reason(&error), "invalid peer certificate: BadSignature");
        }
    }
}

#[tokio::test]
async fn the_application_protocol_is_agreed_on_or_left_out() {
    for version in versions() {
        for (protocols, expected) in [
            (&[][..], None),
            (&["x-amzn-mqtt-ca"], Some(Protocol::Mqtt)),
            (&["mqtt"], Some(Protocol::Mqtt)),
            (&["h2", "mqtt"], Some(Protocol::Mqtt)),
            (&["http/1.1", "x-amzn-mqtt-ca"], Some(Protocol::Mqtt)),
            (&["x-amzn-http-ca"], Some(Protocol::Http)),
            (&["h2", "http/1.1"], Some(Protocol::Http)),
            (&["h2", "h3"], None),
        ] {
            let scene = Scene { version, protocols, ..Scene::default() };
            let accepted = play(scene).await.unwrap();
            assert_eq!(accepted.protocol, expected, "{protocols:?}");
        }
    }
}

#[tokio::test]
async fn the_servers_identity_can_be_replaced() {
    let (first, first_der) = identity(&["localhost"]);
    let (second, second_der) = identity(&["localhost"]);
    let server = ServerTls::new(first, ClientCertificates::Requested).unwrap();
    let greet = async |trusted: &CertificateDer<'static>| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let config = config(&Scene::default(), trusted.clone());
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let connect = connector.connect(name, near);
        let (connected, accepted) = tokio::join!(connect, server.accept(far));
        connected.is_ok() && accepted.is_ok()
    };
    assert!(greet(&first_der).await && !greet(&second_der).await);
    server.clone().replace_identity(second);
    assert!(!greet(&first_der).await && greet(&second_der).await);
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_told_apart() {
    let (identity, _) = identity(&["localhost"]);
    let server = ServerTls::new(identity, ClientCertificates::Requested).unwrap();
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00").await.unwrap();
    assert!(matches!(server.accept(far).await, Err(HandshakeError::Hello(_))));
    let (near, far) = tokio::io::duplex(1024);
    drop(near);
    assert!(matches!(server.accept(far).await, Err(HandshakeError::Hello(_))));
}

#[test]
fn a_server_identity_is_checked() {
    let pem = |kind| {
        let key = key(kind);
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (one, other) = (pem("P-256"), pem("P-256"));
    for (certificate, key, expected) in [
        ("", one.1.as_str(), "there is no certificate for the server"),
        (one.0.as_str(), "", "the server's private key cannot be read as PEM"),
        (
            one.0.as_str(),
            other.1.as_str(),
            "the server's private key cannot be used with its certificate",
        ),
    ] {
        let error = ServerIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
    for kind in ["P-256", "RSA-2048"] {
        let (certificate, key) = pem(kind);
        assert!(ServerIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
    }
}

#[test]
fn a_certificate_is_read_as_policies_see_it() {
    let key = key("P-256");
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "US");
    name.push(DnType::OrganizationName, "IoT Devices");
    name.push(DnType::OrganizationalUnitName, "LightBulb");
    // The same attribute under another name: the only way to have it twice here.
    name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "Second");
    name.push(DnType::LocalityName, "Seattle");
    name.push(DnType::StateOrProvinceName, "NY");
    name.push(DnType::CommonName, "LightBulb Device Cert");
    for (oid, value) in [
        (4, "Multi Color"),
        (5, "123"),
        (12, "RGB"),
        (42, "Bulb"),
        (43, "ZZ"),
        (44, "4"),
        (46, "Bulb001"),
        (65, "RGB Device"),
    ] {
        name.push(DnType::CustomDnType(vec![2, 5, 4, oid]), value);
    }
    params.distinguished_name = name;
    params.serial_number = Some(vec![0x92, 0x12, 0x85, 0xcb, 0xb7, 0xa5, 0xe0, 0x86].into());
    params.subject_alt_names = vec![
        SanType::DnsName("example.com".try_into().unwrap()),
        SanType::DnsName("example.org".try_into().unwrap()),
        SanType::IpAddress("1.2.3.4".parse::<IpAddr>().unwrap()),
        SanType::IpAddress("2001:db8::1".parse::<IpAddr>().unwrap()),
        SanType::URI("ResourceIdentifier001".try_into().unwrap()),
        SanType::Rfc822Name("device1@example.com".try_into().unwrap()),
    ];
    let plain = signed(&params, &key);
    let directory_name =
        tlv(0xa4, certificate::read(&plain.certificate).unwrap().subject().as_raw());
    let host = tlv(0x82, b"issuer.com");
    let names = tlv(0x30, &[directory_name, host].concat());
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 18], names)];
    let read = PresentedCertificate::from_der(&signed(&params, &key).certificate).unwrap();
    // aws: guide "Using X.509 certificate policy variables", the same certificate
    let facts = read.facts;
    assert_eq!(facts.serial_number, "10525622389124227206");
    let subject: Vec<String> = facts
        .subject
        .iter()
        .map(|(name, values)| format!("{}={}", name.as_str(), values.join("|")))
        .collect();
    insta::assert_snapshot!(subject.join("\n"), @r"
    DistinguishedNameQualifier=Bulb001
    Country=US
    Organization=IoT Devices
    OrganizationalUnit=LightBulb|Second
    State=NY
    CommonName=LightBulb Device Cert
    SerialNumber=123
    Title=RGB
    Surname=Multi Color
    GivenName=Bulb
    Initials=ZZ
    Pseudonym=RGB Device
    GenerationQualifier=4
    ");
    assert_eq!(facts.issuer, facts.subject, "it is self-signed");
    assert_eq!(facts.subject.iter().count(), NameAttribute::ALL.len());
    let names = |kind| facts.subject_alternative.get(&kind).unwrap().join("|");
    assert_eq!(names(AlternativeName::DnsName), "example.com|example.org");
    assert_eq!(names(AlternativeName::IpAddress), "1.2.3.4|2001:db8::1");
    assert_eq!(names(AlternativeName::UniformResourceIdentifier), "ResourceIdentifier001");
    assert_eq!(names(AlternativeName::Rfc822Name), "device1@example.com");
    let issuer = &facts.issuer_alternative;
    assert_eq!(issuer.get(&AlternativeName::DnsName).unwrap(), ["issuer.com"]);
    insta::assert_snapshot!(
        issuer.get(&AlternativeName::DirectoryName).unwrap().join("|"),
        @"pseudonym=RGB Device,dnQualifier=Bulb001,generationQualifier=4,initials=ZZ,givenName=Bulb,title=RGB,serialNumber=123,sn=Multi Color,cn=LightBulb Device Cert,st=NY,l=Seattle,ou=Second,ou=LightBulb,o=IoT Devices,c=US"
    );
}

#[test]
fn bytes_that_are_no_certificate_are_refused_with_a_reason() {
    let error = |der: &[u8]| PresentedCertificate::from_der(der).unwrap_err().to_string();
    let good = client("P-256").certificate.to_vec();
    assert!(error(b"").starts_with("the certificate cannot be read: "));
    assert_eq!(
        error(&[&good[..], b"more"].concat()),
        "the certificate cannot be read: 4 bytes follow it"
    );
    assert_eq!(
        error(&vec![0x30; 48 * 1024 + 1]),
        "the certificate has 49153 bytes; at most 49152 are read"
    );
    let mut params = CertificateParams::default();
    params.serial_number = Some(vec![1; 65].into());
    assert_eq!(
        error(&signed(&params, &key("P-256")).certificate),
        "the certificate's serial number has 65 bytes; at most 64 are read"
    );
    // Every prefix, and every byte turned around: no panic.
    for end in 0..good.len() {
        assert!(PresentedCertificate::from_der(&good[..end]).is_err());
        let mut bent = good.clone();
        bent[end] ^= 0xff;
        let _ = PresentedCertificate::from_der(&bent);
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        len @ 0..0x80 => der.push(len as u8),
        len @ 0x80..0x100 => der.extend([0x81, len as u8]),
        len => der.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    der.extend(content);
    der
}

/// The elements of a DER sequence's content, each whole.
fn elements(mut content: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !content.is_empty() {
        let (rest, element) = Any::from_der(content).unwrap();
        assert!(!element.data.is_empty());
        elements.push(&content[..content.len() - rest.len()]);
        content = rest;
    }
    elements
}

/// The same certificate without version and extensions. Its signature is wrong then, which nobody
/// looks at.
fn as_version_1(der: &[u8]) -> Vec<u8> {
    let outer = elements(Any::from_der(der).unwrap().1.data);
    let inner = elements(Any::from_der(outer[0]).unwrap().1.data);
    let kept = inner.into_iter().filter(|element| !matches!(element[0], 0xa0 | 0xa3));
    let inner = tlv(0x30, &kept.collect::<Vec<_>>().concat());
    tlv(0x30, &[&inner, outer[1], outer[2]].concat())
}
