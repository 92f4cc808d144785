//! `cargo xtask tidy`: the house's rules, as tests about the repository.
//!
//! [`layers`] holds the direction of dependencies, [`source`] what may stand in a file,
//! [`modules`] that every file is part of a program, [`docs`] that the documents are true to
//! themselves. A rule that is not here is advice.

mod docs;
mod layers;
mod modules;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::repo::Repo;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// File, from the root.
    file: PathBuf,
    /// Line from 1; 0 if it is about the file as a whole.
    line: usize,
    /// The rule, and what would be right.
    message: String,
}

impl Finding {
    fn new(file: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// The text files of the repository by path from the root. What is no UTF-8 is left out.
type Texts = BTreeMap<PathBuf, String>;

/// Checks every rule; prints all findings and fails if there is one.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let texts: Texts = repo
        .files()?
        .into_iter()
        .filter_map(|file| fs::read_to_string(repo.root.join(&file)).ok().map(|text| (file, text)))
        .collect();
    let mut findings = layers::check(repo);
    findings.extend(source::check(repo, &texts));
    findings.extend(modules::check(repo, &texts));
    findings.extend(docs::check(&texts));
    findings.sort();
    for warning in source::long_files(&texts) {
        println!("warning: {warning}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} places break a rule of the house", findings.len());
    }
    println!("tidy: {} files, no rule broken", texts.len());
    Ok(())
}

/// Whether a path ends in `.EXTENSION`.
fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}
