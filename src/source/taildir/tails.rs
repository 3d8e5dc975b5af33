//! The source's work on the disk: which files there are, what is new in them, and where each stands.

use super::group::{Matched, Names};
use super::place::{Entry, PRINT_BYTES, Place, Print};
use super::position_file::Line;
use super::tail::Tail;
use super::{Group, Settings};
use crate::base::files;
use crate::base::limits::{TAIL_FILES_MARKED_MAX, TAIL_FILES_MAX, TAIL_OPEN_MAX, TAIL_SOUGHT_FOR};
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

/// What was known of files before this life.
#[derive(Default)]
pub(super) struct Known {
    /// By their channels.
    pub(super) marked: Vec<Entry>,
    /// By Flume's position file, where that knows better.
    pub(super) listed: Vec<Line>,
}

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
    /// Files of an earlier life that have not been seen yet.
    marked: Vec<Entry>,
    listed: Vec<Line>,
    /// The channels keep the source's place.
    kept: bool,
    files_max: usize,
    /// No file was looked for yet.
    first: bool,
    /// When files of an earlier life that are still missing are forgotten: known once every
    /// directory could be read.
    forget_at: Option<Duration>,
    full: bool,
    /// Files that cannot be opened; each is said once.
    refused: BTreeSet<PathBuf>,
}

impl Tails {
    pub(super) fn new(
        settings: Arc<Settings>,
        counters: Arc<SourceCounters>,
        known: Known,
        kept: bool,
    ) -> Self {
        let names = settings.groups.iter().map(|_| Names::default()).collect();
        let Known { marked, listed } = known;
        Self {
            settings,
            counters,
            names,
            tails: BTreeMap::new(),
            marked,
            listed,
            kept,
            files_max: if kept { TAIL_FILES_MARKED_MAX } else { TAIL_FILES_MAX },
            first: true,
            forget_at: None,
            full: false,
            refused: BTreeSet::new(),
        }
    }

    /// Looks for files, and answers those in which there is something to read, in their order.
    pub(super) fn look(&mut self, now: Duration, wall_ns: i64) -> Vec<FileId> {
        let settings = Arc::clone(&self.settings);
        let (mut order, mut all_seen) = (Vec::new(), true);
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
            for file in matched {
                order.extend(self.see(group, &file, now));
            }
        }
        self.find_renamed(now, &mut order);
        if all_seen && now >= *self.forget_at.get_or_insert(now + TAIL_SOUGHT_FOR) {
            // What is not there any more was done, or removed, while nobody looked. One look does
            // not tell: a name can change between being listed and being looked at.
            self.marked.clear();
            self.listed.clear();
        }
        self.first &= !all_seen;
        let seen: BTreeSet<FileId> = order.iter().copied().collect();
        // Files that were renamed or removed are read to their end all the same.
        order.extend(self.tails.keys().filter(|id| !seen.contains(id)).copied());
        order.retain(|id| self.tails.get(id).is_some_and(Tail::has_news));
        order
    }

    fn closed(&mut self, at: usize, group: &Group, error: &io::Error) {
        if !std::mem::replace(&mut self.names[at].closed, true) {
            let directory = group.directory.display();
            tracing::error!(source = self.settings.name, group = group.name, %directory, %error, "the directory of a file group cannot be read; it is tried again, the other groups go on");
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
            tail.seen_at = now;
            if tail.path != file.path && first {
                tracing::info!(source = self.settings.name, from = %tail.path.display(), to = %file.path.display(), "a file was renamed");
                tail.path.clone_from(&file.path);
            }
            return first.then_some(id);
        }
        if self.tails.len() >= self.files_max {
            if !std::mem::replace(&mut self.full, true) {
                tracing::error!(source = self.settings.name, file = %file.path.display(), most = self.files_max, "more files match than one source can hold; further ones wait until others are gone. Use several sources");
            }
            return None;
        }
        let opened = open(&file.path, id).and_then(|opened| {
            let start = start_of(&opened)?;
            Ok((opened, start))
        });
        let (opened, start) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Gone since it was listed is no trouble.
                if error.kind() != io::ErrorKind::NotFound && self.refused.insert(file.path.clone())
                {
                    self.counters.event_read_fail.add(1);
                    tracing::error!(source = self.settings.name, file = %file.path.display(), %error, "a file cannot be read; it is tried again, the others go on");
                }
                return None;
            }
        };
        self.refused.remove(&file.path);
        let known = self.known(file, &start);
        let pos = match known {
            Some(pos) if pos <= file.stamp.len => pos,
            Some(_) => 0,
            None if self.first && self.settings.skip_to_end => file.stamp.len,
            None => 0,
        };
        let mut tail = Tail::new(id, file.path.clone(), Arc::clone(&group.headers), opened, pos);
        tail.print =
            Print::of(&start[..start.len().min(usize::try_from(pos).unwrap_or(PRINT_BYTES))]);
        tail.stamp = file.stamp;
        (tail.changed_at, tail.seen_at) = (now, now);
        tail.matched = true;
        self.tails.insert(id, tail);
        Some(id)
    }

    /// The place at which an earlier life left the file.
    fn known(&mut self, file: &Matched, start: &[u8]) -> Option<u64> {
        let inode = file.stamp.inode;
        // One that was made since is another, whatever number it got and however it begins.
        if file.is_new {
            return None;
        }
        let path = files::absolute(&file.path);
        let same = |line: &Line| line.inode == inode && Path::new(&line.file) == path;
        if let Some(at) = self.listed.iter().position(same) {
            self.marked.retain(|entry| entry.inode != inode);
            return Some(self.listed.swap_remove(at).pos);
        }
        let fits = |entry: &Entry| entry.inode == inode && entry.print.fits(start);
        let at = self.marked.iter().position(fits)?;
        Some(self.marked.swap_remove(at).pos)
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
        let name = || file.path.display();
        match start {
            Ok(start) if !tail.print.fits(&start) => {
                tracing::info!(source = self.settings.name, file = %name(), was = tail.pos, "another file, or one that was written anew, has the number of one that was read; it is read from its start");
                // What is open may be the old file still.
                match open(&file.path, id) {
                    Ok(opened) => tail.restart(Some(opened)),
                    Err(_) => tail.restart(None),
                }
            }
            Ok(_) if file.stamp.len < tail.pos => {
                tracing::info!(source = self.settings.name, file = %name(), was = tail.pos, len = file.stamp.len, "a file was cut; it is read from its start");
                tail.restart(None);
            }
            Ok(_) => {}
            // Under another name since it was listed: the next look tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => tail.stamp = Stamp::default(),
            Err(error) => {
                if self.refused.insert(file.path.clone()) {
                    self.counters.event_read_fail.add(1);
                    tracing::error!(source = self.settings.name, file = %name(), %error, "a file cannot be read; it is tried again, the others go on");
                }
            }
        }
    }

    /// Files of an earlier life that got a name that no group has, while nobody looked: what they
    /// hold beyond the known place is still to be read. Only a print tells that they are the same.
    fn find_renamed(&mut self, now: Duration, order: &mut Vec<FileId>) {
        if self.marked.is_empty() {
            return;
        }
        let settings = Arc::clone(&self.settings);
        for (at, group) in settings.groups.iter().enumerate() {
            let Ok(listed) = files::list(&group.directory) else { continue };
            for path in listed.filter_map(|entry| Some(entry.ok()?.path())) {
                let Ok(found) = path.metadata() else { continue };
                let (stamp, id) = (Stamp::of(&found), (found.dev(), found.ino()));
                let wanted = |entry: &Entry| entry.inode == stamp.inode && entry.print.len > 0;
                if !found.is_file()
                    || self.tails.contains_key(&id)
                    || !self.marked.iter().any(wanted)
                {
                    continue;
                }
                let file = self.names[at].file(path, &found);
                let Some(start) = open(&file.path, id).and_then(|f| start_of(&f)).ok() else {
                    continue;
                };
                if self.marked.iter().any(|entry| wanted(entry) && entry.print.fits(&start)) {
                    tracing::info!(source = self.settings.name, file = %file.path.display(), "a file that was renamed meanwhile is read to its end");
                    order.extend(self.see(group, &file, now));
                    if let Some(tail) = self.tails.get_mut(&id) {
                        tail.matched = false;
                    }
                }
            }
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
                if let Err(error) = tail.look_at_start(end) {
                    tracing::debug!(%error, "the start of a file cannot be read");
                }
                let full = pieces.len() >= most;
                Some(Batch { full, pieces, from, place: self.place(id) })
            }
            Err(error) => {
                if self.refused.insert(tail.path.clone()) {
                    self.counters.event_read_fail.add(1);
                    tracing::error!(source = self.settings.name, file = %tail.path.display(), offset = tail.pos, %error, "a file cannot be read; it is tried again, the others go on");
                }
                // Opened anew at the next look.
                tail.close();
                tail.stamp = Stamp::default();
                None
            }
        }
    }

    /// Everything of the file before `pos` is in the channels.
    pub(super) fn reached(&mut self, id: FileId, pos: u64, now: Duration) {
        if let Some(tail) = self.tails.get_mut(&id) {
            tail.pos = pos;
            tail.changed_at = now;
            self.refused.remove(&tail.path);
        }
    }

    /// The file of the newest batch of an earlier life, if it is among those seen.
    pub(super) fn file_of(&self, entry: &Entry) -> Option<FileId> {
        self.tails
            .iter()
            .find(|(id, tail)| id.1 == entry.inode && tail.print == entry.print)
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
        let Some(tail) = self.tails.get_mut(&id) else { return };
        tail.close();
        if let Some(tail) = self.tails.get(&id)
            && self.is_gone(tail, now)
        {
            tracing::info!(source = self.settings.name, file = %tail.path.display(), "a file that was renamed or removed is done");
            self.tails.remove(&id);
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

    /// Where the source stands, with the file of this number as the newest.
    fn place(&self, newest: FileId) -> Place {
        let entry =
            |(id, tail): (&FileId, &Tail)| Entry { inode: id.1, print: tail.print, pos: tail.pos };
        if !self.kept {
            return Place::default();
        }
        let at = self.tails.keys().position(|id| *id == newest).unwrap_or_default();
        let mut entries: Vec<Entry> = self.tails.iter().map(entry).collect();
        // Files of a directory that could not be read yet are not forgotten.
        let room = self.files_max.saturating_sub(entries.len());
        entries.extend(self.marked.iter().take(room));
        Place { entries, newest: at, from: 0 }
    }

    /// What Flume's position file says.
    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |(id, tail): (&FileId, &Tail)| Line {
            inode: id.1,
            pos: tail.pos,
            file: files::absolute(&tail.path).to_string_lossy().into_owned(),
        };
        let matched = self.tails.iter().filter(|(_, tail)| tail.matched);
        matched.map(line).chain(self.listed.iter().cloned()).collect()
    }
}

/// Opens the file of this number. A name may lead to another one by now, as where a log was turned
/// since its directory was listed; that is [`io::ErrorKind::NotFound`].
pub(super) fn open(path: &Path, id: FileId) -> io::Result<File> {
    let file = files::open_regular(path)?;
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
