//! Runs the sinks of a group, one at a time: the processor says which.
//!
//! A sink that cannot be opened, panics or does not deliver has failed; the events go back to
//! their channel and the next sink takes them, in the same turn. When all have failed the group
//! rests, for 1 s, 2 s, … 5 s. A group starts when one of its sinks has: in Flume one that cannot
//! start keeps them all down.

use super::backoff::Backoff;
use super::contain::contain;
use super::earlier::Earlier;
use super::processor::Processor;
use super::sink::{Sink, SinkContext};
use super::sink_runner::{START_AGAIN, SinkRunner};
use super::sink_turn::Turn;
use crate::metrics::Phase;
use std::time::Duration;

/// Everything a group runs with.
pub struct GroupRunner {
    /// The group's name.
    pub name: String,
    /// Its sinks, in the order in which the processor counts them; at least one.
    pub members: Vec<SinkRunner>,
    /// Says which sink delivers next.
    pub processor: Box<dyn Processor>,
}

/// One sink of a running group.
struct Member {
    runner: SinkRunner,
    context: SinkContext,
    /// None while it is not open.
    sink: Option<Box<dyn Sink>>,
    /// When opening it may be tried again.
    open_from: Duration,
    tick_from: Duration,
}

impl GroupRunner {
    /// Runs until the stop signal has fired and the batch in hand is delivered or handed back.
    pub async fn run(self) {
        let Self { name, members, mut processor } = self;
        let mut members: Vec<Member> = members.into_iter().map(Member::new).collect();
        let mut started = false;
        let mut backoff = Backoff::of_a_runner();
        let mut last = None;
        loop {
            if !started {
                started = open_all(&mut members).await;
            }
            let stopping = members[0].runner.stop.fired();
            if stopping && !members.iter().any(|m| m.runner.drains()) {
                break;
            }
            for member in &mut members {
                member.tick().await;
            }
            let (turn, at) = turn(&mut members, &mut *processor, stopping).await;
            if at.is_some() && at != last && turn == Turn::Delivered {
                let sink = at.map_or("", |at| members[at].runner.name.as_str());
                tracing::info!(group = name, "delivers through {sink}");
                last = at;
            }
            match turn {
                Turn::Delivered => backoff.reset(),
                _ if stopping => break,
                Turn::Idle => backoff.reset(),
                Turn::IdleAtOnce | Turn::Failed => {
                    let pause = members.iter().map(Member::until_tick).min().unwrap_or_default();
                    members[0].runner.rest(pause.min(backoff.fail())).await;
                }
            }
        }
        for member in &mut members {
            member.closes().await;
        }
    }
}

/// Opens what can be opened. The group has started when one of them is open.
async fn open_all(members: &mut [Member]) -> bool {
    let mut any = false;
    for member in &mut *members {
        any |= member.opens().await;
    }
    if any {
        for member in &*members {
            member.runner.started.send_replace(true);
        }
    }
    any
}

/// Lets one sink after the other try, until one does not fail; answers which.
async fn turn(
    members: &mut [Member],
    processor: &mut dyn Processor,
    stopping: bool,
) -> (Turn, Option<usize>) {
    // Whose turn it is shows when there is an event: a sink that has rested is tried with it, and
    // must not miss it to one that has waited for it.
    let empty = |member: &Member| member.runner.channel.status().events == 0;
    if !stopping && members.iter().all(empty) {
        let until = members.iter().map(Member::until_tick).min().unwrap_or_default();
        let open = members.iter().find(|member| member.sink.is_some());
        let waits = open.unwrap_or(&members[0]).runner.wait_for_event(until).await;
        if let Err(turn) = waits {
            return (turn, None);
        }
    }
    // A sink whose own channel is empty must not keep another one's events waiting.
    let any = !members.iter().all(empty);
    for at in order(members, processor) {
        if any && empty(&members[at]) {
            continue;
        }
        match members[at].turn(stopping).await {
            Turn::Failed => {
                let now = members[at].runner.clock.now();
                processor.failed(at, now);
                if members[at].runner.stop.fired() && !stopping {
                    break;
                }
            }
            Turn::Delivered => {
                processor.delivered(at);
                return (Turn::Delivered, Some(at));
            }
            idle => return (idle, Some(at)),
        }
    }
    (Turn::Failed, None)
}

fn order(members: &[Member], processor: &mut dyn Processor) -> Vec<usize> {
    let waits = |at: usize| members[at].runner.channel.status().events > 0;
    processor.order(members[0].runner.clock.now(), &waits)
}

impl Member {
    fn new(runner: SinkRunner) -> Self {
        let context = runner.context();
        let zero = Duration::ZERO;
        Self { runner, context, sink: None, open_from: zero, tick_from: zero }
    }

    /// Whether it is open, if need be after a try.
    async fn opens(&mut self) -> bool {
        if self.sink.is_some() {
            return true;
        }
        let now = self.runner.clock.now();
        if now < self.open_from || self.runner.stop.fired() {
            return false;
        }
        match (self.runner.make)() {
            Ok(mut sink) => match contain(self.runner.try_open(&mut *sink, &self.context)).await {
                Ok(true) => self.sink = Some(sink),
                Ok(false) => {}
                Err(panic) => self.panicked(&panic),
            },
            Err(error) => tracing::error!(sink = self.runner.name, "cannot be built: {error}"),
        }
        // Whoever waits for a first try of all sinks need not wait for this one any longer.
        self.runner.tried.send_replace(true);
        self.open_from = self.runner.clock.now() + START_AGAIN;
        self.sink.is_some()
    }

    async fn turn(&mut self, stopping: bool) -> Turn {
        if !self.opens().await {
            return Turn::Failed;
        }
        let Some(sink) = &mut self.sink else { return Turn::Failed };
        // The next batch may be another sink's: it waits for the end of this one.
        let turn = async {
            let mut earlier = Earlier::default();
            let (runner, from) = (&self.runner, self.tick_from);
            let turn = runner.turn(&mut **sink, &self.context, from, stopping, &mut earlier).await;
            if earlier.settled().await { turn } else { Turn::Failed }
        };
        match contain(turn).await {
            Ok(turn) => turn,
            Err(panic) => {
                self.panicked(&panic);
                Turn::Failed
            }
        }
    }

    /// Nobody knows in which state it is: it is built anew when its turn comes.
    fn panicked(&mut self, panic: &str) {
        tracing::error!(sink = self.runner.name, "panicked and is started again: {panic}");
        self.runner.counters.restarts.add(1);
        self.runner.enter(Phase::Resting);
        self.runner.counters.up.set(0);
        self.sink = None;
    }

    async fn tick(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        let tick = self.runner.tick_if_due(&mut **sink, &self.context, &mut self.tick_from);
        if let Err(panic) = contain(tick).await {
            self.panicked(&panic);
        }
    }

    /// How long until it has something to do by itself: time-driven work, or being opened.
    fn until_tick(&self) -> Duration {
        let until = |sink: &dyn Sink| self.runner.until_tick(sink, self.tick_from);
        self.sink.as_deref().map_or(START_AGAIN, until)
    }

    async fn closes(&mut self) {
        if let Some(mut sink) = self.sink.take()
            && let Err(panic) = contain(self.runner.close(&mut *sink, &self.context)).await
        {
            self.panicked(&panic);
        }
        self.runner.counters.up.set(0);
        self.runner.enter(Phase::Stopped);
        self.runner.counters.stopped(self.runner.clock.wall_ms());
    }
}
