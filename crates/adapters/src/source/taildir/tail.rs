//! One tailed file.

use super::identity::{FileIdentity, PRINT_BYTES, StartChecksum, TailChecksum, born_ns};
use super::inode::{InodeId, open};
use super::offset::FileEntry;
use super::settings::TailSettings;
use crate::source::file_reading::batch_commit::ReadEvent;
use crate::source::file_reading::buffered_file::BufferedFile;
use crate::source::file_reading::{FileOffset, FileStamp};
use crate::source::taildir::identity::start_of;
use bytes::Bytes;
use millpond::Event;
use millpond_flow::base::files;
use millpond_flow::base::limits::{FILE_BATCH_BYTES_MAX, TAIL_LINE_BYTES_MAX};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A file and the offset up to which it was read.
pub(super) struct TailedFile {
    id: InodeId,
    pub(super) path: PathBuf,
    headers: Arc<Vec<(String, String)>>,
    input: Option<BufferedFile<File>>,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
    /// Its identity.
    pub(super) identity: FileIdentity,
    /// Checksum at the end of the batch being committed.
    pub(super) coming: Option<TailChecksum>,
    /// Its stamp at the last scan.
    pub(super) stamp: FileStamp,
    /// Length last seen: gives the loss when it is gone or shorter.
    pub(super) seen_len: u64,
    /// Whether it was found again under a name that matches no group.
    pub(super) found_elsewhere: bool,
    /// When the first scan found no name for it.
    pub(super) missed_at: Option<Duration>,
    /// When it was last seen to change, or last read.
    pub(super) changed_at: Duration,
    /// When a matching name was last seen to lead to it.
    pub(super) seen_at: Duration,
    /// Whether a matching name led to it at the last scan.
    pub(super) matched: bool,
    /// The warning about a split line was logged.
    cut: bool,
}

impl TailedFile {
    pub(super) fn new(
        id: InodeId,
        path: PathBuf,
        headers: Arc<Vec<(String, String)>>,
        file: File,
        (identity, pos): (FileIdentity, u64),
    ) -> Self {
        Self {
            id,
            path,
            headers,
            input: Some(BufferedFile::new(file, pos)),
            pos,
            identity,
            coming: None,
            stamp: FileStamp::default(),
            seen_len: 0,
            found_elsewhere: false,
            missed_at: None,
            changed_at: Duration::ZERO,
            seen_at: Duration::ZERO,
            matched: true,
            cut: false,
        }
    }

    /// Returns its offset as stored.
    pub(super) fn entry(&self) -> FileEntry {
        FileEntry { identity: self.identity, pos: self.pos }
    }

    /// Returns whether its offset must be stored: without it the next run would start elsewhere.
    pub(super) fn counts(&self, settings: &TailSettings) -> bool {
        self.pos > 0 || settings.skip_to_end
    }

    pub(super) fn open_file(&self) -> Option<&File> {
        self.input.as_ref().map(BufferedFile::file)
    }

    pub(super) fn reopen(&mut self, file: File) {
        self.input = Some(BufferedFile::new(file, self.pos));
    }

    pub(super) fn close(&mut self) {
        self.input = None;
    }

    /// Starts again at offset 0, as the file was replaced.
    pub(super) fn restart(&mut self, file: Option<File>) {
        self.pos = 0;
        let opened = file.as_ref().or(self.open_file());
        let born = opened.and_then(|file| file.metadata().ok()).and_then(|found| born_ns(&found));
        self.identity = FileIdentity::unread(self.id, born);
        self.coming = None;
        self.seen_len = 0;
        match (file, &mut self.input) {
            (Some(file), input) => *input = Some(BufferedFile::new(file, 0)),
            (None, Some(input)) => input.seek(0),
            (None, None) => {}
        }
    }

    /// Records its length, and returns how many unread bytes seen before it has lost. `same` is whether it is still
    /// the file that was read.
    pub(super) fn note_len(&mut self, len: u64, same: bool) -> u64 {
        let left = if same { len.max(self.pos) } else { self.pos };
        let lost = self.seen_len.saturating_sub(left);
        self.seen_len = len;
        lost
    }

    /// Discards read-ahead bytes that are no longer in the file.
    pub(super) fn discard_read_ahead(&mut self) {
        if let Some(input) = &mut self.input {
            input.seek(self.pos);
        }
    }

    /// Records its length, if it is open.
    pub(super) fn note_growth(&mut self) {
        let found = self.open_file().and_then(|file| file.metadata().ok());
        self.seen_len = self.seen_len.max(found.map_or(0, |found| found.len()));
    }

    /// Returns whether its stamp is unchanged.
    pub(super) fn is_still(&self, found: FileStamp) -> bool {
        self.stamp == found
    }

    /// Returns whether there may be something to read.
    pub(super) fn has_news(&self) -> bool {
        match self.open_file() {
            // An open file may have grown since the scan, and may have no name any more.
            Some(file) => file.metadata().is_ok_and(|found| found.len() > self.pos),
            None => self.stamp.len > self.pos,
        }
    }

    /// Opens it if necessary, and moves the read position to `from`.
    pub(super) fn ready(&mut self, from: u64) -> io::Result<()> {
        match &mut self.input {
            Some(input) if input.offset() == from => {}
            Some(input) => input.seek(from),
            None => {
                let file = open(&self.path, self.id)?;
                self.input = Some(BufferedFile::new(file, from));
            }
        }
        Ok(())
    }

    /// Reads lines from the current position: at most `most`, or exactly up to `to`.
    pub(super) fn read(
        &mut self,
        settings: &TailSettings,
        most: usize,
        to: Option<u64>,
        partial: bool,
    ) -> io::Result<Vec<ReadEvent>> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        let Some(input) = &mut self.input else { return Ok(pieces) };
        let path = settings.file_header.as_ref().map(|key| (key, files::absolute(&self.path)));
        while match to {
            Some(to) => input.offset() < to,
            None => pieces.len() < most && bytes < FILE_BATCH_BYTES_MAX,
        } {
            let begin = input.offset();
            let Some((body, cut)) = next_line(input, to, partial)? else { break };
            if cut && !std::mem::replace(&mut self.cut, true) {
                tracing::warn!(source = settings.name, file = %self.path.display(), offset = begin, "a line of more than {TAIL_LINE_BYTES_MAX} bytes becomes several events");
            }
            bytes += body.len();
            let mut event = Event::new(body);
            for (key, value) in self.headers.iter() {
                event.headers.set(key.as_str(), value.as_str());
            }
            if let Some((key, path)) = &path {
                event.headers.set(key.as_str(), path.to_string_lossy());
            }
            if settings.byte_offset_header {
                event.headers.set("byteoffset", begin.to_string());
            }
            pieces.push(ReadEvent { event, end: FileOffset::at(input.offset()) });
        }
        Ok(pieces)
    }

    /// Computes the identity for reading up to `end`.
    pub(super) fn take_in(&mut self, end: u64) -> io::Result<()> {
        let wanted = usize::try_from(end).unwrap_or(PRINT_BYTES).min(PRINT_BYTES);
        let Some(file) = self.open_file() else { return Ok(()) };
        let ending = TailChecksum::of(file, end)?;
        if usize::from(self.identity.print.len) < wanted {
            let start = start_of(file)?;
            self.identity.print = StartChecksum::of(&start[..start.len().min(wanted)]);
        }
        self.coming = Some(ending);
        Ok(())
    }

    /// Records that everything before `pos` is in the channels.
    pub(super) fn reached(&mut self, pos: u64) {
        self.pos = pos;
        let known = self.coming.take().or(self.identity.ending).filter(|ending| ending.at == pos);
        let found = || self.open_file().and_then(|file| TailChecksum::of(file, pos).ok());
        self.identity.ending = known.or_else(found);
    }

    /// Returns whether the open file, which begins with `start`, is the one that was read.
    pub(super) fn is_same(&self, start: &[u8]) -> io::Result<bool> {
        // A shorter file was truncated, which its length shows.
        self.open_file().map_or(Ok(false), |file| self.is_same_as(file, start, self.stamp.len))
    }

    /// Returns whether `file`, which begins with `start` and has `len` bytes, is the one that was read.
    pub(super) fn is_same_as(&self, file: &File, start: &[u8], len: u64) -> io::Result<bool> {
        if !self.identity.print.fits(start) {
            return Ok(false);
        }
        let ending = self.identity.ending.filter(|ending| ending.at <= len);
        ending.map_or(Ok(true), |ending| ending.fits(file))
    }
}

/// Returns the next line without its end, and whether it was cut at the length limit. `to` is treated as the end of
/// the file.
fn next_line(
    input: &mut BufferedFile<File>,
    to: Option<u64>,
    partial: bool,
) -> io::Result<Option<(Bytes, bool)>> {
    let room =
        to.map_or(usize::MAX, |to| usize::try_from(to - input.offset()).unwrap_or(usize::MAX));
    let most = TAIL_LINE_BYTES_MAX.min(room);
    if let Some(end) = input.find(b'\n', most)? {
        let line = &input.unused()[..end];
        let body = Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        input.skip(end + 1);
        return Ok(Some((body, false)));
    }
    let held = input.unused().len().min(most);
    let cut = held == TAIL_LINE_BYTES_MAX;
    if held == 0 || !(cut || partial) {
        return Ok(None);
    }
    let body = Bytes::copy_from_slice(&input.unused()[..held]);
    input.skip(held);
    Ok(Some((body, cut)))
}
