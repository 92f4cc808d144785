//! Looking for an interpreter, and at one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_model::text::chain;

use super::{PythonError, Version};

/// A Python that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// Finds a Python in PATH that is new enough: `python3` itself if it is, or else the latest of
/// `python3.9` to `python3.19`, or else `python`.
///
/// # Errors
/// [`PythonError::NotFound`] says what was found instead.
pub fn find() -> Result<Interpreter, PythonError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(&std::env::split_paths(&path).collect::<Vec<_>>())
}

fn find_in(folders: &[PathBuf]) -> Result<Interpreter, PythonError> {
    let names = ["python3".to_owned()]
        .into_iter()
        .chain((9..20).rev().map(|minor| format!("python3.{minor}")))
        .chain(["python".to_owned()]);
    let mut found = None;
    for name in names {
        // The first of a name is the one that a person would run.
        let Some(path) =
            folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file())
        else {
            continue;
        };
        match version(&path) {
            Ok(version) if version >= Version::OLDEST => return Ok(Interpreter { path, version }),
            Ok(version) => {
                found.get_or_insert_with(|| format!("{} {version}", path.display()));
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "`{}` is no Python", path.display());
            }
        }
    }
    Err(PythonError::NotFound { found })
}

/// The version that an interpreter says it has.
fn version(path: &Path) -> Result<Version, PythonError> {
    let said = run(path, "import sys; print(*sys.version_info[:2])")?.map_err(|said| {
        PythonError::CannotRun { path: path.to_owned(), source: std::io::Error::other(said) }
    })?;
    let mut numbers = said.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Version(major, minor)),
        _ => Err(PythonError::CannotRun {
            path: path.to_owned(),
            source: std::io::Error::other("it did not say its version"),
        }),
    }
}

/// Whether functions can run in an interpreter: it is new enough and imports what they need.
///
/// Imports both packages, which takes up to a second.
///
/// # Errors
/// [`PythonError`] says what is missing.
pub fn check(path: &Path) -> Result<Interpreter, PythonError> {
    let path = &absolute(path)?;
    let version = version(path)?;
    if version < Version::OLDEST {
        let found = Some(format!("{} {version}", path.display()));
        return Err(PythonError::NotFound { found });
    }
    match run(path, "import awslambdaric.bootstrap, boto3")? {
        Ok(_) => Ok(Interpreter { path: path.to_owned(), version }),
        Err(said) => Err(PythonError::LacksPackages { path: path.to_owned(), said }),
    }
}

/// Where an interpreter is for somebody in another folder and with another PATH. Links are kept: an
/// environment's interpreter is a link to another one, and knows its packages by its own place.
fn absolute(path: &Path) -> Result<PathBuf, PythonError> {
    let cannot_run = |source| PythonError::CannotRun { path: path.to_owned(), source };
    if path.components().count() > 1 {
        return std::path::absolute(path).map_err(cannot_run);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(path))
        .find(|found| found.is_file())
        .ok_or_else(|| cannot_run(std::io::Error::other("it is not in PATH")))
}

/// Runs a piece of Python: what it printed, or else its last words.
pub(super) fn run(path: &Path, code: &str) -> Result<Result<String, String>, PythonError> {
    // `-I`: neither the server's folder nor its PYTHON* variables count.
    let output = Command::new(path)
        .args(["-I", "-c", code])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| PythonError::CannotRun { path: path.to_owned(), source })?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Ok(Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder with programs that print as if they were Pythons.
    fn folder(pythons: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in pythons {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[track_caller]
    fn check_find(pythons: &[(&str, &str)], expected: &str) {
        let folder = folder(pythons);
        let found = match find_in(&[folder.path().to_owned()]) {
            Ok(interpreter) => {
                let name = interpreter.path.file_name().unwrap().to_str().unwrap().to_owned();
                format!("{name} {}", interpreter.version)
            }
            Err(error) => error.to_string().replace(&folder.path().display().to_string(), "DIR"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn python3_is_taken_if_it_is_new_enough() {
        check_find(&[("python3", "echo 3 11"), ("python3.13", "echo 3 13")], "python3 3.11");
    }

    #[test]
    fn the_latest_other_is_taken_if_python3_is_too_old_or_broken() {
        let others = [("python3.10", "echo 3 10"), ("python3.12", "echo 3 12")];
        check_find(&[&[("python3", "echo 3 8")], &others[..]].concat(), "python3.12 3.12");
        check_find(&[&[("python3", "exit 1")], &others[..]].concat(), "python3.12 3.12");
        check_find(&[&[("python3", "echo hello")], &others[..]].concat(), "python3.12 3.12");
    }

    #[test]
    fn an_error_says_what_was_found_and_what_to_do() {
        check_find(
            &[("python3", "echo 3 8"), ("python", "echo 2 7")],
            "no Python 3.9 or later was found in PATH (found DIR/python3 3.8); install one, or \
             name one with `[functions] python` in the configuration",
        );
    }

    #[test]
    fn an_interpreter_without_the_packages_is_told_what_it_lacks() {
        let script = "case \"$3\" in *version*) echo 3 12;; *) echo \"ModuleNotFoundError: No \
                      module named 'awslambdaric'\" >&2; exit 1;; esac";
        let folder = folder(&[("python3", script)]);
        let error = check(&folder.path().join("python3")).unwrap_err().to_string();
        assert!(error.contains("(ModuleNotFoundError: No module named 'awslambdaric')"), "{error}");
    }
}
