//! What the door does besides passing calls on.

use super::lie::{Cache, Lie};
use crate::disk::{Directory, File, Space};
use crate::torture::ground;
use crate::torture::moment::{How, Moment, Strike};
use crate::torture::note::Note;
use crate::torture::voice::Voice;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::torture) enum Stage {
    Opening,
    Working,
    Closing,
}

/// What the calls have in common.
pub(in crate::torture) struct Control {
    voice: Arc<dyn Voice>,
    stage: AtomicU8,
    strike: Option<Strike>,
    /// Calls so far, and those at the moment of the strike.
    calls: AtomicU64,
    reached: AtomicU64,
    /// Bytes that each data directory may hold, ballast included.
    quota: Option<u64>,
    lie: Option<Cache>,
    /// Segments whose header was written in this life.
    used: Mutex<BTreeSet<PathBuf>>,
}

impl Control {
    pub(in crate::torture) fn new(
        voice: Arc<dyn Voice>,
        strike: Option<Strike>,
        quota: Option<u64>,
        lie: Option<Lie>,
    ) -> Self {
        Self {
            voice,
            stage: AtomicU8::new(Stage::Opening as u8),
            strike,
            calls: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            quota,
            lie: lie.map(|Lie::Sync| Cache::default()),
            used: Mutex::default(),
        }
    }

    /// The life goes on to `stage`.
    pub(in crate::torture) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// Calls of the door so far.
    pub(in crate::torture) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts a call, and answers the strike if this is the call it means.
    pub(super) fn reach(&self, moment: Moment) -> Option<Strike> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let strike = self.strike?;
        let stage = self.stage.load(Ordering::SeqCst);
        let moment = match stage {
            _ if stage == Stage::Opening as u8 => Moment::Opening,
            _ if stage == Stage::Closing as u8 => Moment::Closing,
            _ => moment,
        };
        if moment != strike.moment {
            return None;
        }
        let nth = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        (nth == strike.nth).then_some(strike)
    }

    /// A call without parts: dies before or after it when its turn has come.
    pub(super) fn around<R>(&self, moment: Moment, call: impl FnOnce() -> R) -> R {
        match self.reach(moment) {
            None => call(),
            Some(strike) => {
                if strike.how == How::After {
                    drop(call());
                }
                self.die(&strike)
            }
        }
    }

    /// Ends the process as `kill -9` does.
    pub(super) fn die(&self, strike: &Strike) -> ! {
        let Strike { moment, how, .. } = *strike;
        // A parent that is gone misses nothing.
        let _ = self.voice.say(&Note::Dying { moment, how, call: self.calls() });
        let kill = rustix::process::Signal::KILL;
        loop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), kill);
        }
    }

    /// Whether a header in the segment `path` is its first in this life.
    pub(super) fn header(&self, path: &Path) -> Moment {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.insert(path.to_owned()) {
            true => Moment::Roll,
            false => Moment::Recycle,
        }
    }

    /// Whether a directory may grow by `bytes`.
    pub(super) fn allows(&self, directory: &dyn Directory, bytes: u64) -> io::Result<()> {
        match self.left(directory)? {
            Some(left) if left < bytes => Err(rustix::io::Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }

    /// Free space, as far as the quota lets anyone see it.
    pub(super) fn space(&self, directory: &dyn Directory, space: Space) -> io::Result<Space> {
        Ok(match (self.left(directory)?, self.quota) {
            (Some(left), Some(quota)) => Space {
                available_bytes: space.available_bytes.min(left),
                total_bytes: space.total_bytes.min(quota),
            },
            _ => space,
        })
    }

    fn left(&self, directory: &dyn Directory) -> io::Result<Option<u64>> {
        let Some(quota) = self.quota else { return Ok(None) };
        let used = ground::used_bytes(directory)?;
        Ok(Some(quota.saturating_sub(used)))
    }

    /// Whether syncs are not carried out.
    pub(super) fn lies(&self) -> bool {
        self.lie.is_some()
    }

    /// Keeps a write back that should be durable now, if the door lies.
    pub(super) fn hold_back(&self, file: &Arc<dyn File>, offset: u64, bytes: &[u8]) -> bool {
        self.lie.as_ref().map(|cache| cache.hold_back(file, offset, bytes)).is_some()
    }

    /// Shows a reader what was kept back.
    pub(super) fn remember(&self, path: &Path, offset: u64, bytes: &mut [u8]) {
        if let Some(cache) = &self.lie {
            cache.remember(path, offset, bytes);
        }
    }

    /// Lets go of what was kept back, at the end of a life that was not killed.
    pub(in crate::torture) fn flush(&self) {
        if let Some(cache) = &self.lie {
            cache.flush();
        }
    }
}
