//! The destination of a run's notes: a pipe to the parent, a file on another disk, another host.

use super::note::Note;
use millpond::internal::disk::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes notes, each whole, in the order in which they are given.
pub(super) trait NoteWriter: Send + Sync {
    /// Writes `note`. What was written before the process is killed is received.
    ///
    /// # Errors
    /// The receiver is gone.
    fn write_note(&self, note: &Note) -> io::Result<()>;

    /// Writes `note` and waits until it would be received even if this machine lost its power now.
    ///
    /// # Errors
    /// The receiver is gone or does not reply.
    fn write_durably(&self, note: &Note) -> io::Result<()> {
        self.write_note(note)
    }
}

/// Notes written to a pipe: they are safe there once written.
pub(super) struct PipeNotes<W>(Mutex<W>);

impl<W: Write + Send> PipeNotes<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write + Send> NoteWriter for PipeNotes<W> {
    fn write_note(&self, note: &Note) -> io::Result<()> {
        let line = format!("{note}\n");
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// Notes written to a file: safe once synced.
pub(super) struct FileNotes {
    file: Arc<dyn File>,
    /// Bytes written.
    end: Mutex<u64>,
}

impl FileNotes {
    /// Returns a writer that appends to the empty `file`.
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

impl NoteWriter for FileNotes {
    fn write_note(&self, note: &Note) -> io::Result<()> {
        self.add(&note.to_string())
    }

    fn write_durably(&self, note: &Note) -> io::Result<()> {
        self.write_note(note)?;
        self.file.sync()
    }
}

/// Notes kept in memory, to inspect a channel from within one process.
#[derive(Default)]
pub(super) struct RecordedNotes(Mutex<Vec<Note>>);

impl RecordedNotes {
    /// Returns all notes and clears them.
    pub(super) fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl NoteWriter for RecordedNotes {
    fn write_note(&self, note: &Note) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note.clone());
        Ok(())
    }
}
