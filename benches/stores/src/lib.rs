//! The stores that the league table and the side-by-side benchmark work with, each with the same three calls: put a
//! transaction, take one, close.
//!
//! An adapter uses the strictest setting of its store, for speed one in which a commit is durable when it returns, and
//! does nothing for it that a careful user would not: no retries, no checksums, no syncs of its own. [`STORES`] says
//! which setting that is and what the store's own documents do not promise. Several threads may put and take
//! concurrently, as far as the store allows.

mod fjall;
mod floor;
pub mod flume;
mod keys;
mod millpond;
mod mrecordlog;
mod okaywal;
mod raft_engine;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod segments;
mod sqlite;
mod versions;
mod yaque;

pub use bytes::Bytes;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
pub use versions::version;

/// The cause of a failure, as text.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Called with the body of each event that a take delivers.
pub type Deliver<'a> = dyn FnMut(&[u8]) + 'a;

/// A queue on disk.
pub trait Store: Send + Sync {
    /// Puts one transaction. Returns once the store reports it durable. `lane` is below [`Setup::lanes`]; one lane is
    /// used by one thread at a time.
    ///
    /// # Errors
    /// In doubt: the events may be there or not.
    fn put(&self, lane: usize, bodies: &[Bytes]) -> Result<(), Failure>;

    /// Takes up to `most` events from the front: passes them to `deliver`, then removes them for good. Returns the
    /// number delivered; 0: nothing is waiting.
    ///
    /// # Errors
    /// In doubt: they may come again or not.
    fn take(&self, lane: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure>;

    /// Returns how many events the store itself counts as damaged.
    fn damaged(&self) -> u64 {
        0
    }

    /// Waits for background work after an opening, before a measurement.
    fn settle(&self) {}

    /// Closes the store cleanly.
    ///
    /// # Errors
    /// The error of the store.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The existing directories, at least one; stores that use only one take the first.
    pub dirs: Vec<PathBuf>,
    /// Threads that put, and threads that take, concurrently; at least 1.
    pub lanes: usize,
    /// The planned measurement of speed: files are made beforehand where a store can, bodies are not compressed.
    /// `None`: small files, for faults.
    pub flow: Option<Flow>,
}

impl Setup {
    /// Returns a setup of one thread and small files in `dir`.
    #[must_use]
    pub fn small(dir: &Path) -> Self {
        Self { dirs: vec![dir.to_owned()], lanes: 1, flow: None }
    }

    fn dir(&self) -> &Path {
        self.dirs.first().map_or(Path::new("."), PathBuf::as_path)
    }
}

/// A planned measurement.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Most bytes for which files are to be made beforehand.
    pub ready_bytes: u64,
    /// Bytes of waiting events that a taker is to find in memory.
    pub hot_bytes: u64,
    /// Whether there are takers, which need to find out soon that nothing is left.
    pub takers: bool,
}

/// A store in the tables.
#[derive(Debug)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its settings for the league.
    pub faults: &'static str,
    /// Its settings for a measurement of speed; empty: it is not measured.
    pub speed: &'static str,
    /// What its own documents do not promise, or what the adapter had to add to make it a queue.
    pub remark: &'static str,
    /// Whether it can use several directories.
    pub stripes: bool,
    /// Whether events can be taken from it.
    pub takes: bool,
}

/// The name of Flume's file channel, which runs in a virtual machine of its own.
pub const FLUME: &str = "flume";

/// The name of the store that exists only if it was built.
pub const ROCKSDB: &str = "rocksdb";

const PLAIN: Entry =
    Entry { name: "", faults: "", speed: "", remark: "", stripes: false, takes: true };

/// The stores in the order of the tables.
pub const STORES: [Entry; 15] = [
    Entry {
        name: "millpond",
        faults: "one data directory, segments of 1 MiB, keep-alive 0.2 s, no minimum of free space",
        speed: "preallocated segments of 64 MiB; for hot takes the hot window holds everything that waits, otherwise 48 MiB (default), and was filled once before",
        stripes: true,
        ..PLAIN
    },
    Entry {
        name: "millpond-fresh",
        speed: "default options, measured from the opening on: nothing is preallocated",
        stripes: true,
        ..PLAIN
    },
    Entry {
        name: "floor-sync",
        speed: "one buffered write and one fdatasync per commit, zero-filled file",
        remark: "hand-written; not a complete queue: space is never reused, and reads do not verify checksums",
        ..PLAIN
    },
    Entry {
        name: "floor-group",
        speed: "group commit by a leader: one buffered write and one fdatasync per group, zero-filled file",
        remark: "hand-written, with the same limits",
        ..PLAIN
    },
    Entry {
        name: "floor-segments",
        speed: "group commit by a leader: one buffered write and one fdatasync per group, files of 64 MiB filled in pieces of 4 MiB; a checksum for each event, verified when it is taken",
        remark: "hand-written; the floor that the targets refer to; not a complete queue: it deletes nothing",
        ..PLAIN
    },
    Entry {
        name: "floor-direct",
        speed: "one O_DIRECT and O_DSYNC write per commit, at most 4 at once, zero-filled file",
        remark: "hand-written; it only writes",
        takes: false,
        ..PLAIN
    },
    Entry {
        name: FLUME,
        faults: "fsyncPerTransaction (default), capacity 100,000, minimumRequiredSpace 1 MiB",
        speed: "fsyncPerTransaction (default), capacity 4,000,000, heap of 512 MiB, warmed up",
        stripes: true,
        ..PLAIN
    },
    Entry {
        name: "sqlite",
        faults: "journal_mode=WAL, synchronous=FULL, cell_size_check=ON",
        speed: "journal_mode=WAL, synchronous=FULL, cell_size_check=ON, cache of 64 MiB",
        remark: "pages have no checksums unless the checksum VFS is built in; a queue is a table",
        ..PLAIN
    },
    Entry {
        name: "redb",
        faults: "Durability::Immediate, two-phase commit",
        speed: "Durability::Immediate (default)",
        remark: "checksums are verified after a crash and by check_integrity, not on each read; \
                 a queue is a table",
        ..PLAIN
    },
    Entry {
        name: "fjall",
        faults: "every batch with PersistMode::SyncAll",
        speed: "every batch with PersistMode::SyncAll, journal not compressed",
        remark: "a queue is a keyspace",
        ..PLAIN
    },
    Entry {
        name: "raft-engine",
        faults: "every batch written with sync=true; recovery tolerates a torn tail (default)",
        speed: "every batch written with sync=true; not compressed, preallocated log files of 64 MiB",
        remark: "panics on a failed sync by design; a queue is one region per thread, a take compacts it",
        ..PLAIN
    },
    Entry {
        name: "okaywal",
        faults: "default (every commit syncs), no checkpoints",
        speed: "every commit syncs (default), preallocated files of 64 MiB, buffer of 256 KiB, no checkpoints",
        remark: "a log, not a queue: the adapter logs takes and keeps waiting events in memory (for speed: their offsets, \
                 and what an opening found); it returns entries as okaywal reads them",
        ..PLAIN
    },
    Entry {
        name: ROCKSDB,
        speed: "every batch written with sync=true; not compressed, memtables of 64 MiB, 4 recycled logs, 2 background jobs",
        remark: "a queue is a column family, a take deletes a range",
        ..PLAIN
    },
    Entry {
        name: "mrecordlog",
        faults: "SyncPolicy::OnAppend",
        remark: "passes its bytes to the system and never syncs; a sync policy is on its list of \
                 things to do",
        ..PLAIN
    },
    Entry {
        name: "yaque",
        faults: "receiver saved after each take, `recovery::recover` at every opening",
        remark: "never syncs; its manual covers kills, not power cuts; bodies have no checksums",
        ..PLAIN
    },
];

/// Opens the store called `name`, or creates it.
///
/// # Errors
/// The error of the store; or there is no such store here.
pub fn open(name: &str, setup: &Setup) -> Result<Box<dyn Store>, Failure> {
    Ok(match name {
        "millpond" => Box::new(millpond::Millpond::open(setup, millpond::Start::Ready)?),
        "millpond-fresh" => Box::new(millpond::Millpond::open(setup, millpond::Start::Fresh)?),
        "floor-sync" => Box::new(floor::Buffered::open(setup, false)?),
        "floor-group" => Box::new(floor::Buffered::open(setup, true)?),
        "floor-segments" => Box::new(segments::Segments::open(setup)?),
        "floor-direct" => Box::new(floor::Unbuffered::open(setup)?),
        "sqlite" => Box::new(sqlite::Sqlite::open(setup)?),
        "redb" => Box::new(redb::Redb::open(setup)?),
        "fjall" => Box::new(fjall::Fjall::open(setup)?),
        "raft-engine" => Box::new(raft_engine::RaftEngine::open(setup)?),
        "okaywal" => Box::new(okaywal::Okaywal::open(setup)?),
        "mrecordlog" => Box::new(mrecordlog::Mrecordlog::open(setup)?),
        "yaque" => Box::new(yaque::Yaque::open(setup)?),
        #[cfg(feature = "rocksdb")]
        ROCKSDB => Box::new(rocksdb::Rocksdb::open(setup)?),
        other => return Err(format!("no store is called {other} here").into()),
    })
}

/// Locks even if a holder panicked: what the mutex guards is judged from outside.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
