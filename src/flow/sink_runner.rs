//! Runs one sink: takes a batch, lets the sink deliver it, commits the take.
//!
//! Events leave the channel only when `deliver` answered Ok and the take was committed, so a
//! crash, a panic, an abort or a failed commit between the two delivers a batch again and never
//! loses one. A sink that fails rests for 1 s, 2 s, … 5 s; one that cannot be opened is opened
//! again every 3 s; one that panics is thrown away and built anew.

use super::backoff::Backoff;
use super::contain::contain;
use super::context::StopSignal;
use super::sink::{Sink, SinkContext};
use crate::base::clock::Clock;
use crate::channel::{Channel, CommitError, TakeTransaction};
use crate::config::settings::SettingError;
use crate::event::Event;
use crate::metrics::SinkCounters;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause between attempts to open a sink, as Flume's supervisor does.
pub(crate) const START_AGAIN: Duration = Duration::from_secs(3);
/// A take that found nothing sooner than this did not wait: the channel has no keep-alive, and
/// the runner must pause itself.
const IDLE_MIN: Duration = Duration::from_millis(50);
/// Least time between two ticks, whatever the sink says.
const TICK_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Pause after a tick that failed.
const TICK_AGAIN: Duration = Duration::from_secs(1);

/// Builds the sink, again after a panic.
pub type SinkMaker = Box<dyn Fn() -> Result<Box<dyn Sink>, SettingError> + Send + Sync>;

/// Everything one sink runs with.
pub struct SinkRunner {
    /// The sink's name.
    pub name: String,
    /// Builds the sink.
    pub make: SinkMaker,
    /// The channel it drains.
    pub channel: Arc<dyn Channel>,
    /// What it counts in.
    pub counters: Arc<SinkCounters>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Sent `true` when its first start has ended, well or not.
    pub tried: watch::Sender<bool>,
    /// Sent `true` when the sink is open.
    pub started: watch::Sender<bool>,
    /// Whether to empty the channel before stopping: what a channel in memory still holds is lost
    /// otherwise.
    pub drain_at_stop: bool,
}

/// How one turn went.
enum Turn {
    Delivered,
    /// Nothing to deliver; the channel waited for it.
    Idle,
    /// Nothing to deliver, said at once.
    IdleAtOnce,
    Failed,
}

impl SinkRunner {
    /// Runs until the stop signal has fired and the batch in hand is delivered or handed back.
    pub async fn run(self) {
        self.lives().await;
        self.counters.stopped(self.clock.wall_ms());
    }

    async fn lives(&self) {
        let context = SinkContext {
            name: self.name.clone(),
            stop: self.stop.clone(),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
        };
        let mut backoff = Backoff::of_a_runner();
        loop {
            let ended = match (self.make)() {
                Ok(mut sink) => contain(self.life(&mut *sink, &context)).await,
                Err(error) => {
                    tracing::error!(sink = self.name, "cannot be built: {error}");
                    Ok(())
                }
            };
            let Err(panic) = ended else { return };
            tracing::error!(sink = self.name, "panicked and is started again: {panic}");
            self.counters.restarts.add(1);
            if self.stop.fired() {
                return;
            }
            self.rest(backoff.fail()).await;
        }
    }

    /// From opening to letting go.
    async fn life(&self, sink: &mut dyn Sink, context: &SinkContext) {
        if !self.open(sink, context).await {
            return;
        }
        self.counters.connection_created.add(1);
        self.counters.started(self.clock.wall_ms());
        self.started.send_replace(true);
        self.pump(sink, context).await;
        if let Err(error) = sink.stop(context).await {
            tracing::warn!(sink = self.name, "did not close cleanly: {error}");
        }
        self.counters.connection_closed.add(1);
    }

    /// Opens the sink, however often it takes. False when it is to stop first.
    async fn open(&self, sink: &mut dyn Sink, context: &SinkContext) -> bool {
        loop {
            let opened = tokio::select! {
                biased;
                () = self.stop.wait() => return false,
                opened = sink.start(context) => opened,
            };
            self.tried.send_replace(true);
            let Err(error) = opened else { return true };
            self.counters.connection_failed.add(1);
            tracing::warn!(
                sink = self.name,
                "cannot start, trying again in {} s: {error}",
                START_AGAIN.as_secs()
            );
            self.rest(START_AGAIN).await;
        }
    }

    async fn pump(&self, sink: &mut dyn Sink, context: &SinkContext) {
        let mut backoff = Backoff::of_a_runner();
        let mut tick_from = Duration::ZERO;
        loop {
            let stopping = self.stop.fired();
            if stopping && !self.drain_at_stop {
                return;
            }
            self.tick_if_due(sink, context, &mut tick_from).await;
            match self.turn(sink, context, tick_from, stopping).await {
                Turn::Delivered => backoff.reset(),
                Turn::Idle | Turn::IdleAtOnce | Turn::Failed if stopping => return,
                Turn::Idle => backoff.reset(),
                Turn::IdleAtOnce => {
                    let pause = self.until_tick(sink, tick_from).min(backoff.fail());
                    self.rest(pause).await;
                }
                Turn::Failed => self.rest(backoff.fail()).await,
            }
        }
    }

    /// One take transaction. While stopping it waits for no event.
    async fn turn(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        tick_from: Duration,
        stopping: bool,
    ) -> Turn {
        let wanted = sink.batch_events().clamp(1, self.channel.limits().transaction_capacity);
        if stopping && self.channel.status().events == 0 {
            return Turn::Idle;
        }
        let mut take = self.channel.begin_take();
        let asked = self.clock.now();
        let taken = tokio::select! {
            biased;
            taken = take.take_async(wanted) => taken,
            // Dropped while it waits, a take lends nothing.
            () = self.stop.wait(), if !stopping => return Turn::Idle,
            () = tokio::time::sleep(self.until_tick(sink, tick_from)) => return Turn::Idle,
        };
        let mut batch = match taken {
            Ok(batch) => batch,
            Err(error) => {
                self.counters.channel_read_fail.add(1);
                tracing::warn!(sink = self.name, "cannot take from the channel: {error}");
                return Turn::Failed;
            }
        };
        if batch.is_empty() {
            self.counters.batch_empty.add(1);
            let waited = self.clock.now().saturating_sub(asked);
            return if waited < IDLE_MIN { Turn::IdleAtOnce } else { Turn::Idle };
        }
        if !stopping {
            let patience = sink.gather().min(self.until_tick(sink, tick_from));
            self.gather(take.as_mut(), &mut batch, wanted, patience).await;
        }
        let complete = batch.len() >= wanted;
        let counter =
            if complete { &self.counters.batch_complete } else { &self.counters.batch_underflow };
        counter.add(1);
        if !self.deliver(sink, context, &batch).await {
            take.rollback();
            self.counters.rollback.add(1);
            return Turn::Failed;
        }
        self.acknowledged(take.commit_async().await, batch.len())
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

    async fn deliver(&self, sink: &mut dyn Sink, context: &SinkContext, batch: &[Event]) -> bool {
        self.counters.event_drain_attempt.add(batch.len() as u64);
        let delivered = sink.deliver(context, batch).await;
        if let Err(error) = &delivered {
            self.counters.event_write_fail.add(1);
            tracing::warn!(
                sink = self.name,
                "did not deliver {} events, they stay in the channel: {error}",
                batch.len()
            );
        }
        delivered.is_ok()
    }

    /// What the commit of a delivered batch came to.
    fn acknowledged(&self, committed: Result<(), CommitError>, events: usize) -> Turn {
        match committed {
            Ok(()) => {
                self.counters.event_drain_success.add(events as u64);
                Turn::Delivered
            }
            Err(error) => {
                self.counters.channel_read_fail.add(1);
                tracing::warn!(
                    sink = self.name,
                    "{events} events were delivered and their acknowledgement did not end well, they may come again: {error}"
                );
                Turn::Failed
            }
        }
    }

    async fn tick_if_due(&self, sink: &mut dyn Sink, context: &SinkContext, from: &mut Duration) {
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
    fn until_tick(&self, sink: &dyn Sink, from: Duration) -> Duration {
        const NEVER: Duration = Duration::from_secs(366 * 86_400);
        sink.next_tick().map_or(NEVER, |at| at.max(from).saturating_sub(self.clock.now()))
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
