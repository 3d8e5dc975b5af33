//! Starts what a plan names, each component in a task of its own, and knows when all of it runs.

use super::build::{ChannelPlan, GroupPlan, Plan, SinkPlan, SourcePlan};
use super::channels::{is_volatile, open_channel};
use super::opening::Opening;
use crate::base::clock::Clock;
use crate::channel::Channel;
use crate::flow::context::StopSignal;
use crate::flow::counted::Counted;
use crate::flow::group_runner::GroupRunner;
use crate::flow::intake::{ChannelProcessor, NamedChannel};
use crate::flow::interceptor::Chain;
use crate::flow::sink_runner::SinkRunner;
use crate::flow::source_runner::SourceRunner;
use crate::flow::standing::Standing;
use crate::metrics::{Registry, SinkCounters};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a source waits for the first start of the sinks behind it, well or not. One that does
/// not answer must not keep the source: the channels hold what comes in.
const SINKS_FIRST: Duration = Duration::from_secs(1);

/// A channel once it is open.
pub(super) type Slot = watch::Receiver<Option<Arc<dyn Channel>>>;

/// A component's task.
pub(super) struct Task {
    /// `source r1`, `sink k1`, `channel c1`.
    pub(super) name: String,
    pub(super) handle: JoinHandle<()>,
}

/// An agent that runs.
pub struct Running {
    name: String,
    left_out: usize,
    /// What must be `true` before all has started.
    started: Vec<watch::Receiver<bool>>,
    pub(super) stop_sources: watch::Sender<bool>,
    pub(super) stop_sinks: watch::Sender<bool>,
    pub(super) stop_channels: watch::Sender<bool>,
    pub(super) sources: Vec<Task>,
    pub(super) sinks: Vec<Task>,
    /// Sinks, those in groups included.
    sinks_count: usize,
    /// Tasks that open channels.
    pub(super) openers: Vec<Task>,
    pub(super) channels: Vec<(String, Slot)>,
    /// Those of them whose events are gone with the process.
    pub(super) volatile: BTreeSet<String>,
}

/// What all components share while they are started.
struct Site<'a> {
    registry: &'a Arc<Registry>,
    clock: Arc<dyn Clock>,
    slots: BTreeMap<String, (Slot, bool)>,
    /// Of each channel, whether the sinks behind it have been tried to start.
    sinks_tried: BTreeMap<String, Vec<watch::Receiver<bool>>>,
}

impl Running {
    /// Starts everything; returns at once.
    #[must_use]
    pub fn start(plan: Plan, registry: &Arc<Registry>, clock: Arc<dyn Clock>) -> Self {
        let (stop_sources, sources_stop) = StopSignal::new();
        let (stop_sinks, sinks_stop) = StopSignal::new();
        let (stop_channels, channels_stop) = StopSignal::new();
        let mut running = Self {
            name: plan.name,
            left_out: plan.left_out,
            started: Vec::new(),
            stop_sources,
            stop_sinks,
            stop_channels,
            sources: Vec::new(),
            sinks: Vec::new(),
            sinks_count: 0,
            openers: Vec::new(),
            channels: Vec::new(),
            volatile: BTreeSet::new(),
        };
        let mut site =
            Site { registry, clock, slots: BTreeMap::new(), sinks_tried: BTreeMap::new() };
        for channel in plan.channels {
            running.start_channel(channel, &mut site, channels_stop.clone());
        }
        for sink in plan.sinks {
            running.start_sink(sink, &mut site, sinks_stop.clone());
        }
        for group in plan.groups {
            running.start_group(group, &mut site, &sinks_stop);
        }
        for source in plan.sources {
            running.start_source(source, &site, sources_stop.clone());
        }
        running
    }

    fn start_channel(&mut self, plan: ChannelPlan, site: &mut Site<'_>, stop: StopSignal) {
        let (open, slot) = watch::channel(None);
        let (started, has_started) = watch::channel(false);
        self.started.push(has_started);
        let volatile = is_volatile(&plan.kind);
        self.volatile.extend(volatile.then(|| plan.name.clone()));
        site.slots.insert(plan.name.clone(), (slot.clone(), volatile));
        self.channels.push((plan.name.clone(), slot));
        let registry = Arc::clone(site.registry);
        let clock = Arc::clone(&site.clock);
        let name = format!("channel {}", plan.name);
        let work = async move {
            let counters = registry.channel(&plan.name);
            let ChannelPlan { name, kind } = plan;
            let for_memory = Arc::clone(&clock);
            let opening = Opening {
                name: name.clone(),
                open: Arc::new(move || open_channel(&kind, &for_memory)),
                counters: Arc::clone(&counters),
                stop: stop.clone(),
            };
            let Some(channel) = opening.keep_opening().await else { return };
            let standing = Arc::new(Standing::new(channel));
            let channel = Arc::clone(&standing) as Arc<dyn Channel>;
            let channel = Arc::new(Counted::new(channel, counters, clock));
            watch_gauges(&registry, &name, &channel);
            open.send_replace(Some(channel));
            started.send_replace(true);
            // The slot stays readable while its sender lives.
            opening.keep_open(&standing).await;
        };
        self.openers.push(Task { name, handle: tokio::spawn(work) });
    }

    fn start_sink(&mut self, plan: SinkPlan, site: &mut Site<'_>, stop: StopSignal) {
        let name = format!("sink {}", plan.name);
        let Some(seat) = self.seat(plan, site, stop) else { return };
        let run = async move {
            if let Some(runner) = seat.runner().await {
                runner.run().await;
            }
        };
        self.sinks.push(Task { name, handle: tokio::spawn(run) });
    }

    fn start_group(&mut self, plan: GroupPlan, site: &mut Site<'_>, stop: &StopSignal) {
        let GroupPlan { name, sinks, processor } = plan;
        let task = format!("sink group {name}");
        let mut seats = Vec::new();
        for sink in sinks {
            // Validation knows that its channel is there; the processor counts on each sink.
            let Some(seat) = self.seat(sink, site, stop.clone()) else { return };
            seats.push(seat);
        }
        let run = async move {
            let mut members = Vec::new();
            for seat in seats {
                let Some(runner) = seat.runner().await else { return };
                members.push(runner);
            }
            GroupRunner { name, members, processor }.run().await;
        };
        self.sinks.push(Task { name: task, handle: tokio::spawn(run) });
    }

    /// What a sink needs to run, once its channel is open.
    fn seat(&mut self, plan: SinkPlan, site: &mut Site<'_>, stop: StopSignal) -> Option<Seat> {
        let Some((slot, volatile)) = site.slots.get(&plan.channel).cloned() else {
            tracing::error!(sink = plan.name, "its channel {} is not there", plan.channel);
            return None;
        };
        let (started, has_started) = watch::channel(false);
        let (tried, was_tried) = watch::channel(false);
        self.started.push(has_started);
        self.sinks_count += 1;
        site.sinks_tried.entry(plan.channel.clone()).or_default().push(was_tried);
        Some(Seat {
            counters: site.registry.sink(&plan.name),
            clock: Arc::clone(&site.clock),
            plan,
            slot,
            stop,
            tried,
            started,
            drain_at_stop: volatile,
        })
    }

    fn start_source(&mut self, plan: SourcePlan, site: &Site<'_>, stop: StopSignal) {
        let names = plan.channels.iter();
        let slots: Vec<(String, Slot)> = names
            .filter_map(|name| Some((name.clone(), site.slots.get(name)?.0.clone())))
            .collect();
        let sinks_tried: Vec<_> = plan
            .channels
            .iter()
            .filter_map(|c| site.sinks_tried.get(c))
            .flatten()
            .cloned()
            .collect();
        let (started, has_started) = watch::channel(false);
        self.started.push(has_started);
        let name = format!("source {}", plan.name);
        let counters = site.registry.source(&plan.name);
        let clock = Arc::clone(&site.clock);
        let run = async move {
            let mut channels = Vec::new();
            for (name, slot) in slots {
                let Some(channel) = opened(slot, &stop).await else { return };
                channels.push(NamedChannel { name, channel });
            }
            tokio::select! {
                () = stop.wait() => return,
                _ = tokio::time::timeout(SINKS_FIRST, all_tried(sinks_tried)) => {}
            }
            let SourcePlan { name, make, selector, interceptors, .. } = plan;
            let intake = ChannelProcessor::new(&name, selector, channels, Arc::clone(&counters));
            let intake = Arc::new(intake.behind(Chain::new(interceptors, Arc::clone(&clock))));
            SourceRunner { name, make, intake, counters, clock, stop, started }.run().await;
        };
        self.sources.push(Task { name, handle: tokio::spawn(run) });
    }

    /// Waits until every component has started, and answers the line that says so.
    pub fn all_started(&self) -> impl Future<Output = String> + use<> {
        let counts = [
            counted(self.sources.len(), "source"),
            counted(self.channels.len(), "channel"),
            counted(self.sinks_count, "sink"),
        ];
        let left_out = match self.left_out {
            0 => String::new(),
            n => format!("; {n} errors in the configuration, see above"),
        };
        let line = format!("agent {} started: {}{left_out}", self.name, counts.join(", "));
        let started = self.started.clone();
        async move {
            all_true(started).await;
            line
        }
    }
}

/// A sink whose channel may not be open yet.
struct Seat {
    plan: SinkPlan,
    slot: Slot,
    counters: Arc<SinkCounters>,
    clock: Arc<dyn Clock>,
    stop: StopSignal,
    tried: watch::Sender<bool>,
    started: watch::Sender<bool>,
    drain_at_stop: bool,
}

impl Seat {
    /// The sink with its channel; None when it is to stop first.
    async fn runner(self) -> Option<SinkRunner> {
        let channel = opened(self.slot, &self.stop).await?;
        Some(SinkRunner {
            name: self.plan.name,
            make: self.plan.make,
            channel,
            counters: self.counters,
            clock: self.clock,
            stop: self.stop,
            tried: self.tried,
            started: self.started,
            drain_at_stop: self.drain_at_stop,
        })
    }
}

/// The channel once it is open; None when the component is to stop first.
async fn opened(mut slot: Slot, stop: &StopSignal) -> Option<Arc<dyn Channel>> {
    tokio::select! {
        biased;
        () = stop.wait() => None,
        open = slot.wait_for(Option::is_some) => open.ok()?.clone(),
    }
}

/// Lets whoever watches see the channel's gauges as of then, for as long as it is there.
fn watch_gauges(registry: &Registry, name: &str, channel: &Arc<Counted>) {
    let channel = Arc::downgrade(channel);
    let look = move || {
        if let Some(channel) = channel.upgrade() {
            channel.status();
        }
    };
    registry.watch_channel(name, Arc::new(look));
}

/// Returns once every sink has been tried, or will not be.
async fn all_tried(flags: Vec<watch::Receiver<bool>>) {
    for mut flag in flags {
        let _ = flag.wait_for(|tried| *tried).await;
    }
}

async fn all_true(flags: Vec<watch::Receiver<bool>>) {
    for mut flag in flags {
        if flag.wait_for(|set| *set).await.is_err() && !*flag.borrow() {
            // Its task is gone and never will start: whoever waits is ended by the stop.
            std::future::pending::<()>().await;
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
