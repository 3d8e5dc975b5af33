//! The source's work on the disk: choose a file, read a batch of it, put it away when it is done.

use super::aside::{Aside, Entry, Why};
use super::deserializer::{Deserializer, Unreadable};
use super::directory::{Found, Listing, is_done};
use super::place::{Place, Within};
use super::tracker::{Tracker, done_name};
use super::{Finish, Settings};
use crate::base::files;
use crate::base::limits::FILE_BATCH_BYTES_MAX;
use crate::codes;
use crate::event::Event;
use crate::flow::source::Failure;
use crate::metrics::SourceCounters;
use crate::source::reading::courier::Piece;
use crate::source::reading::input::Input;
use crate::source::reading::{Point, Stamp};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the source has to do next.
pub(super) enum Turn {
    /// Hand these over, which begin at the point.
    Batch(Vec<Piece>, Point),
    /// A file is done: note that there is none in progress.
    Done,
    /// There is nothing to read now.
    Idle,
}

/// The file in progress.
struct Current {
    path: PathBuf,
    /// As it was when it was opened, or found grown.
    stamp: Stamp,
    input: Input<File>,
    deserializer: Box<dyn Deserializer>,
    /// Everything before it is in the channels.
    point: Point,
    /// Something of it is in the channels, be it an empty event.
    begun: bool,
    /// It was looked at behind its last byte and had not changed: its last line is whole.
    whole: bool,
    /// Where the batch ends that has to be read exactly so again.
    again_to: Option<Point>,
}

/// The spooling directory.
pub(super) struct Spool {
    settings: Arc<Settings>,
    counters: Arc<SourceCounters>,
    listing: Listing,
    current: Option<Current>,
    aside: Aside,
    tracker: Tracker,
    /// The directory, or the tracker file, was in trouble when it was last used.
    unlisted: bool,
    untracked: bool,
    full: bool,
}

impl Spool {
    /// Looks whether the directory can be worked in.
    pub(super) fn open(
        settings: Arc<Settings>,
        counters: Arc<SourceCounters>,
    ) -> Result<Self, Failure> {
        let directory = &settings.directory;
        let about = |what: &str, path: &Path| format!("{what} {}", path.display());
        files::list(directory)
            .map_err(|error| Failure::caused(about("cannot read spoolDir", directory), error))?;
        if settings.finish == Finish::Rename {
            let canary = directory.join(format!(".millpond-{}.canary", std::process::id()));
            let tried = files::create_new(&canary).and_then(|_| files::remove(&canary));
            let what = "cannot make and remove files, as renaming asks for, in spoolDir";
            tried.map_err(|error| Failure::caused(about(what, directory), error))?;
        }
        let tracker = &settings.tracker;
        files::create_directory(tracker)
            .map_err(|error| Failure::caused(about("cannot make trackerDir", tracker), error))?;
        let aside = Aside::load(tracker).map_err(|error| {
            let what = "cannot read what is known of files that were set aside; repair or remove";
            Failure::caused(about(what, &tracker.join(".millpond-aside.json")), error)
        })?;
        let tracker = Tracker::new(tracker);
        Ok(Self {
            settings,
            counters,
            listing: Listing::default(),
            current: None,
            aside,
            tracker,
            unlisted: false,
            untracked: false,
            full: false,
        })
    }

    /// Goes on where the channels say that the source was, or, when nobody ever told them, where
    /// Flume's tracker file says. Answers whether the newest batch can be read again, if it has to.
    pub(super) fn resume(&mut self, known: bool, within: Option<Within>, again: bool) -> bool {
        if let Some(Within { place, from, to }) = within {
            let point = if again { from } else { to };
            let opened = self.opened(&place.path, point, true);
            let same = |current: &Current| {
                let (was, is) = (place.stamp, current.stamp);
                was.inode == is.inode && to.offset <= is.len && (was == is || was.len < is.len)
            };
            self.current = opened.ok().filter(same);
            if let Some(current) = &mut self.current {
                current.again_to = again.then_some(to);
            }
            return self.current.is_some();
        }
        if known {
            return false;
        }
        match self.tracker.read() {
            Ok(Some((path, offset))) if offset > 0 && !is_done(&path, &self.settings) => {
                let opened = self.opened(&path, Point::at(offset), true);
                self.current = opened.ok().filter(|current| offset <= current.stamp.len);
            }
            Ok(_) => {}
            Err(error) => {
                let path = self.tracker.path().display();
                tracing::error!(code = %codes::TRACKER_UNREADABLE, source = self.settings.name, %path, %error, "Flume's tracker file cannot be read; the file that was in progress is read from its start");
            }
        }
        false
    }

    /// What the place of the file in progress is known by.
    pub(super) fn place(&self) -> Place {
        let place = |current: &Current| Place { path: current.path.clone(), stamp: current.stamp };
        self.current
            .as_ref()
            .map_or_else(|| Place { path: PathBuf::new(), stamp: Stamp::default() }, place)
    }

    /// Everything of the file in progress before `point` is in the channels.
    pub(super) fn reached(&mut self, point: Point) {
        let Some(current) = &mut self.current else { return };
        current.point = point;
        current.begun = true;
        current.again_to = None;
        let stored = self.tracker.store(&current.path, point.offset);
        if let Err(error) = &stored
            && !self.untracked
        {
            let path = self.tracker.path().display();
            tracing::error!(code = %codes::TRACKER_UNWRITABLE, source = self.settings.name, %path, %error, "Flume's tracker file cannot be written; after a kill, lines of the file in progress may come again where the channel keeps no positions");
        }
        self.untracked = stored.is_err();
    }

    /// No channel can hold what comes next in the file in progress.
    pub(super) fn unfit(&mut self, why: &str, now: Duration) {
        self.counters.generic_processing_fail.add(1);
        self.set_aside(Why::Unfit, why, now);
    }

    /// What to do next. `most` is the most events of a batch.
    pub(super) fn turn(&mut self, most: usize, now: Duration) -> Turn {
        loop {
            if self.current.is_none() && !self.open_next(now) {
                return Turn::Idle;
            }
            let Some(current) = &mut self.current else { continue };
            let read = current.read(most);
            if let Ok(pieces) = &read
                && !pieces.is_empty()
            {
                let (pieces, point) = (read.unwrap_or_default(), current.point);
                return Turn::Batch(self.dress(pieces), point);
            }
            match read {
                Ok(_) if current.again_to.take().is_some() => {}
                Ok(_) => {
                    if let Some(turn) = self.at_the_end(now) {
                        return turn;
                    }
                }
                Err(error) => {
                    self.counters.event_read_fail.add(1);
                    let why = match error {
                        Unreadable::Io(_) => Why::Refused,
                        Unreadable::Undecodable { .. } | Unreadable::NoContainer { .. } => {
                            Why::Undecodable
                        }
                    };
                    self.set_aside(why, &error.to_string(), now);
                }
            }
        }
    }

    /// Adds the headers that say where the events are from.
    fn dress(&self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        let Some(current) = &self.current else { return pieces };
        let mut headers = Vec::new();
        if let Some(key) = &self.settings.file_header {
            headers.push((key, files::absolute(&current.path).to_string_lossy().into_owned()));
        }
        if let Some(key) = &self.settings.basename_header {
            let name = current.path.file_name().unwrap_or_default();
            headers.push((key, name.to_string_lossy().into_owned()));
        }
        for piece in &mut pieces {
            for (key, value) in &headers {
                piece.event.headers.set(key.as_str(), value.as_str());
            }
        }
        pieces
    }

    /// Opens the next file; false when there is none now.
    fn open_next(&mut self, now: Duration) -> bool {
        if self.aside.prune() {
            self.save_aside();
        }
        let full = self.aside.is_full();
        if full && !self.full {
            let path = self.aside.file().display();
            tracing::error!(code = %codes::SPOOL_ASIDE_FULL, source = self.settings.name, %path, "as many files are set aside as can be; no other file is read until some of them are gone");
        }
        self.full = full;
        loop {
            let (aside, settings) = (&self.aside, &self.settings);
            let due = |found: &Found| {
                let free = || done_path(settings, &found.path).symlink_metadata().is_err();
                !full && !aside.holds(&found.path, found.stamp, now, free)
            };
            let found = match self.listing.next(settings, now, due) {
                Ok(found) => found,
                Err(error) => {
                    if !self.unlisted {
                        let directory = self.settings.directory.display();
                        tracing::error!(code = %codes::SPOOL_UNREADABLE, source = self.settings.name, %directory, %error, "spoolDir cannot be read; it is tried again");
                        self.counters.event_read_fail.add(1);
                    }
                    self.unlisted = true;
                    return false;
                }
            };
            self.unlisted = false;
            self.counters.files_left_out.set(self.listing.too_deep);
            let Some(Found { path, stamp }) = found else { return false };
            let known = self.aside.take(&path, stamp);
            let (point, begun) =
                known.as_ref().map_or_else(Default::default, |e| (e.point, e.begun));
            match self.opened(&path, point, begun) {
                Ok(current) => {
                    self.current = Some(current);
                    return true;
                }
                // Somebody has taken it away since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.aside.forget(&path),
                Err(error) => {
                    self.counters.event_read_fail.add(1);
                    let entry = Entry::new(Why::Refused, stamp, point, begun);
                    self.keep_aside(path, entry, &error.to_string(), now);
                }
            }
        }
    }

    fn opened(&self, path: &Path, point: Point, begun: bool) -> io::Result<Current> {
        let file = files::open_laid(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut start = [0; 4];
        let mut have = 0;
        while have < start.len() {
            match file.read_at(&mut start[have..], have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (deserializer, from) = self.settings.format.open(&start[..have], point);
        Ok(Current {
            path: path.to_owned(),
            stamp,
            input: Input::new(file, from.offset),
            deserializer,
            point: from,
            begun,
            whole: false,
            again_to: None,
        })
    }

    /// Behind the last event of the file in progress: whether it is done, or why not.
    fn at_the_end(&mut self, now: Duration) -> Option<Turn> {
        let current = self.current.as_mut()?;
        let found = match current.path.metadata() {
            Ok(found) => Stamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_alone("it was removed or renamed while it was read");
                return Some(Turn::Done);
            }
            Err(error) => {
                self.set_aside(Why::Refused, &error.to_string(), now);
                return None;
            }
        };
        let was = std::mem::replace(&mut current.stamp, found);
        if found.inode != was.inode {
            self.leave_alone(
                "another file was put in its place while it was read; the new one is read next",
            );
            return Some(Turn::Done);
        }
        if found.len > was.len {
            self.set_aside(
                Why::Grown,
                "it grew while it was read; the rest comes when nobody writes to it",
                now,
            );
            return None;
        }
        if found != was {
            self.set_aside(Why::Rewritten, "it was changed while it was read; what was read is in the channels, the file stays as it is", now);
            return None;
        }
        // What stands behind the last newline is a line, now that the file is known to be whole; an
        // empty file is an empty event, as in Flume.
        if !std::mem::replace(&mut current.whole, true) {
            return None;
        }
        if !current.begun {
            let piece = Piece { event: Event::new(Bytes::new()), end: current.point };
            return Some(Turn::Batch(self.dress(vec![piece]), self.current.as_ref()?.point));
        }
        self.finish(now)
    }

    /// Puts the file away that is done.
    fn finish(&mut self, now: Duration) -> Option<Turn> {
        let path = self.current.as_ref()?.path.clone();
        let done = done_path(&self.settings, &path);
        let finished = match self.settings.finish {
            Finish::Delete => files::remove(&path),
            Finish::Rename => files::rename_new(&path, &done),
            Finish::Note => done
                .parent()
                .map_or(Ok(()), files::create_directory)
                .and_then(|()| files::create_new(&done).map(drop)),
        };
        match finished {
            Ok(()) => {
                tracing::info!(source = self.settings.name, file = %path.display(), "a file is done");
                self.leave();
                Some(Turn::Done)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = format!(
                    "{} is there already; everything is read, the file keeps its name until the other is moved away",
                    done.display()
                );
                self.set_aside(Why::NameTaken, &why, now);
                None
            }
            Err(error) => {
                let why = format!("everything is read, but it cannot be put away: {error}");
                self.set_aside(Why::Refused, &why, now);
                None
            }
        }
    }

    fn leave_alone(&mut self, why: &str) {
        if let Some(current) = &self.current {
            let (file, offset) = (current.path.display(), current.point.offset);
            tracing::warn!(source = self.settings.name, %file, offset, "{why}");
        }
        self.leave();
    }

    /// No file is in progress any more.
    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            self.aside.forget(&current.path);
            self.save_aside();
        }
        // As Flume does, which says so in a directory of its own already.
        if self.settings.finish == Finish::Note {
            return;
        }
        if let Err(error) = self.tracker.forget() {
            let path = self.tracker.path().display();
            tracing::error!(code = %codes::TRACKER_UNWRITABLE, source = self.settings.name, %path, %error, "Flume's tracker file cannot be removed");
        }
    }

    fn set_aside(&mut self, why: Why, words: &str, now: Duration) {
        let Some(current) = self.current.take() else { return };
        let entry = Entry::new(why, current.stamp, current.point, current.begun);
        self.keep_aside(current.path, entry, words, now);
    }

    fn keep_aside(&mut self, path: PathBuf, entry: Entry, words: &str, now: Duration) {
        let (file, offset) = (path.display().to_string(), entry.point.offset);
        if self.aside.put(path, entry, now, self.settings.poll_delay) {
            tracing::error!(
                code = %codes::SPOOL_FILE_SET_ASIDE,
                source = self.settings.name,
                file,
                offset,
                "the file is set aside, the others go on: {words}"
            );
        }
        self.save_aside();
    }

    fn save_aside(&self) {
        if let Err(error) = self.aside.save() {
            let path = self.aside.file().display();
            tracing::error!(code = %codes::TRACKER_UNWRITABLE, source = self.settings.name, %path, %error, "cannot write down which files are set aside; after a restart lines of them may come again");
        }
    }
}

impl Current {
    /// Events from where reading stands, `most` at most.
    fn read(&mut self, most: usize) -> Result<Vec<Piece>, Unreadable> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        let whole = self.whole || self.again_to.is_some();
        loop {
            let full = match self.again_to {
                Some(to) => self.deserializer.point(&self.input) >= to,
                None => pieces.len() >= most || bytes >= FILE_BATCH_BYTES_MAX,
            };
            if full {
                return Ok(pieces);
            }
            match self.deserializer.next(&mut self.input, whole) {
                Ok(Some(event)) => {
                    bytes += event.size_bytes();
                    pieces.push(Piece { event, end: self.deserializer.point(&self.input) });
                }
                Ok(None) => return Ok(pieces),
                // What stands before is handed over; then this comes again.
                Err(_) if !pieces.is_empty() => return Ok(pieces),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The name that says that the file at `path` is done.
fn done_path(settings: &Settings, path: &Path) -> PathBuf {
    match settings.finish {
        Finish::Note => {
            let below = path.strip_prefix(&settings.directory).unwrap_or(path);
            done_name(&settings.tracker, below, &settings.suffix)
        }
        Finish::Rename | Finish::Delete => done_name(Path::new(""), path, &settings.suffix),
    }
}
