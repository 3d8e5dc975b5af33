//! `file_roll`: writes events to files of a directory, with a new file at intervals.
//!
//! Limits: a batch (`sink.batchSize`, up to 32 of them when they are waiting) is written as it is serialized, never
//! buffered whole.
//!
//! The first batch opens a file under a new name; each batch is appended and synced before the flow acknowledges it;
//! after `sink.rollInterval` the file is closed, whether events come or not, and the next batch opens another. Unlike
//! in Flume, no empty file is made while no events come.
//!
//! A directory that is removed while the sink runs is created again: no batch is acknowledged in a file that has no
//! name any more.
//!
//! Invariants: an existing file is never opened; an acknowledged event is on the disk; a failed batch is cut off
//! before the next one is written, and if that fails the file is abandoned, so no data ever follows a partial event.

mod directory;
mod file;
mod names;

#[cfg(test)]
mod tests;

use super::serializer;
use crate::sink::file_roll::directory::ready_directory;
use file::RolledFiles;
use millpond::{BoxFuture, Event};
use millpond_flow::base::access_check;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::sink::{Failure, Sink, SinkContext, SinkType};
use names::{FileNames, NamingScheme};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The type `file_roll`.
pub const TYPE: SinkType = SinkType {
    names: &["file_roll", "org.apache.flume.sink.RollingFileSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "sink.directory",
        kind: KeyKind::Path,
        default: "",
        meaning: "Directory of the files; created when it is missing, also when it is removed while the sink runs.",
    },
    Key {
        name: "sink.rollInterval",
        kind: KeyKind::Number,
        default: "30",
        meaning: "Seconds after which a file is closed; 0 or less for never.",
    },
    Key {
        name: "sink.batchSize",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Events of a batch. What waits in the channel is written and synced up to 32 batches at a time.",
    },
    serializer::FILE_ROLL_KEYS[0],
    serializer::FILE_ROLL_KEYS[1],
    serializer::FILE_ROLL_KEYS[2],
    serializer::FILE_ROLL_KEYS[3],
    serializer::FILE_ROLL_KEYS[4],
    serializer::FILE_ROLL_KEYS[5],
    Key {
        name: "sink.pathManager",
        kind: KeyKind::Word,
        default: "DEFAULT",
        meaning: "How files are named: DEFAULT (milliseconds of the start, and a count) or ROLLTIME (local time of the opening, and a count).",
    },
    Key {
        name: "sink.pathManager.prefix",
        kind: KeyKind::Text,
        default: "",
        meaning: "The prefix of each file name.",
    },
    Key {
        name: "sink.pathManager.extension",
        kind: KeyKind::Text,
        default: "",
        meaning: "The extension of each file name, without the dot.",
    },
];

/// How long a batch of a format with blocks waits for more events. Flume waits for each of its events as long as the
/// channel's keep-alive, usually 3 s.
const GATHER: Duration = Duration::from_millis(200);

/// Most waiting batches that one sync covers. A sync takes as long as writing thousands of lines; Flume's sink does
/// none.
const BATCHES_PER_SYNC_MAX: usize = 32;

struct FileRollSink {
    directory: PathBuf,
    batch_events: usize,
    /// Whether its serializer refuses events.
    may_refuse: bool,
    /// How long a batch that is not full waits for more events.
    gather: Duration,
    roll_after: Option<Duration>,
    /// When the open file is closed, by the context's clock.
    roll_at: Option<Duration>,
    /// Shared with the thread that blocks on the disk, which may outlive a cancelled call.
    files: Arc<Mutex<RolledFiles>>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<FileRollSink, SettingError> {
    let directory = PathBuf::from(reader.required_text("sink.directory")?);
    let seconds = reader.number("sink.rollInterval", i64::MIN..=i64::MAX)?.unwrap_or(30);
    let roll_after = u64::try_from(seconds).ok().filter(|&s| s > 0).map(Duration::from_secs);
    let batch_events = reader.number("sink.batchSize", 1..=1_000_000)?.unwrap_or(100);
    let serializer = serializer::build(reader, "sink.serializer")?;
    let may_refuse = serializer.may_refuse();
    let gather = if serializer.prefers_large_batches() { GATHER } else { Duration::ZERO };
    let names = FileNames::new(
        directory.clone(),
        NamingScheme::read(reader, "sink.pathManager")?,
        reader.text("sink.pathManager.prefix").unwrap_or_default(),
        reader.text("sink.pathManager.extension").unwrap_or_default(),
    );
    let files = Arc::new(Mutex::new(RolledFiles::new(names, serializer)));
    Ok(FileRollSink {
        directory,
        batch_events,
        may_refuse,
        gather,
        roll_after,
        roll_at: None,
        files,
    })
}

impl FileRollSink {
    /// Runs `work` on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut RolledFiles) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || work(&mut lock(&files))).await {
            Ok(result) => result,
            Err(error) => Err(Failure::caused("writing files ended by a defect", error)),
        }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.roll_at = None;
        self.blocking(|files| {
            files.close();
            Ok(())
        })
        .await
    }
}

/// Locks the files. After a panic the content of the open file is unknown: it is abandoned and another one begun.
fn lock(files: &Mutex<RolledFiles>) -> MutexGuard<'_, RolledFiles> {
    files.lock().unwrap_or_else(|poisoned: PoisonError<MutexGuard<'_, RolledFiles>>| {
        let mut guard = poisoned.into_inner();
        guard.close();
        files.clear_poison();
        guard
    })
}

impl Sink for FileRollSink {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        let directory = self.directory.clone();
        Box::pin(self.blocking(move |_| {
            let why = access_check::unmakable(&directory);
            why.map_or(Ok(()), |why| Err(Failure::new(format!("sink.directory: {why}"))))
        }))
    }

    fn may_refuse(&self) -> bool {
        self.may_refuse
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (directory, now_ms) = (self.directory.clone(), context.clock.wall_ms());
            let prepare = move |files: &mut RolledFiles| {
                files.names.start_series(now_ms);
                ready_directory(&directory)?;
                files.remove_begun(&directory, now_ms);
                Ok(())
            };
            let ready = self.blocking(prepare).await;
            // As in Flume a directory counts as a connection.
            let counters = &context.counters;
            let counter = match ready {
                Ok(()) => &counters.connection_created,
                Err(_) => &counters.connection_failed,
            };
            counter.add(1);
            ready
        })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let now = context.clock.now();
            if self.roll_at.is_some_and(|at| now >= at) {
                self.close().await?;
            }
            // Bodies are reference-counted: no bytes are copied.
            let (batch, now_ms) = (batch.to_vec(), context.clock.wall_ms());
            self.roll_at = self.roll_at.or_else(|| Some(now.saturating_add(self.roll_after?)));
            self.blocking(move |files| files.append(&batch, now_ms)).await
        })
    }

    fn batches_together(&self) -> usize {
        BATCHES_PER_SYNC_MAX
    }

    fn linger(&self) -> Duration {
        self.gather
    }

    fn next_tick(&self) -> Option<Duration> {
        self.roll_at
    }

    fn tick<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match self.roll_at {
                Some(at) if context.clock.now() >= at => self.close().await,
                _ => Ok(()),
            }
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        context.counters.connection_closed.add(1);
        Box::pin(self.close())
    }
}
