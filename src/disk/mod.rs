//! The only access to storage.
//!
//! Everything the channel does to files goes through [`Disk`], [`Directory`] and [`File`]: positional (no cursor),
//! object-safe, complete (files, directories, locks, directory sync, free space). [`real`] is the only module that may
//! name `std::fs` for the channel's files, `O_DIRECT`, `memmap2` or `fs2`; `crates/sim` has a disk in memory that crashes,
//! tears, lies and fills up on request.
//!
//! # What is durable when
//!
//! | call | when it returned Ok |
//! |---|---|
//! | [`File::write_at`], [`File::allocate`], [`Directory::create`], [`Directory::remove`] | visible to reads; nothing survives a power cut yet |
//! | [`File::sync`] | the file's bytes and length survive; its name need not |
//! | [`Directory::sync`] | the names in the directory survive |
//! | [`File::submit`] returned [`Submitted::Done`]`(Ok)`, or [`File::finish`] returned Ok | the written bytes survive, if the file's length and name already did |
//!
//! A write or sync that failed may have reached the medium in part, also later. It is never retried on the same bytes.

mod ledger;
pub mod memory;
pub mod real;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mode of a new file that may hold event bodies or quote events: for its owner and group only. The umask may remove
/// permissions and never adds any.
pub const EVENT_FILE_MODE: u32 = 0o640;

/// One or more file systems: opens directories.
pub trait Disk: Send + Sync {
    /// Opens the directory `path`; with `create`, makes it and its missing parents first, and makes the new names
    /// durable.
    ///
    /// # Errors
    /// The path is missing, is not a directory, or cannot be made.
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>>;
}

/// The capabilities of storage, found out by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Writes bypass the page cache and are durable when they complete (`O_DIRECT|O_DSYNC`).
    pub direct: bool,
    /// Writes that may be in flight on one file at once without the error of one being reported to another's sync. 1
    /// for buffered writes, each followed by a sync.
    pub writes_in_flight_max: usize,
    /// Offsets, lengths and buffers of direct reads and writes are multiples of this, bytes.
    pub align_bytes: usize,
}

/// Whether `error` means that the process or the machine has no file descriptor left, which says nothing about the
/// disk.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(libc::EMFILE) || number == Some(libc::ENFILE)
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without the directory.
    pub name: String,
    /// Length of the file, bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// Free space of the file system that holds a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still allocate.
    pub available_bytes: u64,
    /// Bytes in total.
    pub total_bytes: u64,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Held by another process, or by another channel of this process.
    #[error("{path} is in use{by}", path = path.display(), by = holder.map(|p| format!(" by process {p}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Process id of the holder, if it is known.
        holder: Option<u32>,
    },
    /// The lock file could not be created or locked.
    #[error("cannot lock {path}: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A held lock; dropping it unlocks.
pub trait Lock: Send + Sync {
    /// Returns the path of the lock file.
    fn path(&self) -> &Path;

    /// Makes sure that the name of the lock file still leads to the locked file. If not, because the file was removed
    /// or replaced, creates and locks it again: otherwise the next opener would lock another file and be let in.
    ///
    /// # Errors
    /// [`LockError::Held`]: another process has locked the file that has the name now, and may be writing.
    /// [`LockError::Io`]: the file system failed, or the file cannot be created.
    fn renew(&self) -> Result<Renewed, LockError>;
}

/// The result of [`Lock::renew`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lock file is where it was.
    Kept,
    /// It was missing, and was created and locked again.
    Remade,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; nothing in the directory is changed.
    Read,
    /// Reads, and writes that become durable by [`File::submit`] or [`File::sync`].
    Write,
}

/// A directory of the channel.
pub trait Directory: Send + Sync {
    /// Returns its path, for messages.
    fn path(&self) -> &Path;

    /// Returns the identity of the directory: two paths with the same identity are the same directory.
    ///
    /// # Errors
    /// The directory is gone or unreadable.
    fn identity(&self) -> io::Result<(u64, u64)>;

    /// Returns what its storage can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns why it is written through the page cache although direct writes were tried, if that is known.
    fn why_buffered(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns its entries, sorted by name.
    ///
    /// # Errors
    /// The directory is gone or unreadable.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Locks the directory through the lock file `name`, against other processes (Java Flume's
    /// and ours) and against this process; does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] or [`LockError::Io`].
    fn lock(&self, name: &str) -> Result<Box<dyn Lock>, LockError>;

    /// Creates an empty file; its name is durable after [`Directory::sync`].
    ///
    /// # Errors
    /// `AlreadyExists`, or the file cannot be created.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens the file `name`.
    ///
    /// # Errors
    /// `NotFound`, or the file cannot be opened that way.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Removes the file `name`, durably after [`Directory::sync`].
    ///
    /// # Errors
    /// `NotFound`, or the file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals in the directory durable.
    ///
    /// # Errors
    /// The sync failed; which part of it is durable is unknown.
    fn sync(&self) -> io::Result<()>;

    /// Returns the identity of the file that has the name `name` now, as [`File::identity`] does; `None` if there is
    /// none.
    ///
    /// # Errors
    /// The file system failed.
    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>>;

    /// Whether the directory still has a file of this name. A file removed from outside stays writable through open
    /// descriptors, so nothing else shows it.
    ///
    /// # Errors
    /// As [`Directory::identity_of`].
    fn holds(&self, name: &str) -> io::Result<bool> {
        Ok(self.identity_of(name)?.is_some())
    }

    /// Whether [`Directory::path`] still leads to this directory. A directory that was unmounted or moved away stays
    /// usable through its descriptor.
    ///
    /// # Errors
    /// The file system failed.
    fn is_at_its_path(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Returns the free space of the directory's file system.
    ///
    /// # Errors
    /// The file system failed.
    fn space(&self) -> io::Result<Space>;
}

/// The state of a submitted write.
#[derive(Debug)]
pub enum Submitted {
    /// It has ended: durable, or failed.
    Done(io::Result<()>),
    /// It is in flight; [`File::finish`] ends it.
    Pending(WriteToken),
}

/// The id of a write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteToken(pub u64);

/// A file of the channel.
pub trait File: Send + Sync {
    /// Returns its path, for messages.
    fn path(&self) -> &Path;

    /// Returns its length in bytes.
    ///
    /// # Errors
    /// The file system failed.
    fn len(&self) -> io::Result<u64>;

    /// Returns its length in bytes, or `None` if it has no name any more: it can still be read and written, and is lost
    /// when it is closed.
    ///
    /// # Errors
    /// As [`File::len`].
    fn named_len(&self) -> io::Result<Option<u64>>;

    /// Returns the identity of the file: two names with the same identity lead to the same file.
    ///
    /// # Errors
    /// As [`File::len`].
    fn identity(&self) -> io::Result<(u64, u64)>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into `buffer` from `offset` and returns how many bytes there were before the end of the file; short only
    /// at the end.
    ///
    /// Reads the medium itself if the storage can and `offset`, length and address of `buffer` are aligned; otherwise
    /// through the page cache.
    ///
    /// # Errors
    /// The read failed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes without durability, extending the file when needed. Any alignment.
    ///
    /// # Errors
    /// The write failed, in part or completely.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Extends the file to `len` bytes of zeroes and allocates all of that space without writing it; durable after
    /// [`File::sync`]. Returns false, and has changed nothing, if the file system cannot do this.
    ///
    /// # Errors
    /// There is not that much space, or the file system failed; the file may have grown.
    fn allocate(&self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Frees the space after the first `len` bytes of a file that has no name any more and is not read. Closing it
    /// would free the whole rest at once, during which a file system may block every write.
    ///
    /// # Errors
    /// The file system failed; closing the file frees the space in any case.
    fn shorten(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The sync failed; which part of it is durable is unknown, and another sync proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Submits a durable write inside the file's present length. `offset`, length and address of `bytes` are multiples
    /// of [`Capabilities::align_bytes`]. On a real disk the write has ended when this returns; a simulated one may
    /// return [`Submitted::Pending`].
    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted;

    /// Ends a pending write and returns its result.
    ///
    /// # Errors
    /// The write failed.
    fn finish(&self, token: WriteToken) -> io::Result<()>;

    /// Submits a durable write and waits until it ends.
    ///
    /// # Errors
    /// The write failed; which part of it is durable is unknown.
    fn write_durable(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.submit(offset, bytes) {
            Submitted::Done(result) => result,
            Submitted::Pending(token) => self.finish(token),
        }
    }
}
