//! Starts what a plan names, each component in a task of its own, and knows when all of it runs.

use super::build::{ChannelPlan, GroupPlan, Plan, Print, SinkPlan, SourcePlan};
use super::carry::Estate;
use super::channels::{is_volatile, open_channel};
use super::opening::Opening;
use super::seat::{Seat, SourceChannel, channels_of_source, dead_letters, group};
use crate::base::clock::Clock;
use crate::channel::Channel;
use crate::codes;
use crate::config::agent::ChannelKind;
use crate::flow::awaited::Slot;
use crate::flow::client_limits::ClientLimits;
use crate::flow::context::StopSignal;
use crate::flow::counted::Counted;
use crate::flow::drain::DrainAtStop;
use crate::flow::group_runner::GroupRunner;
use crate::flow::intake::ChannelProcessor;
use crate::flow::interceptor::Chain;
use crate::flow::source_runner::SourceRunner;
use crate::flow::spell::Spell;
use crate::flow::standing::Standing;
use crate::flow::tap::Taps;
use crate::metrics::{ChannelCounters, Registry, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a source waits for the first start of the sinks behind it, well or not. One that does
/// not answer must not keep the source: the channels hold what comes in.
pub(super) const SINKS_FIRST: Duration = Duration::from_secs(1);

/// A component's task.
pub(super) struct Task {
    /// `source r1`, `sink k1`, `channel c1`.
    pub(super) name: String,
    /// None once it has ended and somebody has looked how.
    pub(super) handle: Option<JoinHandle<()>>,
    pub(super) stop: watch::Sender<bool>,
}

/// A source, a sink or a sink group that runs.
pub(super) struct Part {
    pub(super) task: Task,
    pub(super) print: Print,
    /// The channels that it works on.
    pub(super) channels: Vec<String>,
    /// Those into which its sinks put what is refused.
    pub(super) dead_letters: Vec<String>,
    /// What must be `true` before it has started.
    started: Vec<watch::Receiver<bool>>,
    /// Of each of its sinks, whether it has been tried to start.
    pub(super) tried: Vec<watch::Receiver<bool>>,
}

/// A channel that runs, or is being opened.
pub(super) struct ChannelPart {
    /// Opens it, and again when it has stopped.
    pub(super) opener: Task,
    pub(super) print: Print,
    /// For those who take from it.
    pub(super) slot: Slot,
    /// For those who put: filled once it has what an earlier channel of its name still held.
    filled: Slot,
    /// `true` once it could not be opened.
    failed: watch::Receiver<bool>,
    /// Events of one transaction at most.
    transaction_capacity: usize,
    /// Its events are gone with the process.
    pub(super) volatile: bool,
    /// Another channel can be opened in its place while it is open, to get what it holds.
    pub(super) carries: bool,
    /// Whether sinks that stop empty it first.
    pub(super) drains: Arc<DrainAtStop>,
    pub(super) counters: Arc<ChannelCounters>,
    /// What it has yet to take over.
    pub(super) estate: Estate,
    started: watch::Receiver<bool>,
}

/// The sources that put into each channel. One that is listed and was left out because of a mistake is not gone,
/// and nobody knows which channels it would have: it counts for all of them.
fn sources_of_channels(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let runs = |name: &String| plan.sources.iter().any(|source| source.name == *name);
    let left_out: Vec<&String> = plan.sources_listed.iter().filter(|name| !runs(name)).collect();
    let of = |channel: &String| {
        let sources = plan.sources.iter().filter(|source| source.channels.contains(channel));
        sources.map(|source| &source.name).chain(left_out.iter().copied()).cloned().collect()
    };
    plan.channels.iter().map(|channel| (channel.name.clone(), of(&channel.name))).collect()
}

/// Tells the channel of this name its sources, now and after each reload. Does not return.
async fn name_sources(
    channel: &dyn Channel,
    name: &str,
    mut named: watch::Receiver<BTreeMap<String, Vec<String>>>,
) {
    loop {
        let sources = named.borrow_and_update().get(name).cloned();
        if let Some(sources) = sources {
            channel.name_sources(&sources);
        }
        if named.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// An agent that runs.
pub struct Running {
    name: String,
    pub(super) registry: Arc<Registry>,
    taps: Arc<Taps>,
    pub(super) clock: Arc<dyn Clock>,
    /// What the clients of all sources may take.
    clients: Arc<ClientLimits>,
    /// Where sinks run: apart from what a thousand busy clients keep running.
    sinks_on: Handle,
    left_out: usize,
    /// By the name of their tasks.
    pub(super) sources: BTreeMap<String, Part>,
    /// Sinks and groups, by the name of their tasks.
    pub(super) sinks: BTreeMap<String, Part>,
    pub(super) channels: BTreeMap<String, ChannelPart>,
    /// The sources of each channel, as the configuration names them.
    named: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// What channels held that are gone, for those that come in their place.
    pub(super) estates: BTreeMap<String, Estate>,
    /// Channels that a reload closes; each answers what it cut off.
    pub(super) closing: Vec<JoinHandle<Vec<String>>>,
}

impl Running {
    /// Starts everything, sinks on a runtime of their own; returns at once.
    #[must_use]
    pub fn start(
        plan: Plan,
        registry: &Arc<Registry>,
        clock: Arc<dyn Clock>,
        clients: Arc<ClientLimits>,
        sinks_on: Handle,
    ) -> Self {
        let mut running = Self {
            name: plan.name.clone(),
            registry: Arc::clone(registry),
            taps: Arc::default(),
            clock,
            clients,
            sinks_on,
            left_out: 0,
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            channels: BTreeMap::new(),
            named: watch::Sender::default(),
            estates: BTreeMap::new(),
            closing: Vec::new(),
        };
        running.start_missing(plan);
        running
    }

    /// Starts what of `plan` does not run: channels, then sinks, then sources. A channel gets what
    /// there is in the estate of its name.
    pub(super) fn start_missing(&mut self, plan: Plan) {
        self.left_out = plan.left_out;
        let members = plan.members();
        self.named.send_replace(sources_of_channels(&plan));
        self.registry.keep(&members);
        self.taps.keep(&members);
        for channel in plan.channels {
            if !self.channels.contains_key(&channel.name) {
                let estate = self.estates.remove(&channel.name).unwrap_or_default();
                self.start_channel(channel, estate);
            }
        }
        for sink in plan.sinks {
            self.start_sink(sink);
        }
        for group in plan.groups {
            self.start_group(group);
        }
        for source in plan.sources {
            self.start_source(source);
        }
    }

    fn start_channel(&mut self, plan: ChannelPlan, estate: Estate) {
        let (open, slot) = watch::channel(None);
        let (fill, filled) = watch::channel(None);
        let (started, has_started) = watch::channel(false);
        let (failed, has_failed) = watch::channel(false);
        let transaction_capacity = plan.kind.transaction_capacity();
        let (fire, stop) = StopSignal::new();
        let volatile = is_volatile(&plan.kind);
        let carries = matches!(plan.kind, ChannelKind::Memory(_));
        let registry = Arc::clone(&self.registry);
        let counters = registry.channel(&plan.name);
        let counts = Arc::clone(&counters);
        let tap = self.taps.at(Role::Channel, &plan.name);
        let clock = Arc::clone(&self.clock);
        let named = self.named.subscribe();
        let ChannelPlan { name, kind, print, .. } = plan;
        let (part_name, task, left) = (name.clone(), format!("channel {name}"), estate.clone());
        let work = async move {
            // What it takes over from lives on, and is not what is to be watched.
            registry.watch_channel(&name, Arc::new(|| None));
            counters.open.set(0);
            let for_memory = Arc::clone(&clock);
            let opening = Opening {
                name: name.clone(),
                open: Arc::new({
                    let name = name.clone();
                    move || open_channel(&name, &kind, &for_memory)
                }),
                counters: Arc::clone(&counters),
                clock: Arc::clone(&clock),
                stop: stop.clone(),
                spell: Spell::default(),
                failed,
            };
            let Some(channel) = opening.keep_opening().await else { return };
            let standing = Arc::new(Standing::new(channel));
            let channel = Arc::clone(&standing) as Arc<dyn Channel>;
            let channel = Arc::new(Counted::new(channel, counters, clock).tapped(tap));
            watch_gauges(&registry, &name, &channel);
            let channel = channel as Arc<dyn Channel>;
            // Sinks first: where there is less room than before, they make it.
            open.send_replace(Some(Arc::clone(&channel)));
            left.carry(&name, &channel, &stop).await;
            fill.send_replace(Some(channel));
            started.send_replace(true);
            // The slots stay readable while their senders live.
            tokio::select! {
                () = opening.keep_open(&standing) => {}
                () = name_sources(&*standing, &name, named) => {}
            }
        };
        let opener = Task { name: task, handle: Some(tokio::spawn(work)), stop: fire };
        let drains = Arc::new(DrainAtStop::from(volatile));
        let started = has_started;
        let part = ChannelPart {
            opener,
            print,
            slot,
            filled,
            failed: has_failed,
            transaction_capacity,
            volatile,
            carries,
            drains,
            counters: counts,
            estate,
            started,
        };
        self.channels.insert(part_name, part);
    }

    pub(super) fn start_sink(&mut self, plan: SinkPlan) {
        let (task, print, channel) =
            (format!("sink {}", plan.name), plan.print.clone(), plan.channel.clone());
        let dead_letters = dead_letters(std::slice::from_ref(&plan));
        if self.sinks.contains_key(&task) {
            return;
        }
        let (fire, stop) = StopSignal::new();
        let Some((seat, started, tried)) = self.seat(plan, stop) else { return };
        let run = async move {
            if let Some(runner) = seat.runner().await {
                runner.run().await;
            }
        };
        let (started, tried, channels) = (vec![started], vec![tried], vec![channel]);
        let task = Task { name: task, handle: Some(self.sinks_on.spawn(run)), stop: fire };
        let part = Part { task, print, channels, dead_letters, started, tried };
        self.sinks.insert(part.task.name.clone(), part);
    }

    pub(super) fn start_group(&mut self, plan: GroupPlan) {
        let GroupPlan { name, sinks, processor, print } = plan;
        let task = format!("sink group {name}");
        if self.sinks.contains_key(&task) {
            return;
        }
        let (fire, stop) = StopSignal::new();
        let (mut seats, mut started, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        let channels = sinks.iter().map(|sink| sink.channel.clone()).collect();
        let dead_letters = dead_letters(&sinks);
        for sink in sinks {
            // Validation knows that its channel is there; the processor counts on each sink.
            let Some((seat, has_started, was_tried)) = self.seat(sink, stop.clone()) else {
                return;
            };
            seats.push(seat);
            started.push(has_started);
            tried.push(was_tried);
        }
        let run = async move {
            let Some(members) = group(seats).await else { return };
            GroupRunner { name, members, processor }.run().await;
        };
        let task = Task { name: task, handle: Some(self.sinks_on.spawn(run)), stop: fire };
        let part = Part { task, print, channels, dead_letters, started, tried };
        self.sinks.insert(part.task.name.clone(), part);
    }

    /// What a sink needs to run once its channel is open, whether it has started, and whether that
    /// was tried.
    fn seat(
        &self,
        plan: SinkPlan,
        stop: StopSignal,
    ) -> Option<(Seat, watch::Receiver<bool>, watch::Receiver<bool>)> {
        let Some(channel) = self.channels.get(&plan.channel) else {
            tracing::error!(code = %codes::CHANNEL_NOT_THERE, sink = plan.name, "its channel {} is not there", plan.channel);
            return None;
        };
        let dead_letters = dead_letters(std::slice::from_ref(&plan)).pop();
        let dead_letters =
            dead_letters.and_then(|name| Some(self.channels.get(&name)?.filled.clone()));
        let (started, has_started) = watch::channel(false);
        let (tried, was_tried) = watch::channel(false);
        let seat = Seat {
            agent: self.name.clone(),
            dead_letters,
            counters: self.registry.sink(&plan.name),
            tap: self.taps.at(Role::Sink, &plan.name),
            clock: Arc::clone(&self.clock),
            plan,
            slot: channel.slot.clone(),
            transaction_capacity: channel.transaction_capacity,
            stop,
            tried,
            started,
            drain_at_stop: Arc::clone(&channel.drains),
        };
        Some((seat, has_started, was_tried))
    }

    fn start_source(&mut self, plan: SourcePlan) {
        let task = format!("source {}", plan.name);
        if self.sources.contains_key(&task) {
            return;
        }
        let source_channel = |(at, name): (usize, &String)| {
            let channel = self.channels.get(name)?;
            Some(SourceChannel {
                name: name.clone(),
                filled: channel.filled.clone(),
                failed: channel.failed.clone(),
                transaction_capacity: channel.transaction_capacity,
                required: plan.selector.may_require(at),
            })
        };
        let channels: Vec<SourceChannel> =
            plan.channels.iter().enumerate().filter_map(source_channel).collect();
        let behind =
            |part: &&Part| part.channels.iter().any(|channel| plan.channels.contains(channel));
        let sinks_tried: Vec<_> =
            self.sinks.values().filter(behind).flat_map(|part| part.tried.clone()).collect();
        let (started, has_started) = watch::channel(false);
        let (fire, stop) = StopSignal::new();
        let counters = self.registry.source(&plan.name);
        let tap = self.taps.at(Role::Source, &plan.name);
        let (clock, clients) = (Arc::clone(&self.clock), Arc::clone(&self.clients));
        let (print, names) = (plan.print.clone(), plan.channels.clone());
        let run = async move {
            let Some(channels) = channels_of_source(&plan.name, channels, &stop).await else {
                return;
            };
            tokio::select! {
                () = stop.wait() => return,
                _ = tokio::time::timeout(SINKS_FIRST, all_tried(sinks_tried)) => {}
            }
            let SourcePlan { name, make, selector, interceptors, .. } = plan;
            let intake = ChannelProcessor::new(&name, selector, channels, Arc::clone(&counters));
            let names: Vec<String> = interceptors.iter().map(|(name, _)| name.clone()).collect();
            counters.interceptors.keep(&names);
            let chain = Chain::new(interceptors, &counters.interceptors, Arc::clone(&clock));
            let intake = Arc::new(intake.behind(chain).tapped(tap));
            let runner =
                SourceRunner { name, make, intake, counters, clients, clock, stop, started };
            runner.run().await;
        };
        let task = Task { name: task, handle: Some(tokio::spawn(run)), stop: fire };
        let (started, tried, dead_letters) = (vec![has_started], Vec::new(), Vec::new());
        let part = Part { task, print, channels: names, dead_letters, started, tried };
        self.sources.insert(part.task.name.clone(), part);
    }

    /// Where those who look at passing events hang in.
    #[must_use]
    pub fn taps(&self) -> &Arc<Taps> {
        &self.taps
    }

    /// Waits until every component has started, and answers the line that says so.
    pub fn all_started(&self) -> impl Future<Output = String> + use<> {
        let counts = [
            counted(self.sources.len(), "source"),
            counted(self.channels.len(), "channel"),
            counted(self.sinks.values().map(|part| part.tried.len()).sum(), "sink"),
        ];
        let left_out = match self.left_out {
            0 => String::new(),
            n => format!("; {n} errors in the configuration, see above"),
        };
        let line = format!("agent {} started: {}{left_out}", self.name, counts.join(", "));
        let parts = self.sources.values().chain(self.sinks.values());
        let mut started: Vec<_> = parts.flat_map(|part| part.started.clone()).collect();
        started.extend(self.channels.values().map(|channel| channel.started.clone()));
        async move {
            all_true(started).await;
            line
        }
    }
}

/// Lets whoever watches see the channel's gauges as of then, for as long as it is there.
fn watch_gauges(registry: &Registry, name: &str, channel: &Arc<Counted>) {
    let channel = Arc::downgrade(channel);
    let look = move || channel.upgrade()?.reading();
    registry.watch_channel(name, Arc::new(look));
}

/// Returns once every sink has been tried, or will not be.
pub(super) async fn all_tried(flags: Vec<watch::Receiver<bool>>) {
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
