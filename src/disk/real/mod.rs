//! The machine's file systems.
//!
//! # Limits
//!
//! - Direct writes are aligned to [`DEVICE_BLOCK_BYTES`]; devices with a larger logical block are
//!   written through the page cache.
//! - [`WRITES_IN_FLIGHT_MAX`] writes in flight on a file with direct writes, one without.
//!
//! # Story
//!
//! A directory is opened once and kept: every later call names files relative to that descriptor,
//! so a directory that is renamed, or that another file system is mounted over, stays the one
//! that was locked. At opening the storage is tried out (`probe`): where a direct, synchronous
//! write works it is the way of every commit, because its completion is durability and its error
//! comes back from the very call. Elsewhere (tmpfs, file systems behind a network or a user-space
//! server) bytes go through the page cache and each write is followed by its own sync. So they do
//! where a direct write would succeed but is known to be buffered (`storage`). A directory that
//! cannot be tried because its disk is full is tried again when a file is made there.
//!
//! # Invariants
//!
//! - A file is synced through the descriptor that wrote it, opened before the write: the kernel
//!   reports a write-back error once per open file description, and never to one opened later
//!   if somebody saw it before. So where writes are buffered there is one in flight on a
//!   descriptor: of two, one's sync would take the error of the other.
//! - A file whose sync failed once fails every later sync and submit. The kernel marks the pages
//!   clean after a failed write-back, so the next sync would succeed with the bytes gone.
//! - The lock file is opened once per process. Closing any descriptor of it would drop the POSIX
//!   lock.

// This folder is the storage door of the house: the one place that may reach the file system.
#![allow(clippy::disallowed_methods)]

mod directory;
mod file;
mod lock;
#[cfg(test)]
mod lock_tests;
mod probe;
mod storage;
#[cfg(test)]
mod storage_tests;
#[cfg(test)]
mod tests;

use super::{Capabilities, Directory, Disk};
use crate::base::limits::DEVICE_BLOCK_BYTES;
#[allow(unused_imports)] // named by the module's text
use crate::base::limits::WRITES_IN_FLIGHT_MAX;
use directory::RealDirectory;
pub use lock::{LockHolder, lock_holder};
use probe::Found;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far a [`RealDisk`] may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Finds out what the storage can do, by a file of its own.
    Probe,
    /// Always through the page cache.
    Buffered,
    /// Changes nothing: no probe, no creation, no lock.
    ReadOnly,
}

/// The machine's file systems, as [`Disk`].
#[derive(Clone, Copy, Debug)]
pub struct RealDisk {
    manner: Manner,
}

impl RealDisk {
    /// A disk that uses the best way of writing that each directory's storage offers.
    #[must_use]
    pub fn new() -> Self {
        Self { manner: Manner::Probe }
    }

    /// A disk that writes through the page cache and syncs, also where direct writes would work.
    #[must_use]
    pub fn buffered() -> Self {
        Self { manner: Manner::Buffered }
    }

    /// A disk that never changes anything, to look at a directory that another process writes.
    #[must_use]
    pub fn read_only() -> Self {
        Self { manner: Manner::ReadOnly }
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for RealDisk {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        if create {
            if self.manner == Manner::ReadOnly {
                return Err(refuse_change(path));
            }
            create_chain(path)?;
        }
        let descriptor = open_directory(path)?;
        let found = match self.manner {
            Manner::Probe => probe::probe(&descriptor, path),
            Manner::Buffered | Manner::ReadOnly => Found::BUFFERED,
        };
        let read_only = self.manner == Manner::ReadOnly;
        Ok(Arc::new(RealDirectory::new(path.to_owned(), descriptor, found, read_only)))
    }
}

/// Writes through the page cache, one at a time.
const BUFFERED: Capabilities =
    Capabilities { direct: false, writes_in_flight_max: 1, align_bytes: DEVICE_BLOCK_BYTES };

/// The error of a change asked of something opened for reading.
fn refuse_change(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        format!("{} is opened for reading only", path.display()),
    )
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?)
}

/// Makes `path` and its missing parents, outermost first, and syncs the directory around each new
/// name before the next is made. So after a crash only the innermost one that is there can have
/// a name that is not durable yet, and syncing around that one again closes the gap.
fn create_chain(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut innermost = path.as_path();
    while !innermost.is_dir() {
        missing.push(innermost.to_owned());
        match innermost.parent() {
            Some(parent) => innermost = parent,
            None => break,
        }
    }
    // The name of what was there already: not ours to insist on, the directory around it may be
    // closed to us (a mount point's parent often is).
    if let Err(error) = sync_around(innermost) {
        tracing::debug!(path = %innermost.display(), %error, "cannot sync the directory around");
    }
    for name in missing.iter().rev() {
        match std::fs::create_dir(name) {
            Ok(()) => {}
            // Somebody else was faster, or a file is in the way: opening it will tell.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_around(name)?;
    }
    Ok(())
}

/// Syncs the directory that holds the name `path`.
fn sync_around(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => {
            let descriptor = open_directory(parent)?;
            Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(&descriptor))?)
        }
        None => Ok(()),
    }
}
