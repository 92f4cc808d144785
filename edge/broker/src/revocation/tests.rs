//! Lists as authorities make them, and as nobody should.

use picket_model::limits::CERTIFICATE_BYTES_MAX;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::certificate::PresentedCertificate;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str, usages: &[KeyUsagePurpose]) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    fn certificate(&self, serial: &[u8]) -> IssuedAs {
        let mut params = CertificateParams::new([]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        PresentedCertificate::from_der(certificate.der()).unwrap().issued_as
    }

    fn list(&self, serials: &[&[u8]]) -> rcgen::CertificateRevocationList {
        self.list_with(serials, |_| {})
    }

    fn list_with(
        &self,
        serials: &[&[u8]],
        adjust: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> rcgen::CertificateRevocationList {
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2025, 2, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        adjust(&mut params);
        params.signed_by(&self.issuer).unwrap()
    }
}

fn issuers(authorities: &[&Authority]) -> Vec<ListIssuer> {
    let read = |authority: &&Authority| ListIssuer::from_pem(authority.pem.as_bytes()).unwrap();
    authorities.iter().flat_map(read).collect()
}

/// Why a file is refused, whose only issuer is `authority`.
fn refused(bytes: &[u8], authority: &Authority) -> String {
    RevocationList::read(bytes, &issuers(&[authority])).unwrap_err().to_string()
}

#[test]
fn a_list_revokes_by_issuer_and_serial() {
    let (ours, theirs) = (authority("ours", &[]), authority("theirs", &[]));
    let list = ours.list(&[&[7], &[0x80, 1]]);
    for bytes in [list.der().to_vec(), list.pem().unwrap().into_bytes()] {
        let lists = RevocationList::read(&bytes, &issuers(&[&theirs, &ours])).unwrap();
        assert_eq!((lists[0].len(), lists[0].next_update.is_some()), (2, true));
        let revocations = Revocations::new(lists);
        for (certificate, expected) in [
            (ours.certificate(&[7]), true),
            (ours.certificate(&[0x80, 1]), true),
            (ours.certificate(&[8]), false),
            (ours.certificate(&[7, 0]), false),
            (theirs.certificate(&[7]), false),
        ] {
            assert_eq!(revocations.revoke(&certificate), expected, "{certificate:?}");
        }
    }
}

#[test]
fn several_authorities_share_a_file() {
    let (one, two) = (authority("one", &[]), authority("two", &[]));
    let pem = [one.list(&[&[1]]).pem().unwrap(), two.list(&[&[2]]).pem().unwrap()].concat();
    let lists = RevocationList::read(pem.as_bytes(), &issuers(&[&one, &two])).unwrap();
    let revocations = Revocations::new(lists);
    assert!(
        revocations.revoke(&one.certificate(&[1])) && revocations.revoke(&two.certificate(&[2]))
    );
    assert!(!revocations.revoke(&one.certificate(&[2])));
    // One that nobody vouches for spoils the file.
    let error = RevocationList::read(pem.as_bytes(), &issuers(&[&one])).unwrap_err();
    assert!(matches!(error, RevocationError::UnknownIssuer { .. }), "{error}");
}

#[test]
fn an_authority_with_a_new_key_revokes_what_it_issued_with_the_old_one() {
    let (before, after) = (authority("fleet", &[]), authority("fleet", &[]));
    let list = after.list(&[&[7]]);
    let lists = RevocationList::read(list.der(), &issuers(&[&before, &after])).unwrap();
    assert!(Revocations::new(lists).revoke(&before.certificate(&[7])));
}

#[test]
fn a_list_that_nobody_named_signed_is_refused() {
    let (ours, namesake) = (authority("fleet", &[]), authority("fleet", &[]));
    let stranger = authority("stranger", &[]);
    assert_eq!(
        refused(namesake.list(&[&[7]]).der(), &ours),
        "the signature of `CN=fleet` on the list is wrong; get the list again, or name the \
         certificate whose key signs it among the issuers of revocation lists"
    );
    assert!(refused(stranger.list(&[&[7]]).der(), &ours).starts_with("nobody named `CN=stranger"));
}

/// Each sample is an issuer's certificate, a list of it that is signed with SHA-1, and one that is
/// signed with SHA-256 by the same key.
#[test]
fn a_list_that_is_signed_with_sha_1_is_refused_whatever_key_signed_it() {
    for sample in [
        include_str!("samples/rsa.pem"),
        include_str!("samples/rsa-pss.pem"),
        include_str!("samples/ecdsa.pem"),
    ] {
        let issuers = ListIssuer::from_pem(sample.as_bytes()).unwrap();
        let blocks: Vec<_> = sample.split_inclusive("-----END X509 CRL-----\n").collect();
        let [weak, strong] = blocks[..] else { panic!("{} lists", blocks.len()) };
        assert_eq!(
            RevocationList::read(weak.as_bytes(), &issuers).unwrap_err().to_string(),
            "the list of `CN=fleet` is signed with SHA-1, which proves nothing; have it signed \
             with SHA-256"
        );
        assert_eq!(RevocationList::read(strong.as_bytes(), &issuers).unwrap()[0].len(), 1);
        // One that counts does not make up for it.
        let error = RevocationList::read(sample.as_bytes(), &issuers).unwrap_err();
        assert!(matches!(error, RevocationError::Weak { .. }), "{error}");
        // The same with a signature that is not of these bytes.
        let pem = Pem::iter_from_buffer(strong.as_bytes()).last().unwrap().unwrap();
        let mut forged = pem.contents;
        *forged.last_mut().unwrap() ^= 1;
        let error = RevocationList::read(&forged, &issuers).unwrap_err();
        assert!(matches!(error, RevocationError::Signature { .. }), "{error}");
    }
}

#[test]
fn no_bent_byte_changes_what_a_list_says() {
    let ours = authority("ours", &[]);
    let issuers = issuers(&[&ours]);
    let good = ours.list(&[&[7], &[8], &[9]]).der().to_vec();
    let lists = RevocationList::read(&good, &issuers).unwrap();
    for at in 0..good.len() {
        assert!(RevocationList::read(&good[..at], &issuers).is_err(), "cut at {at}");
        let mut bent = good.clone();
        bent[at] ^= 1;
        // Some bits beside the signature mean nothing.
        if let Ok(read) = RevocationList::read(&bent, &issuers) {
            assert_eq!(read, lists, "byte {at}");
        }
    }
    let longer = [&good[..], b"more"].concat();
    assert_eq!(refused(&longer, &ours), "it is no revocation list: 4 bytes follow it");
}

#[test]
fn what_is_no_list_is_refused_with_the_reason() {
    let ours = authority("ours", &[]);
    assert_eq!(refused(b"", &ours), "there is no revocation list in it");
    assert_eq!(refused(ours.pem.as_bytes(), &ours), "there is no revocation list in it");
    assert_eq!(refused(b"hello", &ours), "there is no revocation list in it");
    let huge = vec![0x30; LIST_BYTES_MAX + 1];
    assert_eq!(
        refused(&huge, &ours),
        format!("it has {} bytes; at most {LIST_BYTES_MAX} are read", huge.len())
    );
    for bytes in [&[0x30; 64][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80, 0, 0]] {
        assert!(refused(bytes, &ours).starts_with("it is no revocation list: "));
    }
    // As deep as DER can be nested in a file of the largest size.
    assert!(refused(&[0x30, 0x80].repeat(LIST_BYTES_MAX / 2), &ours).starts_with("it is no"));
    let broken = "-----BEGIN X509 CRL-----\nMIIB!\n-----END X509 CRL-----\n";
    assert!(refused(broken.as_bytes(), &ours).starts_with("it is no revocation list: "));
}

#[test]
fn a_list_about_a_part_of_the_certificates_is_refused() {
    let ours = authority("ours", &[]);
    let scoped = |scope| {
        ours.list_with(&[&[7]], |params| {
            let uris = vec!["http://ca.example/crl".to_owned()];
            let distribution_point = CrlDistributionPoint { uris };
            let point = CrlIssuingDistributionPoint { distribution_point, scope };
            params.issuing_distribution_point = Some(point);
        })
    };
    let part = scoped(Some(CrlScope::CaCertsOnly));
    assert!(refused(part.der(), &ours).ends_with("it is about a part of the certificates only"));
    for scope in [None, Some(CrlScope::UserCertsOnly)] {
        let whole = scoped(scope);
        assert_eq!(RevocationList::read(whole.der(), &issuers(&[&ours])).unwrap()[0].len(), 1);
    }
}

#[test]
fn an_issuer_is_a_certificate_for_signing_lists() {
    let error = |pem: &str| ListIssuer::from_pem(pem.as_bytes()).unwrap_err().to_string();
    assert_eq!(error(""), "there is no certificate in it");
    assert_eq!(
        error("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
        "it cannot be read as PEM"
    );
    let large = pem_of_a_size(CERTIFICATE_BYTES_MAX + 1);
    assert_eq!(error(&large), "a certificate in it cannot be read");
    let other = authority("other", &[KeyUsagePurpose::KeyCertSign]);
    assert!(error(&other.pem).ends_with("is not for signing revocation lists"));
    let right = authority("right", &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    assert_eq!(
        ListIssuer::from_pem([right.pem, authority("x", &[]).pem].concat().as_bytes())
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_large_list_is_read() {
    let ours = authority("ours", &[]);
    let serials: Vec<[u8; 3]> = (0..20_000_u32).map(|n| [1, (n >> 8) as u8, n as u8]).collect();
    let serials: Vec<&[u8]> = serials.iter().map(|serial| &serial[..]).collect();
    let lists = RevocationList::read(ours.list(&serials).der(), &issuers(&[&ours])).unwrap();
    assert_eq!(lists[0].len(), 20_000);
    assert!(Revocations::new(lists).revoke(&ours.certificate(&[1, 78, 31])));
}

/// At least so many bytes as if they were a certificate.
fn pem_of_a_size(bytes: usize) -> String {
    let lines = vec!["MDAw".repeat(12); bytes.div_ceil(36)];
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
