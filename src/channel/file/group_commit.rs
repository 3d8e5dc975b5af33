//! Group commit: the write is done by a committer that finds that it may start, or by the pool for
//! callers that must not block. Leadership is a job held by a thread, never a property of a future
//! that can be dropped.
//!
//! A thread waits in [`Shared::wait_until_durable`] and leads from there: `lead_group` asks the commit
//! delay and the log for a write (`start_next_write`), runs it, and reports it ([`WriteGuard::end`]).
//! Under the lock of that report it starts the next write too while its own commit is still open;
//! otherwise it passes the writes that may start to others (`wake_writers`): each to a committer that
//! waits for that block, or to the pool (`write_all`).

use super::block_write;
use super::commit_delay::{CommitDelay, WriteDecision};
use super::read_back;
use super::shared::Shared;
use super::workers::{RunTask, Task, Workers};
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::ids::StripeIndex;
use crate::channel::waiting::Caller;
use crate::log::block_completion::{BlockCompletion, CommitTicket};
use crate::log::{Log, WriteJob};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which a waiting committer checks that the channel still runs: a panic in the middle
/// of a change may have lost the only way to wake it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A stripe that may be written, and the block that would be written, to find a committer that
/// waits for it.
pub(super) type ReadyStripe = (StripeIndex, Option<Arc<BlockCompletion>>);

/// What follows a write, determined while it was reported.
#[derive(Default)]
struct FollowUp {
    /// Run by the same thread.
    job: Option<WriteJob>,
    /// Written by others.
    ready_stripes: Vec<ReadyStripe>,
}

/// Reports a job as failed if its thread panics before it reports the result.
struct WriteGuard<'s> {
    shared: &'s Arc<Shared>,
    job: Option<WriteJob>,
}

impl<'s> WriteGuard<'s> {
    fn new(shared: &'s Arc<Shared>, job: WriteJob) -> Self {
        Self { shared, job: Some(job) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.job.as_mut().map_or(Ok(()), block_write::run)
    }

    /// Reports the result and returns what this thread writes next.
    fn end(
        &mut self,
        result: io::Result<()>,
        next: impl FnOnce(&mut Log) -> FollowUp,
    ) -> Option<WriteJob> {
        let (stripe, id) = self.job.take().map(|job| (job.stripe, job.id))?;
        let now = self.shared.now();
        // A poisoned log is reported to every caller.
        let mut log = self.shared.log().ok()?;
        let ended = log.write_in_flight(stripe, id).filter(|_| result.is_ok());
        log.complete(now, stripe, id, result);
        let next = next(&mut log);
        if let Some((released, started)) = ended.filter(|_| !self.shared.options.step_driven) {
            let (took, pending_write) = (now.saturating_sub(started), log.pending_write(stripe));
            self.shared.commit_delay(stripe).begin(now, took, released, pending_write);
        }
        let mut wakeups = log.take_wakeups();
        drop(log);
        wakeups.copy_frames();
        // Before the committers whose events are durable are woken: the storage is idle until the
        // next write begins, and the many threads woken keep the processors busy.
        self.shared.wake_writers(next.ready_stripes);
        self.shared.deliver(wakeups);
        next.job
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        self.end(Err(io::Error::other("the writing thread panicked")), |_| FollowUp::default());
    }
}

impl Shared {
    fn commit_delay(&self, index: StripeIndex) -> &CommitDelay {
        &self.stripe_dirs[index.at()].commit_delay
    }

    /// Starts the next write of the stripe, if one may start and no other thread begins it. Where
    /// waiting for further commits pays, `pause` waits, for at most the given time, unless
    /// `is_settled` says that it is not needed any more.
    fn start_next_write(
        &self,
        index: StripeIndex,
        is_settled: impl Fn() -> bool,
        pause: impl Fn(Duration),
    ) -> Option<WriteJob> {
        let delay = self.commit_delay(index);
        while !is_settled() {
            let now = self.now();
            let asked = self.with_log(|log| match delay.decide(now, log.pending_write(index)) {
                WriteDecision::Start => Ok(log.next_write(now, index)),
                WriteDecision::Leave => Ok(None),
                WriteDecision::Hold(until) => Err(until),
            });
            let until = match asked {
                Ok(Err(until)) => until,
                Ok(Ok(job)) => return job,
                // A poisoned log is reported to every caller.
                Err(_) => return None,
            };
            while delay.is_active(until) && !is_settled() {
                match until.checked_sub(self.now()) {
                    Some(left) if !left.is_zero() => pause(left),
                    _ => break,
                }
                // The last expected commit may have been one that does not block a thread.
                let now = self.now();
                let is_held = self.with_log(|log| delay.is_held(now, log.pending_write(index)));
                if !is_held.unwrap_or(false) {
                    break;
                }
            }
        }
        None
    }

    /// Starts and ends one write of the stripe, if one may start. Returns whether it did. For an
    /// opening, and for a driver without threads.
    pub(super) fn write_one(self: &Arc<Self>, index: StripeIndex) -> bool {
        let job = self.start_next_write(index, || false, std::thread::sleep);
        let Some(job) = job else { return false };
        let mut running = WriteGuard::new(self, job);
        let result = running.write();
        running.end(result, |_| FollowUp::default());
        true
    }

    /// Starts and ends writes of the stripe while some may start, then hands over those of others.
    fn write_all(self: &Arc<Self>, index: StripeIndex) {
        let (mut wrote, mut more) = (false, true);
        while more {
            let Some(job) = self.start_next_write(index, || false, std::thread::sleep) else {
                // A write that may start but could not (it waits for a segment that a full disk
                // does not provide) would be queued again at once, for ever: maintenance hands it
                // over when there is a segment.
                if wrote {
                    self.hand_over_writes();
                }
                return;
            };
            let mut running = WriteGuard::new(self, job);
            let result = running.write();
            wrote = true;
            // The last write hands over under the lock that it is reported under.
            running.end(result, |log| {
                more = log.may_write(index);
                let ready_stripes = if more { Vec::new() } else { self.writes_without_thread(log) };
                FollowUp { job: None, ready_stripes }
            });
        }
    }

    /// Writes for a committer that waits for `completion`, until that is settled and no longer: a
    /// write that hangs would delay a known outcome. Returns whether anything was written.
    fn lead_group(self: &Arc<Self>, completion: &BlockCompletion) -> bool {
        let index = completion.stripe;
        let is_settled = || completion.outcome().is_some();
        // The last committer begins the write; this thread then only waits for its end.
        let mut job = self.start_next_write(index, is_settled, |left| {
            let generation = completion.waiters.generation();
            if !is_settled() {
                completion.waiters.sleep(generation, Some(left));
            }
        });
        let wrote = job.is_some();
        while let Some(present) = job {
            let mut running = WriteGuard::new(self, present);
            let result = running.write();
            job = running.end(result, |log| match completion.outcome() {
                Some(_) => FollowUp { job: None, ready_stripes: ready_stripes(log) },
                None => {
                    FollowUp { job: log.next_write(self.now(), index), ready_stripes: Vec::new() }
                }
            });
        }
        wrote
    }

    /// Hands each write that may start, and that no thread is about to start, to a committer or to
    /// the pool.
    pub(super) fn hand_over_writes(self: &Arc<Self>) {
        let Ok(log) = self.log() else { return };
        let ready_stripes = self.writes_without_thread(&log);
        drop(log);
        self.wake_writers(ready_stripes);
    }

    /// Returns the writes that may start and that no thread is about to start, for
    /// [`Shared::wake_writers`] after the lock.
    pub(super) fn writes_without_thread(&self, log: &Log) -> Vec<ReadyStripe> {
        let now = self.now();
        let mut ready_stripes = ready_stripes(log);
        ready_stripes.retain(|(index, _)| {
            !self.commit_delay(*index).is_held(now, log.pending_write(*index))
        });
        ready_stripes
    }

    pub(super) fn wake_writers(self: &Arc<Self>, ready_stripes: Vec<ReadyStripe>) {
        for (index, completion) in ready_stripes {
            // A committer that waits for this block writes it; without one, the pool.
            if !completion.is_some_and(|completion| completion.waiters.notify_one()) {
                self.submit_task(Task::Write(index));
            }
        }
    }

    /// Waits until the frame is durable. A thread meanwhile writes whatever may be written.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) async fn wait_until_durable(
        self: &Arc<Self>,
        caller: Caller,
        ticket: &mut CommitTicket,
    ) -> Result<(), FaultCause> {
        let mut wait_budget = self.wait_budget();
        loop {
            if let Some(result) = ticket.poll_outcome() {
                return result;
            }
            let completion = Arc::clone(ticket.completion());
            let generation = completion.waiters.generation();
            let leads = caller == Caller::Thread;
            if completion.outcome().is_some() || (leads && self.lead_group(&completion)) {
                continue;
            }
            let until = self.next_check(&mut wait_budget, Some(completion.stripe))?;
            caller.changed(&completion.waiters, generation, until, &self.timer).await;
        }
    }

    /// Waits for a checkpoint that carries an acknowledgement.
    ///
    /// # Errors
    /// It is in doubt.
    pub(super) async fn wait_for_slot(
        &self,
        caller: Caller,
        completion: &BlockCompletion,
    ) -> Result<(), FaultCause> {
        let mut wait_budget = self.wait_budget();
        loop {
            let generation = completion.waiters.generation();
            if completion.outcome().is_some() {
                return Ok(());
            }
            let until = self.next_check(&mut wait_budget, None)?;
            caller.changed(&completion.waiters, generation, until, &self.timer).await;
        }
    }

    /// A hung write is given up after `write_timeout`; its frames then need about as long again to
    /// become durable elsewhere. A caller that waits longer than that gets the error that it is in
    /// doubt.
    fn wait_budget(&self) -> WaitBudget {
        let began = self.now();
        WaitBudget { began, until: began + self.options.write_timeout * 3, extended: false }
    }

    /// Returns when a waiting committer checks again at the latest. It waits longer altogether while
    /// the stripe has more bytes to write than fit in the time of one write. The first wait takes no lock for that: nearly
    /// every commit is durable before it ends.
    fn next_check(
        &self,
        wait_budget: &mut WaitBudget,
        stripe: Option<StripeIndex>,
    ) -> Result<Duration, FaultCause> {
        if std::mem::replace(&mut wait_budget.extended, true) || self.is_poisoned() {
            // A poisoned log returns an error from here on.
            let more = self.log().map(|log| stripe.map(|stripe| log.time_allowed(stripe)))?;
            let all = self.options.write_timeout + more.unwrap_or_default();
            wait_budget.until = wait_budget.until.max(wait_budget.began + all * 3);
        }
        let now = self.now();
        match wait_budget.until.checked_sub(now) {
            Some(left) if !left.is_zero() => Ok(now + left.min(CHECK_INTERVAL)),
            _ => {
                let waited = wait_budget.until.saturating_sub(wait_budget.began).as_secs();
                let what = format!("not durable after {waited} s; the disks do not respond");
                Err(FaultCause::new(FaultKind::Hung, stripe, what))
            }
        }
    }
}

impl RunTask for Shared {
    fn workers(&self) -> &Workers {
        &self.workers
    }

    fn run_task(self: &Arc<Self>, task: Task) {
        match task {
            Task::Write(index) => self.write_all(index),
            Task::ReadAhead => read_back::read_ahead(self),
            Task::Maintain(index) => self.maintain(index),
            Task::Checkpoint => self.begin_changed_checkpoint(),
            Task::Slot(at) => {
                self.write_slot(at);
                self.advance_checkpoint(self.checkpoint_writer());
            }
        }
    }
}

/// How long a commit waits to become durable.
struct WaitBudget {
    began: Duration,
    until: Duration,
    /// It was extended for the bytes that the stripe has to write.
    extended: bool,
}

fn ready_stripes(log: &Log) -> Vec<ReadyStripe> {
    let stripes = (0..log.stripes()).map(|index| StripeIndex(index as u16));
    let open = stripes.filter(|index| log.may_write(*index));
    open.map(|index| (index, log.next_completion(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::channel::BoxFuture;
    use crate::channel::Channel;
    use crate::channel::file::shared::LOG_LOCKS;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::contract::poll_once;
    use crate::event::Event;
    use crate::simulated_disk::{SimDisk, SimOptions};
    use std::cell::{Cell, RefCell};
    use std::task::Poll;

    fn on_simulated_disk() -> FileChannel {
        let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data0"])
            .with_disk(Arc::new(SimDisk::new(SimOptions::new(1))))
            .step_driven(7);
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.clock = Arc::new(ManualClock::default());
        FileChannel::open(options).expect("opens")
    }

    /// Runs `call` to its end with the tasks of the pool; returns how often it took the log's lock.
    fn locks_of(channel: &FileChannel, call: &mut BoxFuture<'_, bool>) -> u64 {
        channel.step_driver().run_tasks();
        let before = LOG_LOCKS.get();
        assert!(poll_once(call).is_pending());
        channel.step_driver().run_tasks();
        assert_eq!(poll_once(call), Poll::Ready(true));
        LOG_LOCKS.get() - before
    }

    #[test]
    fn a_lone_commit_of_a_future_takes_the_lock_three_times() {
        let channel = on_simulated_disk();
        for round in 0..3 {
            let mut put = channel.begin_put();
            put.put(Event::new("1")).expect("fits");
            let commit = put.commit_async();
            let mut commit: BoxFuture<'_, _> = Box::pin(async move { commit.await.is_ok() });
            assert_eq!(locks_of(&channel, &mut commit), 3, "put {round}");
            let mut take = channel.begin_take();
            assert_eq!(take.take(1).expect("readable").len(), 1);
            let commit = take.commit_async();
            let mut commit: BoxFuture<'_, _> = Box::pin(async move { commit.await.is_ok() });
            assert_eq!(locks_of(&channel, &mut commit), 3, "take {round}");
        }
    }

    /// The last expected commit is a future's, which wakes no thread: the thread that holds the
    /// write checks for it, and does not sleep until the delay is over.
    #[test]
    fn a_delayed_write_starts_with_the_last_expected_commit() {
        let channel = on_simulated_disk();
        let (shared, index) = (&channel.inner.shared, StripeIndex(0));
        let commit = |body: &'static str| {
            let mut put = channel.begin_put();
            put.put(Event::new(body)).expect("fits");
            let mut commit = put.commit_async();
            assert!(poll_once(&mut commit).is_pending());
            commit
        };
        let (first, second) = (commit("1"), RefCell::new(None));
        let pending_write = shared.log().expect("whole").pending_write(index);
        // One write has just ended, and its committers are about to come back.
        let took = Duration::from_millis(1);
        shared.commit_delay(index).begin(shared.now(), took, 1, pending_write);
        let pauses = Cell::new(0);
        let job = shared.start_next_write(
            index,
            || pauses.get() > 1,
            |left| {
                assert_eq!(left, took, "the clock does not advance");
                pauses.set(pauses.get() + 1);
                second.borrow_mut().get_or_insert_with(|| commit("2"));
            },
        );
        assert!(pauses.get() == 1 && job.is_some(), "after one pause it starts: {}", pauses.get());
        let mut running = WriteGuard::new(shared, job.expect("a write"));
        let result = running.write();
        running.end(result, |_| FollowUp::default());
        channel.step_driver().run_tasks();
        for mut commit in [Some(first), second.into_inner()].into_iter().flatten() {
            assert!(matches!(poll_once(&mut commit), Poll::Ready(Ok(()))));
        }
    }
}
