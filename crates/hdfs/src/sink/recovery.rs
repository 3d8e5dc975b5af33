//! Closes and renames files, in tasks of their own: also those whose writers broke, and those that a crash left.
//!
//! Limits: [`FIRST_TRIES_MAX`] files are in their first try at a time; further ones wait. Between later tries there
//! are pauses of 1 s, 2 s, 4 s … up to `hdfs.retryInterval`; a stop ends them. While [`FILES_LEFT_MAX`] files are not
//! closed and renamed, the sink takes no events.
//!
//! 1. A file with a working writer gets its end and is closed.
//! 2. If that fails, or there is no writer, its lease is recovered until the server says that it is closed.
//! 3. A recovered file without a byte is deleted; any other one is renamed. If the name is taken, `.1`, `.2` … is put
//!    before the suffix.
//! 4. The ledger forgets it.
//!
//! What a task cannot do before the stop is done after the next start.

use super::calls::Calls;
use super::ledger::{FileName, Ledger};
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

/// A writer that works, and the end of its file.
pub(super) type Writer = (Box<dyn OpenFile>, Bytes);

/// What all tasks need.
#[derive(Clone)]
pub(super) struct Closing {
    pub(super) sink: String,
    pub(super) calls: Calls,
    pub(super) ledger: Ledger,
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
    pub(super) fn room(&self) -> Arc<Semaphore> {
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
        loop {
            match self.step(&name, &mut is_closed, recovered).await {
                Ok(true) => return self.ledger.closed(&name).await,
                // Recovery takes its time; that is not a failure.
                Ok(false) => {}
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
            let stop = stops.wait_for(|stops| *stops);
            let _ = tokio::time::timeout(pause.min(self.pause_max), stop).await;
            pause = pause.saturating_mul(2).min(self.pause_max);
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
        if !*is_closed {
            match calls.recover_lease(&name.in_use).await {
                Ok(true) => *is_closed = true,
                Ok(false) => return Ok(false),
                // It was renamed or deleted before, or never created.
                Err(error) if error.kind == FaultKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        if recovered {
            let found = calls.status(&name.in_use).await?;
            if found.is_some_and(|file| file.length == 0 && !file.is_directory) {
                calls.delete(&name.in_use).await?;
                return Ok(true);
            }
        }
        let renamed = self.rename(name).await?;
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

    /// Gives the file its last name; false if it is gone.
    async fn rename(&self, name: &FileName) -> Result<bool, FileSystemError> {
        if name.is_never_renamed() {
            return Ok(true);
        }
        let mut last = None;
        for n in 0..NAMES_TRIED_MAX {
            let closed = name.closed(n);
            match self.calls.rename(&name.in_use, &closed).await {
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
                    if self.calls.status(&name.in_use).await?.is_none() {
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
