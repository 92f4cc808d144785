//! Zips of every broken kind, written byte by byte: no library would write them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use picket_model::FunctionRuntime;
use picket_respond::functions::code::{CodeError, check, unpack};

const STORED: u16 = 0;
const REGULAR: u32 = 0o100_644;

struct Entry<'a> {
    name: &'a [u8],
    content: &'a [u8],
    mode: u32,
    method: u16,
    flags: u16,
    crc: Option<u32>,
    /// What the directory claims the unpacked size to be.
    size: Option<u32>,
}

fn file<'a>(name: &'a str, content: &'a str) -> Entry<'a> {
    Entry {
        name: name.as_bytes(),
        content: content.as_bytes(),
        mode: REGULAR,
        method: STORED,
        flags: 0,
        crc: None,
        size: None,
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = zip.len() as u32;
        let (packed, unpacked) =
            (entry.content.len() as u32, entry.size.unwrap_or(entry.content.len() as u32));
        let mut facts = Vec::new();
        for number in [20, entry.flags, entry.method, 0, 0x21] {
            facts.extend(number.to_le_bytes());
        }
        for number in [entry.crc.unwrap_or(crc32(entry.content)), packed, unpacked] {
            facts.extend(number.to_le_bytes());
        }
        facts.extend((entry.name.len() as u16).to_le_bytes());
        facts.extend(0u16.to_le_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(&facts);
        zip.extend(entry.name);
        zip.extend(entry.content);
        directory.extend(b"PK\x01\x02");
        // Made by Unix.
        directory.extend([20, 3]);
        directory.extend(&facts);
        // Comment, disk, internal attributes.
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name);
    }
    let (start, len) = (zip.len() as u32, directory.len() as u32);
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend((entries.len() as u16).to_le_bytes());
    zip.extend((entries.len() as u16).to_le_bytes());
    zip.extend(len.to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0; 2]);
    zip
}

fn python() -> FunctionRuntime {
    FunctionRuntime::parse("python3.12").unwrap()
}

/// Unpacks, and gives what is in the folder: `path mode content`, by path.
fn unpacked(zip: &[u8]) -> Result<Vec<String>, CodeError> {
    let folder = tempfile::tempdir().unwrap();
    let result = unpack(zip, folder.path());
    let mut found = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder.path()).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                found.push(format!("{name}/ {mode:o}"));
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                folders.push(path);
            } else {
                found.push(format!("{name} {mode:o} {}", fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    result.map(|()| found)
}

#[track_caller]
fn good(entries: &[Entry<'_>], expected: &[&str]) {
    assert_eq!(unpacked(&zip(entries)).unwrap(), expected);
    check(&zip(entries), &python()).unwrap();
}

/// Both the check and the unpacking refuse with the same words.
#[track_caller]
fn bad(zip: &[u8], expected: &str) {
    assert_eq!(check(zip, &python()).unwrap_err().to_string(), expected);
    assert_eq!(unpacked(zip).unwrap_err().to_string(), expected);
}

#[test]
fn files_and_folders_are_read_only() {
    good(
        &[
            file("index.py", "x"),
            Entry { mode: 0o040_777, ..file("lib/", "") },
            file("lib/a.py", "y"),
            file("deep/er/b.py", "z"),
        ],
        &[
            "deep/ 555",
            "deep/er/ 555",
            "deep/er/b.py 444 z",
            "index.py 444 x",
            "lib/ 555",
            "lib/a.py 444 y",
        ],
    );
}

#[test]
fn the_right_to_execute_is_kept_and_no_other_right() {
    good(
        &[
            Entry { mode: 0o104_755, ..file("run", "x") },
            file("bootstrap", "y"),
            Entry { mode: 0, ..file("dos.py", "z") },
        ],
        &["bootstrap 555 y", "dos.py 444 z", "run 555 x"],
    );
}

#[test]
fn harmless_spellings_of_a_path_are_taken() {
    good(&[file("./a//b.py", "x"), file("./", ""), file("a/", "")], &["a/ 555", "a/b.py 444 x"]);
}

#[test]
fn a_name_that_leaves_the_folder_is_refused() {
    for (name, problem) in [
        ("../evil", "names must stay in their folder"),
        ("a/../../evil", "names must stay in their folder"),
        ("a/../b", "names must stay in their folder"),
        ("a/..", "names must stay in their folder"),
        ("/etc/passwd", "names must be relative"),
        ("//x", "names must be relative"),
        ("..\\evil", "folders are divided by `/`"),
        ("C:\\evil", "folders are divided by `/`"),
        ("a\0b", "names hold no control characters"),
        ("a\nb", "names hold no control characters"),
        (".", "the name is empty"),
        ("", "the name is empty"),
    ] {
        bad(
            &zip(&[file("index.py", "x"), file(name, "y")]),
            &format!("the zip holds a file named `{}`: {problem}", name.escape_debug()),
        );
    }
}

#[test]
fn a_name_that_is_no_text_or_too_long_is_refused() {
    bad(
        &zip(&[Entry { name: b"\xff.py", ..file("", "x") }]),
        "the zip holds a file named `\u{fffd}.py`: names must be UTF-8",
    );
    for name in ["x".repeat(256), "x/".repeat(65) + "y", "xyz/".repeat(300)] {
        let error = check(&zip(&[file(&name, "")]), &python()).unwrap_err().to_string();
        assert!(error.contains("the name is too long") || error.contains("too deep"), "{error}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for (mode, kind) in [
        (0o120_777, "a symbolic link"),
        (0o010_644, "a named pipe"),
        (0o020_644, "a device"),
        (0o140_644, "a socket"),
        (0o040_755, "a folder whose name does not end with `/`"),
    ] {
        bad(
            &zip(&[file("index.py", "x"), Entry { mode, ..file("odd", "/etc/passwd") }]),
            &format!("`odd` is {kind}; only files and folders are allowed"),
        );
    }
}

#[test]
fn a_name_may_be_there_once() {
    bad(
        &zip(&[file("a.py", "x"), file("b.py", "x"), file("a.py", "y")]),
        "the zip holds `a.py` twice",
    );
    bad(&zip(&[file("a.py", "x"), file("./a.py", "y")]), "the zip holds `a.py` twice");
    bad(&zip(&[file("a", "x"), file("a/b", "y")]), "the zip holds `a` twice");
    bad(&zip(&[file("a/b", "x"), file("a", "y")]), "the zip holds `a` twice");
}

#[test]
fn what_is_no_zip_or_holds_nothing_is_refused() {
    for bytes in [&b""[..], b"no zip at all", b"PK\x03\x04", &zip(&[file("a", "x")])[..30]] {
        let error = check(bytes, &python()).unwrap_err().to_string();
        assert!(error.starts_with("the zip cannot be read: "), "{error}");
    }
    bad(&zip(&[]), "the zip holds no file");
    bad(&zip(&[Entry { mode: 0o040_755, ..file("a/", "") }]), "the zip holds no file");
}

#[test]
fn content_that_cannot_be_read_is_refused() {
    let encrypted = Entry { flags: 1, ..file("a.py", "xxxxxxxxxxxxxxxx") };
    bad(&zip(&[encrypted]), "`a.py` cannot be unpacked: it is encrypted");
    let method = Entry { method: 12, ..file("a.py", "x") };
    bad(
        &zip(&[method]),
        "`a.py` cannot be unpacked: it is packed by method Bzip2; use deflate, or none",
    );
    let damaged = Entry { crc: Some(7), ..file("a.py", "x") };
    bad(&zip(&[damaged]), "`a.py` cannot be unpacked: Invalid checksum");
}

#[test]
fn a_bomb_is_refused_by_what_comes_out_not_by_what_it_claims() {
    let zeros = "\0".repeat(60 << 20);
    let honest = crate::support::zip_of(&[("index.py", "x"), ("bomb", &zeros)]);
    assert!(honest.len() < 300 * 1024, "{}", honest.len());
    bad(&honest, "the zip unpacks to more than 200 times its size (reached at `bomb`)");
    // A file that packs well is no bomb.
    let small = crate::support::zip_of(&[("blank.txt", &zeros[..4 << 20])]);
    check(&small, &python()).unwrap();
}

#[test]
fn more_files_than_allowed_are_refused() {
    let names: Vec<_> = (0..20_001).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| file(name, "")).collect();
    bad(&zip(&entries), "the zip holds 20001 files and folders; at most 20000 are allowed");
    // Folders that are only implied count too.
    let names: Vec<_> = (0..10_001).map(|n| format!("d{n}/f")).collect();
    let entries: Vec<_> = names.iter().map(|name| file(name, "")).collect();
    let error = check(&zip(&entries), &python()).unwrap_err();
    assert!(matches!(error, CodeError::TooManyFiles { .. }), "{error}");
}

#[test]
fn a_zip_that_is_too_large_is_not_looked_at() {
    let error = check(&vec![0; (50 << 20) + 1], &python()).unwrap_err().to_string();
    assert_eq!(error, "the zip is 52428801 bytes long; at most 52428800 are allowed");
}

#[test]
fn an_executable_runtime_needs_its_bootstrap() {
    let provided = FunctionRuntime::parse("provided.al2023").unwrap();
    check(&zip(&[file("bootstrap", "x")]), &provided).unwrap();
    for other in [file("bin/bootstrap", "x"), file("bootstrap/x", "y")] {
        assert_eq!(
            check(&zip(&[other]), &provided).unwrap_err().to_string(),
            "the zip holds no file `bootstrap`, which runtime `provided.al2023` runs"
        );
    }
}
