//! Making the private environment.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;

use super::{Interpreter, PythonError, Version, find};

/// What is installed, pinned: AWS's runtime client and its SDK.
struct Packages {
    awslambdaric: &'static str,
    boto3: &'static str,
}

impl Packages {
    /// The latest pair that runs in a Python; the last ones that knew 3.9 are older.
    const fn of(version: Version) -> Self {
        match version {
            Version(3, 9) => Self { awslambdaric: "4.0.4", boto3: "1.42.97" },
            _ => Self { awslambdaric: "4.2.2", boto3: "1.44.5" },
        }
    }
}

/// What [`setup`] is doing, for whoever waits. Displays as a short sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another process makes the same environment.
    WaitForOther,
    /// The environment is being made, without packages.
    MakeEnvironment(Interpreter),
    /// Packages are being fetched and installed; a line of pip's.
    Install(String),
    /// What was installed is tried.
    Check,
    /// It is there.
    Done(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitForOther => f.write_str("waiting for another process that does the same"),
            Self::MakeEnvironment(python) => {
                write!(f, "making an environment of Python {}", python.version)
            }
            Self::Install(line) => write!(f, "installing: {line}"),
            Self::Check => f.write_str("trying it"),
            Self::Done(path) => write!(f, "Python for functions: {}", path.display()),
        }
    }
}

/// Where a user's programs keep what can be made again: `$XDG_CACHE_HOME/picket`, or else
/// `~/.cache/picket`.
///
/// # Errors
/// [`PythonError::NoCacheFolder`] when neither is known.
pub fn cache_folder() -> Result<PathBuf, PythonError> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // Relative paths are to be ignored, says the XDG base directory specification.
    variable("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").filter(|p| p.is_absolute()).map(|home| home.join(".cache")))
        .map(|cache| cache.join("picket"))
        .ok_or(PythonError::NoCacheFolder)
}

/// Finds or makes the private environment below `cache`, and gives its interpreter.
///
/// The environment appears complete or not at all. Who comes while another makes it waits. One
/// whose Python has been removed from the machine is made again. Fetches about 20 MB from the
/// package index that pip is set up for.
///
/// # Errors
/// [`PythonError`] says what to do.
pub fn setup(cache: &Path, progress: &mut dyn FnMut(Step)) -> Result<PathBuf, PythonError> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        |source| PythonError::Disk { path, source }
    };
    let python = find()?;
    let folder = cache.join(folder_name(python.version));
    let interpreter = folder.join("bin/python");
    fs::create_dir_all(cache).map_err(disk(cache))?;
    let _lock = lock(&cache.join("python.lock"), progress)?;
    if interpreter.exists() && find::check(&interpreter).is_ok() {
        progress(Step::Done(interpreter.clone()));
        return Ok(interpreter);
    }
    // The lock is ours: whatever lies there is of nobody who still works on it.
    let partial = cache.join(format!("{}.partial", folder_name(python.version)));
    for old in [&partial, &folder] {
        match fs::remove_dir_all(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(old)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    make(&python, &partial, progress)?;
    progress(Step::Check);
    find::check(&partial.join("bin/python"))?;
    // Only the scripts in `bin` hold the folder's name, and those are not used.
    fs::rename(&partial, &folder).map_err(disk(&folder))?;
    progress(Step::Done(interpreter.clone()));
    Ok(interpreter)
}

fn folder_name(version: Version) -> String {
    let Packages { awslambdaric, boto3 } = Packages::of(version);
    format!("python-{version}-awslambdaric-{awslambdaric}-boto3-{boto3}")
}

/// The lock is free when the file is closed, also by the end of a killed process.
fn lock(path: &Path, progress: &mut dyn FnMut(Step)) -> Result<File, PythonError> {
    let disk = |source: io::Error| PythonError::Disk { path: path.to_owned(), source };
    let file = File::create(path).map_err(disk)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress(Step::WaitForOther);
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| disk(errno.into()))?;
    }
    Ok(file)
}

fn make(
    python: &Interpreter,
    folder: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<(), PythonError> {
    progress(Step::MakeEnvironment(python.clone()));
    let mut venv = Command::new(&python.path);
    venv.args(["-I", "-m", "venv"]).arg(folder);
    let (is_made, said) = run(&mut venv, &python.path, &mut |_| ())?;
    if !is_made {
        return Err(PythonError::NoVenv { path: python.path.clone(), said: said.join("; ") });
    }
    let Packages { awslambdaric, boto3 } = Packages::of(python.version);
    let interpreter = folder.join("bin/python");
    let mut pip = Command::new(&interpreter);
    pip.args(["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"])
        .args(["--progress-bar", "off", "--prefer-binary", "--timeout", "15", "--retries", "3"])
        .args([format!("awslambdaric=={awslambdaric}"), format!("boto3=={boto3}")]);
    let (is_installed, said) =
        run(&mut pip, &interpreter, &mut |line| progress(Step::Install(line.to_owned())))?;
    if is_installed { Ok(()) } else { Err(PythonError::Install { said: said.join("\n") }) }
}

/// Runs a command, shows its lines as they come, and keeps the last ones.
fn run(
    command: &mut Command,
    program: &Path,
    show: &mut dyn FnMut(&str),
) -> Result<(bool, Vec<String>), PythonError> {
    const LINES_KEPT: usize = 8;
    let failed = |source| PythonError::CannotRun { path: program.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stdin(Stdio::null()).stderr(writer.try_clone().map_err(failed)?).stdout(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the writing ends; as long as it does, the pipe has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut said = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.is_empty() {
            continue;
        }
        show(&line);
        if said.len() == LINES_KEPT {
            said.remove(0);
        }
        said.push(line);
    }
    let status = child.wait().map_err(failed)?;
    Ok((status.success(), said))
}
