//! One directory and prefix: its open file, and when that is closed.

use super::file_name::FileName;
use super::keys::{NameRules, RollRules};
use super::ledger_state::WrittenBatch;
use super::recovery::{Closing, ClosingFiles, Writer};
use crate::file_system::{FaultKind, FileSystemError, OpenFile};
use crate::format::{FileFormat, FormatError, FormatSettings};
use bytes::Bytes;
use millpond::Event;
use millpond_flow::event_set::{EventPlace, EventSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Names that may be taken in a row before the sink gives up.
const NAMES_TRIED_MAX: usize = 1000;
/// Files that a batch is tried with, the first one included.
const FILES_TRIED_MAX: usize = 3;
/// A full file is closed when the next event comes, as Flume does it, and after this time at the latest.
const FULL_OPEN_MAX: Duration = Duration::from_secs(1);
/// How long the last events of a delivery wait until the files that were filled are renamed. So a reader finds them in
/// the order of their numbers, unless a close takes longer. Deliveries of several batches do not wait: a close takes
/// the NameNode half a second, and more events wait in the channel.
const RENAMED_WAIT: Duration = Duration::from_secs(1);

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BucketError {
    /// The file system failed.
    #[error(transparent)]
    File(#[from] FileSystemError),
    /// The list of open files cannot be written.
    #[error("the list of open files in hdfs.stateDirectory cannot be written: {0}")]
    Ledger(std::io::Error),
    /// An event fits in no file.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// Too many names are taken.
    #[error("no free file name: {NAMES_TRIED_MAX} in a row exist already, the last {0}")]
    NoName(String),
}

impl BucketError {
    /// Returns true if the events cannot be written there, however often it is tried.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::File(error) => error.kind.is_final_for_path(),
            Self::Format(error) => error.is_final(),
            Self::Ledger(_) | Self::NoName(_) => false,
        }
    }

    /// Returns true if nothing but another configuration changes that: neither a server nor a file is in the way.
    pub(super) fn is_of_the_event(&self) -> bool {
        match self {
            Self::File(error) => error.kind == FaultKind::InvalidPath,
            Self::Format(error) => error.is_of_the_event(),
            Self::Ledger(_) | Self::NoName(_) => false,
        }
    }
}

/// What a delivery needs besides the bucket.
pub(super) struct DeliveryContext<'a> {
    pub(super) closing: &'a Closing,
    pub(super) closing_files: &'a Mutex<ClosingFiles>,
    pub(super) format: &'a FormatSettings,
    pub(super) names: &'a NameRules,
    pub(super) rolls: &'a RollRules,
    pub(super) now: Duration,
    /// The channel of the events, with `hdfs.exactlyOnce`.
    pub(super) channel: Option<u128>,
    /// Whether it has several batches, because more waited in the channel.
    pub(super) is_backlog: bool,
}

/// A directory and prefix.
pub(super) struct Bucket {
    directory: String,
    prefix: String,
    /// The number of the last file: milliseconds at the creation of the bucket, and one more for each file.
    counter: u64,
    open: Option<BucketFile>,
    /// The files that were filled since the last wait: each ends with the first try to close and rename it.
    filled: Vec<oneshot::Receiver<()>>,
    last_write: Duration,
    /// Grows with each delivery, over all buckets.
    pub(super) last_used: u64,
}

struct BucketFile {
    name: FileName,
    /// None while a call is under way: a call that failed or was dropped leaves a file that is not used again.
    file: Option<Box<dyn OpenFile>>,
    format: Box<dyn FileFormat>,
    has_begun: bool,
    events: u64,
    bytes: u64,
    /// Its length, in bytes as they were written.
    length: u64,
    opened_at: Duration,
}

impl Bucket {
    pub(super) fn new(directory: String, prefix: String, wall_ms: u64, now: Duration) -> Self {
        Self {
            directory,
            prefix,
            counter: wall_ms,
            open: None,
            filled: Vec::new(),
            last_write: now,
            last_used: 0,
        }
    }

    /// Returns when it is closed by time.
    pub(super) fn closes_at(&self, rolls: &RollRules) -> Option<Duration> {
        let interval = self.open.as_ref().and_then(|open| Some(open.opened_at + rolls.interval?));
        // A bucket without a file only takes memory.
        let idle = rolls.idle.map(|idle| self.last_write + idle);
        [interval, idle].into_iter().flatten().min()
    }

    /// Returns when its file, which is full, is closed although no event comes.
    pub(super) fn closes_full_at(&self, rolls: &RollRules) -> Option<Duration> {
        self.is_full(rolls).then(|| self.last_write + FULL_OPEN_MAX)
    }

    /// Opens a file, whose first event is at `first`, if there is none. Writes nothing.
    pub(super) async fn ready(
        &mut self,
        context: &DeliveryContext<'_>,
        first: Option<&EventPlace>,
    ) -> Result<(), BucketError> {
        if self.open.as_ref().is_some_and(|open| open.file.is_none()) {
            self.close(context.closing, context.closing_files);
        }
        if self.open.is_some() {
            return Ok(());
        }
        let closing = context.closing;
        let origin = context.channel.zip(first.copied());
        let mut name = self.name(context.names, origin);
        for _ in 0..NAMES_TRIED_MAX {
            self.counter += 1;
            name = self.name(context.names, origin);
            let is_taken = !name.is_never_renamed()
                && (closing.calls.status(&name.closed(0)).await?.is_some()
                    || closing.calls.status(&name.in_use).await?.is_some());
            if is_taken {
                continue;
            }
            closing.ledger.opened(&name).await.map_err(BucketError::Ledger)?;
            match closing.calls.create(&name.in_use).await {
                Ok(file) => {
                    closing.counters.connection_created.add(1);
                    self.open = Some(BucketFile {
                        name,
                        file: Some(file),
                        format: context.format.create(),
                        has_begun: false,
                        events: 0,
                        bytes: 0,
                        length: 0,
                        opened_at: context.now,
                    });
                    return Ok(());
                }
                // A name with a place in the channel is of this sink alone: a reply to its creation was lost.
                Err(error) if error.kind == FaultKind::AlreadyExists && origin.is_some() => {
                    lock(context.closing_files).begin(closing, name.clone(), None);
                }
                Err(error) if error.kind == FaultKind::AlreadyExists => {
                    closing.ledger.closed(&name).await;
                }
                Err(error) => {
                    closing.counters.connection_failed.add(1);
                    if error.kind.may_have_happened() {
                        lock(context.closing_files).begin(closing, name, None);
                    } else {
                        closing.ledger.closed(&name).await;
                    }
                    return Err(error.into());
                }
            }
        }
        Err(BucketError::NoName(name.in_use))
    }

    /// Writes `events` and makes them durable, in as many files as they fill. If a file breaks, the events that it may
    /// lack are written to the next one.
    pub(super) async fn deliver(
        &mut self,
        context: &DeliveryContext<'_>,
        events: &[Event],
        places: &[EventPlace],
    ) -> Result<(), BucketError> {
        let (mut rest, mut places) = (events, places);
        while !rest.is_empty() {
            if self.is_full(context.rolls) {
                let renamed = self.close(context.closing, context.closing_files);
                // Its sender is dropped after the first try.
                self.filled.retain_mut(|file| file.try_recv() == Err(TryRecvError::Empty));
                self.filled.extend(renamed);
            }
            let (mut tried, mut most) = (1, usize::MAX);
            loop {
                self.ready(context, places.first()).await?;
                let count = self.fitting(context.rolls, rest).min(most);
                if count == rest.len() && !context.is_backlog {
                    self.wait_for_filled().await;
                }
                let parts = places.split_at(count.min(places.len()));
                match self.write(context, &rest[..count], parts.0).await {
                    Ok(()) => {
                        (rest, places) = (&rest[count..], parts.1);
                        break;
                    }
                    // With hdfs.exactlyOnce it must be known first what the file has.
                    Err(BucketError::File(error))
                        if tried < FILES_TRIED_MAX && context.channel.is_none() =>
                    {
                        tried += 1;
                        tracing::warn!(
                            sink = context.closing.sink,
                            "{error}; the batch is written to another file"
                        );
                        self.close(context.closing, context.closing_files);
                    }
                    // The next file gets the schema of its first event; each event fits in a file alone.
                    Err(BucketError::Format(FormatError::OtherSchema)) if most > 1 => {
                        most = 1;
                        if self.open.as_ref().is_some_and(|open| open.has_begun) {
                            self.close(context.closing, context.closing_files);
                        }
                    }
                    Err(error) => {
                        self.close(context.closing, context.closing_files);
                        return Err(error);
                    }
                }
            }
        }
        self.last_write = context.now;
        Ok(())
    }

    /// Waits until the files that were filled are renamed, or [`RENAMED_WAIT`] has passed.
    async fn wait_for_filled(&mut self) {
        let filled = std::mem::take(&mut self.filled);
        let all = async {
            for renamed in filled {
                let _ = renamed.await;
            }
        };
        let _ = tokio::time::timeout(RENAMED_WAIT, all).await;
    }

    /// Returns how many of `events`, at least one, the open file takes.
    fn fitting(&self, rolls: &RollRules, events: &[Event]) -> usize {
        let Some(open) = &self.open else { return events.len() };
        let (mut count, mut bytes) = (open.events, open.bytes);
        for (n, event) in events.iter().enumerate() {
            count += 1;
            bytes += open.format.payload_bytes(event);
            if reaches(rolls, count, bytes) {
                return n + 1;
            }
        }
        events.len()
    }

    fn is_full(&self, rolls: &RollRules) -> bool {
        self.open.as_ref().is_some_and(|open| reaches(rolls, open.events, open.bytes))
    }

    async fn write(
        &mut self,
        context: &DeliveryContext<'_>,
        events: &[Event],
        places: &[EventPlace],
    ) -> Result<(), BucketError> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let mut bytes = Vec::new();
        if !open.has_begun
            && let Some(first) = events.first()
        {
            open.format.begin(first, &mut bytes)?;
        }
        open.format.append_batch(events, &mut bytes)?;
        let Some(mut file) = open.file.take() else { return Ok(()) };
        let (calls, path) = (&context.closing.calls, &open.name.in_use);
        let after = open.length + bytes.len() as u64;
        if let Some(channel) = context.channel {
            // From here on a crash leaves the batch in doubt; its events and the length decide.
            let events = EventSet::of(channel, places);
            let batch = WrittenBatch { before: open.length, after, events };
            let begun = context.closing.ledger.begin_batch(&open.name, batch).await;
            begun.map_err(BucketError::Ledger)?;
        }
        let written = async {
            calls.limited("write", path, file.write(Bytes::from(bytes))).await?;
            calls.limited("sync", path, file.hsync()).await
        };
        if let Err(error) = written.await {
            context.closing.counters.connection_failed.add(1);
            return Err(error.into());
        }
        context.closing.ledger.batch_synced(&open.name);
        open.length = after;
        open.file = Some(file);
        open.has_begun = true;
        open.events += events.len() as u64;
        open.bytes += events.iter().map(|event| open.format.payload_bytes(event)).sum::<u64>();
        Ok(())
    }

    /// Begins to close its file, if it has one; the next event opens another. Returns what ends with the first try.
    pub(super) fn close(
        &mut self,
        closing: &Closing,
        closing_files: &Mutex<ClosingFiles>,
    ) -> Option<oneshot::Receiver<()>> {
        let mut open = self.open.take()?;
        closing.hook.closing(&open.name.in_use, open.events);
        let mut end = Vec::new();
        let is_whole = open.has_begun && open.format.finish(&mut end).is_ok();
        let writer: Option<Writer> = open.file.filter(|_| is_whole).map(|file| (file, end.into()));
        Some(lock(closing_files).begin(closing, open.name, writer))
    }

    /// Returns the names of a file. With `origin` they say from which channel, stripe and sequence on its events are.
    fn name(&self, rules: &NameRules, origin: Option<(u128, EventPlace)>) -> FileName {
        let (directory, suffix) = (&self.directory, &rules.suffix);
        let mut name = format!("{}.{}", self.prefix, self.counter);
        if let Some((channel, EventPlace { stripe, sequence })) = origin {
            name += &format!(".{:08x}-{stripe}-{sequence}", channel >> 96);
        }
        let (before, after) = (&rules.in_use_prefix, &rules.in_use_suffix);
        FileName {
            in_use: format!("{directory}/{before}{name}{suffix}{after}"),
            stem: format!("{directory}/{name}"),
            suffix: suffix.clone(),
        }
    }
}

fn reaches(rolls: &RollRules, events: u64, bytes: u64) -> bool {
    rolls.events.is_some_and(|most| events >= most) || rolls.bytes.is_some_and(|most| bytes >= most)
}

/// Locks the tasks; a panic leaves them usable.
pub(super) fn lock(closing_files: &Mutex<ClosingFiles>) -> std::sync::MutexGuard<'_, ClosingFiles> {
    closing_files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
