//! A disk that fills up while producers and takers are at work: puts have to be refused, takes have
//! to go on, and puts have to resume once there is room.

use super::ground::{Ground, GroundError};
use super::note::{Note, Why};
use super::process::Process;
use super::report::FullDisk;
use super::shape::PutName;
use std::time::Duration;

/// How long each step may take before something is stuck. Steps take milliseconds; a machine that
/// is busy with other things may stretch them.
const STEP_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The contents are being told.
    Opening,
    /// The disk is full and takers pause.
    Refusal,
    /// Takers may go on; the word has to reach them first.
    Release,
    /// A take that began on the full disk has to be acknowledged.
    Take(Option<u32>),
    /// There is room; a word to the child tells apart what it did before.
    Room,
    /// A put that was asked for with room has to be acknowledged.
    Put(Option<PutName>),
    Over,
}

/// Where it stands.
pub(super) struct Full {
    step: Step,
    since: Duration,
    quota: u64,
    /// The disk was full when the channel was opened.
    was_full: bool,
}

impl Full {
    /// Fills each directory up to `quota` bytes once work has begun; `was_full` when it is full
    /// already.
    pub(super) fn new(quota: u64, was_full: bool, now: Duration) -> Self {
        Self { step: Step::Opening, since: now, quota, was_full }
    }

    /// Whether puts have resumed.
    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// Whether the ballast is there.
    pub(super) fn is_full(&self) -> bool {
        match self.step {
            Step::Opening => self.was_full,
            Step::Refusal | Step::Release | Step::Take(_) => true,
            Step::Room | Step::Put(_) | Step::Over => false,
        }
    }

    /// What has not come in time, if so.
    pub(super) fn stuck(&self, now: Duration) -> Option<&'static str> {
        let late = now.saturating_sub(self.since) > STEP_MAX;
        match self.step {
            _ if !late => None,
            Step::Refusal => Some("no put was refused within 120 s on a full disk"),
            Step::Take(_) => Some("no take was acknowledged within 120 s on a full disk"),
            Step::Put(_) => {
                Some("no put was acknowledged within 120 s after the disk had room again")
            }
            Step::Opening | Step::Release | Step::Room | Step::Over => None,
        }
    }

    /// Goes on by what the child said.
    pub(super) fn heard(
        &mut self,
        note: &Note,
        now: Duration,
        (process, ground): (&mut Process, &Ground),
        seen: &mut FullDisk,
    ) -> Result<(), GroundError> {
        let next = match (self.step, note) {
            (Step::Opening, Note::ContentsEnd) if self.was_full => {
                seen.opened += 1;
                make_room(process, ground)?
            }
            (Step::Opening, Note::ContentsEnd) => {
                process.hold(true);
                ground.fill(self.quota)?;
                seen.filled += 1;
                Step::Refusal
            }
            (Step::Refusal, Note::PutRefused(_, Why::Space)) => {
                seen.refused += 1;
                process.hold(false);
                Step::Release
            }
            (Step::Release, Note::Lent { taker, .. }) => Step::Take(Some(*taker)),
            (Step::Take(Some(taker)), Note::TakeDone(done)) if *done == taker => {
                seen.takes_went_on += 1;
                make_room(process, ground)?
            }
            (Step::Take(Some(taker)), Note::HandedBack(back) | Note::TakeRefused(back))
                if *back == taker =>
            {
                Step::Release
            }
            (Step::Room, Note::Heeded) => Step::Put(None),
            (Step::Put(None), Note::PutAsked(put)) => Step::Put(Some(*put)),
            (Step::Put(Some(asked)), Note::PutRefused(put, _)) if *put == asked => Step::Put(None),
            (Step::Put(Some(asked)), Note::PutDone(put)) if *put == asked => {
                seen.resumed += 1;
                Step::Over
            }
            (step, _) => step,
        };
        // Trying again does not start the clock again.
        let again = matches!((self.step, next), (Step::Put(_), Step::Put(_)))
            || matches!(
                (self.step, next),
                (Step::Take(_), Step::Release) | (Step::Release, Step::Take(_))
            );
        if next != self.step && !again {
            self.since = now;
        }
        self.step = next;
        Ok(())
    }
}

fn make_room(process: &mut Process, ground: &Ground) -> Result<Step, GroundError> {
    ground.empty()?;
    process.hold(false);
    Ok(Step::Room)
}
