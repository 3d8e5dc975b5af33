//! What an error of a store or of the spool means to the sink.

use crate::file_system::{FaultKind, FileSystemError};
use std::error::Error;
use std::io;
use std::time::Duration;

/// The longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 400;

/// Returns the error of `action` on `path` that the store reported.
pub(super) fn of_store(
    action: &'static str,
    path: &str,
    error: &object_store::Error,
) -> FileSystemError {
    use object_store::Error as Store;
    let kind = match error {
        Store::NotFound { .. } => FaultKind::NotFound,
        Store::AlreadyExists { .. } | Store::Precondition { .. } => FaultKind::AlreadyExists,
        Store::InvalidPath { .. } => FaultKind::InvalidPath,
        Store::PermissionDenied { .. } => FaultKind::PermissionDenied,
        Store::Unauthenticated { .. } => FaultKind::Unauthenticated,
        Store::NotSupported { .. } | Store::NotImplemented { .. } => FaultKind::Unsupported,
        Store::UnknownConfigurationKey { .. } => FaultKind::Misconfigured,
        _ => FaultKind::Unavailable,
    };
    with(action, path, kind, &innermost(error))
}

/// Returns the error of `action` on `path` that the local disk reported.
pub(super) fn of_disk(action: &'static str, path: &str, error: &io::Error) -> FileSystemError {
    let kind = match error.kind() {
        io::ErrorKind::AlreadyExists => FaultKind::AlreadyExists,
        io::ErrorKind::NotFound => FaultKind::NotFound,
        io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory => FaultKind::InvalidPath,
        io::ErrorKind::PermissionDenied => FaultKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::QuotaExceeded,
        io::ErrorKind::ReadOnlyFilesystem => FaultKind::ReadOnly,
        _ => FaultKind::Other,
    };
    with(action, path, kind, &format!("in the spool: {error}"))
}

/// Returns the error of `action` that took longer than `limit`.
pub(super) fn timed_out(action: &'static str, path: &str, limit: Duration) -> FileSystemError {
    let reason = format!("no reply in {:.1} s (hdfs.callTimeout)", limit.as_secs_f64());
    with(action, path, FaultKind::TimedOut, &reason)
}

/// Returns an error, with `reason` as one line of bounded length.
pub(super) fn with(
    action: &'static str,
    path: &str,
    kind: FaultKind,
    reason: &str,
) -> FileSystemError {
    let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let reason = printable.take(REASON_CHARS_MAX).collect();
    FileSystemError { kind, action, path: path.to_owned(), reason, hint: None }
}

/// Returns the text of `error` and of its cause: the library's own sentences repeat the path and the request.
fn innermost(error: &object_store::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (outer, inner) = (error.to_string(), cause.to_string());
    if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") }
}
