use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

use super::*;
use crate::testing::Bed;

/// A folder with files, and a keeper that reads them.
struct Scene {
    dir: tempfile::TempDir,
    issuer: Arc<Issuer>,
    files: TlsFiles,
}

impl Scene {
    fn new() -> Self {
        let issuer = Arc::new(Issuer::create(clock::now()).unwrap());
        Self { dir: tempfile::tempdir().unwrap(), issuer, files: TlsFiles::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in place as those who take care do: another one, moved there.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let (new, path) = (self.path("new"), self.path(name));
        fs::write(&new, bytes).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// A certificate and its key, in files; gives its end.
    fn write_identity(&self, age_days: i64) -> Timestamp {
        let now = clock::now().plus_millis(-age_days * 24 * 3_600_000);
        let made = self.issuer.server_certificate(&["localhost".to_owned()], now).unwrap();
        self.write("server.pem", &made.certificate.pem);
        self.write("server.key", &made.private_key_pem);
        made.certificate.not_after
    }

    /// A list of our own authority's that revokes so many certificates.
    fn list(&self, n_revoked: u8, next_year: i32) -> String {
        let key = KeyPair::from_pem(self.issuer.key_pem()).unwrap();
        let authority =
            rcgen::Issuer::from_ca_cert_pem(&self.issuer.certificate().pem, key).unwrap();
        list(&authority, n_revoked, next_year)
    }

    async fn start(&self) -> Result<TlsKeeper> {
        // A store of its own each time: the last one is let go of a little later.
        let data = tempfile::tempdir_in(self.dir.path())?.keep();
        let (bed, _observations) = Bed::new(&data).await;
        TlsKeeper::start(
            self.files.clone(),
            Arc::clone(&self.issuer),
            vec!["localhost".to_owned()],
            bed.broker,
            TlsMetrics::register(&mut Registry::default()),
        )
    }
}

fn list(authority: &rcgen::Issuer<'_, KeyPair>, n_revoked: u8, next_year: i32) -> String {
    let revoked = |n| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[n]),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(next_year, 1, 1),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: (1..=n_revoked).map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap().pem().unwrap()
}

fn failures(keeper: &TlsKeeper, what: &'static str) -> u64 {
    keeper.metrics.failures.get_or_create(&Failed { what }).get()
}

#[tokio::test]
async fn a_certificate_that_changes_is_served_and_a_broken_one_is_not() {
    let mut scene = Scene::new();
    let first = scene.write_identity(10);
    let (certificate, key) = (scene.path("server.pem"), scene.path("server.key"));
    scene.files.identity = Some(IdentityFiles { certificate, key });
    let mut keeper = scene.start().await.unwrap();
    assert_eq!(keeper.not_after, first);
    keeper.look(false, clock::now());
    assert_eq!(failures(&keeper, "certificate"), 0);

    let key = fs::read(scene.path("server.key")).unwrap();
    let second = scene.write_identity(5);
    let other_key = fs::read(scene.path("server.key")).unwrap();
    // As it is between the two files, and after a file was cut short.
    scene.write("server.key", key);
    keeper.look(false, clock::now());
    scene.write("server.key", &other_key[..other_key.len() / 2]);
    keeper.look(false, clock::now());
    fs::remove_file(scene.path("server.key")).unwrap();
    keeper.look(false, clock::now());
    assert_eq!((keeper.not_after, failures(&keeper, "certificate")), (first, 3));
    // Nothing has changed, so nothing is said again.
    keeper.look(false, clock::now());
    assert_eq!(failures(&keeper, "certificate"), 3);
    scene.write("server.key", other_key);
    keeper.look(false, clock::now());
    assert_eq!((keeper.not_after, failures(&keeper, "certificate")), (second, 3));
    assert_eq!(keeper.metrics.certificate_ends_at.get(), second.as_millis() / 1_000);
}

#[tokio::test]
async fn our_own_certificate_is_made_anew_before_it_ends() {
    let scene = Scene::new();
    let mut keeper = scene.start().await.unwrap();
    let first = keeper.not_after;
    let day = |n: i64| n * 24 * 3_600_000;
    keeper.look(false, first.plus_millis(-day(31)));
    assert_eq!(keeper.not_after, first);
    keeper.look(false, first.plus_millis(-day(30)));
    assert!(keeper.not_after > first.plus_millis(day(365)));
}

#[tokio::test]
async fn lists_that_change_are_in_force_and_broken_ones_are_not() {
    let mut scene = Scene::new();
    let own = scene.write("own.crl", scene.list(1, 2100));
    let other = KeyPair::generate().unwrap();
    let params = CertificateParams::default();
    let issuer = scene.write("other.pem", params.self_signed(&other).unwrap().pem());
    let authority = rcgen::Issuer::new(params, other);
    let others = scene.write("other.crl", list(&authority, 2, 2100));
    scene.files.crls = vec![own, others];
    scene.files.crl_issuers = vec![issuer];
    let mut keeper = scene.start().await.unwrap();
    let revoked = |keeper: &TlsKeeper| keeper.metrics.revoked.get();
    assert_eq!((revoked(&keeper), keeper.metrics.crls.get()), (3, 2));

    scene.write("own.crl", scene.list(5, 2100));
    keeper.look(false, clock::now());
    assert_eq!(revoked(&keeper), 7);
    for broken in ["", "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"] {
        scene.write("own.crl", broken);
        keeper.look(false, clock::now());
        assert_eq!(revoked(&keeper), 7, "what was revoked stays so");
    }
    assert_eq!(failures(&keeper, "revocation_lists"), 2);
    // Asked for, it is read though it has not changed.
    keeper.look(true, clock::now());
    assert_eq!(failures(&keeper, "revocation_lists"), 3);

    scene.write("own.crl", scene.list(6, 2021));
    keeper.look(false, clock::now());
    assert_eq!((revoked(&keeper), keeper.metrics.crls_overdue.get()), (8, 1));
}

#[tokio::test]
async fn a_server_does_not_start_with_files_that_cannot_be_used() {
    let mut scene = Scene::new();
    let refused = async |scene: &Scene| format!("{:#}", scene.start().await.err().unwrap());
    scene.files.crls = vec![scene.path("missing.crl")];
    assert!(refused(&scene).await.contains("cannot read `"));
    scene.files.crls = vec![scene.write("a.crl", "nothing")];
    assert!(refused(&scene).await.ends_with("cannot be used: there is no revocation list in it"));
    let stranger = rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    scene.write("a.crl", list(&stranger, 1, 2100));
    assert!(refused(&scene).await.contains("nobody named"));
    scene.files.crls.clear();
    scene.files.crl_issuers = vec![scene.write("ca.pem", vec![b'x'; TLS_FILE_BYTES_MAX + 1])];
    assert!(refused(&scene).await.ends_with("has more than 1048576 bytes"));
}

#[test]
fn a_check_reads_what_the_server_would() {
    let mut scene = Scene::new();
    scene.write_identity(0);
    let (certificate, key) = (scene.path("server.pem"), scene.path("server.key"));
    scene.files.identity = Some(IdentityFiles { certificate, key });
    // Of our own authority, which a check does not know.
    scene.files.crls = vec![scene.write("own.crl", scene.list(1, 2100))];
    scene.files.check().unwrap();
    scene.write("own.crl", "nothing");
    assert!(scene.files.check().is_err());
    scene.files.crls.clear();
    scene.files.authority = Some(scene.path("server.key"));
    let error = format!("{:#}", scene.files.check().unwrap_err());
    assert!(error.contains("server.key` cannot be used"), "{error}");
    scene.files.authority = Some(scene.path("server.pem"));
    scene.files.check().unwrap();
    let told = scene.files.authority_pem(&scene.issuer).unwrap();
    assert_eq!(told.as_bytes(), fs::read(scene.path("server.pem")).unwrap());
    scene.write("server.key", "no key");
    let error = format!("{:#}", scene.files.check().unwrap_err());
    assert!(
        error.contains("server.pem` with the key `") && error.contains("cannot be used"),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_read_again_when_somebody_asks() {
    let mut scene = Scene::new();
    scene.files.crls = vec![scene.write("own.crl", scene.list(1, 2100))];
    let keeper = scene.start().await.unwrap();
    let revoked = keeper.metrics.revoked.clone();
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(keeper.run(Hangups::listen(), stopping));
    scene.write("own.crl", scene.list(4, 2100));
    let is_read = async {
        while revoked.get() != 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_read).await.unwrap();
    stop.send_replace(true);
    running.await.unwrap();
}
