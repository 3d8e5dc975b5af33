//! The checkpoint that is being written, and the pairs of slots that it is written to.

use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::ids::StripeIndex;
use crate::base::lock_rank::{LockRank, RankedGuard};
use crate::layout::CheckpointSlots;
use crate::log::{CheckpointPlan, Log};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Why a checkpoint is not durable.
#[derive(Clone, Debug)]
pub(super) struct CheckpointError {
    /// The stripe whose directory could not be written, if the fault is in one.
    pub stripe: Option<StripeIndex>,
    pub fault: FaultCause,
}

impl CheckpointError {
    pub(super) fn new(kind: FaultKind, text: impl Into<Box<str>>) -> Self {
        Self { stripe: None, fault: FaultCause::new(kind, FaultPlace::default(), text) }
    }
}

impl From<FaultCause> for CheckpointError {
    fn from(fault: FaultCause) -> Self {
        Self { stripe: None, fault }
    }
}

/// The pairs of slots, and the checkpoint that is being written.
pub(super) struct Checkpoints {
    state: Mutex<WriterState>,
    /// Signals the end of a write or of a checkpoint.
    pub moved: Condvar,
    /// Writes into `checkpointDir` that failed or hang.
    pub errors: AtomicU64,
    /// Writes into a stripe's directory that failed or hang.
    pub copy_errors: AtomicU64,
}

pub(super) struct WriterState {
    /// The pairs of the stripes, then the pair of `checkpointDir`.
    pub pairs: Vec<Pair>,
    /// Checkpoints begun.
    pub begun: u64,
    pub phase: RunPhase,
    /// The number of the last checkpoint that ended, and its state's version or error.
    pub ended: (u64, Result<u64, CheckpointError>),
}

/// Phase of the current checkpoint.
pub(super) enum RunPhase {
    Free,
    /// A thread plans or reports.
    Held,
    Writing(CheckpointRun),
}

/// A checkpoint that is being written.
pub(super) struct CheckpointRun {
    pub number: u64,
    pub plan: CheckpointPlan,
    pub bytes: Arc<Vec<u8>>,
}

/// A checkpoint that was written as far as it could be.
pub(super) struct Written {
    pub run: CheckpointRun,
    /// The stripes in whose own directories it is stored, suspended ones included.
    pub homes: Vec<StripeIndex>,
    pub fault: Option<CheckpointError>,
}

/// A pair of slots and its part in the current checkpoint.
pub(super) struct Pair {
    pub stripe: Option<StripeIndex>,
    pub path: PathBuf,
    /// `None` while a thread writes them.
    pub slots: Option<CheckpointSlots>,
    /// The next value to write, until a thread begins.
    pub job: Option<SlotJob>,
    /// Since when a requested write has not returned.
    pub since: Option<Duration>,
    /// Whether its hanging was logged.
    pub said: bool,
    /// Number of the checkpoint that it holds; the opening's value has number 0.
    pub held: u64,
    /// One of its slots could not be written: the next write may overwrite the newest value that it
    /// holds.
    pub unwell: bool,
    pub part: Part,
}

pub(super) struct SlotJob {
    pub number: u64,
    pub bytes: Arc<Vec<u8>>,
    /// Whether the pair's value is stored in other pairs as well.
    pub elsewhere: bool,
}

#[derive(Debug)]
pub(super) enum Part {
    Due,
    Writing,
    Written,
    Failed(FaultCause),
    /// Its disk hangs, or its stripe is suspended and the others do not wait for it.
    LeftOut,
}

/// The condition of a stripe, as a checkpoint sees it.
#[derive(Clone, Copy)]
pub(super) struct StripeCondition {
    pub active: bool,
    pub hangs: bool,
}

/// The next step of a checkpoint.
pub(super) enum NextStep {
    Write(usize),
    End(Box<Written>),
    Wait,
}

impl Checkpoints {
    pub(super) fn new(slots: Vec<CheckpointSlots>) -> Self {
        let pair = |slots: CheckpointSlots| Pair {
            stripe: slots.stripe,
            path: slots.path(),
            unwell: slots.has_failed_slot(),
            slots: Some(slots),
            job: None,
            since: None,
            said: false,
            held: 0,
            part: Part::LeftOut,
        };
        let pairs = slots.into_iter().map(pair).collect();
        let ended = (0, Ok(0));
        Self {
            state: Mutex::new(WriterState { pairs, begun: 0, phase: RunPhase::Free, ended }),
            moved: Condvar::new(),
            errors: AtomicU64::new(0),
            copy_errors: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> RankedGuard<'_, WriterState> {
        LockRank::Checkpoints.lock(&self.state)
    }

    pub(super) fn count_error(&self, stripe: Option<StripeIndex>) {
        let errors = if stripe.is_some() { &self.copy_errors } else { &self.errors };
        errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps until a write or a checkpoint ends, at most for `nap`.
    pub(super) fn sleep(&self, state: RankedGuard<'_, WriterState>, nap: Duration) {
        drop(state.wait_timeout(&self.moved, nap));
    }
}

pub(super) fn health_of(log: &Log) -> Vec<StripeCondition> {
    let stripes = (0..log.stripes()).map(|at| StripeIndex(at as u16));
    stripes
        .map(|index| StripeCondition { active: log.is_writable(index), hangs: log.hangs(index) })
        .collect()
}

impl Pair {
    pub(super) fn was_left_out(&self) -> bool {
        self.stripe.is_some() && matches!(self.part, Part::LeftOut)
    }

    /// Returns whether its write hangs.
    pub(super) fn is_hung(&self, now: Duration, timeout: Duration) -> bool {
        self.since.is_some_and(|since| since + timeout < now)
    }
}

impl WriterState {
    /// Returns whether a pair's value is stored in another pair as well, which no current write
    /// overwrites.
    pub(super) fn is_stored_elsewhere(&self, at: usize) -> bool {
        let held = self.pairs[at].held;
        let sound = |pair: &Pair| pair.since.is_none() || !pair.unwell;
        let others = self.pairs.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, pair)| pair).any(|pair| pair.held >= held && sound(pair))
    }

    /// Returns whether nothing is being written or waited for.
    pub(super) fn is_idle(&self) -> bool {
        !matches!(self.phase, RunPhase::Writing(_))
            && self.pairs.iter().all(|pair| pair.since.is_none())
    }

    pub(super) fn start(&mut self, at: usize, number: u64, bytes: Arc<Vec<u8>>, now: Duration) {
        let elsewhere = self.is_stored_elsewhere(at);
        let pair = &mut self.pairs[at];
        pair.part = Part::Writing;
        pair.since = Some(now);
        pair.job = Some(SlotJob { number, bytes, elsewhere });
    }

    pub(super) fn put_back(
        &mut self,
        at: usize,
        number: u64,
        slots: Option<CheckpointSlots>,
        result: Result<(), FaultCause>,
    ) {
        let is_present = self.begun == number;
        let pair = &mut self.pairs[at];
        pair.unwell = slots.as_ref().is_none_or(CheckpointSlots::has_failed_slot);
        (pair.slots, pair.since, pair.said) = (slots, None, false);
        if result.is_ok() {
            pair.held = number;
        }
        if is_present && matches!(pair.part, Part::Writing) {
            pair.part = match result {
                Ok(()) => Part::Written,
                Err(fault) => Part::Failed(fault),
            };
        }
    }

    /// Returns the writes that hang and have not been logged yet.
    pub(super) fn hung(
        &mut self,
        now: Duration,
        timeout: Duration,
    ) -> Vec<(Option<StripeIndex>, PathBuf)> {
        let mut hung = Vec::new();
        for pair in &mut self.pairs {
            if pair.is_hung(now, timeout) && !std::mem::replace(&mut pair.said, true) {
                hung.push((pair.stripe, pair.path.clone()));
            }
        }
        hung
    }

    /// Returns what the current checkpoint needs next.
    pub(super) fn step(
        &mut self,
        now: Duration,
        timeout: Duration,
        health: &[StripeCondition],
    ) -> NextStep {
        let RunPhase::Writing(run) = &self.phase else { return NextStep::Wait };
        let mut waits = false;
        for (at, pair) in self.pairs.iter_mut().enumerate() {
            let Some(index) = pair.stripe else { continue };
            if !matches!(pair.part, Part::Due | Part::Writing) {
                continue;
            }
            let StripeCondition { active, hangs } = health[index.at()];
            let awaited = active || run.plan.ends_epoch_of(index);
            let is_out = pair.since.is_some();
            if hangs || pair.is_hung(now, timeout) || (is_out && !awaited) {
                pair.part = Part::LeftOut;
            } else if is_out {
                waits = true;
            } else {
                let (number, bytes) = (run.number, Arc::clone(&run.bytes));
                self.start(at, number, bytes, now);
                return NextStep::Write(at);
            }
        }
        match std::mem::replace(&mut self.phase, RunPhase::Held) {
            RunPhase::Writing(run) if !waits => NextStep::End(Box::new(self.written(run, health))),
            turn => {
                self.phase = turn;
                NextStep::Wait
            }
        }
    }

    pub(super) fn written(&self, run: CheckpointRun, health: &[StripeCondition]) -> Written {
        let (mut homes, mut fault) = (Vec::new(), None);
        for pair in &self.pairs {
            match (&pair.part, pair.stripe) {
                (Part::Written, Some(index)) => homes.push(index),
                (Part::Failed(cause), Some(index)) if health[index.at()].active => {
                    let (stripe, cause) = (Some(index), cause.clone());
                    fault.get_or_insert(CheckpointError { stripe, fault: cause });
                }
                _ => {}
            }
        }
        Written { run, homes, fault }
    }
}
