//! A disk that fills up while producers and takers are at work: puts have to be refused, takes have
//! to continue, and puts have to resume once there is room.

use super::note::{Note, RefusedPut};
use super::process::ChildProcess;
use super::report::FullDisk;
use super::scratch_dirs::{ScratchDirError, ScratchDirs};
use super::transaction_shape::PutName;
use std::time::Duration;

/// The longest time of each step. Steps take milliseconds; a busy machine may stretch them.
const STEP_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FullDiskStep {
    /// The contents are being noted.
    Opening,
    /// The disk is full and takers pause.
    Refusal,
    /// Takers may continue; the command has to reach them first.
    Release,
    /// A take that began on the full disk has to be acknowledged.
    Take(Option<u32>),
    /// There is room; a command to the child separates it from what it did before.
    Room,
    /// A put that was requested with room has to be acknowledged.
    Put(Option<PutName>),
    Over,
}

/// The state of the test.
pub(super) struct FullDiskTest {
    step: FullDiskStep,
    since: Duration,
    quota: u64,
    /// The disk was full when the channel was opened.
    was_full: bool,
}

impl FullDiskTest {
    /// Fills each directory up to `quota` bytes once work has begun; `was_full` when it is full
    /// already.
    pub(super) fn new(quota: u64, was_full: bool, now: Duration) -> Self {
        Self { step: FullDiskStep::Opening, since: now, quota, was_full }
    }

    /// Returns whether puts have resumed.
    pub(super) fn is_over(&self) -> bool {
        self.step == FullDiskStep::Over
    }

    /// Returns whether the ballast is written.
    pub(super) fn is_full(&self) -> bool {
        match self.step {
            FullDiskStep::Opening => self.was_full,
            FullDiskStep::Refusal | FullDiskStep::Release | FullDiskStep::Take(_) => true,
            FullDiskStep::Room | FullDiskStep::Put(_) | FullDiskStep::Over => false,
        }
    }

    /// Returns what has not happened in time, if anything.
    pub(super) fn stuck(&self, now: Duration) -> Option<&'static str> {
        let late = now.saturating_sub(self.since) > STEP_MAX;
        match self.step {
            _ if !late => None,
            FullDiskStep::Refusal => Some("no put was refused within 120 s on a full disk"),
            FullDiskStep::Take(_) => Some("no take was acknowledged within 120 s on a full disk"),
            FullDiskStep::Put(_) => {
                Some("no put was acknowledged within 120 s after the disk had room again")
            }
            FullDiskStep::Opening
            | FullDiskStep::Release
            | FullDiskStep::Room
            | FullDiskStep::Over => None,
        }
    }

    /// Advances by a note of the child.
    pub(super) fn advance(
        &mut self,
        note: &Note,
        now: Duration,
        (process, scratch_dirs): (&mut ChildProcess, &ScratchDirs),
        seen: &mut FullDisk,
    ) -> Result<(), ScratchDirError> {
        let next = match (self.step, note) {
            (FullDiskStep::Opening, Note::ContentsEnd) if self.was_full => {
                seen.opened += 1;
                make_room(process, scratch_dirs)?
            }
            (FullDiskStep::Opening, Note::ContentsEnd) => {
                process.hold(true);
                scratch_dirs.fill(self.quota)?;
                seen.filled += 1;
                FullDiskStep::Refusal
            }
            (FullDiskStep::Refusal, Note::PutRefused(_, RefusedPut::Space)) => {
                seen.refused += 1;
                process.hold(false);
                FullDiskStep::Release
            }
            (FullDiskStep::Release, Note::Lent { taker, .. }) => FullDiskStep::Take(Some(*taker)),
            (FullDiskStep::Take(Some(taker)), Note::TakeDone(done)) if *done == taker => {
                seen.takes_went_on += 1;
                make_room(process, scratch_dirs)?
            }
            (FullDiskStep::Take(Some(taker)), Note::HandedBack(back) | Note::TakeRefused(back))
                if *back == taker =>
            {
                FullDiskStep::Release
            }
            (FullDiskStep::Room, Note::Heeded) => FullDiskStep::Put(None),
            (FullDiskStep::Put(None), Note::PutAsked(put)) => FullDiskStep::Put(Some(*put)),
            (FullDiskStep::Put(Some(asked)), Note::PutRefused(put, _)) if *put == asked => {
                FullDiskStep::Put(None)
            }
            (FullDiskStep::Put(Some(asked)), Note::PutDone(put)) if *put == asked => {
                seen.resumed += 1;
                FullDiskStep::Over
            }
            (step, _) => step,
        };
        // Another try does not restart the clock.
        let again = matches!((self.step, next), (FullDiskStep::Put(_), FullDiskStep::Put(_)))
            || matches!(
                (self.step, next),
                (FullDiskStep::Take(_), FullDiskStep::Release)
                    | (FullDiskStep::Release, FullDiskStep::Take(_))
            );
        if next != self.step && !again {
            self.since = now;
        }
        self.step = next;
        Ok(())
    }
}

fn make_room(
    process: &mut ChildProcess,
    scratch_dirs: &ScratchDirs,
) -> Result<FullDiskStep, ScratchDirError> {
    scratch_dirs.empty()?;
    process.hold(false);
    Ok(FullDiskStep::Room)
}
