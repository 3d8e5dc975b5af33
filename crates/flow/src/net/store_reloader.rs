//! Key stores, trust stores and password files, which are read again when they change.
//!
//! Limits: [`LOOK_TIMEOUT`] for checking and reading the files; after that the last content stays in use. Only
//! one check runs at a time: a file system that hangs blocks one thread. A store that cannot be read is tried
//! again when its file changes, and every [`TRY_AGAIN`].
//!
//! [`StoreReloader::current`] is called for each connection, [`StoreReloader::recent`] for each request. They
//! compare device, inode, size and times of the files with those from before the last reading, so a write during
//! a reading is detected the next time. An incomplete or invalid store is logged, and the last content stays in
//! use.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Time between two checks by [`StoreReloader::recent`].
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Settings that name stores.
pub trait ReloadableStores: Clone + Send + 'static {
    /// What is built from the stores.
    type Loaded: Clone + Send + 'static;

    /// Why it cannot be built.
    type Error: fmt::Display + From<StoreCheckError> + Send + 'static;

    /// Returns the files of the stores.
    fn files(&self) -> Vec<PathBuf>;

    /// Age at which they are read again although no file has changed; `None` for never. For stores whose files
    /// are unknown.
    fn age_max(&self) -> Option<Duration>;

    /// Reads the stores. Blocks.
    ///
    /// # Errors
    /// They cannot be read or used.
    fn load(&self) -> Result<Self::Loaded, Self::Error>;
}

/// Why a store was not examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreCheckError {
    /// The reading task ended without a result.
    #[error("reading it did not end well")]
    Ended,
    /// Reading takes too long.
    #[error("reading it takes more than {} s: does its file system hang?", LOOK_TIMEOUT.as_secs())]
    Timeout,
}

/// Stamp of a file: device, inode, size, modification and change time; `None` if it cannot be examined.
type StoreStamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamps(files: &[PathBuf]) -> Vec<StoreStamp> {
    let stamp = |file: &PathBuf| {
        let found = Path::metadata(file).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some((found.dev(), found.ino(), found.size(), changed, (found.ctime(), found.ctime_nsec())))
    };
    files.iter().map(stamp).collect()
}

/// The stores of one component.
pub struct StoreReloader<S: ReloadableStores> {
    settings: S,
    files: Vec<PathBuf>,
    held: Mutex<LoadedStores<S::Loaded>>,
    /// The check that is running.
    look: tokio::sync::Mutex<Option<JoinHandle<StoreCheck<S>>>>,
}

/// The last content.
struct LoadedStores<L> {
    loaded: Option<L>,
    /// Stamps of the last reading, also of a failed one.
    stamps: Vec<StoreStamp>,
    read: Option<Instant>,
    /// Time of the last check.
    looked: Option<Instant>,
    has_failed: bool,
}

/// Outcome of a check.
enum StoreCheck<S: ReloadableStores> {
    Same,
    Read(Vec<StoreStamp>, Result<S::Loaded, S::Error>),
}

impl<S: ReloadableStores> fmt::Debug for StoreReloader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<S: ReloadableStores> StoreReloader<S> {
    /// Returns a reloader that has not read the stores yet.
    #[must_use]
    pub fn new(settings: S) -> Self {
        let held = LoadedStores {
            loaded: None,
            stamps: Vec::new(),
            read: None,
            looked: None,
            has_failed: false,
        };
        let files = settings.files();
        Self { settings, files, held: Mutex::new(held), look: tokio::sync::Mutex::default() }
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.settings
    }

    /// Returns what is built from the current stores, or from the last readable ones; `owner` names the component
    /// in the log, as `sink k1`.
    ///
    /// # Errors
    /// They were never readable, and are not now.
    pub async fn current(&self, owner: &str) -> Result<S::Loaded, S::Error> {
        let never_changes = self.files.is_empty() && self.settings.age_max().is_none();
        if let Some(loaded) = self.last().filter(|_| never_changes) {
            return Ok(loaded);
        }
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            // Another caller is checking; the last content is used meanwhile.
            Err(_) => match self.last() {
                Some(loaded) => return Ok(loaded),
                None => self.look.lock().await,
            },
        };
        let task = look.get_or_insert_with(|| self.begin_look());
        let Ok(ended) = timeout(LOOK_TIMEOUT, task).await else {
            return self.last().ok_or_else(|| StoreCheckError::Timeout.into());
        };
        *look = None;
        drop(look);
        self.take_in(ended.map_err(|_| StoreCheckError::Ended)?, owner)
    }

    /// Returns the result of a check less than [`LOOK_EVERY`] old, or else waits that long for a new check. For
    /// each request of a connection, so that a revoked credential is valid for at most that time on an open
    /// connection.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn recent(&self, owner: &str) -> Result<S::Loaded, S::Error> {
        let (last, is_recent) = {
            let mut held = self.held();
            let is_recent = held.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY);
            if !is_recent {
                held.looked = Some(Instant::now());
            }
            (held.loaded.clone(), is_recent)
        };
        match last {
            Some(last) if is_recent => Ok(last),
            Some(last) => timeout(LOOK_EVERY, self.current(owner)).await.unwrap_or(Ok(last)),
            None => self.current(owner).await,
        }
    }

    fn begin_look(&self) -> JoinHandle<StoreCheck<S>> {
        let (settings, files) = (self.settings.clone(), self.files.clone());
        let (known, is_due) = {
            let held = self.held();
            let age = held.read.map(|read| read.elapsed());
            let old = |max: Duration| age.is_none_or(|age| age >= max);
            let is_due = if held.has_failed {
                old(TRY_AGAIN)
            } else {
                held.read.is_none() || settings.age_max().is_some_and(old)
            };
            (held.stamps.clone(), is_due || held.loaded.is_none())
        };
        spawn_blocking(move || {
            let now = stamps(&files);
            if !is_due && now == known {
                StoreCheck::Same
            } else {
                StoreCheck::Read(now, settings.load())
            }
        })
    }

    fn take_in(&self, look: StoreCheck<S>, owner: &str) -> Result<S::Loaded, S::Error> {
        let mut held = self.held();
        if let StoreCheck::Read(stamps, read) = look {
            let has_changed = held.stamps != stamps;
            (held.stamps, held.read) = (stamps, Some(Instant::now()));
            let had_failed = std::mem::replace(&mut held.has_failed, read.is_err());
            match read {
                Ok(loaded) => {
                    if held.loaded.replace(loaded).is_some() && (has_changed || had_failed) {
                        tracing::info!(
                            "{owner}: a key store, trust store or password file has changed and is in use"
                        );
                    }
                }
                Err(error) if held.loaded.is_none() => return Err(error),
                Err(error) => {
                    if has_changed || !had_failed {
                        tracing::warn!("{owner}: {error}; what was read before stays in use");
                    }
                }
            }
        }
        held.loaded.clone().ok_or_else(|| StoreCheckError::Ended.into())
    }

    /// Returns the last content.
    fn last(&self) -> Option<S::Loaded> {
        self.held().loaded.clone()
    }

    fn held(&self) -> MutexGuard<'_, LoadedStores<S::Loaded>> {
        // No operation can panic halfway while it holds the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
