//! Shared by sources that read files: a buffered file ([`buffered_file`]), and batches committed together with the
//! offset of their end ([`batch_commit`]).

pub(crate) mod batch_commit;
pub(crate) mod buffered_file;

use millpond_flow::source::Failure;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;

/// A position in a file: `skip` parts after `offset`.
///
/// Only files whose parts have no offset of their own (records in blocks of an Avro container) need `skip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileOffset {
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
    /// Parts after that.
    pub(crate) skip: u64,
}

impl FileOffset {
    pub(crate) fn at(offset: u64) -> Self {
        Self { offset, skip: 0 }
    }
}

/// The stamp of a file, to identify it and detect changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    /// Its inode.
    pub(crate) inode: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Time of its last change, in nanoseconds since 1970.
    pub(crate) changed_ns: i64,
}

impl FileStamp {
    pub(crate) fn of(found: &impl MetadataExt) -> Self {
        let changed_ns = found.mtime().saturating_mul(1_000_000_000);
        let changed_ns = changed_ns.saturating_add(found.mtime_nsec());
        Self { inode: found.ino(), len: found.size(), changed_ns }
    }
}

/// Runs `work` on a blocking thread.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::caused("reading files ended by a defect", error))
}
