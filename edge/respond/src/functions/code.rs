//! Unpacking a function's zip: everything that a zip can do to a disk is refused here.
//!
//! A zip is checked as a whole by the very walk that unpacks it, so that what CreateFunction took
//! ([`check`]) can be unpacked later. Files are unpacked into a folder of their own that is renamed
//! when it is complete, and are read only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use picket_model::FunctionRuntime;
use picket_model::limits::{
    FUNCTION_FILES_MAX, FUNCTION_UNPACKED_BYTES_MAX, FUNCTION_ZIP_BYTES_MAX,
};
use picket_model::text::hex;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::limits::{
    ZIP_PATH_BYTES_MAX, ZIP_PATH_DEPTH_MAX, ZIP_RATIO_APPLIES_FROM_BYTES, ZIP_RATIO_MAX,
};

/// The executable that an operating-system runtime runs.
pub(super) const BOOTSTRAP: &str = "bootstrap";

/// Why a function's zip is refused. File names are given with control characters escaped.
#[derive(Debug, Error)]
pub enum CodeError {
    /// The zip is larger than allowed.
    #[error("the zip is {len} bytes long; at most {max} are allowed")]
    ZipTooLarge {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// The bytes are no zip, or a broken one.
    #[error("the zip cannot be read: {0}")]
    NotAZip(String),
    /// There is nothing in it.
    #[error("the zip holds no file")]
    Empty,
    /// The zip holds more files than allowed.
    #[error("the zip holds {found} files and folders; at most {max} are allowed")]
    TooManyFiles {
        /// Number found.
        found: usize,
        /// Number allowed.
        max: usize,
    },
    /// Two entries have the same name, or one is a file where another needs a folder.
    #[error("the zip holds `{0}` twice")]
    Twice(String),
    /// A name that does not stay in the folder, or that is no name.
    #[error("the zip holds a file named `{name}`: {problem}")]
    Name {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a plain file or folder.
    #[error("`{name}` is {kind}; only files and folders are allowed")]
    Kind {
        /// The name, escaped.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Encrypted, or packed by a method that is not known here.
    #[error("`{name}` cannot be unpacked: {problem}")]
    Content {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The files together are larger than allowed.
    #[error("the zip unpacks to more than {max} bytes (reached at `{name}`)")]
    TooLarge {
        /// The file at which the limit was passed, escaped.
        name: String,
        /// Bytes allowed.
        max: u64,
    },
    /// The zip unpacks to so much more than it is that it can only be a bomb.
    #[error("the zip unpacks to more than {max} times its size (reached at `{name}`)")]
    Bomb {
        /// The file at which the limit was passed, escaped.
        name: String,
        /// The ratio allowed.
        max: u64,
    },
    /// The runtime needs an executable that is not there.
    #[error("the zip holds no file `bootstrap`, which runtime `{0}` runs")]
    NoBootstrap(String),
    /// The folder cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Whether a zip can be run by `runtime`: reads all of it and writes nothing.
///
/// Takes a second for the largest zip there may be; call it from a thread that may wait.
///
/// # Errors
/// [`CodeError`] names the first file that is wrong, and why.
pub fn check(zip: &[u8], runtime: &FunctionRuntime) -> Result<(), CodeError> {
    let entries = walk(zip, &mut Nowhere)?;
    let has_bootstrap = matches!(entries.get(BOOTSTRAP), Some(Entry::File));
    match runtime {
        FunctionRuntime::Provided(name) if !has_bootstrap => {
            Err(CodeError::NoBootstrap(name.clone()))
        }
        FunctionRuntime::Provided(_) | FunctionRuntime::Python(_) => Ok(()),
    }
}

/// Unpacks a zip into `folder`, which must exist and be empty.
///
/// Files are made with the right to be executed if the zip says so or if they are the
/// `bootstrap`; nothing may be written, by anybody.
///
/// # Errors
/// [`CodeError`]; what was written until then stays for the caller to remove.
pub fn unpack(zip: &[u8], folder: &Path) -> Result<(), CodeError> {
    let entries = walk(zip, &mut Folder(folder))?;
    // Folders last: nothing can be made in one that cannot be written. Deepest first or not makes
    // no difference, the right to pass stays.
    for (name, entry) in &entries {
        if *entry == Entry::Folder {
            let path = folder.join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o555))
                .map_err(|source| CodeError::Disk { path, source })?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File,
    Folder,
}

/// Where the walk puts what it finds.
trait Sink {
    fn folder(&mut self, name: &str) -> Result<(), CodeError>;
    fn file(&mut self, name: &str, is_executable: bool) -> Result<Box<dyn Write>, CodeError>;
}

struct Nowhere;

impl Sink for Nowhere {
    fn folder(&mut self, _: &str) -> Result<(), CodeError> {
        Ok(())
    }

    fn file(&mut self, _: &str, _: bool) -> Result<Box<dyn Write>, CodeError> {
        Ok(Box::new(io::sink()))
    }
}

struct Folder<'a>(&'a Path);

impl Sink for Folder<'_> {
    fn folder(&mut self, name: &str) -> Result<(), CodeError> {
        let path = self.0.join(name);
        fs::create_dir(&path).map_err(|source| CodeError::Disk { path, source })
    }

    fn file(&mut self, name: &str, is_executable: bool) -> Result<Box<dyn Write>, CodeError> {
        let path = self.0.join(name);
        let mode = if is_executable { 0o555 } else { 0o444 };
        // `create_new` neither follows a link nor writes into a file that is there.
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        match file {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(CodeError::Disk { path, source }),
        }
    }
}

/// Goes through a zip, checks everything, and hands folders and files to the sink.
fn walk(zip: &[u8], sink: &mut dyn Sink) -> Result<BTreeMap<String, Entry>, CodeError> {
    if zip.len() > FUNCTION_ZIP_BYTES_MAX {
        return Err(CodeError::ZipTooLarge { len: zip.len(), max: FUNCTION_ZIP_BYTES_MAX });
    }
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(not_a_zip)?;
    if archive.len() > FUNCTION_FILES_MAX {
        return Err(CodeError::TooManyFiles { found: archive.len(), max: FUNCTION_FILES_MAX });
    }
    if archive.has_duplicate_names() {
        let start = usize::try_from(archive.central_directory_start()).unwrap_or(usize::MAX);
        let name = zip.get(start..).and_then(first_duplicate);
        return Err(CodeError::Twice(name.unwrap_or_else(|| "a name".to_owned())));
    }
    let mut entries = BTreeMap::new();
    let mut budget = Budget { packed_bytes: zip.len() as u64, unpacked_bytes: 0 };
    for index in 0..archive.len() {
        let data = archive.by_index_data(index).map_err(not_a_zip)?;
        let raw = data.name_raw().to_vec();
        let is_folder = raw.ends_with(b"/");
        let shown = show(&raw);
        let name = path_of(&raw).map_err(|problem| CodeError::Name { name: shown, problem })?;
        check_kind(&name, data.unix_mode(), is_folder)?;
        let mode = data.unix_mode().unwrap_or(0);
        let unreadable = unreadable(data.encrypted(), data.compression());
        if is_folder {
            make_folder(&name, &mut entries, sink)?;
        } else {
            if let Some((parent, _)) = name.rsplit_once('/') {
                make_folder(parent, &mut entries, sink)?;
            }
            make_place(&name, Entry::File, &mut entries)?;
            let content = |problem| CodeError::Content { name: name.clone(), problem };
            if let Some(problem) = unreadable {
                return Err(content(problem));
            }
            let reader = archive.by_index(index);
            let mut reader = reader.map_err(|error| content(zip_problem(&error)))?;
            let mut file = sink.file(&name, mode & 0o111 != 0 || name == BOOTSTRAP)?;
            copy(&name, &mut reader, &mut file, &mut budget)?;
        }
        if entries.len() > FUNCTION_FILES_MAX {
            return Err(CodeError::TooManyFiles { found: entries.len(), max: FUNCTION_FILES_MAX });
        }
    }
    if !entries.values().any(|entry| *entry == Entry::File) {
        return Err(CodeError::Empty);
    }
    Ok(entries)
}

fn not_a_zip(error: ZipError) -> CodeError {
    CodeError::NotAZip(zip_problem(&error))
}

/// The error in words, without the library's prefixes.
fn zip_problem(error: &ZipError) -> String {
    match error {
        ZipError::Io(error) => error.to_string(),
        ZipError::InvalidArchive(problem) => problem.to_string(),
        ZipError::UnsupportedArchive(problem) => (*problem).to_owned(),
        other => other.to_string(),
    }
}

/// Why the content of an entry cannot be read, if that is known without trying.
fn unreadable(is_encrypted: bool, method: CompressionMethod) -> Option<String> {
    match method {
        _ if is_encrypted => Some("it is encrypted".to_owned()),
        CompressionMethod::Stored | CompressionMethod::Deflated => None,
        other => Some(format!("it is packed by method {other}; use deflate, or none")),
    }
}

/// The first name that the zip's directory lists twice. The library keeps only the last of
/// several entries of one name, so the directory is read once more.
fn first_duplicate(directory: &[u8]) -> Option<String> {
    const HEADER_BYTES: usize = 46;
    let mut seen = BTreeSet::new();
    let mut rest = directory;
    while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let len = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let name = after.get(..len(28))?;
        if !seen.insert(name) {
            return Some(show(name));
        }
        rest = after.get(len(28) + len(30) + len(32)..)?;
    }
    None
}

fn show(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    if text.chars().nth(200).is_some() { shown + "..." } else { shown }
}

/// The path below the folder that an entry's name means, in normal form.
fn path_of(raw: &[u8]) -> Result<String, &'static str> {
    let text = str::from_utf8(raw).map_err(|_| "names must be UTF-8")?;
    if text.len() > ZIP_PATH_BYTES_MAX {
        return Err("the name is too long");
    }
    if text.starts_with('/') {
        return Err("names must be relative");
    }
    if text.contains('\\') {
        return Err("folders are divided by `/`");
    }
    if text.chars().any(char::is_control) {
        return Err("names hold no control characters");
    }
    let parts: Vec<_> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err("names must stay in their folder");
    }
    if parts.iter().any(|part| part.len() > 255) {
        return Err("the name is too long");
    }
    if parts.len() > ZIP_PATH_DEPTH_MAX {
        return Err("the folders are too deep");
    }
    if parts.is_empty() && !text.ends_with('/') {
        return Err("the name is empty");
    }
    Ok(parts.join("/"))
}

/// Refuses everything that is not a plain file or folder. Only zips made on Unix say so.
fn check_kind(name: &str, unix_mode: Option<u32>, is_folder: bool) -> Result<(), CodeError> {
    const KIND: u32 = 0o170_000;
    let kind = match unix_mode.unwrap_or(0) & KIND {
        0 => return Ok(()),
        // Some tools write folders as files whose names end with `/`.
        0o100_000 => return Ok(()),
        0o040_000 if is_folder => return Ok(()),
        0o040_000 => "a folder whose name does not end with `/`",
        0o120_000 => "a symbolic link",
        0o010_000 => "a named pipe",
        0o140_000 => "a socket",
        0o020_000 | 0o060_000 => "a device",
        _ => "of an unknown kind",
    };
    Err(CodeError::Kind { name: name.to_owned(), kind })
}

/// Makes a folder and those above it, where they are not there yet.
fn make_folder(
    name: &str,
    entries: &mut BTreeMap<String, Entry>,
    sink: &mut dyn Sink,
) -> Result<(), CodeError> {
    let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
    for folder in ends.map(|end| &name[..end]).filter(|folder| !folder.is_empty()) {
        match entries.get(folder) {
            Some(Entry::Folder) => {}
            Some(Entry::File) => return Err(CodeError::Twice(folder.to_owned())),
            None => {
                sink.folder(folder)?;
                make_place(folder, Entry::Folder, entries)?;
            }
        }
    }
    Ok(())
}

fn make_place(
    name: &str,
    entry: Entry,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), CodeError> {
    match entries.insert(name.to_owned(), entry) {
        None => Ok(()),
        Some(_) => Err(CodeError::Twice(name.to_owned())),
    }
}

/// What may still be unpacked. Counts what comes out, not what the zip claims.
struct Budget {
    packed_bytes: u64,
    unpacked_bytes: u64,
}

impl Budget {
    fn spend(&mut self, name: &str, bytes: usize) -> Result<(), CodeError> {
        self.unpacked_bytes += bytes as u64;
        if self.unpacked_bytes > FUNCTION_UNPACKED_BYTES_MAX {
            let max = FUNCTION_UNPACKED_BYTES_MAX;
            return Err(CodeError::TooLarge { name: name.to_owned(), max });
        }
        if self.unpacked_bytes > ZIP_RATIO_APPLIES_FROM_BYTES
            && self.unpacked_bytes / ZIP_RATIO_MAX > self.packed_bytes
        {
            return Err(CodeError::Bomb { name: name.to_owned(), max: ZIP_RATIO_MAX });
        }
        Ok(())
    }
}

fn copy(
    name: &str,
    reader: &mut dyn Read,
    writer: &mut dyn Write,
    budget: &mut Budget,
) -> Result<(), CodeError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // At the end the library compares the checksum.
        let len = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let problem = error.to_string();
                return Err(CodeError::Content { name: name.to_owned(), problem });
            }
        };
        budget.spend(name, len)?;
        writer
            .write_all(&buffer[..len])
            .map_err(|source| CodeError::Disk { path: name.into(), source })?;
    }
}

/// The folder of unpacked functions. Empty when the server starts: what an earlier run unpacked
/// may be half on disk, and unpacking again is cheap.
pub(super) struct CodeStore {
    folder: PathBuf,
    /// INVARIANT (no folder twice): every unpacking has a number of its own, so that removing an
    /// old one cannot hit a new one.
    n_unpacked: AtomicU64,
}

impl CodeStore {
    /// Uses `folder`, which must be there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, n_unpacked: AtomicU64::new(0) }
    }

    /// Unpacks a zip. Waits for the disk.
    ///
    /// # Errors
    /// [`CodeError`]; nothing is left behind then.
    pub(super) fn unpack(&self, zip: &[u8]) -> Result<Arc<CodeFolder>, CodeError> {
        let digest = hex(&Sha256::digest(zip));
        let number = self.n_unpacked.fetch_add(1, Ordering::Relaxed);
        let partial = self.folder.join(format!(".partial-{number}"));
        let complete = CodeFolder(self.folder.join(format!("{digest}.{number}")));
        let disk = |path: &Path| {
            let path = path.to_owned();
            |source| CodeError::Disk { path, source }
        };
        fs::create_dir(&partial).map_err(disk(&partial))?;
        let unpacked = unpack(zip, &partial)
            .and_then(|()| fs::rename(&partial, &complete.0).map_err(disk(&complete.0)));
        if let Err(error) = unpacked {
            remove_folder(&partial);
            return Err(error);
        }
        let read_only = fs::Permissions::from_mode(0o555);
        fs::set_permissions(&complete.0, read_only).map_err(disk(&complete.0))?;
        Ok(Arc::new(complete))
    }
}

/// Unpacked code. Removed when the last process that runs in it is gone.
#[derive(Debug)]
pub(super) struct CodeFolder(PathBuf);

impl CodeFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CodeFolder {
    fn drop(&mut self) {
        remove_folder(&self.0);
    }
}

/// Removes a folder whose folders may be read only. One that cannot be removed is left, and said.
pub(super) fn remove_folder(path: &Path) {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        if fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).is_err() {
            break;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot remove {}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}
