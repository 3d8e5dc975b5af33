//! Runs the sinks of a group, one at a time; the processor chooses which.
//!
//! A sink that cannot be opened, panics or does not deliver has failed: the events go back to their channel and
//! the next sink takes them in the same turn. When all have failed the group pauses for 1 s, 2 s, … 5 s. A group
//! has started when one of its sinks has; in Flume one sink that cannot start keeps all of them down.
//!
//! Opening a sink and connecting one ([`Sink::is_ready`]) run concurrently with the turns of the others: a
//! destination whose packets are lost delays a turn by [`READY_WITHIN`] and not by its connect timeout. A
//! delivery that hangs blocks the group for [`GROUP_TURN_SECONDS_MAX`]: then the sink is dropped, the next sink
//! takes its batch, and it is rebuilt for its next turn.

use super::active_sinks::ActiveSinks;
use super::backoff::Backoff;
use super::panic_guard::catch_panics;
use super::pipelined_ack::PipelinedAck;
use super::processor::Processor;
use super::sink::{Failure, Sink, SinkContext};
use super::sink_runner::{START_AGAIN, SinkRunner};
use super::turn_outcome::TurnOutcome;
use crate::base::limits::{GROUP_TURN_AGAIN_SECONDS_MAX, GROUP_TURN_SECONDS_MAX};
use crate::codes;
use crate::metrics::SinkPhase;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// Time that a turn waits for a sink that is being opened or connected before it goes to the next one.
const READY_WITHIN: Duration = Duration::from_millis(250);
/// Time that a starting group waits for sinks that do not start at once.
const START_WITHIN: Duration = Duration::from_secs(1);
/// Interval at which a running delivery is checked.
const HANG_LOOK: Duration = Duration::from_secs(1);
/// Time between two attempts to connect a sink for which the processor has no pause.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Parameters of a group.
pub struct GroupRunner {
    /// The group's name.
    pub name: String,
    /// Its sinks, in the order of the processor's indexes; at least one.
    pub members: Vec<SinkRunner>,
    /// Chooses the sink that delivers next.
    pub processor: Box<dyn Processor>,
}

/// One sink of a running group.
struct GroupMember {
    runner: Arc<SinkRunner>,
    context: Arc<SinkContext>,
    /// `None` while it is not open, and while it is being connected.
    sink: Option<Box<dyn Sink>>,
    /// The task that opens or connects it.
    preparing: Option<JoinHandle<PrepareOutcome>>,
    /// Time from which opening or connecting it may be tried again.
    prepare_from: Duration,
    /// True if the last attempt has failed and the processor was not notified yet.
    has_failed: bool,
    /// True if a turn has waited for the attempt that is under way.
    was_waited_for: bool,
    tick_from: Duration,
    /// Timeout of a delivery.
    time_limit: Duration,
}

/// The outcome of opening or connecting a sink.
enum PrepareOutcome {
    /// It can take a turn.
    Ready(Box<dyn Sink>),
    /// It is open and not connected.
    Unready(Box<dyn Sink>),
    /// It is not open.
    Closed,
    Panicked(String),
}

/// Readiness of a member for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberReadiness {
    Ready,
    /// It is being opened or connected, or waits for its next attempt.
    NotYet,
    /// An attempt has failed since the last check.
    Failed,
}

impl GroupRunner {
    /// Runs until the stop signal has fired and the current batch is delivered or returned.
    pub async fn run(self) {
        let Self { name, members, mut processor } = self;
        let mut members: Vec<GroupMember> = members.into_iter().map(GroupMember::new).collect();
        let mut started = false;
        let mut backoff = Backoff::of_a_runner();
        let mut active_sinks = ActiveSinks::new(processor.spreads(), members.len());
        loop {
            if !started {
                started = open_all(&mut members).await;
            }
            let stopping = members[0].runner.stop.fired();
            if stopping && !members.iter().any(|m| m.runner.drains()) {
                break;
            }
            let is_alone = members.len() == 1;
            for member in &mut members {
                member.tick(is_alone).await;
            }
            match turn(&mut members, &mut *processor, &mut active_sinks, stopping).await {
                TurnOutcome::Delivered => {
                    active_sinks
                        .tell(&name, members[0].runner.clock.now(), |at| &members[at].runner.name);
                    backoff.reset();
                }
                TurnOutcome::Failed if members[0].runner.is_out_of_time() => break,
                TurnOutcome::Failed
                    if stopping && members[0].runner.tries_again_at_stop().await => {}
                _ if stopping => break,
                TurnOutcome::Idle => backoff.reset(),
                TurnOutcome::IdleAtOnce | TurnOutcome::Failed => {
                    let pause =
                        members.iter().map(GroupMember::until_tick).min().unwrap_or_default();
                    let pause = pause.min(backoff.fail());
                    let stop = members[0].runner.stop.clone();
                    tokio::select! {
                        () = stop.wait() => {}
                        () = tokio::time::sleep(pause) => {}
                        () = any_prepared(&mut members) => {}
                    }
                }
            }
        }
        for member in &mut members {
            member.closes().await;
        }
    }
}

/// Opens the sinks, concurrently. The group has started when one of them is open.
async fn open_all(members: &mut [GroupMember]) -> bool {
    members.iter_mut().for_each(GroupMember::begin_to_prepare);
    // Waits briefly for all, so that the group begins with its preferred sink.
    let all = async {
        for member in &mut *members {
            member.prepared().await;
        }
    };
    let has_ended = timeout(START_WITHIN, all).await.is_ok();
    if !has_ended && !members.iter().any(GroupMember::is_open) {
        any_prepared(members).await;
    }
    let any = members.iter().any(GroupMember::is_open);
    if any {
        for member in &*members {
            member.runner.started.send_replace(true);
        }
    }
    any
}

/// Waits until an attempt to open or connect a member has ended; forever if there is none.
async fn any_prepared(members: &mut [GroupMember]) {
    poll_fn(|context| {
        for member in &mut *members {
            if let Some(task) = &mut member.preparing
                && let Poll::Ready(ended) = Pin::new(task).poll(context)
            {
                member.take_in(ended);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// Lets the sinks try one after the other until one does not fail.
async fn turn(
    members: &mut [GroupMember],
    processor: &mut dyn Processor,
    active_sinks: &mut ActiveSinks,
    stopping: bool,
) -> TurnOutcome {
    // The order is decided when there is an event: a sink whose pause is over is tried with it, and must not lose
    // it to one that has waited for it.
    let empty = |member: &GroupMember| member.runner.channel.status().events == 0;
    if !stopping && members.iter().all(empty) {
        let until = members.iter().map(GroupMember::until_tick).min().unwrap_or_default();
        // A closed channel is not waited for while another one is open.
        let serves = |member: &&GroupMember| {
            member.sink.is_some() && !member.runner.channel.status().stopped
        };
        let open = members.iter().find(serves);
        let open = open.or_else(|| members.iter().find(|member| member.sink.is_some()));
        let waits = open.unwrap_or(&members[0]).runner.wait_for_event(until).await;
        if let Err(turn) = waits {
            return turn;
        }
    }
    // Failed attempts since the last turn count for the order, also for sinks without a turn now.
    for (at, member) in members.iter_mut().enumerate() {
        if member.has_ended_badly().await {
            processor.failed(at, member.runner.clock.now());
            active_sinks.failed(at);
        }
    }
    // A sink whose own channel is empty must not delay the events of another one.
    let any = !members.iter().all(empty);
    let is_alone = members.len() == 1;
    for at in order(members, processor) {
        if any && empty(&members[at]) {
            continue;
        }
        if stopping {
            // The stop signal ends what was being opened or connected.
            members[at].prepared().await;
        } else {
            match members[at].readiness().await {
                MemberReadiness::Ready => {}
                MemberReadiness::NotYet => continue,
                MemberReadiness::Failed => {
                    let now = members[at].runner.clock.now();
                    processor.failed(at, now);
                    active_sinks.failed(at);
                    continue;
                }
            }
        }
        match members[at].turn(stopping, is_alone).await {
            TurnOutcome::Failed => {
                let now = members[at].runner.clock.now();
                processor.failed(at, now);
                active_sinks.failed(at);
                if members[at].runner.stop.fired() && !stopping {
                    break;
                }
            }
            TurnOutcome::Delivered => {
                processor.delivered(at);
                active_sinks.delivered(at);
                return TurnOutcome::Delivered;
            }
            idle => return idle,
        }
    }
    TurnOutcome::Failed
}

fn order(members: &[GroupMember], processor: &mut dyn Processor) -> Vec<usize> {
    let waits = |at: usize| members[at].runner.channel.status().events > 0;
    processor.order(members[0].runner.clock.now(), &waits)
}

/// Returns once a delivery of the sink has taken longer than `time_limit`.
async fn hangs(runner: &SinkRunner, time_limit: Duration) {
    let hangs = || {
        let read = runner.counters.phases.read();
        read.is_some_and(|read| read.phase == SinkPhase::Delivering && read.lasts >= time_limit)
    };
    while !hangs() {
        tokio::time::sleep(HANG_LOOK).await;
    }
}

/// Opens a sink, or connects an open one. Ends soon after the stop signal.
async fn prepare(
    runner: Arc<SinkRunner>,
    context: Arc<SinkContext>,
    sink: Option<Box<dyn Sink>>,
) -> PrepareOutcome {
    let is_open = sink.is_some();
    let mut sink = match sink.map_or_else(&runner.make, Ok) {
        Ok(sink) => sink,
        Err(error) => {
            tracing::error!(code = %codes::COMPONENT_NOT_BUILT, sink = runner.name, "cannot be built: {error}");
            runner.note(&codes::COMPONENT_NOT_BUILT, &format!("cannot be built: {error}"));
            return PrepareOutcome::Closed;
        }
    };
    let work = async {
        if is_open {
            connect(&runner, &mut *sink, &context).await
        } else {
            runner.try_open(&mut *sink, &context).await
        }
    };
    match catch_panics(work).await {
        Err(panic) => PrepareOutcome::Panicked(panic),
        Ok(true) if sink.is_ready() => PrepareOutcome::Ready(sink),
        Ok(false) if !is_open => PrepareOutcome::Closed,
        Ok(_) => PrepareOutcome::Unready(sink),
    }
}

/// Connects a sink, or logs why it cannot.
async fn connect(runner: &SinkRunner, sink: &mut dyn Sink, context: &SinkContext) -> bool {
    runner.enter(SinkPhase::Opening);
    let connected = tokio::select! {
        biased;
        () = runner.stop.wait() => Err(Failure::new("it is to stop")),
        connected = sink.connect(context) => connected,
    };
    match connected {
        Ok(()) => {
            runner.enter(SinkPhase::Waiting);
            true
        }
        Err(error) => {
            runner.enter(SinkPhase::Resting);
            if !runner.stop.fired() {
                runner.failed(&format!(
                    "cannot connect, its turns go to others of its group: {error}"
                ));
            }
            false
        }
    }
}

impl GroupMember {
    fn new(runner: SinkRunner) -> Self {
        let context = Arc::new(runner.context());
        let zero = Duration::ZERO;
        Self {
            runner: Arc::new(runner),
            context,
            sink: None,
            preparing: None,
            prepare_from: zero,
            has_failed: false,
            was_waited_for: false,
            tick_from: zero,
            time_limit: Duration::from_secs(GROUP_TURN_SECONDS_MAX),
        }
    }

    /// Begins to open or connect it, unless it is ready, an attempt is under way, or its pause is not over.
    fn begin_to_prepare(&mut self) {
        let is_due = self.runner.clock.now() >= self.prepare_from && !self.runner.stop.fired();
        if self.preparing.is_some()
            || !is_due
            || self.sink.as_mut().is_some_and(|sink| sink.is_ready())
        {
            return;
        }
        let (runner, context) = (Arc::clone(&self.runner), Arc::clone(&self.context));
        self.preparing = Some(tokio::spawn(prepare(runner, context, self.sink.take())));
        self.was_waited_for = false;
    }

    /// Waits until no attempt is under way. Cancel safe.
    async fn prepared(&mut self) {
        if let Some(task) = &mut self.preparing {
            let ended = task.await;
            self.take_in(ended);
        }
    }

    fn take_in(&mut self, ended: Result<PrepareOutcome, JoinError>) {
        self.preparing = None;
        // A task that waits for the first try of all sinks need not wait for this one any longer.
        self.runner.tried.send_replace(true);
        let now = self.runner.clock.now();
        let again = match ended {
            Ok(PrepareOutcome::Ready(sink)) => {
                self.sink = Some(sink);
                return;
            }
            Ok(PrepareOutcome::Unready(sink)) => {
                self.sink = Some(sink);
                self.runner.counters.failing.set(1);
                CONNECT_AGAIN
            }
            Ok(PrepareOutcome::Closed) => START_AGAIN,
            Ok(PrepareOutcome::Panicked(panic)) => {
                self.panicked(&panic);
                START_AGAIN
            }
            // Code outside the guard does not panic, and the task is not cancelled.
            Err(_) => START_AGAIN,
        };
        self.has_failed = true;
        self.prepare_from = now + again;
    }

    /// Returns its readiness; waits up to [`READY_WITHIN`] if it has to be opened or connected.
    async fn readiness(&mut self) -> MemberReadiness {
        let is_idle = self.preparing.is_none() && !self.has_failed;
        if is_idle && self.sink.as_mut().is_some_and(|sink| sink.is_ready()) {
            return MemberReadiness::Ready;
        }
        self.begin_to_prepare();
        if !std::mem::replace(&mut self.was_waited_for, true) {
            let _ = timeout(READY_WITHIN, self.prepared()).await;
        } else if self.preparing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.prepared().await;
        }
        if std::mem::take(&mut self.has_failed) {
            return MemberReadiness::Failed;
        }
        let is_ready = self.sink.as_mut().is_some_and(|sink| sink.is_ready());
        if is_ready { MemberReadiness::Ready } else { MemberReadiness::NotYet }
    }

    /// Returns true if an attempt to open or connect it has failed since the last check; does not wait.
    async fn has_ended_badly(&mut self) -> bool {
        if self.preparing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.prepared().await;
        }
        std::mem::take(&mut self.has_failed)
    }

    fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    /// Runs a turn of it. If it `is_alone`, no other sink is blocked by a delivery that hangs.
    async fn turn(&mut self, stopping: bool, is_alone: bool) -> TurnOutcome {
        let Some(sink) = &mut self.sink else { return TurnOutcome::Failed };
        // The next batch may be another sink's, so it waits for the end of this acknowledgement.
        let turn = async {
            let mut pipelined_ack = PipelinedAck::default();
            let (runner, from) = (&self.runner, self.tick_from);
            let turn =
                runner.turn(&mut **sink, &self.context, from, stopping, &mut pipelined_ack).await;
            if pipelined_ack.finish().await { turn } else { TurnOutcome::Failed }
        };
        let ended = tokio::select! {
            biased;
            ended = catch_panics(turn) => Some(ended),
            () = hangs(&self.runner, self.time_limit), if !is_alone => None,
        };
        match ended {
            Some(Ok(turn)) => {
                if turn == TurnOutcome::Delivered {
                    self.time_limit = Duration::from_secs(GROUP_TURN_SECONDS_MAX);
                }
                turn
            }
            Some(Err(panic)) => {
                self.panicked(&panic);
                TurnOutcome::Failed
            }
            None => {
                self.gives_up("its delivery");
                TurnOutcome::Failed
            }
        }
    }

    /// Drops the sink because its work hangs: it is rebuilt at its next turn, and then has less time.
    fn gives_up(&mut self, what: &str) {
        let seconds = self.time_limit.as_secs();
        self.time_limit = Duration::from_secs(GROUP_TURN_AGAIN_SECONDS_MAX);
        self.runner.failed(&format!(
            "{what} has not ended within {seconds} s and is aborted: the other sinks of its group take over"
        ));
        self.is_thrown_away();
    }

    fn is_thrown_away(&mut self) {
        self.runner.counters.restarts.add(1);
        self.runner.enter(SinkPhase::Resting);
        self.runner.counters.up.set(0);
        self.sink = None;
    }

    /// Drops the sink because its state after a panic is unknown: it is rebuilt at its next turn.
    fn panicked(&mut self, panic: &str) {
        tracing::error!(code = %codes::COMPONENT_PANICKED, sink = self.runner.name, "panicked and is started again: {panic}");
        self.runner.note(&codes::COMPONENT_PANICKED, &format!("panicked: {panic}"));
        self.is_thrown_away();
    }

    async fn tick(&mut self, is_alone: bool) {
        let Some(sink) = &mut self.sink else { return };
        let tick = self.runner.tick_if_due(&mut **sink, &self.context, &mut self.tick_from);
        let ended = tokio::select! {
            biased;
            ended = catch_panics(tick) => Some(ended),
            () = tokio::time::sleep(self.time_limit), if !is_alone => None,
            () = self.runner.out_of_time() => None,
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(panic)) => self.panicked(&panic),
            None if self.runner.stop.fired() => self.is_thrown_away(),
            None => self.gives_up("its time-driven work"),
        }
    }

    /// Returns the time until it has something to do by itself: time-driven work, or being opened.
    fn until_tick(&self) -> Duration {
        let until = |sink: &dyn Sink| self.runner.until_tick(sink, self.tick_from);
        self.sink.as_deref().map_or(START_AGAIN, until)
    }

    async fn closes(&mut self) {
        self.prepared().await;
        if let Some(mut sink) = self.sink.take()
            && let Err(panic) = catch_panics(self.runner.close(&mut *sink, &self.context)).await
        {
            self.panicked(&panic);
        }
        self.runner.counters.up.set(0);
        self.runner.enter(SinkPhase::Stopped);
        self.runner.counters.stopped(self.runner.clock.wall_ms());
    }
}
