//! Files that the source cannot go on with now: how far each was read, and when to try it again.
//!
//! They stay where they are, under their names. What is known of them is kept in a file of its own
//! in the tracker directory, so that no line of them comes twice after a restart.

use crate::base::files;
use crate::base::limits::{SPOOL_ASIDE_BYTES_MAX, SPOOL_ASIDE_MAX};
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::source::reading::{Point, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pause before a file that could not be read or renamed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Why a file is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// It grew while it was read: the rest comes when it has been left alone.
    Grown,
    /// It was written to where it had been read already.
    Rewritten,
    /// The system refuses to read, rename or remove it.
    Refused,
    /// Bytes of it are no text.
    Undecodable,
    /// Another file has the name that it should get.
    NameTaken,
    /// No channel can hold what comes next.
    Unfit,
}

/// One file that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) why: Why,
    pub(super) stamp: Stamp,
    /// Everything before it is in the channels.
    pub(super) point: Point,
    /// Something of it is in the channels, be it an empty event.
    pub(super) begun: bool,
    /// When it is tried again, whatever it looks like then; `None` for when it has changed.
    #[serde(skip, default = "at_once")]
    due: Option<Duration>,
}

/// Whatever was in the way may be gone since.
fn at_once() -> Option<Duration> {
    Some(Duration::ZERO)
}

impl Entry {
    pub(super) fn new(why: Why, stamp: Stamp, point: Point, begun: bool) -> Self {
        Self { why, stamp, point, begun, due: None }
    }
}

/// All of them.
pub(super) struct Aside {
    file: PathBuf,
    entries: BTreeMap<PathBuf, Entry>,
    /// What was said of files, and is not said again while it lasts.
    said: BTreeMap<PathBuf, Why>,
}

impl Aside {
    /// Reads what an earlier process has left in the tracker directory.
    pub(super) fn load(tracker: &Path) -> io::Result<Self> {
        let file = tracker.join(".millpond-aside.json");
        let entries = match read_whole(&file, SPOOL_ASIDE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(ReadWholeError::Missing) => BTreeMap::new(),
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

    /// Whether the file at `path`, which looks like `found`, is not to be read now. `free` says
    /// whether the name that it should get is free.
    pub(super) fn holds(
        &self,
        path: &Path,
        found: Stamp,
        now: Duration,
        free: impl Fn() -> bool,
    ) -> bool {
        let Some(entry) = self.entries.get(path) else { return false };
        match entry.due {
            Some(due) => now < due,
            None => entry.stamp == found && !(entry.why == Why::NameTaken && free()),
        }
    }

    /// Takes out what is known of the file at `path`, which looks like `found`: `None` if that is
    /// another file.
    pub(super) fn take(&mut self, path: &Path, found: Stamp) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        let same = entry.stamp.inode == found.inode && entry.point.offset <= found.len;
        same.then_some(entry)
    }

    /// Sets a file aside. Answers whether this has not been said of it yet.
    pub(super) fn put(
        &mut self,
        path: PathBuf,
        mut entry: Entry,
        now: Duration,
        poll: Duration,
    ) -> bool {
        entry.due = match entry.why {
            Why::Grown => Some(now + poll),
            Why::Refused => Some(now + TRY_AGAIN),
            Why::Rewritten | Why::Undecodable | Why::NameTaken | Why::Unfit => None,
        };
        let new = self.said.insert(path.clone(), entry.why) != Some(entry.why);
        self.entries.insert(path, entry);
        new
    }

    /// The file at `path` is done.
    pub(super) fn forget(&mut self, path: &Path) {
        self.said.remove(path);
        self.entries.remove(path);
    }

    /// Forgets files that are gone. Answers whether there were any.
    pub(super) fn prune(&mut self) -> bool {
        let before = self.entries.len();
        self.entries.retain(|path, _| path.symlink_metadata().is_ok());
        let entries = &self.entries;
        self.said.retain(|path, _| entries.contains_key(path) || path.symlink_metadata().is_ok());
        self.entries.len() < before
    }

    /// Makes what is known durable.
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

    fn stamp(inode: u64, len: u64) -> Stamp {
        Stamp { inode, len, changed_ns: 1 }
    }

    #[test]
    fn each_reason_has_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut aside = Aside::load(directory.path()).unwrap();
        let path = Path::new("/in/a");
        let now = Duration::from_secs(100);
        let mut set = |why| {
            aside.put(path.into(), Entry::new(why, stamp(1, 9), Point::at(4), true), now, POLL)
        };
        assert!(set(Why::Grown));
        assert!(!set(Why::Grown), "it is said once");
        let held = |aside: &Aside, found, now, free: bool| aside.holds(path, found, now, || free);
        assert!(held(&aside, stamp(1, 10), now, false));
        assert!(!held(&aside, stamp(1, 10), now + POLL, false));
        let mut set = |why| {
            aside.put(path.into(), Entry::new(why, stamp(1, 9), Point::at(4), true), now, POLL)
        };
        assert!(set(Why::NameTaken));
        assert!(held(&aside, stamp(1, 9), now + TRY_AGAIN, false));
        assert!(!held(&aside, stamp(1, 9), now, true));
        assert!(!held(&aside, stamp(1, 10), now, false), "it has changed");
        assert!(!held(&aside, stamp(2, 9), now, false), "it is another file");
    }

    #[test]
    fn what_was_read_of_a_file_is_known_after_a_restart_and_of_another_file_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut aside = Aside::load(directory.path()).unwrap();
        let entry = Entry::new(Why::Undecodable, stamp(1, 9), Point::at(4), true);
        aside.put(path.clone(), entry, Duration::ZERO, POLL);
        aside.save().unwrap();
        let mut aside = Aside::load(directory.path()).unwrap();
        assert!(
            !aside.holds(&path, stamp(1, 9), Duration::ZERO, || false),
            "tried once at a start"
        );
        assert_eq!(aside.take(&path, stamp(1, 9)).map(|entry| entry.point), Some(Point::at(4)));
        let mut aside = Aside::load(directory.path()).unwrap();
        assert_eq!(aside.take(&path, stamp(2, 9)), None);
        let mut aside = Aside::load(directory.path()).unwrap();
        assert!(aside.prune());
        aside.save().unwrap();
        assert!(!aside.file().exists());
    }
}
