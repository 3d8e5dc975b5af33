//! The one door to storage.
//!
//! Everything the channel does to files goes through [`Disk`], [`Directory`] and [`File`]:
//! positional (no cursor), object-safe, complete (files, directories, locks, directory sync, free
//! space). [`real`] is the only module of the house that may name `std::fs` for the channel's
//! files, `O_DIRECT`, `memmap2` or `fs2`; [`sim`] is a disk in memory that crashes, tears, lies and
//! fills up on request.
//!
//! # What is durable when
//!
//! | call | when it returned Ok |
//! |---|---|
//! | [`File::write_at`], [`File::allocate`], [`Directory::create`], [`Directory::remove`] | visible to reads; nothing survives a power cut yet |
//! | [`File::sync`] | the file's bytes and length survive; its name need not |
//! | [`Directory::sync`] | the names in the directory survive |
//! | [`File::submit`] answered [`Submitted::Done`]`(Ok)`, or [`File::finish`] answered Ok | the written bytes survive, given that the file's length and name already did |
//!
//! A write or sync that failed may have reached the medium in part, also later. It is never
//! retried on the same bytes.

mod ledger;
pub mod memory;
pub mod real;
pub mod sim;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system, or several: where directories are opened.
pub trait Disk: Send + Sync {
    /// Opens the directory `path`; with `create`, makes it and its missing parents first, and
    /// makes the new names durable.
    ///
    /// # Errors
    /// The path is missing, is no directory, or cannot be made.
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>>;
}

/// What storage can do, found out by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Writes bypass the page cache and are durable when they complete (`O_DIRECT|O_DSYNC`).
    pub direct: bool,
    /// Writes that may be in flight on one file at once without one's error hiding in another's
    /// sync. 1 for buffered writes with a sync behind each.
    pub writes_in_flight_max: usize,
    /// Offsets, lengths and buffers of direct reads and writes are multiples of this, bytes.
    pub align_bytes: usize,
}

/// Whether `error` means that the process or the machine has no file descriptor left. It says nothing
/// of the disk.
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
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another channel of this process, has it.
    #[error("{path} is in use{by}", path = path.display(), by = holder.map(|p| format!(" by process {p}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Process id of the holder, if it can be told.
        holder: Option<u32>,
    },
    /// The lock file could not be made or locked.
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
    /// The lock file.
    fn path(&self) -> &Path;

    /// Makes sure that the name of the lock file still leads to the file that is locked. Where it does
    /// not, because somebody removed or replaced it, makes and locks it again: without that the next
    /// opener would lock another file and be let in.
    ///
    /// # Errors
    /// [`LockError::Held`]: somebody else has locked what the name leads to now, and may be writing.
    /// [`LockError::Io`]: the file system cannot tell, or the file cannot be made.
    fn renew(&self) -> Result<Renewed, LockError>;
}

/// What [`Lock::renew`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lock file is where it was.
    Kept,
    /// It was gone, and is made and locked again.
    Remade,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; nothing in the directory changes.
    Read,
    /// Reads, and writes that become durable by [`File::submit`] or [`File::sync`].
    Write,
}

/// A directory of the channel.
pub trait Directory: Send + Sync {
    /// Its path, for messages.
    fn path(&self) -> &Path;

    /// Identity of the directory: two paths with the same identity are the same directory.
    ///
    /// # Errors
    /// The directory is gone or unreadable.
    fn identity(&self) -> io::Result<(u64, u64)>;

    /// What its storage can do.
    fn capabilities(&self) -> Capabilities;

    /// Why it is written through the page cache although direct writes were tried, where that is known.
    fn why_buffered(&self) -> Option<Arc<str>> {
        None
    }

    /// Its entries, sorted by name.
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

    /// Makes an empty file; its name is durable after [`Directory::sync`].
    ///
    /// # Errors
    /// `AlreadyExists`, or the file cannot be made.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens the file `name`.
    ///
    /// # Errors
    /// `NotFound`, or the file cannot be opened that way.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Removes the file `name`; gone for good after [`Directory::sync`].
    ///
    /// # Errors
    /// `NotFound`, or the file cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals in the directory durable.
    ///
    /// # Errors
    /// The sync failed; what of it is durable is unknown.
    fn sync(&self) -> io::Result<()>;

    /// What the name `name` leads to now, as [`File::identity`] answers it; `None` where nothing has
    /// that name.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn identity_of(&self, name: &str) -> io::Result<Option<(u64, u64)>>;

    /// Whether the directory still has a file of this name. What was removed from outside stays
    /// writable for whoever has it open, so nothing else tells.
    ///
    /// # Errors
    /// As [`Directory::identity_of`].
    fn holds(&self, name: &str) -> io::Result<bool> {
        Ok(self.identity_of(name)?.is_some())
    }

    /// Whether [`Directory::path`] still leads to this directory. One that was unmounted or moved away
    /// stays as usable as before for whoever has it open.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn is_at_its_path(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Free space around the directory.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn space(&self) -> io::Result<Space>;
}

/// What became of a submitted write.
#[derive(Debug)]
pub enum Submitted {
    /// It has ended: durable, or failed.
    Done(io::Result<()>),
    /// It is in flight; [`File::finish`] ends it.
    Pending(WriteToken),
}

/// Names a write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteToken(pub u64);

/// A file of the channel.
pub trait File: Send + Sync {
    /// Its path, for messages.
    fn path(&self) -> &Path;

    /// Its length, bytes.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn len(&self) -> io::Result<u64>;

    /// Its length, bytes, or `None` when no name leads to it any more: it can still be read and
    /// written, and is gone for good when it is closed.
    ///
    /// # Errors
    /// As [`File::len`].
    fn named_len(&self) -> io::Result<Option<u64>>;

    /// Identity of the file: two names with the same identity lead to the same file.
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

    /// Reads into `buffer` from `offset` and answers how many bytes there were before the end of
    /// the file; short only at the end.
    ///
    /// Reads the medium itself when storage can and `offset`, length and address of `buffer` are
    /// aligned; else through the page cache.
    ///
    /// # Errors
    /// The read failed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes without durability, extending the file when needed. Any alignment.
    ///
    /// # Errors
    /// The write failed, in part or whole.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Lengthens the file to `len` bytes, zeroes, and sets space aside for all of it without writing
    /// it; durable after [`File::sync`]. Answers false, and has changed nothing, where the file
    /// system knows no such thing.
    ///
    /// # Errors
    /// There is not that much space, or the file system failed; the file may have grown.
    fn allocate(&self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Gives the space behind the first `len` bytes back, of a file that no name leads to any more and that
    /// nobody reads: closing it gives back the rest at once, for which a file system may let every
    /// write wait.
    ///
    /// # Errors
    /// The file system failed; closing the file does it all the same.
    fn shorten(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The sync failed; what of it is durable is unknown, and syncing again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Submits a durable write inside the file's present length. `offset`, length and address of
    /// `bytes` are multiples of [`Capabilities::align_bytes`]. A real disk has ended the write
    /// when this returns; a simulated one may answer [`Submitted::Pending`].
    fn submit(&self, offset: u64, bytes: &[u8]) -> Submitted;

    /// Ends a pending write.
    ///
    /// # Errors
    /// The write failed.
    fn finish(&self, token: WriteToken) -> io::Result<()>;

    /// A durable write, submitted and ended.
    ///
    /// # Errors
    /// The write failed; what of it is durable is unknown.
    fn write_durable(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.submit(offset, bytes) {
            Submitted::Done(result) => result,
            Submitted::Pending(token) => self.finish(token),
        }
    }
}
