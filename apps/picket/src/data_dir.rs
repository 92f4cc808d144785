//! The data directory: where a server keeps what it is, and what scripts read about it.
//!
//! | file | what | who may read |
//! |---|---|---|
//! | `picket.db` | the store | owner |
//! | `sessions.db` | what MQTT sessions were promised | owner |
//! | `endpoints.json` | the addresses really bound; there only while a server runs | all |
//! | `credentials` | the administrator's key, an AWS shared-credentials file | owner |
//! | `ca.pem` | the authority that signed the server's certificate | all |
//! | `ca.key.pem` | its private key | owner |
//! | `picket.lock` | held by the server that uses the directory, through the store | owner |
//! | `functions` | code, scratch folders and logs of functions | owner |
//!
//! Files are replaced whole or not at all, so a reader never sees half of one.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use picket_api::AccessKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A data directory, existing or not.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// The addresses that a server really bound, as `endpoints.json` holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The AWS-compatible API.
    pub(crate) api: Vec<SocketAddr>,
    /// The operator's endpoints.
    pub(crate) console: Vec<SocketAddr>,
    /// MQTT over TLS.
    pub(crate) mqtts: Vec<SocketAddr>,
    /// Plain MQTT.
    pub(crate) mqtt: Vec<SocketAddr>,
    /// WebSockets and messages over HTTPS.
    pub(crate) https: Vec<SocketAddr>,
    /// WebSockets over plain HTTP.
    pub(crate) http: Vec<SocketAddr>,
    /// Whether the API speaks TLS.
    pub(crate) api_tls: bool,
    /// The region that ARNs carry.
    pub(crate) region: String,
    /// The authority that devices trust, where it is not `ca.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

/// The authority that signs this installation's certificates.
#[derive(Clone)]
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) certificate_pem: String,
    /// Its private key.
    pub(crate) key_pem: String,
}

/// Why the data directory could not be used.
#[derive(Debug, Error)]
pub(crate) enum DataDirError {
    /// The directory could not be made or entered.
    #[error("cannot use the data directory `{}`", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what this program wrote there.
    #[error("`{}` is damaged: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is missing or wrong in it.
        what: String,
    },
}

/// For everybody on the machine.
const PUBLIC: u32 = 0o644;
/// For the owner alone: keys.
const PRIVATE: u32 = 0o600;

impl DataDir {
    /// Names a directory, without touching it.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the directory, for the owner alone, if it is missing. The store locks it.
    pub(crate) fn create(root: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { dir: root.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(unusable)?;
        // An absolute path stays right for a function's process, which runs in a folder of its own.
        Ok(Self { root: root.canonicalize().map_err(unusable)? })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The certificate of the authority, for clients that check the server.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// Where the function host keeps what it needs.
    pub(crate) fn functions_path(&self) -> PathBuf {
        self.root.join("functions")
    }

    fn ca_key_path(&self) -> PathBuf {
        self.root.join("ca.key.pem")
    }

    fn endpoints_path(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }

    fn credentials_path(&self) -> PathBuf {
        self.root.join("credentials")
    }

    /// Publishes the addresses that were bound.
    pub(crate) fn write_endpoints(&self, endpoints: &Endpoints) -> Result<(), DataDirError> {
        let path = self.endpoints_path();
        let mut text = serde_json::to_string_pretty(endpoints).map_err(|error| {
            DataDirError::Unwritable { file: path.clone(), source: error.into() }
        })?;
        text.push('\n');
        replace(&path, &text, PUBLIC)
    }

    /// The addresses of the server that uses the directory; `None` if none does.
    pub(crate) fn endpoints(&self) -> Result<Option<Endpoints>, DataDirError> {
        let file = self.endpoints_path();
        let Some(text) = read(&file)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| DataDirError::Damaged { file, what: error.to_string() })
    }

    /// Takes the addresses back: nothing listens there any more.
    pub(crate) fn forget_endpoints(&self) -> Result<(), DataDirError> {
        let file = self.endpoints_path();
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DataDirError::Unwritable { file, source })
            }
            _ => Ok(()),
        }
    }

    /// Stores the administrator's key.
    pub(crate) fn write_administrator(&self, key: &AccessKey) -> Result<(), DataDirError> {
        let text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            key.id, key.secret
        );
        replace(&self.credentials_path(), &text, PRIVATE)
    }

    /// The administrator's key; `None` if none was made yet.
    pub(crate) fn administrator(&self) -> Result<Option<AccessKey>, DataDirError> {
        let file = self.credentials_path();
        let Some(text) = read(&file)? else { return Ok(None) };
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
                .filter(|value| !value.is_empty())
                .ok_or_else(|| DataDirError::Damaged {
                    file: file.clone(),
                    what: format!("it has no `{name}`"),
                })
        };
        Ok(Some(AccessKey {
            id: value("aws_access_key_id")?,
            secret: value("aws_secret_access_key")?,
        }))
    }

    /// Stores the authority. The key goes first, so that a certificate is never without its key.
    pub(crate) fn write_authority(&self, authority: &Authority) -> Result<(), DataDirError> {
        replace(&self.ca_key_path(), &authority.key_pem, PRIVATE)?;
        replace(&self.ca_path(), &authority.certificate_pem, PUBLIC)
    }

    /// The authority; `None` if none was made yet.
    pub(crate) fn authority(&self) -> Result<Option<Authority>, DataDirError> {
        let Some(certificate_pem) = read(&self.ca_path())? else { return Ok(None) };
        let key = self.ca_key_path();
        let key_pem = read(&key)?.ok_or_else(|| DataDirError::Damaged {
            file: key,
            what: "it is missing, and ca.pem is of no use without it".to_owned(),
        })?;
        Ok(Some(Authority { certificate_pem, key_pem }))
    }
}

/// The whole text of a file; `None` if there is no such file.
fn read(file: &Path) -> Result<Option<String>, DataDirError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Unreadable { file: file.to_owned(), source }),
    }
}

/// Puts a file in the place of another at once: after a crash there is the old one or the new one.
fn replace(file: &Path, text: &str, mode: u32) -> Result<(), DataDirError> {
    let write = || {
        let dir = file.parent().unwrap_or(Path::new("."));
        let mut fresh =
            tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(dir)?;
        fresh.write_all(text.as_bytes())?;
        // The mode given to `open` is cut by the umask; a reader for whom the file is meant must
        // not depend on it.
        fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
        fresh.as_file().sync_all()?;
        fresh.persist(file)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| DataDirError::Unwritable { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path());
        (folder, dir)
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn endpoints_are_read_back_as_written() {
        let (_folder, dir) = dir();
        let endpoints = Endpoints {
            api: vec!["127.0.0.1:1234".parse().unwrap()],
            console: vec!["127.0.0.1:2".parse().unwrap()],
            mqtts: vec!["0.0.0.0:8883".parse().unwrap(), "[::1]:9".parse().unwrap()],
            region: "us-east-1".into(),
            ..Endpoints::default()
        };
        dir.write_endpoints(&endpoints).unwrap();
        assert_eq!(dir.endpoints().unwrap(), Some(endpoints));
        assert_eq!(mode(&dir.endpoints_path()), 0o644);
        insta::assert_snapshot!(fs::read_to_string(dir.endpoints_path()).unwrap());
    }

    #[test]
    fn forgotten_endpoints_are_gone_and_forgetting_twice_is_no_error() {
        let (_folder, dir) = dir();
        dir.write_endpoints(&Endpoints::default()).unwrap();
        dir.forget_endpoints().unwrap();
        dir.forget_endpoints().unwrap();
        assert_eq!(dir.endpoints().unwrap(), None);
    }

    #[test]
    fn the_administrators_key_is_for_the_owner_alone() {
        let (_folder, dir) = dir();
        let key = AccessKey::generate().unwrap();
        dir.write_administrator(&key).unwrap();
        assert!(dir.administrator().unwrap() == Some(key));
        assert_eq!(mode(&dir.credentials_path()), 0o600);
    }

    #[test]
    fn a_credentials_file_without_a_secret_is_damaged() {
        let (_folder, dir) = dir();
        fs::write(dir.credentials_path(), "[default]\naws_access_key_id = A\n").unwrap();
        let error = dir.administrator().map(|_| ()).unwrap_err().to_string();
        assert!(error.ends_with("is damaged: it has no `aws_secret_access_key`"), "{error}");
    }

    #[test]
    fn an_authority_without_its_key_is_damaged() {
        let (_folder, dir) = dir();
        let authority = Authority { certificate_pem: "C".into(), key_pem: "K".into() };
        dir.write_authority(&authority).unwrap();
        assert_eq!(mode(&dir.ca_key_path()), 0o600);
        assert_eq!(dir.authority().unwrap().unwrap().key_pem, "K");
        fs::remove_file(dir.ca_key_path()).unwrap();
        assert!(dir.authority().is_err());
    }

    #[test]
    fn a_new_directory_knows_nothing() {
        let (_folder, dir) = dir();
        assert_eq!(dir.endpoints().unwrap(), None);
        assert!(dir.administrator().unwrap().is_none());
        assert!(dir.authority().unwrap().is_none());
    }

    #[test]
    fn a_directory_is_made_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&folder.path().join("deep").join("er")).unwrap();
        assert_eq!(mode(dir.root()), 0o700);
    }
}
