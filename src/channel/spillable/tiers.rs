//! The state that the transactions of a spillable channel share: both tiers and the order across them.

use super::super::store::{Load, Store};
use super::super::timer::Timer;
use super::super::waiting::WaitList;
use super::super::{Channel, Limits, RefusedReason};
use super::options::SpillableOptions;
use super::overflow_move::OverflowMove;
use crate::base::clock::Clock;
use crate::base::codes;
use crate::base::quantity::Quantity;
use crate::event::Event;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// How long puts wait for commits to the overflow to return, so that they may use memory again.
pub(super) const TURN_MAX: Duration = Duration::from_secs(1);

pub(super) struct SpillableState {
    pub(super) state: Mutex<Tiers>,
    /// `None` when all stays in memory. Its keep-alive is zero: the waiting is done here.
    pub(super) overflow: Option<Arc<dyn Channel>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timer: Timer,
    pub(super) options: SpillableOptions,
    /// Events that were in memory at the close and could not be moved.
    pub(super) lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Memory,
    Overflow,
}

/// A run of events in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TierRun {
    pub(super) tier: Tier,
    pub(super) events: u64,
}

pub(super) struct Tiers {
    pub(super) store: Store,
    /// What waits, front first.
    pub(super) runs: VecDeque<TierRun>,
    /// Events lent from the overflow and not settled.
    pub(super) lent_overflow: u64,
    /// Commits to the overflow in flight.
    pub(super) in_flight: u64,
    /// Whether the overflow was used since memory was last free enough.
    pub(super) overflowing: bool,
    /// Deadline until which puts wait for `in_flight` to reach zero.
    pub(super) turn_until: Option<Duration>,
    pub(super) put_waits: WaitList,
    pub(super) take_waits: WaitList,
    pub(super) put: u64,
    pub(super) taken: u64,
    pub(super) closed: bool,
}

impl SpillableState {
    pub(super) fn lock(&self) -> MutexGuard<'_, Tiers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn capacity(&self) -> u64 {
        let overflow = self.overflow.as_ref().map_or(0, |o| o.limits().capacity);
        self.options.memory_capacity.saturating_add(overflow)
    }

    pub(super) fn limits(&self) -> Limits {
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
    pub(super) fn reachable(&self, lent_overflow: u64) -> u64 {
        self.overflow.as_ref().map_or(0, |overflow| {
            let status = overflow.status();
            status.events.saturating_sub(status.lent.saturating_sub(lent_overflow))
        })
    }

    /// Returns whether the overflow has room for `load`.
    pub(super) fn overflow_fits(&self, load: Load) -> bool {
        self.overflow.as_ref().is_some_and(|overflow| {
            let held = overflow.status().events;
            held.saturating_add(load.events) <= overflow.limits().capacity
        })
    }

    /// Puts the events waiting in memory into the overflow: a clean stop loses no more than it
    /// must.
    pub(super) fn move_below(&self, events: &[Event]) {
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

    pub(super) fn full(&self, state: &Tiers) -> RefusedReason {
        let below = self.overflow.as_ref().map_or(0, |overflow| overflow.status().events);
        RefusedReason::Full { events: state.store.held().events + below, capacity: self.capacity() }
    }
}

impl Tiers {
    pub(super) fn push_back(&mut self, tier: Tier, events: u64) {
        match self.runs.back_mut() {
            Some(run) if run.tier == tier => run.events += events,
            _ if events > 0 => self.runs.push_back(TierRun { tier, events }),
            _ => {}
        }
    }

    pub(super) fn push_front(&mut self, tier: Tier, events: u64) {
        match self.runs.front_mut() {
            Some(run) if run.tier == tier => run.events += events,
            _ if events > 0 => self.runs.push_front(TierRun { tier, events }),
            _ => {}
        }
    }

    /// Removes `events` from the front run.
    pub(super) fn shorten_front(&mut self, events: u64) {
        if let Some(run) = self.runs.front_mut() {
            run.events -= events;
            if run.events == 0 {
                self.runs.pop_front();
            }
        }
    }

    pub(super) fn claimed(&self) -> u64 {
        self.runs.iter().filter(|r| r.tier == Tier::Overflow).map(|r| r.events).sum()
    }

    /// Claims events of the overflow that no run claims: they were there before, or a commit in
    /// doubt was committed, or a lost disk came back.
    pub(super) fn claim_surplus(&mut self, reachable: u64) {
        // Events of commits in flight are claimed when these return.
        if self.in_flight == 0 {
            let known = self.claimed() + self.lent_overflow;
            self.push_back(Tier::Overflow, reachable.saturating_sub(known));
        }
    }

    /// Drops claims, front ones first, for which the overflow has no events: damaged ones were
    /// quarantined.
    pub(super) fn drop_claims_too_many(&mut self, reachable: u64) {
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
    pub(super) fn leave_overflow_if_free(&mut self, percentage: u8) {
        let free = self.store.capacity.saturating_sub(self.store.held().events);
        if u128::from(free) * 100 >= u128::from(percentage) * u128::from(self.store.capacity) {
            self.overflowing = false;
        }
    }

    pub(super) fn next_take(&self, now: Duration) -> Option<Waker> {
        if self.runs.is_empty() { None } else { self.take_waits.first(now) }
    }
}
