//! A directory, by its descriptor.

use super::file::{RealFile, refuse_change};
use super::lock;
use super::probe::{self, ProbeResult};
use crate::disk::{Access, Capabilities, Directory, Entry, File, Lock, LockError, Space};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An open directory.
#[derive(Debug)]
pub(super) struct RealDirectory {
    path: PathBuf,
    descriptor: Arc<OwnedFd>,
    found: Mutex<ProbeResult>,
    read_only: bool,
}

impl RealDirectory {
    pub(super) fn new(
        path: PathBuf,
        descriptor: OwnedFd,
        found: ProbeResult,
        read_only: bool,
    ) -> Self {
        Self { path, descriptor: Arc::new(descriptor), found: Mutex::new(found), read_only }
    }

    fn found(&self) -> MutexGuard<'_, ProbeResult> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Probes the storage again if that was not possible before.
    fn probe_again(&self) -> Capabilities {
        let found = self.found().clone();
        if found.is_settled {
            return found.capabilities;
        }
        // Not under the lock: otherwise a disk that hangs would block callers that only query.
        let again = probe::probe(&self.descriptor, &self.path);
        let capabilities = again.capabilities;
        *self.found() = again;
        capabilities
    }

    fn may_change(&self) -> io::Result<()> {
        if self.read_only { Err(refuse_change(&self.path)) } else { Ok(()) }
    }
}

impl Directory for RealDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let about = rustix::fs::fstat(&*self.descriptor)?;
        Ok((about.st_dev, about.st_ino))
    }

    fn capabilities(&self) -> Capabilities {
        self.found().capabilities
    }

    fn why_buffered(&self) -> Option<Arc<str>> {
        self.found().obstacle.clone()
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&*self.descriptor)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let about = match rustix::fs::statat(&*self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
            {
                Ok(about) => about,
                // Removed between the two calls by another process.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            // A link counts as its target, as when it is opened; one without a target is not a file.
            let about = match FileType::from_raw_mode(about.st_mode) {
                FileType::Symlink => {
                    rustix::fs::statat(&*self.descriptor, name, AtFlags::empty()).unwrap_or(about)
                }
                _ => about,
            };
            let kind = FileType::from_raw_mode(about.st_mode);
            let len =
                if kind.is_dir() { 0 } else { u64::try_from(about.st_size).unwrap_or_default() };
            entries.push(Entry {
                name: name.to_string_lossy().into_owned(),
                len,
                is_file: kind.is_file(),
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError> {
        let path = self.path.join(name);
        if let Err(source) = self.may_change() {
            return Err(LockError::Io { path, source });
        }
        Ok(Box::new(lock::acquire(&self.descriptor, name, path, &lock::RealKernel)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.may_change()?;
        let path = self.path.join(name);
        let direct = self.probe_again().direct;
        Ok(Arc::new(RealFile::create(&self.descriptor, name, path, direct)?))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access == Access::Write {
            self.may_change()?;
        }
        let path = self.path.join(name);
        let direct = self.found().capabilities.direct;
        Ok(Arc::new(RealFile::open(&self.descriptor, name, path, direct, access)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_change()?;
        Ok(rustix::fs::unlinkat(&*self.descriptor, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        self.may_change()?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(&*self.descriptor))?)
    }

    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>> {
        // A link counts as its target, as when it is opened.
        match rustix::fs::statat(&*self.descriptor, name, AtFlags::empty()) {
            Ok(about) => Ok(Some((about.st_dev, about.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        match rustix::fs::statat(CWD, &self.path, AtFlags::empty()) {
            Ok(about) => Ok((about.st_dev, about.st_ino) == self.identity()?),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn space(&self) -> io::Result<Space> {
        let about = rustix::fs::fstatvfs(&*self.descriptor)?;
        if about.f_blocks == 0 {
            // Some file systems in user space do not count their blocks: this does not mean full.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Space {
            // `f_bavail`, not `f_bfree`: blocks reserved for the superuser are not available.
            available_bytes: about.f_bavail.saturating_mul(about.f_frsize),
            total_bytes: about.f_blocks.saturating_mul(about.f_frsize),
        })
    }
}
