//! A file: a plain descriptor, and a direct one in addition where the storage allows.
//!
//! # How the two descriptors agree
//!
//! [`File::write_at`] leaves bytes in the page cache; direct reads and writes bypass it. The kernel keeps them coherent
//! for one caller at a time (a direct read writes dirty pages back first, a direct write drops the cached ones), but
//! not against a concurrent plain write of the same bytes. So the engine keeps an order: a file is filled through the
//! plain descriptor and synced once, and only then written and read directly. After that sync no dirty page is left
//! that a late write-back could put over a newer direct write.

use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::disk::EVENT_FILE_MODE;
use crate::disk::{Access, File, Submitted, WriteToken};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Returns the error for a change of something opened for reading.
pub(super) fn refuse_change(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        format!("{} is opened for reading only", path.display()),
    )
}

/// How a descriptor is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenMode {
    /// A new file, reads and writes through the page cache.
    Create,
    /// A new file, reads and writes at the device.
    DirectCreate,
    /// Reads through the page cache.
    Read,
    /// Reads and writes through the page cache.
    Write,
    /// Reads from the device.
    DirectRead,
    /// Reads and writes at the device, a write durable when it completes.
    DirectWrite,
}

/// `O_DSYNC` alone. `rustix` calls `O_SYNC` by that name, and `O_SYNC` also commits the file's
/// times with every write: a journal commit each.
const DSYNC: OFlags = OFlags::from_bits_retain(libc::O_DSYNC.cast_unsigned());

/// Opens `name` in `directory`.
pub(super) fn open_at(directory: impl AsFd, name: &str, way: OpenMode) -> io::Result<OwnedFd> {
    let flags = match way {
        OpenMode::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        OpenMode::DirectCreate => {
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::DIRECT | DSYNC
        }
        // A pipe in the place of a file would block the open forever.
        OpenMode::Read => OFlags::RDONLY | OFlags::NONBLOCK,
        OpenMode::Write => OFlags::RDWR | OFlags::NONBLOCK,
        OpenMode::DirectRead => OFlags::RDONLY | OFlags::DIRECT,
        OpenMode::DirectWrite => OFlags::RDWR | OFlags::DIRECT | DSYNC,
    } | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(EVENT_FILE_MODE);
    Ok(rustix::io::retry_on_intr(|| rustix::fs::openat(directory.as_fd(), name, flags, mode))?)
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "directory",
        FileType::Fifo => "named pipe",
        _ => "device or socket",
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct RealFile {
    path: PathBuf,
    plain: OwnedFd,
    direct: Option<OwnedFd>,
    writable: bool,
    /// The first failed sync. Held while a sync, or a write with its sync, runs: otherwise a concurrent sync would get
    /// the error of our write, and ours would return Ok.
    failed: Mutex<Option<FailedSync>>,
}

/// The state after a failed sync.
#[derive(Clone, Debug)]
struct FailedSync {
    kind: io::ErrorKind,
    message: String,
}

impl RealFile {
    /// Creates an empty file.
    pub(super) fn create(
        directory: &OwnedFd,
        name: &str,
        path: PathBuf,
        direct: bool,
    ) -> io::Result<Self> {
        let plain = open_at(directory, name, OpenMode::Create)?;
        Self::with_direct(
            directory,
            name,
            path,
            plain,
            direct.then_some(OpenMode::DirectWrite),
            true,
        )
    }

    /// Opens an existing file.
    pub(super) fn open(
        directory: &OwnedFd,
        name: &str,
        path: PathBuf,
        direct: bool,
        access: Access,
    ) -> io::Result<Self> {
        let (way, direct_way) = match access {
            Access::Read => (OpenMode::Read, OpenMode::DirectRead),
            Access::Write => (OpenMode::Write, OpenMode::DirectWrite),
        };
        let plain = open_at(directory, name, way)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&plain)?.st_mode);
        if !kind.is_file() {
            let words =
                format!("the place of the file is taken by a {}; move it away", name_of(kind));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let direct_way = direct.then_some(direct_way);
        Self::with_direct(directory, name, path, plain, direct_way, access == Access::Write)
    }

    /// Opens the direct descriptor in addition to the plain one and checks that both are the same file.
    fn with_direct(
        directory: &OwnedFd,
        name: &str,
        path: PathBuf,
        plain: OwnedFd,
        way: Option<OpenMode>,
        writable: bool,
    ) -> io::Result<Self> {
        let direct = match way {
            Some(way) => {
                let direct = open_at(directory, name, way)?;
                let (one, other) = (rustix::fs::fstat(&plain)?, rustix::fs::fstat(&direct)?);
                if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
                    return Err(io::Error::other("the file was replaced while it was opened"));
                }
                Some(direct)
            }
            None => None,
        };
        Ok(Self { path, plain, direct, writable, failed: Mutex::new(None) })
    }

    fn may_write(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(refuse_change(&self.path)) }
    }

    /// Takes the right to sync, unless a sync has failed before.
    fn sync_right(&self) -> io::Result<MutexGuard<'_, Option<FailedSync>>> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some(FailedSync { kind, message }) => Err(io::Error::new(
                *kind,
                format!("an earlier sync of this file failed ({message}); open it again"),
            )),
            None => Ok(failed),
        }
    }

    /// Puts the file into the state after a failure of the device.
    #[cfg(test)]
    pub(super) fn fail_with(&self, error: rustix::io::Errno) {
        let mut failed = self.sync_right().expect("no failure yet");
        remember(&mut failed, Err(error)).expect_err("an error");
    }

    fn write_buffered(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut failed = self.sync_right()?;
        write_all(offset, bytes, 1, |bytes, at| rustix::io::pwrite(&self.plain, bytes, at))?;
        remember(&mut failed, rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&self.plain)))
    }
}

/// Stores the error of a failed sync for every later caller.
fn remember(failed: &mut Option<FailedSync>, result: rustix::io::Result<()>) -> io::Result<()> {
    result.map_err(|error| {
        let error = io::Error::from(error);
        *failed = Some(FailedSync { kind: error.kind(), message: error.to_string() });
        error
    })
}

/// Writes all of `bytes`, continuing after interruptions and short writes. A direct write continues only at a multiple
/// of `align`.
pub(super) fn write_all(
    offset: u64,
    bytes: &[u8],
    align: usize,
    mut pwrite: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done as u64;
        let written = rustix::io::retry_on_intr(|| pwrite(&bytes[done..], at))?;
        if written == 0 || !written.is_multiple_of(align) {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("the device took {written} of {} bytes at {at}", bytes.len() - done),
            ));
        }
        done += written;
    }
    Ok(())
}

/// Fills `buffer`, continuing after interruptions and short reads, and returns how many bytes there were before the end
/// of the file.
pub(super) fn read_all(
    offset: u64,
    buffer: &mut [u8],
    mut pread: impl FnMut(&mut [u8], u64) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match rustix::io::retry_on_intr(|| pread(&mut buffer[done..], at))? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Whether a direct transfer may start at `offset` with `bytes`.
fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(DEVICE_BLOCK_BYTES as u64)
        && bytes.len().is_multiple_of(DEVICE_BLOCK_BYTES)
        && bytes.as_ptr().addr().is_multiple_of(DEVICE_BLOCK_BYTES)
}

impl File for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> io::Result<u64> {
        let about = rustix::fs::fstat(&self.plain)?;
        Ok(u64::try_from(about.st_size).unwrap_or_default())
    }

    fn named_len(&self) -> io::Result<Option<u64>> {
        let about = rustix::fs::fstat(&self.plain)?;
        let len = u64::try_from(about.st_size).unwrap_or_default();
        Ok((about.st_nlink > 0).then_some(len))
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let about = rustix::fs::fstat(&self.plain)?;
        Ok((about.st_dev, about.st_ino))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_all(offset, buffer, |rest, at| {
            // A direct read that ended short did so at the end of the file, where the rest is no
            // longer aligned; the plain descriptor confirms the end.
            let from = match &self.direct {
                Some(direct) if is_aligned(at, rest) => direct,
                _ => &self.plain,
            };
            rustix::io::pread(from, rest, at)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.may_write()?;
        write_all(offset, bytes, 1, |bytes, at| rustix::io::pwrite(&self.plain, bytes, at))
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        self.may_write()?;
        let all = || fallocate(&self.plain, FallocateFlags::empty(), 0, len);
        match rustix::io::retry_on_intr(all) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn shorten(&self, len: u64) -> io::Result<()> {
        self.may_write()?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&self.plain, len))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.may_write()?;
        let mut failed = self.sync_right()?;
        remember(&mut failed, rustix::io::retry_on_intr(|| rustix::fs::fsync(&self.plain)))?;
        if self.direct.is_some() {
            // The next writes are direct: each would have to drop the cached pages of its place. Advice only; a kernel
            // that ignores it is just slower.
            let _ = rustix::fs::fadvise(&self.plain, 0, None, rustix::fs::Advice::DontNeed);
        }
        Ok(())
    }

    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted {
        assert!(is_aligned(offset, bytes), "a submitted write is aligned to device blocks");
        if let Err(error) = self.may_write() {
            return Submitted::Done(Err(error));
        }
        Submitted::Done(match &self.direct {
            Some(direct) => write_all(offset, bytes, DEVICE_BLOCK_BYTES, |bytes, at| {
                rustix::io::pwrite(direct, bytes, at)
            }),
            None => self.write_buffered(offset, bytes),
        })
    }

    fn finish(&self, token: WriteToken) -> io::Result<()> {
        // A write has ended when `submit` returns, so there is no token of this file.
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no write {} is in flight on {}", token.0, self.path.display()),
        ))
    }
}
