//! What sources that read files share: a buffered place in a file ([`input`]), and batches that
//! are handed over together with the place where they end ([`courier`]).

pub(crate) mod courier;
pub(crate) mod input;

use crate::flow::source::Failure;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;

/// A place in a file: `skip` parts of what begins at `offset`.
///
/// Only files whose parts cannot be found by an offset (blocks of an Avro container) need `skip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
    /// Parts behind that.
    pub(crate) skip: u64,
}

impl Point {
    pub(crate) fn at(offset: u64) -> Self {
        Self { offset, skip: 0 }
    }
}

/// By what a file is known, and whether it has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Its number in its file system.
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub(crate) changed_ns: i64,
}

impl Stamp {
    pub(crate) fn of(found: &impl MetadataExt) -> Self {
        let changed_ns = found.mtime().saturating_mul(1_000_000_000);
        let changed_ns = changed_ns.saturating_add(found.mtime_nsec());
        Self { inode: found.ino(), len: found.size(), changed_ns }
    }
}

/// Runs `work` where blocking on the disk hurts nobody.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::caused("reading files ended by a defect", error))
}
