//! A disk that lies about durability: the last write to each file stays in a cache that is lost
//! with the process, although the channel got success. For tests of the tool: it has to notice.

use millpond::internal::disk::File;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the disk lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLie {
    /// Writes are reported durable before they are.
    Sync,
}

struct UnflushedWrite {
    file: Arc<dyn File>,
    offset: u64,
    bytes: Vec<u8>,
}

/// The cache.
#[derive(Default)]
pub(super) struct WriteCache(Mutex<BTreeMap<PathBuf, UnflushedWrite>>);

impl WriteCache {
    /// Holds a write back, and lets the one before it through.
    pub(super) fn hold_back(&self, file: &Arc<dyn File>, offset: u64, bytes: &[u8]) {
        let held = UnflushedWrite { file: Arc::clone(file), offset, bytes: bytes.to_vec() };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(file.path().to_owned(), held);
        before.into_iter().for_each(UnflushedWrite::write);
    }

    /// Applies the cache to a read of `bytes` at `offset`.
    pub(super) fn remember(&self, path: &Path, offset: u64, bytes: &mut [u8]) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = all.get(path) else { return };
        let from = held.offset.max(offset);
        let to = (held.offset + held.bytes.len() as u64).min(offset + bytes.len() as u64);
        if from < to {
            let seen = &held.bytes[(from - held.offset) as usize..(to - held.offset) as usize];
            bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(seen);
        }
    }

    /// Lets everything through, as a disk does in time.
    pub(super) fn flush(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().for_each(UnflushedWrite::write);
    }
}

impl UnflushedWrite {
    fn write(self) {
        // Without its alignment a direct write may be refused; this write need not be fast.
        let _ = self.file.write_at(self.offset, &self.bytes);
    }
}
