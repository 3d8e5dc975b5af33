//! One turn of a sink: take a batch, let the sink deliver it, commit the take.

use super::dead_letter::RefusedOutcome;
use super::pipelined_ack::{BatchOutcome, DeliveredBatch, PipelinedAck};
use super::sink::{BatchPlace, Failure, Sink, SinkContext};
use super::sink_runner::SinkRunner;
use super::tap::TapDirection;
use super::turn_outcome::TurnOutcome;
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;
use crate::codes;
use crate::metrics::{SinkCounters, SinkPhase};
use millpond::{Event, TakeTransaction};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A take that returned nothing sooner than this did not wait: the channel has no keep-alive, and the runner
/// itself must pause.
const IDLE_MIN: Duration = Duration::from_millis(50);
/// Least time between two ticks, whatever the sink requests.
const TICK_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Pause after the dead-letter queue did not take an event whose neighbours are delivered.
const DEAD_LETTER_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a tick that failed.
const TICK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of events from which on no further batch is added to a joint delivery.
const TOGETHER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of events that a sink holds; subtracted from the gauge when dropped.
struct HeldBytes<'a> {
    counters: &'a SinkCounters,
    bytes: u64,
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.counters.held_bytes.sub(self.bytes);
    }
}

impl SinkRunner {
    /// Runs one take transaction, and a further one after a refused batch. While stopping it does not wait for an
    /// event. The acknowledgement of the batch is stored in `pipelined_ack`, whose previous one ends before anything is
    /// delivered.
    pub(super) async fn turn(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        tick_from: Duration,
        stopping: bool,
        pipelined_ack: &mut PipelinedAck,
    ) -> TurnOutcome {
        loop {
            let done = self.transaction(sink, context, tick_from, stopping, pipelined_ack).await;
            if let Some(turn) = done {
                return turn;
            }
        }
    }

    /// Runs one take transaction; `None` after a refused batch, whose events are tried one by one at once.
    async fn transaction(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        tick_from: Duration,
        stopping: bool,
        pipelined_ack: &mut PipelinedAck,
    ) -> Option<TurnOutcome> {
        // Otherwise its events would look as if they waited.
        if stopping && !pipelined_ack.finish().await {
            return Some(TurnOutcome::Failed);
        }
        let capacity = self.channel.limits().transaction_capacity;
        let suspects = self.refused.suspects();
        let wanted = if suspects { 1 } else { sink.batch_events().clamp(1, capacity) };
        if stopping && self.channel.status().events == 0 {
            return Some(TurnOutcome::Idle);
        }
        let mut take = self.channel.begin_take();
        let asked = self.clock.now();
        let taken = tokio::select! {
            biased;
            taken = take.take_async(wanted) => taken,
            // A take that is dropped while it waits lends nothing.
            () = self.stop.wait(), if !stopping => return Some(TurnOutcome::Idle),
            () = tokio::time::sleep(self.until_tick(sink, tick_from)) => return Some(TurnOutcome::Idle),
        };
        let mut batch = match taken {
            Ok(batch) => batch,
            Err(error) => {
                self.counters.channel_read_fail.add(1);
                let words = format!("cannot take from the channel: {error}");
                tracing::warn!(code = %codes::SINK_FAILING, sink = self.name, "{words}");
                self.note(&codes::SINK_FAILING, &words);
                return Some(TurnOutcome::Failed);
            }
        };
        if batch.is_empty() {
            self.counters.batch_empty.add(1);
            let waited = self.clock.now().saturating_sub(asked);
            return Some(if waited < IDLE_MIN {
                TurnOutcome::IdleAtOnce
            } else {
                TurnOutcome::Idle
            });
        }
        if !stopping {
            let time_limit = sink.linger().min(self.until_tick(sink, tick_from));
            self.fill_batch(take.as_mut(), &mut batch, wanted, time_limit).await;
        }
        let together = if suspects { 1 } else { sink.batches_together() };
        let most = wanted.saturating_mul(together);
        self.add_waiting_batches(take.as_mut(), &mut batch, wanted, most.min(capacity)).await;
        self.counters.batch_complete.add((batch.len() / wanted) as u64);
        self.counters.batch_underflow.add(u64::from(!batch.len().is_multiple_of(wanted)));
        self.pass_on(sink, context, take, &batch, stopping && self.drains(), pipelined_ack).await
    }

    /// Delivers a batch, or stores it in the dead-letter queue, and begins to acknowledge it. `None` if it was
    /// refused and its events are to be tried one by one.
    async fn pass_on(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        take: Box<dyn TakeTransaction>,
        batch: &[Event],
        drains: bool,
        pipelined_ack: &mut PipelinedAck,
    ) -> Option<TurnOutcome> {
        let bytes = batch.iter().map(Event::size_bytes).sum::<usize>() as u64;
        self.counters.held_bytes.add(bytes);
        let _held = HeldBytes { counters: &self.counters, bytes };
        let began = self.clock.now();
        if sink.wants_place() {
            sink.place(BatchPlace { channel: Arc::clone(&self.channel), ranges: take.ranges() });
        }
        let mut delivered_events = batch.len();
        let became = match self.deliver(sink, context, batch, pipelined_ack).await {
            Ok(()) => {
                self.refused.delivered(batch.len());
                let counts = sink.counts();
                match sink.dropped() {
                    None => {
                        self.tap.show(TapDirection::Delivered, batch);
                        BatchOutcome::Delivered { counts }
                    }
                    Some(reason) => BatchOutcome::Dropped { reason, counts },
                }
            }
            Err(error) if self.rest_is_delivered(batch, &error).await => {
                delivered_events -= error.refused_events().len();
                BatchOutcome::Delivered { counts: sink.counts() }
            }
            Err(error) if self.is_elsewhere(batch, &error, drains).await => {
                BatchOutcome::DeadLetters
            }
            Err(error) => {
                take.rollback();
                self.counters.rollback.add(1);
                let parted = error.is_refusal() && batch.len() > 1;
                return (!parted).then_some(TurnOutcome::Failed);
            }
        };
        let delivered = DeliveredBatch {
            sink: self.name.clone(),
            counters: Arc::clone(&self.counters),
            events: delivered_events,
            became,
            took: self.clock.now().saturating_sub(began),
            clock: Arc::clone(&self.clock),
        };
        match pipelined_ack.begin(take.commit_async(), delivered).await {
            Some(false) => Some(TurnOutcome::Failed),
            Some(true) | None => Some(TurnOutcome::Delivered),
        }
    }

    /// Waits for an event, limited by the channel's keep-alive, the stop and `until`; returns the outcome of a
    /// turn without one.
    pub(super) async fn wait_for_event(&self, until: Duration) -> Result<(), TurnOutcome> {
        let mut take = self.channel.begin_take();
        let asked = self.clock.now();
        let taken = tokio::select! {
            biased;
            taken = take.take_async(1) => taken,
            () = self.stop.wait() => return Err(TurnOutcome::Idle),
            () = tokio::time::sleep(until) => return Err(TurnOutcome::Idle),
        };
        match taken {
            Ok(events) if events.is_empty() => {
                let waited = self.clock.now().saturating_sub(asked);
                Err(if waited < IDLE_MIN { TurnOutcome::IdleAtOnce } else { TurnOutcome::Idle })
            }
            // The event is returned at once; an error of the channel will come again in a turn.
            Ok(_) | Err(_) => {
                take.rollback();
                Ok(())
            }
        }
    }

    /// Fills a batch until `time_limit` has passed or the channel reports that there is nothing more.
    async fn fill_batch(
        &self,
        take: &mut dyn TakeTransaction,
        batch: &mut Vec<Event>,
        wanted: usize,
        time_limit: Duration,
    ) {
        if time_limit.is_zero() {
            return;
        }
        let end = tokio::time::sleep(time_limit);
        tokio::pin!(end);
        while batch.len() < wanted {
            let more = tokio::select! {
                biased;
                more = take.take_async(wanted - batch.len()) => more,
                () = self.stop.wait() => return,
                () = &mut end => return,
            };
            match more {
                Ok(more) if !more.is_empty() => batch.extend(more),
                // The commit reports an error of the channel.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Adds further batches that already wait, up to `most` events or [`TOGETHER_BYTES_MAX`].
    async fn add_waiting_batches(
        &self,
        take: &mut dyn TakeTransaction,
        batch: &mut Vec<Event>,
        wanted: usize,
        most: usize,
    ) {
        let mut bytes: usize = batch.iter().map(Event::size_bytes).sum();
        while batch.len() < most && bytes < TOGETHER_BYTES_MAX {
            let mut next = take.take_async(wanted.min(most - batch.len()));
            // A take that is dropped while it waits lends nothing.
            let now = poll_fn(|context| match next.as_mut().poll(context) {
                Poll::Ready(taken) => Poll::Ready(Some(taken)),
                Poll::Pending => Poll::Ready(None),
            });
            match now.await {
                Some(Ok(more)) if !more.is_empty() => {
                    bytes += more.iter().map(Event::size_bytes).sum::<usize>();
                    batch.extend(more);
                }
                // The commit or the next turn reports an error of the channel.
                Some(Ok(_) | Err(_)) | None => return,
            }
        }
    }

    /// Returns true if the batch may leave the channel because some of its events are in the dead-letter queue and all
    /// others are delivered. While the queue does not take them it tries again, so that the others are not repeated.
    async fn rest_is_delivered(&self, batch: &[Event], error: &Failure) -> bool {
        if error.refused_events().is_empty() {
            return false;
        }
        for refused in error.refused_events() {
            let Some(event) = batch.get(refused.index) else { return false };
            let (why, counters) = (&refused.why, &self.counters);
            while let Err(why) = self.refused.put_aside(&self.name, event, why, 1, counters).await {
                self.enter(SinkPhase::Resting);
                self.failed(&why);
                tokio::select! {
                    () = self.stop.wait() => return false,
                    () = tokio::time::sleep(DEAD_LETTER_AGAIN) => {}
                }
            }
        }
        self.works();
        true
    }

    /// Returns true if an undelivered batch may leave the channel, since it was refused and stored in the
    /// dead-letter queue. `last`: there is no further try.
    async fn is_elsewhere(&self, batch: &[Event], error: &Failure, last: bool) -> bool {
        let (name, counters) = (&self.name, &self.counters);
        if !error.is_refusal() {
            return false;
        }
        match self.refused.handle(name, batch, error, last, counters).await {
            RefusedOutcome::Elsewhere => {
                self.works();
                true
            }
            RefusedOutcome::Stays => false,
            RefusedOutcome::HeldUp(why) => {
                self.failed(&why);
                false
            }
        }
    }

    async fn deliver(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        batch: &[Event],
        pipelined_ack: &mut PipelinedAck,
    ) -> Result<(), Failure> {
        self.counters.event_drain_attempt.add(batch.len() as u64);
        self.enter(SinkPhase::Delivering);
        let work = async {
            if pipelined_ack.is_under_way() {
                Ok(sink.deliver_pipelined(context, batch, Box::pin(pipelined_ack.finish())).await)
            } else if pipelined_ack.finish().await {
                Ok(sink.deliver(context, batch).await)
            } else {
                // It logged the failure, and pauses; its delivered batch is repeated first.
                Err(Failure::new("the batch before it was not acknowledged"))
            }
        };
        let delivered = tokio::select! {
            biased;
            delivered = work => delivered,
            () = self.out_of_time() => Err(self.given_back(batch.len())),
        };
        let delivered = match delivered {
            Ok(delivered) => delivered,
            Err(not_tried) => {
                self.enter(SinkPhase::Resting);
                return Err(not_tried);
            }
        };
        match &delivered {
            Ok(()) => {
                self.enter(SinkPhase::Waiting);
                self.works();
            }
            Err(error) => {
                self.enter(SinkPhase::Resting);
                self.counters.event_write_fail.add(1);
                // With a dead-letter queue, a refusal is not a failure of the sink; it is logged by itself.
                let is_logged = error.is_refusal() && self.refused.says(batch.len());
                if !is_logged && error.refused_events().is_empty() {
                    self.failed(&format!("does not deliver, events stay in the channel: {error}"));
                }
            }
        }
        delivered
    }

    /// Returns when the stop signal has fired and the current delivery has had its time after it.
    pub(super) async fn out_of_time(&self) {
        self.stop.wait().await;
        let most = Duration::from_secs(DELIVERY_STOP_SECONDS_MAX);
        let left = self.drain_at_stop.time(self.clock.now());
        tokio::time::sleep(left.unwrap_or(most)).await;
    }

    /// Logs that a stop ends a delivery. Its events stay in the channel and are repeated, even if the destination
    /// has them.
    fn given_back(&self, events: usize) -> Failure {
        tracing::warn!(
            sink = self.name,
            events,
            "stopped during a delivery that the destination does not confirm: the events go back to the channel, and may arrive twice"
        );
        Failure::new("the sink is to stop")
    }

    pub(super) async fn tick_if_due(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        from: &mut Duration,
    ) {
        let now = self.clock.now();
        if now < *from || sink.next_tick().is_none_or(|at| now < at) {
            return;
        }
        let pause = match sink.tick(context).await {
            Ok(()) => TICK_PAUSE_MIN,
            Err(error) => {
                tracing::warn!(sink = self.name, "time-driven work failed: {error}");
                TICK_AGAIN
            }
        };
        *from = self.clock.now() + pause;
    }

    /// Returns the time until the next tick; a year if there is none.
    pub(super) fn until_tick(&self, sink: &dyn Sink, from: Duration) -> Duration {
        const NEVER: Duration = Duration::from_secs(366 * 86_400);
        sink.next_tick().map_or(NEVER, |at| at.max(from).saturating_sub(self.clock.now()))
    }
}
