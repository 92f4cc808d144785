//! What can go wrong: [`StoreError`] when the store itself fails, [`RegistryError`] when what was
//! asked for does not fit what is there.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// The store could not do its work, whatever was asked of it.
///
/// A write that ends in one of these has not happened, with one exception: after
/// [`StoreError::Commit`] the disk did not say whether it has the data.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The data directory or a file in it cannot be made, opened or protected.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// Which file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process works on this data directory.
    #[error(
        "data directory `{}` is in use by another process; stop it or name another directory",
        path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The database was written by a later version of Picket.
    #[error(
        "the database has schema {found}, this version knows schemas up to {known}; \
         run the version of Picket that last opened it, or a later one"
    )]
    NewerSchema {
        /// Schema number in the file.
        found: i64,
        /// Highest schema number of this version.
        known: i64,
    },
    /// The data belongs to another account: the ARNs in it would name nothing.
    #[error("the data directory belongs to account `{found}`, not to account `{given}`")]
    OtherAccount {
        /// Account in the file.
        found: String,
        /// Account of the configuration.
        given: String,
    },
    /// SQLite failed: disk full, an unreadable file, a broken constraint.
    #[error("the database failed")]
    Database(#[source] Arc<rusqlite::Error>),
    /// The transaction could not be made durable; nothing of it counts as done.
    #[error("the database could not commit")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// A row holds what no version of Picket writes.
    #[error("column `{column}` holds what cannot be read: {problem}")]
    Unreadable {
        /// The column, or the stored form, that cannot be read.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The closure panicked; its part of the transaction was rolled back.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    /// The store was closed before the work was taken up.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// SQLite ended a transaction by itself, with nothing of it done.
    pub(crate) fn lost_transaction() -> Self {
        Self::Commit(Arc::new(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
            Some("the database rolled the transaction back".to_owned()),
        )))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// The registry refuses: one family for all nouns, so that the API maps it to AWS's codes in one
/// table. Every message is a sentence for the person who asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// There is nothing of that name.
    #[error("{what} `{name}` does not exist")]
    NotFound {
        /// The kind of thing, as a person calls it: "thing group".
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// There is one of that name already, and not the same.
    #[error("{what} `{name}` already exists")]
    AlreadyExists {
        /// The kind of thing.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The request breaks a rule of the registry.
    #[error("{0}")]
    Invalid(String),
    /// The caller expected another version than the one that is there.
    #[error("{what} `{name}` is at version {found}, not at version {expected}")]
    VersionConflict {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// The version that the caller expected.
        expected: u64,
        /// The version that is there.
        found: u64,
    },
    /// A bound is reached.
    #[error("{0}")]
    Limit(String),
    /// A policy has as many versions as it may have.
    #[error("policy `{policy}` has {max} versions already; delete one first")]
    VersionsLimit {
        /// The policy.
        policy: String,
        /// How many versions it may have.
        max: usize,
    },
    /// It is still in use.
    #[error("{0}")]
    DeleteConflict(String),
    /// A certificate's status forbids it.
    #[error("{0}")]
    CertificateState(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn already_exists(what: &'static str, name: impl ToString) -> Self {
        Self::AlreadyExists { what, name: name.to_string() }
    }
}

impl From<rusqlite::Error> for RegistryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Checks an expected version against the one that is there.
pub(crate) fn expect_version(
    what: &'static str,
    name: impl ToString,
    expected: Option<u64>,
    found: u64,
) -> Result<(), RegistryError> {
    match expected {
        Some(expected) if expected != found => {
            Err(RegistryError::VersionConflict { what, name: name.to_string(), expected, found })
        }
        _ => Ok(()),
    }
}
