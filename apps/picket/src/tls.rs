//! The server's certificate and the revocation lists: read from files, and read again when they
//! change or SIGHUP says so, without a connection noticing.
//!
//! What cannot be used is refused with a line in the log, and what was in force stays. A certificate
//! that the installation's own authority made is made anew before it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail};
use picket_api::Issuer;
use picket_broker::Broker;
use picket_broker::certificate::PresentedCertificate;
use picket_broker::revocation::{
    LIST_BYTES_MAX, ListIssuer, RevocationError, RevocationList, Revocations,
};
use picket_broker::tls::{ClientCertificates, ServerIdentity, ServerTls};
use picket_model::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock;
use crate::limits::{TLS_FILE_BYTES_MAX, TLS_FILES_INTERVAL};
use crate::signals::Hangups;

/// How long before its end a certificate of our own authority is made anew: 30 days, a tenth of the
/// life of the shortest that is usual, and long enough to notice that it does not work.
const RENEWED_BEFORE_MS: i64 = 30 * 24 * 3_600_000;

/// What `[tls]` of the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The server's certificate and key; `None` where our own authority makes them.
    pub(crate) identity: Option<IdentityFiles>,
    /// The certificate of whoever signed the server's, which devices are told to trust; `None` where
    /// that is our own authority.
    pub(crate) authority: Option<PathBuf>,
    /// Revocation lists.
    pub(crate) crls: Vec<PathBuf>,
    /// Certificates of those whose lists count, besides our own authority.
    pub(crate) crl_issuers: Vec<PathBuf>,
}

/// A certificate and its key, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityFiles {
    /// The certificate with the chain behind it, the server's own first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    /// The same with paths that begin at a folder where they are relative.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        let identity = self.identity.iter_mut().flat_map(|it| [&mut it.certificate, &mut it.key]);
        let lists = self.crls.iter_mut().chain(&mut self.crl_issuers);
        for path in identity.chain(&mut self.authority).chain(lists) {
            *path = folder.join(&*path);
        }
        self
    }

    /// Reads every file as the server would.
    ///
    /// # Errors
    /// The first that cannot be used. Lists of issuers that are not named pass: they may be our own
    /// authority's, which this does not know.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(files) = &self.identity {
            files.read()?;
        }
        if let Some(file) = &self.authority {
            authority_pem(file)?;
        }
        let issuers = self.issuers(None)?;
        for file in &self.crls {
            match lists_of(file, &issuers) {
                Err(ListsError::List(RevocationError::UnknownIssuer { .. })) | Ok(_) => {}
                Err(error) => return Err(error.about(file)),
            }
        }
        Ok(())
    }

    /// What devices are told to trust, in PEM form.
    ///
    /// # Errors
    /// If the operator's file is no certificate.
    pub(crate) fn authority_pem(&self, own: &Issuer) -> Result<String> {
        match &self.authority {
            Some(file) => authority_pem(file),
            None => Ok(own.certificate().pem.clone()),
        }
    }

    /// Those whose lists count.
    fn issuers(&self, own: Option<&Issuer>) -> Result<Vec<ListIssuer>> {
        let mut issuers = Vec::new();
        if let Some(own) = own {
            issuers.extend(ListIssuer::from_pem(own.certificate().pem.as_bytes())?);
        }
        for file in &self.crl_issuers {
            let pem = read(file, TLS_FILE_BYTES_MAX)?;
            let read = ListIssuer::from_pem(&pem);
            issuers.extend(read.with_context(|| format!("`{}` is no issuer", file.display()))?);
        }
        Ok(issuers)
    }

    /// Every list of every file.
    fn lists(&self, own: &Issuer) -> Result<Vec<RevocationList>> {
        let issuers = self.issuers(Some(own))?;
        let mut lists = Vec::new();
        for file in &self.crls {
            lists.extend(lists_of(file, &issuers).map_err(|error| error.about(file))?);
        }
        Ok(lists)
    }
}

fn authority_pem(file: &Path) -> Result<String> {
    let pem = read(file, TLS_FILE_BYTES_MAX)?;
    let about = || format!("the authority `{}` cannot be used", file.display());
    CertificateDer::from_pem_slice(&pem).with_context(about)?;
    String::from_utf8(pem).with_context(about)
}

/// Why a file of revocation lists cannot be used.
enum ListsError {
    File(anyhow::Error),
    List(RevocationError),
}

impl ListsError {
    fn about(self, file: &Path) -> anyhow::Error {
        match self {
            Self::File(error) => error,
            Self::List(error) => anyhow::Error::new(error)
                .context(format!("the revocation list `{}` cannot be used", file.display())),
        }
    }
}

fn lists_of(file: &Path, issuers: &[ListIssuer]) -> Result<Vec<RevocationList>, ListsError> {
    let bytes = read(file, LIST_BYTES_MAX).map_err(ListsError::File)?;
    RevocationList::read(&bytes, issuers).map_err(ListsError::List)
}

/// A whole file, if it is not too large.
fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(file)
        .and_then(|open| open.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    if read > bytes_max {
        bail!("`{}` has more than {bytes_max} bytes", file.display());
    }
    Ok(bytes)
}

/// A certificate that can be served, and when it ends.
struct Served {
    identity: ServerIdentity,
    not_after: Timestamp,
}

impl Served {
    fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self> {
        let identity = ServerIdentity::from_pem(certificate, key)?;
        let der = CertificateDer::from_pem_slice(certificate)?;
        let not_after = PresentedCertificate::from_der(&der)?.validity.not_after;
        Ok(Self { identity, not_after })
    }
}

impl IdentityFiles {
    fn read(&self) -> Result<Served> {
        let Self { certificate, key } = self;
        let (pem, key_pem) =
            (read(certificate, TLS_FILE_BYTES_MAX)?, read(key, TLS_FILE_BYTES_MAX)?);
        Served::from_pem(&pem, &key_pem).with_context(|| {
            let (certificate, key) = (certificate.display(), key.display());
            format!("the certificate `{certificate}` with the key `{key}` cannot be used")
        })
    }
}

/// What was read again, and went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    what: &'static str,
}

/// What is shown of certificates and lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsMetrics {
    certificate_ends_at: Gauge,
    crls: Gauge,
    crls_overdue: Gauge,
    revoked: Gauge<u64, AtomicU64>,
    failures: Family<Failed, Counter>,
}

impl TlsMetrics {
    /// Makes the counters and lists them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("picket_tls");
        let m = &metrics;
        registry.register(
            "certificate_end_seconds",
            "End of the server's certificate, in seconds since 1970",
            m.certificate_ends_at.clone(),
        );
        registry.register("crls", "Revocation lists in force", m.crls.clone());
        registry.register(
            "crls_overdue",
            "Revocation lists in force whose successor should be there by now",
            m.crls_overdue.clone(),
        );
        registry.register("revoked", "Certificates that they revoke", m.revoked.clone());
        registry.register(
            "reload_failures",
            "Files that were read again and could not be used, by what they are",
            m.failures.clone(),
        );
        metrics
    }
}

/// What tells one state of a file from another without reading it; `None` while it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(file: &Path) -> Stamp {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Files that are looked at for changes.
#[derive(Default)]
struct Watched(BTreeMap<PathBuf, Stamp>);

impl Watched {
    fn of<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), stamp(file))).collect())
    }

    /// Whether one of them is another since this was asked last. To be asked before they are read.
    fn have_changed(&mut self) -> bool {
        let mut have_changed = false;
        for (file, known) in &mut self.0 {
            let found = stamp(file);
            have_changed |= *known != found;
            *known = found;
        }
        have_changed
    }
}

/// Looks after the certificate that all listeners serve, and after the revocation lists.
pub(crate) struct TlsKeeper {
    files: TlsFiles,
    issuer: Arc<Issuer>,
    /// What a certificate of our own authority is made for.
    names: Vec<String>,
    tls: ServerTls,
    broker: Broker,
    metrics: TlsMetrics,
    identity_files: Watched,
    list_files: Watched,
    not_after: Timestamp,
    /// Of each list in force, who issued it, when the next one should be there, and whether somebody
    /// was told that it is not.
    due: Vec<(String, Timestamp, bool)>,
}

impl TlsKeeper {
    /// Reads everything for the first time and puts it in force.
    ///
    /// # Errors
    /// What cannot be used: a server that lets in whom it should not does not start.
    pub(crate) fn start(
        files: TlsFiles,
        issuer: Arc<Issuer>,
        names: Vec<String>,
        broker: Broker,
        metrics: TlsMetrics,
    ) -> Result<Self> {
        // Before they are read: what changes meanwhile is read once more.
        let identity = files.identity.iter().flat_map(|it| [&it.certificate, &it.key]);
        let identity_files = Watched::of(identity);
        let list_files = Watched::of(files.crls.iter().chain(&files.crl_issuers));
        let served = served(&files, &issuer, &names, clock::now())?;
        let mut keeper = Self {
            tls: ServerTls::new(served.identity, ClientCertificates::Required)?,
            not_after: served.not_after,
            files,
            issuer,
            names,
            broker,
            metrics,
            identity_files,
            list_files,
            due: Vec::new(),
        };
        keeper.show_certificate();
        let lists = keeper.files.lists(&keeper.issuer)?;
        keeper.put_in_force(lists);
        Ok(keeper)
    }

    /// What listeners speak TLS with.
    pub(crate) fn tls(&self) -> ServerTls {
        self.tls.clone()
    }

    /// Reads again what changes, until the server stops. Reading blocks: for a thread of its own.
    pub(crate) async fn run(mut self, mut hangups: Hangups, mut stopping: watch::Receiver<bool>) {
        loop {
            let is_asked = tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = tokio::time::sleep(TLS_FILES_INTERVAL) => false,
                () = hangups.next() => true,
            };
            let looked = tokio::task::spawn_blocking(move || {
                self.look(is_asked, clock::now());
                self
            });
            match looked.await {
                Ok(keeper) => self = keeper,
                Err(error) => {
                    warn!(%error, "certificates and revocation lists are not read again any more");
                    return;
                }
            }
        }
    }

    /// Reads again what has changed, or everything if somebody asks for it.
    fn look(&mut self, is_asked: bool, now: Timestamp) {
        let is_ending =
            self.files.identity.is_none() && now.plus_millis(RENEWED_BEFORE_MS) >= self.not_after;
        if self.identity_files.have_changed() || is_asked || is_ending {
            self.read_identity(now);
        }
        if self.list_files.have_changed() || is_asked {
            self.read_lists();
        }
        self.look_for_overdue(now);
    }

    fn read_identity(&mut self, now: Timestamp) {
        match served(&self.files, &self.issuer, &self.names, now) {
            Ok(Served { identity, not_after }) => {
                self.tls.replace_identity(identity);
                self.not_after = not_after;
                self.show_certificate();
                info!("the server's certificate is another; it ends at {not_after}");
            }
            Err(error) => self.refuse("certificate", &error),
        }
    }

    fn read_lists(&mut self) {
        match self.files.lists(&self.issuer) {
            Ok(lists) => self.put_in_force(lists),
            Err(error) => self.refuse("revocation_lists", &error),
        }
    }

    fn refuse(&self, what: &'static str, error: &anyhow::Error) {
        self.metrics.failures.get_or_create(&Failed { what }).inc();
        warn!(error = %format!("{error:#}"), "what was in force stays in force");
    }

    fn put_in_force(&mut self, lists: Vec<RevocationList>) {
        let n_revoked: usize = lists.iter().map(RevocationList::len).sum();
        self.metrics.crls.set(lists.len().try_into().unwrap_or(i64::MAX));
        self.metrics.revoked.set(n_revoked as u64);
        let due = |list: &RevocationList| Some((list.issuer.clone(), list.next_update?, false));
        self.due = lists.iter().filter_map(due).collect();
        if !self.files.crls.is_empty() {
            info!("{} revocation lists revoke {n_revoked} certificates", lists.len());
        }
        self.broker.revoke(Revocations::new(lists));
        self.look_for_overdue(clock::now());
    }

    /// Says once of each list that the next one is not there.
    fn look_for_overdue(&mut self, now: Timestamp) {
        let mut n_overdue = 0;
        for (issuer, next_update, is_told) in &mut self.due {
            if *next_update > now {
                continue;
            }
            n_overdue += 1;
            if !std::mem::replace(is_told, true) {
                warn!(
                    "the revocation list of `{}` should have been followed by another at {next_update}; it stays in force",
                    issuer.escape_debug()
                );
            }
        }
        self.metrics.crls_overdue.set(n_overdue);
    }

    fn show_certificate(&self) {
        self.metrics.certificate_ends_at.set(self.not_after.as_millis() / 1_000);
    }
}

/// The certificate to serve: the operator's, or one that our own authority makes now.
fn served(files: &TlsFiles, issuer: &Issuer, names: &[String], now: Timestamp) -> Result<Served> {
    match &files.identity {
        Some(files) => files.read(),
        None => {
            let made = issuer.server_certificate(names, now)?;
            let (pem, key) = (&made.certificate.pem, &made.private_key_pem);
            Served::from_pem(pem.as_bytes(), key.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests;
