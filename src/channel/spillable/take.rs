//! Take transactions of the spillable channel.

use super::super::store::Loan;
use super::super::waiting::{Caller, StepResult, WaitTicket, run_here};
use super::super::{BoxFuture, CommitError, RefusedReason, TakeError, TakeTransaction};
use super::tiers::{SpillableState, Tier, Tiers};
use crate::event::Event;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub(super) struct SpillableTake {
    shared: Arc<SpillableState>,
    lent: LentEvents,
}

/// The events that a transaction has lent; one tier only.
enum LentEvents {
    Nothing,
    Memory(Loan),
    Overflow(Below),
}

/// A transaction on the overflow. Dropping it hands its events back there, and then their places in
/// the order to the front.
struct Below {
    shared: Arc<SpillableState>,
    transaction: Option<Box<dyn TakeTransaction>>,
    /// Events of it that left the runs.
    events: u64,
}

impl Below {
    /// Forgets `events` that were lent: they are acknowledged, or their outcome is unknown.
    fn drop_lent(&mut self, taken: u64) {
        let mut state = self.shared.lock();
        state.lent_overflow -= self.events;
        state.taken += taken;
        self.events = 0;
        state.leave_overflow_if_free(self.shared.options.overflow_deactivation_percentage);
        let next = state.put_waits.first(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }

    fn record_outcome(&mut self, answer: &Result<(), CommitError>) {
        match answer {
            Ok(()) => self.drop_lent(self.events),
            // Runs are compared with the overflow's counts once nothing else is left to take.
            Err(CommitError::InDoubt(_)) => self.drop_lent(0),
            // Dropping puts them back.
            Err(CommitError::Refused(_)) => {}
        }
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        // First there, then here: a run never claims events that are still lent.
        if let Some(transaction) = self.transaction.take() {
            transaction.rollback();
        }
        if self.events == 0 {
            return;
        }
        let mut state = self.shared.lock();
        state.lent_overflow -= self.events;
        state.push_front(Tier::Overflow, self.events);
        let next = state.next_take(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

/// The result of one look at the runs.
enum TakeProgress {
    Ended(Result<Vec<Event>, TakeError>),
    /// So many events are reserved in the overflow.
    Reserved(Reserved),
}

/// Events that left the runs and are to be lent by the overflow. Dropping it puts back those that
/// were not lent.
struct Reserved {
    shared: Arc<SpillableState>,
    events: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.events == 0 {
            return;
        }
        let mut state = self.shared.lock();
        state.lent_overflow -= self.events;
        // The overflow's lock is taken under this one, and nowhere in the opposite order.
        let reachable = self.shared.reachable(state.lent_overflow);
        state.push_front(Tier::Overflow, self.events);
        state.drop_claims_too_many(reachable);
        let next = state.next_take(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

/// One call of `take`.
struct SpillableTakeCall<'a> {
    take: &'a mut SpillableTake,
    max: usize,
    deadline: Option<Duration>,
    ticket: Option<WaitTicket>,
}

impl SpillableTakeCall<'_> {
    fn step(&mut self, waker: &Waker) -> StepResult<TakeProgress> {
        let shared = Arc::clone(&self.take.shared);
        let now = shared.clock.now();
        let keep_alive = shared.options.keep_alive;
        let deadline = *self.deadline.get_or_insert_with(|| now.saturating_add(keep_alive));
        let mut state = shared.lock();
        if state.runs.is_empty() {
            // The overflow's lock is taken under this one, and nowhere in the opposite order.
            let reachable = shared.reachable(state.lent_overflow);
            state.claim_surplus(reachable);
        }
        let found = self.look(&mut state, now >= deadline);
        let Some(found) = found else {
            let stale = state.take_waits.register(&mut self.ticket, deadline, waker);
            drop(state);
            drop(stale);
            return StepResult::Until(deadline);
        };
        let left = state.take_waits.leave(&mut self.ticket);
        let next = state.next_take(now);
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
        StepResult::Ready(found)
    }

    /// Returns what there is for this call; `None` to wait.
    fn look(&mut self, state: &mut Tiers, over: bool) -> Option<TakeProgress> {
        let capacity = self.take.shared.options.transaction_capacity;
        let room = capacity - self.take.taken();
        let wanted = self.max.min(room) as u64;
        if state.closed {
            return Some(TakeProgress::Ended(Err(TakeError::Closed)));
        }
        if room == 0 {
            return Some(TakeProgress::Ended(Err(TakeError::TransactionFull { capacity })));
        }
        if wanted == 0 {
            return Some(TakeProgress::Ended(Ok(Vec::new())));
        }
        let Some(run) = state.runs.front().copied() else {
            return over.then_some(TakeProgress::Ended(Ok(Vec::new())));
        };
        let events = wanted.min(run.events);
        match (run.tier, &mut self.take.lent) {
            // The other tier begins: for another transaction.
            (Tier::Memory, LentEvents::Overflow(_)) | (Tier::Overflow, LentEvents::Memory(_)) => {
                Some(TakeProgress::Ended(Ok(Vec::new())))
            }
            (Tier::Memory, lent) => {
                state.shorten_front(events);
                let found = state.store.lend(usize::try_from(events).unwrap_or(usize::MAX));
                let events = found.events.clone();
                match lent {
                    LentEvents::Memory(lent) => lent.extend(found),
                    other => *other = LentEvents::Memory(found),
                }
                Some(TakeProgress::Ended(Ok(events)))
            }
            (Tier::Overflow, _) => {
                state.shorten_front(events);
                state.lent_overflow += events;
                let shared = Arc::clone(&self.take.shared);
                Some(TakeProgress::Reserved(Reserved { shared, events }))
            }
        }
    }
}

impl Drop for SpillableTakeCall<'_> {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let shared = &self.take.shared;
        let mut state = shared.lock();
        let left = state.take_waits.leave(&mut self.ticket);
        let next = state.next_take(shared.clock.now());
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}

impl SpillableTake {
    pub(super) fn new(shared: Arc<SpillableState>) -> Self {
        Self { shared, lent: LentEvents::Nothing }
    }

    async fn take_by(&mut self, caller: Caller, max: usize) -> Result<Vec<Event>, TakeError> {
        let timer = self.shared.timer.clone();
        let mut call = SpillableTakeCall { take: self, max, deadline: None, ticket: None };
        let found = caller.steps(&timer, |waker: &Waker| call.step(waker)).await;
        drop(call);
        let reserved = match found {
            TakeProgress::Ended(answer) => return answer,
            TakeProgress::Reserved(reserved) => reserved,
        };
        let wanted = usize::try_from(reserved.events).unwrap_or(usize::MAX);
        let below = self.below().transaction.as_mut().expect(THERE);
        let taken = match caller {
            Caller::Thread => below.take(wanted),
            Caller::Task => below.take_async(wanted).await,
        };
        self.lent(reserved, taken)
    }

    async fn commit_by(mut self: Box<Self>, caller: Caller) -> Result<(), CommitError> {
        let Some(mut below) = self.commit_memory()? else { return Ok(()) };
        let transaction = below.transaction.take().expect(THERE);
        // Dropped before it returns, the commit is in doubt: nothing is put back.
        let mut doubt = Doubt(Some(below));
        let answer = match caller {
            Caller::Thread => transaction.commit(),
            Caller::Task => transaction.commit_async().await,
        };
        if let Some(mut below) = doubt.0.take() {
            below.record_outcome(&answer);
        }
        answer
    }

    /// Returns the transaction on the overflow, begun when it is first needed.
    fn below(&mut self) -> &mut Below {
        if !matches!(self.lent, LentEvents::Overflow(_)) {
            let shared = Arc::clone(&self.shared);
            let transaction = shared.overflow.as_ref().map(|overflow| overflow.begin_take());
            self.lent = LentEvents::Overflow(Below { shared, transaction, events: 0 });
        }
        match &mut self.lent {
            LentEvents::Overflow(below) => below,
            _ => unreachable!("it was set above"),
        }
    }

    /// Moves what the overflow lent from the reservation to the transaction.
    fn lent(
        &mut self,
        mut reserved: Reserved,
        taken: Result<Vec<Event>, TakeError>,
    ) -> Result<Vec<Event>, TakeError> {
        if let Ok(events) = &taken {
            let lent = events.len() as u64;
            assert!(lent <= reserved.events, "lent more than was asked for");
            reserved.events -= lent;
            self.below().events += lent;
        }
        drop(reserved);
        if self.taken() == 0 {
            // The transaction is not bound to this tier yet.
            self.lent = LentEvents::Nothing;
        }
        taken
    }

    fn acknowledge(&mut self, lent: &Loan) -> Result<(), CommitError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(CommitError::Refused(RefusedReason::Closed));
        }
        state.taken += state.store.acknowledge(lent).events;
        state.leave_overflow_if_free(self.shared.options.overflow_deactivation_percentage);
        let next = state.put_waits.first(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Commits what is in memory, or returns the transaction on the overflow that is to commit.
    fn commit_memory(&mut self) -> Result<Option<Below>, CommitError> {
        match std::mem::replace(&mut self.lent, LentEvents::Nothing) {
            LentEvents::Nothing => Ok(None),
            LentEvents::Memory(lent) => {
                let answer = self.acknowledge(&lent);
                if answer.is_err() {
                    self.lent = LentEvents::Memory(lent);
                }
                answer.map(|()| None)
            }
            LentEvents::Overflow(below) => Ok(Some(below)),
        }
    }
}

impl Drop for SpillableTake {
    fn drop(&mut self) {
        let LentEvents::Memory(lent) = std::mem::replace(&mut self.lent, LentEvents::Nothing)
        else {
            return;
        };
        let mut state = self.shared.lock();
        state.push_front(Tier::Memory, lent.events.len() as u64);
        state.store.give_back(lent);
        let next = state.next_take(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

const THERE: &str = "a channel whose runs name the overflow has one";

impl TakeTransaction for SpillableTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        run_here(self.take_by(Caller::Thread, max))
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(self.take_by(Caller::Task, max))
    }

    fn taken(&self) -> usize {
        match &self.lent {
            LentEvents::Nothing => 0,
            LentEvents::Memory(lent) => lent.events.len(),
            LentEvents::Overflow(below) => usize::try_from(below.events).unwrap_or(usize::MAX),
        }
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        run_here(self.commit_by(Caller::Thread))
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(self.commit_by(Caller::Task))
    }

    fn rollback(self: Box<Self>) {}
}

/// A commit to the overflow that may never return.
struct Doubt(Option<Below>);

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some(mut below) = self.0.take() {
            below.drop_lent(0);
        }
    }
}
