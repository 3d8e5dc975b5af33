//! The engines, each behind the same three calls: put a transaction, take one, close.
//!
//! An adapter uses the strictest setting that its engine offers and does nothing for it that a
//! careful user would not: no retries, no checksums, no syncs of its own. [`ENGINES`] says which
//! setting that is and what the engine's own documents do not promise.

mod control;
mod fjall;
mod millpond;
mod mrecordlog;
mod okaywal;
mod raft_engine;
mod redb;
mod sqlite;
mod yaque;

use std::error::Error;
use std::path::Path;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A queue on disk.
pub(crate) trait Store {
    /// Puts one transaction. Returns once the engine says that it is durable.
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure>;

    /// Takes up to `most` events from the front: hands them to `deliver`, then removes them for
    /// good. The number delivered; 0: nothing is waiting.
    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure>;

    /// Events that the engine itself counts as damaged.
    fn damaged(&self) -> u64 {
        0
    }

    fn close(self: Box<Self>) -> Result<(), Failure>;
}

pub(crate) type Deliver<'a> = dyn FnMut(&[Vec<u8>]) + 'a;

/// What the table says of an engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// How it is set.
    pub(crate) setting: &'static str,
    /// What its own documents do not promise, or what the adapter had to add to make it a queue.
    pub(crate) remark: &'static str,
}

/// The name of Flume's file channel, which runs in a virtual machine of its own.
pub(crate) const FLUME: &str = "flume";

/// In the order of the table.
pub(crate) const ENGINES: [Engine; 9] = [
    Engine {
        name: "millpond",
        setting: "one data directory, segments of 1 MiB, keep-alive 0.2 s, no minimum of free space",
        remark: "",
    },
    Engine {
        name: FLUME,
        setting: "fsyncPerTransaction (default), capacity 100,000, minimumRequiredSpace 1 MiB",
        remark: "",
    },
    Engine {
        name: "sqlite",
        setting: "journal_mode=WAL, synchronous=FULL, cell_size_check=ON",
        remark: "pages have no checksums unless the checksum VFS is built in; a queue is a table",
    },
    Engine {
        name: "redb",
        setting: "Durability::Immediate, two-phase commit",
        remark: "checksums are verified after a crash and by check_integrity, not on each read; \
                 a queue is a table",
    },
    Engine {
        name: "fjall",
        setting: "every batch with PersistMode::SyncAll",
        remark: "a queue is a keyspace",
    },
    Engine {
        name: "raft-engine",
        setting: "every batch written with sync=true; recovery tolerates a torn tail (default)",
        remark: "panics on a failed sync by design; a queue is a region, a take compacts it",
    },
    Engine {
        name: "okaywal",
        setting: "default (every commit syncs), no checkpoints",
        remark: "a log, not a queue: the adapter logs takes, keeps what waits in memory, and passes on \
                 what reading an entry answers",
    },
    Engine {
        name: "mrecordlog",
        setting: "SyncPolicy::OnAppend",
        remark: "hands its bytes to the system and never syncs; a sync policy is on its list of \
                 things to do",
    },
    Engine {
        name: "yaque",
        setting: "receiver saved after each take, `recovery::recover` at every opening",
        remark: "never syncs; its manual speaks of kills, not of power cuts; bodies have no checksums",
    },
];

/// Opens the store in `dir`, or makes it.
pub(crate) fn open(name: &str, dir: &Path) -> Result<Box<dyn Store>, Failure> {
    Ok(match name {
        "millpond" => Box::new(millpond::Millpond::open(dir)?),
        "sqlite" => Box::new(sqlite::Sqlite::open(dir)?),
        "redb" => Box::new(redb::Redb::open(dir)?),
        "fjall" => Box::new(fjall::Fjall::open(dir)?),
        "raft-engine" => Box::new(raft_engine::RaftEngine::open(dir)?),
        "okaywal" => Box::new(okaywal::Okaywal::open(dir)?),
        "mrecordlog" => Box::new(mrecordlog::Mrecordlog::open(dir)?),
        "yaque" => Box::new(yaque::Yaque::open(dir)?),
        other => match other.strip_prefix("control-") {
            Some(fault) => Box::new(control::Control::open(dir, fault)?),
            None => return Err(format!("no engine is called {other}").into()),
        },
    })
}
