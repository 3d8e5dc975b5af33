//! Runs one sink: takes a batch, lets the sink deliver it, commits the take.
//!
//! While the take of a batch is being committed the next batch is taken, but nothing of it counts as
//! delivered before that commit has ended ([`Sink::deliver_behind`]).
//!
//! Events leave the channel only when `deliver` answered Ok and the take was committed, so a
//! crash, a panic, an abort or a failed commit between the two delivers a batch again and never
//! loses one. A sink that fails rests for 1 s, 2 s, … 5 s; one that cannot be opened is opened
//! again every 3 s; one that panics is thrown away and built anew. A stop that is to empty the channel
//! tries again what was not delivered, twice a second until its deadline ([`DrainAtStop`]). A delivery that has not ended
//! some seconds after the stop ([`DELIVERY_STOP_SECONDS_MAX`]), or by that deadline, is dropped and its batch rolled back.

use super::backoff::Backoff;
use super::contain::contain;
use super::context::StopSignal;
use super::drain::DrainAtStop;
use super::earlier::Earlier;
use super::refused::Refused;
use super::sink::{Sink, SinkContext};
use super::sink_turn::Turn;
use super::spell::Spell;
use super::tap::Tap;
use crate::base::clock::Clock;
use crate::channel::Channel;
use crate::codes::{self, Code};
use crate::config::settings::SettingError;
use crate::metrics::{Phase, SinkCounters};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(doc)]
use crate::base::limits::DELIVERY_STOP_SECONDS_MAX;

/// Pause between attempts to open a sink, as Flume's supervisor does.
pub(crate) const START_AGAIN: Duration = Duration::from_secs(3);

/// Pause before a stop tries again what was not delivered.
const STOP_PAUSE: Duration = Duration::from_millis(500);

/// Builds the sink, again after a panic.
pub type SinkMaker = Box<dyn Fn() -> Result<Box<dyn Sink>, SettingError> + Send + Sync>;

/// Everything one sink runs with.
pub struct SinkRunner {
    /// The agent's name.
    pub agent: String,
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
    /// Whether to empty the channel before stopping, and until when, as of the stop.
    pub drain_at_stop: Arc<DrainAtStop>,
    /// What becomes of events that the destination refuses for good.
    pub refused: Refused,
    /// Whether it delivers, as far as the log knows.
    pub spell: Spell,
    /// Where what it delivered is shown.
    pub tap: Arc<Tap>,
}

impl SinkRunner {
    /// Runs until the stop signal has fired and the batch in hand is delivered or handed back.
    pub async fn run(self) {
        self.counters.begin();
        self.lives().await;
        self.enter(Phase::Stopped);
        self.counters.stopped(self.clock.wall_ms());
    }

    async fn lives(&self) {
        let context = self.context();
        let mut backoff = Backoff::of_a_runner();
        // Outlives a panic: also the sink that is built anew waits for it.
        let mut earlier = Earlier::default();
        loop {
            let ended = match (self.make)() {
                Ok(mut sink) => contain(self.life(&mut *sink, &context, &mut earlier)).await,
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
            self.enter(Phase::Resting);
            if self.stop.fired() {
                return;
            }
            self.rest(backoff.fail()).await;
        }
    }

    /// From opening to letting go.
    async fn life(&self, sink: &mut dyn Sink, context: &SinkContext, earlier: &mut Earlier) {
        if !self.open(sink, context).await {
            return;
        }
        self.pump(sink, context, earlier).await;
        earlier.settled().await;
        self.close(sink, context).await;
    }

    /// Opens the sink, however often it takes. False when it is to stop first.
    async fn open(&self, sink: &mut dyn Sink, context: &SinkContext) -> bool {
        while !self.try_open(sink, context).await {
            if self.stop.fired() {
                return false;
            }
            self.rest(START_AGAIN).await;
        }
        true
    }

    /// Opens the sink, or says why not. False also when it is to stop first.
    pub(super) async fn try_open(&self, sink: &mut dyn Sink, context: &SinkContext) -> bool {
        self.enter(Phase::Opening);
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
        self.enter(Phase::Waiting);
        self.counters.started(self.clock.wall_ms());
        self.counters.up.set(1);
        self.started.send_replace(true);
        true
    }

    /// Lets go of what the sink holds.
    pub(super) async fn close(&self, sink: &mut dyn Sink, context: &SinkContext) {
        if let Err(error) = sink.stop(context).await {
            tracing::warn!(sink = self.name, "did not close cleanly: {error}");
        }
    }

    /// Says why it does not work, unless that was said.
    pub(super) fn failed(&self, cause: &str) {
        self.counters.failing.set(1);
        self.note(&codes::SINK_FAILING, cause);
        match self.spell.failed(self.clock.now(), cause) {
            Some(words) => tracing::warn!(code = %codes::SINK_FAILING, sink = self.name, "{words}"),
            None => tracing::debug!(sink = self.name, "{cause}"),
        }
    }

    /// Keeps why it does not work, for who watches.
    pub(super) fn note(&self, code: &'static Code, reason: &str) {
        self.counters.failure.note(code, reason, self.clock.wall_ms());
    }

    /// Says that it works again, if it did not.
    pub(super) fn works(&self) {
        self.counters.failing.set(0);
        self.counters.failure.over();
        if let Some(words) = self.spell.over(self.clock.now()) {
            tracing::info!(sink = self.name, "{words}");
        }
    }

    /// Says what it does now.
    pub(super) fn enter(&self, phase: Phase) {
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

    async fn pump(&self, sink: &mut dyn Sink, context: &SinkContext, earlier: &mut Earlier) {
        let mut backoff = Backoff::of_a_runner();
        let mut tick_from = Duration::ZERO;
        loop {
            let stopping = self.stop.fired();
            if stopping && !self.drains() {
                return;
            }
            self.tick_if_due(sink, context, &mut tick_from).await;
            match self.turn(sink, context, tick_from, stopping, earlier).await {
                Turn::Delivered => backoff.reset(),
                Turn::Failed if self.is_out_of_time() => return,
                Turn::Failed if stopping && self.tries_again_at_stop().await => {}
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

    /// Whether a stop empties the channel first.
    pub(super) fn drains(&self) -> bool {
        self.drain_at_stop.drains()
    }

    /// Whether a stop that empties the channel has used up its time: no further delivery is begun.
    pub(super) fn is_out_of_time(&self) -> bool {
        let left = self.drain_at_stop.time(self.clock.now());
        self.stop.fired() && left == Some(Duration::ZERO)
    }

    /// Rests before what a stop did not deliver is tried again. False when the deadline is too near.
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
