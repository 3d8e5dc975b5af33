//! Take transactions.

use super::read_back;
use super::shared::Shared;
use super::workers::Task;
use crate::base::codes;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::limits::COLD_READ_BYTES;
use crate::channel::waiting::{Caller, run_here};
use crate::channel::{
    BoxFuture, CommitError, EventRange, RefusedReason, TakeError, TakeTransaction,
};
use crate::event::Event;
use crate::log::block_completion::CommitTicket;
use crate::log::readable_block::Lease;
use crate::log::{Acknowledgement, LeaseOutcome, Log, ReadJob, ReserveError};
use crate::record::body::AckBody;
use std::sync::Arc;
use std::time::Duration;

/// A take transaction: lends events until they are acknowledged or handed back.
pub(super) struct FileTake {
    shared: Arc<Shared>,
    leases: Vec<Lease>,
    taken: usize,
}

/// The result of one attempt to lend.
enum LendAttempt {
    Events(Vec<Event>),
    /// The next event is on the disk only: this read comes first.
    Read(ReadJob),
    /// Nothing now: wait for a notification of `takers`.
    Later,
}

/// What an acknowledgement waits for.
enum Awaited {
    Frames(Vec<CommitTicket>),
    Slot(Arc<crate::log::block_completion::BlockCompletion>),
}

impl FileTake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, leases: Vec::new(), taken: 0 }
    }

    fn room(&self) -> Result<usize, TakeError> {
        let capacity = self.shared.options.transaction_capacity;
        match capacity - self.taken.min(capacity) {
            0 => Err(TakeError::TransactionFull { capacity }),
            room => Ok(room),
        }
    }

    fn try_lend(&mut self, max: usize) -> Result<LendAttempt, TakeError> {
        if self.shared.is_closed() {
            return Err(match self.shared.gave_way.get() {
                Some(why) => TakeError::Stopped(why.clone()),
                None => TakeError::Closed,
            });
        }
        let now = self.shared.now();
        loop {
            let lent = self.shared.with_log(|log| {
                let lent = log.lend(now, max);
                let ahead = log.wants_read_ahead(COLD_READ_BYTES);
                (lent, ahead)
            });
            let (lent, ahead) = lent.map_err(TakeError::Stopped)?;
            if ahead {
                self.shared.submit_task(Task::ReadAhead);
            }
            match lent {
                LeaseOutcome::Leases(leases) => match self.decode(leases) {
                    events if events.is_empty() => {}
                    events => return Ok(LendAttempt::Events(events)),
                },
                LeaseOutcome::Read(job) => return Ok(LendAttempt::Read(job)),
                LeaseOutcome::Wait | LeaseOutcome::Empty => return Ok(LendAttempt::Later),
            }
        }
    }

    /// Decodes the events of fresh leases and keeps these for the commit. A lease that does not decode although its checksum is
    /// right is quarantined: the next one is delivered.
    fn decode(&mut self, leases: Vec<Lease>) -> Vec<Event> {
        let budget = self.shared.options.hot_window_bytes;
        let mut events = Vec::new();
        for lease in leases {
            let pinned = self.shared.pool.live_bytes();
            match lease.events(pinned > budget.saturating_mul(2), &mut events) {
                Ok(()) => {
                    self.taken += lease.count as usize;
                    self.leases.push(lease);
                }
                Err(refusal) => {
                    let (start, end, number) = (lease.start(), lease.end(), lease.block.number);
                    tracing::error!(
                        code = %codes::DAMAGE_SET_ASIDE,
                        channel = self.shared.name,
                        stripe = lease.block.stripe.0,
                        "block {number}, sequences {start} to {end}: {refusal}; set aside"
                    );
                    let note = self.shared.with_log(|log| log.lease_is_damaged(&lease));
                    if let Ok(Some((reservation, body))) = note {
                        reservation.fill(|out| {
                            body.encode(out);
                        });
                    }
                }
            }
        }
        events
    }

    /// Reserves and fills the acknowledgement, or returns why not now. The writes of a future are
    /// handed to other threads, which are chosen under the lock of the reservation.
    fn acknowledge(
        &mut self,
        body: &AckBody,
        caller: Caller,
    ) -> Result<Result<Awaited, ReserveError>, CommitError> {
        let now = self.shared.now();
        let leases = &self.leases;
        let reserved = self.shared.with_open_log(|log| {
            log.reserve_ack(now, body, leases).map(|reserved| {
                let ready_stripes = match caller {
                    Caller::Thread => Vec::new(),
                    Caller::Task => self.shared.writes_without_thread(log),
                };
                (reserved, ready_stripes)
            })
        });
        let (reserved, ready_stripes) = match reserved {
            Ok(Some(Ok(reserved))) => reserved,
            Ok(Some(Err(error))) => return Ok(Err(error)),
            Ok(None) => return Err(CommitError::Refused(self.shared.why_closed())),
            Err(fault) => return Err(CommitError::Refused(RefusedReason::Stopped(fault))),
        };
        // From here on the log has the leases: committed, moved or in doubt, they are its own.
        self.leases.clear();
        let awaited = match reserved {
            Acknowledgement::Slot(completion) => Awaited::Slot(completion),
            Acknowledgement::Frames(frames) => {
                let fill = |out: &mut [u8]| {
                    body.encode(out);
                };
                Awaited::Frames(frames.into_iter().map(|frame| frame.fill(fill)).collect())
            }
        };
        self.shared.wake_writers(ready_stripes);
        Ok(Ok(awaited))
    }

    fn give_back(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        if !leases.is_empty() {
            // A poisoned log lends nothing any more.
            let _ = self.shared.with_log(|log| log.give_back(leases));
        }
    }
}

fn refused(error: ReserveError) -> CommitError {
    CommitError::Refused(match error {
        ReserveError::NoStripe(fault) | ReserveError::NoSpace(fault) => {
            RefusedReason::of_stripes(fault)
        }
        ReserveError::Busy
        | ReserveError::EarlierCommitPending
        | ReserveError::Full { .. }
        | ReserveError::SourceOffsetTooLarge { .. } => {
            let what = "the log had no room in time; try again";
            let place = FaultPlace::default();
            RefusedReason::NoSpace(FaultCause::new(FaultKind::NotReady, place, what))
        }
    })
}

impl TakeTransaction for FileTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        run_here(self.take_by(Caller::Thread, max))
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(self.take_by(Caller::Task, max))
    }

    fn taken(&self) -> usize {
        self.taken
    }

    fn ranges(&self) -> Option<Vec<EventRange>> {
        let mut ranges: Vec<EventRange> = Vec::new();
        for lease in &self.leases {
            let (stripe, start, end) = (lease.block.stripe, lease.start(), lease.end());
            match ranges.last_mut() {
                Some(last) if last.stripe == stripe && last.end == start => last.end = end,
                _ => ranges.push(EventRange { stripe, start, end }),
            }
        }
        Some(ranges)
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        run_here(self.commit_by(Caller::Thread))
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(self.commit_by(Caller::Task))
    }

    fn rollback(mut self: Box<Self>) {
        self.give_back();
    }
}

impl FileTake {
    async fn take_by(&mut self, caller: Caller, max: usize) -> Result<Vec<Event>, TakeError> {
        let max = max.min(self.room()?);
        if max == 0 {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&self.shared);
        let deadline = shared.now() + shared.options.keep_alive;
        let mut late = false;
        loop {
            let generation = shared.takers.generation();
            let until = match (self.try_lend(max)?, caller) {
                (LendAttempt::Events(events), _) => return Ok(events),
                (LendAttempt::Read(job), Caller::Thread) => {
                    read_back::read(&shared, job);
                    continue;
                }
                // Only a caller that may block reads: the pool requests the same read again.
                (LendAttempt::Read(job), Caller::Task) => {
                    let _ = shared.with_log(|log| log.leave_read(job));
                    shared.submit_task(Task::ReadAhead);
                    // From now, not from the deadline: once the deadline has passed the future
                    // would find it passed at every poll, ask again at once, and spin.
                    shared.now() + shared.options.write_timeout
                }
                (LendAttempt::Later, _) => self.wait_max(deadline),
            };
            if shared.now() < until {
                caller.changed(&shared.takers, generation, until, &shared.timer).await;
            } else if !late && shared.takers.generation() != generation {
                // An event may have arrived while this caller was not scheduled.
                late = true;
            } else {
                return self.nothing();
            }
        }
    }

    async fn commit_by(mut self: Box<Self>, caller: Caller) -> Result<(), CommitError> {
        if self.leases.is_empty() {
            return Ok(());
        }
        let body = Log::ack_body(&self.leases);
        let shared = Arc::clone(&self.shared);
        // Not `keep-alive`: a refusal hands back events that the caller has delivered already.
        let deadline = shared.now() + shared.options.write_timeout;
        loop {
            let generation = shared.room.generation();
            match self.acknowledge(&body, caller)? {
                Ok(Awaited::Frames(frames)) => {
                    for mut frame in frames {
                        let durable = shared.wait_until_durable(caller, &mut frame).await;
                        durable.map_err(CommitError::InDoubt)?;
                    }
                    return Ok(());
                }
                Ok(Awaited::Slot(completion)) => {
                    let durable = shared.wait_for_slot(caller, &completion).await;
                    return durable.map_err(CommitError::InDoubt);
                }
                Err(ReserveError::Busy) if shared.now() < deadline => {
                    caller.changed(&shared.room, generation, deadline, &shared.timer).await;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Returns how long to wait: `keep-alive` applies to missing events. An event that is being
    /// read back exists, and returning an empty list would be wrong.
    fn wait_max(&self, deadline: Duration) -> Duration {
        match self.shared.log().is_ok_and(|log| log.is_reading()) {
            true => deadline + self.shared.options.write_timeout,
            false => deadline,
        }
    }

    /// Returns the result when nothing came within `keep-alive`: empty, or unreadable.
    fn nothing(&self) -> Result<Vec<Event>, TakeError> {
        let fault = self.shared.with_log(|log| log.read_fault());
        match fault.map_err(TakeError::Stopped)? {
            Some((fault, _)) => Err(TakeError::Unreadable(fault)),
            None => Ok(Vec::new()),
        }
    }
}

impl Drop for FileTake {
    fn drop(&mut self) {
        self.give_back();
    }
}
