//! Who writes: the committer that finds that a write may start, or the pool for those that must
//! not block. Leadership is a job in hand, never a property of a future that can be dropped.

use super::cold;
use super::group_commit::{CommitDelay, WriteDecision};
use super::shared::{Shared, changed};
use super::workers::Task;
use crate::base::ids::StripeIndex;
use crate::base::trouble::Trouble;
use crate::log::fate::{Fate, Promise};
use crate::log::{Log, WriteJob};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Whoever waits for a commit looks this often whether the channel still runs: a panic in the middle of a
/// change may have lost the only way to wake it.
const LOOK: Duration = Duration::from_secs(1);

/// A stripe that may be written, and the block that would be, to find a committer who waits for it.
type Heir = (StripeIndex, Option<Arc<Fate>>);

/// What is to be done after a write, found in the moment in which it was reported.
#[derive(Default)]
struct Next {
    /// By the same thread.
    job: Option<WriteJob>,
    /// By others.
    heirs: Vec<Heir>,
}

/// Reports a job as failed if its thread panics before it could report the result.
struct Running<'s> {
    shared: &'s Arc<Shared>,
    job: Option<WriteJob>,
}

impl<'s> Running<'s> {
    fn new(shared: &'s Arc<Shared>, job: WriteJob) -> Self {
        Self { shared, job: Some(job) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.job.as_mut().map_or(Ok(()), WriteJob::run)
    }

    /// Reports the result and answers what this thread shall write next.
    fn end(
        &mut self,
        result: io::Result<()>,
        next: impl FnOnce(&mut Log) -> Next,
    ) -> Option<WriteJob> {
        let job = self.job.take()?;
        let now = self.shared.now();
        // A poisoned log is reported to everyone who asks it.
        let mut log = self.shared.log().ok()?;
        let ended = log.write_in_flight(job.stripe, job.id).filter(|_| result.is_ok());
        log.complete(now, job.stripe, job.id, result);
        let next = next(&mut log);
        if let Some((released, started)) = ended.filter(|_| !self.shared.options.manual) {
            let (took, gathered) = (now.saturating_sub(started), log.gathered(job.stripe));
            self.shared.commit_delay(job.stripe).begin(now, took, released, gathered);
        }
        let wakes = log.take_wakes();
        drop(log);
        // Before those whose events are durable: the storage stands still until the next write
        // begins, and the many who are woken then keep the processors busy.
        self.shared.call(next.heirs);
        self.shared.deliver(wakes);
        next.job
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.end(Err(io::Error::other("the writing thread panicked")), |_| Next::default());
    }
}

impl Shared {
    fn commit_delay(&self, index: StripeIndex) -> &CommitDelay {
        &self.homes[index.at()].commit_delay
    }

    /// The next write of the stripe, if one may start and nobody else begins it. Where it pays to wait a
    /// moment for further commits, `pause` does that, for at most so long; unless `is_settled` says that
    /// there is no need any more.
    fn next_write(
        &self,
        index: StripeIndex,
        is_settled: impl Fn() -> bool,
        pause: impl Fn(Duration),
    ) -> Option<WriteJob> {
        let delay = self.commit_delay(index);
        while !is_settled() {
            let now = self.now();
            let asked = self.with_log(|log| match delay.decide(now, log.gathered(index)) {
                WriteDecision::Start => Ok(log.next_write(now, index)),
                WriteDecision::Leave => Ok(None),
                WriteDecision::Hold(until) => Err(until),
            });
            let until = match asked {
                Ok(Err(until)) => until,
                Ok(Ok(job)) => return job,
                // A poisoned log is reported to everyone who asks it.
                Err(_) => return None,
            };
            while delay.goes_on(until) && !is_settled() {
                match until.checked_sub(self.now()) {
                    Some(left) if !left.is_zero() => pause(left),
                    _ => break,
                }
                // A commit that is not blocking a thread may have been the last one that was waited for.
                let now = self.now();
                let is_held = self.with_log(|log| delay.is_held(now, log.gathered(index)));
                if !is_held.unwrap_or(false) {
                    break;
                }
            }
        }
        None
    }

    /// Starts and ends one write of the stripe, if one may start. Answers whether it did.
    pub(super) fn write_one(self: &Arc<Self>, index: StripeIndex) -> bool {
        let job = self.next_write(index, || false, std::thread::sleep);
        let Some(job) = job else { return false };
        let mut running = Running::new(self, job);
        let result = running.write();
        running.end(result, |_| Next::default());
        true
    }

    /// Writes for a committer that waits for `fate`, until that is settled. No further: a write
    /// that hangs would hold back an answer that is known. Answers whether anything was written.
    fn lead(self: &Arc<Self>, fate: &Fate) -> bool {
        let index = fate.stripe;
        let is_settled = || fate.outcome().is_some();
        // Whoever comes last begins the write; this thread then only waits for its end.
        let mut job = self.next_write(index, is_settled, |left| {
            let turn = fate.signal.turn();
            if !is_settled() {
                fate.signal.sleep(turn, Some(left));
            }
        });
        let wrote = job.is_some();
        while let Some(present) = job {
            let mut running = Running::new(self, present);
            let result = running.write();
            job = running.end(result, |log| match fate.outcome() {
                Some(_) => Next { job: None, heirs: heirs(log) },
                None => Next { job: log.next_write(self.now(), index), heirs: Vec::new() },
            });
        }
        wrote
    }

    /// Finds someone to go on writing wherever a write may start and nobody is about to.
    pub(super) fn hand_over(self: &Arc<Self>) {
        let now = self.now();
        let Ok(log) = self.log() else { return };
        let mut heirs = heirs(&log);
        heirs.retain(|(index, _)| !self.commit_delay(*index).is_held(now, log.gathered(*index)));
        drop(log);
        self.call(heirs);
    }

    fn call(self: &Arc<Self>, heirs: Vec<Heir>) {
        for (index, fate) in heirs {
            // A committer that waits for this very block writes it; without one, the pool.
            if !fate.is_some_and(|fate| fate.signal.nudge()) {
                self.give(Task::Write(index));
            }
        }
    }

    /// What the pool does with a task.
    pub(super) fn perform(self: &Arc<Self>, task: Task) {
        match task {
            Task::Write(index) => {
                let mut wrote = false;
                while self.write_one(index) {
                    wrote = true;
                }
                // What may be written and could not (it waits for a segment that a full disk does
                // not give) would come back at once, for ever: the keeper hands it over again
                // when there is one.
                if wrote {
                    self.hand_over();
                }
            }
            Task::ReadAhead => cold::read_ahead(self),
            Task::Tend(index) => self.tend(index),
            Task::Checkpoint => self.keep_checkpoint(),
            Task::Slot(at) => {
                self.write_slot(at);
                self.advance_checkpoint(self.checkpoint_writer());
            }
        }
    }

    /// Waits until the frame is durable, writing meanwhile whatever may be written.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) fn wait_for(self: &Arc<Self>, promise: &mut Promise) -> Result<(), Trouble> {
        let mut patience = self.patience();
        loop {
            if let Some(result) = promise.settled() {
                return result;
            }
            let fate = Arc::clone(promise.fate());
            let turn = fate.signal.turn();
            if fate.outcome().is_some() || self.lead(&fate) {
                continue;
            }
            let left = self.left_to_settle(&mut patience, Some(fate.stripe))?.min(LOOK);
            fate.signal.sleep(turn, Some(left));
        }
    }

    /// The same without blocking the thread.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) async fn settled(self: &Arc<Self>, promise: &mut Promise) -> Result<(), Trouble> {
        let mut patience = self.patience();
        self.hand_over();
        loop {
            if let Some(result) = promise.settled() {
                return result;
            }
            let fate = Arc::clone(promise.fate());
            let turn = fate.signal.turn();
            if fate.outcome().is_some() {
                continue;
            }
            let until =
                self.now() + self.left_to_settle(&mut patience, Some(fate.stripe))?.min(LOOK);
            let clock = &*self.options.clock;
            changed(&fate.signal, turn, &self.timer, Some((until, clock))).await;
        }
    }

    /// Waits for a checkpoint that carries an acknowledgement.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) fn wait_for_slot(&self, fate: &Fate) -> Result<(), Trouble> {
        let mut patience = self.patience();
        loop {
            let turn = fate.signal.turn();
            if fate.outcome().is_some() {
                return Ok(());
            }
            let left = self.left_to_settle(&mut patience, None)?.min(LOOK);
            fate.signal.sleep(turn, Some(left));
        }
    }

    /// The same without blocking the thread.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) async fn slot_settled(&self, fate: &Fate) -> Result<(), Trouble> {
        let mut patience = self.patience();
        loop {
            let turn = fate.signal.turn();
            if fate.outcome().is_some() {
                return Ok(());
            }
            let until = self.now() + self.left_to_settle(&mut patience, None)?.min(LOOK);
            let clock = &*self.options.clock;
            changed(&fate.signal, turn, &self.timer, Some((until, clock))).await;
        }
    }

    /// A hung write is given up after `write_timeout`; its frames then need about as long again
    /// to become durable elsewhere. Who waits longer than that hears that it is in doubt.
    fn patience(&self) -> Patience {
        let began = self.now();
        Patience { began, until: began + self.options.write_timeout * 3 }
    }

    /// How long to wait on: longer, while the stripe has more bytes to write than any write has time for.
    fn left_to_settle(
        &self,
        patience: &mut Patience,
        stripe: Option<StripeIndex>,
    ) -> Result<Duration, Trouble> {
        // A poisoned log answers nothing any more.
        let more = self.log().map(|log| stripe.map(|stripe| log.time_allowed(stripe)))?;
        let all = self.options.write_timeout + more.unwrap_or_default();
        patience.until = patience.until.max(patience.began + all * 3);
        match patience.until.checked_sub(self.now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => {
                let waited = patience.until.saturating_sub(patience.began).as_secs();
                Err(Trouble::new(format!("not durable after {waited} s; the disks do not answer")))
            }
        }
    }
}

/// How long a commit waits to become durable.
struct Patience {
    began: Duration,
    until: Duration,
}

fn heirs(log: &Log) -> Vec<Heir> {
    let stripes = (0..log.stripes()).map(|index| StripeIndex(index as u16));
    let open = stripes.filter(|index| log.may_write(*index));
    open.map(|index| (index, log.next_fate(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::channel::Channel;
    use crate::channel::contract::poll_once;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::disk::sim::{SimDisk, SimOptions};
    use crate::event::Event;
    use std::cell::{Cell, RefCell};

    /// The last commit that is waited for is a future's, which wakes nobody: the thread that holds the write looks
    /// whether it is there, and does not sleep until the delay is over.
    #[test]
    fn a_delayed_write_starts_with_the_last_commit_whoever_brought_it() {
        let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data0"])
            .with_disk(Arc::new(SimDisk::new(SimOptions::new(1))))
            .manual(7);
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.clock = Arc::new(ManualClock::default());
        let channel = FileChannel::open(options).expect("opens");
        let (shared, index) = (&channel.inner.shared, StripeIndex(0));
        let commit = |body: &'static str| {
            let mut put = channel.begin_put();
            put.put(Event::new(body)).expect("fits");
            let mut commit = put.commit_async();
            assert!(poll_once(&mut commit).is_pending());
            commit
        };
        let (first, second) = (commit("1"), RefCell::new(None));
        let gathered = shared.log().expect("whole").gathered(index);
        // One write has just ended, and who waited for it is about to come back.
        let took = Duration::from_millis(1);
        shared.commit_delay(index).begin(shared.now(), took, 1, gathered);
        let pauses = Cell::new(0);
        let job = shared.next_write(
            index,
            || pauses.get() > 1,
            |left| {
                assert_eq!(left, took, "the clock stands still");
                pauses.set(pauses.get() + 1);
                second.borrow_mut().get_or_insert_with(|| commit("2"));
            },
        );
        assert!(pauses.get() == 1 && job.is_some(), "after one pause it starts: {}", pauses.get());
        let mut running = Running::new(shared, job.expect("a write"));
        let result = running.write();
        running.end(result, |_| Next::default());
        channel.manual().run_tasks();
        for mut commit in [Some(first), second.into_inner()].into_iter().flatten() {
            assert!(matches!(poll_once(&mut commit), std::task::Poll::Ready(Ok(()))));
        }
    }
}
