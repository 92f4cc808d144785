use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn verify_chain(issuer: &Issuer, pem: &str) {
    let der = pem_contents(pem).unwrap();
    let ca = pem_contents(&issuer.certificate().pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    certificate.verify_signature(Some(ca.public_key())).unwrap();
    assert_eq!(certificate.issuer(), ca.subject());
}

#[test]
fn a_device_certificate_is_as_awss_are() {
    let issuer = Issuer::create(NOW).unwrap();
    let device = issuer.device_certificate(NOW).unwrap();
    verify_chain(&issuer, &device.certificate.pem);
    assert_eq!(device.certificate.not_after.to_string(), "2049-12-31T23:59:59.000Z");
    assert_eq!(device.certificate.not_before, NOW - 120_000);
    let der = pem_contents(&device.certificate.pem).unwrap();
    assert_eq!(device.certificate.id, CertificateId::from_sha256(Sha256::digest(&der).into()));
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert!(
        matches!(parsed.public_key().parsed(), Ok(PublicKey::RSA(key)) if key.key_size() == 2048)
    );
    assert!(!parsed.is_ca());
    assert!(device.private_key_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(device.public_key_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(!format!("{device:?}").contains("PRIVATE"));
}

#[test]
fn the_private_key_is_the_certificates() {
    let issuer = Issuer::create(NOW).unwrap();
    let device = issuer.device_certificate(NOW).unwrap();
    let pkcs1 = pem_contents(&device.private_key_pem).unwrap();
    let key = aws_lc_rs::rsa::KeyPair::from_der(&pkcs1).unwrap();
    let der = pem_contents(&device.certificate.pem).unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    use aws_lc_rs::signature::KeyPair as _;
    assert_eq!(key.public_key().as_ref(), parsed.public_key().subject_public_key.data.as_ref());
}

#[test]
fn an_authority_that_was_kept_signs_on() {
    let made = Issuer::create(NOW).unwrap();
    let kept = Issuer::load(&made.certificate().pem, made.key_pem()).unwrap();
    assert_eq!(kept.certificate(), made.certificate());
    let server = kept
        .server_certificate(&["localhost".into(), "127.0.0.1".into(), "::1".into()], NOW)
        .unwrap();
    verify_chain(&made, &server.certificate.pem);
    let der = pem_contents(&server.certificate.pem).unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 3);
    assert!(
        parsed
            .get_extension_unique(&x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)
            .unwrap()
            .is_some()
    );
}

#[test]
fn an_authority_is_not_loaded_with_anothers_key() {
    let (one, two) = (Issuer::create(NOW).unwrap(), Issuer::create(NOW).unwrap());
    assert_ne!(one.certificate().id, two.certificate().id);
    let mixed = Issuer::load(&one.certificate().pem, two.key_pem());
    assert!(matches!(mixed, Err(IssuerError::Certificate(_))), "{mixed:?}");
}

fn request(
    alg: &'static rcgen::SignatureAlgorithm,
    shape: impl FnOnce(&mut CertificateParams),
) -> String {
    let key = KeyPair::generate_for(alg).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "pump-7");
    shape(&mut params);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn a_request_gives_subject_and_key_and_nothing_else() {
    let issuer = Issuer::create(NOW).unwrap();
    let csr = request(&PKCS_ECDSA_P256_SHA256, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::DnsName("bank.example".try_into().unwrap())];
    });
    let one = issuer.sign_request(&csr, NOW).unwrap();
    let two = issuer.sign_request(&csr, NOW).unwrap();
    assert_ne!(one.id, two.id, "two certificates of one request are two");
    verify_chain(&issuer, &one.pem);
    let der = pem_contents(&one.pem).unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=pump-7");
    assert!(!parsed.is_ca());
    assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(parsed.subject_alternative_name().unwrap().is_none());
}

#[test]
fn a_request_that_cannot_be_signed_is_refused_with_the_reason() {
    let issuer = Issuer::create(NOW).unwrap();
    let refused = |csr: &str| issuer.sign_request(csr, NOW).unwrap_err().to_string();
    assert!(refused("").ends_with("it is not PEM"), "{}", refused(""));
    assert!(
        refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
            .contains("cannot be signed")
    );
    let ed25519 = request(&rcgen::PKCS_ED25519, |_| {});
    assert!(refused(&ed25519).contains("neither RSA nor ECDSA"), "{}", refused(&ed25519));
    let good = request(&PKCS_ECDSA_P256_SHA256, |_| {});
    let mut der = pem_contents(&good).unwrap();
    let last = der.len() - 1;
    der[last] ^= 1;
    let broken = encode_pem("CERTIFICATE REQUEST", &der);
    assert!(refused(&broken).contains("cannot be signed"), "{}", refused(&broken));
    assert!(refused(&"x".repeat(PEM_BYTES_MAX + 1)).contains("more than"));
}
