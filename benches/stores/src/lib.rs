//! The stores that the league table and the side-by-side benchmark work on, each behind the same
//! three calls: put a transaction, take one, close.
//!
//! An adapter uses the strictest setting that its store offers, for speed one in which a commit is
//! durable when it is answered, and does nothing for it that a careful user would not: no retries, no
//! checksums, no syncs of its own. [`STORES`] says which setting that is and what the store's own
//! documents do not promise. Several threads may put and take at the same time, as far as the store
//! lets them.

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

/// What went wrong, in words.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Is handed the body of each event that a take delivers.
pub type Deliver<'a> = dyn FnMut(&[u8]) + 'a;

/// A queue on disk.
pub trait Store: Send + Sync {
    /// Puts one transaction. Returns once the store says that it is durable. `lane` is below
    /// [`Setup::lanes`]; one lane is used by one thread at a time.
    ///
    /// # Errors
    /// In doubt: the events may be there or not.
    fn put(&self, lane: usize, bodies: &[Bytes]) -> Result<(), Failure>;

    /// Takes up to `most` events from the front: hands them to `deliver`, then removes them for
    /// good. The number delivered; 0: nothing is waiting.
    ///
    /// # Errors
    /// In doubt: they may come again or not.
    fn take(&self, lane: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure>;

    /// Events that the store itself counts as damaged.
    fn damaged(&self) -> u64 {
        0
    }

    /// Waits for what it does by itself after an opening, before a measurement.
    fn settle(&self) {}

    /// The end, in good order.
    ///
    /// # Errors
    /// What the store answers.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Setup {
    /// At least one; stores that know one use the first. They are there already.
    pub dirs: Vec<PathBuf>,
    /// Threads that put, and threads that take, at the same time; at least 1.
    pub lanes: usize,
    /// What is to come, for a measurement of speed: files are made beforehand where a store can,
    /// bodies are not compressed. `None`: small files, to be harmed by faults.
    pub flow: Option<Flow>,
}

impl Setup {
    /// One thread and small files in `dir`.
    #[must_use]
    pub fn small(dir: &Path) -> Self {
        Self { dirs: vec![dir.to_owned()], lanes: 1, flow: None }
    }

    fn dir(&self) -> &Path {
        self.dirs.first().map_or(Path::new("."), PathBuf::as_path)
    }
}

/// What a measurement is going to do.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Bytes that files are to be made for beforehand, at most.
    pub ready_bytes: u64,
    /// Bytes of events that wait and that a taker is to find in memory.
    pub hot_bytes: u64,
    /// Whether there are takers, who want to see soon that nothing is left.
    pub takers: bool,
}

/// What the tables say of a store.
#[derive(Debug)]
pub struct Entry {
    /// As on the command line.
    pub name: &'static str,
    /// How it is set for the league.
    pub faults: &'static str,
    /// How it is set for a measurement of speed; empty: it takes no part there.
    pub speed: &'static str,
    /// What its own documents do not promise, or what the adapter had to add to make it a queue.
    pub remark: &'static str,
    /// Whether it can use several directories.
    pub stripes: bool,
    /// Whether it can be taken from.
    pub takes: bool,
}

/// The name of Flume's file channel, which runs in a virtual machine of its own.
pub const FLUME: &str = "flume";

/// The name of the store that is there only when it was built.
pub const ROCKSDB: &str = "rocksdb";

const PLAIN: Entry =
    Entry { name: "", faults: "", speed: "", remark: "", stripes: false, takes: true };

/// In the order of the tables.
pub const STORES: [Entry; 15] = [
    Entry {
        name: "millpond",
        faults: "one data directory, segments of 1 MiB, keep-alive 0.2 s, no minimum of free space",
        speed: "segments of 64 MiB, made beforehand; the hot window holds what waits where takes are to be hot, 48 MiB otherwise (default), and was filled once before",
        stripes: true,
        ..PLAIN
    },
    Entry {
        name: "millpond-fresh",
        speed: "default options, measured from the moment it was opened: nothing is made beforehand",
        stripes: true,
        ..PLAIN
    },
    Entry {
        name: "floor-sync",
        speed: "one buffered write and one fdatasync per commit, zero-filled file",
        remark: "hand-written; no queue in earnest: it is never taken into use again, and reads without looking at checksums",
        ..PLAIN
    },
    Entry {
        name: "floor-group",
        speed: "group commit by a leader: one buffered write and one fdatasync per group, zero-filled file",
        remark: "hand-written, likewise",
        ..PLAIN
    },
    Entry {
        name: "floor-segments",
        speed: "group commit by a leader: one buffered write and one fdatasync per group, files of 64 MiB filled in pieces of 4 MiB; a checksum for each event, verified when it is taken",
        remark: "hand-written; the floor that the bars of speed are meant against; no queue in earnest: it deletes nothing",
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
        speed: "every batch written with sync=true; not compressed, log files of 64 MiB made beforehand",
        remark: "panics on a failed sync by design; a queue is a region for each thread, a take compacts it",
        ..PLAIN
    },
    Entry {
        name: "okaywal",
        faults: "default (every commit syncs), no checkpoints",
        speed: "every commit syncs (default), files of 64 MiB made beforehand, buffer of 256 KiB, no checkpoints",
        remark: "a log, not a queue: the adapter logs takes, keeps in memory what waits (for speed: where it \
                 lies, and what an opening found), and passes on what reading an entry answers",
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
        remark: "hands its bytes to the system and never syncs; a sync policy is on its list of \
                 things to do",
        ..PLAIN
    },
    Entry {
        name: "yaque",
        faults: "receiver saved after each take, `recovery::recover` at every opening",
        remark: "never syncs; its manual speaks of kills, not of power cuts; bodies have no checksums",
        ..PLAIN
    },
];

/// Opens the store called `name`, or makes it.
///
/// # Errors
/// What the store answers; or there is no such store here.
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

/// A lock whose holder panicked is as good as another: what it guards is judged from outside.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
