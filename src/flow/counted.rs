//! A channel that counts what goes through it, whatever its kind.

use crate::base::clock::Clock;
use crate::channel::{
    BoxFuture, Channel, CloseError, CommitError, Limits, Position, PositionError, PutError,
    PutTransaction, Status, TakeError, TakeTransaction,
};
use crate::event::Event;
use crate::flow::tap::{Sample, Tap, Way};
use crate::metrics::{ChannelCounters, ChannelReading};
use bytes::Bytes;
use std::sync::Arc;

/// A channel and the counters of its transactions.
pub struct Counted {
    channel: Arc<dyn Channel>,
    counters: Arc<ChannelCounters>,
    clock: Arc<dyn Clock>,
    tap: Arc<Tap>,
}

impl Counted {
    /// Counts what goes through `channel`, which was just opened; `clock` says when.
    #[must_use]
    pub fn new(
        channel: Arc<dyn Channel>,
        counters: Arc<ChannelCounters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        counters.capacity.set(channel.limits().capacity);
        counters.started(clock.wall_ms());
        counters.open.set(1);
        counters.closed.set(0);
        let counted = Self { channel, counters, clock, tap: Arc::default() };
        counted.status();
        counted
    }

    /// The same, with what goes through it shown at `tap`.
    #[must_use]
    pub fn tapped(self, tap: Arc<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// What watchers are to see beyond the counters, which are up to date then.
    #[must_use]
    pub fn reading(&self) -> ChannelReading {
        let status = self.status();
        ChannelReading {
            bytes: status.bytes,
            memory_bytes: status.memory_bytes,
            quarantined: status.quarantined,
            out_of_reach: status.out_of_reach,
            unaccounted: status.unaccounted,
            writes: status.writes,
            written_bytes: status.written_bytes,
            failed_writes: status.failed_writes,
            trouble: status.trouble,
            stripes: status.stripes,
        }
    }
}

impl Channel for Counted {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        let inner = self.channel.begin_put();
        let sample = self.tap.sample(Way::Put);
        Box::new(CountedPut { inner, counters: Arc::clone(&self.counters), events: 0, sample })
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        let inner = self.channel.begin_take();
        let sample = self.tap.sample(Way::Taken);
        Box::new(CountedTake { inner: Some(inner), counters: Arc::clone(&self.counters), sample })
    }

    fn limits(&self) -> Limits {
        self.channel.limits()
    }

    fn status(&self) -> Status {
        let status = self.channel.status();
        let counters = &self.counters;
        counters.size.set(status.events);
        counters.checkpoint_error.set(status.checkpoint_errors);
        counters.checkpoint_backup_error.set(status.checkpoint_copy_errors);
        // A channel that was closed on purpose is not ill.
        let ill = status.trouble.is_some() && counters.open.get() == 1;
        counters.unhealthy.set(u64::from(ill));
        status
    }

    fn position(&self, source: &str) -> Result<Option<Position>, PositionError> {
        self.channel.position(source)
    }

    fn keeps_positions(&self) -> bool {
        self.channel.keeps_positions()
    }

    fn close(&self) -> Result<(), CloseError> {
        let closed = self.channel.close();
        if self.counters.open.get() == 1 {
            self.counters.open.set(0);
            self.counters.closed.set(1);
            self.counters.stopped(self.clock.wall_ms());
        }
        closed
    }
}

struct CountedPut {
    inner: Box<dyn PutTransaction>,
    counters: Arc<ChannelCounters>,
    events: u64,
    sample: Option<Sample>,
}

fn count_put(
    counters: &ChannelCounters,
    (events, sample): (u64, Option<Sample>),
    ended: &Result<(), CommitError>,
) {
    match ended {
        Ok(()) => {
            counters.event_put_success.add(events);
            sample.into_iter().for_each(Sample::passed);
        }
        Err(_) => counters.event_put_error.add(1),
    }
}

impl PutTransaction for CountedPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        self.counters.event_put_attempt.add(1);
        if let Some(sample) = &mut self.sample {
            sample.see(std::slice::from_ref(&event));
        }
        self.inner.put(event)?;
        self.events += 1;
        Ok(())
    }

    fn set_position(&mut self, source: &str, position: Bytes) {
        self.inner.set_position(source, position);
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        let ended = self.inner.commit();
        count_put(&self.counters, (self.events, self.sample), &ended);
        ended
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move {
            let ended = self.inner.commit_async().await;
            count_put(&self.counters, (self.events, self.sample), &ended);
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
    sample: Option<Sample>,
}

const OPEN: &str = "only consuming calls and drop take the transaction";

impl CountedTake {
    fn count_take(&mut self, taken: &Result<Vec<Event>, TakeError>) {
        match taken {
            Ok(events) => {
                self.counters.event_take_attempt.add(events.len().max(1) as u64);
                if let Some(sample) = &mut self.sample {
                    sample.see(events);
                }
            }
            Err(_) => self.counters.event_take_error.add(1),
        }
    }
}

fn count_taken(
    counters: &ChannelCounters,
    (events, sample): (u64, Option<Sample>),
    ended: &Result<(), CommitError>,
) {
    match ended {
        Ok(()) => {
            counters.event_take_success.add(events);
            sample.into_iter().for_each(Sample::passed);
        }
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
        count_taken(&self.counters, (events, self.sample.take()), &ended);
        ended
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        let inner = self.inner.take().expect(OPEN);
        let (counters, sample) = (Arc::clone(&self.counters), self.sample.take());
        Box::pin(async move {
            let events = inner.taken() as u64;
            let ended = inner.commit_async().await;
            count_taken(&counters, (events, sample), &ended);
            ended
        })
    }

    fn rollback(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, SystemClock};
    use crate::channel::contract::{self, Wanted};
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::channel::memory::{MemoryChannel, MemoryOptions};
    use crate::disk::sim::{Fault, SimDisk, SimOptions};
    use std::time::Duration;

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        let options = MemoryOptions {
            capacity: wanted.capacity,
            transaction_capacity: wanted.transaction_capacity,
            keep_alive: wanted.keep_alive,
            ..MemoryOptions::default()
        };
        let inner = Arc::new(MemoryChannel::new(options).unwrap());
        Arc::new(Counted::new(inner, Arc::default(), Arc::new(SystemClock::new())))
    }

    contract::channel_contract!(make);

    #[test]
    fn a_channel_that_cannot_write_is_ill_until_it_can() {
        let disk = SimDisk::new(SimOptions::new(1));
        let mut options =
            FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(Arc::new(disk.clone()));
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        let inner = Arc::new(FileChannel::open(options).unwrap());
        let counters = Arc::new(ChannelCounters::default());
        let clock = Arc::new(SystemClock::new());
        let channel = Counted::new(inner, Arc::clone(&counters), clock.clone());
        let until = |ill: u64| {
            while counters.unhealthy.get() != ill {
                assert!(clock.now() < Duration::from_secs(60), "never {ill}");
                std::thread::yield_now();
                channel.status();
            }
        };
        until(0);
        disk.fail(Fault::dead("data"));
        let mut put = channel.begin_put();
        put.put(Event::new("lost or kept")).unwrap();
        put.commit().unwrap_err();
        until(1);
        disk.clear_faults();
        until(0);
    }

    #[test]
    fn counts_what_went_through() {
        let counters = Arc::new(ChannelCounters::default());
        let options = MemoryOptions {
            capacity: 3,
            transaction_capacity: 3,
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        let inner = Arc::new(MemoryChannel::new(options).unwrap());
        let clock = Arc::new(ManualClock::default());
        let channel = Counted::new(inner, Arc::clone(&counters), clock.clone());
        let began = clock.wall_ms();
        contract::put(&channel, &["1", "2", "3"]);
        let mut refused = channel.begin_put();
        refused.put(Event::new("4")).unwrap();
        refused.commit().unwrap_err();
        let mut take = channel.begin_take();
        take.take(2).unwrap();
        take.rollback();
        assert_eq!(contract::drain(&channel, 1), ["1"]);
        channel.status();
        assert_eq!(counters.event_put_attempt.get(), 4);
        assert_eq!(counters.event_put_success.get(), 3);
        assert_eq!(counters.event_put_error.get(), 1);
        assert_eq!(counters.event_take_success.get(), 1);
        assert_eq!(counters.rollback.get(), 2);
        assert_eq!((counters.size.get(), counters.capacity.get()), (2, 3));
        assert_eq!((counters.start_time.get(), counters.stop_time.get()), (began, 0));
        assert_eq!((counters.open.get(), counters.closed.get()), (1, 0));
        clock.advance(Duration::from_secs(5));
        channel.close().unwrap();
        clock.advance(Duration::from_secs(5));
        channel.close().unwrap();
        channel.status();
        assert_eq!((counters.open.get(), counters.closed.get()), (0, 1));
        assert_eq!(counters.stop_time.get(), began + 5000, "closed once");
        assert_eq!(counters.unhealthy.get(), 0, "closed is not ill");
    }
}
