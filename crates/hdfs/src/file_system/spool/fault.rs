//! What an error of the spool means to the sink.

use crate::file_system::{FaultKind, FileSystemError};
use std::io;

/// The longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 400;

/// Returns the error of `action` on `path` that the local disk reported.
pub(crate) fn of_disk(action: &'static str, path: &str, error: &io::Error) -> FileSystemError {
    let kind = match error.kind() {
        io::ErrorKind::AlreadyExists => FaultKind::AlreadyExists,
        io::ErrorKind::NotFound => FaultKind::NotFound,
        io::ErrorKind::InvalidFilename => FaultKind::InvalidPath,
        io::ErrorKind::NotADirectory => FaultKind::NotDirectory,
        io::ErrorKind::PermissionDenied => FaultKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::QuotaExceeded,
        io::ErrorKind::ReadOnlyFilesystem => FaultKind::ReadOnly,
        _ => FaultKind::Other,
    };
    with(action, path, kind, &format!("in the spool: {error}"))
}

/// Returns an error, with `reason` as one line of bounded length.
pub(crate) fn with(
    action: &'static str,
    path: &str,
    kind: FaultKind,
    reason: &str,
) -> FileSystemError {
    let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let reason = printable.take(REASON_CHARS_MAX).collect();
    FileSystemError { kind, action, path: path.to_owned(), reason, hint: None }
}
