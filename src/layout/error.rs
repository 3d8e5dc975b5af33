//! Errors of the files of a channel.

use crate::base::fault_cause::{FaultCause, FaultPlace};
use crate::disk::is_out_of_descriptors;
use crate::record::DecodeError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file of a channel could not be read, created, written or removed. An opening adds what to
/// do (`RecoveryError::File`); a running channel keeps the file and tries another, or suspends the
/// stripe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file cannot be opened or read, tried twice. It is neither a tear nor damage.
    #[error("cannot read {path} at offset {offset}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Offset, bytes.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// The process or the machine has no file descriptor left. The disk is not the cause.
    #[error("{path} cannot be opened: {source}", path = path.display())]
    Descriptors {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file, its space or its name cannot be made durable.
    #[error("cannot create {path}: {source}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written or synced. What reached the disk is unknown.
    #[error("cannot write {path} at offset {offset}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Offset, bytes.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be removed, or its removal not be made durable.
    #[error("cannot remove {path}: {source}", path = path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A newer millpond wrote the file.
    #[error("{path} has format version {found}, this build reads up to {known}", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// A record does not fit its place: a limit is lower in this build.
    #[error("the record for {path} does not fit: {source}", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: DecodeError,
    },
    /// A directory holds as many quarantined bytes as it may.
    #[error("{path} holds as much quarantine as it may", path = path.display())]
    QuarantineFull {
        /// The directory.
        path: PathBuf,
    },
    /// No memory for reading or writing.
    #[error("no memory for {bytes} bytes of read buffer: {source}")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// The cause.
        source: io::Error,
    },
}

impl LayoutError {
    /// Returns the error of a file that could not be opened, or not be read from `offset` on.
    pub(crate) fn read(path: PathBuf, offset: u64, source: io::Error) -> Self {
        match is_out_of_descriptors(&source) {
            true => Self::Descriptors { path, source },
            false => Self::Read { path, offset, source },
        }
    }

    /// Returns the file or directory, if the error is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::Descriptors { path, .. }
            | Self::Create { path, .. }
            | Self::Write { path, .. }
            | Self::Remove { path, .. }
            | Self::Newer { path, .. }
            | Self::TooLarge { path, .. }
            | Self::QuarantineFull { path } => Some(path),
            Self::Memory { .. } => None,
        }
    }

    /// Returns the offset in the file, bytes, if the error is about one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Read { offset, .. } | Self::Write { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// Returns whether a disk or the operating system is the cause, which may change by itself; the
    /// other causes are in the file, and stay.
    #[must_use]
    pub fn is_of_storage(&self) -> bool {
        !matches!(self, Self::Newer { .. } | Self::TooLarge { .. })
    }

    /// Returns the cause of a failure of a running channel in `place`, which the error completes
    /// with file and offset.
    #[must_use]
    pub(crate) fn into_fault(self, place: impl Into<FaultPlace>) -> FaultCause {
        let mut place = place.into();
        if let Some(path) = self.path() {
            place = place.at_path(path);
        }
        if let Some(offset) = self.offset() {
            place = place.at_offset(offset);
        }
        FaultCause::from_error(place, self)
    }

    /// Returns whether the disk refused to store something.
    pub(crate) fn is_unwritable(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Write { .. } | Self::Remove { .. })
    }
}
