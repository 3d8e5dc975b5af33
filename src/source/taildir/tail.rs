//! One file that is tailed.

use super::Settings;
use super::identity::{Ending, Identity, PRINT_BYTES, Print, born_ns};
use super::place::Entry;
use super::tails::{FileId, open, start_of};
use crate::base::files;
use crate::base::limits::{FILE_BATCH_BYTES_MAX, TAIL_LINE_BYTES_MAX};
use crate::event::Event;
use crate::source::reading::courier::Piece;
use crate::source::reading::input::Input;
use crate::source::reading::{Point, Stamp};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A file and where it stands.
pub(super) struct Tail {
    id: FileId,
    pub(super) path: PathBuf,
    headers: Arc<Vec<(String, String)>>,
    input: Option<Input<File>>,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
    /// By which it is known again.
    pub(super) identity: Identity,
    /// Of the end of the batch that is being handed over.
    pub(super) coming: Option<Ending>,
    /// What it looked like when it was looked at last.
    pub(super) stamp: Stamp,
    /// Bytes that were seen in it: what it has lost where it is gone or shorter.
    pub(super) seen_len: u64,
    /// It has a name that no group has, by which it was found again.
    pub(super) found_elsewhere: bool,
    /// When the first look found no name for it.
    pub(super) missed_at: Option<Duration>,
    /// When it was last seen to change or read.
    pub(super) changed_at: Duration,
    /// When a name that its group has was last seen to lead to it.
    pub(super) seen_at: Duration,
    /// A name that its group has leads to it, as of the last look.
    pub(super) matched: bool,
    /// A line that was cut was said.
    cut: bool,
}

impl Tail {
    pub(super) fn new(
        id: FileId,
        path: PathBuf,
        headers: Arc<Vec<(String, String)>>,
        file: File,
        (identity, pos): (Identity, u64),
    ) -> Self {
        Self {
            id,
            path,
            headers,
            input: Some(Input::new(file, pos)),
            pos,
            identity,
            coming: None,
            stamp: Stamp::default(),
            seen_len: 0,
            found_elsewhere: false,
            missed_at: None,
            changed_at: Duration::ZERO,
            seen_at: Duration::ZERO,
            matched: true,
            cut: false,
        }
    }

    /// How far it was read, as it is kept.
    pub(super) fn entry(&self) -> Entry {
        Entry { identity: self.identity, pos: self.pos }
    }

    /// Whether its place has to be kept: the next life would begin elsewhere without.
    pub(super) fn counts(&self, settings: &Settings) -> bool {
        self.pos > 0 || settings.skip_to_end
    }

    pub(super) fn open_file(&self) -> Option<&File> {
        self.input.as_ref().map(Input::file)
    }

    pub(super) fn reopen(&mut self, file: File) {
        self.input = Some(Input::new(file, self.pos));
    }

    pub(super) fn close(&mut self) {
        self.input = None;
    }

    /// The file is another one: from its start on.
    pub(super) fn restart(&mut self, file: Option<File>) {
        self.pos = 0;
        let opened = file.as_ref().or(self.open_file());
        let born = opened.and_then(|file| file.metadata().ok()).and_then(|found| born_ns(&found));
        self.identity = Identity::unread(self.id, born);
        self.coming = None;
        self.seen_len = 0;
        match (file, &mut self.input) {
            (Some(file), input) => *input = Some(Input::new(file, 0)),
            (None, Some(input)) => input.seek(0),
            (None, None) => {}
        }
    }

    /// Notes what it looks like, and answers how many unread bytes it had when it was looked at last and
    /// has no more. `same` is whether it is still the file that was read.
    pub(super) fn note_len(&mut self, len: u64, same: bool) -> u64 {
        let left = if same { len.max(self.pos) } else { self.pos };
        let lost = self.seen_len.saturating_sub(left);
        self.seen_len = len;
        lost
    }

    /// What was read ahead is not in the file any more.
    pub(super) fn forget_ahead(&mut self) {
        if let Some(input) = &mut self.input {
            input.seek(self.pos);
        }
    }

    /// Notes how long it is, if it is open.
    pub(super) fn note_growth(&mut self) {
        let found = self.open_file().and_then(|file| file.metadata().ok());
        self.seen_len = self.seen_len.max(found.map_or(0, |found| found.len()));
    }

    /// Whether it looks as it did.
    pub(super) fn is_still(&self, found: Stamp) -> bool {
        self.stamp == found
    }

    /// Whether there may be something to read.
    pub(super) fn has_news(&self) -> bool {
        match self.open_file() {
            // What is open may have grown since the look, and have no name any more.
            Some(file) => file.metadata().is_ok_and(|found| found.len() > self.pos),
            None => self.stamp.len > self.pos,
        }
    }

    /// Makes it open, and reading go on at `from`.
    pub(super) fn ready(&mut self, from: u64) -> io::Result<()> {
        match &mut self.input {
            Some(input) if input.offset() == from => {}
            Some(input) => input.seek(from),
            None => {
                let file = open(&self.path, self.id)?;
                self.input = Some(Input::new(file, from));
            }
        }
        Ok(())
    }

    /// Lines from where reading stands: `most` at most, or up to `to` exactly.
    pub(super) fn read(
        &mut self,
        settings: &Settings,
        most: usize,
        to: Option<u64>,
        partial: bool,
    ) -> io::Result<Vec<Piece>> {
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
            pieces.push(Piece { event, end: Point::at(input.offset()) });
        }
        Ok(pieces)
    }

    /// Takes in by which the file will be known when it was read up to `end`.
    pub(super) fn take_in(&mut self, end: u64) -> io::Result<()> {
        let wanted = usize::try_from(end).unwrap_or(PRINT_BYTES).min(PRINT_BYTES);
        let Some(file) = self.open_file() else { return Ok(()) };
        let ending = Ending::of(file, end)?;
        if usize::from(self.identity.print.len) < wanted {
            let start = start_of(file)?;
            self.identity.print = Print::of(&start[..start.len().min(wanted)]);
        }
        self.coming = Some(ending);
        Ok(())
    }

    /// Everything in front of `pos` is in the channels.
    pub(super) fn reached(&mut self, pos: u64) {
        self.pos = pos;
        let known = self.coming.take().or(self.identity.ending).filter(|ending| ending.at == pos);
        let found = || self.open_file().and_then(|file| Ending::of(file, pos).ok());
        self.identity.ending = known.or_else(found);
    }

    /// Whether the open file, which begins with `start`, is the one that was read.
    pub(super) fn is_same(&self, start: &[u8]) -> io::Result<bool> {
        // One that is shorter was cut, which is told apart by its length.
        self.open_file().map_or(Ok(false), |file| self.is_same_as(file, start, self.stamp.len))
    }

    /// Whether `file`, which begins with `start` and has `len` bytes, is the one that was read.
    pub(super) fn is_same_as(&self, file: &File, start: &[u8], len: u64) -> io::Result<bool> {
        if !self.identity.print.fits(start) {
            return Ok(false);
        }
        let ending = self.identity.ending.filter(|ending| ending.at <= len);
        ending.map_or(Ok(true), |ending| ending.fits(file))
    }
}

/// The next line without its end, and whether it was cut for its length. `to` is where the file
/// counts as ended.
fn next_line(
    input: &mut Input<File>,
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
