//! A channel wrapper that counts transactions, for channels of every type.

use crate::metrics::{ChannelCounters, ChannelReading, DropReason};
use crate::tap::{Tap, TapDirection, TapSample};
use bytes::Bytes;
use millpond::{
    BoxFuture, Channel, Clock, CloseError, CommitError, CommitFailure, CommittedOffset, Event,
    Limits, PutAllError, PutError, PutTransaction, SourceOffsetError, Status, TakeError,
    TakeTransaction,
};
use std::sync::Arc;
use std::time::Duration;

/// A channel and the counters of its transactions.
pub struct CountedChannel {
    channel: Arc<dyn Channel>,
    count: TransactionCounters,
    tap: Arc<Tap>,
}

/// The counters of a transaction.
#[derive(Clone)]
struct TransactionCounters {
    counters: Arc<ChannelCounters>,
    clock: Arc<dyn Clock>,
}

impl TransactionCounters {
    /// Records the end of a put of `events`, whose commit began at `began`.
    fn put(&self, events: u64, began: Duration, ended: &Result<(), CommitError>) {
        let Ok(()) = ended else { return self.counters.event_put_error.add(1) };
        self.counters.event_put_success.add(events);
        self.counters.put_commit.note(self.clock.now().saturating_sub(began));
    }

    /// Records the end of a take of `events`, whose commit began at `began`.
    fn taken(&self, events: u64, began: Duration, ended: &Result<(), CommitError>) {
        let Ok(()) = ended else { return self.counters.event_take_error.add(1) };
        self.counters.event_take_success.add(events);
        self.counters.take_commit.note(self.clock.now().saturating_sub(began));
    }
}

impl CountedChannel {
    /// Wraps the just opened `channel`; `clock` provides the time.
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
        let count = TransactionCounters { counters, clock };
        let counted = Self { channel, count, tap: Arc::default() };
        counted.status();
        counted
    }

    /// Also shows passing events at `tap`.
    #[must_use]
    pub fn tapped(self, tap: Arc<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// Refreshes the counters and returns the further values for monitoring; `None` while the channel is being
    /// reopened and its content is unknown.
    #[must_use]
    pub fn reading(&self) -> Option<ChannelReading> {
        let status = self.status();
        if status.stopped {
            return None;
        }
        let refuses = status.refuses();
        Some(ChannelReading {
            waiting_bytes: waiting_bytes(&status),
            memory_bytes: status.memory_bytes,
            quarantined: status.quarantined,
            out_of_reach: status.out_of_reach,
            unaccounted: status.unaccounted,
            writes: status.writes,
            written_bytes: status.written_bytes,
            failed_writes: status.failed_writes,
            oldest: status.oldest,
            trouble: status.fault.filter(|_| refuses).map(|fault| fault.to_string()),
            stripes: status.stripes,
        })
    }
}

/// Returns the bytes of the waiting events. A channel on disk counts the segments that hold them, of which much
/// may be taken or not written yet.
fn waiting_bytes(status: &Status) -> u64 {
    if status.events.saturating_add(status.out_of_reach) == 0 {
        return 0;
    }
    let stripes = status.stripes.iter();
    let (segments, waiting) =
        stripes.fold((0, 0), |(all, part), s| (all + s.segment_bytes, part + s.lag_bytes));
    status.bytes.saturating_sub(segments) + waiting
}

impl Channel for CountedChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        let inner = self.channel.begin_put();
        let sample = self.tap.sample(TapDirection::Put);
        Box::new(CountedPut { inner, count: self.count.clone(), events: 0, sample })
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        let inner = self.channel.begin_take();
        let sample = self.tap.sample(TapDirection::Taken);
        Box::new(CountedTake { inner: Some(inner), count: self.count.clone(), sample })
    }

    fn limits(&self) -> Limits {
        self.channel.limits()
    }

    fn status(&self) -> Status {
        let status = self.channel.status();
        let counters = &self.count.counters;
        if !status.stopped {
            counters.size.set(status.events);
            counters.checkpoint_error.set(status.checkpoint_errors);
            counters.checkpoint_backup_error.set(status.checkpoint_copy_errors);
        }
        // A channel that was closed on purpose is not unhealthy.
        let is_unhealthy = status.refuses() && counters.open.get() == 1;
        counters.unhealthy.set(u64::from(is_unhealthy));
        status
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.channel.source_offset(source)
    }

    fn name_sources(&self, sources: &[String]) {
        self.channel.name_sources(sources);
    }

    fn keeps_source_offsets(&self) -> bool {
        self.channel.keeps_source_offsets()
    }

    fn lost_at_close(&self) -> u64 {
        self.channel.lost_at_close()
    }

    fn close(&self) -> Result<(), CloseError> {
        let closed = self.channel.close();
        let TransactionCounters { counters, clock, .. } = &self.count;
        if counters.open.get() == 1 {
            counters.drops.add(DropReason::Memory, self.channel.lost_at_close());
            counters.open.set(0);
            counters.closed.set(1);
            counters.stopped(clock.wall_ms());
        }
        closed
    }
}

struct CountedPut {
    inner: Box<dyn PutTransaction>,
    count: TransactionCounters,
    events: u64,
    sample: Option<TapSample>,
}

/// Shows the events of a transaction that was committed.
fn show(sample: Option<TapSample>, ended: &Result<(), CommitError>) {
    if let (Some(sample), Ok(())) = (sample, ended) {
        sample.passed();
    }
}

impl CountedPut {
    fn ended(
        ended: Result<(), CommitFailure>,
        count: TransactionCounters,
        events: u64,
        sample: Option<TapSample>,
        began: Duration,
    ) -> Result<(), CommitFailure> {
        let (ended, inner) = match ended {
            Ok(()) => (Ok(()), None),
            Err(CommitFailure { error, transaction }) => (Err(error), transaction),
        };
        count.put(events, began, &ended);
        let Err(error) = ended else {
            show(sample, &ended);
            return Ok(());
        };
        // Refused events are shown when a later try succeeds.
        let transaction = inner.map(|inner| -> Box<dyn PutTransaction> {
            Box::new(Self { inner, count, events, sample })
        });
        Err(CommitFailure { error, transaction })
    }
}

impl PutTransaction for CountedPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        self.count.counters.event_put_attempt.add(1);
        // A copy of an event shares its bytes.
        let seen = self.sample.as_ref().map(|_| event.clone());
        self.inner.put(event)?;
        if let (Some(sample), Some(event)) = (&mut self.sample, seen) {
            sample.see(&[event]);
        }
        self.events += 1;
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let (mut offered, mut seen) = (0, self.sample.as_ref().map(|_| Vec::new()));
        let put = self.inner.put_all(&mut events.inspect(|event| {
            offered += 1;
            seen.iter_mut().for_each(|seen| seen.push(event.clone()));
        }));
        self.count.counters.event_put_attempt.add(offered);
        put?;
        self.sample.iter_mut().zip(&seen).for_each(|(sample, seen)| sample.see(seen));
        self.events += offered;
        Ok(())
    }

    fn set_source_offset(&mut self, source: &str, position: Bytes) {
        self.inner.set_source_offset(source, position);
    }

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        let Self { inner, count, events, sample } = *self;
        let began = count.clock.now();
        let ended = inner.commit();
        Self::ended(ended, count, events, sample, began)
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(async move {
            let Self { inner, count, events, sample } = *self;
            let began = count.clock.now();
            let ended = inner.commit_async().await;
            Self::ended(ended, count, events, sample, began)
        })
    }

    fn rollback(self: Box<Self>) {
        self.inner.rollback();
    }
}

struct CountedTake {
    /// `None` once it was committed or rolled back.
    inner: Option<Box<dyn TakeTransaction>>,
    count: TransactionCounters,
    sample: Option<TapSample>,
}

const OPEN: &str = "only consuming calls and drop take the transaction";

impl CountedTake {
    fn count_take(&mut self, taken: &Result<Vec<Event>, TakeError>) {
        let counters = &self.count.counters;
        match taken {
            Ok(events) => {
                counters.event_take_attempt.add(events.len().max(1) as u64);
                if let Some(sample) = &mut self.sample {
                    sample.see(events);
                }
            }
            Err(_) => counters.event_take_error.add(1),
        }
    }
}

impl Drop for CountedTake {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.count.counters.rollback.add(inner.taken() as u64);
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
        let began = self.count.clock.now();
        let ended = inner.commit();
        self.count.taken(events, began, &ended);
        show(self.sample.take(), &ended);
        ended
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        let inner = self.inner.take().expect(OPEN);
        let (count, sample) = (self.count.clone(), self.sample.take());
        Box::pin(async move {
            let events = inner.taken() as u64;
            let began = count.clock.now();
            let ended = inner.commit_async().await;
            count.taken(events, began, &ended);
            show(sample, &ended);
            ended
        })
    }

    fn rollback(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{TapCounts, TapRates};
    use millpond::{
        FileChannel, FileChannelOptions, ManualClock, MemoryChannel, MemoryOptions,
        SpillableChannel, SpillableOptions, SystemClock,
    };
    use millpond_sim::contract::{self, Wanted};
    use millpond_sim::disk::{Fault, SimDisk, SimOptions};

    fn make(wanted: Wanted) -> Arc<dyn Channel> {
        let options = MemoryOptions {
            capacity: wanted.capacity,
            transaction_capacity: wanted.transaction_capacity,
            keep_alive: wanted.keep_alive,
            ..MemoryOptions::default()
        };
        let inner = Arc::new(MemoryChannel::new(options).unwrap());
        Arc::new(CountedChannel::new(inner, Arc::default(), Arc::new(SystemClock::new())))
    }

    contract::channel_contract!(make);

    #[test]
    fn a_channel_that_cannot_write_is_unhealthy_until_it_can() {
        let disk = SimDisk::new(SimOptions::new(1));
        let mut options =
            FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(Arc::new(disk.clone()));
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        let inner = Arc::new(FileChannel::open(options).unwrap());
        let counters = Arc::new(ChannelCounters::default());
        let clock = Arc::new(SystemClock::new());
        let channel = CountedChannel::new(inner, Arc::clone(&counters), clock.clone());
        let until = |unhealthy: u64| {
            while counters.unhealthy.get() != unhealthy {
                assert!(clock.now() < Duration::from_secs(60), "never {unhealthy}");
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

    /// Long compared with the resolution of ages, for a clock that cannot be moved.
    const AGE: Duration = Duration::from_millis(2500);

    #[test]
    fn one_failed_disk_of_two_leaves_the_channel_healthy_and_ages_unchanged() {
        let disk = SimDisk::new(SimOptions::new(1));
        let mut options = FileChannelOptions::new("/c/checkpoint", ["/c/data0", "/c/data1"])
            .with_disk(Arc::new(disk.clone()));
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(10);
        let inner = Arc::new(FileChannel::open(options).unwrap());
        let (counters, real) = (Arc::new(ChannelCounters::default()), SystemClock::new());
        let channel =
            CountedChannel::new(inner, Arc::clone(&counters), Arc::new(ManualClock::default()));
        let suspended =
            || channel.status().stripes.iter().filter(|s| s.suspended.is_some()).count();
        for body in 0..16 {
            contract::put(&channel, &[&body.to_string()]);
        }
        std::thread::sleep(AGE);
        disk.fail(Fault::dead("data1"));
        while suspended() == 0 {
            assert!(real.now() < Duration::from_secs(60), "never suspended");
            let mut put = channel.begin_put();
            put.put(Event::new("young")).unwrap();
            let _ = put.commit();
        }
        assert_eq!(counters.unhealthy.get(), 0, "the other one takes puts");
        let reading = channel.reading().expect("open");
        assert!(reading.out_of_reach > 0 && reading.trouble.is_none(), "{reading:?}");
        while !contract::drain(&channel, 1).is_empty() {}
        assert!(channel.reading().is_some());
        // Events of the working disk flow on, and are young.
        for body in 0..16 {
            contract::put(&channel, &[&body.to_string()]);
            while !contract::drain(&channel, 1).is_empty() {}
        }
        let reading = channel.reading().expect("open");
        assert!(reading.oldest >= AGE, "{reading:?}");
        let lags: Vec<_> = reading.stripes.iter().map(|s| (s.oldest, s.lag_bytes)).collect();
        assert_eq!(lags[0], (Duration::ZERO, 0));
        assert!(lags[1].0 == reading.oldest && lags[1].1 > 0, "{lags:?}");
        assert_eq!(counters.unhealthy.get(), 0);
    }

    #[test]
    fn commits_are_timed_and_what_waits_grows_old() {
        let counters = Arc::new(ChannelCounters::default());
        let clock = Arc::new(ManualClock::default());
        let inner = MemoryChannel::with_clock(MemoryOptions::default(), clock.clone()).unwrap();
        contract::put(&inner, &["there at the opening"]);
        let channel = CountedChannel::new(Arc::new(inner), Arc::clone(&counters), clock.clone());
        let oldest = || channel.reading().expect("open").oldest.as_secs();
        clock.advance(Duration::from_secs(10));
        contract::put(&channel, &["1", "2"]);
        clock.advance(Duration::from_secs(20));
        assert_eq!(oldest(), 30);
        assert_eq!(contract::drain(&channel, 1), ["there at the opening"]);
        assert_eq!(oldest(), 20);
        assert_eq!(contract::drain(&channel, 2), ["1", "2"]);
        assert_eq!(oldest(), 0);
        assert_eq!(counters.put_commit.read().count(), 1);
        assert_eq!(counters.take_commit.read().count(), 2);
    }

    #[test]
    fn what_one_sink_holds_grows_old_while_another_drains() {
        let clock = Arc::new(ManualClock::default());
        let inner = MemoryChannel::with_clock(MemoryOptions::default(), clock.clone()).unwrap();
        let channel = CountedChannel::new(Arc::new(inner), Arc::default(), clock.clone());
        let oldest = || channel.reading().expect("open").oldest.as_secs();
        contract::put(&channel, &["held"]);
        let mut hangs = channel.begin_take();
        assert_eq!(hangs.take(1).unwrap().len(), 1);
        for second in 1..=30 {
            clock.advance(Duration::from_secs(1));
            contract::put(&channel, &["flows"]);
            assert_eq!(contract::drain(&channel, 1), ["flows"]);
            assert_eq!(oldest(), second);
        }
        hangs.rollback();
        assert_eq!(oldest(), 30);
        assert_eq!(contract::drain(&channel, 1), ["held"]);
        assert_eq!(oldest(), 0);
    }

    #[test]
    fn an_event_lent_to_a_sink_is_the_oldest_of_its_stripe() {
        let disk = SimDisk::new(SimOptions::new(1));
        let mut options =
            FileChannelOptions::new("/c/checkpoint", ["/c/data"]).with_disk(Arc::new(disk));
        options.segment_bytes = 256 * 1024;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(10);
        let inner = Arc::new(FileChannel::open(options).unwrap());
        let channel = CountedChannel::new(inner, Arc::default(), Arc::new(SystemClock::new()));
        contract::put(&channel, &["held"]);
        let mut hangs = channel.begin_take();
        assert_eq!(hangs.take(1).unwrap().len(), 1);
        std::thread::sleep(AGE);
        let large = "flows".repeat(10_000);
        for _ in 0..3 {
            contract::put(&channel, &[&large]);
            assert_eq!(contract::drain(&channel, 1).len(), 1);
        }
        let reading = channel.reading().expect("open");
        assert!(reading.oldest >= AGE, "{reading:?}");
        assert!(reading.stripes[0].oldest == reading.oldest, "{reading:?}");
        assert!(reading.stripes[0].lag_bytes > 3 * 50_000, "{reading:?}");
        assert_eq!(reading.waiting_bytes, reading.stripes[0].lag_bytes);
        hangs.commit().unwrap();
        let reading = channel.reading().expect("open");
        let stripe = &reading.stripes[0];
        assert_eq!((stripe.oldest, stripe.lag_bytes), (Duration::ZERO, 0));
        assert_eq!(reading.waiting_bytes, 0, "although its segment has not been used again");
        assert!(stripe.segment_bytes > 0, "{reading:?}");
    }

    #[tokio::test]
    async fn a_listener_is_shown_committed_events_only() {
        let options = MemoryOptions { keep_alive: Duration::ZERO, ..MemoryOptions::default() };
        let inner = Arc::new(MemoryChannel::new(options).unwrap());
        let clock = Arc::new(ManualClock::default());
        let tap = Arc::new(Tap::default());
        let channel =
            CountedChannel::new(inner, Arc::default(), clock.clone()).tapped(Arc::clone(&tap));
        let rates = TapRates { events_per_second: 100, bytes_per_second: 1000, body_bytes: 9 };
        let mut listening = tap.listen(rates, clock).unwrap();
        for (body, commits) in [("back", false), ("kept", true)] {
            let mut put = channel.begin_put();
            put.put(Event::new(body)).unwrap();
            if commits { put.commit().unwrap() } else { put.rollback() }
        }
        for commits in [false, true] {
            let mut take = channel.begin_take();
            assert_eq!(take.take(5).unwrap().len(), 1);
            if commits { take.commit_async().await.unwrap() } else { take.rollback() }
        }
        for way in [TapDirection::Put, TapDirection::Taken] {
            let shown = listening.next().await.unwrap();
            assert_eq!((shown.way, &shown.body[..]), (way, &b"kept"[..]));
        }
        let TapCounts { passed, shown, dropped } = listening.counts();
        assert_eq!((passed, shown, dropped), (2, 2, 0));
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
        let channel = CountedChannel::new(inner, Arc::clone(&counters), clock.clone());
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
        assert_eq!(counters.unhealthy.get(), 0, "a closed channel is not unhealthy");
    }

    #[test]
    fn events_lost_at_a_close_are_counted_as_dropped_once() {
        let counters = Arc::new(ChannelCounters::default());
        let memory = |capacity: u64| MemoryOptions {
            capacity,
            transaction_capacity: 4,
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        let options = SpillableOptions {
            memory_capacity: 6,
            transaction_capacity: 4,
            overflow_timeout: Duration::ZERO,
            keep_alive: Duration::ZERO,
            ..SpillableOptions::default()
        };
        let below: Arc<dyn Channel> = Arc::new(MemoryChannel::new(memory(4)).unwrap());
        let inner = Arc::new(SpillableChannel::new(options, Some(below)).unwrap());
        let clock = Arc::new(ManualClock::default());
        let channel = CountedChannel::new(inner.clone(), Arc::clone(&counters), clock);
        contract::put(&channel, &["1", "2", "3"]);
        contract::put(&channel, &["4", "5"]);
        channel.close().unwrap();
        channel.close().unwrap();
        let lost = inner.lost_at_close();
        assert!(lost > 0 && counters.drops.get(DropReason::Memory) == lost, "{lost}");
    }
}
