//! Checkpoints: written one after the other, and into each directory by a task of its own, so that
//! a disk that hangs delays no other.
//!
//! 1. [`Shared::begin_checkpoint`] takes the turn and plans under the log's lock
//!    ([`Log::plan_checkpoint`](crate::log::Log::plan_checkpoint)): a copy of the durable state, with
//!    what waits for a slot. It is encoded without a lock.
//! 2. [`Shared::advance_checkpoint`] submits a [`Task::Slot`] for each stripe; it is called again when
//!    one ends, and by each round of maintenance, which leaves out what hangs.
//! 3. [`Shared::write_slot`] writes one pair of slots, on a thread of the pool.
//! 4. When no stripe is waited for any more, `end_checkpoint` reports to the log
//!    ([`Log::checkpoint_done`](crate::log::Log::checkpoint_done)), which completes the
//!    acknowledgements and the epochs that waited, and then starts the write into `checkpointDir`.
//!
//! A checkpoint is planned after the result of the previous one was reported. Otherwise the next
//! two, which would not include it, could overwrite both copies of it. A pair of slots whose write
//! has not returned is left out of the following checkpoints: an older value never overwrites a
//! newer one.

use super::checkpoint_run::{
    CheckpointError, CheckpointRun, NextStep, Pair, Part, RunPhase, Written, health_of,
};
use super::shared::Shared;
use super::workers::Task;
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::ids::StripeIndex;
use crate::base::mutation::Mutation;
use crate::layout::CheckpointSlots;
use crate::log::CheckpointPlan;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Interval at which a thread that waits for a checkpoint checks for writes that hang.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The threads that do the writes of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This thread, one after the other: at an opening, which waits for its disks, and where there
    /// are no threads.
    Here,
    /// The pool, all at once.
    Pool,
}

/// The turn to plan or to report; released also when its holder panics, together with the plan.
struct CheckpointTurn<'s> {
    shared: &'s Shared,
    plan: Option<CheckpointPlan>,
    /// The turn was passed on to a checkpoint that is being written: a later holder is not this
    /// one.
    passed_on: bool,
}

impl Drop for CheckpointTurn<'_> {
    fn drop(&mut self) {
        let Self { shared, plan, passed_on } = self;
        if let Some(plan) = plan.take() {
            let now = shared.now();
            // The next checkpoint makes its contents durable. A log that stopped notifies every
            // caller itself.
            let _ = shared.with_log(|log| log.checkpoint_done(now, plan, false, &[]));
        }
        let mut state = shared.checkpoints.lock();
        if !*passed_on && matches!(state.phase, RunPhase::Held) {
            state.phase = RunPhase::Free;
        }
        shared.checkpoints.moved.notify_all();
    }
}

/// A write into a pair of slots; the pair is returned also when the writer panics.
struct SlotWrite<'s> {
    shared: &'s Shared,
    at: usize,
    number: u64,
    slots: Option<CheckpointSlots>,
    result: Result<(), FaultCause>,
}

impl Drop for SlotWrite<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        let checkpoints = &self.shared.checkpoints;
        if let Err(fault) = &result {
            tracing::warn!(channel = self.shared.name, "checkpoint: {fault}");
        }
        let mut state = checkpoints.lock();
        // It was left out of a later checkpoint, or does not hold this one.
        let missed = state.begun != self.number || result.is_err();
        if result.is_err() {
            checkpoints.count_error(state.pairs[self.at].stripe);
        }
        state.put_back(self.at, self.number, self.slots.take(), result);
        if missed {
            // Maintenance writes another one although nothing may have changed.
            self.shared.checkpointed.store(0, Ordering::SeqCst);
        }
        drop(state);
        checkpoints.moved.notify_all();
    }
}

impl Shared {
    /// Writes a checkpoint and waits for its end. `wait_max` bounds the wait for one that is being
    /// written.
    ///
    /// It counts as durable when each stripe that is alive and whose disk does not hang has it in
    /// its own directory: `checkpointDir` never holds the only copy of anything, so it is written
    /// last, once the stripes have it. If it were written first, it could name an epoch that a
    /// crash kept from all stripes; lost, and found again after the stripes had begun others, it
    /// would end those.
    ///
    /// # Errors
    /// It could not be written, or the other one did not end in time.
    pub(super) fn checkpoint(
        self: &Arc<Self>,
        by: By,
        wait_max: Duration,
    ) -> Result<u64, CheckpointError> {
        let Some(number) = self.begin_checkpoint(by, 0, wait_max)? else { return Ok(0) };
        // With a clock that stands still the wait must end as well.
        let mut left = self.options.write_timeout * 3;
        loop {
            self.advance_checkpoint(by);
            drop(self.log()?);
            let state = self.checkpoints.lock();
            let (ended, result) = &state.ended;
            // The result of a later checkpoint holds for this one as well.
            let has_ended = *ended >= number;
            let checkpoint_dir = state.pairs.iter().find(|pair| pair.stripe.is_none());
            let is_written_there =
                checkpoint_dir.is_none_or(|pair| pair.since.is_none() || pair.said);
            if has_ended && (result.is_err() || is_written_there) {
                return result.clone();
            }
            if left.is_zero() {
                return Err(CheckpointError::new(
                    FaultKind::Hung,
                    "a checkpoint has not been written; a disk hangs",
                ));
            }
            let nap = left.min(CHECK_INTERVAL);
            left -= nap;
            self.checkpoints.sleep(state, nap);
        }
    }

    /// Begins a checkpoint unless nothing has changed since `known`; waits at most `wait_max` for
    /// one that is being written. Returns its number.
    ///
    /// # Errors
    /// The other one did not end in time, or its state cannot be written.
    pub(super) fn begin_checkpoint(
        self: &Arc<Self>,
        by: By,
        known: u64,
        wait_max: Duration,
    ) -> Result<Option<u64>, CheckpointError> {
        let mut held = self.checkpoint_turn(by, wait_max)?;
        let plan = {
            let mut log = self.log()?;
            if log.durable_version() == known && !log.checkpoint_is_wanted() {
                return Ok(None);
            }
            log.plan_checkpoint()
        };
        let plan = held.plan.insert(plan);
        let bytes = plan.state.to_bytes();
        let bytes = bytes.map_err(|refusal| {
            let what = format!("the checkpoint cannot be written: {refusal}");
            CheckpointError::new(FaultKind::Internal, what)
        })?;
        let mut state = self.checkpoints.lock();
        let Some(plan) = held.plan.take() else { return Ok(None) };
        state.begun += 1;
        let number = state.begun;
        state.pairs.iter_mut().for_each(|pair| pair.part = Part::Due);
        state.phase = RunPhase::Writing(CheckpointRun { number, plan, bytes: Arc::new(bytes) });
        held.passed_on = true;
        drop(state);
        drop(held);
        self.advance_checkpoint(by);
        Ok(Some(number))
    }

    fn checkpoint_turn(
        self: &Arc<Self>,
        by: By,
        wait_max: Duration,
    ) -> Result<CheckpointTurn<'_>, CheckpointError> {
        let mut left = wait_max;
        loop {
            self.advance_checkpoint(by);
            let mut state = self.checkpoints.lock();
            if matches!(state.phase, RunPhase::Free) {
                state.phase = RunPhase::Held;
                return Ok(CheckpointTurn { shared: self, plan: None, passed_on: false });
            }
            if left.is_zero() {
                let what = format!(
                    "a checkpoint that began more than {} s ago has not returned; a disk hangs",
                    wait_max.as_secs()
                );
                return Err(CheckpointError::new(FaultKind::Hung, what));
            }
            let nap = left.min(CHECK_INTERVAL);
            left -= nap;
            self.checkpoints.sleep(state, nap);
        }
    }

    /// Does or submits to the pool what the current checkpoint needs next, leaves out what hangs,
    /// and reports its end. Waits for no disk, unless this thread does the writes.
    pub(super) fn advance_checkpoint(self: &Arc<Self>, by: By) {
        loop {
            let (now, wait_max) = (self.now(), self.options.write_timeout);
            if self.checkpoints.lock().is_idle() {
                return;
            }
            // A log that stopped notifies every caller itself.
            let Ok(health) = self.log().map(|log| health_of(&log)) else { return };
            let mut state = self.checkpoints.lock();
            let (hung, step) = (state.hung(now, wait_max), state.step(now, wait_max, &health));
            drop(state);
            let waits = matches!(step, NextStep::Wait);
            let at = match step {
                NextStep::Write(at) => Some(at),
                NextStep::End(written) => self.end_checkpoint(*written),
                NextStep::Wait => None,
            };
            match (at, by) {
                (Some(at), By::Here) => self.write_slot(at),
                (Some(at), By::Pool) => self.submit_task(Task::Slot(at)),
                (None, _) => {}
            }
            // Last: callers that wait for the checkpoint do not wait for the log line.
            self.log_hung_writes(hung);
            if waits {
                return;
            }
        }
    }

    fn log_hung_writes(&self, hung: Vec<(Option<StripeIndex>, PathBuf)>) {
        for (stripe, path) in hung {
            self.checkpoints.count_error(stripe);
            tracing::warn!(
                channel = self.name,
                "checkpoint: {} has not been written for {} s, its disk hangs; checkpoints continue without it",
                path.display(),
                self.options.write_timeout.as_secs()
            );
        }
    }

    /// Reports a checkpoint that was written. Returns the pair of `checkpointDir` if it is to be
    /// written now.
    fn end_checkpoint(&self, written: Written) -> Option<usize> {
        let Written { run: CheckpointRun { number, plan, bytes }, homes, fault } = written;
        let version = plan.version;
        let mut held = CheckpointTurn { shared: self, plan: Some(plan), passed_on: false };
        let result = match fault {
            Some(fault) => Err(fault),
            None if homes.is_empty() => {
                let what = "no checkpoint slot could be written";
                Err(CheckpointError::new(FaultKind::NotReady, what))
            }
            None => Ok(version),
        };
        let durable = result.is_ok() || Mutation::SlotAckUnwritten.is_active();
        let now = self.now();
        let plan = held.plan.take()?;
        let wanted = self.with_log(|log| {
            log.checkpoint_done(now, plan, durable, &homes);
            log.checkpoint_is_wanted()
        });
        let is_durable = result.is_ok();
        let mut state = self.checkpoints.lock();
        // A pair that was left out is written again although nothing may change.
        let everywhere = !state.pairs.iter().any(Pair::was_left_out);
        let version = result.as_ref().ok().filter(|_| everywhere);
        self.checkpointed.store(version.map_or(0, |version| *version), Ordering::SeqCst);
        state.ended = (number, result);
        let checkpoint_dir = state.pairs.iter().position(|pair| pair.stripe.is_none());
        let checkpoint_dir =
            checkpoint_dir.filter(|at| is_durable && state.pairs[*at].since.is_none());
        if let Some(at) = checkpoint_dir {
            state.start(at, number, bytes, now);
        }
        drop(state);
        drop(held);
        if is_durable && wanted.unwrap_or(false) {
            // Waiting requests can proceed.
            self.maintenance.notify_all();
        }
        checkpoint_dir
    }

    /// Writes a pair of slots for the checkpoint that requested it.
    pub(super) fn write_slot(&self, at: usize) {
        if self.gave_way.get().is_some() {
            // Another process has the directories.
            return;
        }
        let mut state = self.checkpoints.lock();
        let Some(pair) = state.pairs.get_mut(at) else { return };
        let Some(job) = pair.job.take() else { return };
        let slots = pair.slots.take();
        drop(state);
        let stripe = slots.as_ref().and_then(|slots| slots.stripe);
        let what = "the writing thread panicked";
        let result = Err(FaultCause::new(FaultKind::Internal, stripe, what));
        let mut writing = SlotWrite { shared: self, at, number: job.number, slots, result };
        if let Some(slots) = &mut writing.slots {
            let written = slots.write(self.channel, &job.bytes, job.elsewhere);
            writing.result = written.map_err(|error| error.into_fault(stripe));
        }
    }

    /// Returns how an open channel's checkpoints are written.
    pub(super) fn checkpoint_writer(&self) -> By {
        if self.options.step_driven { By::Here } else { By::Pool }
    }
}
