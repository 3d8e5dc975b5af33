//! A channel wrapper that counts transactions, for channels of every type.

use crate::metrics::{ChannelCounters, ChannelReading, DropReason};
use crate::tap::{Tap, TapDirection, TapSample};
use bytes::Bytes;
use millpond::{
    BoxFuture, Channel, Clock, CloseError, CommitError, CommitFailure, CommittedOffset, Event,
    EventRange, Limits, PutAllError, PutError, PutTransaction, SourceOffsetError, Status,
    TakeError, TakeTransaction,
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

    fn identity(&self) -> Option<u128> {
        self.channel.identity()
    }

    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        self.channel.unacknowledged(ranges)
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

    fn ranges(&self) -> Option<Vec<EventRange>> {
        self.inner.as_ref().and_then(|inner| inner.ranges())
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
mod tests;
