//! One directory: its names as visible, as durable, and as pending. Each is a file system of its own, with its own
//! journal and its own space, like the disks of a channel.

use super::image::Order;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The permanent id of a file, whatever its name.
pub(super) type FileId = u64;

/// The permanent id of a directory, wherever it is mounted.
pub(super) type VolumeId = u64;

/// A change of one name: to a file, or to none.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) order: Order,
    pub(super) name: String,
    pub(super) file: Option<FileId>,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) path: PathBuf,
    /// Whether it can be reached; otherwise it is gone with everything in it.
    pub(super) mounted: bool,
    /// Whether its own name is durable.
    pub(super) durable: bool,
    pub(super) capacity_bytes: u64,
    pub(super) seen: BTreeMap<String, FileId>,
    pub(super) names: BTreeMap<String, FileId>,
    pub(super) pending: Vec<NameChange>,
}

impl Volume {
    pub(super) fn new(path: PathBuf, capacity_bytes: u64, durable: bool) -> Self {
        Self {
            path,
            mounted: true,
            durable,
            capacity_bytes,
            seen: BTreeMap::new(),
            names: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Changes a name in what is visible.
    pub(super) fn change(&mut self, order: Order, name: &str, file: Option<FileId>) {
        match file {
            Some(file) => self.seen.insert(name.to_owned(), file),
            None => self.seen.remove(name),
        };
        self.pending.push(NameChange { order, name: name.to_owned(), file });
    }

    /// Makes the changes durable that `which` selects; the others stay pending.
    pub(super) fn persist(&mut self, mut which: impl FnMut(&NameChange) -> bool) {
        for change in std::mem::take(&mut self.pending) {
            if !which(&change) {
                self.pending.push(change);
                continue;
            }
            match change.file {
                Some(file) => self.names.insert(change.name, file),
                None => self.names.remove(&change.name),
            };
        }
    }

    /// Restarts from the medium.
    pub(super) fn boot(&mut self) {
        self.pending.clear();
        self.seen = self.names.clone();
    }
}
