//! The source's disk work: which files exist, their new data, and their offsets.

mod missing;

use super::group::{GroupFiles, MatchedFile};
use super::identity::{FileIdentity, PRINT_BYTES, StartChecksum, TailChecksum};
use super::journal::OffsetJournal;
use super::offset::{FileEntry, JournalPosition, TailOffset};
use super::position_file::PositionEntry;
use super::previous_files::{PreviousFiles, ResumeOffset};
use super::settings::{FileGroup, TailSettings};
use super::tail::TailedFile;
use crate::source::file_reading::FileStamp;
use crate::source::file_reading::batch_commit::ReadEvent;
use crate::source::taildir::identity::start_of;
use crate::source::taildir::inode::InodeId;
use crate::source::taildir::inode::open;
use millpond_flow::base::files;
use millpond_flow::base::limits::{
    TAIL_CHANGED_MAX, TAIL_CHANGED_UNWRITTEN_MAX, TAIL_FILES_MAX, TAIL_OPEN_MAX, TAIL_SOUGHT_FOR,
};
use millpond_flow::codes;
use millpond_flow::metrics::SourceCounters;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A batch of one file.
pub(super) struct TailBatch {
    pub(super) pieces: Vec<ReadEvent>,
    pub(super) from: u64,
    /// The source offset without this batch.
    pub(super) place: TailOffset,
    /// Whether it has the most events of a batch, so that there may be more.
    pub(super) full: bool,
}

/// All files of the source.
pub(super) struct TailedFiles {
    settings: Arc<TailSettings>,
    counters: Arc<SourceCounters>,
    names: Vec<GroupFiles>,
    tails: BTreeMap<InodeId, TailedFile>,
    /// Most files: [`TAIL_FILES_MAX`] except in tests.
    pub(super) files_max: usize,
    /// Files of an earlier run that have not been seen yet.
    known: PreviousFiles,
    /// Offsets of all files except `changed`; `None` where the channels keep no source offsets.
    journal: Option<OffsetJournal>,
    /// Files whose journal entry is not up to date.
    changed: BTreeSet<InodeId>,
    /// The error that the journal cannot be written was logged.
    unwritten: bool,
    /// No scan has run yet.
    first: bool,
    /// When missing files of an earlier run are forgotten: set once every directory could be read.
    forget_at: Option<Duration>,
    full: bool,
    /// Files found by the last scan that exceed the limit.
    left_out: u64,
    /// Files that cannot be opened; each is logged once.
    refused: BTreeSet<PathBuf>,
}

impl TailedFiles {
    pub(super) fn new(
        settings: Arc<TailSettings>,
        counters: Arc<SourceCounters>,
        known: PreviousFiles,
        journal: Option<OffsetJournal>,
    ) -> Self {
        let names = settings.groups.iter().map(|_| GroupFiles::default()).collect();
        Self {
            settings,
            counters,
            names,
            tails: BTreeMap::new(),
            files_max: TAIL_FILES_MAX,
            known,
            journal,
            changed: BTreeSet::new(),
            unwritten: false,
            first: true,
            forget_at: None,
            full: false,
            left_out: 0,
            refused: BTreeSet::new(),
        }
    }

    /// Scans for files, and returns those with data to read, in order.
    pub(super) fn look(&mut self, now: Duration, wall_ns: i64) -> Vec<InodeId> {
        let settings = Arc::clone(&self.settings);
        let (mut order, mut all_seen) = (Vec::new(), true);
        let mut empty = 0;
        self.left_out = 0;
        for tail in self.tails.values_mut() {
            tail.matched = false;
        }
        for (at, group) in settings.groups.iter().enumerate() {
            let matched = match self.names[at].matched(group, settings.cached, wall_ns) {
                Ok(matched) => matched,
                Err(error) => {
                    all_seen = false;
                    self.closed(at, group, &error);
                    continue;
                }
            };
            self.names[at].closed = false;
            empty += u64::from(matched.is_empty());
            self.say_empty(at, group, matched.is_empty());
            for file in matched {
                order.extend(self.see(group, &file, now));
            }
        }
        self.find_renamed(now, &mut order);
        self.find_closed(now);
        // Removed names are not logged again, even if they are created again later.
        self.refused.retain(|path| path.symlink_metadata().is_ok());
        if all_seen && now >= *self.forget_at.get_or_insert(now + TAIL_SOUGHT_FOR) {
            // Files still missing were completed, or removed while the source was down. A single scan does not prove
            // it: a name can change between its listing and its stat.
            self.known.clear();
        }
        self.counters.files_left_out.set(self.left_out);
        self.counters.empty_patterns.set(empty);
        self.full &= self.left_out > 0;
        self.first &= !all_seen;
        let seen: BTreeSet<InodeId> = order.iter().copied().collect();
        // Files that were renamed or removed are still read to their end.
        order.extend(self.tails.keys().filter(|id| !seen.contains(id)).copied());
        order.retain(|id| self.tails.get(id).is_some_and(TailedFile::has_news));
        order
    }

    /// Logs once that a pattern matches nothing, and again after it has matched in between.
    fn say_empty(&mut self, at: usize, group: &FileGroup, empty: bool) {
        let said = std::mem::replace(&mut self.names[at].said_empty, empty);
        if empty && !said {
            let directory = group.directory.display();
            tracing::warn!(code = %codes::FILE_GROUP_EMPTY, source = self.settings.name, group = group.name, %directory, pattern = group.pattern, "no file of the directory matches the pattern of the file group; the source waits for one");
        }
    }

    fn closed(&mut self, at: usize, group: &FileGroup, error: &io::Error) {
        if !std::mem::replace(&mut self.names[at].closed, true) {
            let directory = group.directory.display();
            tracing::error!(code = %codes::FILE_GROUP_UNREADABLE, source = self.settings.name, group = group.name, %directory, %error, "the directory of a file group cannot be read; it is tried again, the other groups are read");
            self.counters.event_read_fail.add(1);
        }
    }

    /// Records the current state of a file, and returns its id if it is one of the source's.
    fn see(&mut self, group: &FileGroup, file: &MatchedFile, now: Duration) -> Option<InodeId> {
        let id = (file.device, file.stamp.inode);
        if self.tails.get(&id).is_some_and(|tail| !tail.is_still(file.stamp)) {
            self.changed(id, file, now);
        }
        if let Some(tail) = self.tails.get_mut(&id) {
            // A file that two groups match belongs to the first.
            let first = !std::mem::replace(&mut tail.matched, true);
            (tail.seen_at, tail.missed_at, tail.found_elsewhere) = (now, None, false);
            if tail.path != file.path && first {
                tracing::info!(source = self.settings.name, from = %tail.path.display(), to = %file.path.display(), "a file was renamed");
                tail.path.clone_from(&file.path);
            }
            return first.then_some(id);
        }
        if self.tails.len() >= self.files_max {
            self.left_out += 1;
            if !std::mem::replace(&mut self.full, true) {
                tracing::error!(code = %codes::FILES_TOO_MANY, source = self.settings.name, file = %file.path.display(), most = self.files_max, "more files match than one source can hold; further ones wait until others are gone. Use several sources, or move old files away");
            }
            return None;
        }
        let mut identity = FileIdentity::unread(id, file.born_ns);
        let found = open(&file.path, id).and_then(|opened| {
            let start = start_of(&opened)?;
            let left = self.known.find(&identity, file, &opened, &start)?;
            Ok((opened, start, left))
        });
        let (opened, start, left) = match found {
            Ok(found) => found,
            Err(error) => {
                self.unreadable(&file.path, &error);
                return None;
            }
        };
        self.refused.remove(&file.path);
        let (pos, ending, written) = self.begin_at(file, left);
        identity.print = StartChecksum::of(
            &start[..start.len().min(usize::try_from(pos).unwrap_or(PRINT_BYTES))],
        );
        identity.ending = ending.or_else(|| TailChecksum::of(&opened, pos).ok());
        let headers = Arc::clone(&group.headers);
        let mut tail = TailedFile::new(id, file.path.clone(), headers, opened, (identity, pos));
        (tail.stamp, tail.seen_len) = (file.stamp, file.stamp.len);
        (tail.changed_at, tail.seen_at) = (now, now);
        tail.matched = true;
        // A file read from its start need not be stored, unless the next run would do otherwise.
        if !written && (left.is_some() || tail.counts(&self.settings)) {
            self.note_changed(id);
        }
        self.tails.insert(id, tail);
        Some(id)
    }

    /// Returns the start offset for a file last read to `left`, the checksum before it, and whether the journal
    /// contains it.
    fn begin_at(
        &self,
        file: &MatchedFile,
        left: Option<ResumeOffset>,
    ) -> (u64, Option<TailChecksum>, bool) {
        match left {
            Some(left) if left.rewritten || left.pos > file.stamp.len => {
                tracing::info!(source = self.settings.name, file = %file.path.display(), was = left.pos, "a file was cut or written anew since it was read; it is read from its start");
                (0, None, false)
            }
            Some(left) => (left.pos, left.ending, left.written),
            None if self.first && self.settings.skip_to_end => (file.stamp.len, None, false),
            None => (0, None, false),
        }
    }

    /// Logs once that a file cannot be read. A file removed since its listing is not an error.
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && self.refused.insert(path.to_owned()) {
            self.counters.event_read_fail.add(1);
            tracing::error!(code = %codes::FILE_UNREADABLE, source = self.settings.name, file = %path.display(), %error, "a file cannot be read; it is tried again, the others are read");
        }
    }

    /// Handles a file of the source that has changed since the last scan.
    fn changed(&mut self, id: InodeId, file: &MatchedFile, now: Duration) {
        let Some(tail) = self.tails.get_mut(&id) else { return };
        tail.stamp = file.stamp;
        tail.changed_at = now;
        let reopened = match tail.open_file() {
            Some(_) => Ok(()),
            None => open(&file.path, id).map(|opened| tail.reopen(opened)),
        };
        let start = reopened.and_then(|()| tail.open_file().map_or(Ok(Vec::new()), start_of));
        let same = start.and_then(|start| tail.is_same(&start));
        let name = || file.path.display();
        match same {
            Ok(false) => {
                tracing::info!(source = self.settings.name, file = %name(), was = tail.pos, "another file, or one that was written anew, has the number of one that was read; it is read from its start");
                let lost = tail.note_len(0, false);
                // The open file may still be the old one.
                match open(&file.path, id) {
                    Ok(opened) => tail.restart(Some(opened)),
                    Err(_) => tail.restart(None),
                }
                tail.note_len(file.stamp.len, true);
                self.note_changed(id);
                self.lost(&file.path, lost);
            }
            Ok(true) if file.stamp.len < tail.pos => {
                tracing::info!(source = self.settings.name, file = %name(), was = tail.pos, len = file.stamp.len, "a file was cut; it is read from its start");
                let lost = tail.note_len(0, false);
                tail.restart(None);
                tail.note_len(file.stamp.len, true);
                self.note_changed(id);
                self.lost(&file.path, lost);
            }
            Ok(true) => {
                let lost = tail.note_len(file.stamp.len, true);
                if lost > 0 {
                    tail.discard_read_ahead();
                }
                self.lost(&file.path, lost);
            }
            // Renamed since its listing: the next scan finds it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tail.stamp = FileStamp::default();
                tail.seen_len = tail.seen_len.max(file.stamp.len);
            }
            Err(error) => self.unreadable(&file.path, &error),
        }
    }

    /// Returns the next batch of the file, at most `most` events; `partial` also takes an unterminated last line.
    pub(super) fn read(&mut self, id: InodeId, most: usize, partial: bool) -> Option<TailBatch> {
        let settings = Arc::clone(&self.settings);
        let tail = self.tails.get_mut(&id)?;
        let from = tail.pos;
        let read = tail.ready(from).and_then(|()| tail.read(&settings, most, None, partial));
        self.batch(id, from, read, most)
    }

    /// Returns the batch of the file from `from` to `to`, as it was read before.
    pub(super) fn read_again(&mut self, id: InodeId, from: u64, to: u64) -> Option<TailBatch> {
        let settings = Arc::clone(&self.settings);
        let tail = self.tails.get_mut(&id)?;
        let read = tail.ready(from).and_then(|()| tail.read(&settings, usize::MAX, Some(to), true));
        let batch = self.batch(id, from, read, usize::MAX)?;
        let end = batch.pieces.last().map(|piece| piece.end.offset);
        (end == Some(to)).then_some(batch)
    }

    fn batch(
        &mut self,
        id: InodeId,
        from: u64,
        read: io::Result<Vec<ReadEvent>>,
        most: usize,
    ) -> Option<TailBatch> {
        let tail = self.tails.get_mut(&id)?;
        match read {
            Ok(pieces) => {
                let end = pieces.last()?.end.offset;
                if let Err(error) = tail.take_in(end) {
                    tracing::debug!(%error, "a file cannot be read once more, to know it again");
                }
                let full = pieces.len() >= most;
                Some(TailBatch { full, pieces, from, place: self.place(id)? })
            }
            Err(error) => {
                // A missing file is waited for, and counted when it is forgotten.
                let gone = !tail.matched && error.kind() == io::ErrorKind::NotFound;
                if !gone && self.refused.insert(tail.path.clone()) {
                    self.counters.event_read_fail.add(1);
                    tracing::error!(code = %codes::FILE_UNREADABLE, source = self.settings.name, file = %tail.path.display(), offset = tail.pos, %error, "a file cannot be read; it is tried again, the others are read");
                }
                // Reopened at the next scan.
                tail.close();
                tail.stamp = FileStamp::default();
                None
            }
        }
    }

    /// Records that everything of the file before `pos` is in the channels; `journal` is named by a source offset in
    /// all of them.
    pub(super) fn reached(
        &mut self,
        id: InodeId,
        pos: u64,
        journal: Option<JournalPosition>,
        now: Duration,
    ) {
        if let (Some(journal), Some(mark)) = (&mut self.journal, journal) {
            journal.committed(mark);
        }
        if let Some(tail) = self.tails.get_mut(&id) {
            tail.reached(pos);
            tail.note_growth();
            tail.changed_at = now;
            // Too many may be found again at once to keep all of them open.
            if tail.found_elsewhere && !tail.has_news() {
                tail.close();
            }
            self.refused.remove(&tail.path);
            self.note_changed(id);
        }
    }

    fn note_changed(&mut self, id: InodeId) {
        if self.journal.is_some() {
            self.changed.insert(id);
        }
    }

    /// Returns the file of an earlier run's newest batch, if it was seen.
    pub(super) fn file_of(&self, entry: &FileEntry) -> Option<InodeId> {
        self.tails
            .iter()
            .find(|(id, tail)| {
                let FileIdentity { inode, device, print, .. } = entry.identity;
                let same = id.1 == inode && device.is_none_or(|device| device == id.0);
                same && tail.identity.print == print
            })
            .map(|(id, _)| *id)
    }

    /// Returns the files to be closed because they have not changed for `idleTimeout`.
    pub(super) fn idle(&self, now: Duration) -> Vec<InodeId> {
        let idle = |tail: &TailedFile| {
            let since = now.saturating_sub(tail.changed_at);
            since >= self.settings.idle && (tail.open_file().is_some() || self.is_gone(tail, now))
        };
        self.tails.iter().filter(|(_, tail)| idle(tail)).map(|(id, _)| *id).collect()
    }

    /// Returns whether no matching name has led to the file for so long that it is forgotten. A single scan does not
    /// prove it: the name may have changed during the listing.
    fn is_gone(&self, tail: &TailedFile, now: Duration) -> bool {
        !tail.matched && now.saturating_sub(tail.seen_at) >= self.settings.idle
    }

    /// Closes the file; a removed file is forgotten.
    pub(super) fn close(&mut self, id: InodeId, now: Duration) {
        let Some(gone) = self.tails.get(&id).map(|tail| self.is_gone(tail, now)) else { return };
        let Some(tail) = self.tails.get_mut(&id) else { return };
        // Data that could not be committed, because its offset cannot be stored, is kept by the open file.
        if gone && tail.open_file().is_some() && tail.has_news() {
            return;
        }
        tail.close();
        if gone {
            let (path, unread) = (tail.path.clone(), tail.seen_len.saturating_sub(tail.pos));
            tracing::info!(source = self.settings.name, file = %path.display(), "a file that was renamed or removed is done");
            self.lost(&path, unread);
            self.refused.remove(&path);
            self.tails.remove(&id);
            self.changed.remove(&id);
            self.full = false;
        }
    }

    /// Closes the files idle longest when more than the limit are open.
    pub(super) fn close_surplus(&mut self) {
        let news = |tail: &TailedFile| tail.has_news();
        let mut open: Vec<(Duration, InodeId)> = self
            .tails
            .iter()
            .filter(|(_, tail)| tail.open_file().is_some() && tail.matched && !news(tail))
            .map(|(id, tail)| (tail.changed_at, *id))
            .collect();
        let surplus = open.len().saturating_sub(TAIL_OPEN_MAX);
        open.sort_unstable();
        for (_, id) in open.into_iter().take(surplus) {
            if let Some(tail) = self.tails.get_mut(&id) {
                tail.close();
            }
        }
    }

    /// Returns the source offset with this file as the newest; `None` while the offset cannot be stored.
    fn place(&mut self, newest: InodeId) -> Option<TailOffset> {
        if self.journal.is_none() {
            return Some(TailOffset::default());
        }
        self.write_journal();
        let entry = |(id, tail): (&InodeId, &TailedFile)| (*id != newest).then(|| tail.entry());
        let changed = self.changed.iter().filter_map(|id| self.tails.get_key_value(id));
        let tail = self.tails.get(&newest)?;
        let identity = FileIdentity { ending: tail.coming, ..tail.identity };
        let first = FileEntry { identity, pos: tail.pos };
        let mut entries = vec![first];
        entries.extend(changed.filter_map(entry));
        // Files of a directory that could not be read yet are kept.
        entries.extend(self.known.unwritten());
        let fits = entries.len() <= TAIL_CHANGED_UNWRITTEN_MAX;
        let journal = self.journal.as_ref()?.mark();
        fits.then_some(TailOffset { journal, entries, newest: 0, from: 0 })
    }

    /// Writes the offsets of changed files once there are many.
    fn write_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let many = self.changed.len() + self.known.unwritten_count() >= TAIL_CHANGED_MAX;
        if !many {
            return;
        }
        let all = journal.wants_all();
        let tails: Vec<FileEntry> = if all {
            self.tails
                .values()
                .filter(|tail| tail.counts(&self.settings))
                .map(TailedFile::entry)
                .collect()
        } else {
            self.changed.iter().filter_map(|id| Some(self.tails.get(id)?.entry())).collect()
        };
        let known = self.known.entries(all);
        let entries: Vec<FileEntry> = tails.into_iter().chain(known).collect();
        match journal.write(&entries, all) {
            Ok(()) => {
                self.changed.clear();
                self.known.written();
                if std::mem::replace(&mut self.unwritten, false) {
                    tracing::info!(
                        source = self.settings.name,
                        "the journal of file offsets is written next to the position file again"
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    self.counters.generic_processing_fail.add(1);
                    tracing::error!(code = %codes::PLACES_UNWRITABLE, source = self.settings.name, %error, most = TAIL_CHANGED_UNWRITTEN_MAX, "the journal of file offsets next to the position file cannot be written; it is tried again, and once so many files have changed, others wait");
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn refused_names(&self) -> usize {
        self.refused.len()
    }

    /// Returns the entries of Flume's position file.
    pub(super) fn lines(&self) -> Vec<PositionEntry> {
        let line = |(id, tail): (&InodeId, &TailedFile)| PositionEntry {
            inode: id.1,
            pos: tail.pos,
            file: files::absolute(&tail.path).to_string_lossy().into_owned(),
        };
        let matched = self.tails.iter().filter(|(_, tail)| tail.matched);
        matched.map(line).chain(self.known.listed().cloned()).collect()
    }
}
