//! A channel that counts what goes through it, whatever its kind.

use crate::channel::{
    BoxFuture, Channel, CloseError, CommitError, Limits, Position, PutError, PutTransaction,
    Status, TakeError, TakeTransaction,
};
use crate::event::Event;
use crate::metrics::ChannelCounters;
use bytes::Bytes;
use std::sync::Arc;

/// A channel and the counters of its transactions.
pub struct Counted {
    channel: Arc<dyn Channel>,
    counters: Arc<ChannelCounters>,
}

impl Counted {
    /// Counts what goes through `channel`.
    #[must_use]
    pub fn new(channel: Arc<dyn Channel>, counters: Arc<ChannelCounters>) -> Self {
        counters.capacity.set(channel.limits().capacity);
        counters.size.set(channel.status().events);
        Self { channel, counters }
    }
}

impl Channel for Counted {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        let inner = self.channel.begin_put();
        Box::new(CountedPut { inner, counters: Arc::clone(&self.counters), events: 0 })
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        let inner = self.channel.begin_take();
        Box::new(CountedTake { inner: Some(inner), counters: Arc::clone(&self.counters) })
    }

    fn limits(&self) -> Limits {
        self.channel.limits()
    }

    fn status(&self) -> Status {
        let status = self.channel.status();
        self.counters.size.set(status.events);
        status
    }

    fn position(&self, source: &str) -> Option<Position> {
        self.channel.position(source)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.channel.close()
    }
}

struct CountedPut {
    inner: Box<dyn PutTransaction>,
    counters: Arc<ChannelCounters>,
    events: u64,
}

fn count_put(counters: &ChannelCounters, events: u64, ended: &Result<(), CommitError>) {
    match ended {
        Ok(()) => counters.event_put_success.add(events),
        Err(_) => counters.event_put_error.add(1),
    }
}

impl PutTransaction for CountedPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        self.counters.event_put_attempt.add(1);
        self.inner.put(event)?;
        self.events += 1;
        Ok(())
    }

    fn set_position(&mut self, source: &str, position: Bytes) {
        self.inner.set_position(source, position);
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        let ended = self.inner.commit();
        count_put(&self.counters, self.events, &ended);
        ended
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move {
            let ended = self.inner.commit_async().await;
            count_put(&self.counters, self.events, &ended);
            ended
        })
    }

    fn rollback(self: Box<Self>) {
        self.inner.rollback();
    }
}

struct CountedTake {
    /// None once it was committed or rolled back.
    inner: Option<Box<dyn TakeTransaction>>,
    counters: Arc<ChannelCounters>,
}

const OPEN: &str = "only consuming calls and drop take the transaction";

impl CountedTake {
    fn count_take(&self, taken: &Result<Vec<Event>, TakeError>) {
        match taken {
            Ok(events) => self.counters.event_take_attempt.add(events.len().max(1) as u64),
            Err(_) => self.counters.event_take_error.add(1),
        }
    }
}

fn count_taken(counters: &ChannelCounters, events: u64, ended: &Result<(), CommitError>) {
    match ended {
        Ok(()) => counters.event_take_success.add(events),
        Err(_) => counters.event_take_error.add(1),
    }
}

impl Drop for CountedTake {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.counters.rollback.add(inner.taken() as u64);
            inner.rollback();
        }
    }
}

impl TakeTransaction for CountedTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        let taken = self.inner.as_mut().expect(OPEN).take(max);
        self.count_take(&taken);
        taken
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(async move {
            let taken = self.inner.as_mut().expect(OPEN).take_async(max).await;
            self.count_take(&taken);
            taken
        })
    }

    fn taken(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.taken())
    }

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        let inner = self.inner.take().expect(OPEN);
        let events = inner.taken() as u64;
        let ended = inner.commit();
        count_taken(&self.counters, events, &ended);
        ended
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        let inner = self.inner.take().expect(OPEN);
        let counters = Arc::clone(&self.counters);
        Box::pin(async move {
            let events = inner.taken() as u64;
            let ended = inner.commit_async().await;
            count_taken(&counters, events, &ended);
            ended
        })
    }

    fn rollback(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::contract::{self, Wanted};
    use crate::channel::memory::{MemoryChannel, MemoryOptions};

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        let options = MemoryOptions {
            capacity: wanted.capacity,
            transaction_capacity: wanted.transaction_capacity,
            keep_alive: wanted.keep_alive,
            ..MemoryOptions::default()
        };
        Arc::new(Counted::new(Arc::new(MemoryChannel::new(options).unwrap()), Arc::default()))
    }

    contract::channel_contract!(make);

    #[test]
    fn counts_what_went_through() {
        let counters = Arc::new(ChannelCounters::default());
        let options = MemoryOptions {
            capacity: 3,
            transaction_capacity: 3,
            keep_alive: std::time::Duration::ZERO,
            ..MemoryOptions::default()
        };
        let inner = Arc::new(MemoryChannel::new(options).unwrap());
        let channel = Counted::new(inner, Arc::clone(&counters));
        contract::put(&channel, &["1", "2", "3"]);
        let mut refused = channel.begin_put();
        refused.put(Event::new("4")).unwrap();
        refused.commit().unwrap_err();
        let mut take = channel.begin_take();
        take.take(2).unwrap();
        take.rollback();
        assert_eq!(contract::drain(&channel, 1), ["1"]);
        channel.status();
        let read: std::collections::BTreeMap<_, _> = counters.read().into_iter().collect();
        assert_eq!(read["EventPutAttemptCount"], 4);
        assert_eq!(read["EventPutSuccessCount"], 3);
        assert_eq!(read["EventPutErrorCount"], 1);
        assert_eq!(read["EventTakeSuccessCount"], 1);
        assert_eq!(read["RollbackCount"], 2);
        assert_eq!((read["ChannelSize"], read["ChannelCapacity"]), (2, 3));
    }
}
