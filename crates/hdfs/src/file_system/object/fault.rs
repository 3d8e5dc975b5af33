//! What an error of a store means to the sink.

use crate::file_system::spool::fault::with;
use crate::file_system::{FaultKind, FileSystemError};
use std::error::Error;
use std::time::Duration;

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

/// Returns the error of `action` that took longer than `limit`.
pub(super) fn timed_out(action: &'static str, path: &str, limit: Duration) -> FileSystemError {
    let reason = format!("no reply in {:.1} s (hdfs.callTimeout)", limit.as_secs_f64());
    with(action, path, FaultKind::TimedOut, &reason)
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
