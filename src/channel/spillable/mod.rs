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
//! load does not keep puts out of memory for ever, puts then wait for a while (`TURN_MAX`) until
//! the commits in flight have returned.
//!
//! The runs count events that another channel holds, and that channel may quarantine damaged events
//! or recover a lost disk. So runs are compared with its counts whenever they do not match what a
//! take finds: surplus claims are dropped, unclaimed events come last.

mod options;
mod overflow_move;
mod put;
mod take;
mod tiers;

use super::store::Store;
use super::timer::Timer;
use super::waiting::WaitList;
use super::{
    Channel, CloseError, CommittedOffset, Limits, PutTransaction, SourceOffsetError, Status,
    TakeTransaction,
};
use crate::base::clock::{Clock, SystemClock};
pub use options::{SpillableOptions, SpillableOptionsError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use tiers::{SpillableState, Tier, Tiers};

/// A channel in memory that overflows to another. Clones are the same channel.
///
/// ```
/// use millpond::{Channel, Event, FileChannel, FileChannelOptions, SpillableChannel, SpillableOptions};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// options.keep_alive = Duration::ZERO; // the spillable channel waits itself
/// let overflow = FileChannel::open(options)?;
/// let channel = SpillableChannel::new(SpillableOptions::default(), Some(Arc::new(overflow)))?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("a line"))?;
/// put.commit()?;
/// assert_eq!(channel.status().events, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SpillableChannel {
    shared: Arc<SpillableState>,
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
        options::check(&options, overflow.as_deref())?;
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
        let closed = state.closed.then(super::closed_cause);
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

#[cfg(test)]
mod tests;
