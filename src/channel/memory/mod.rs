//! The memory channel: fast, bounded by events and bytes, and lost with the process.
//!
//! A commit waits up to `keep-alive` for room for all of its events and bytes together (Flume waits
//! once for each), first come, first served, so that a large transaction is not starved by small
//! ones. Lent events keep their room until their take is committed.

mod options;

use super::store::{Load, Loan, Store};
use super::timer::Timer;
use super::waiting::{Caller, StepResult, WaitList, WaitTicket, run_here};
use super::{
    BoxFuture, Channel, CloseError, CommitError, CommitFailure, CommittedOffset, Limits,
    PutAllError, PutError, PutTransaction, RefusedReason, SourceOffsetError, Status, TakeError,
    TakeTransaction, check_event, put_each,
};
use crate::base::clock::{Clock, SystemClock};
use crate::base::setting;
use crate::event::Event;
use bytes::Bytes;
pub use options::{MemoryOptions, MemoryOptionsError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Bytes of one slot of `byteCapacity`.
const SLOT_BYTES: u64 = 100;

/// A channel in memory. Clones are the same channel.
///
/// ```
/// use millpond::{Channel, Event, MemoryChannel, MemoryOptions};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("a line"))?;
/// put.commit()?;
/// let mut take = channel.begin_take();
/// assert_eq!(&take.take(10)?[0].body[..], b"a line");
/// take.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryChannel {
    shared: Arc<MemoryState>,
}

struct MemoryState {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    timer: Timer,
    options: MemoryOptions,
    slots_max: u64,
}

struct State {
    store: Store,
    put_waits: WaitList,
    take_waits: WaitList,
    put: u64,
    taken: u64,
    closed: bool,
}

impl MemoryChannel {
    /// Returns an empty channel.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn new(options: MemoryOptions) -> Result<Self, MemoryOptionsError> {
        Self::with_clock(options, Arc::new(SystemClock::new()))
    }

    /// Returns an empty channel that measures `keep-alive` with `clock`.
    ///
    /// # Errors
    /// As [`MemoryChannel::new`].
    pub fn with_clock(
        options: MemoryOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MemoryOptionsError> {
        let MemoryOptions { capacity, transaction_capacity, .. } = options;
        if capacity == 0 || transaction_capacity == 0 {
            return Err(MemoryOptionsError::Zero);
        }
        if transaction_capacity as u64 > capacity {
            return Err(MemoryOptionsError::TransactionLargerThanChannel {
                transaction_capacity,
                capacity,
            });
        }
        let store = Store::new(
            capacity,
            options.byte_capacity,
            options.byte_capacity_buffer_percentage,
            SLOT_BYTES,
        );
        let slots_max = store.slots_max;
        let state = Mutex::new(State {
            store,
            put_waits: WaitList::default(),
            take_waits: WaitList::default(),
            put: 0,
            taken: 0,
            closed: false,
        });
        let timer = Timer::new(Arc::clone(&clock));
        Ok(Self { shared: Arc::new(MemoryState { state, clock, timer, options, slots_max }) })
    }
}

impl Channel for MemoryChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(MemoryPut {
            shared: Arc::clone(&self.shared),
            events: Vec::new(),
            load: Load::default(),
            wait: Wait::default(),
        })
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(MemoryTake { shared: Arc::clone(&self.shared), lent: Loan::default() })
    }

    fn limits(&self) -> Limits {
        self.shared.limits()
    }

    fn status(&self) -> Status {
        let state = self.shared.lock();
        let held = state.store.held();
        Status {
            events: held.events,
            bytes: held.bytes,
            capacity: state.store.capacity,
            put: state.put,
            taken: state.taken,
            unaccounted: Some(
                state.put.wrapping_sub(state.taken).wrapping_sub(held.events).cast_signed(),
            ),
            memory_bytes: held.bytes,
            oldest: state.store.oldest(self.shared.clock.now()),
            fault: state.closed.then(super::closed_cause),
            ..Status::default()
        }
    }

    fn source_offset(&self, _source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        Ok(None)
    }

    fn close(&self) -> Result<(), CloseError> {
        let mut state = self.shared.lock();
        state.closed = true;
        let mut woken = state.put_waits.everyone();
        woken.extend(state.take_waits.everyone());
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl MemoryState {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No callback runs under the lock, and no step panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> Limits {
        let bytes = self.slots_max.saturating_mul(SLOT_BYTES);
        Limits {
            capacity: self.options.capacity,
            transaction_capacity: self.options.transaction_capacity,
            transaction_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
            keep_alive: self.options.keep_alive,
        }
    }
}

impl State {
    /// Returns the waker of the next put, when there may be room.
    fn next_put(&self, now: Duration) -> Option<Waker> {
        self.put_waits.first(now)
    }

    /// Returns the waker of the next take, when there are events.
    fn next_take(&self, now: Duration) -> Option<Waker> {
        if self.store.waiting() == 0 { None } else { self.take_waits.first(now) }
    }
}

/// The wait of one call: its deadline once it has begun, its place in the list.
#[derive(Default)]
struct Wait {
    deadline: Option<Duration>,
    ticket: Option<WaitTicket>,
}

impl Wait {
    fn deadline(&mut self, now: Duration, keep_alive: Duration) -> Duration {
        *self.deadline.get_or_insert_with(|| now.saturating_add(keep_alive))
    }
}

struct MemoryPut {
    shared: Arc<MemoryState>,
    events: Vec<Event>,
    load: Load,
    wait: Wait,
}

impl MemoryPut {
    fn step(&mut self, waker: &Waker) -> StepResult<Result<(), CommitError>> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let deadline = self.wait.deadline(now, shared.options.keep_alive);
        let mut state = shared.lock();
        let answer = if state.closed {
            Err(CommitError::Refused(RefusedReason::Closed))
        } else if self.events.is_empty() {
            Ok(())
        } else if state.put_waits.is_turn_of(self.wait.ticket, now) && state.store.fits(self.load) {
            state.put += self.load.events;
            state.store.append(std::mem::take(&mut self.events), self.load, now);
            Ok(())
        } else if now >= deadline {
            Err(CommitError::Refused(self.full(&state)))
        } else {
            let stale = state.put_waits.register(&mut self.wait.ticket, deadline, waker);
            drop(state);
            drop(stale);
            return StepResult::Until(deadline);
        };
        let left = state.put_waits.leave(&mut self.wait.ticket);
        // The next put may fit now; and there may be something to take.
        let woken = [state.next_take(now), state.next_put(now)];
        drop(state);
        drop(left);
        woken.into_iter().flatten().for_each(Waker::wake);
        StepResult::Ready(answer)
    }

    async fn commit_by(mut self: Box<Self>, caller: Caller) -> Result<(), CommitFailure> {
        let shared = Arc::clone(&self.shared);
        let ended = caller.steps(&shared.timer, |waker: &Waker| self.step(waker)).await;
        ended.map_err(|error| self.failed(error))
    }

    /// Returns the transaction with its events, for a retry that waits anew.
    fn failed(mut self: Box<Self>, error: CommitError) -> CommitFailure {
        self.wait = Wait::default();
        CommitFailure::new(error, self)
    }

    fn full(&self, state: &State) -> RefusedReason {
        let (held, store) = (state.store.held(), &state.store);
        if held.events + self.load.events > store.capacity || store.fits(self.load) {
            return RefusedReason::Full { events: held.events, capacity: store.capacity };
        }
        RefusedReason::FullOfBytes {
            bytes: held.slots * store.slot_bytes,
            capacity: store.slots_max.saturating_mul(store.slot_bytes),
        }
    }
}

impl Drop for MemoryPut {
    fn drop(&mut self) {
        if self.wait.ticket.is_none() {
            return;
        }
        let mut state = self.shared.lock();
        let left = state.put_waits.leave(&mut self.wait.ticket);
        let next = state.next_put(self.shared.clock.now());
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}

impl PutTransaction for MemoryPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        let Limits { transaction_capacity, transaction_bytes_max, .. } = self.shared.limits();
        if self.events.len() >= transaction_capacity {
            return Err(PutError::TransactionFull { capacity: transaction_capacity });
        }
        check_event(&event)?;
        let load = self.load.with(&event, SLOT_BYTES);
        if load.slots > self.shared.slots_max {
            let bytes_of = |load: Load| {
                let bytes = load.slots.saturating_mul(SLOT_BYTES);
                usize::try_from(bytes).unwrap_or(usize::MAX)
            };
            return Err(PutError::TooLarge {
                bytes: bytes_of(load),
                alone: bytes_of(Load::default().with(&event, SLOT_BYTES)),
                max: transaction_bytes_max,
                setting: setting::BYTE_CAPACITY,
            });
        }
        self.load = load;
        self.events.push(event);
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let (held, load) = (self.events.len(), self.load);
        put_each(events, |event| self.put(event)).inspect_err(|_| {
            self.events.truncate(held);
            self.load = load;
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

struct MemoryTake {
    shared: Arc<MemoryState>,
    lent: Loan,
}

/// One call of `take`: leaves the wait list when it is dropped.
struct TakeCall<'a> {
    take: &'a mut MemoryTake,
    max: usize,
    wait: Wait,
}

impl TakeCall<'_> {
    fn step(&mut self, waker: &Waker) -> StepResult<Result<Vec<Event>, TakeError>> {
        let shared = Arc::clone(&self.take.shared);
        let capacity = shared.options.transaction_capacity;
        let room = capacity - self.take.lent.events.len();
        let now = shared.clock.now();
        let deadline = self.wait.deadline(now, shared.options.keep_alive);
        let mut state = shared.lock();
        let answer = if state.closed {
            Err(TakeError::Closed)
        } else if room == 0 {
            Err(TakeError::TransactionFull { capacity })
        } else if self.max == 0 {
            Ok(Loan::default())
        } else if state.store.waiting() > 0 || now >= deadline {
            Ok(state.store.lend(self.max.min(room)))
        } else {
            let stale = state.take_waits.register(&mut self.wait.ticket, deadline, waker);
            drop(state);
            drop(stale);
            return StepResult::Until(deadline);
        };
        let left = state.take_waits.leave(&mut self.wait.ticket);
        let next = state.next_take(now);
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
        StepResult::Ready(answer.map(|loan| {
            let events = loan.events.clone();
            self.take.lent.extend(loan);
            events
        }))
    }
}

impl Drop for TakeCall<'_> {
    fn drop(&mut self) {
        if self.wait.ticket.is_none() {
            return;
        }
        let shared = &self.take.shared;
        let mut state = shared.lock();
        let left = state.take_waits.leave(&mut self.wait.ticket);
        // It may have been woken for an event that is now for the next take.
        let next = state.next_take(shared.clock.now());
        drop(state);
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}

impl MemoryTake {
    async fn take_by(&mut self, caller: Caller, max: usize) -> Result<Vec<Event>, TakeError> {
        let timer = self.shared.timer.clone();
        let mut call = TakeCall { take: self, max, wait: Wait::default() };
        caller.steps(&timer, |waker: &Waker| call.step(waker)).await
    }

    fn acknowledge(&mut self) -> Result<(), CommitError> {
        let mut state = self.shared.lock();
        if state.closed {
            // The drop returns the batch to the front, perhaps after one that was lent later. That
            // is never visible: a closed channel lends nothing, and is never opened again.
            return Err(CommitError::Refused(RefusedReason::Closed));
        }
        let lent = std::mem::take(&mut self.lent);
        state.taken += state.store.acknowledge(&lent).events;
        let next = state.next_put(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Drop for MemoryTake {
    fn drop(&mut self) {
        if self.lent.events.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        state.store.give_back(std::mem::take(&mut self.lent));
        let next = state.next_take(self.shared.clock.now());
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

impl TakeTransaction for MemoryTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        run_here(self.take_by(Caller::Thread, max))
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(self.take_by(Caller::Task, max))
    }

    fn taken(&self) -> usize {
        self.lent.events.len()
    }

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        self.acknowledge()
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move { self.acknowledge() })
    }

    fn rollback(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Wanted};

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        let options = MemoryOptions {
            capacity: wanted.capacity,
            transaction_capacity: wanted.transaction_capacity,
            keep_alive: wanted.keep_alive,
            ..MemoryOptions::default()
        };
        Arc::new(MemoryChannel::new(options).unwrap())
    }

    contract::channel_contract!(make);

    fn of_bytes(byte_capacity: u64) -> MemoryChannel {
        let options = MemoryOptions {
            byte_capacity,
            byte_capacity_buffer_percentage: 20,
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        MemoryChannel::new(options).unwrap()
    }

    #[test]
    fn bytes_are_a_limit_of_their_own_and_come_back_when_taken() {
        let channel = of_bytes(1000);
        let mut put = channel.begin_put();
        put.put(Event::new(vec![1; 700])).unwrap();
        put.commit().unwrap();
        let mut put = channel.begin_put();
        put.put(Event::new(vec![2; 101])).unwrap();
        let refused = put.commit().unwrap_err();
        assert_eq!(
            refused.error,
            CommitError::Refused(RefusedReason::FullOfBytes { bytes: 700, capacity: 800 })
        );
        let mut take = channel.begin_take();
        assert_eq!(take.take(1).unwrap().len(), 1);
        take.commit().unwrap();
        assert_eq!(channel.status().bytes, 0);
        let mut put = channel.begin_put();
        put.put(Event::new(vec![2; 800])).unwrap();
        put.commit().unwrap();
    }

    #[test]
    fn an_event_that_can_never_fit_is_refused_at_put_and_the_transaction_goes_on() {
        let channel = of_bytes(1000);
        let mut put = channel.begin_put();
        put.put(Event::new("small")).unwrap();
        let large = put.put(Event::new(vec![0; 701]));
        assert_eq!(
            large,
            Err(PutError::TooLarge {
                bytes: 900,
                alone: 800,
                max: 800,
                setting: setting::BYTE_CAPACITY
            })
        );
        put.put(Event::new(vec![0; 700])).unwrap();
        put.commit().unwrap();
        assert_eq!(channel.status().events, 2);
    }

    #[test]
    fn batches_returned_at_the_close_in_any_order_are_not_lent() {
        let channel = of_bytes(1000);
        let mut put = channel.begin_put();
        ["1", "2"].into_iter().for_each(|body| put.put(Event::new(body)).unwrap());
        put.commit().unwrap();
        let (mut one, mut two) = (channel.begin_take(), channel.begin_take());
        assert_eq!((one.take(1).unwrap().len(), two.take(1).unwrap().len()), (1, 1));
        channel.close().unwrap();
        assert_eq!(one.commit(), Err(CommitError::Refused(RefusedReason::Closed)));
        two.rollback();
        assert_eq!(channel.status().events, 2);
        assert_eq!(channel.begin_take().take(2), Err(TakeError::Closed));
    }

    #[test]
    fn contradicting_options_are_named() {
        let options = MemoryOptions { capacity: 10, ..MemoryOptions::default() };
        let error = MemoryChannel::new(options).err().unwrap();
        assert!(error.to_string().contains("transaction_capacity is 100 and capacity 10"));
        let options = MemoryOptions { transaction_capacity: 0, ..MemoryOptions::default() };
        assert_eq!(MemoryChannel::new(options).err(), Some(MemoryOptionsError::Zero));
    }

    #[test]
    fn a_large_put_that_waits_is_not_starved_by_small_ones() {
        let wanted =
            Wanted { capacity: 4, transaction_capacity: 4, keep_alive: Duration::from_secs(60) };
        let channel = make(wanted);
        contract::put(&*channel, &["a", "b", "c"]);
        let mut large = channel.begin_put();
        for name in ["1", "2", "3"] {
            large.put(Event::new(name)).unwrap();
        }
        let mut large = large.commit_async();
        assert!(contract::poll_once(&mut large).is_pending());
        let mut small = channel.begin_put();
        small.put(Event::new("small")).unwrap();
        let mut small = small.commit_async();
        assert!(
            contract::poll_once(&mut small).is_pending(),
            "there is room, but an earlier put waits"
        );
        assert_eq!(contract::drain(&*channel, 2), ["a", "b"]);
        contract::block_on(large).unwrap();
        assert_eq!(contract::drain(&*channel, 4), ["c", "1", "2", "3"]);
        contract::block_on(small).unwrap();
    }
}
