//! The source's work on the disk: which files there are, what is new in them, and where each stands.

mod missing;

use super::group::{Matched, Names};
use super::identity::{Ending, Identity, PRINT_BYTES, Print};
use super::journal::Journal;
use super::known::{Known, Left};
use super::place::{Entry, JournalMark, Place};
use super::position_file::Line;
use super::tail::Tail;
use super::{Group, Settings};
use crate::base::files;
use crate::base::limits::{
    TAIL_CHANGED_MAX, TAIL_CHANGED_UNWRITTEN_MAX, TAIL_FILES_MAX, TAIL_OPEN_MAX, TAIL_SOUGHT_FOR,
};
use crate::codes;
use crate::metrics::SourceCounters;
use crate::source::reading::Stamp;
use crate::source::reading::courier::Piece;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file system and a number in it.
pub(super) type FileId = (u64, u64);

/// A batch of one file.
pub(super) struct Batch {
    pub(super) pieces: Vec<Piece>,
    pub(super) from: u64,
    /// Where the source stands, but for this batch.
    pub(super) place: Place,
    /// It has as many events as a batch may have, so there may be more.
    pub(super) full: bool,
}

/// Every file of the source.
pub(super) struct Tails {
    settings: Arc<Settings>,
    counters: Arc<SourceCounters>,
    names: Vec<Names>,
    tails: BTreeMap<FileId, Tail>,
    /// How many there may be: [`TAIL_FILES_MAX`], but in tests.
    pub(super) files_max: usize,
    /// Files of an earlier life that have not been seen yet.
    known: Known,
    /// The places of all files but those of `changed`; `None` where the channels keep no positions.
    journal: Option<Journal>,
    /// Files whose place is not in the journal as it is.
    changed: BTreeSet<FileId>,
    /// The journal cannot be written, which was said.
    unwritten: bool,
    /// No file was looked for yet.
    first: bool,
    /// When files of an earlier life that are still missing are forgotten: known once every
    /// directory could be read.
    forget_at: Option<Duration>,
    full: bool,
    /// Files that the last look found and that there was no room for.
    left_out: u64,
    /// Files that cannot be opened; each is said once.
    refused: BTreeSet<PathBuf>,
}

impl Tails {
    pub(super) fn new(
        settings: Arc<Settings>,
        counters: Arc<SourceCounters>,
        known: Known,
        journal: Option<Journal>,
    ) -> Self {
        let names = settings.groups.iter().map(|_| Names::default()).collect();
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

    /// Looks for files, and answers those in which there is something to read, in their order.
    pub(super) fn look(&mut self, now: Duration, wall_ns: i64) -> Vec<FileId> {
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
        // Names that are gone are not said again, whatever is made under them later.
        self.refused.retain(|path| path.symlink_metadata().is_ok());
        if all_seen && now >= *self.forget_at.get_or_insert(now + TAIL_SOUGHT_FOR) {
            // What is not there any more was done, or removed, while nobody looked. One look does
            // not tell: a name can change between being listed and being looked at.
            self.known.clear();
        }
        self.counters.files_left_out.set(self.left_out);
        self.counters.empty_patterns.set(empty);
        self.full &= self.left_out > 0;
        self.first &= !all_seen;
        let seen: BTreeSet<FileId> = order.iter().copied().collect();
        // Files that were renamed or removed are read to their end all the same.
        order.extend(self.tails.keys().filter(|id| !seen.contains(id)).copied());
        order.retain(|id| self.tails.get(id).is_some_and(Tail::has_news));
        order
    }

    /// A pattern that matches nothing is said once, and again when that has changed in between.
    fn say_empty(&mut self, at: usize, group: &Group, empty: bool) {
        let said = std::mem::replace(&mut self.names[at].said_empty, empty);
        if empty && !said {
            let directory = group.directory.display();
            tracing::warn!(code = %codes::FILE_GROUP_EMPTY, source = self.settings.name, group = group.name, %directory, pattern = group.pattern, "no file of the directory matches the pattern of the file group; the source waits for one");
        }
    }

    fn closed(&mut self, at: usize, group: &Group, error: &io::Error) {
        if !std::mem::replace(&mut self.names[at].closed, true) {
            let directory = group.directory.display();
            tracing::error!(code = %codes::FILE_GROUP_UNREADABLE, source = self.settings.name, group = group.name, %directory, %error, "the directory of a file group cannot be read; it is tried again, the other groups go on");
            self.counters.event_read_fail.add(1);
        }
    }

    /// Notes what a file looks like now, and answers it if it is one of the source's.
    fn see(&mut self, group: &Group, file: &Matched, now: Duration) -> Option<FileId> {
        let id = (file.device, file.stamp.inode);
        if self.tails.get(&id).is_some_and(|tail| !tail.is_still(file.stamp)) {
            self.changed(id, file, now);
        }
        if let Some(tail) = self.tails.get_mut(&id) {
            // A file that two groups name is of the first.
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
        let mut identity = Identity::unread(id, file.born_ns);
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
        identity.print =
            Print::of(&start[..start.len().min(usize::try_from(pos).unwrap_or(PRINT_BYTES))]);
        identity.ending = ending.or_else(|| Ending::of(&opened, pos).ok());
        let headers = Arc::clone(&group.headers);
        let mut tail = Tail::new(id, file.path.clone(), headers, opened, (identity, pos));
        (tail.stamp, tail.seen_len) = (file.stamp, file.stamp.len);
        (tail.changed_at, tail.seen_at) = (now, now);
        tail.matched = true;
        // One that is read from its start need not be kept, unless the next life would not do so.
        if !written && (left.is_some() || tail.counts(&self.settings)) {
            self.note_changed(id);
        }
        self.tails.insert(id, tail);
        Some(id)
    }

    /// Where reading begins in a file that was left there, what stands before that, and whether the
    /// journal has it so.
    fn begin_at(&self, file: &Matched, left: Option<Left>) -> (u64, Option<Ending>, bool) {
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

    /// Says once that a file cannot be read. One that is gone since it was listed is no trouble.
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && self.refused.insert(path.to_owned()) {
            self.counters.event_read_fail.add(1);
            tracing::error!(code = %codes::FILE_UNREADABLE, source = self.settings.name, file = %path.display(), %error, "a file cannot be read; it is tried again, the others go on");
        }
    }

    /// A file of the source has changed since it was looked at last.
    fn changed(&mut self, id: FileId, file: &Matched, now: Duration) {
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
                // What is open may be the old file still.
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
                    tail.forget_ahead();
                }
                self.lost(&file.path, lost);
            }
            // Under another name since it was listed: the next look tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tail.stamp = Stamp::default();
                tail.seen_len = tail.seen_len.max(file.stamp.len);
            }
            Err(error) => self.unreadable(&file.path, &error),
        }
    }

    /// The next batch of the file, `most` events at most; `partial` takes a last line without its
    /// end as well.
    pub(super) fn read(&mut self, id: FileId, most: usize, partial: bool) -> Option<Batch> {
        let settings = Arc::clone(&self.settings);
        let tail = self.tails.get_mut(&id)?;
        let from = tail.pos;
        let read = tail.ready(from).and_then(|()| tail.read(&settings, most, None, partial));
        self.batch(id, from, read, most)
    }

    /// The batch of the file that begins at `from` and ends at `to`, as it was read before.
    pub(super) fn read_again(&mut self, id: FileId, from: u64, to: u64) -> Option<Batch> {
        let settings = Arc::clone(&self.settings);
        let tail = self.tails.get_mut(&id)?;
        let read = tail.ready(from).and_then(|()| tail.read(&settings, usize::MAX, Some(to), true));
        let batch = self.batch(id, from, read, usize::MAX)?;
        let end = batch.pieces.last().map(|piece| piece.end.offset);
        (end == Some(to)).then_some(batch)
    }

    fn batch(
        &mut self,
        id: FileId,
        from: u64,
        read: io::Result<Vec<Piece>>,
        most: usize,
    ) -> Option<Batch> {
        let tail = self.tails.get_mut(&id)?;
        match read {
            Ok(pieces) => {
                let end = pieces.last()?.end.offset;
                if let Err(error) = tail.take_in(end) {
                    tracing::debug!(%error, "a file cannot be read once more, to know it again");
                }
                let full = pieces.len() >= most;
                Some(Batch { full, pieces, from, place: self.place(id)? })
            }
            Err(error) => {
                // One that is gone is waited for, and counted when it is forgotten.
                let gone = !tail.matched && error.kind() == io::ErrorKind::NotFound;
                if !gone && self.refused.insert(tail.path.clone()) {
                    self.counters.event_read_fail.add(1);
                    tracing::error!(code = %codes::FILE_UNREADABLE, source = self.settings.name, file = %tail.path.display(), offset = tail.pos, %error, "a file cannot be read; it is tried again, the others go on");
                }
                // Opened anew at the next look.
                tail.close();
                tail.stamp = Stamp::default();
                None
            }
        }
    }

    /// Everything of the file before `pos` is in the channels; `journal` is what a position names that
    /// all of them have.
    pub(super) fn reached(
        &mut self,
        id: FileId,
        pos: u64,
        journal: Option<JournalMark>,
        now: Duration,
    ) {
        if let (Some(journal), Some(mark)) = (&mut self.journal, journal) {
            journal.committed(mark);
        }
        if let Some(tail) = self.tails.get_mut(&id) {
            tail.reached(pos);
            tail.note_growth();
            tail.changed_at = now;
            // So many may be found again at once that all of them cannot be open.
            if tail.found_elsewhere && !tail.has_news() {
                tail.close();
            }
            self.refused.remove(&tail.path);
            self.note_changed(id);
        }
    }

    fn note_changed(&mut self, id: FileId) {
        if self.journal.is_some() {
            self.changed.insert(id);
        }
    }

    /// The file of the newest batch of an earlier life, if it is among those seen.
    pub(super) fn file_of(&self, entry: &Entry) -> Option<FileId> {
        self.tails
            .iter()
            .find(|(id, tail)| {
                let Identity { inode, device, print, .. } = entry.identity;
                let same = id.1 == inode && device.is_none_or(|device| device == id.0);
                same && tail.identity.print == print
            })
            .map(|(id, _)| *id)
    }

    /// Files that nobody has written to for so long that they are closed.
    pub(super) fn idle(&self, now: Duration) -> Vec<FileId> {
        let idle = |tail: &Tail| {
            let since = now.saturating_sub(tail.changed_at);
            since >= self.settings.idle && (tail.open_file().is_some() || self.is_gone(tail, now))
        };
        self.tails.iter().filter(|(_, tail)| idle(tail)).map(|(id, _)| *id).collect()
    }

    /// Whether no name of a group has led to it for so long that it is forgotten. A look that misses
    /// it does not tell: its name may have changed while the directory was listed.
    fn is_gone(&self, tail: &Tail, now: Duration) -> bool {
        !tail.matched && now.saturating_sub(tail.seen_at) >= self.settings.idle
    }

    /// Closes the file; one that is gone is forgotten.
    pub(super) fn close(&mut self, id: FileId, now: Duration) {
        let Some(gone) = self.tails.get(&id).map(|tail| self.is_gone(tail, now)) else { return };
        let Some(tail) = self.tails.get_mut(&id) else { return };
        // What could not be handed over, as its place cannot be kept, waits where it is open.
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

    /// Closes those that were left alone longest, where more are open than should be.
    pub(super) fn close_surplus(&mut self) {
        let news = |tail: &Tail| tail.has_news();
        let mut open: Vec<(Duration, FileId)> = self
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

    /// Where the source stands, with the file of this number as the newest; `None` while that cannot be
    /// kept.
    fn place(&mut self, newest: FileId) -> Option<Place> {
        if self.journal.is_none() {
            return Some(Place::default());
        }
        self.write_journal();
        let entry = |(id, tail): (&FileId, &Tail)| (*id != newest).then(|| tail.entry());
        let changed = self.changed.iter().filter_map(|id| self.tails.get_key_value(id));
        let tail = self.tails.get(&newest)?;
        let identity = Identity { ending: tail.coming, ..tail.identity };
        let first = Entry { identity, pos: tail.pos };
        let mut entries = vec![first];
        entries.extend(changed.filter_map(entry));
        // Files of a directory that could not be read yet are not forgotten.
        entries.extend(self.known.unwritten());
        let fits = entries.len() <= TAIL_CHANGED_UNWRITTEN_MAX;
        let journal = self.journal.as_ref()?.mark();
        fits.then_some(Place { journal, entries, newest: 0, from: 0 })
    }

    /// Writes the places of files that changed, once they are many.
    fn write_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let many = self.changed.len() + self.known.unwritten_count() >= TAIL_CHANGED_MAX;
        if !many {
            return;
        }
        let all = journal.wants_all();
        let tails: Vec<Entry> = if all {
            self.tails
                .values()
                .filter(|tail| tail.counts(&self.settings))
                .map(Tail::entry)
                .collect()
        } else {
            self.changed.iter().filter_map(|id| Some(self.tails.get(id)?.entry())).collect()
        };
        let known = self.known.entries(all);
        let entries: Vec<Entry> = tails.into_iter().chain(known).collect();
        match journal.write(&entries, all) {
            Ok(()) => {
                self.changed.clear();
                self.known.written();
                if std::mem::replace(&mut self.unwritten, false) {
                    tracing::info!(
                        source = self.settings.name,
                        "the places of files are written beside the position file again"
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    self.counters.generic_processing_fail.add(1);
                    tracing::error!(code = %codes::PLACES_UNWRITABLE, source = self.settings.name, %error, most = TAIL_CHANGED_UNWRITTEN_MAX, "the places of files cannot be written beside the position file; it is tried again, and once so many files have changed others wait");
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn refused_names(&self) -> usize {
        self.refused.len()
    }

    /// What Flume's position file says.
    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |(id, tail): (&FileId, &Tail)| Line {
            inode: id.1,
            pos: tail.pos,
            file: files::absolute(&tail.path).to_string_lossy().into_owned(),
        };
        let matched = self.tails.iter().filter(|(_, tail)| tail.matched);
        matched.map(line).chain(self.known.listed().cloned()).collect()
    }
}

/// Opens the file of this number. A name may lead to another one by now, as where a log was turned
/// since its directory was listed; that is [`io::ErrorKind::NotFound`].
pub(super) fn open(path: &Path, id: FileId) -> io::Result<File> {
    let file = files::open_laid(path)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) != id {
        let what = "another file has its name, and it was not open";
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    Ok(file)
}

/// The first bytes of a file.
pub(super) fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; PRINT_BYTES];
    let mut have = 0;
    while have < start.len() {
        match file.read_at(&mut start[have..], have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    start.truncate(have);
    Ok(start)
}
