//! The source's disk work: chooses a file, reads its batches, and disposes of it at the end.

use super::deferred_files::{DeferReason, DeferredFile, DeferredFiles};
use super::deserializer::{DeserializeError, Deserializer};
use super::listing::{SpoolListing, SpooledFile, is_done};
use super::offset::{ResumedBatch, SpoolOffset};
use super::settings::{FinishedFileAction, SpoolSettings};
use super::tracker::{TrackerFile, done_name};
use crate::source::file_reading::batch_commit::ReadEvent;
use crate::source::file_reading::buffered_file::BufferedFile;
use crate::source::file_reading::{FileOffset, FileStamp};
use bytes::Bytes;
use millpond::Event;
use millpond_flow::base::files;
use millpond_flow::base::limits::FILE_BATCH_BYTES_MAX;
use millpond_flow::codes;
use millpond_flow::metrics::SourceCounters;
use millpond_flow::source::Failure;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The next step of the source.
pub(super) enum SpoolStep {
    /// Commit these events, which begin at the offset.
    Batch(Vec<ReadEvent>, FileOffset),
    /// A file is complete: record that none is in progress.
    Done,
    /// There is nothing to read now.
    Idle,
}

/// The file in progress.
struct OpenSpoolFile {
    path: PathBuf,
    /// Its stamp at the opening, or when it was found to have grown.
    stamp: FileStamp,
    input: BufferedFile<File>,
    deserializer: Box<dyn Deserializer>,
    /// Everything before this offset is in the channels.
    point: FileOffset,
    /// Whether a part of it is in the channels, even if only an empty event.
    begun: bool,
    /// Whether it was unchanged when checked after its last byte, so that its last line is whole.
    whole: bool,
    /// End of the batch that must be repeated exactly.
    again_to: Option<FileOffset>,
}

/// The spooling directory.
pub(super) struct Spool {
    settings: Arc<SpoolSettings>,
    counters: Arc<SourceCounters>,
    listing: SpoolListing,
    current: Option<OpenSpoolFile>,
    deferred: DeferredFiles,
    tracker: TrackerFile,
    /// The directory or the tracker file failed at its last use.
    unlisted: bool,
    untracked: bool,
    full: bool,
}

impl Spool {
    /// Checks that the directory is usable, and opens it.
    pub(super) fn open(
        settings: Arc<SpoolSettings>,
        counters: Arc<SourceCounters>,
    ) -> Result<Self, Failure> {
        let directory = &settings.directory;
        let about = |what: &str, path: &Path| format!("{what} {}", path.display());
        files::list(directory)
            .map_err(|error| Failure::caused(about("cannot read spoolDir", directory), error))?;
        if settings.finish == FinishedFileAction::Rename {
            let canary = directory.join(format!(".millpond-{}.canary", std::process::id()));
            let tried = files::create_new(&canary).and_then(|_| files::remove(&canary));
            let what = "cannot create and remove files, as renaming requires, in spoolDir";
            tried.map_err(|error| Failure::caused(about(what, directory), error))?;
        }
        let tracker = &settings.tracker;
        files::create_directory(tracker)
            .map_err(|error| Failure::caused(about("cannot create trackerDir", tracker), error))?;
        let deferred = DeferredFiles::load(tracker).map_err(|error| {
            let what = "cannot read the state of files that were set aside; repair or remove";
            Failure::caused(about(what, &tracker.join(".millpond-aside.json")), error)
        })?;
        let tracker = TrackerFile::new(tracker);
        Ok(Self {
            settings,
            counters,
            listing: SpoolListing::default(),
            current: None,
            deferred,
            tracker,
            unlisted: false,
            untracked: false,
            full: false,
        })
    }

    /// Continues from the channels' offset, or from Flume's tracker file if no channel ever had one. Returns whether
    /// the newest batch can be read again if it must be.
    pub(super) fn resume(
        &mut self,
        known: bool,
        within: Option<ResumedBatch>,
        again: bool,
    ) -> bool {
        if let Some(ResumedBatch { place, from, to }) = within {
            let point = if again { from } else { to };
            let opened = self.opened(&place.path, point, true);
            let same = |current: &OpenSpoolFile| {
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
                let opened = self.opened(&path, FileOffset::at(offset), true);
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

    /// Returns the source offset of the file in progress.
    pub(super) fn place(&self) -> SpoolOffset {
        let place = |current: &OpenSpoolFile| SpoolOffset {
            path: current.path.clone(),
            stamp: current.stamp,
        };
        self.current.as_ref().map_or_else(
            || SpoolOffset { path: PathBuf::new(), stamp: FileStamp::default() },
            place,
        )
    }

    /// Records that everything of the file in progress before `point` is in the channels.
    pub(super) fn reached(&mut self, point: FileOffset) {
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

    /// Sets the file in progress aside, as no channel can hold its next event.
    pub(super) fn unfit(&mut self, why: &str, now: Duration) {
        self.counters.generic_processing_fail.add(1);
        self.defer(DeferReason::Unfit, why, now);
    }

    /// Returns the next step. `most` is the most events of a batch.
    pub(super) fn turn(&mut self, most: usize, now: Duration) -> SpoolStep {
        loop {
            if self.current.is_none() && !self.open_next(now) {
                return SpoolStep::Idle;
            }
            let Some(current) = &mut self.current else { continue };
            let read = current.read(most);
            if let Ok(pieces) = &read
                && !pieces.is_empty()
            {
                let (pieces, point) = (read.unwrap_or_default(), current.point);
                return SpoolStep::Batch(self.add_headers(pieces), point);
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
                        DeserializeError::Io(_) => DeferReason::Refused,
                        DeserializeError::Undecodable { .. }
                        | DeserializeError::NoContainer { .. } => DeferReason::Undecodable,
                    };
                    self.defer(why, &error.to_string(), now);
                }
            }
        }
    }

    /// Adds the headers that name the file.
    fn add_headers(&self, mut pieces: Vec<ReadEvent>) -> Vec<ReadEvent> {
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
        if self.deferred.prune() {
            self.save_deferred();
        }
        let full = self.deferred.is_full();
        if full && !self.full {
            let path = self.deferred.file().display();
            tracing::error!(code = %codes::SPOOL_ASIDE_FULL, source = self.settings.name, %path, "the limit of files set aside is reached; no other file is read until some of them are removed");
        }
        self.full = full;
        loop {
            let (deferred, settings) = (&self.deferred, &self.settings);
            let due = |found: &SpooledFile| {
                let free = || done_path(settings, &found.path).symlink_metadata().is_err();
                !full && !deferred.holds(&found.path, found.stamp, now, free)
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
            let Some(SpooledFile { path, stamp }) = found else { return false };
            let known = self.deferred.take(&path, stamp);
            let (point, begun) =
                known.as_ref().map_or_else(Default::default, |e| (e.point, e.begun));
            match self.opened(&path, point, begun) {
                Ok(current) => {
                    self.current = Some(current);
                    return true;
                }
                // It was removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.deferred.remove(&path);
                }
                Err(error) => {
                    self.counters.event_read_fail.add(1);
                    let entry = DeferredFile::new(DeferReason::Refused, stamp, point, begun);
                    self.keep_deferred(path, entry, &error.to_string(), now);
                }
            }
        }
    }

    fn opened(&self, path: &Path, point: FileOffset, begun: bool) -> io::Result<OpenSpoolFile> {
        let file = files::open_laid(path)?;
        let stamp = FileStamp::of(&file.metadata()?);
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
        Ok(OpenSpoolFile {
            path: path.to_owned(),
            stamp,
            input: BufferedFile::new(file, from.offset),
            deserializer,
            point: from,
            begun,
            whole: false,
            again_to: None,
        })
    }

    /// Checks the file in progress after its last event: complete, or set aside.
    fn at_the_end(&mut self, now: Duration) -> Option<SpoolStep> {
        let current = self.current.as_mut()?;
        let found = match current.path.metadata() {
            Ok(found) => FileStamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_alone("it was removed or renamed while it was read");
                return Some(SpoolStep::Done);
            }
            Err(error) => {
                self.defer(DeferReason::Refused, &error.to_string(), now);
                return None;
            }
        };
        let was = std::mem::replace(&mut current.stamp, found);
        if found.inode != was.inode {
            self.leave_alone(
                "another file was put in its place while it was read; the new one is read next",
            );
            return Some(SpoolStep::Done);
        }
        if found.len > was.len {
            self.defer(
                DeferReason::Grown,
                "it grew while it was read; the rest is read once it no longer changes",
                now,
            );
            return None;
        }
        if found != was {
            self.defer(DeferReason::Rewritten, "it was changed while it was read; what was read is in the channels, the file stays as it is", now);
            return None;
        }
        // The rest after the last newline is a line, now that the file is known to be whole; an empty file is an
        // empty event, as in Flume.
        if !std::mem::replace(&mut current.whole, true) {
            return None;
        }
        if !current.begun {
            let piece = ReadEvent { event: Event::new(Bytes::new()), end: current.point };
            return Some(SpoolStep::Batch(
                self.add_headers(vec![piece]),
                self.current.as_ref()?.point,
            ));
        }
        self.finish(now)
    }

    /// Disposes of the complete file.
    fn finish(&mut self, now: Duration) -> Option<SpoolStep> {
        let path = self.current.as_ref()?.path.clone();
        let done = done_path(&self.settings, &path);
        let finished = match self.settings.finish {
            FinishedFileAction::Delete => files::remove(&path),
            FinishedFileAction::Rename => files::rename_new(&path, &done),
            FinishedFileAction::Note => done
                .parent()
                .map_or(Ok(()), files::create_directory)
                .and_then(|()| files::create_new(&done).map(drop)),
        };
        match finished {
            Ok(()) => {
                tracing::info!(source = self.settings.name, file = %path.display(), "a file is done");
                self.leave();
                Some(SpoolStep::Done)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = format!(
                    "{} is there already; everything is read, the file keeps its name until the other is moved away",
                    done.display()
                );
                self.defer(DeferReason::NameTaken, &why, now);
                None
            }
            Err(error) => {
                let why =
                    format!("everything is read, but it cannot be renamed or removed: {error}");
                self.defer(DeferReason::Refused, &why, now);
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

    /// Clears the file in progress.
    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            self.deferred.remove(&current.path);
            self.save_deferred();
        }
        // Removed as in Flume, where the tracker directory then has an entry of its own.
        if self.settings.finish == FinishedFileAction::Note {
            return;
        }
        if let Err(error) = self.tracker.remove() {
            let path = self.tracker.path().display();
            tracing::error!(code = %codes::TRACKER_UNWRITABLE, source = self.settings.name, %path, %error, "Flume's tracker file cannot be removed");
        }
    }

    fn defer(&mut self, why: DeferReason, words: &str, now: Duration) {
        let Some(current) = self.current.take() else { return };
        let entry = DeferredFile::new(why, current.stamp, current.point, current.begun);
        self.keep_deferred(current.path, entry, words, now);
    }

    fn keep_deferred(&mut self, path: PathBuf, entry: DeferredFile, words: &str, now: Duration) {
        let (file, offset) = (path.display().to_string(), entry.point.offset);
        if self.deferred.put(path, entry, now, self.settings.poll_delay) {
            tracing::error!(
                code = %codes::SPOOL_FILE_SET_ASIDE,
                source = self.settings.name,
                file,
                offset,
                "the file is set aside, the others are read: {words}"
            );
        }
        self.save_deferred();
    }

    fn save_deferred(&self) {
        if let Err(error) = self.deferred.save() {
            let path = self.deferred.file().display();
            tracing::error!(code = %codes::TRACKER_UNWRITABLE, source = self.settings.name, %path, %error, "cannot record which files are set aside; after a restart lines of them may be repeated");
        }
    }
}

impl OpenSpoolFile {
    /// Reads at most `most` events from the current offset.
    fn read(&mut self, most: usize) -> Result<Vec<ReadEvent>, DeserializeError> {
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
                    pieces.push(ReadEvent { event, end: self.deserializer.point(&self.input) });
                }
                Ok(None) => return Ok(pieces),
                // The events before the failure are committed first; then it recurs.
                Err(_) if !pieces.is_empty() => return Ok(pieces),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the name that marks the file at `path` as complete.
fn done_path(settings: &SpoolSettings, path: &Path) -> PathBuf {
    match settings.finish {
        FinishedFileAction::Note => {
            let below = path.strip_prefix(&settings.directory).unwrap_or(path);
            done_name(&settings.tracker, below, &settings.suffix)
        }
        FinishedFileAction::Rename | FinishedFileAction::Delete => {
            done_name(Path::new(""), path, &settings.suffix)
        }
    }
}
