//! Functions: user code that is run on an event (AWS: Lambda).

use std::collections::BTreeMap;
use std::fmt;

use crate::{FunctionName, Timestamp};

/// A function as it is configured. Its code lies in the store by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Unchangeable name.
    pub name: FunctionName,
    /// What runs it.
    pub runtime: FunctionRuntime,
    /// Entry point: `module.function` in Python; kept and unused for an executable.
    pub handler: String,
    /// Kept and given back; the function's short-lived keys are issued in its name.
    pub role_arn: String,
    /// For people.
    pub description: String,
    /// Time for one invocation, in seconds, 1 to 900.
    pub timeout_s: u32,
    /// Memory for one process, in MiB, 128 to 10,240.
    pub memory_mib: u32,
    /// Environment variables that the user set.
    pub environment: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// SHA-256 of the zipped code, in base64, as AWS gives it.
    pub code_sha256: String,
    /// Size of the zipped code, in bytes.
    pub code_bytes: u64,
    /// Changes with every change of configuration or code; a running process of another revision
    /// is not given new events.
    pub revision_id: String,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// What runs a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionRuntime {
    /// `python3.*`, kept as asked for; run by the one interpreter of this installation through
    /// AWS's own runtime client.
    Python(String),
    /// `provided.al2023` (or `provided.al2`): an executable named `bootstrap`.
    Provided(String),
}

impl FunctionRuntime {
    /// Reads AWS's spelling; `None` for runtimes that are not run here.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "provided.al2023" | "provided.al2" => Some(Self::Provided(text.to_owned())),
            _ => {
                let minor = text.strip_prefix("python3.")?;
                let is_version = !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit());
                is_version.then(|| Self::Python(text.to_owned()))
            }
        }
    }

    /// AWS's spelling, as it was asked for.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Python(name) | Self::Provided(name) => name,
        }
    }
}

impl fmt::Display for FunctionRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
