//! Writing checkpoints: one writer at a time, and nobody waits for it without a bound.

use super::shared::{Shared, Slots};
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::mutant::Broken;
use crate::base::trouble::Trouble;
use crate::disk::{Access, Directory};
use crate::log::CheckpointPlan;
use crate::recovery::CHECKPOINT_NAME;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Checkpoints for which a slot is left out that could not be written: a disk may take seconds to say so.
const AVOIDED: u32 = 16;

/// The pairs of slots, in the hands of whoever writes a checkpoint.
///
/// A plan is made only with the slots in hand. Else an older plan could be written behind a newer
/// one, and the next write, if torn, take the only copy of what the newer one had promised.
pub(super) struct Checkpoints {
    slots: Mutex<Option<Vec<Slots>>>,
    back: Condvar,
    /// Checkpoints that were begun.
    begun: AtomicU64,
    /// Writes into `checkpointDir` that failed.
    pub(super) errors: AtomicU64,
    /// Writes into a stripe's directory that failed.
    pub(super) copy_errors: AtomicU64,
}

/// The slots in hand; they go back also when the writer panics.
struct InHand<'c> {
    of: &'c Checkpoints,
    slots: Vec<Slots>,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        *self.of.lock() = Some(std::mem::take(&mut self.slots));
        self.of.back.notify_all();
    }
}

impl Checkpoints {
    pub(super) fn new(slots: Vec<Slots>) -> Self {
        Self {
            slots: Mutex::new(Some(slots)),
            back: Condvar::new(),
            begun: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            copy_errors: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Slots>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the slots in hand; waits at most `patience` for another writer.
    fn take(&self, patience: Duration) -> Result<InHand<'_>, Trouble> {
        let waited = self.back.wait_timeout_while(self.lock(), patience, |slots| slots.is_none());
        let (mut slots, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match slots.take() {
            Some(slots) => Ok(InHand { of: self, slots }),
            None => Err(Trouble::new(format!(
                "a checkpoint that began more than {} s ago has not returned; a disk hangs",
                patience.as_secs()
            ))),
        }
    }
}

impl Shared {
    /// Writes a checkpoint unless nothing has changed since `known`; waits at most `patience` for
    /// one that is being written. Answers what it stands for.
    ///
    /// # Errors
    /// No slot could be written, or the other one did not end in time.
    pub(super) fn checkpoint(
        self: &Arc<Self>,
        known: u64,
        patience: Duration,
    ) -> Result<u64, Trouble> {
        let mut hand = self.checkpoints.take(patience)?;
        let plan = {
            let mut log = self.log()?;
            if log.durable_turn() == known && !log.checkpoint_is_wanted() {
                return Ok(known);
            }
            log.plan_checkpoint()
        };
        let turn = plan.turn;
        let (homes, written) = self.write_slots(&mut hand.slots, &plan);
        let durable = written.is_ok() || Broken::SlotAckUnwritten.is_chosen();
        // Still in hand: what the plan promised stands in the slots only until this has been
        // reported. Two checkpoints that others wrote in between would not say it, and would be
        // written over both of them.
        let now = self.now();
        self.with_log(|log| log.checkpoint_done(now, plan, durable, &homes))?;
        drop(hand);
        written.map(|()| turn)
    }

    /// Writes the state to every pair of slots. It counts as durable when each stripe that is
    /// alive has it in its own directory: `checkpointDir` never holds the only copy of anything,
    /// so it stands last and has its turn when they have it. Written first, it named a life that a
    /// crash kept from everyone else; lost, and found again after the stripes had begun others, it
    /// ended those.
    ///
    /// Answers also in which stripes' own directories it stands, suspended ones included.
    fn write_slots(
        &self,
        slots: &mut [Slots],
        plan: &CheckpointPlan,
    ) -> (Vec<StripeIndex>, Result<(), Trouble>) {
        let (mut homes, mut trouble) = (Vec::new(), None);
        let bytes = match plan.state.to_bytes() {
            Ok(bytes) => bytes,
            Err(refusal) => {
                let words = format!("the checkpoint cannot be written: {refusal}");
                return (homes, Err(Trouble::new(words)));
            }
        };
        let number = self.checkpoints.begun.fetch_add(1, Ordering::Relaxed) + 1;
        for at in 0..slots.len() {
            let held = slots[at].held;
            let elsewhere =
                slots.iter().enumerate().any(|(other, s)| other != at && s.held >= held);
            let slots = &mut slots[at];
            if slots.stripe.is_some_and(|index| self.hangs(index)) {
                // A write that does not return would hold up the checkpoints of the others.
                continue;
            }
            if slots.stripe.is_none() && (trouble.is_some() || homes.is_empty()) {
                continue;
            }
            match slots.write(self.channel, &bytes, elsewhere) {
                Ok(()) => {
                    slots.held = number;
                    homes.extend(slots.stripe);
                }
                Err(words) => {
                    tracing::warn!(channel = self.name, "checkpoint: {words}");
                    let Checkpoints { errors, copy_errors, .. } = &self.checkpoints;
                    let failed = if slots.stripe.is_some() { copy_errors } else { errors };
                    failed.fetch_add(1, Ordering::Relaxed);
                    let alive = slots.stripe.is_some_and(|index| {
                        self.log().is_ok_and(|log| log.report(index).suspended.is_none())
                    });
                    if alive {
                        trouble = Some(Trouble::new(words));
                    }
                }
            }
        }
        let written = match trouble {
            Some(trouble) => Err(trouble),
            None if homes.is_empty() => Err(Trouble::new("no checkpoint slot could be written")),
            None => Ok(()),
        };
        (homes, written)
    }

    fn hangs(&self, index: StripeIndex) -> bool {
        self.log().is_ok_and(|log| log.report(index).hung_writes > 0)
    }
}

impl Slots {
    /// Writes the next value. A slot that cannot be written the second time either is left for the other
    /// one, where what that one holds stands `elsewhere` too: torn by a crash, it would take its value along.
    fn write(&mut self, channel: Uuid, bytes: &[u8], elsewhere: bool) -> Result<(), String> {
        let failed_before = self.reopen;
        let avoids = elsewhere && self.avoided > 0;
        if avoids {
            self.avoided -= 1;
            self.home.next_generation += 1;
        }
        let Err(words) = self.write_once(channel, bytes) else { return Ok(()) };
        if avoids || !failed_before || !elsewhere || Broken::SlotTriedForEver.is_chosen() {
            self.avoided = 0;
            return Err(words);
        }
        self.home.next_generation += 1;
        match self.write_once(channel, bytes) {
            Ok(()) => {
                tracing::warn!(
                    "checkpoint: {words}; the other place for it in the file was written"
                );
                self.avoided = AVOIDED;
                Ok(())
            }
            Err(_) => {
                self.home.next_generation -= 1;
                Err(words)
            }
        }
    }

    /// After a failure the file is opened again: an open file whose
    /// write-back failed once may call the next sync a success although nothing was written.
    fn write_once(&mut self, channel: Uuid, bytes: &[u8]) -> Result<(), String> {
        if self.reopen {
            let path = self.directory.path().join(CHECKPOINT_NAME);
            self.home.file = self
                .directory
                .open(CHECKPOINT_NAME, Access::Write)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            self.reopen = false;
        }
        let written = self.home.write_state(channel, self.owner, bytes);
        self.reopen = written.is_err();
        written.map_err(|error| error.to_string())
    }

    /// Slots that were just opened.
    pub(super) fn new(
        stripe: Option<StripeIndex>,
        owner: Uuid,
        directory: Arc<dyn Directory>,
        home: crate::recovery::SlotHome,
    ) -> Self {
        Self { stripe, owner, directory, home, reopen: false, held: 0, avoided: 0 }
    }
}
