//! Runs the sinks of a group, one at a time: the processor says which.
//!
//! A sink that cannot be opened, panics or does not deliver has failed; the events go back to
//! their channel and the next sink takes them, in the same turn. When all have failed the group
//! rests, for 1 s, 2 s, … 5 s. A group starts when one of its sinks has: in Flume one that cannot
//! start keeps them all down.
//!
//! Opening a sink and connecting one ([`Sink::is_ready`]) go on beside the turns of the others, all at
//! once: a destination whose packets go nowhere holds a turn up for [`READY_WITHIN`] and not for its
//! connect timeout. A delivery that hangs holds the group up for [`GROUP_TURN_SECONDS_MAX`]: then the sink is
//! thrown away, its batch is the next one's, and it is built anew for its next turn.

use super::backoff::Backoff;
use super::contain::contain;
use super::deliverers::Deliverers;
use super::earlier::Earlier;
use super::processor::Processor;
use super::sink::{Failure, Sink, SinkContext};
use super::sink_runner::{START_AGAIN, SinkRunner};
use super::sink_turn::Turn;
use crate::base::limits::{GROUP_TURN_AGAIN_SECONDS_MAX, GROUP_TURN_SECONDS_MAX};
use crate::codes;
use crate::metrics::Phase;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// How long a turn waits for a sink that is being opened or connected before the next one has it.
const READY_WITHIN: Duration = Duration::from_millis(250);
/// How long a group that starts waits for those of its sinks that do not start at once.
const START_WITHIN: Duration = Duration::from_secs(1);
/// How often a delivery that goes on is looked at.
const HANG_LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to connect a sink for which the processor has no pause.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

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
    runner: Arc<SinkRunner>,
    context: Arc<SinkContext>,
    /// None while it is not open, and while it is being connected.
    sink: Option<Box<dyn Sink>>,
    /// What opens or connects it.
    preparing: Option<JoinHandle<Prepared>>,
    /// When opening or connecting it may be tried again.
    prepare_from: Duration,
    /// The last attempt has failed, and the processor does not know yet.
    has_failed: bool,
    /// A turn has waited for the attempt that is under way.
    was_waited_for: bool,
    tick_from: Duration,
    /// How long a delivery may take.
    patience: Duration,
}

/// What came of opening or connecting a sink.
enum Prepared {
    /// It can have its turn.
    Ready(Box<dyn Sink>),
    /// It is open and not connected.
    Unready(Box<dyn Sink>),
    /// It is not open.
    Closed,
    Panicked(String),
}

/// Whether a member can have its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// It is being opened or connected, or waits for its next attempt.
    NotYet,
    /// An attempt has failed since somebody looked.
    Failed,
}

impl GroupRunner {
    /// Runs until the stop signal has fired and the batch in hand is delivered or handed back.
    pub async fn run(self) {
        let Self { name, members, mut processor } = self;
        let mut members: Vec<Member> = members.into_iter().map(Member::new).collect();
        let mut started = false;
        let mut backoff = Backoff::of_a_runner();
        let mut deliverers = Deliverers::new(processor.spreads(), members.len());
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
            match turn(&mut members, &mut *processor, &mut deliverers, stopping).await {
                Turn::Delivered => {
                    deliverers
                        .tell(&name, members[0].runner.clock.now(), |at| &members[at].runner.name);
                    backoff.reset();
                }
                Turn::Failed if members[0].runner.is_out_of_time() => break,
                Turn::Failed if stopping && members[0].runner.tries_again_at_stop().await => {}
                _ if stopping => break,
                Turn::Idle => backoff.reset(),
                Turn::IdleAtOnce | Turn::Failed => {
                    let pause = members.iter().map(Member::until_tick).min().unwrap_or_default();
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

/// Opens what can be opened, all at once. The group has started when one of them is open.
async fn open_all(members: &mut [Member]) -> bool {
    members.iter_mut().for_each(Member::begin_to_prepare);
    // All are waited for a moment, so that the group begins with the sink that it prefers.
    let all = async {
        for member in &mut *members {
            member.prepared().await;
        }
    };
    let has_ended = timeout(START_WITHIN, all).await.is_ok();
    if !has_ended && !members.iter().any(Member::is_open) {
        any_prepared(members).await;
    }
    let any = members.iter().any(Member::is_open);
    if any {
        for member in &*members {
            member.runner.started.send_replace(true);
        }
    }
    any
}

/// Waits until an attempt to open or to connect one of them has ended; for ever where there is none.
async fn any_prepared(members: &mut [Member]) {
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

/// Lets one sink after the other try, until one does not fail.
async fn turn(
    members: &mut [Member],
    processor: &mut dyn Processor,
    deliverers: &mut Deliverers,
    stopping: bool,
) -> Turn {
    // Whose turn it is shows when there is an event: a sink that has rested is tried with it, and
    // must not miss it to one that has waited for it.
    let empty = |member: &Member| member.runner.channel.status().events == 0;
    if !stopping && members.iter().all(empty) {
        let until = members.iter().map(Member::until_tick).min().unwrap_or_default();
        // Nor is a channel waited in that is not open while another one is.
        let serves =
            |member: &&Member| member.sink.is_some() && !member.runner.channel.status().stopped;
        let open = members.iter().find(serves);
        let open = open.or_else(|| members.iter().find(|member| member.sink.is_some()));
        let waits = open.unwrap_or(&members[0]).runner.wait_for_event(until).await;
        if let Err(turn) = waits {
            return turn;
        }
    }
    // What came of attempts beside the turns counts for the order, also of sinks that have no turn now.
    for (at, member) in members.iter_mut().enumerate() {
        if member.has_ended_badly().await {
            processor.failed(at, member.runner.clock.now());
            deliverers.failed(at);
        }
    }
    // A sink whose own channel is empty must not keep another one's events waiting.
    let any = !members.iter().all(empty);
    let is_alone = members.len() == 1;
    for at in order(members, processor) {
        if any && empty(&members[at]) {
            continue;
        }
        if stopping {
            // What was being opened or connected has been told to end.
            members[at].prepared().await;
        } else {
            match members[at].readiness().await {
                Readiness::Ready => {}
                Readiness::NotYet => continue,
                Readiness::Failed => {
                    let now = members[at].runner.clock.now();
                    processor.failed(at, now);
                    deliverers.failed(at);
                    continue;
                }
            }
        }
        match members[at].turn(stopping, is_alone).await {
            Turn::Failed => {
                let now = members[at].runner.clock.now();
                processor.failed(at, now);
                deliverers.failed(at);
                if members[at].runner.stop.fired() && !stopping {
                    break;
                }
            }
            Turn::Delivered => {
                processor.delivered(at);
                deliverers.delivered(at);
                return Turn::Delivered;
            }
            idle => return idle,
        }
    }
    Turn::Failed
}

fn order(members: &[Member], processor: &mut dyn Processor) -> Vec<usize> {
    let waits = |at: usize| members[at].runner.channel.status().events > 0;
    processor.order(members[0].runner.clock.now(), &waits)
}

/// Returns once a delivery of the sink has taken so long.
async fn hangs(runner: &SinkRunner, patience: Duration) {
    let hangs = || {
        let read = runner.counters.phases.read();
        read.is_some_and(|read| read.phase == Phase::Delivering && read.lasts >= patience)
    };
    while !hangs() {
        tokio::time::sleep(HANG_LOOK).await;
    }
}

/// Opens a sink, or connects one that is open. Ends soon after the stop signal.
async fn prepare(
    runner: Arc<SinkRunner>,
    context: Arc<SinkContext>,
    sink: Option<Box<dyn Sink>>,
) -> Prepared {
    let is_open = sink.is_some();
    let mut sink = match sink.map_or_else(&runner.make, Ok) {
        Ok(sink) => sink,
        Err(error) => {
            tracing::error!(code = %codes::COMPONENT_NOT_BUILT, sink = runner.name, "cannot be built: {error}");
            runner.note(&codes::COMPONENT_NOT_BUILT, &format!("cannot be built: {error}"));
            return Prepared::Closed;
        }
    };
    let work = async {
        if is_open {
            connect(&runner, &mut *sink, &context).await
        } else {
            runner.try_open(&mut *sink, &context).await
        }
    };
    match contain(work).await {
        Err(panic) => Prepared::Panicked(panic),
        Ok(true) if sink.is_ready() => Prepared::Ready(sink),
        Ok(false) if !is_open => Prepared::Closed,
        Ok(_) => Prepared::Unready(sink),
    }
}

/// Connects a sink, or says why not.
async fn connect(runner: &SinkRunner, sink: &mut dyn Sink, context: &SinkContext) -> bool {
    runner.enter(Phase::Opening);
    let connected = tokio::select! {
        biased;
        () = runner.stop.wait() => Err(Failure::new("it is to stop")),
        connected = sink.connect(context) => connected,
    };
    match connected {
        Ok(()) => {
            runner.enter(Phase::Waiting);
            true
        }
        Err(error) => {
            runner.enter(Phase::Resting);
            if !runner.stop.fired() {
                runner.failed(&format!(
                    "cannot connect, its turns go to others of its group: {error}"
                ));
            }
            false
        }
    }
}

impl Member {
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
            patience: Duration::from_secs(GROUP_TURN_SECONDS_MAX),
        }
    }

    /// Begins to open or to connect it, unless it is ready, that is under way, or it is too soon.
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

    /// Waits until no attempt is under way. Dropped while it waits, it has changed nothing.
    async fn prepared(&mut self) {
        if let Some(task) = &mut self.preparing {
            let ended = task.await;
            self.take_in(ended);
        }
    }

    fn take_in(&mut self, ended: Result<Prepared, JoinError>) {
        self.preparing = None;
        // Whoever waits for a first try of all sinks need not wait for this one any longer.
        self.runner.tried.send_replace(true);
        let now = self.runner.clock.now();
        let again = match ended {
            Ok(Prepared::Ready(sink)) => {
                self.sink = Some(sink);
                return;
            }
            Ok(Prepared::Unready(sink)) => {
                self.sink = Some(sink);
                self.runner.counters.failing.set(1);
                CONNECT_AGAIN
            }
            Ok(Prepared::Closed) => START_AGAIN,
            Ok(Prepared::Panicked(panic)) => {
                self.panicked(&panic);
                START_AGAIN
            }
            // Nothing outside of what is contained panics, and nobody ends the task.
            Err(_) => START_AGAIN,
        };
        self.has_failed = true;
        self.prepare_from = now + again;
    }

    /// Whether it can have its turn now; where it has to be opened or connected, a moment later.
    async fn readiness(&mut self) -> Readiness {
        let is_idle = self.preparing.is_none() && !self.has_failed;
        if is_idle && self.sink.as_mut().is_some_and(|sink| sink.is_ready()) {
            return Readiness::Ready;
        }
        self.begin_to_prepare();
        if !std::mem::replace(&mut self.was_waited_for, true) {
            let _ = timeout(READY_WITHIN, self.prepared()).await;
        } else if self.preparing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.prepared().await;
        }
        if std::mem::take(&mut self.has_failed) {
            return Readiness::Failed;
        }
        let is_ready = self.sink.as_mut().is_some_and(|sink| sink.is_ready());
        if is_ready { Readiness::Ready } else { Readiness::NotYet }
    }

    /// Whether an attempt to open or to connect it has failed since somebody looked; waits for none.
    async fn has_ended_badly(&mut self) -> bool {
        if self.preparing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.prepared().await;
        }
        std::mem::take(&mut self.has_failed)
    }

    fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    /// A turn of it. Where it `is_alone` nobody is held up by a delivery that hangs.
    async fn turn(&mut self, stopping: bool, is_alone: bool) -> Turn {
        let Some(sink) = &mut self.sink else { return Turn::Failed };
        // The next batch may be another sink's: it waits for the end of this one.
        let turn = async {
            let mut earlier = Earlier::default();
            let (runner, from) = (&self.runner, self.tick_from);
            let turn = runner.turn(&mut **sink, &self.context, from, stopping, &mut earlier).await;
            if earlier.settled().await { turn } else { Turn::Failed }
        };
        let ended = tokio::select! {
            biased;
            ended = contain(turn) => Some(ended),
            () = hangs(&self.runner, self.patience), if !is_alone => None,
        };
        match ended {
            Some(Ok(turn)) => {
                if turn == Turn::Delivered {
                    self.patience = Duration::from_secs(GROUP_TURN_SECONDS_MAX);
                }
                turn
            }
            Some(Err(panic)) => {
                self.panicked(&panic);
                Turn::Failed
            }
            None => {
                self.gives_up("its delivery");
                Turn::Failed
            }
        }
    }

    /// What it does hangs: it is built anew when its turn comes, and then has less time.
    fn gives_up(&mut self, what: &str) {
        let seconds = self.patience.as_secs();
        self.patience = Duration::from_secs(GROUP_TURN_AGAIN_SECONDS_MAX);
        self.runner.failed(&format!(
            "{what} has not ended within {seconds} s, and is given up: the others of its group have their turns"
        ));
        self.is_thrown_away();
    }

    fn is_thrown_away(&mut self) {
        self.runner.counters.restarts.add(1);
        self.runner.enter(Phase::Resting);
        self.runner.counters.up.set(0);
        self.sink = None;
    }

    /// Nobody knows in which state it is: it is built anew when its turn comes.
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
            ended = contain(tick) => Some(ended),
            () = tokio::time::sleep(self.patience), if !is_alone => None,
            () = self.runner.out_of_time() => None,
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(panic)) => self.panicked(&panic),
            None if self.runner.stop.fired() => self.is_thrown_away(),
            None => self.gives_up("its time-driven work"),
        }
    }

    /// How long until it has something to do by itself: time-driven work, or being opened.
    fn until_tick(&self) -> Duration {
        let until = |sink: &dyn Sink| self.runner.until_tick(sink, self.tick_from);
        self.sink.as_deref().map_or(START_AGAIN, until)
    }

    async fn closes(&mut self) {
        self.prepared().await;
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
