//! What the sink asks of a file system, and the errors it acts on.
//!
//! Limits: a path has at most [`PATH_BYTES_MAX`] bytes. Every call ends in a bounded time that the
//! implementation was configured with (`hdfs.callTimeout`); none retries without a bound, because the sink
//! does that.
//!
//! Paths are absolute, with `/` between names, without scheme and authority: those are settings of the
//! implementation. A file is in one of two states: open, with one writer, or closed. What
//! [`OpenFile::hsync`] has confirmed survives the death of this process; a file whose writer died stays
//! open on HDFS until [`FileSystem::recover_lease`] has closed it.
//!
//! Invariants: `create` and `rename` never overwrite; after an error of an [`OpenFile`] no later call on
//! it succeeds.

#[cfg(any(feature = "native", feature = "object-store"))]
pub mod hadoop_settings;
pub mod local;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(feature = "native")]
pub mod native;
#[cfg(feature = "object-store")]
pub mod object;
#[cfg(any(feature = "object-store", feature = "parquet"))]
pub(crate) mod spool;

use bytes::Bytes;
use millpond::BoxFuture;
use std::fmt;

/// The longest path: HDFS refuses longer ones (`MAX_PATH_LENGTH` of its NameNode is 8,000 characters).
pub const PATH_BYTES_MAX: usize = 8000;

/// A file system, as the sink uses it.
pub trait FileSystem: Send + Sync {
    /// Creates the file `path` and the directories above it.
    ///
    /// # Errors
    /// [`FaultKind::AlreadyExists`] if there is a file or directory of that name, open or closed.
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>>;

    /// Opens the closed file `path` to write at its end.
    ///
    /// # Errors
    /// [`FaultKind::LeaseHeld`] if another writer has it open, [`FaultKind::Unsupported`] where files cannot
    /// be appended to.
    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>>;

    /// Returns up to `length` bytes of the closed file `path` from `offset` on; fewer at its end.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    fn read<'a>(&'a self, path: &'a str, offset: u64, length: usize)
    -> FileSystemFuture<'a, Bytes>;

    /// Cuts the closed file `path` to its first `length` bytes, durably; it has at least those.
    ///
    /// # Errors
    /// [`FaultKind::Unsupported`], by default, where files cannot be cut.
    fn truncate<'a>(&'a self, path: &'a str, length: u64) -> FileSystemFuture<'a, ()> {
        let error = FileSystemError {
            kind: FaultKind::Unsupported,
            action: "truncate",
            path: path.to_owned(),
            reason: format!("to {length} bytes: this file system cannot do it"),
            hint: None,
        };
        Box::pin(async move { Err(error) })
    }

    /// Renames `from` to `to`, whose directory exists.
    ///
    /// # Errors
    /// [`FaultKind::AlreadyExists`] if there is a `to`, [`FaultKind::NotFound`] if `from` or the directory of
    /// `to` is missing.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()>;

    /// Returns what is at `path`, or `None`.
    ///
    /// # Errors
    /// The file system did not reply, or refused.
    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>>;

    /// Returns what the directory `path` has, itself not included; nothing if it is missing.
    ///
    /// # Errors
    /// The file system did not reply, or refused.
    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>>;

    /// Deletes a file or an empty directory, and returns whether there was one.
    ///
    /// # Errors
    /// It is not empty, or the file system refused.
    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool>;

    /// Creates the directory `path` and those above it, where they are missing.
    ///
    /// # Errors
    /// One of them is a file, or the file system refused.
    fn mkdirs<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, ()>;

    /// Takes the file `path` from the writer that has it open, and returns true once it is closed.
    ///
    /// False means that recovery has begun: on HDFS it takes a second, and minutes if the DataNode that was
    /// asked first has died, so the caller asks again later. A closed file has all bytes that its writer had
    /// confirmed by [`OpenFile::hsync`], and possibly some that it had only written.
    ///
    /// # Errors
    /// [`FaultKind::NotFound`], or the file system refused.
    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool>;

    /// Whether a call may consist of many requests, each within `hdfs.callTimeout`, as an upload does. The
    /// caller then sets no limit to the whole call.
    fn limits_its_requests(&self) -> bool {
        false
    }
}

/// A file that one writer has open. Dropped without [`OpenFile::close`] it stays open on the server.
pub trait OpenFile: Send {
    /// Writes `bytes` at the end. They are safe only after [`OpenFile::hsync`].
    ///
    /// # Errors
    /// They may be written in part; the file can no longer be used.
    fn write(&mut self, bytes: Bytes) -> FileSystemFuture<'_, ()>;

    /// Makes everything written so far durable at every replica, and visible to readers that open the file.
    ///
    /// # Errors
    /// It is not known what is durable; the file can no longer be used.
    fn hsync(&mut self) -> FileSystemFuture<'_, ()>;

    /// Closes the file; a second call does nothing.
    ///
    /// # Errors
    /// The file may still be open on the server: [`FileSystem::recover_lease`] closes it.
    fn close(&mut self) -> FileSystemFuture<'_, ()>;
}

/// A call of a file system under way.
pub type FileSystemFuture<'a, T> = BoxFuture<'a, Result<T, FileSystemError>>;

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Absolute path.
    pub path: String,
    /// Bytes; of an open file those that the server knows of. 0 for a directory.
    pub length: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Milliseconds since 1970 of the last change.
    pub modified_ms: u64,
}

/// Why a call of a file system failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} {path}: {reason}{}", hint_text(.hint))]
pub struct FileSystemError {
    /// What it means to the sink.
    pub kind: FaultKind,
    /// What was tried, as a verb: `create`, `rename`.
    pub action: &'static str,
    /// The path it was tried with.
    pub path: String,
    /// What the server or the system said, in one line.
    pub reason: String,
    /// What to do, where that is known.
    pub hint: Option<&'static str>,
}

/// Returns the text that follows the reason.
fn hint_text(hint: &Option<&'static str>) -> String {
    hint.map_or_else(String::new, |hint| format!("; {hint}"))
}

/// What a failed call means to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// There is a file or directory of that name.
    AlreadyExists,
    /// There is not a file or directory of that name.
    NotFound,
    /// No file can ever have this path here: it holds a `:`, or it is too long.
    InvalidPath,
    /// A part of the path is a file and not a directory.
    NotDirectory,
    /// The user may not do this.
    PermissionDenied,
    /// A quota of names or of bytes is reached, or the disks are full.
    QuotaExceeded,
    /// The server accepts no changes now: it is in safe mode.
    ReadOnly,
    /// The server does not reply, or there is not a server that could take the bytes.
    Unavailable,
    /// The call took longer than its limit.
    TimedOut,
    /// The servers that were writing an open file failed.
    Broken,
    /// Another writer has the file open, or it is being recovered.
    LeaseHeld,
    /// The server does not know who calls: ticket, key table or token.
    Unauthenticated,
    /// The settings are wrong.
    Misconfigured,
    /// This file system cannot do that.
    Unsupported,
    /// Anything else.
    Other,
}

impl FaultKind {
    /// Returns true if trying again with the same path cannot succeed, unless the file in its way is removed.
    pub fn is_final_for_path(self) -> bool {
        matches!(self, Self::InvalidPath | Self::NotDirectory)
    }

    /// Returns true if the server may have done what was asked: its reply was lost, or not understood.
    pub fn may_have_happened(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unavailable | Self::Broken | Self::Other)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::AlreadyExists => "already exists",
            Self::NotFound => "not found",
            Self::InvalidPath => "invalid path",
            Self::NotDirectory => "below a file",
            Self::PermissionDenied => "permission denied",
            Self::QuotaExceeded => "quota exceeded",
            Self::ReadOnly => "read-only",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed out",
            Self::Broken => "broken",
            Self::LeaseHeld => "open elsewhere",
            Self::Unauthenticated => "not authenticated",
            Self::Misconfigured => "misconfigured",
            Self::Unsupported => "unsupported",
            Self::Other => "failed",
        })
    }
}
