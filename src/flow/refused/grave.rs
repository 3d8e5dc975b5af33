//! Where events go that cannot be delivered: a file of JSON lines, or another channel.

use crate::base::clock::Clock;
use crate::base::files;
use crate::channel::{Channel, CommitError, PutError};
use crate::event::Event;
use crate::wire::external::write::Written;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::{self, Display, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Characters of a cause that go with an event.
const CAUSE_CHARS_MAX: usize = 1000;

/// Where refused events go.
pub struct Grave {
    kind: Kind,
    clock: Arc<dyn Clock>,
}

enum Kind {
    File { path: PathBuf, bytes_max: u64, is_named: Arc<AtomicBool> },
    Channel { name: String, open: watch::Receiver<Option<Arc<dyn Channel>>> },
}

/// Why an event could not go there.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuryError {
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It would be longer than it may be.
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
    /// The thread that writes ended.
    #[error("writing it ended by a defect")]
    Defect,
}

/// An event as it stands in the file, one line each.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    sink: &'a str,
    cause: String,
    refusals: u32,
    event: Written<'a>,
}

impl Grave {
    /// A file in `directory`, named after agent and sink; of `bytes_max` bytes at most. Both are made when
    /// the first event comes.
    #[must_use]
    pub fn file(
        directory: &Path,
        [agent, sink]: [&str; 2],
        bytes_max: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let path = directory.join(format!("{}.{}.jsonl", plain(agent), plain(sink)));
        let is_named = Arc::default();
        Self { kind: Kind::File { path, bytes_max, is_named }, clock }
    }

    /// The channel `name`, from when it is `open`.
    #[must_use]
    pub fn channel(
        name: &str,
        open: watch::Receiver<Option<Arc<dyn Channel>>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { kind: Kind::Channel { name: name.to_owned(), open }, clock }
    }

    /// Puts the event there, durably.
    ///
    /// # Errors
    /// It is not there, or not known to be.
    pub(super) async fn bury(
        &self,
        sink: &str,
        event: &Event,
        cause: &str,
        refusals: u32,
    ) -> Result<(), BuryError> {
        let millis = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string();
        let cause: String = cause.chars().take(CAUSE_CHARS_MAX).collect();
        match &self.kind {
            Kind::File { path, bytes_max, is_named } => {
                let line = Line { time, sink, cause, refusals, event: Written(event) };
                let line = serde_json::to_vec(&line).expect("texts and numbers are JSON");
                let (path, bytes_max) = (path.clone(), *bytes_max);
                let is_named = Arc::clone(is_named);
                let append = move || append(path, &line, bytes_max, &is_named);
                let written = tokio::task::spawn_blocking(append);
                written.await.map_err(|_| BuryError::Defect)?
            }
            Kind::Channel { open, .. } => {
                let channel = open.borrow().clone().ok_or(BuryError::NotOpen)?;
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

impl Display for Grave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::File { path, .. } => write!(f, "{}", path.display()),
            Kind::Channel { name, .. } => write!(f, "the channel {name}"),
        }
    }
}

/// A name as a part of a file's: it is free text, and must not lead out of the directory nor be like
/// another one's.
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

/// Appends a line, durably, to a file whose name is durable (`is_named`, or from now on).
fn append(
    path: PathBuf,
    line: &[u8],
    bytes_max: u64,
    is_named: &AtomicBool,
) -> Result<(), BuryError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // A process that was killed between the first line and the sync of the directory has left a file
    // whose name may vanish with the machine, and all that is written to it since.
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
        io::ErrorKind::QuotaExceeded => BuryError::Full { path, bytes_max },
        _ => BuryError::File { path, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::DIRECTORIES_SYNCED;

    #[test]
    fn the_name_of_a_file_that_was_there_is_made_durable_before_the_first_answer() {
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
