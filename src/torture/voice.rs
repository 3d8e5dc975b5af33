//! Where a life's notes go: a pipe to the parent, a file on another disk, another host.

use super::note::Note;
use crate::disk::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes notes, each whole, in the order in which they are given.
pub(super) trait Voice: Send + Sync {
    /// Says `note`. What was said before the process is killed is heard.
    ///
    /// # Errors
    /// Nobody listens any more.
    fn say(&self, note: &Note) -> io::Result<()>;

    /// Says `note` and waits until it would be heard even if this machine lost its power now.
    ///
    /// # Errors
    /// Nobody listens any more, or whoever listens does not answer.
    fn say_surely(&self, note: &Note) -> io::Result<()> {
        self.say(note)
    }
}

/// Notes into a pipe: they are safe there once written.
pub(super) struct Pipe<W>(Mutex<W>);

impl<W: Write + Send> Pipe<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write + Send> Voice for Pipe<W> {
    fn say(&self, note: &Note) -> io::Result<()> {
        let line = format!("{note}\n");
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// Notes into a file: surely said once synced.
pub(super) struct Record {
    file: Arc<dyn File>,
    /// Bytes written.
    end: Mutex<u64>,
}

impl Record {
    /// Goes on in the empty `file`.
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, end: Mutex::new(0) }
    }

    /// Adds a line.
    pub(super) fn add(&self, line: &str) -> io::Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_at(*end, format!("{line}\n").as_bytes())?;
        *end += line.len() as u64 + 1;
        Ok(())
    }
}

impl Voice for Record {
    fn say(&self, note: &Note) -> io::Result<()> {
        self.add(&note.to_string())
    }

    fn say_surely(&self, note: &Note) -> io::Result<()> {
        self.say(note)?;
        self.file.sync()
    }
}

/// Notes kept, for a look at a channel from within one process.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Note>>);

impl Kept {
    /// All of them.
    pub(super) fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Voice for Kept {
    fn say(&self, note: &Note) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note.clone());
        Ok(())
    }
}
