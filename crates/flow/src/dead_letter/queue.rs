//! The dead-letter queue: a file of JSON lines, or another channel.

use crate::base::files;
use crate::wire::external::encode::EncodedEvent;
use jiff::Timestamp;
use millpond::Clock;
use millpond::{Channel, CommitError, Event, PutError};
use serde::Serialize;
use std::fmt::{self, Display, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Most characters of a cause that are stored with an event.
const CAUSE_CHARS_MAX: usize = 1000;

/// The destination of refused events.
pub struct DeadLetterQueue {
    kind: DeadLetterTarget,
    clock: Arc<dyn Clock>,
}

enum DeadLetterTarget {
    File { path: PathBuf, bytes_max: u64, is_named: Arc<AtomicBool> },
    Channel { name: String, open: watch::Receiver<Option<Arc<dyn Channel>>> },
}

/// Why an event could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeadLetterError {
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file would exceed its limit.
    #[error(
        "{} would have more than {bytes_max} bytes (deadLetter.maxBytes); move it away",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The channel is not open.
    #[error("the channel is not open")]
    NotOpen,
    /// The channel does not take it.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The channel did not commit it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The writing thread panicked.
    #[error("writing it ended by a defect")]
    Defect,
}

/// An event as a line of the file.
#[derive(Serialize)]
struct DeadLetterLine<'a> {
    time: String,
    sink: &'a str,
    cause: String,
    refusals: u32,
    event: EncodedEvent<'a>,
}

impl DeadLetterQueue {
    /// Returns a queue with a file in `directory`, named after agent and sink, of at most `bytes_max` bytes. Both
    /// are created with the first event.
    #[must_use]
    pub fn file(
        directory: &Path,
        [agent, sink]: [&str; 2],
        bytes_max: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let path = directory.join(format!("{}.{}.jsonl", plain(agent), plain(sink)));
        let is_named = Arc::default();
        Self { kind: DeadLetterTarget::File { path, bytes_max, is_named }, clock }
    }

    /// Returns a queue that writes to the channel `name`, once that is `open`.
    #[must_use]
    pub fn channel(
        name: &str,
        open: watch::Receiver<Option<Arc<dyn Channel>>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { kind: DeadLetterTarget::Channel { name: name.to_owned(), open }, clock }
    }

    /// Stores an event of `component` durably, outside of a sink's refusals.
    ///
    /// # Errors
    /// It is not stored, or not known to be; in words that are the same at every try.
    pub async fn store(&self, component: &str, event: &Event, cause: &str) -> Result<(), String> {
        self.write(component, event, cause, 1).await.map_err(|error| error.to_string())
    }

    /// Stores the event durably.
    ///
    /// # Errors
    /// It is not stored, or not known to be.
    pub(super) async fn write(
        &self,
        sink: &str,
        event: &Event,
        cause: &str,
        refusals: u32,
    ) -> Result<(), DeadLetterError> {
        let millis = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string();
        let cause: String = cause.chars().take(CAUSE_CHARS_MAX).collect();
        match &self.kind {
            DeadLetterTarget::File { path, bytes_max, is_named } => {
                let line =
                    DeadLetterLine { time, sink, cause, refusals, event: EncodedEvent(event) };
                let line = serde_json::to_vec(&line).expect("texts and numbers are JSON");
                let (path, bytes_max) = (path.clone(), *bytes_max);
                let is_named = Arc::clone(is_named);
                let append = move || append(path, &line, bytes_max, &is_named);
                let written = tokio::task::spawn_blocking(append);
                written.await.map_err(|_| DeadLetterError::Defect)?
            }
            DeadLetterTarget::Channel { open, .. } => {
                let channel = open.borrow().clone().ok_or(DeadLetterError::NotOpen)?;
                let mut event = event.clone();
                event.headers.set("deadLetter.sink", sink);
                event.headers.set("deadLetter.cause", cause);
                event.headers.set("deadLetter.time", time);
                let mut put = channel.begin_put();
                put.put(event)?;
                Ok(put.commit_async().await.map_err(CommitError::from)?)
            }
        }
    }
}

impl Display for DeadLetterQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DeadLetterTarget::File { path, .. } => write!(f, "{}", path.display()),
            DeadLetterTarget::Channel { name, .. } => write!(f, "the channel {name}"),
        }
    }
}

/// Returns a name as a part of a file name: it is free text, must not lead out of the directory, and must stay
/// distinct from other names.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') {
            out.push(c);
        } else {
            let _ = write!(out, "%{:x}", u32::from(c));
        }
    }
    out
}

/// Appends a line durably to a file whose directory entry is durable (`is_named`, or from now on).
fn append(
    path: PathBuf,
    line: &[u8],
    bytes_max: u64,
    is_named: &AtomicBool,
) -> Result<(), DeadLetterError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // After a process was killed between the first line and the sync of the directory, the directory entry may be
    // lost in a power cut, with everything written to the file since.
    let name = || match is_named.load(Ordering::SeqCst) || !path.exists() {
        true => Ok(()),
        false => files::sync_directory(directory),
    };
    let done = files::create_directory(directory)
        .and_then(|()| name())
        .and_then(|()| files::append_line(&path, line, bytes_max));
    if done.is_ok() {
        is_named.store(true, Ordering::SeqCst);
    }
    done.map_err(|source| match source.kind() {
        io::ErrorKind::QuotaExceeded => DeadLetterError::Full { path, bytes_max },
        _ => DeadLetterError::File { path, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::DIRECTORIES_SYNCED;

    #[test]
    fn the_name_of_an_existing_file_is_durable_before_the_first_reply() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.k.jsonl");
        // Left by a process that was killed before it synced the directory.
        std::fs::write(&path, "{}\n").unwrap();
        let synced = || DIRECTORIES_SYNCED.get();
        let (is_named, before) = (AtomicBool::new(false), synced());
        append(path.clone(), b"{}", 100, &is_named).unwrap();
        assert_eq!(synced() - before, 1);
        append(path.clone(), b"{}", 100, &is_named).unwrap();
        assert_eq!(synced() - before, 1, "once is enough");
        std::fs::remove_file(&path).unwrap();
        append(path, b"{}", 100, &is_named).unwrap();
        assert_eq!(synced() - before, 2, "a new file has a new name");
    }
}
