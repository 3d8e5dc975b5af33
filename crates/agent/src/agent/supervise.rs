//! Starts what a plan names, each component in a task of its own, and knows when all of it runs.

use super::build::{AgentPlan, ChannelPlan, ConfigFingerprint, GroupPlan, SinkPlan, SourcePlan};
use super::channel_startup::ChannelStartup;
use super::channels::open_channel;
use super::memory_handover::MemoryHandover;
use super::pending_sink::{PendingSink, SourceChannel, channels_of_source, dead_letters, group};
use millpond::{Channel, Clock};
use millpond_config::agent::ChannelKind;
use millpond_flow::channel_type::ChannelContext;
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::counted_channel::CountedChannel;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::group_runner::GroupRunner;
use millpond_flow::intake::ChannelProcessor;
use millpond_flow::interceptor::InterceptorChain;
use millpond_flow::metrics::{ChannelCounters, ComponentRole, MetricsRegistry};
use millpond_flow::pending_channel::ChannelSlot;
use millpond_flow::reopenable_channel::ReopenableChannel;
use millpond_flow::source_runner::SourceRunner;
use millpond_flow::stop_drain::DrainAtStop;
use millpond_flow::tap::Taps;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a source waits for the first start of its sinks, successful or not. A sink that hangs
/// must not keep the source from starting: the channels store events meanwhile.
pub(super) const SINKS_FIRST: Duration = Duration::from_secs(1);

/// A component's task.
pub(super) struct ComponentTask {
    /// `source r1`, `sink k1`, `channel c1`.
    pub(super) name: String,
    /// None once it has ended and its result was read.
    pub(super) handle: Option<JoinHandle<()>>,
    pub(super) stop: watch::Sender<bool>,
}

/// A source, a sink or a sink group that runs.
pub(super) struct RunningComponent {
    pub(super) task: ComponentTask,
    pub(super) fingerprint: ConfigFingerprint,
    /// The channels that it works on.
    pub(super) channels: Vec<String>,
    /// Those into which its sinks put refused events.
    pub(super) dead_letters: Vec<String>,
    /// What must be `true` before it has started.
    started: Vec<watch::Receiver<bool>>,
    /// For each of its sinks, whether a start was attempted.
    pub(super) tried: Vec<watch::Receiver<bool>>,
}

/// A channel that runs, or is being opened.
pub(super) struct RunningChannel {
    /// Opens it, and reopens it when it has stopped.
    pub(super) opener: ComponentTask,
    pub(super) fingerprint: ConfigFingerprint,
    /// For takers.
    pub(super) slot: ChannelSlot,
    /// For putters: filled once it has the remaining events of earlier channels of its name.
    filled: ChannelSlot,
    /// `true` once it could not be opened.
    failed: watch::Receiver<bool>,
    /// Events of one transaction at most.
    transaction_capacity: usize,
    /// Its events are lost with the process.
    pub(super) volatile: bool,
    /// Another channel can be opened in its place while it is open, to take over its events.
    pub(super) carries: bool,
    /// Whether sinks that stop empty it first.
    pub(super) drains: Arc<DrainAtStop>,
    pub(super) counters: Arc<ChannelCounters>,
    /// The events that it has yet to take over.
    pub(super) handover: MemoryHandover,
    started: watch::Receiver<bool>,
}

/// The sources that put into each channel. A listed source that was left out because of an error is
/// not gone, and its channels are unknown: it counts for all of them.
fn sources_of_channels(plan: &AgentPlan) -> BTreeMap<String, Vec<String>> {
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

/// A running agent.
pub struct LiveAgent {
    name: String,
    pub(super) registry: Arc<MetricsRegistry>,
    taps: Arc<Taps>,
    pub(super) clock: Arc<dyn Clock>,
    /// The limits of the clients of all sources.
    clients: Arc<ClientLimits>,
    /// The runtime of sinks: separate from the one that a thousand busy clients keep running.
    sinks_on: Handle,
    left_out: usize,
    /// By the name of their tasks.
    pub(super) sources: BTreeMap<String, RunningComponent>,
    /// Sinks and groups, by the name of their tasks.
    pub(super) sinks: BTreeMap<String, RunningComponent>,
    pub(super) channels: BTreeMap<String, RunningChannel>,
    /// The sources of each channel, as the configuration names them.
    named: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// Events of removed channels, for the channels that replace them.
    pub(super) handovers: BTreeMap<String, MemoryHandover>,
    /// Channels that a reload closes; each returns what it cut off.
    pub(super) closing: Vec<JoinHandle<Vec<String>>>,
}

impl LiveAgent {
    /// Starts everything, sinks on a runtime of their own; returns at once.
    #[must_use]
    pub fn start(
        plan: AgentPlan,
        registry: &Arc<MetricsRegistry>,
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
            handovers: BTreeMap::new(),
            closing: Vec::new(),
        };
        running.start_missing(plan);
        running
    }

    /// Starts what of `plan` does not run: channels, then sinks, then sources. A channel gets the
    /// estate of its name.
    pub(super) fn start_missing(&mut self, plan: AgentPlan) {
        self.left_out = plan.left_out;
        let members = plan.members();
        self.named.send_replace(sources_of_channels(&plan));
        self.registry.keep(&members);
        self.taps.keep(&members);
        for channel in plan.channels {
            if !self.channels.contains_key(&channel.name) {
                let handover = self.handovers.remove(&channel.name).unwrap_or_default();
                self.start_channel(channel, handover);
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

    fn start_channel(&mut self, plan: ChannelPlan, handover: MemoryHandover) {
        let (open, slot) = watch::channel(None);
        let (fill, filled) = watch::channel(None);
        let (started, has_started) = watch::channel(false);
        let (failed, has_failed) = watch::channel(false);
        let transaction_capacity = plan.kind.transaction_capacity();
        let (fire, stop) = StopSignal::new();
        let volatile = !plan.kind.is_durable();
        let carries = matches!(plan.kind, ChannelKind::Memory(_));
        let registry = Arc::clone(&self.registry);
        let counters = registry.channel(&plan.name);
        let counts = Arc::clone(&counters);
        let tap = self.taps.at(ComponentRole::Channel, &plan.name);
        let clock = Arc::clone(&self.clock);
        let named = self.named.subscribe();
        let ChannelPlan { name, kind, fingerprint, .. } = plan;
        let context = self.channel_context(&name);
        let (part_name, task, left) = (name.clone(), format!("channel {name}"), handover.clone());
        let work = async move {
            // The channel that it takes over from stays alive, and is not what is to be monitored.
            registry.watch_channel(&name, Arc::new(|| None));
            counters.open.set(0);
            let opening = ChannelStartup {
                name: name.clone(),
                open: Arc::new(move || open_channel(&kind, &context)),
                counters: Arc::clone(&counters),
                clock: Arc::clone(&clock),
                stop: stop.clone(),
                failure_log: FailureLog::default(),
                failed,
            };
            let Some(channel) = opening.keep_opening().await else { return };
            let reopenable = Arc::new(ReopenableChannel::new(channel));
            let channel = Arc::clone(&reopenable) as Arc<dyn Channel>;
            let channel = Arc::new(CountedChannel::new(channel, counters, clock).tapped(tap));
            watch_gauges(&registry, &name, &channel);
            let channel = channel as Arc<dyn Channel>;
            // Sinks first: if there is less room than before, they make it.
            open.send_replace(Some(Arc::clone(&channel)));
            left.transfer(&name, &channel, &stop).await;
            fill.send_replace(Some(channel));
            started.send_replace(true);
            // The slots stay readable while their senders live.
            tokio::select! {
                () = opening.keep_open(&reopenable) => {}
                () = name_sources(&*reopenable, &name, named) => {}
            }
        };
        let opener = ComponentTask { name: task, handle: Some(tokio::spawn(work)), stop: fire };
        let drains = Arc::new(DrainAtStop::from(volatile));
        let started = has_started;
        let part = RunningChannel {
            opener,
            fingerprint,
            slot,
            filled,
            failed: has_failed,
            transaction_capacity,
            volatile,
            carries,
            drains,
            counters: counts,
            handover,
            started,
        };
        self.channels.insert(part_name, part);
    }

    fn channel_context(&self, name: &str) -> ChannelContext {
        ChannelContext {
            agent: self.name.clone(),
            name: name.to_owned(),
            clock: Arc::clone(&self.clock),
            counters: self.registry.channel(name),
        }
    }

    pub(super) fn start_sink(&mut self, plan: SinkPlan) {
        let (task, fingerprint, channel) =
            (format!("sink {}", plan.name), plan.fingerprint.clone(), plan.channel.clone());
        let dead_letters = dead_letters(std::slice::from_ref(&plan));
        if self.sinks.contains_key(&task) {
            return;
        }
        let (fire, stop) = StopSignal::new();
        let Some((pending_sink, started, tried)) = self.pending_sink(plan, stop) else { return };
        let run = async move {
            if let Some(runner) = pending_sink.runner().await {
                runner.run().await;
            }
        };
        let (started, tried, channels) = (vec![started], vec![tried], vec![channel]);
        let task = ComponentTask { name: task, handle: Some(self.sinks_on.spawn(run)), stop: fire };
        let part = RunningComponent { task, fingerprint, channels, dead_letters, started, tried };
        self.sinks.insert(part.task.name.clone(), part);
    }

    pub(super) fn start_group(&mut self, plan: GroupPlan) {
        let GroupPlan { name, sinks, processor, fingerprint } = plan;
        let task = format!("sink group {name}");
        if self.sinks.contains_key(&task) {
            return;
        }
        let (fire, stop) = StopSignal::new();
        let (mut pending_sinks, mut started, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        let channels = sinks.iter().map(|sink| sink.channel.clone()).collect();
        let dead_letters = dead_letters(&sinks);
        for sink in sinks {
            // Validation knows that its channel is there; the processor counts on each sink.
            let Some((pending_sink, has_started, was_tried)) =
                self.pending_sink(sink, stop.clone())
            else {
                return;
            };
            pending_sinks.push(pending_sink);
            started.push(has_started);
            tried.push(was_tried);
        }
        let run = async move {
            let Some(members) = group(pending_sinks).await else { return };
            GroupRunner { name, members, processor }.run().await;
        };
        let task = ComponentTask { name: task, handle: Some(self.sinks_on.spawn(run)), stop: fire };
        let part = RunningComponent { task, fingerprint, channels, dead_letters, started, tried };
        self.sinks.insert(part.task.name.clone(), part);
    }

    /// Returns what a sink needs to run once its channel is open, whether it has started, and
    /// whether that was attempted.
    fn pending_sink(
        &self,
        plan: SinkPlan,
        stop: StopSignal,
    ) -> Option<(PendingSink, watch::Receiver<bool>, watch::Receiver<bool>)> {
        let Some(channel) = self.channels.get(&plan.channel) else {
            tracing::error!(code = %codes::CHANNEL_NOT_THERE, sink = plan.name, "its channel {} does not exist", plan.channel);
            return None;
        };
        let dead_letters = dead_letters(std::slice::from_ref(&plan)).pop();
        let dead_letters =
            dead_letters.and_then(|name| Some(self.channels.get(&name)?.filled.clone()));
        let (started, has_started) = watch::channel(false);
        let (tried, was_tried) = watch::channel(false);
        let pending_sink = PendingSink {
            agent: self.name.clone(),
            dead_letters,
            counters: self.registry.sink(&plan.name),
            tap: self.taps.at(ComponentRole::Sink, &plan.name),
            clock: Arc::clone(&self.clock),
            plan,
            slot: channel.slot.clone(),
            transaction_capacity: channel.transaction_capacity,
            stop,
            tried,
            started,
            drain_at_stop: Arc::clone(&channel.drains),
        };
        Some((pending_sink, has_started, was_tried))
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
        let behind = |part: &&RunningComponent| {
            part.channels.iter().any(|channel| plan.channels.contains(channel))
        };
        let sinks_tried: Vec<_> =
            self.sinks.values().filter(behind).flat_map(|part| part.tried.clone()).collect();
        let (started, has_started) = watch::channel(false);
        let (fire, stop) = StopSignal::new();
        let counters = self.registry.source(&plan.name);
        let tap = self.taps.at(ComponentRole::Source, &plan.name);
        let (clock, clients) = (Arc::clone(&self.clock), Arc::clone(&self.clients));
        let (fingerprint, names) = (plan.fingerprint.clone(), plan.channels.clone());
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
            let chain =
                InterceptorChain::new(interceptors, &counters.interceptors, Arc::clone(&clock));
            let intake = Arc::new(intake.behind(chain).tapped(tap));
            let runner =
                SourceRunner { name, make, intake, counters, clients, clock, stop, started };
            runner.run().await;
        };
        let task = ComponentTask { name: task, handle: Some(tokio::spawn(run)), stop: fire };
        let (started, tried, dead_letters) = (vec![has_started], Vec::new(), Vec::new());
        let part =
            RunningComponent { task, fingerprint, channels: names, dead_letters, started, tried };
        self.sources.insert(part.task.name.clone(), part);
    }

    /// Where taps of passing events are attached.
    #[must_use]
    pub fn taps(&self) -> &Arc<Taps> {
        &self.taps
    }

    /// Waits until every component has started, and returns the line that says so.
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

/// Registers the channel's gauges for monitoring, for as long as the channel exists.
fn watch_gauges(registry: &MetricsRegistry, name: &str, channel: &Arc<CountedChannel>) {
    let channel = Arc::downgrade(channel);
    let look = move || channel.upgrade()?.reading();
    registry.watch_channel(name, Arc::new(look));
}

/// Returns once a start of every sink was attempted, or will not be.
pub(super) async fn all_tried(flags: Vec<watch::Receiver<bool>>) {
    for mut flag in flags {
        let _ = flag.wait_for(|tried| *tried).await;
    }
}

async fn all_true(flags: Vec<watch::Receiver<bool>>) {
    for mut flag in flags {
        if flag.wait_for(|set| *set).await.is_err() && !*flag.borrow() {
            // Its task is gone and will never start: the stop ends the wait.
            std::future::pending::<()>().await;
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
