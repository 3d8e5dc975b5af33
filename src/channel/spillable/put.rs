//! Put transactions of the spillable channel.

use super::super::store::Load;
use super::super::waiting::{Caller, StepResult, WaitTicket, run_here};
use super::super::{
    BoxFuture, Channel, CommitError, CommitFailure, Limits, PutAllError, PutError, PutTransaction,
    RefusedReason, check_event, put_each,
};
use super::tiers::{SpillableState, TURN_MAX, Tier, Tiers};
use crate::base::setting;
use crate::event::Event;
use crate::record::event::encoded_len;
use bytes::Bytes;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Pause before an overflow that had no room on its disks is tried again.
const SPACE_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct SpillablePut {
    shared: Arc<SpillableState>,
    events: Vec<Event>,
    load: Load,
    /// Bytes of the events as a file channel writes them.
    encoded_bytes: usize,
    began: Option<Duration>,
    /// Time of the next attempt on the overflow.
    not_before: Duration,
    ticket: Option<WaitTicket>,
    /// The transaction on the overflow that was refused last, with copies of the events.
    refused: Option<Box<dyn PutTransaction>>,
}

/// The next step of a commit.
enum PutStep {
    Ended(Result<(), CommitError>),
    /// To the overflow, as one of the commits in flight.
    Overflow(UnderWay),
}

/// A commit to the overflow in flight. Dropping it ends that.
struct UnderWay {
    shared: Arc<SpillableState>,
    /// Events that are in the overflow now: claimed when it ends.
    committed: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.in_flight -= 1;
        state.put += self.committed;
        state.push_back(Tier::Overflow, self.committed);
        let now = self.shared.clock.now();
        let mut woken = vec![state.next_take(now)];
        if state.in_flight == 0 {
            state.turn_until = None;
            woken.push(state.put_waits.first(now));
        }
        drop(state);
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

impl SpillablePut {
    pub(super) fn new(shared: Arc<SpillableState>) -> Self {
        Self {
            shared,
            events: Vec::new(),
            load: Load::default(),
            encoded_bytes: 0,
            began: None,
            not_before: Duration::ZERO,
            ticket: None,
            refused: None,
        }
    }

    async fn commit_by(mut self: Box<Self>, caller: Caller) -> Result<(), CommitFailure> {
        let timer = self.shared.timer.clone();
        loop {
            let step = caller.steps(&timer, |waker: &Waker| self.step(waker)).await;
            let under_way = match step {
                PutStep::Ended(ended) => return ended.map_err(|error| self.failed(error)),
                PutStep::Overflow(under_way) => under_way,
            };
            let committed = match (self.below(&*self.overflow()), caller) {
                (Ok(below), Caller::Thread) => below.commit(),
                (Ok(below), Caller::Task) => below.commit_async().await,
                (Err(failure), _) => Err(failure),
            };
            if let Some(ended) = self.end_overflow(under_way, committed) {
                return ended.map_err(|error| self.failed(error));
            }
        }
    }

    fn step(&mut self, waker: &Waker) -> StepResult<PutStep> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let began = *self.began.get_or_insert(now);
        let mut state = shared.lock();
        let until = match self.next_step(&mut state, now, began) {
            StepResult::Ready(step) => {
                let left = state.put_waits.leave(&mut self.ticket);
                let woken = [state.next_take(now), state.put_waits.first(now)];
                drop(state);
                drop(left);
                woken.into_iter().flatten().for_each(Waker::wake);
                return StepResult::Ready(step);
            }
            StepResult::Until(until) => until,
        };
        let last = began.saturating_add(shared.longest());
        let stale = state.put_waits.register(&mut self.ticket, last.max(until), waker);
        drop(state);
        drop(stale);
        StepResult::Until(until)
    }

    /// Returns the next step: enter memory, go to the overflow, wait, or give up.
    fn next_step(
        &mut self,
        state: &mut Tiers,
        now: Duration,
        began: Duration,
    ) -> StepResult<PutStep> {
        if state.closed {
            return ended(Err(CommitError::Refused(RefusedReason::Closed)));
        }
        if self.events.is_empty() {
            return ended(Ok(()));
        }
        let shared = &self.shared;
        let my_turn = state.put_waits.is_turn_of(self.ticket, now);
        let fits = my_turn && state.store.fits(self.load);
        if fits && state.in_flight == 0 {
            state.put += self.load.events;
            state.push_back(Tier::Memory, self.load.events);
            state.store.append(std::mem::take(&mut self.events), self.load, now);
            return ended(Ok(()));
        }
        if fits && !state.overflowing && state.turn_until.is_none() {
            state.turn_until = Some(now + TURN_MAX);
        }
        if let Some(turn) = state.turn_until.filter(|turn| now < *turn) {
            return StepResult::Until(turn);
        }
        let memory = self.memory_until(state, began);
        if shared.overflow.is_some() && now < memory {
            return StepResult::Until(memory);
        }
        let last = began.saturating_add(shared.longest());
        if now < self.not_before.min(last) {
            return StepResult::Until(self.not_before.min(last));
        }
        if (my_turn || now >= last) && shared.overflow_fits(self.load) {
            state.overflowing = true;
            state.in_flight += 1;
            let under_way = UnderWay { shared: Arc::clone(shared), committed: 0 };
            return StepResult::Ready(PutStep::Overflow(under_way));
        }
        if now >= last {
            return ended(Err(CommitError::Refused(shared.full(state))));
        }
        StepResult::Until(last)
    }

    /// Returns how long to wait for memory before using the overflow.
    fn memory_until(&self, state: &Tiers, began: Duration) -> Duration {
        let store = &state.store;
        let never = self.load.events > store.capacity || self.load.slots > store.slots_max;
        if never || state.overflowing {
            return Duration::ZERO;
        }
        began.saturating_add(self.shared.options.overflow_timeout)
    }

    /// Returns the transaction on the overflow, the refused one if there is one. Events are copied
    /// (bodies are shared): memory may be free by the time the overflow has refused them.
    fn below(&mut self, overflow: &dyn Channel) -> Result<Box<dyn PutTransaction>, CommitFailure> {
        if let Some(refused) = self.refused.take() {
            return Ok(refused);
        }
        let mut transaction = overflow.begin_put();
        match transaction.put_all(&mut self.events.iter().cloned()) {
            Ok(()) => Ok(transaction),
            Err(PutAllError { error, .. }) => {
                let error = CommitError::Refused(RefusedReason::Transaction(error));
                Err(CommitFailure { error, transaction: None })
            }
        }
    }

    /// Handles the end of a commit to the overflow; `None` to look for room again.
    fn end_overflow(
        &mut self,
        mut under_way: UnderWay,
        committed: Result<(), CommitFailure>,
    ) -> Option<Result<(), CommitError>> {
        let Err(CommitFailure { error, transaction }) = committed else {
            under_way.committed = self.load.events;
            return Some(Ok(()));
        };
        self.refused = transaction;
        match error {
            CommitError::Refused(RefusedReason::Full { .. }) => {
                drop(under_way);
                let over = self.shared.clock.now() >= self.last();
                over.then(|| Err(CommitError::Refused(self.shared.full(&self.shared.lock()))))
            }
            // The overflow itself does not wait, not even for a segment that will be ready soon.
            CommitError::Refused(refusal @ RefusedReason::NoSpace(_)) => {
                drop(under_way);
                let now = self.shared.clock.now();
                self.not_before = now + SPACE_PAUSE;
                (now >= self.last()).then_some(Err(CommitError::Refused(refusal)))
            }
            error => Some(Err(error)),
        }
    }

    /// Returns the transaction with its events, for a retry that waits anew.
    fn failed(mut self: Box<Self>, error: CommitError) -> CommitFailure {
        (self.began, self.not_before) = (None, Duration::ZERO);
        CommitFailure::new(error, self)
    }

    /// Returns the last deadline of the wait for room.
    fn last(&self) -> Duration {
        self.began.unwrap_or_default().saturating_add(self.shared.longest())
    }

    fn overflow(&self) -> Arc<dyn Channel> {
        Arc::clone(
            self.shared.overflow.as_ref().expect("only a channel with an overflow gets here"),
        )
    }
}

fn ended(answer: Result<(), CommitError>) -> StepResult<PutStep> {
    StepResult::Ready(PutStep::Ended(answer))
}

impl SpillableState {
    /// Returns how long a put waits for room in either tier.
    fn longest(&self) -> Duration {
        self.options.keep_alive.max(self.options.overflow_timeout)
    }
}

impl Drop for SpillablePut {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let mut state = self.shared.lock();
        let left = state.put_waits.leave(&mut self.ticket);
        let next = state.put_waits.first(self.shared.clock.now());
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}

impl PutTransaction for SpillablePut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        let Limits { transaction_capacity, transaction_bytes_max: max, .. } = self.shared.limits();
        if self.events.len() >= transaction_capacity {
            return Err(PutError::TransactionFull { capacity: transaction_capacity });
        }
        check_event(&event)?;
        let slot_bytes = self.shared.options.average_event_bytes.max(1);
        let load = self.load.with(&event, slot_bytes);
        let encoded_bytes = self.encoded_bytes + encoded_len(&event);
        let (bytes, alone, setting) = match &self.shared.overflow {
            // As a file channel counts: an event that it would refuse must not reach a commit.
            Some(_) => (encoded_bytes, encoded_len(&event), setting::TRANSACTION_BYTES_MAX),
            None => {
                let bytes_of = |load: Load| {
                    let bytes = load.slots.saturating_mul(slot_bytes);
                    usize::try_from(bytes).unwrap_or(usize::MAX)
                };
                let alone = Load::default().with(&event, slot_bytes);
                (bytes_of(load), bytes_of(alone), setting::BYTE_CAPACITY)
            }
        };
        if bytes > max {
            return Err(PutError::TooLarge { bytes, alone, max, setting });
        }
        self.load = load;
        self.encoded_bytes = encoded_bytes;
        self.events.push(event);
        self.refused = None;
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let (held, load, encoded_bytes) = (self.events.len(), self.load, self.encoded_bytes);
        put_each(events, |event| self.put(event)).inspect_err(|_| {
            self.events.truncate(held);
            (self.load, self.encoded_bytes) = (load, encoded_bytes);
        })
    }

    fn set_source_offset(&mut self, _source: &str, _position: Bytes) {}

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        run_here(self.commit_by(Caller::Thread))
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(self.commit_by(Caller::Task))
    }

    fn rollback(self: Box<Self>) {}
}
