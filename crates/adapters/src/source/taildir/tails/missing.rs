//! Files to which no matching name leads any more: their new names, and the bytes lost with them.

use super::{InodeId, TailedFiles, open, start_of};
use crate::source::file_reading::FileStamp;
use crate::source::taildir::identity::{FileIdentity, FileMatch};
use millpond_flow::base::files;
use millpond_flow::base::limits::TAIL_SOUGHT_FOR;
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use std::collections::BTreeMap;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl TailedFiles {
    /// Counts a lost file with `bytes` bytes that were seen and not read.
    pub(super) fn lost(&self, path: &Path, bytes: u64) {
        if bytes > 0 {
            tracing::warn!(code = %codes::FILE_GONE_UNREAD, source = self.settings.name, file = %path.display(), bytes, "a file was removed, made shorter or written anew before it was read to its end; its last lines are lost");
            self.counters.drops.add(DropReason::FileGone, 1);
        }
    }

    /// Finds closed files that were renamed to a non-matching name: their data beyond the read offset must still be
    /// read.
    pub(super) fn find_closed(&mut self, now: Duration) {
        let missed = self.tails.iter_mut().filter(|(_, tail)| !tail.matched);
        let sought = missed.filter_map(|(id, tail)| {
            let missed_at = *tail.missed_at.get_or_insert(now);
            let is_sought = now.saturating_sub(missed_at) <= TAIL_SOUGHT_FOR;
            (is_sought && tail.open_file().is_none()).then_some((id, tail))
        });
        let sought: BTreeMap<u64, InodeId> = sought.map(|(id, _)| (id.1, *id)).collect();
        if sought.is_empty() {
            return;
        }
        let settings = Arc::clone(&self.settings);
        for group in &settings.groups {
            let Ok(listed) = files::list(&group.directory) else { continue };
            for entry in listed.flatten() {
                let Some(id) = sought.get(&entry.ino()) else { continue };
                let (Ok(opened), path) = (open(&entry.path(), *id), entry.path()) else { continue };
                let Some(tail) = self.tails.get_mut(id) else { continue };
                let Ok(found) = opened.metadata() else { continue };
                let same = start_of(&opened)
                    .and_then(|start| tail.is_same_as(&opened, &start, found.len()));
                if !matches!(same, Ok(true)) || found.len() < tail.pos {
                    continue;
                }
                if !std::mem::replace(&mut tail.found_elsewhere, true) {
                    tracing::info!(source = settings.name, from = %tail.path.display(), to = %path.display(), "a file was renamed and is read to its end");
                }
                tail.path = path;
                tail.stamp = FileStamp::of(&found);
                tail.seen_len = tail.seen_len.max(found.len());
            }
        }
    }

    /// Finds files of an earlier run that were renamed to a non-matching name while the source was down: their data
    /// beyond the known offset must still be read. Only a checksum shows that they are equal.
    pub(super) fn find_renamed(&mut self, now: Duration, order: &mut Vec<InodeId>) {
        if self.known.has_no_prints() {
            return;
        }
        let settings = Arc::clone(&self.settings);
        for (at, group) in settings.groups.iter().enumerate() {
            let Ok(listed) = files::list(&group.directory) else { continue };
            for path in listed.filter_map(|entry| Some(entry.ok()?.path())) {
                let Ok(found) = path.metadata() else { continue };
                let (stamp, id) = (FileStamp::of(&found), (found.dev(), found.ino()));
                let wanted = self.known.has_print_of(stamp.inode);
                if !found.is_file() || self.tails.contains_key(&id) || !wanted {
                    continue;
                }
                let file = self.names[at].file(path, &found);
                let now_there = FileIdentity::unread(id, file.born_ns);
                let like = open(&file.path, id).and_then(|opened| {
                    let start = start_of(&opened)?;
                    self.known.likeness(&now_there, &opened, &start)
                });
                if matches!(like, Ok(FileMatch::Same)) {
                    tracing::info!(source = self.settings.name, file = %file.path.display(), "a file that was renamed while the source was down is read to its end");
                    order.extend(self.see(group, &file, now));
                    if let Some(tail) = self.tails.get_mut(&id) {
                        tail.matched = false;
                    }
                }
            }
        }
    }
}
