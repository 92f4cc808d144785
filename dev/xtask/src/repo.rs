//! Where the repository is and what cargo says about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell::output;

/// The checked-out repository.
#[derive(Debug)]
pub(crate) struct Repo {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// Where builds go.
    pub(crate) target: PathBuf,
    /// The crates of the workspace.
    pub(crate) crates: Vec<Crate>,
}

/// A crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Crate {
    /// As other crates name it.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// Whatever it depends on, for tests and builds too.
    pub(crate) dependencies: Vec<Dependency>,
    /// Library, programs, tests, benches.
    pub(crate) targets: Vec<Target>,
}

/// What a crate depends on.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The other crate.
    pub(crate) name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// One thing that cargo builds of a crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// `lib`, `bin`, `test`, ...
    pub(crate) kind: Vec<String>,
    /// The root of its module tree.
    pub(crate) src_path: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Repo {
    /// Finds the repository that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo run`; a program started by hand remembers where it was built.
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let text = output(cargo().current_dir(here).args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
        ]))?;
        let metadata: Metadata =
            serde_json::from_str(&text).context("cannot read what `cargo metadata` says")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            crates: metadata.packages,
        })
    }

    /// Files that git tracks or would track, relative to the root, in order.
    pub(crate) fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others"]);
        let text = output(git.arg("--exclude-standard"))?;
        let paths = text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(paths.filter(|path| self.root.join(path).is_file()).collect())
    }

    /// A path as people write it, from the root.
    pub(crate) fn short(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
