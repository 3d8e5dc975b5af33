//! Reads small files in full: configurations, password files. The channel's files go through `disk`.

use std::fs::{File, FileType};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmallFileError {
    /// It does not exist.
    #[error("there is no such file")]
    Missing,
    /// The path leads to something that cannot be read as a file.
    #[error("it is {0}, not a file")]
    NotAFile(&'static str),
    /// It is longer than the bound.
    #[error("it is longer than {max} bytes; this is surely another file than the one meant")]
    TooLong {
        /// The bound.
        max: u64,
    },
    /// The operating system refused.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Returns the bytes of the file at `path`, if they are at most `max`.
///
/// A pipe is read only through `/dev/fd` or `/dev/stdin` (a shell's `<(…)`): opening a named pipe without a writer
/// would wait without end.
///
/// # Errors
/// There is no such file, it is too long, or it cannot be read.
#[allow(clippy::disallowed_methods)] // a file that is not part of a channel
pub fn read_whole(path: &Path, max: u64) -> Result<Vec<u8>, SmallFileError> {
    let found = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SmallFileError::Missing,
        _ => SmallFileError::Io(error),
    })?;
    if let Some(what) = unreadable(path, found.file_type()) {
        return Err(SmallFileError::NotAFile(what));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(SmallFileError::TooLong { max });
    }
    Ok(bytes)
}

fn unreadable(path: &Path, kind: FileType) -> Option<&'static str> {
    let handed_over = path.starts_with("/dev") || path.starts_with("/proc/self/fd");
    if kind.is_file() || (handed_over && (kind.is_fifo() || kind.is_char_device())) {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else {
        Some("a device or socket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_readable_file_is_said_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = read_whole(&dir.path().join("nowhere"), 10);
        assert!(matches!(missing, Err(SmallFileError::Missing)), "{missing:?}");
        let directory = read_whole(dir.path(), 10);
        assert!(matches!(directory, Err(SmallFileError::NotAFile("a directory"))), "{directory:?}");
        assert!(matches!(
            read_whole(Path::new("/dev/zero"), 10),
            Err(SmallFileError::TooLong { .. })
        ));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        let pipe = read_whole(&pipe, 10);
        assert!(matches!(pipe, Err(SmallFileError::NotAFile("a named pipe"))), "{pipe:?}");
    }

    #[test]
    fn the_bound_is_the_last_length_that_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").expect("written");
        assert_eq!(read_whole(&path, 10).expect("ten bytes"), b"0123456789");
        assert!(matches!(read_whole(&path, 9), Err(SmallFileError::TooLong { max: 9 })));
    }
}
