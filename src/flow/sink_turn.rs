//! One turn of a sink: take a batch, let the sink deliver it, commit the take.

use super::earlier::{Became, Delivered, Earlier};
use super::refused::Fate;
use super::sink::{Failure, Sink, SinkContext};
use super::sink_runner::SinkRunner;
use super::tap::Way;
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;
use crate::channel::TakeTransaction;
use crate::codes;
use crate::event::Event;
use crate::metrics::{Phase, SinkCounters};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A take that found nothing sooner than this did not wait: the channel has no keep-alive, and
/// the runner must pause itself.
const IDLE_MIN: Duration = Duration::from_millis(50);
/// Least time between two ticks, whatever the sink says.
const TICK_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Pause after a tick that failed.
const TICK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of events at which no further batch is added to those that are delivered together.
const TOGETHER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of events in a sink's hands, shown until they are not.
struct Held<'a> {
    counters: &'a SinkCounters,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.counters.held_bytes.sub(self.bytes);
    }
}

/// How one turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Delivered,
    /// Nothing to deliver; the channel waited for it.
    Idle,
    /// Nothing to deliver, said at once.
    IdleAtOnce,
    Failed,
}

impl SinkRunner {
    /// One take transaction; a further one behind a batch that was refused. While stopping it waits for
    /// no event. The acknowledgement of the batch becomes `earlier`, whose own was over before anything
    /// was delivered.
    pub(super) async fn turn(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        tick_from: Duration,
        stopping: bool,
        earlier: &mut Earlier,
    ) -> Turn {
        loop {
            let done = self.transaction(sink, context, tick_from, stopping, earlier).await;
            if let Some(turn) = done {
                return turn;
            }
        }
    }

    /// The same; `None` behind a batch that was refused, whose events are tried one by one at once.
    async fn transaction(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        tick_from: Duration,
        stopping: bool,
        earlier: &mut Earlier,
    ) -> Option<Turn> {
        // Else its events would look as if they waited.
        if stopping && !earlier.settled().await {
            return Some(Turn::Failed);
        }
        let capacity = self.channel.limits().transaction_capacity;
        let suspects = self.refused.suspects();
        let wanted = if suspects { 1 } else { sink.batch_events().clamp(1, capacity) };
        if stopping && self.channel.status().events == 0 {
            return Some(Turn::Idle);
        }
        let mut take = self.channel.begin_take();
        let asked = self.clock.now();
        let taken = tokio::select! {
            biased;
            taken = take.take_async(wanted) => taken,
            // Dropped while it waits, a take lends nothing.
            () = self.stop.wait(), if !stopping => return Some(Turn::Idle),
            () = tokio::time::sleep(self.until_tick(sink, tick_from)) => return Some(Turn::Idle),
        };
        let mut batch = match taken {
            Ok(batch) => batch,
            Err(error) => {
                self.counters.channel_read_fail.add(1);
                let words = format!("cannot take from the channel: {error}");
                tracing::warn!(code = %codes::SINK_FAILING, sink = self.name, "{words}");
                self.note(&codes::SINK_FAILING, &words);
                return Some(Turn::Failed);
            }
        };
        if batch.is_empty() {
            self.counters.batch_empty.add(1);
            let waited = self.clock.now().saturating_sub(asked);
            return Some(if waited < IDLE_MIN { Turn::IdleAtOnce } else { Turn::Idle });
        }
        if !stopping {
            let patience = sink.gather().min(self.until_tick(sink, tick_from));
            self.gather(take.as_mut(), &mut batch, wanted, patience).await;
        }
        let together = if suspects { 1 } else { sink.batches_together() };
        let most = wanted.saturating_mul(together);
        self.take_what_waits(take.as_mut(), &mut batch, wanted, most.min(capacity)).await;
        self.counters.batch_complete.add((batch.len() / wanted) as u64);
        self.counters.batch_underflow.add(u64::from(!batch.len().is_multiple_of(wanted)));
        self.pass_on(sink, context, take, &batch, stopping && self.drains(), earlier).await
    }

    /// Delivers a batch, or puts it where what is refused goes, and begins to acknowledge it. `None`: it
    /// was refused, and its events are to be tried one by one.
    async fn pass_on(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        take: Box<dyn TakeTransaction>,
        batch: &[Event],
        drains: bool,
        earlier: &mut Earlier,
    ) -> Option<Turn> {
        let bytes = batch.iter().map(Event::size_bytes).sum::<usize>() as u64;
        self.counters.held_bytes.add(bytes);
        let _held = Held { counters: &self.counters, bytes };
        let began = self.clock.now();
        let became = match self.deliver(sink, context, batch, earlier).await {
            Ok(()) => {
                self.refused.delivered(batch.len());
                let counts = sink.counts();
                match sink.dropped() {
                    None => {
                        self.tap.show(Way::Delivered, batch);
                        Became::Delivered { counts }
                    }
                    Some(reason) => Became::Dropped { reason, counts },
                }
            }
            Err(error) if self.is_elsewhere(batch, &error, drains).await => Became::DeadLetters,
            Err(error) => {
                take.rollback();
                self.counters.rollback.add(1);
                let parted = error.is_refusal() && batch.len() > 1;
                return (!parted).then_some(Turn::Failed);
            }
        };
        let delivered = Delivered {
            sink: self.name.clone(),
            counters: Arc::clone(&self.counters),
            events: batch.len(),
            became,
            took: self.clock.now().saturating_sub(began),
            clock: Arc::clone(&self.clock),
        };
        match earlier.begin(take.commit_async(), delivered).await {
            Some(false) => Some(Turn::Failed),
            Some(true) | None => Some(Turn::Delivered),
        }
    }

    /// Waits until there is an event, as long as the channel's keep-alive, the stop and `until` let
    /// it; answers how a turn without one ends.
    pub(super) async fn wait_for_event(&self, until: Duration) -> Result<(), Turn> {
        let mut take = self.channel.begin_take();
        let asked = self.clock.now();
        let taken = tokio::select! {
            biased;
            taken = take.take_async(1) => taken,
            () = self.stop.wait() => return Err(Turn::Idle),
            () = tokio::time::sleep(until) => return Err(Turn::Idle),
        };
        match taken {
            Ok(events) if events.is_empty() => {
                let waited = self.clock.now().saturating_sub(asked);
                Err(if waited < IDLE_MIN { Turn::IdleAtOnce } else { Turn::Idle })
            }
            // Handed back at once, and so is what is wrong with the channel: a turn will meet it.
            Ok(_) | Err(_) => {
                take.rollback();
                Ok(())
            }
        }
    }

    /// Fills up a batch, for as long as `patience` lasts and the channel does not say that there is
    /// nothing more.
    async fn gather(
        &self,
        take: &mut dyn TakeTransaction,
        batch: &mut Vec<Event>,
        wanted: usize,
        patience: Duration,
    ) {
        if patience.is_zero() {
            return;
        }
        let end = tokio::time::sleep(patience);
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
                // What is wrong with the channel shows at the commit.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Adds the batches behind the first that are there already, up to `most` events or
    /// [`TOGETHER_BYTES_MAX`].
    async fn take_what_waits(
        &self,
        take: &mut dyn TakeTransaction,
        batch: &mut Vec<Event>,
        wanted: usize,
        most: usize,
    ) {
        let mut bytes: usize = batch.iter().map(Event::size_bytes).sum();
        while batch.len() < most && bytes < TOGETHER_BYTES_MAX {
            let mut next = take.take_async(wanted.min(most - batch.len()));
            // Dropped while it waits, a take lends nothing.
            let now = poll_fn(|context| match next.as_mut().poll(context) {
                Poll::Ready(taken) => Poll::Ready(Some(taken)),
                Poll::Pending => Poll::Ready(None),
            });
            match now.await {
                Some(Ok(more)) if !more.is_empty() => {
                    bytes += more.iter().map(Event::size_bytes).sum::<usize>();
                    batch.extend(more);
                }
                // What is wrong with the channel shows at the commit, or in the next turn.
                Some(Ok(_) | Err(_)) | None => return,
            }
        }
    }

    /// Whether a batch that was not delivered need not stay, since it was refused and is safe elsewhere.
    /// `last`: there is no further try.
    async fn is_elsewhere(&self, batch: &[Event], error: &Failure, last: bool) -> bool {
        let (name, counters) = (&self.name, &self.counters);
        if !error.is_refusal() {
            return false;
        }
        match self.refused.settle(name, batch, error, last, counters).await {
            Fate::Elsewhere => {
                self.works();
                true
            }
            Fate::Stays => false,
            Fate::HeldUp(why) => {
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
        earlier: &mut Earlier,
    ) -> Result<(), Failure> {
        self.counters.event_drain_attempt.add(batch.len() as u64);
        self.enter(Phase::Delivering);
        let work = async {
            if earlier.is_under_way() {
                Ok(sink.deliver_behind(context, batch, Box::pin(earlier.settled())).await)
            } else if earlier.settled().await {
                Ok(sink.deliver(context, batch).await)
            } else {
                // It has said so, and rests; what it delivered comes again first.
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
                self.enter(Phase::Resting);
                return Err(not_tried);
            }
        };
        match &delivered {
            Ok(()) => {
                self.enter(Phase::Waiting);
                self.works();
            }
            Err(error) => {
                self.enter(Phase::Resting);
                self.counters.event_write_fail.add(1);
                // That a destination refuses an event is no failure of the sink where there is a place
                // for it: each has its own word.
                if !(error.is_refusal() && self.refused.says(batch.len())) {
                    self.failed(&format!("does not deliver, events stay in the channel: {error}"));
                }
            }
        }
        delivered
    }

    /// Returns when the sink is to stop and a delivery in hand has had the time that a stop leaves it.
    pub(super) async fn out_of_time(&self) {
        self.stop.wait().await;
        let most = Duration::from_secs(DELIVERY_STOP_SECONDS_MAX);
        let left = self.drain_at_stop.time(self.clock.now());
        tokio::time::sleep(left.unwrap_or(most)).await;
    }

    /// Logs that a stop ends a delivery. What is in the channel comes again, also where the destination has it.
    fn given_back(&self, events: usize) -> Failure {
        tracing::warn!(
            sink = self.name,
            events,
            "stopped within a delivery that the destination does not answer: the events go back to the channel, and may arrive twice"
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

    /// How long until the next tick; a year when there is none.
    pub(super) fn until_tick(&self, sink: &dyn Sink, from: Duration) -> Duration {
        const NEVER: Duration = Duration::from_secs(366 * 86_400);
        sink.next_tick().map_or(NEVER, |at| at.max(from).saturating_sub(self.clock.now()))
    }
}
