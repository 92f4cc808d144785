//! The real clients that the tests drive the server with, fetched on first use.
//!
//! Packages of Python and Node.js go into a private environment below the build folder; nothing
//! outside it is touched but for the programs that come from the system's packages.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::shell::{announce, output, run, step, which};

/// Programs that the tests start, and the Debian package that brings them.
const PROGRAMS: &[(&str, &str)] = &[
    ("mosquitto_pub", "mosquitto-clients"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("unshare", "util-linux"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// The oldest Python that the pinned packages run on.
const PYTHON_MIN: (u32, u32) = (3, 9);

/// What the tests need to be told.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Interpreter of the private environment.
    pub(crate) python: PathBuf,
}

/// Makes what is missing and says where it is.
pub(crate) fn ready(repo: &Repo) -> Result<Peers> {
    for (program, package) in PROGRAMS {
        if which(program).is_none() {
            step(&format!("install {package}"), || install(program, package))?;
        }
    }
    let requirements = repo.root.join("apps/picket/tests/peers/requirements.txt");
    let venv = repo.target.join("peers-venv");
    let python = venv.join("bin/python");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read `{}`", requirements.display()))?;
    // The stamp is written last: an environment that was left half made has none.
    let stamp = venv.join("made-from.txt");
    let is_made = fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted)
        && output(Command::new(&python).args(["-c", "import boto3"])).is_ok();
    if !is_made {
        step("make the Python environment of the tests (about a minute, once)", || {
            make(&venv, &requirements)
        })?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    }
    node_packages(repo, &venv.join("node"))?;
    Ok(Peers { python })
}

/// Installs what the lock file of the tests' Node.js packages names, if it is not there.
fn node_packages(repo: &Repo, folder: &Path) -> Result<()> {
    let source = repo.root.join("apps/picket/tests/peers/node");
    let wanted = fs::read_to_string(source.join("package-lock.json"))
        .with_context(|| format!("cannot read the lock file in `{}`", source.display()))?;
    let stamp = folder.join("made-from.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(());
    }
    step("install the Node.js packages of the tests", || {
        fs::create_dir_all(folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        // Nothing that a package brings runs before a test asks for it.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        run(&mut npm)
    })?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))
}

fn make(venv: &Path, requirements: &Path) -> Result<()> {
    let system = system_python()?;
    let create = || run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(venv));
    if let Err(error) = create() {
        // Debian splits the module off into a package of its own.
        if which("apt-get").is_none() {
            return Err(error);
        }
        install("the Python module `venv`", "python3-venv")?;
        create()?;
    }
    announce(&format!("install the packages of {}", requirements.display()));
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"]);
    if !std::io::stdout().is_terminal() {
        // Nobody watches: a log need not hold every progress bar.
        pip.arg("--quiet");
    }
    run(pip.arg("-r").arg(requirements))
}

/// The first interpreter on the search path that is new enough.
fn system_python() -> Result<PathBuf> {
    let newest_first = (PYTHON_MIN.1..=14).rev().map(|minor| format!("python3.{minor}"));
    let mut too_old = String::new();
    for name in std::iter::once("python3".to_owned()).chain(newest_first) {
        let Some(path) = which(&name) else { continue };
        let ask = "import sys; print(sys.version_info[0], sys.version_info[1])";
        let Ok(answer) = output(Command::new(&path).args(["-c", ask])) else { continue };
        match version(&answer) {
            Some(found) if found >= PYTHON_MIN => return Ok(path),
            _ => {
                too_old = format!(" (`{}` is {})", path.display(), answer.trim().replace(' ', "."))
            }
        }
    }
    let (major, minor) = PYTHON_MIN;
    bail!("the tests need Python {major}.{minor} or later on the search path{too_old}")
}

fn version(answer: &str) -> Option<(u32, u32)> {
    let (major, minor) = answer.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Installs a Debian package, or says how to.
fn install(what: &str, package: &str) -> Result<()> {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let advice = format!(
        "{what} is missing: install the package {package} (Debian and Ubuntu: `sudo apt-get install {package}`)"
    );
    if !is_root || which("apt-get").is_none() {
        bail!("{advice}");
    }
    let apt = |args: &[&str]| {
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args))
    };
    let get = || apt(&["install", "--yes", "--no-install-recommends", package]);
    // The list of packages may be old or empty, as in a fresh container.
    get().or_else(|_| apt(&["update"]).and_then(|()| get())).context(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("3 13\n").unwrap() > version("3 9").unwrap());
        assert!(version("2 7").unwrap() < PYTHON_MIN);
        assert_eq!(version("Python"), None);
    }
}
