//! `hdfs.onRename`: tells a command or a server of each file that got its last name, at least once.
//!
//! Limits: [`CALLS_MAX`] calls at a time, each within `hdfs.onRename.timeout`; [`pending::PENDING_MAX`] files wait. After
//! a failure a file is tried again after 1 s, 2 s, 4 s … up to [`PAUSE_MAX`], without a limit of tries, and a call that
//! failed is followed by [`FIRST_PAUSE`] without one. No delivery and no rename waits for a call.
//!
//! 1. Before a rename the file and its new name are noted on disk ([`pending`]).
//! 2. After it, or at the next start if there is no such file open any more, the file is queued.
//! 3. A call is made ([`call`]) if the file is there. Exit code 0, or a status of 200 to 299, removes the note.

mod call;
mod pending;

pub(super) use call::HookTarget;
use call::RenamedFile;
use pending::{PENDING_MAX, PendingDirectory, PendingFile};

use super::calls::Calls;
use millpond::{Clock, SystemClock};
use millpond_flow::failure_log::FailureLog;
use millpond_flow::metrics::SinkCounters;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Calls at a time.
const CALLS_MAX: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a file is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The hook of a sink; the default one does nothing.
#[derive(Clone, Default)]
pub(super) struct RenameHook(Option<RunningHook>);

#[derive(Clone)]
struct RunningHook {
    state: Arc<HookState>,
    /// Ended with the last clone; they do not hold it themselves.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

struct HookState {
    target: HookTarget,
    sink: String,
    /// What stands before a path in its URL.
    root: String,
    calls: Calls,
    counters: Arc<SinkCounters>,
    directory: PendingDirectory,
    files: Mutex<HookFiles>,
    queued: Notify,
    failures: FailureLog,
    clock: SystemClock,
}

#[derive(Default)]
struct HookFiles {
    next: u64,
    /// The numbers of files that are noted, by their paths in use.
    noted: HashMap<String, u64>,
    /// What is noted.
    pending: HashMap<u64, PendingFile>,
    /// The files to call for, by the time of the next try, with how often they were tried.
    queue: BTreeMap<(Instant, u64), u32>,
    /// Calls under way.
    running: usize,
    /// Events of files that are being closed, by their paths in use.
    events: HashMap<String, u64>,
}

/// What a hook is started with.
pub(super) struct HookStart<'a> {
    pub(super) target: HookTarget,
    pub(super) sink: &'a str,
    pub(super) root: String,
    pub(super) calls: Calls,
    pub(super) counters: Arc<SinkCounters>,
    /// Where notes are kept.
    pub(super) directory: &'a Path,
}

impl RenameHook {
    /// Starts a hook. `is_open` tells files that will be closed and renamed by this process. Blocks.
    ///
    /// # Errors
    /// The directory of its notes cannot be used.
    pub(super) fn start(start: HookStart<'_>, is_open: impl Fn(&str) -> bool) -> io::Result<Self> {
        let (directory, left) = PendingDirectory::open(start.directory)?;
        let mut files = HookFiles::default();
        for (number, file) in left {
            files.next = files.next.max(number + 1);
            files.noted.insert(file.in_use.clone(), number);
            if !is_open(&file.in_use) {
                files.queue.insert((Instant::now(), number), 0);
            }
            files.pending.insert(number, file);
        }
        let state = Arc::new(HookState {
            target: start.target,
            sink: start.sink.to_owned(),
            root: start.root,
            calls: start.calls,
            counters: start.counters,
            directory,
            files: Mutex::new(files),
            queued: Notify::new(),
            failures: FailureLog::default(),
            clock: SystemClock::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..CALLS_MAX {
            let worker = Arc::clone(&state);
            tasks.spawn(async move { worker.run().await });
        }
        Ok(Self(Some(RunningHook { state, tasks: Arc::new(Mutex::new(tasks)) })))
    }

    /// Remembers the number of events in a file that is about to be closed.
    pub(super) fn closing(&self, in_use: &str, events: u64) {
        if let Some(RunningHook { state, .. }) = &self.0 {
            state.lock().events.insert(in_use.to_owned(), events);
        }
    }

    /// Notes, durably, that `in_use` is about to become `path`. The file is renamed only after that.
    ///
    /// # Errors
    /// It cannot be noted, or too many files wait.
    pub(super) async fn announce(&self, in_use: &str, path: &str) -> io::Result<()> {
        let Some(RunningHook { state, .. }) = self.0.clone() else { return Ok(()) };
        let (number, file) = {
            let mut files = state.lock();
            let number = match files.noted.get(in_use) {
                Some(number) => *number,
                None if files.pending.len() >= PENDING_MAX => {
                    return Err(io::Error::other(format!(
                        "{PENDING_MAX} renamed files wait for hdfs.onRename; see the log for why its calls fail"
                    )));
                }
                None => {
                    files.next += 1;
                    files.next - 1
                }
            };
            let file = PendingFile {
                in_use: in_use.to_owned(),
                path: path.to_owned(),
                events: files.events.get(in_use).copied(),
                renamed_ms: state.clock.wall_ms(),
            };
            files.noted.insert(in_use.to_owned(), number);
            files.pending.insert(number, file.clone());
            (number, file)
        };
        let write = move || state.directory.write(number, &file);
        tokio::task::spawn_blocking(write)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Returns whether a rename of `in_use` was noted.
    pub(super) fn is_announced(&self, in_use: &str) -> bool {
        let is_noted = |hook: &RunningHook| hook.state.lock().noted.contains_key(in_use);
        self.0.as_ref().is_some_and(is_noted)
    }

    /// Queues the file that was `in_use`, if it was announced.
    pub(super) fn renamed(&self, in_use: &str) {
        let Some(RunningHook { state, .. }) = &self.0 else { return };
        let mut files = state.lock();
        files.events.remove(in_use);
        if let Some(number) = files.noted.get(in_use).copied() {
            files.queue.insert((Instant::now(), number), 0);
            state.queued.notify_one();
        }
    }

    /// Forgets a file that is not renamed, such as one without a byte.
    pub(super) fn dropped(&self, in_use: &str) {
        if let Some(RunningHook { state, .. }) = &self.0 {
            state.lock().events.remove(in_use);
        }
    }

    /// Waits until no file is due, at most for `limit`, and ends all calls. What is left is done after the next start.
    pub(super) async fn end(&self, limit: Duration) {
        let Some(RunningHook { state, tasks }) = &self.0 else { return };
        let idle = async {
            while !state.is_idle() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(limit, idle).await;
        tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl HookState {
    fn lock(&self) -> MutexGuard<'_, HookFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let files = self.lock();
        let due = files.queue.first_key_value().is_some_and(|((at, _), _)| *at <= Instant::now());
        files.running == 0 && !due
    }

    /// Takes the next file that is due, or returns when one may be.
    fn take(&self) -> Result<(u64, u32, PendingFile), Option<Instant>> {
        let mut files = self.lock();
        loop {
            let Some(((at, number), tries)) = files.queue.pop_first() else { return Err(None) };
            if at > Instant::now() {
                files.queue.insert((at, number), tries);
                return Err(Some(at));
            }
            if let Some(file) = files.pending.get(&number).cloned() {
                files.running += 1;
                return Ok((number, tries, file));
            }
        }
    }

    async fn run(&self) {
        loop {
            let queued = self.queued.notified();
            match self.take() {
                Ok((number, tries, file)) => {
                    let done = self.tell(&file).await;
                    self.settle(number, tries, &file, done).await;
                }
                Err(None) => queued.await,
                Err(Some(at)) => {
                    let _ = tokio::time::timeout_at(at, queued).await;
                }
            }
        }
    }

    /// Calls the hook for a file, if it is there; the error is for the log.
    async fn tell(&self, file: &PendingFile) -> Result<(), String> {
        let found = self.calls.status(&file.path).await.map_err(|error| error.to_string())?;
        let Some(found) = found else {
            tracing::info!(
                sink = self.sink,
                path = file.path,
                "this renamed file is gone: hdfs.onRename is not called for it"
            );
            return Ok(());
        };
        let renamed = RenamedFile {
            url: format!("{}{}", self.root, file.path),
            path: file.path.clone(),
            length: found.length,
            events: file.events,
            renamed_ms: file.renamed_ms,
        };
        self.target.call(&self.sink, &renamed).await.map_err(|error| error.to_string())
    }

    async fn settle(&self, number: u64, tries: u32, file: &PendingFile, done: Result<(), String>) {
        let now = self.clock.now();
        match done {
            Ok(()) => {
                let directory = self.directory.clone();
                let _ = tokio::task::spawn_blocking(move || directory.remove(number)).await;
                {
                    let mut files = self.lock();
                    files.pending.remove(&number);
                    files.noted.remove(&file.in_use);
                    files.running -= 1;
                }
                if let Some(words) = self.failures.over(now) {
                    tracing::info!(sink = self.sink, "hdfs.onRename: {words}");
                }
            }
            Err(cause) => {
                self.counters.connection_failed.add(1);
                let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
                let waiting = {
                    let mut files = self.lock();
                    files.queue.insert((Instant::now() + pause, number), tries.saturating_add(1));
                    files.running -= 1;
                    files.pending.len()
                };
                if let Some(words) = self.failures.failed(now, &cause) {
                    tracing::warn!(
                        sink = self.sink,
                        path = file.path,
                        waiting,
                        "hdfs.onRename {} did not acknowledge a renamed file: {words}; tried again",
                        self.target.place()
                    );
                }
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }
}
