//! Writing checkpoints: one after the other, and into each directory by a task of its own, so that a disk
//! that hangs holds up no other.
//!
//! A checkpoint is planned when what the one before it promised has been reported. Else the next two, which
//! would not say it, could be written over both copies of it. A pair of slots whose write has not returned is
//! left out of those that follow: an older value never overwrites a newer one.

use super::shared::Shared;
use super::slots::Slots;
use super::workers::Task;
use crate::base::ids::StripeIndex;
use crate::base::mutant::Broken;
use crate::base::trouble::Trouble;
use crate::log::{CheckpointPlan, Log};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whoever waits for a checkpoint looks this often for writes that hang.
const LOOK: Duration = Duration::from_millis(50);

/// Who does the writes of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This thread, one after the other: at an opening, which waits for its disks, and where there are no threads.
    Here,
    /// The pool, all at once.
    Pool,
}

/// Why a checkpoint is not durable.
#[derive(Clone, Debug)]
pub(super) struct CheckpointError {
    /// The stripe whose directory could not be written, if it was one.
    pub(super) stripe: Option<StripeIndex>,
    pub(super) trouble: Trouble,
}

impl CheckpointError {
    fn new(words: impl Into<String>) -> Self {
        Self { stripe: None, trouble: Trouble::new(words.into()) }
    }
}

impl From<Trouble> for CheckpointError {
    fn from(trouble: Trouble) -> Self {
        Self { stripe: None, trouble }
    }
}

/// The pairs of slots, and the checkpoint that is being written.
pub(super) struct Checkpoints {
    state: Mutex<State>,
    /// A write or a checkpoint has ended.
    moved: Condvar,
    /// Writes into `checkpointDir` that failed or hang.
    pub(super) errors: AtomicU64,
    /// Writes into a stripe's directory that failed or hang.
    pub(super) copy_errors: AtomicU64,
}

struct State {
    /// Those of the stripes, then that of `checkpointDir`.
    pairs: Vec<Pair>,
    /// Checkpoints that were begun.
    begun: u64,
    turn: Turn,
    /// The number of the last checkpoint that ended, and what it stands for.
    ended: (u64, Result<u64, CheckpointError>),
}

/// Whose turn it is to plan, write or report.
enum Turn {
    Free,
    /// Somebody plans, or reports.
    Held,
    Writing(Run),
}

/// A checkpoint that is being written.
struct Run {
    number: u64,
    plan: CheckpointPlan,
    bytes: Arc<Vec<u8>>,
}

/// A checkpoint that was written as far as it could be.
struct Written {
    run: Run,
    /// The stripes in whose own directories it stands, suspended ones included.
    homes: Vec<StripeIndex>,
    trouble: Option<CheckpointError>,
}

/// A pair of slots and the part that it has in the present checkpoint.
struct Pair {
    stripe: Option<StripeIndex>,
    path: PathBuf,
    /// Away while a thread writes them.
    slots: Option<Slots>,
    /// What is to be written, until a thread begins.
    job: Option<SlotJob>,
    /// Since when a write has been asked for that has not returned.
    since: Option<Duration>,
    /// That it hangs was said.
    said: bool,
    /// Number of the checkpoint that it holds; what the opening wrote is 0.
    held: u64,
    /// The next write may go over the newest value that it holds.
    unwell: bool,
    part: Part,
}

struct SlotJob {
    number: u64,
    bytes: Arc<Vec<u8>>,
    /// Whether what the pair holds stands in others as well.
    elsewhere: bool,
}

#[derive(Debug)]
enum Part {
    Due,
    Writing,
    Written,
    Failed(String),
    /// Its disk hangs, or its stripe is suspended and the others do not wait for it.
    LeftOut,
}

/// A stripe, as far as a checkpoint is concerned.
#[derive(Clone, Copy)]
struct Health {
    active: bool,
    hangs: bool,
}

/// What is to be done next.
enum Step {
    Write(usize),
    End(Box<Written>),
    Wait,
}

/// The turn to plan or to report; it goes back also when its holder panics, and the plan with it.
struct Held<'s> {
    shared: &'s Shared,
    plan: Option<CheckpointPlan>,
    /// The turn was passed on to a checkpoint that is being written: a later holder is not this one.
    passed_on: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Self { shared, plan, passed_on } = self;
        if let Some(plan) = plan.take() {
            let now = shared.now();
            // What it was to make durable waits for the next one. A log that stopped tells everyone itself.
            let _ = shared.with_log(|log| log.checkpoint_done(now, plan, false, &[]));
        }
        let mut state = shared.checkpoints.lock();
        if !*passed_on && matches!(state.turn, Turn::Held) {
            state.turn = Turn::Free;
        }
        shared.checkpoints.moved.notify_all();
    }
}

/// A write into a pair of slots; they go back also when the writer panics.
struct Writing<'s> {
    shared: &'s Shared,
    at: usize,
    number: u64,
    slots: Option<Slots>,
    result: Result<(), String>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        let checkpoints = &self.shared.checkpoints;
        if let Err(words) = &result {
            tracing::warn!(channel = self.shared.name, "checkpoint: {words}");
        }
        let mut state = checkpoints.lock();
        // It was left out of what came since, or does not hold it.
        let missed = state.begun != self.number || result.is_err();
        if result.is_err() {
            checkpoints.count_error(state.pairs[self.at].stripe);
        }
        state.put_back(self.at, self.number, self.slots.take(), result);
        if missed {
            // The keeper writes another one although nothing may have changed.
            self.shared.checkpointed.store(0, Ordering::SeqCst);
        }
        drop(state);
        checkpoints.moved.notify_all();
    }
}

impl Checkpoints {
    pub(super) fn new(slots: Vec<Slots>) -> Self {
        let pair = |slots: Slots| Pair {
            stripe: slots.stripe,
            path: slots.path(),
            unwell: slots.is_unwell(),
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
            state: Mutex::new(State { pairs, begun: 0, turn: Turn::Free, ended }),
            moved: Condvar::new(),
            errors: AtomicU64::new(0),
            copy_errors: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_error(&self, stripe: Option<StripeIndex>) {
        let errors = if stripe.is_some() { &self.copy_errors } else { &self.errors };
        errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps until something ends, at most for `nap`.
    fn sleep(&self, state: MutexGuard<'_, State>, nap: Duration) {
        drop(self.moved.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner));
    }
}

fn health_of(log: &Log) -> Vec<Health> {
    let stripes = (0..log.stripes()).map(|at| StripeIndex(at as u16));
    stripes.map(|index| Health { active: log.is_active(index), hangs: log.hangs(index) }).collect()
}

impl Pair {
    fn was_left_out(&self) -> bool {
        self.stripe.is_some() && matches!(self.part, Part::LeftOut)
    }

    /// Whether its write hangs.
    fn is_late(&self, now: Duration, patience: Duration) -> bool {
        self.since.is_some_and(|since| since + patience < now)
    }
}

impl State {
    /// Whether what a pair holds stands in another as well, which no write that is under way goes over.
    fn stands_elsewhere(&self, at: usize) -> bool {
        let held = self.pairs[at].held;
        let sound = |pair: &Pair| pair.since.is_none() || !pair.unwell;
        let others = self.pairs.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, pair)| pair).any(|pair| pair.held >= held && sound(pair))
    }

    /// Whether nothing is being written, nor waited for.
    fn is_idle(&self) -> bool {
        !matches!(self.turn, Turn::Writing(_)) && self.pairs.iter().all(|pair| pair.since.is_none())
    }

    fn start(&mut self, at: usize, number: u64, bytes: Arc<Vec<u8>>, now: Duration) {
        let elsewhere = self.stands_elsewhere(at);
        let pair = &mut self.pairs[at];
        pair.part = Part::Writing;
        pair.since = Some(now);
        pair.job = Some(SlotJob { number, bytes, elsewhere });
    }

    fn put_back(
        &mut self,
        at: usize,
        number: u64,
        slots: Option<Slots>,
        result: Result<(), String>,
    ) {
        let is_present = self.begun == number;
        let pair = &mut self.pairs[at];
        pair.unwell = slots.as_ref().is_none_or(Slots::is_unwell);
        (pair.slots, pair.since, pair.said) = (slots, None, false);
        if result.is_ok() {
            pair.held = number;
        }
        if is_present && matches!(pair.part, Part::Writing) {
            pair.part = match result {
                Ok(()) => Part::Written,
                Err(words) => Part::Failed(words),
            };
        }
    }

    /// Writes that hang, and of which that is still to be said.
    fn hung(&mut self, now: Duration, patience: Duration) -> Vec<(Option<StripeIndex>, PathBuf)> {
        let mut hung = Vec::new();
        for pair in &mut self.pairs {
            if pair.is_late(now, patience) && !std::mem::replace(&mut pair.said, true) {
                hung.push((pair.stripe, pair.path.clone()));
            }
        }
        hung
    }

    /// What the present checkpoint needs next.
    fn step(&mut self, now: Duration, patience: Duration, health: &[Health]) -> Step {
        let Turn::Writing(run) = &self.turn else { return Step::Wait };
        let mut waits = false;
        for (at, pair) in self.pairs.iter_mut().enumerate() {
            let Some(index) = pair.stripe else { continue };
            if !matches!(pair.part, Part::Due | Part::Writing) {
                continue;
            }
            let Health { active, hangs } = health[index.at()];
            let awaited = active || run.plan.ends_life_of(index);
            let is_out = pair.since.is_some();
            if hangs || pair.is_late(now, patience) || (is_out && !awaited) {
                pair.part = Part::LeftOut;
            } else if is_out {
                waits = true;
            } else {
                let (number, bytes) = (run.number, Arc::clone(&run.bytes));
                self.start(at, number, bytes, now);
                return Step::Write(at);
            }
        }
        match std::mem::replace(&mut self.turn, Turn::Held) {
            Turn::Writing(run) if !waits => Step::End(Box::new(self.written(run, health))),
            turn => {
                self.turn = turn;
                Step::Wait
            }
        }
    }

    fn written(&self, run: Run, health: &[Health]) -> Written {
        let (mut homes, mut trouble) = (Vec::new(), None);
        for pair in &self.pairs {
            match (&pair.part, pair.stripe) {
                (Part::Written, Some(index)) => homes.push(index),
                (Part::Failed(words), Some(index)) if health[index.at()].active => {
                    let stripe = Some(index);
                    let trouble_of =
                        || CheckpointError { stripe, trouble: Trouble::new(words.as_str()) };
                    trouble.get_or_insert_with(trouble_of);
                }
                _ => {}
            }
        }
        Written { run, homes, trouble }
    }
}

impl Shared {
    /// Writes a checkpoint and waits for its end. `patience` is for one that is being written.
    ///
    /// It counts as durable when each stripe that is alive and whose disk does not hang has it in its own
    /// directory: `checkpointDir` never holds the only copy of anything, so it stands last and has its turn
    /// when they have it. Written first, it named a life that a crash kept from everyone else; lost, and
    /// found again after the stripes had begun others, it ended those.
    ///
    /// # Errors
    /// It could not be written, or the other one did not end in time.
    pub(super) fn checkpoint(
        self: &Arc<Self>,
        by: By,
        patience: Duration,
    ) -> Result<u64, CheckpointError> {
        let Some(number) = self.begin_checkpoint(by, 0, patience)? else { return Ok(0) };
        // A clock that stands still must not make this wait for ever.
        let mut left = self.options.write_timeout * 3;
        loop {
            self.advance_checkpoint(by);
            drop(self.log()?);
            let state = self.checkpoints.lock();
            let (ended, result) = &state.ended;
            // What a later one says holds for this one as well.
            let has_ended = *ended >= number;
            let above = state.pairs.iter().find(|pair| pair.stripe.is_none());
            let above = above.is_some_and(|pair| pair.since.is_some() && !pair.said);
            if has_ended && (result.is_err() || !above) {
                return result.clone();
            }
            if left.is_zero() {
                return Err(CheckpointError::new(
                    "a checkpoint has not been written; a disk hangs",
                ));
            }
            let nap = left.min(LOOK);
            left -= nap;
            self.checkpoints.sleep(state, nap);
        }
    }

    /// Begins a checkpoint unless nothing has changed since `known`; waits at most `patience` for
    /// one that is being written. Answers its number.
    ///
    /// # Errors
    /// The other one did not end in time, or its state cannot be written.
    pub(super) fn begin_checkpoint(
        self: &Arc<Self>,
        by: By,
        known: u64,
        patience: Duration,
    ) -> Result<Option<u64>, CheckpointError> {
        let mut held = self.checkpoint_turn(by, patience)?;
        let plan = {
            let mut log = self.log()?;
            if log.durable_turn() == known && !log.checkpoint_is_wanted() {
                return Ok(None);
            }
            log.plan_checkpoint()
        };
        let plan = held.plan.insert(plan);
        let bytes = plan.state.to_bytes();
        let bytes = bytes.map_err(|refusal| {
            CheckpointError::new(format!("the checkpoint cannot be written: {refusal}"))
        })?;
        let mut state = self.checkpoints.lock();
        let Some(plan) = held.plan.take() else { return Ok(None) };
        state.begun += 1;
        let number = state.begun;
        state.pairs.iter_mut().for_each(|pair| pair.part = Part::Due);
        state.turn = Turn::Writing(Run { number, plan, bytes: Arc::new(bytes) });
        held.passed_on = true;
        drop(state);
        drop(held);
        self.advance_checkpoint(by);
        Ok(Some(number))
    }

    fn checkpoint_turn(
        self: &Arc<Self>,
        by: By,
        patience: Duration,
    ) -> Result<Held<'_>, CheckpointError> {
        let mut left = patience;
        loop {
            self.advance_checkpoint(by);
            let mut state = self.checkpoints.lock();
            if matches!(state.turn, Turn::Free) {
                state.turn = Turn::Held;
                return Ok(Held { shared: self, plan: None, passed_on: false });
            }
            if left.is_zero() {
                return Err(CheckpointError::new(format!(
                    "a checkpoint that began more than {} s ago has not returned; a disk hangs",
                    patience.as_secs()
                )));
            }
            let nap = left.min(LOOK);
            left -= nap;
            self.checkpoints.sleep(state, nap);
        }
    }

    /// Does or gives to the pool what the present checkpoint needs next, leaves out what hangs, and reports
    /// its end. Waits for no disk, unless this thread does the writes.
    pub(super) fn advance_checkpoint(self: &Arc<Self>, by: By) {
        loop {
            let (now, patience) = (self.now(), self.options.write_timeout);
            if self.checkpoints.lock().is_idle() {
                return;
            }
            // A log that stopped tells everyone itself.
            let Ok(health) = self.log().map(|log| health_of(&log)) else { return };
            let mut state = self.checkpoints.lock();
            let (hung, step) = (state.hung(now, patience), state.step(now, patience, &health));
            drop(state);
            let waits = matches!(step, Step::Wait);
            let at = match step {
                Step::Write(at) => Some(at),
                Step::End(written) => self.end_checkpoint(*written),
                Step::Wait => None,
            };
            match (at, by) {
                (Some(at), By::Here) => self.write_slot(at),
                (Some(at), By::Pool) => self.give(Task::Slot(at)),
                (None, _) => {}
            }
            // Last: what waits for the checkpoint does not wait for the log.
            self.say_hung(hung);
            if waits {
                return;
            }
        }
    }

    fn say_hung(&self, hung: Vec<(Option<StripeIndex>, PathBuf)>) {
        for (stripe, path) in hung {
            self.checkpoints.count_error(stripe);
            tracing::warn!(
                channel = self.name,
                "checkpoint: {} has not been written for {} s, its disk hangs; checkpoints go on without it",
                path.display(),
                self.options.write_timeout.as_secs()
            );
        }
    }

    /// Reports a checkpoint that was written. Answers the pair of `checkpointDir`, if it has its turn now.
    fn end_checkpoint(&self, written: Written) -> Option<usize> {
        let Written { run: Run { number, plan, bytes }, homes, trouble } = written;
        let turn = plan.turn;
        let mut held = Held { shared: self, plan: Some(plan), passed_on: false };
        let result = match trouble {
            Some(trouble) => Err(trouble),
            None if homes.is_empty() => {
                Err(CheckpointError::new("no checkpoint slot could be written"))
            }
            None => Ok(turn),
        };
        let durable = result.is_ok() || Broken::SlotAckUnwritten.is_chosen();
        let now = self.now();
        let plan = held.plan.take()?;
        let wanted = self.with_log(|log| {
            log.checkpoint_done(now, plan, durable, &homes);
            log.checkpoint_is_wanted()
        });
        let is_durable = result.is_ok();
        let mut state = self.checkpoints.lock();
        // One that was left out gets another one although nothing may change.
        let everywhere = !state.pairs.iter().any(Pair::was_left_out);
        let turn = result.as_ref().ok().filter(|_| everywhere);
        self.checkpointed.store(turn.map_or(0, |turn| *turn), Ordering::SeqCst);
        state.ended = (number, result);
        let above = state.pairs.iter().position(|pair| pair.stripe.is_none());
        let above = above.filter(|at| is_durable && state.pairs[*at].since.is_none());
        if let Some(at) = above {
            state.start(at, number, bytes, now);
        }
        drop(state);
        drop(held);
        if is_durable && wanted.unwrap_or(false) {
            // What came meanwhile has its turn.
            self.keeper.raise();
        }
        above
    }

    /// Writes a pair of slots that a checkpoint has asked for.
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
        let result = Err("the writing thread panicked".to_owned());
        let mut writing = Writing { shared: self, at, number: job.number, slots, result };
        if let Some(slots) = &mut writing.slots {
            writing.result = slots.write(self.channel, &job.bytes, job.elsewhere);
        }
    }

    /// Who writes the checkpoints of a channel that is open.
    pub(super) fn checkpoint_writer(&self) -> By {
        if self.options.manual { By::Here } else { By::Pool }
    }
}
