//! The Python that functions run in.
//!
//! AWS's runtime client (`awslambdaric`) and its SDK (`boto3`) must be importable. Either the
//! operator names an interpreter that has them ([`check`] says whether it does), or we make a
//! private environment in the user's cache folder ([`setup`]) from any Python there is ([`find`]).
//!
//! Everything here waits: for processes, for the network, for another server that makes the same
//! environment. Call it from a thread that may.

mod find;
mod setup;

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use find::{Interpreter, check, find};
pub use setup::{Step, cache_folder, setup};

/// Which Python runs functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that the operator named.
    Given(PathBuf),
    /// Our own, below this cache folder; made when it is first needed.
    Private {
        /// See [`cache_folder`].
        cache: PathBuf,
    },
}

/// The major and the minor number of a Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The oldest Python that functions can run in.
    pub const OLDEST: Version = Version(3, 9);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Why there is no Python for functions. The text says what to do.
#[derive(Debug, Error)]
pub enum PythonError {
    /// No interpreter was found, or none that is new enough.
    #[error(
        "no Python {oldest} or later was found in PATH{}; install one, or name one with \
         `[functions] python` in the configuration",
        found.as_ref().map(|found| format!(" (found {found})")).unwrap_or_default(),
        oldest = Version::OLDEST
    )]
    NotFound {
        /// What was found instead.
        found: Option<String>,
    },
    /// The interpreter cannot be run.
    #[error("Python `{}` cannot be run", path.display())]
    CannotRun {
        /// The interpreter.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The interpreter that the operator named lacks a package.
    #[error(
        "Python `{}` cannot import awslambdaric and boto3 ({said}); install them there \
         (`{} -m pip install awslambdaric boto3`), or leave out `[functions] python`",
        path.display(), path.display()
    )]
    LacksPackages {
        /// The interpreter.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
    /// The interpreter cannot make virtual environments.
    #[error(
        "Python `{}` cannot make a virtual environment ({said}); install its venv module \
         (on Debian and Ubuntu: `apt install python3-venv`)",
        path.display()
    )]
    NoVenv {
        /// The interpreter.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
    /// pip failed.
    #[error(
        "awslambdaric and boto3 could not be installed into a private Python environment; \
         functions in Python need the package index once, through a proxy if need be \
         (HTTPS_PROXY). pip said:\n{said}"
    )]
    Install {
        /// pip's last lines.
        said: String,
    },
    /// There is no folder to keep the environment in.
    #[error("there is no cache folder: set XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// The cache folder cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
