//! Closes and renames files, in tasks of their own: also those whose writers broke, and those that a crash left.
//!
//! Limits: [`FIRST_TRIES_MAX`] files are in their first try at a time; further ones wait. Between later tries there
//! are pauses of 1 s, 2 s, 4 s … up to `hdfs.retryInterval`; a stop ends them. While [`FILES_LEFT_MAX`] files are not
//! closed and renamed, the sink takes no events.
//!
//! 1. A file with a working writer gets its end and is closed.
//! 2. If that fails, or there is no writer, its lease is recovered until the server says that it is closed.
//! 3. If it is not known whether it has its last batch (`hdfs.exactlyOnce`), its length says so. A part of the batch is
//!    cut off: the file is truncated or, where that is not possible, a copy without it takes its place. The ledger
//!    records the outcome before the file gets its name.
//! 4. A recovered file without a byte is deleted; any other one is renamed. If the name is taken, `.1`, `.2` … is put
//!    before the suffix.
//! 5. The ledger forgets it.
//!
//! What a task cannot do before the stop is done after the next start.

use super::calls::Calls;
use super::file_name::FileName;
use super::hook::RenameHook;
use super::ledger::Ledger;
use super::ledger_state::WrittenBatch;
use crate::file_system::{FaultKind, FileSystemError, OpenFile};
use bytes::Bytes;
use millpond_flow::metrics::SinkCounters;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

/// Files in their first try at a time.
const FIRST_TRIES_MAX: usize = 64;
/// Files that are not closed and renamed yet; each takes some KiB of memory.
const FILES_LEFT_MAX: usize = 10_000;
/// Taken names before a file keeps the one it has.
const NAMES_TRIED_MAX: u32 = 1000;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause between tries while the sink stops, which has little time for them.
const STOP_PAUSE: Duration = Duration::from_millis(250);
/// Pauses while deliveries wait for the outcome of a batch.
const DOUBT_FIRST_PAUSE: Duration = Duration::from_millis(100);
const DOUBT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 4 << 20;

/// A writer that works, and the end of its file.
pub(super) type Writer = (Box<dyn OpenFile>, Bytes);

/// What all tasks need.
#[derive(Clone)]
pub(super) struct Closing {
    pub(super) sink: String,
    pub(super) calls: Calls,
    pub(super) ledger: Ledger,
    pub(super) hook: RenameHook,
    pub(super) counters: Arc<SinkCounters>,
    pub(super) tries_max: Option<u64>,
    pub(super) pause_max: Duration,
}

/// The files that are being closed.
pub(super) struct ClosingFiles {
    tasks: JoinSet<()>,
    first_tries: Arc<Semaphore>,
    /// True while the sink stops: pauses end.
    stops: watch::Sender<bool>,
}

impl Default for ClosingFiles {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            first_tries: Arc::new(Semaphore::new(FIRST_TRIES_MAX)),
            stops: watch::Sender::new(false),
        }
    }
}

impl ClosingFiles {
    /// Begins to close the file `name`, without a writer if it broke or its process has ended. Returns what ends with
    /// the first try.
    pub(super) fn begin(
        &mut self,
        closing: &Closing,
        name: FileName,
        writer: Option<Writer>,
    ) -> oneshot::Receiver<()> {
        let (tried, first_try) = oneshot::channel();
        while self.tasks.try_join_next().is_some() {}
        let (closing, first_tries) = (closing.clone(), Arc::clone(&self.first_tries));
        let stops = self.stops.subscribe();
        self.tasks.spawn(async move {
            let permit = first_tries.acquire_owned().await.ok();
            closing.run(name, writer, permit.map(|permit| (permit, tried)), stops).await;
        });
        first_try
    }

    /// Returns how many files are not closed and renamed, if those are too many for more.
    pub(super) fn too_many(&mut self) -> Option<usize> {
        while self.tasks.try_join_next().is_some() {}
        Some(self.tasks.len()).filter(|left| *left >= FILES_LEFT_MAX)
    }

    /// Returns what a delivery waits for while more files are to be closed than may be at a time.
    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.first_tries)
    }

    /// Waits until all are closed, at most for `limit`; returns how many are not. Those in a pause are tried at once.
    pub(super) async fn end(&mut self, limit: Duration) -> usize {
        self.stops.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let ended = tokio::time::timeout(limit, all).await;
        self.stops.send_replace(false);
        if ended.is_ok() {
            return 0;
        }
        while self.tasks.try_join_next().is_some() {}
        let left = self.tasks.len();
        self.tasks.abort_all();
        left
    }
}

impl Closing {
    async fn run(
        &self,
        name: FileName,
        writer: Option<Writer>,
        mut first: Option<(OwnedSemaphorePermit, oneshot::Sender<()>)>,
        mut stops: watch::Receiver<bool>,
    ) {
        let mut is_closed = false;
        let mut recovered = writer.is_none();
        if let Some((file, end)) = writer {
            match self.close(file, end, &name).await {
                Ok(()) => is_closed = true,
                Err(error) => {
                    recovered = true;
                    self.failed(&error, "its lease is recovered");
                }
            }
        }
        let (mut tries, mut pause) = (0, FIRST_PAUSE);
        let mut doubt_pause = DOUBT_FIRST_PAUSE;
        loop {
            match self.step(&name, &mut is_closed, recovered).await {
                Ok(true) => return self.ledger.closed(&name).await,
                // Recovery takes its time; that is not a failure.
                Ok(false) => {}
                Err(error) if self.ledger.doubt(&name).batch.is_some() => {
                    self.failed(&error, "tried again; its events wait for that");
                }
                Err(error) => {
                    tries += 1;
                    if self.tries_max.is_some_and(|max| tries >= max) {
                        self.failed(
                            &error,
                            "it keeps this name until the next start tries again (hdfs.closeTries)",
                        );
                        return;
                    }
                    self.failed(&error, "tried again");
                }
            }
            drop(first.take());
            if *stops.borrow() {
                tokio::time::sleep(STOP_PAUSE).await;
                continue;
            }
            let wait = if self.ledger.doubt(&name).batch.is_some() {
                let wait = doubt_pause;
                doubt_pause = doubt_pause.saturating_mul(2).min(DOUBT_PAUSE_MAX);
                wait
            } else {
                let wait = pause.min(self.pause_max);
                pause = pause.saturating_mul(2).min(self.pause_max);
                wait
            };
            let stop = stops.wait_for(|stops| *stops);
            let _ = tokio::time::timeout(wait, stop).await;
        }
    }

    fn failed(&self, error: &FileSystemError, next: &str) {
        self.counters.connection_failed.add(1);
        tracing::warn!(sink = self.sink, "a file is not closed: {error}; {next}");
    }

    async fn close(
        &self,
        mut file: Box<dyn OpenFile>,
        end: Bytes,
        name: &FileName,
    ) -> Result<(), FileSystemError> {
        if !end.is_empty() {
            self.calls.limited("write", &name.in_use, file.write(end)).await?;
            self.calls.limited("sync", &name.in_use, file.hsync()).await?;
        }
        self.calls.limited("close", &name.in_use, file.close()).await
    }

    /// Tries the next step; true when there is nothing left to do.
    async fn step(
        &self,
        name: &FileName,
        is_closed: &mut bool,
        recovered: bool,
    ) -> Result<bool, FileSystemError> {
        let calls = &self.calls;
        if self.ledger.doubt(name).is_replaced {
            calls.delete(&name.in_use).await?;
            return self.give_name(&name.copy(), name, true).await;
        }
        if !*is_closed {
            match calls.recover_lease(&name.in_use).await {
                Ok(true) => *is_closed = true,
                Ok(false) => return Ok(false),
                // It was renamed or deleted before, or never created.
                Err(error) if error.kind == FaultKind::NotFound => {
                    self.settle(name, false).await?;
                    self.hook.renamed(&name.in_use);
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        match self.ledger.doubt(name).batch {
            Some(batch) => {
                if self.cut(name, &batch).await? {
                    return Ok(false);
                }
            }
            None => self.settle(name, true).await?,
        }
        if recovered {
            let found = calls.status(&name.in_use).await?;
            if found.is_some_and(|file| file.length == 0 && !file.is_directory) {
                calls.delete(&name.in_use).await?;
                self.hook.dropped(&name.in_use);
                return Ok(true);
            }
        }
        self.give_name(&name.in_use, name, recovered).await
    }

    async fn give_name(
        &self,
        from: &str,
        name: &FileName,
        recovered: bool,
    ) -> Result<bool, FileSystemError> {
        let renamed = self.rename(from, name).await?;
        self.hook.renamed(&name.in_use);
        self.counters.connection_closed.add(1);
        if recovered && renamed {
            tracing::info!(
                sink = self.sink,
                file = name.stem,
                "this file was left open: closed and renamed"
            );
        }
        Ok(true)
    }

    async fn settle(&self, name: &FileName, is_kept: bool) -> Result<(), FileSystemError> {
        let settled = self.ledger.settled(name, is_kept).await;
        settled.map_err(|error| not_recorded(name, &error))
    }

    /// Finds out whether the closed file has `batch`, and cuts off a part of it. Returns true if a copy takes the place
    /// of the file.
    async fn cut(&self, name: &FileName, batch: &WrittenBatch) -> Result<bool, FileSystemError> {
        let (path, before) = (&name.in_use, batch.before);
        let length = self.calls.status(path).await?.map_or(0, |found| found.length);
        if length >= batch.after {
            self.settle(name, true).await?;
            return Ok(false);
        }
        if length < before {
            tracing::warn!(
                sink = self.sink,
                file = path,
                "has {length} bytes, and {before} were synced: the file system has lost events of it"
            );
        }
        if length > before && before > 0 {
            match self.calls.truncate(path, before).await {
                Ok(()) => {}
                Err(error) if error.kind == FaultKind::Unsupported => {
                    self.copy(name, before).await?;
                    let recorded = self.ledger.replaced(name).await;
                    return recorded.map(|()| true).map_err(|error| not_recorded(name, &error));
                }
                Err(error) => return Err(error),
            }
        } else if length > 0 && before == 0 {
            self.calls.delete(path).await?;
        }
        self.settle(name, false).await?;
        Ok(false)
    }

    /// Copies the first `bytes` of the closed file, durably.
    async fn copy(&self, name: &FileName, bytes: u64) -> Result<(), FileSystemError> {
        let (calls, from, to) = (&self.calls, &name.in_use, name.copy());
        // What an earlier try left.
        calls.delete(&to).await?;
        let mut copy = calls.create(&to).await?;
        let mut at = 0;
        while at < bytes {
            let most = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let part = calls.read(from, at, most).await?;
            if part.is_empty() {
                return Err(FileSystemError {
                    kind: FaultKind::Broken,
                    action: "read",
                    path: from.clone(),
                    reason: format!("it ends at byte {at} of {bytes}"),
                    hint: None,
                });
            }
            at += part.len() as u64;
            calls.limited("write", &to, copy.write(part)).await?;
        }
        calls.limited("sync", &to, copy.hsync()).await?;
        calls.limited("close", &to, copy.close()).await
    }

    /// Notes for the hook that the file is about to be renamed.
    async fn announce(&self, name: &FileName, closed: &str) -> Result<(), FileSystemError> {
        self.hook.announce(&name.in_use, closed).await.map_err(|error| FileSystemError {
            kind: FaultKind::Other,
            action: "note the rename of",
            path: name.in_use.clone(),
            reason: error.to_string(),
            hint: None,
        })
    }

    /// Gives the file its last name; false if it is gone.
    async fn rename(&self, from: &str, name: &FileName) -> Result<bool, FileSystemError> {
        if name.is_never_renamed() {
            self.announce(name, &name.in_use).await?;
            return Ok(true);
        }
        // The reply to an earlier try was lost: what is announced is its last name.
        if self.hook.is_announced(&name.in_use) && self.calls.status(from).await?.is_none() {
            return Ok(false);
        }
        let mut last = None;
        for n in 0..NAMES_TRIED_MAX {
            let closed = name.closed(n);
            self.announce(name, &closed).await?;
            match self.calls.rename(from, &closed).await {
                Ok(()) if n == 0 => return Ok(true),
                Ok(()) => {
                    tracing::warn!(
                        sink = self.sink,
                        wanted = name.closed(0),
                        file = closed,
                        "the name of this file was taken: it has another one"
                    );
                    return Ok(true);
                }
                Err(error) if error.kind == FaultKind::AlreadyExists => last = Some(error),
                // Its reply to an earlier try was lost.
                Err(error) if error.kind == FaultKind::NotFound => {
                    if self.calls.status(from).await?.is_none() {
                        return Ok(false);
                    }
                    // With a slash in hdfs.inUsePrefix its directory is another one.
                    let directory = closed.rsplit_once('/').map_or("/", |(directory, _)| directory);
                    self.calls.mkdirs(directory).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(false), Err)
    }
}

fn not_recorded(name: &FileName, error: &std::io::Error) -> FileSystemError {
    FileSystemError {
        kind: FaultKind::Other,
        action: "record what is in",
        path: name.in_use.clone(),
        reason: error.to_string(),
        hint: Some("see hdfs.stateDirectory"),
    }
}
