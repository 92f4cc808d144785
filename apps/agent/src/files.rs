//! Files that others wrote, read as a whole and only up to a size.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a file of at most `bytes_max` bytes.
///
/// It never waits: a named pipe that nobody writes to is empty.
///
/// # Errors
/// The file cannot be read, or is longer: half of a configuration or of a number is none.
pub(crate) fn read(file: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    let mut bytes = Vec::new();
    opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let why = format!("it is longer than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`], and where it is no UTF-8.
pub(crate) fn read_text(file: &Path, bytes_max: usize) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8");
    String::from_utf8(read(file, bytes_max)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reading up to four bytes of a file with this content comes to.
    fn check(content: &[u8], expected: Result<&str, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, content).unwrap();
        let found = read_text(&file, 4).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_file_is_read_as_a_whole_or_not_at_all() {
        check(b"", Ok(""));
        check(b"four", Ok("four"));
        check(b"five!", Err("it is longer than 4 bytes"));
        check(b"\xFF", Err("it is no UTF-8"));
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        assert!(read(Path::new("/dev/zero"), 1_000).is_err());
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&pipe, 4).unwrap(), b"");
    }
}
