//! A channel that the engine does not know passes the contract of channels, alone and as the agent wraps it.

use crate::counted_channel::CountedChannel;
use crate::metrics::MetricsRegistry;
use crate::reopenable_channel::ReopenableChannel;
use bytes::Bytes;
use millpond::internal::channel::check_event;
use millpond::{
    BoxFuture, Channel, CloseError, CommitError, CommitFailure, CommittedOffset, Event, Limits,
    PutAllError, PutError, PutTransaction, RefusedReason, SourceOffsetError, Status, SystemClock,
    TakeError, TakeTransaction,
};
use millpond_sim::contract::{self, Wanted};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A queue without a limit of its own, as a topic of a server is. Nothing waits in it.
#[derive(Clone)]
struct QueueChannel(Arc<Queue>);

struct Queue {
    state: Mutex<QueueState>,
    limits: Limits,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Event>,
    lent: u64,
    put: u64,
    taken: u64,
    closed: bool,
}

impl QueueChannel {
    fn new(wanted: Wanted) -> Self {
        let limits = Limits {
            capacity: wanted.capacity,
            transaction_capacity: wanted.transaction_capacity,
            transaction_bytes_max: usize::MAX,
            keep_alive: wanted.keep_alive,
        };
        Self(Arc::new(Queue { state: Mutex::default(), limits }))
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transaction_capacity(&self) -> usize {
        self.0.limits.transaction_capacity
    }
}

impl Channel for QueueChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(QueuePut { channel: self.clone(), events: Vec::new() })
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(QueueTake { channel: self.clone(), lent: Vec::new() })
    }

    fn limits(&self) -> Limits {
        self.0.limits
    }

    fn status(&self) -> Status {
        let state = self.lock();
        let mut status = Status::default();
        status.events = state.waiting.len() as u64 + state.lent;
        status.capacity = self.0.limits.capacity;
        (status.put, status.taken) = (state.put, state.taken);
        status
    }

    fn source_offset(&self, _source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        Ok(None)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.lock().closed = true;
        Ok(())
    }
}

struct QueuePut {
    channel: QueueChannel,
    events: Vec<Event>,
}

impl PutTransaction for QueuePut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        check_event(&event)?;
        let capacity = self.channel.transaction_capacity();
        if self.events.len() == capacity {
            return Err(PutError::TransactionFull { capacity });
        }
        self.events.push(event);
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let before = self.events.len();
        for (index, event) in events.enumerate() {
            if let Err(error) = self.put(event) {
                self.events.truncate(before);
                return Err(PutAllError { index, error });
            }
        }
        Ok(())
    }

    fn set_source_offset(&mut self, _source: &str, _source_offset: Bytes) {}

    fn commit(mut self: Box<Self>) -> Result<(), CommitFailure> {
        let channel = self.channel.clone();
        let mut state = channel.lock();
        if state.closed {
            let closed = CommitError::Refused(RefusedReason::Closed);
            return Err(CommitFailure::new(closed, self));
        }
        state.put += self.events.len() as u64;
        state.waiting.extend(std::mem::take(&mut self.events));
        Ok(())
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(async move { self.commit() })
    }

    fn rollback(self: Box<Self>) {}
}

struct QueueTake {
    channel: QueueChannel,
    lent: Vec<Event>,
}

impl QueueTake {
    /// Ends the loan; returns false if the channel is closed.
    fn settle(&mut self, taken: bool) -> bool {
        let mut state = self.channel.lock();
        let events = std::mem::take(&mut self.lent);
        state.lent -= events.len() as u64;
        let done = taken && !state.closed;
        match done {
            true => state.taken += events.len() as u64,
            false => events.into_iter().rev().for_each(|event| state.waiting.push_front(event)),
        }
        done
    }
}

impl Drop for QueueTake {
    fn drop(&mut self) {
        self.settle(false);
    }
}

impl TakeTransaction for QueueTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        let capacity = self.channel.transaction_capacity();
        let mut state = self.channel.lock();
        if state.closed {
            return Err(TakeError::Closed);
        }
        let room = capacity - self.lent.len();
        if room == 0 && max > 0 {
            return Err(TakeError::TransactionFull { capacity });
        }
        let count = max.min(room).min(state.waiting.len());
        let events: Vec<Event> = state.waiting.drain(..count).collect();
        state.lent += count as u64;
        self.lent.extend(events.iter().cloned());
        Ok(events)
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(async move { self.take(max) })
    }

    fn taken(&self) -> usize {
        self.lent.len()
    }

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        match self.settle(true) {
            true => Ok(()),
            false => Err(CommitError::Refused(RefusedReason::Closed)),
        }
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move { self.commit() })
    }

    fn rollback(self: Box<Self>) {}
}

fn make(wanted: Wanted) -> Arc<dyn Channel> {
    Arc::new(QueueChannel::new(wanted))
}

/// Returns the channel as sources and sinks of an agent hold it.
fn make_as_in_an_agent(wanted: Wanted) -> Arc<dyn Channel> {
    let reopenable = Arc::new(ReopenableChannel::new(make(wanted)));
    let counters = MetricsRegistry::default().channel("c1");
    Arc::new(CountedChannel::new(reopenable, counters, Arc::new(SystemClock::new())))
}

/// The cases that do not depend on a limit of the channel as a whole, nor on waiting.
macro_rules! cases {
    ($make:expr) => {
        contract::channel_contract!(
            $make,
            comes_out_as_it_went_in,
            in_order,
            what_was_not_committed_never_appears,
            rolled_back_takes_return_to_the_front_in_order,
            dropping_a_take_rolls_it_back,
            two_takers_never_get_one_event,
            put_all_adds_every_event_or_none,
            a_full_put_transaction_stays_usable,
            a_full_take_transaction_stays_usable,
            transactions_without_events_commit,
            counts_add_up,
            an_event_beyond_the_limits_is_refused_at_put_and_the_transaction_goes_on,
            an_event_at_the_limit_of_headers_comes_back,
            many_takers_get_everything_once,
            a_closed_channel_refuses,
        );
    };
}

mod alone {
    use super::*;
    cases!(make);
}

mod as_in_an_agent {
    use super::*;
    cases!(make_as_in_an_agent);
}
