//! Files that the source cannot continue with now: how far each was read, and when to retry it.
//!
//! They stay in place under their names. Their state is kept in a file in the tracker directory, so that no line of
//! them is repeated after a restart.

use crate::source::file_reading::{FileOffset, FileStamp};
use millpond_flow::base::files;
use millpond_flow::base::limits::{SPOOL_ASIDE_BYTES_MAX, SPOOL_ASIDE_MAX};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pause before a file that could not be read or renamed is retried.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The reason why a file is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DeferReason {
    /// It grew while it was read: the rest is read once it no longer changes.
    Grown,
    /// It was overwritten in the part that had been read already.
    Rewritten,
    /// The system refuses to read, rename or remove it.
    Refused,
    /// Some of its bytes are not text.
    Undecodable,
    /// Another file has its target name.
    NameTaken,
    /// No channel can hold its next event.
    Unfit,
}

/// A file that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeferredFile {
    pub(super) why: DeferReason,
    pub(super) stamp: FileStamp,
    /// Everything before this offset is in the channels.
    pub(super) point: FileOffset,
    /// Whether a part of it is in the channels, even if only an empty event.
    pub(super) begun: bool,
    /// When it is retried, changed or not; `None` to wait for a change.
    #[serde(skip, default = "at_once")]
    due: Option<Duration>,
}

/// After a start the cause may have been removed.
fn at_once() -> Option<Duration> {
    Some(Duration::ZERO)
}

impl DeferredFile {
    pub(super) fn new(why: DeferReason, stamp: FileStamp, point: FileOffset, begun: bool) -> Self {
        Self { why, stamp, point, begun, due: None }
    }
}

/// All files that are set aside.
pub(super) struct DeferredFiles {
    file: PathBuf,
    entries: BTreeMap<PathBuf, DeferredFile>,
    /// Reasons already logged, not repeated while they last.
    said: BTreeMap<PathBuf, DeferReason>,
}

impl DeferredFiles {
    /// Reads the state that an earlier process left in the tracker directory.
    pub(super) fn load(tracker: &Path) -> io::Result<Self> {
        let file = tracker.join(".millpond-aside.json");
        let entries = match read_whole(&file, SPOOL_ASIDE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(SmallFileError::Missing) => BTreeMap::new(),
            Err(error) => return Err(io::Error::other(error)),
        };
        Ok(Self { file, entries, said: BTreeMap::new() })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= SPOOL_ASIDE_MAX
    }

    /// Returns whether the file at `path` with stamp `found` must not be read now. `free` returns whether its target
    /// name is free.
    pub(super) fn holds(
        &self,
        path: &Path,
        found: FileStamp,
        now: Duration,
        free: impl Fn() -> bool,
    ) -> bool {
        let Some(entry) = self.entries.get(path) else { return false };
        match entry.due {
            Some(due) => now < due,
            None => entry.stamp == found && !(entry.why == DeferReason::NameTaken && free()),
        }
    }

    /// Removes and returns the state of the file at `path` with stamp `found`; `None` if the state is of another
    /// file.
    pub(super) fn take(&mut self, path: &Path, found: FileStamp) -> Option<DeferredFile> {
        let entry = self.entries.remove(path)?;
        let same = entry.stamp.inode == found.inode && entry.point.offset <= found.len;
        same.then_some(entry)
    }

    /// Sets a file aside. Returns whether the reason has not been logged yet.
    pub(super) fn put(
        &mut self,
        path: PathBuf,
        mut entry: DeferredFile,
        now: Duration,
        poll: Duration,
    ) -> bool {
        entry.due = match entry.why {
            DeferReason::Grown => Some(now + poll),
            DeferReason::Refused => Some(now + TRY_AGAIN),
            DeferReason::Rewritten
            | DeferReason::Undecodable
            | DeferReason::NameTaken
            | DeferReason::Unfit => None,
        };
        let new = self.said.insert(path.clone(), entry.why) != Some(entry.why);
        self.entries.insert(path, entry);
        new
    }

    /// Removes the state of the file at `path`, which is complete.
    pub(super) fn remove(&mut self, path: &Path) {
        self.said.remove(path);
        self.entries.remove(path);
    }

    /// Removes the state of deleted files. Returns whether there were any.
    pub(super) fn prune(&mut self) -> bool {
        let before = self.entries.len();
        self.entries.retain(|path, _| path.symlink_metadata().is_ok());
        let entries = &self.entries;
        self.said.retain(|path, _| entries.contains_key(path) || path.symlink_metadata().is_ok());
        self.entries.len() < before
    }

    /// Makes the state durable.
    pub(super) fn save(&self) -> io::Result<()> {
        if self.entries.is_empty() {
            return match files::remove(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            };
        }
        files::replace(&self.file, &serde_json::to_vec_pretty(&self.entries)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_millis(500);

    fn stamp(inode: u64, len: u64) -> FileStamp {
        FileStamp { inode, len, changed_ns: 1 }
    }

    #[test]
    fn each_reason_has_its_retry_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut deferred = DeferredFiles::load(directory.path()).unwrap();
        let path = Path::new("/in/a");
        let now = Duration::from_secs(100);
        let mut set = |why| {
            deferred.put(
                path.into(),
                DeferredFile::new(why, stamp(1, 9), FileOffset::at(4), true),
                now,
                POLL,
            )
        };
        assert!(set(DeferReason::Grown));
        assert!(!set(DeferReason::Grown), "it is said once");
        let held = |deferred: &DeferredFiles, found, now, free: bool| {
            deferred.holds(path, found, now, || free)
        };
        assert!(held(&deferred, stamp(1, 10), now, false));
        assert!(!held(&deferred, stamp(1, 10), now + POLL, false));
        let mut set = |why| {
            deferred.put(
                path.into(),
                DeferredFile::new(why, stamp(1, 9), FileOffset::at(4), true),
                now,
                POLL,
            )
        };
        assert!(set(DeferReason::NameTaken));
        assert!(held(&deferred, stamp(1, 9), now + TRY_AGAIN, false));
        assert!(!held(&deferred, stamp(1, 9), now, true));
        assert!(!held(&deferred, stamp(1, 10), now, false), "it has changed");
        assert!(!held(&deferred, stamp(2, 9), now, false), "it is another file");
    }

    #[test]
    fn a_deferred_file_resumes_after_a_restart_and_another_file_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut deferred = DeferredFiles::load(directory.path()).unwrap();
        let entry =
            DeferredFile::new(DeferReason::Undecodable, stamp(1, 9), FileOffset::at(4), true);
        deferred.put(path.clone(), entry, Duration::ZERO, POLL);
        deferred.save().unwrap();
        let mut deferred = DeferredFiles::load(directory.path()).unwrap();
        assert!(
            !deferred.holds(&path, stamp(1, 9), Duration::ZERO, || false),
            "tried once at a start"
        );
        assert_eq!(
            deferred.take(&path, stamp(1, 9)).map(|entry| entry.point),
            Some(FileOffset::at(4))
        );
        let mut deferred = DeferredFiles::load(directory.path()).unwrap();
        assert_eq!(deferred.take(&path, stamp(2, 9)), None);
        let mut deferred = DeferredFiles::load(directory.path()).unwrap();
        assert!(deferred.prune());
        deferred.save().unwrap();
        assert!(!deferred.file().exists());
    }
}
