//! Key stores, trust stores and files of passwords, which are read again when they change.
//!
//! Limits: [`LOOK_PATIENCE`] for a look at the files and reading them; beyond it what was read before is
//! used on. One look at a time: a file system that hangs holds up one thread. A store that cannot be read
//! is tried again when its file changes, and every [`TRY_AGAIN`].
//!
//! The story: [`Reloading::current`] is asked for each connection, [`Reloading::recent`] for each request. It compares device, number, bytes and times
//! of the files with those of the last reading, taken before it: what is written meanwhile is seen the next time.
//! A store that is half written, or was replaced by something else, changes nothing: that is logged,
//! and what was read last stays in use.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

const LOOK_PATIENCE: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks for [`Reloading::recent`].
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Settings that name stores.
pub trait Stores: Clone + Send + 'static {
    /// What is made of the stores.
    type Loaded: Clone + Send + 'static;

    /// Why nothing can be made of them.
    type Error: fmt::Display + From<Unseen> + Send + 'static;

    /// The files of the stores.
    fn files(&self) -> Vec<PathBuf>;

    /// Age from which they are read again although no file has changed; `None` for never. For stores whose files
    /// nobody knows.
    fn age_max(&self) -> Option<Duration>;

    /// Reads them. Blocks.
    ///
    /// # Errors
    /// They cannot be read, or make nothing.
    fn load(&self) -> Result<Self::Loaded, Self::Error>;
}

/// Why a store was not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unseen {
    /// Reading it ended by itself.
    #[error("reading it did not end well")]
    Ended,
    /// Reading it takes too long.
    #[error("reading it takes more than {} s: does its file system hang?", LOOK_PATIENCE.as_secs())]
    Late,
}

/// What a file looks like: device, number, bytes, when its content and when its state were changed; `None` when
/// it cannot be seen.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let found = Path::metadata(file).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some((found.dev(), found.ino(), found.size(), changed, (found.ctime(), found.ctime_nsec())))
    };
    files.iter().map(stamp).collect()
}

/// The stores of one component, as they are now.
pub struct Reloading<S: Stores> {
    settings: S,
    files: Vec<PathBuf>,
    held: Mutex<Held<S::Loaded>>,
    /// The look that is under way.
    look: tokio::sync::Mutex<Option<JoinHandle<Look<S>>>>,
}

/// What was read.
struct Held<L> {
    loaded: Option<L>,
    /// Of the last reading, also one that failed.
    stamps: Vec<Stamp>,
    read: Option<Instant>,
    /// When it was asked last whether they have changed.
    looked: Option<Instant>,
    has_failed: bool,
}

/// What a look came to.
enum Look<S: Stores> {
    Same,
    Read(Vec<Stamp>, Result<S::Loaded, S::Error>),
}

impl<S: Stores> fmt::Debug for Reloading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<S: Stores> Reloading<S> {
    /// Stores that have not been read yet.
    #[must_use]
    pub fn new(settings: S) -> Self {
        let held =
            Held { loaded: None, stamps: Vec::new(), read: None, looked: None, has_failed: false };
        let files = settings.files();
        Self { settings, files, held: Mutex::new(held), look: tokio::sync::Mutex::default() }
    }

    /// What the settings say.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.settings
    }

    /// What the stores make now, or made when they could be read last; `owner` names the component in
    /// the log, as `sink k1`.
    ///
    /// # Errors
    /// They could never be read, and cannot be now.
    pub async fn current(&self, owner: &str) -> Result<S::Loaded, S::Error> {
        let never_changes = self.files.is_empty() && self.settings.age_max().is_none();
        if let Some(loaded) = self.last().filter(|_| never_changes) {
            return Ok(loaded);
        }
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            // Somebody looks already: what is there will do meanwhile.
            Err(_) => match self.last() {
                Some(loaded) => return Ok(loaded),
                None => self.look.lock().await,
            },
        };
        let task = look.get_or_insert_with(|| self.begin_look());
        let Ok(ended) = timeout(LOOK_PATIENCE, task).await else {
            return self.last().ok_or_else(|| Unseen::Late.into());
        };
        *look = None;
        drop(look);
        self.take_in(ended.map_err(|_| Unseen::Ended)?, owner)
    }

    /// The same for each request of a connection: what a look less than [`LOOK_EVERY`] ago has found, else that of a
    /// look which is waited for that long. So what was taken back holds no longer than that on a connection that is open.
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

    fn begin_look(&self) -> JoinHandle<Look<S>> {
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
            if !is_due && now == known { Look::Same } else { Look::Read(now, settings.load()) }
        })
    }

    fn take_in(&self, look: Look<S>, owner: &str) -> Result<S::Loaded, S::Error> {
        let mut held = self.held();
        if let Look::Read(stamps, read) = look {
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
        held.loaded.clone().ok_or_else(|| Unseen::Ended.into())
    }

    /// What was read last.
    fn last(&self) -> Option<S::Loaded> {
        self.held().loaded.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held<S::Loaded>> {
        // Nothing under the lock can be left half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
