//! The machine's file systems.
//!
//! # Limits
//!
//! - Direct writes are aligned to [`DEVICE_BLOCK_BYTES`]; devices with a larger logical block are
//!   written through the page cache.
//! - [`WRITES_IN_FLIGHT_MAX`] writes in flight on a file with direct writes, one without.
//!
//! # Operation
//!
//! A directory is opened once and kept open: every later call names files relative to that descriptor, so a directory
//! that is renamed, or that another file system is mounted over, stays the one that was locked. The opening probes the
//! storage (`probe`): where a direct, synchronous write works, every commit uses it, because its completion is
//! durability and its error is returned by that very call. Elsewhere (tmpfs, file systems on a network or a user-space
//! server) bytes go through the page cache and each write is followed by its own sync. This is also done where a direct
//! write would succeed but is known to be buffered (`storage`). A directory that cannot be probed because its disk is
//! full is probed again when a file is created there.
//!
//! # Invariants
//!
//! - A file is synced through the descriptor that wrote it, opened before the write: the kernel
//!   reports a write-back error once per open file description, and never to one opened later
//!   if it was reported before. So where writes are buffered there is one in flight on a
//!   descriptor: of two, one's sync would take the error of the other.
//! - A file whose sync failed once fails every later sync and submit. The kernel marks the pages
//!   clean after a failed write-back, so the next sync would succeed with the bytes gone.
//! - The lock file is opened once per process. Closing any descriptor of it would drop the POSIX
//!   lock.

// This folder is the implementation of the storage traits: the only place that may use the file system.
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

use super::{Directory, Disk};
#[allow(unused_imports)] // named in the module's doc
use crate::base::limits::WRITES_IN_FLIGHT_MAX;
use directory::RealDirectory;
use file::refuse_change;
pub use lock::{LockHolder, lock_holder};
use probe::ProbeResult;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(doc)]
use crate::base::limits::DEVICE_BLOCK_BYTES;

/// The mode of a [`RealDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskMode {
    /// Probes the storage with a file of its own.
    Probe,
    /// Always through the page cache.
    Buffered,
    /// Changes nothing: no probe, no creation, no lock.
    ReadOnly,
}

/// The machine's file systems, as [`Disk`].
#[derive(Clone, Copy, Debug)]
pub struct RealDisk {
    manner: DiskMode,
}

impl RealDisk {
    /// Returns a disk that uses the best write method of each directory's storage.
    #[must_use]
    pub fn new() -> Self {
        Self { manner: DiskMode::Probe }
    }

    /// Returns a disk that writes through the page cache and syncs, even where direct writes would work.
    #[must_use]
    pub fn buffered() -> Self {
        Self { manner: DiskMode::Buffered }
    }

    /// Returns a disk that never changes anything, to read a directory that another process writes.
    #[must_use]
    pub fn read_only() -> Self {
        Self { manner: DiskMode::ReadOnly }
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
            if self.manner == DiskMode::ReadOnly {
                return Err(refuse_change(path));
            }
            create_chain(path)?;
        }
        let descriptor = open_directory(path)?;
        let found = match self.manner {
            DiskMode::Probe => probe::probe(&descriptor, path),
            DiskMode::Buffered | DiskMode::ReadOnly => ProbeResult::BUFFERED,
        };
        let read_only = self.manner == DiskMode::ReadOnly;
        Ok(Arc::new(RealDirectory::new(path.to_owned(), descriptor, found, read_only)))
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?)
}

/// Makes `path` and its missing parents, outermost first, and syncs the parent of each new name before the next is
/// made. So after a crash only the innermost existing one can have a name that is not durable yet, and syncing its
/// parent again closes the gap.
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
    // The name existed already: its sync is not required, as its parent may be inaccessible to us (a mount point's
    // parent often is).
    if let Err(error) = sync_around(innermost) {
        tracing::debug!(path = %innermost.display(), %error, "cannot sync the directory around");
    }
    for name in missing.iter().rev() {
        match std::fs::create_dir(name) {
            Ok(()) => {}
            // Another process was faster, or a file is in the way: opening it will show.
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
