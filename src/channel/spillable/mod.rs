//! The spillable channel: a queue in memory that overflows to a durable channel.
//!
//! **Not durable for what is in memory**: those events are lost with the process. Events in the
//! overflow are as safe as that channel makes them, and come first after a restart; closing moves
//! the rest of memory after them, as far as there is room. Use the file channel alone for events
//! that must not be lost.
//!
//! A put transaction goes whole to one tier: to memory when there is room within `overflowTimeout`,
//! else to the overflow; while the overflow is in use puts do not wait for memory, until
//! `overflowDeactivationThreshold` percent of it are free. A take transaction lends from one tier
//! only and finds nothing where the other one begins.
//!
//! # Order
//!
//! A list of runs (so many events of memory, so many of the overflow, …) keeps the order across the
//! tiers. A run of the overflow is recorded when its commit has returned, and several commits may
//! be in flight at once, so **no put enters memory while a commit to the overflow is in flight**:
//! otherwise its run could come before the run of a commit that returned earlier. So that a steady
//! load does not keep puts out of memory for ever, puts then wait for a while ([`TURN_MAX`]) until
//! the commits in flight have returned.
//!
//! The runs count events that another channel holds, and that channel may quarantine damaged events
//! or recover a lost disk. So runs are compared with its counts whenever they do not match what a
//! take finds: surplus claims are dropped, unclaimed events come last.

mod overflow_move;
mod put;
mod take;

use super::store::{Load, Store};
use super::timer::Timer;
use super::waiting::WaitList;
use super::{
    Channel, CloseError, CommittedOffset, Limits, PutTransaction, RefusedReason, SourceOffsetError,
    Status, TakeTransaction,
};
use crate::base::clock::{Clock, SystemClock};
use crate::base::codes;
use crate::base::quantity::Quantity;
use crate::base::setting;
use crate::event::Event;
use overflow_move::OverflowMove;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// How long puts wait for commits to the overflow to return, so that they may use memory again.
const TURN_MAX: Duration = Duration::from_secs(1);

/// Options of a spillable channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillableOptions {
    /// Events in memory at most; 0 keeps all in the overflow.
    pub memory_capacity: u64,
    /// Events of one transaction at most.
    pub transaction_capacity: usize,
    /// How long a put waits for room in memory before it goes to the overflow.
    pub overflow_timeout: Duration,
    /// Percent of memory that must be free before puts wait for memory again.
    pub overflow_deactivation_percentage: u8,
    /// How long a put waits for room in either tier, and a take for an event.
    pub keep_alive: Duration,
    /// Bytes of bodies in memory at most, counted in steps of `average_event_bytes`; 0 for no
    /// limit.
    pub byte_capacity: u64,
    /// Share of `byte_capacity` set aside for headers, percent.
    pub byte_capacity_buffer_percentage: u8,
    /// Bytes of one slot of `byte_capacity`.
    pub average_event_bytes: u64,
}

impl Default for SpillableOptions {
    /// Returns Flume's defaults; no limit on bytes.
    fn default() -> Self {
        Self {
            memory_capacity: 10_000,
            transaction_capacity: 10_000,
            overflow_timeout: Duration::from_secs(3),
            overflow_deactivation_percentage: 5,
            keep_alive: Duration::from_secs(3),
            byte_capacity: 0,
            byte_capacity_buffer_percentage: 20,
            average_event_bytes: 500,
        }
    }
}

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpillableOptionsError {
    /// No event would fit.
    #[error("{} is 0 and there is no overflow: no event would fit", setting::MEMORY_CAPACITY)]
    NoCapacity,
    /// No transaction would fit, or not every one fits every tier.
    #[error(
        "{} is {transaction_capacity}: it must be 1 to {max}, what the {tier} takes",
        setting::TRANSACTION_CAPACITY
    )]
    TransactionCapacity {
        /// Events of one transaction.
        transaction_capacity: usize,
        /// The largest legal value.
        max: u64,
        /// Where it would not fit.
        tier: &'static str,
    },
}

/// A channel in memory that overflows to another. Clones are the same channel.
#[derive(Clone)]
pub struct SpillableChannel {
    shared: Arc<SpillableState>,
}

struct SpillableState {
    state: Mutex<Tiers>,
    /// `None` when all stays in memory. Its keep-alive is zero: the waiting is done here.
    overflow: Option<Arc<dyn Channel>>,
    clock: Arc<dyn Clock>,
    timer: Timer,
    options: SpillableOptions,
    /// Events that were in memory at the close and could not be moved.
    lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Memory,
    Overflow,
}

/// A run of events in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TierRun {
    tier: Tier,
    events: u64,
}

struct Tiers {
    store: Store,
    /// What waits, front first.
    runs: VecDeque<TierRun>,
    /// Events lent from the overflow and not settled.
    lent_overflow: u64,
    /// Commits to the overflow in flight.
    in_flight: u64,
    /// Whether the overflow was used since memory was last free enough.
    overflowing: bool,
    /// Deadline until which puts wait for `in_flight` to reach zero.
    turn_until: Option<Duration>,
    put_waits: WaitList,
    take_waits: WaitList,
    put: u64,
    taken: u64,
    closed: bool,
}

impl SpillableChannel {
    /// Returns a channel over `overflow`, which has no other user and whose keep-alive is zero;
    /// `None` keeps all in memory. The overflow's events come out first.
    ///
    /// # Errors
    /// The options contradict each other or the overflow.
    pub fn new(
        options: SpillableOptions,
        overflow: Option<Arc<dyn Channel>>,
    ) -> Result<Self, SpillableOptionsError> {
        Self::with_clock(options, overflow, Arc::new(SystemClock::new()))
    }

    /// Returns a channel with another clock.
    ///
    /// # Errors
    /// As [`SpillableChannel::new`].
    pub fn with_clock(
        options: SpillableOptions,
        overflow: Option<Arc<dyn Channel>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SpillableOptionsError> {
        check(&options, overflow.as_deref())?;
        let store = Store::new(
            options.memory_capacity,
            options.byte_capacity,
            options.byte_capacity_buffer_percentage,
            options.average_event_bytes,
        );
        let state = Tiers {
            store,
            runs: VecDeque::new(),
            lent_overflow: 0,
            in_flight: 0,
            overflowing: false,
            turn_until: None,
            put_waits: WaitList::default(),
            take_waits: WaitList::default(),
            put: 0,
            taken: 0,
            closed: false,
        };
        let timer = Timer::new(Arc::clone(&clock));
        let (state, lost) = (Mutex::new(state), AtomicU64::new(0));
        let shared = SpillableState { state, overflow, clock, timer, options, lost };
        shared.lock().claim_surplus(shared.reachable(0));
        Ok(Self { shared: Arc::new(shared) })
    }
}

fn check(
    options: &SpillableOptions,
    overflow: Option<&dyn Channel>,
) -> Result<(), SpillableOptionsError> {
    let transaction_capacity = options.transaction_capacity;
    let (max, tier) = match overflow {
        // What does not fit memory goes to the overflow whole.
        Some(overflow) => (overflow.limits().transaction_capacity as u64, "overflow"),
        None if options.memory_capacity == 0 => return Err(SpillableOptionsError::NoCapacity),
        None => (options.memory_capacity, "memory"),
    };
    if transaction_capacity == 0 || transaction_capacity as u64 > max {
        return Err(SpillableOptionsError::TransactionCapacity { transaction_capacity, max, tier });
    }
    Ok(())
}

impl Channel for SpillableChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(put::SpillablePut::new(Arc::clone(&self.shared)))
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(take::SpillableTake::new(Arc::clone(&self.shared)))
    }

    fn limits(&self) -> Limits {
        self.shared.limits()
    }

    fn status(&self) -> Status {
        let below = self.shared.overflow.as_ref().map(|o| o.status()).unwrap_or_default();
        let state = self.shared.lock();
        let held = state.store.held();
        let closed = state.closed.then(|| "the channel is closed".to_owned());
        Status {
            events: held.events + below.events,
            bytes: held.bytes + below.bytes,
            capacity: self.shared.capacity(),
            put: state.put,
            taken: state.taken,
            // Events move between the tiers between two reads.
            unaccounted: None,
            memory_bytes: held.bytes + below.memory_bytes,
            oldest: below.oldest.max(state.store.oldest(self.shared.clock.now())),
            fault: closed.or(below.fault.clone()),
            ..below
        }
    }

    fn source_offset(&self, _source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        // Events in memory have no durable source offset, and a source offset must not run ahead of
        // them.
        Ok(None)
    }

    fn lost_at_close(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    fn close(&self) -> Result<(), CloseError> {
        let mut state = self.shared.lock();
        state.closed = true;
        let mut woken = state.put_waits.everyone();
        woken.extend(state.take_waits.everyone());
        let in_memory = state.store.lend(usize::MAX).events;
        state.runs.retain(|run| run.tier == Tier::Overflow);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        self.shared.move_below(&in_memory);
        self.shared.overflow.as_ref().map_or(Ok(()), |overflow| overflow.close())
    }
}

impl SpillableState {
    fn lock(&self) -> MutexGuard<'_, Tiers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn capacity(&self) -> u64 {
        let overflow = self.overflow.as_ref().map_or(0, |o| o.limits().capacity);
        self.options.memory_capacity.saturating_add(overflow)
    }

    fn limits(&self) -> Limits {
        let bytes = match &self.overflow {
            Some(overflow) => overflow.limits().transaction_bytes_max,
            None => {
                let store = &self.lock().store;
                let bytes = store.slots_max.saturating_mul(store.slot_bytes);
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
        };
        Limits {
            capacity: self.capacity(),
            transaction_capacity: self.options.transaction_capacity,
            transaction_bytes_max: bytes,
            keep_alive: self.options.keep_alive,
        }
    }

    /// Returns the events that the overflow holds and can read, `lent_overflow` lent ones included.
    /// Further lent events are of takes that ended in doubt: they come back or are gone when that
    /// is settled. [`Status::events`] leaves out what is out of reach.
    fn reachable(&self, lent_overflow: u64) -> u64 {
        self.overflow.as_ref().map_or(0, |overflow| {
            let status = overflow.status();
            status.events.saturating_sub(status.lent.saturating_sub(lent_overflow))
        })
    }

    /// Returns whether the overflow has room for `load`.
    fn overflow_fits(&self, load: Load) -> bool {
        self.overflow.as_ref().is_some_and(|overflow| {
            let held = overflow.status().events;
            held.saturating_add(load.events) <= overflow.limits().capacity
        })
    }

    /// Puts the events waiting in memory into the overflow: a clean stop loses no more than it
    /// must.
    fn move_below(&self, events: &[Event]) {
        let (lost, why) = match &self.overflow {
            Some(overflow) => OverflowMove::into(&**overflow, events),
            None => (events.len(), "it has no overflow".to_owned()),
        };
        if lost > 0 {
            self.lost.fetch_add(lost as u64, Ordering::SeqCst);
            tracing::warn!(
                code = %codes::MEMORY_EVENTS_LOST,
                "{} {} in the memory of a spillable channel and lost: {why}",
                Quantity(lost as u64, "event"),
                Quantity(lost as u64, "event").was()
            );
        }
    }

    fn full(&self, state: &Tiers) -> RefusedReason {
        let below = self.overflow.as_ref().map_or(0, |overflow| overflow.status().events);
        RefusedReason::Full { events: state.store.held().events + below, capacity: self.capacity() }
    }
}

impl Tiers {
    fn push_back(&mut self, tier: Tier, events: u64) {
        match self.runs.back_mut() {
            Some(run) if run.tier == tier => run.events += events,
            _ if events > 0 => self.runs.push_back(TierRun { tier, events }),
            _ => {}
        }
    }

    fn push_front(&mut self, tier: Tier, events: u64) {
        match self.runs.front_mut() {
            Some(run) if run.tier == tier => run.events += events,
            _ if events > 0 => self.runs.push_front(TierRun { tier, events }),
            _ => {}
        }
    }

    /// Removes `events` from the front run.
    fn shorten_front(&mut self, events: u64) {
        if let Some(run) = self.runs.front_mut() {
            run.events -= events;
            if run.events == 0 {
                self.runs.pop_front();
            }
        }
    }

    fn claimed(&self) -> u64 {
        self.runs.iter().filter(|r| r.tier == Tier::Overflow).map(|r| r.events).sum()
    }

    /// Claims events of the overflow that no run claims: they were there before, or a commit in
    /// doubt was committed, or a lost disk came back.
    fn claim_surplus(&mut self, reachable: u64) {
        // Events of commits in flight are claimed when these return.
        if self.in_flight == 0 {
            let known = self.claimed() + self.lent_overflow;
            self.push_back(Tier::Overflow, reachable.saturating_sub(known));
        }
    }

    /// Drops claims, front ones first, for which the overflow has no events: damaged ones were
    /// quarantined.
    fn drop_claims_too_many(&mut self, reachable: u64) {
        let there = reachable.saturating_sub(self.lent_overflow);
        let mut too_many = self.claimed().saturating_sub(there);
        for run in self.runs.iter_mut().filter(|r| r.tier == Tier::Overflow) {
            let dropped = run.events.min(too_many);
            run.events -= dropped;
            too_many -= dropped;
        }
        self.runs.retain(|run| run.events > 0);
    }

    /// Lets puts wait for memory again once enough of it is free.
    fn calm_down(&mut self, percentage: u8) {
        let free = self.store.capacity.saturating_sub(self.store.held().events);
        if u128::from(free) * 100 >= u128::from(percentage) * u128::from(self.store.capacity) {
            self.overflowing = false;
        }
    }

    fn next_take(&self, now: Duration) -> Option<Waker> {
        if self.runs.is_empty() { None } else { self.take_waits.first(now) }
    }
}

#[cfg(test)]
mod tests;
