//! Runs one sink: takes a batch, lets the sink deliver it, commits the take.
//!
//! While the take of a batch is being committed the next batch is taken, but nothing of it counts as delivered
//! before that commit has ended ([`Sink::deliver_pipelined`]).
//!
//! Events leave the channel only when `deliver` returned Ok and the take was committed, so a crash, a panic, an
//! abort or a failed commit between the two repeats a batch and never loses one. A sink that fails pauses for 1
//! s, 2 s, … 5 s; one that cannot be opened is opened again every 3 s; one that panics is dropped and rebuilt. A
//! stop that drains the channel retries undelivered batches twice a second until its deadline ([`DrainAtStop`]).
//! A delivery that has not ended some seconds after the stop ([`DELIVERY_STOP_SECONDS_MAX`]), or by that
//! deadline, is dropped and its batch rolled back.

use super::backoff::Backoff;
use super::context::StopSignal;
use super::dead_letter::RefusedEvents;
use super::failure_log::FailureLog;
use super::panic_guard::catch_panics;
use super::pipelined_ack::PipelinedAck;
use super::sink::{Sink, SinkContext};
use super::stop_drain::DrainAtStop;
use super::tap::Tap;
use super::turn_outcome::TurnOutcome;
use crate::codes::{self, Code};
use crate::metrics::{SinkCounters, SinkPhase};
use crate::settings::SettingError;
use millpond::{Channel, Clock};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(doc)]
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;

/// Pause between attempts to open a sink, as Flume's supervisor does.
pub(crate) const START_AGAIN: Duration = Duration::from_secs(3);

/// Pause before a stop retries an undelivered batch.
const STOP_PAUSE: Duration = Duration::from_millis(500);

/// Builds the sink, again after a panic.
pub type SinkMaker = Box<dyn Fn() -> Result<Box<dyn Sink>, SettingError> + Send + Sync>;

/// Parameters of a sink.
pub struct SinkRunner {
    /// The agent's name.
    pub agent: String,
    /// The sink's name.
    pub name: String,
    /// Builds the sink.
    pub make: SinkMaker,
    /// The channel it drains.
    pub channel: Arc<dyn Channel>,
    /// Its counters.
    pub counters: Arc<SinkCounters>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Fires when it is to stop.
    pub stop: StopSignal,
    /// Set to `true` when its first start has ended, successfully or not.
    pub tried: watch::Sender<bool>,
    /// Set to `true` when the sink is open.
    pub started: watch::Sender<bool>,
    /// Whether a stop drains the channel, and until when.
    pub drain_at_stop: Arc<DrainAtStop>,
    /// Handling of events that the destination refuses for good.
    pub refused: RefusedEvents,
    /// Throttles the log of failures.
    pub failure_log: FailureLog,
    /// Where delivered events are shown.
    pub tap: Arc<Tap>,
}

impl SinkRunner {
    /// Runs until the stop signal has fired and the current batch is delivered or returned.
    pub async fn run(self) {
        self.counters.begin();
        self.run_until_stop().await;
        self.enter(SinkPhase::Stopped);
        self.counters.stopped(self.clock.wall_ms());
    }

    async fn run_until_stop(&self) {
        let context = self.context();
        let mut backoff = Backoff::of_a_runner();
        // Outlives a panic: the rebuilt sink waits for it, too.
        let mut pipelined_ack = PipelinedAck::default();
        loop {
            let ended = match (self.make)() {
                Ok(mut sink) => {
                    catch_panics(self.run_once(&mut *sink, &context, &mut pipelined_ack)).await
                }
                Err(error) => {
                    tracing::error!(code = %codes::COMPONENT_NOT_BUILT, sink = self.name, "cannot be built: {error}");
                    self.note(&codes::COMPONENT_NOT_BUILT, &format!("cannot be built: {error}"));
                    Ok(())
                }
            };
            self.counters.up.set(0);
            let Err(panic) = ended else { return };
            tracing::error!(code = %codes::COMPONENT_PANICKED, sink = self.name, "panicked and is started again: {panic}");
            self.note(&codes::COMPONENT_PANICKED, &format!("panicked: {panic}"));
            self.counters.restarts.add(1);
            self.enter(SinkPhase::Resting);
            if self.stop.fired() {
                return;
            }
            self.rest(backoff.fail()).await;
        }
    }

    /// Opens the sink, runs it and closes it.
    async fn run_once(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        pipelined_ack: &mut PipelinedAck,
    ) {
        if !self.open(sink, context).await {
            return;
        }
        self.pump(sink, context, pipelined_ack).await;
        pipelined_ack.finish().await;
        self.close(sink, context).await;
    }

    /// Opens the sink, however many tries it takes. False if the stop signal fires first.
    async fn open(&self, sink: &mut dyn Sink, context: &SinkContext) -> bool {
        while !self.try_open(sink, context).await {
            if self.stop.fired() {
                return false;
            }
            self.rest(START_AGAIN).await;
        }
        true
    }

    /// Tries to open the sink and logs a failure. False also if the stop signal fires first.
    pub(super) async fn try_open(&self, sink: &mut dyn Sink, context: &SinkContext) -> bool {
        self.enter(SinkPhase::Opening);
        let opened = tokio::select! {
            biased;
            () = self.stop.wait() => return false,
            opened = sink.start(context) => opened,
        };
        self.tried.send_replace(true);
        if let Err(error) = opened {
            self.failed(&format!(
                "cannot start, trying again in {} s: {error}",
                START_AGAIN.as_secs()
            ));
            return false;
        }
        self.works();
        self.enter(SinkPhase::Waiting);
        self.counters.started(self.clock.wall_ms());
        self.counters.up.set(1);
        self.started.send_replace(true);
        true
    }

    /// Closes the sink.
    pub(super) async fn close(&self, sink: &mut dyn Sink, context: &SinkContext) {
        if let Err(error) = sink.stop(context).await {
            tracing::warn!(sink = self.name, "did not close cleanly: {error}");
        }
    }

    /// Logs why it does not work, throttled.
    pub(super) fn failed(&self, cause: &str) {
        self.counters.failing.set(1);
        self.note(&codes::SINK_FAILING, cause);
        match self.failure_log.failed(self.clock.now(), cause) {
            Some(words) => tracing::warn!(code = %codes::SINK_FAILING, sink = self.name, "{words}"),
            None => tracing::debug!(sink = self.name, "{cause}"),
        }
    }

    /// Keeps why it does not work, for monitoring.
    pub(super) fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    /// Logs a recovery, if it had failed.
    pub(super) fn works(&self) {
        self.counters.failing.set(0);
        self.counters.failure.over();
        if let Some(words) = self.failure_log.over(self.clock.now()) {
            tracing::info!(sink = self.name, "{words}");
        }
    }

    /// Records its current phase.
    pub(super) fn enter(&self, phase: SinkPhase) {
        self.counters.phases.enter(phase, &self.clock);
    }

    pub(super) fn context(&self) -> SinkContext {
        SinkContext {
            agent: self.agent.clone(),
            name: self.name.clone(),
            stop: self.stop.clone(),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            gives_up: self.refused.gives_up(),
        }
    }

    async fn pump(
        &self,
        sink: &mut dyn Sink,
        context: &SinkContext,
        pipelined_ack: &mut PipelinedAck,
    ) {
        let mut backoff = Backoff::of_a_runner();
        let mut tick_from = Duration::ZERO;
        loop {
            let stopping = self.stop.fired();
            if stopping && !self.drains() {
                return;
            }
            self.tick_if_due(sink, context, &mut tick_from).await;
            match self.turn(sink, context, tick_from, stopping, pipelined_ack).await {
                TurnOutcome::Delivered => backoff.reset(),
                TurnOutcome::Failed if self.is_out_of_time() => return,
                TurnOutcome::Failed if stopping && self.tries_again_at_stop().await => {}
                TurnOutcome::Idle | TurnOutcome::IdleAtOnce | TurnOutcome::Failed if stopping => {
                    return;
                }
                TurnOutcome::Idle => backoff.reset(),
                TurnOutcome::IdleAtOnce => {
                    let pause = self.until_tick(sink, tick_from).min(backoff.fail());
                    self.rest(pause).await;
                }
                TurnOutcome::Failed => self.rest(backoff.fail()).await,
            }
        }
    }

    /// Returns true if a stop drains the channel first.
    pub(super) fn drains(&self) -> bool {
        self.drain_at_stop.drains()
    }

    /// Returns true if the deadline of a draining stop has passed: no further delivery is begun.
    pub(super) fn is_out_of_time(&self) -> bool {
        let left = self.drain_at_stop.time(self.clock.now());
        self.stop.fired() && left == Some(Duration::ZERO)
    }

    /// Pauses before a stop retries an undelivered batch. False if the deadline is too near.
    pub(super) async fn tries_again_at_stop(&self) -> bool {
        if self.drain_at_stop.left(self.clock.now()) <= STOP_PAUSE {
            return false;
        }
        tokio::time::sleep(STOP_PAUSE).await;
        true
    }

    pub(super) async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
