//! The state of the faulty disk besides passing calls on.

use super::lost_writes::{DiskLie, WriteCache};
use crate::torture::crash_point::{CrashPoint, CrashTiming, PlannedCrash};
use crate::torture::note::Note;
use crate::torture::note_writer::NoteWriter;
use crate::torture::scratch_dirs;
use millpond::internal::disk::{Directory, File, Space};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::torture) enum RunStage {
    Opening,
    Working,
    Closing,
}

/// The state that all calls share.
pub(in crate::torture) struct DiskControl {
    note_writer: Arc<dyn NoteWriter>,
    stage: AtomicU8,
    strike: Option<PlannedCrash>,
    /// Calls so far, and those at the planned crash point.
    calls: AtomicU64,
    reached: AtomicU64,
    /// Bytes that each data directory may hold, ballast included.
    quota: Option<u64>,
    lie: Option<WriteCache>,
    /// Segments whose header was written in this run.
    used: Mutex<BTreeSet<PathBuf>>,
}

impl DiskControl {
    pub(in crate::torture) fn new(
        note_writer: Arc<dyn NoteWriter>,
        strike: Option<PlannedCrash>,
        quota: Option<u64>,
        lie: Option<DiskLie>,
    ) -> Self {
        Self {
            note_writer,
            stage: AtomicU8::new(RunStage::Opening as u8),
            strike,
            calls: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            quota,
            lie: lie.map(|DiskLie::Sync| WriteCache::default()),
            used: Mutex::default(),
        }
    }

    /// Moves the run to `stage`.
    pub(in crate::torture) fn enter(&self, stage: RunStage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// Returns the disk calls so far.
    pub(in crate::torture) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts a call, and returns the planned crash if this is its call.
    pub(super) fn reach(&self, moment: CrashPoint) -> Option<PlannedCrash> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let strike = self.strike?;
        let stage = self.stage.load(Ordering::SeqCst);
        let moment = match stage {
            _ if stage == RunStage::Opening as u8 => CrashPoint::Opening,
            _ if stage == RunStage::Closing as u8 => CrashPoint::Closing,
            _ => moment,
        };
        if moment != strike.moment {
            return None;
        }
        let nth = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        (nth == strike.nth).then_some(strike)
    }

    /// Runs a call without parts: dies before or after it when it is the planned one.
    pub(super) fn around<R>(&self, moment: CrashPoint, call: impl FnOnce() -> R) -> R {
        match self.reach(moment) {
            None => call(),
            Some(strike) => {
                if strike.how == CrashTiming::After {
                    drop(call());
                }
                self.die(&strike)
            }
        }
    }

    /// Ends the process as `kill -9` does.
    pub(super) fn die(&self, strike: &PlannedCrash) -> ! {
        let PlannedCrash { moment, how, .. } = *strike;
        // A parent that has ended misses nothing.
        let _ = self.note_writer.write_note(&Note::Dying { moment, how, call: self.calls() });
        let kill = rustix::process::Signal::KILL;
        loop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), kill);
        }
    }

    /// Returns whether a header in the segment `path` is its first in this run.
    pub(super) fn header(&self, path: &Path) -> CrashPoint {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.insert(path.to_owned()) {
            true => CrashPoint::Roll,
            false => CrashPoint::Recycle,
        }
    }

    /// Checks whether a directory may grow by `bytes`.
    pub(super) fn allows(&self, directory: &dyn Directory, bytes: u64) -> io::Result<()> {
        match self.left(directory)? {
            Some(left) if left < bytes => Err(rustix::io::Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }

    /// Returns the free space that the quota leaves.
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
        let used = scratch_dirs::used_bytes(directory)?;
        Ok(Some(quota.saturating_sub(used)))
    }

    /// Returns whether syncs are not carried out.
    pub(super) fn lies(&self) -> bool {
        self.lie.is_some()
    }

    /// Holds a write back that should be durable now, if the disk lies.
    pub(super) fn hold_back(&self, file: &Arc<dyn File>, offset: u64, bytes: &[u8]) -> bool {
        self.lie.as_ref().map(|cache| cache.hold_back(file, offset, bytes)).is_some()
    }

    /// Applies what was held back to a read.
    pub(super) fn remember(&self, path: &Path, offset: u64, bytes: &mut [u8]) {
        if let Some(cache) = &self.lie {
            cache.remember(path, offset, bytes);
        }
    }

    /// Writes what was held back, at the end of a run that was not killed.
    pub(in crate::torture) fn flush(&self) {
        if let Some(cache) = &self.lie {
            cache.flush();
        }
    }
}
