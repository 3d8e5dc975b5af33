use super::build::{AgentPlan, ComponentTypes};
use super::reload::ReloadReport;
use super::supervise::LiveAgent;
use millpond::{BoxFuture, Event, SystemClock};
use millpond_config::load;
use millpond_flow::metrics::{MetricValue, MetricsRegistry};
use millpond_flow::settings::{
    ConfigFinding, Key, KeyKind, SettingError, SettingsReader, Severity,
};
use millpond_flow::sink::{Sink, SinkContext, SinkType};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

mod adapter_channel;
mod faulty_proxy;
mod reload;
mod server_failures;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What the components of a test did, by the test's name (their setting `log`).
static DID: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

fn did(log: &str) -> Vec<String> {
    let did = DID.lock().unwrap_or_else(PoisonError::into_inner);
    did.get(log).cloned().unwrap_or_default()
}

fn note(log: &str, what: impl Into<String>) {
    let mut did = DID.lock().unwrap_or_else(PoisonError::into_inner);
    did.entry(log.to_owned()).or_default().push(what.into());
}

const KEYS: &[Key] = &[
    Key { name: "log", kind: KeyKind::Text, default: "", meaning: "The test's name." },
    Key { name: "mode", kind: KeyKind::Word, default: "", meaning: "What it does." },
    Key { name: "number", kind: KeyKind::Number, default: "", meaning: "A number." },
];

/// A source that puts three events and waits; or hangs, or panics.
struct MisbehavingSource {
    log: String,
    mode: Option<&'static str>,
}

fn trial(reader: &mut SettingsReader<'_>) -> Result<MisbehavingSource, SettingError> {
    reader.number("number", 0..=9)?;
    let mode = reader.word("mode", &["hang", "panic", "once", "refuse", "unfit", "wait"])?;
    Ok(MisbehavingSource { log: reader.text("log").unwrap_or_default().to_owned(), mode })
}

impl Source for MisbehavingSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            context.started();
            match self.mode {
                Some("hang") => std::future::pending().await,
                Some("panic") => panic!("scripted"),
                Some("wait") => {
                    context.stop.wait().await;
                    return Ok(());
                }
                _ => {}
            }
            for n in 0..3 {
                let event = Event::new(format!("{} {n}", context.name));
                context.intake.commit(vec![event]).await.expect("there is room");
            }
            note(&self.log, format!("{} put all", context.name));
            if self.mode == Some("once") {
                return Ok(());
            }
            context.stop.wait().await;
            note(&self.log, format!("{} stopped", context.name));
            Ok(())
        })
    }
}

impl Sink for MisbehavingSource {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        let unfit = self.mode == Some("unfit");
        Box::pin(async move { if unfit { Err(Failure::new("no such store")) } else { Ok(()) } })
    }

    fn batch_events(&self) -> usize {
        1
    }

    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        if self.mode == Some("refuse") {
            note(&self.log, format!("{} refuses", context.name));
            return Box::pin(async { Err(Failure::new("scripted")) });
        }
        note(&self.log, format!("{} open", context.name));
        context.counters.connection_created.add(1);
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.mode == Some("hang") {
                note(&self.log, format!("{} hangs", context.name));
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(20)).await;
            note(&self.log, String::from_utf8(batch[0].body.to_vec()).unwrap());
            Ok(())
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        note(&self.log, format!("{} stopped", context.name));
        Box::pin(async { Ok(()) })
    }
}

const TYPES: ComponentTypes = ComponentTypes {
    channels: &[],
    selectors: millpond_flow::selector::TYPES,
    processors: millpond_flow::processor::TYPES,
    interceptors: millpond_flow::interceptor::TYPES,
    sources: &[&SourceType {
        names: &["trial"],
        keys: KEYS,
        build: |reader| Ok(Box::new(trial(reader)?)),
    }],
    sinks: &[&SinkType {
        names: &["trial"],
        keys: KEYS,
        build: |reader| Ok(Box::new(trial(reader)?)),
    }],
};

/// One source `r1`, one sink `k1`, a memory channel `c1` between them, and `more` lines.
fn configuration(log: &str, more: &str) -> String {
    format!(
        "a.sources = r1\na.channels = c1\na.sinks = k1\n\
         a.sources.r1.type = trial\na.sources.r1.channels = c1\na.sources.r1.log = {log}\n\
         a.sinks.k1.type = trial\na.sinks.k1.channel = c1\na.sinks.k1.log = {log}\n\
         a.channels.c1.type = memory\n{more}\n"
    )
}

fn planned(text: &str) -> (AgentPlan, Vec<ConfigFinding>) {
    planned_with(text, TYPES)
}

fn planned_with(text: &str, types: ComponentTypes) -> (AgentPlan, Vec<ConfigFinding>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.conf");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, "a", &BTreeMap::new(), &types.catalogue()).unwrap();
    AgentPlan::new(&loaded.agent, &types)
}

fn start(text: &str) -> (LiveAgent, Arc<MetricsRegistry>) {
    start_plan(planned(text).0)
}

fn start_plan(plan: AgentPlan) -> (LiveAgent, Arc<MetricsRegistry>) {
    let registry = Arc::new(MetricsRegistry::default());
    let clients = super::client_limits::of_process(&BTreeMap::new(), registry.client_totals());
    let clock = Arc::new(SystemClock::new());
    let running = LiveAgent::start(plan, &registry, clock, clients, Handle::current());
    (running, registry)
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn says_when_all_runs_and_stops_sources_then_sinks_which_empty_memory() {
    let log = "ordered";
    let (running, registry) = start(&configuration(log, ""));
    let line = timeout(TIMEOUT, running.all_started()).await.unwrap();
    assert_eq!(line, "agent a started: 1 source, 1 channel, 1 sink");
    until("all events are put", || did(log).contains(&"r1 put all".to_owned())).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
    let mut did = did(log);
    assert_eq!(did.remove(0), "k1 open", "sinks open before sources run");
    let place = |what: &str| did.iter().position(|d| d == what).unwrap_or_else(|| panic!("{what}"));
    assert!(place("r1 stopped") < place("k1 stopped"));
    for event in ["r1 0", "r1 1", "r1 2"] {
        assert!(place(event) < place("k1 stopped"), "{event} was lost in the channel");
    }
    let components = registry.components();
    assert_eq!(components.sources["r1"].event_accepted.get(), 3);
    assert_eq!(components.sinks["k1"].event_drain_success.get(), 3);
    assert_eq!(components.channels["c1"].event_take_success.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_cut_off_within_the_deadline_and_named() {
    let log = "hung";
    let more = "a.sinks.k1.mode = hang\na.sources = r1 r2\na.sources.r2.type = trial\n\
                a.sources.r2.channels = c1\na.sources.r2.mode = hang";
    let (running, _) = start(&configuration(log, more));
    until("the sink hangs", || did(log).contains(&"k1 hangs".to_owned())).await;
    // A source that hangs leaves a tenth of a second for emptying the channel.
    let stopping = running.stop(Duration::from_millis(1500));
    let cut_off = timeout(TIMEOUT / 2, stopping).await.expect("the deadline holds");
    assert_eq!(cut_off, ["source r2"], "a delivery that hangs ends by itself");
    assert!(did(log).contains(&"k1 stopped".to_owned()));
    assert!(did(log).contains(&"r1 stopped".to_owned()), "one that hangs does not keep others");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_for_ever_does_not_disturb_the_others() {
    let log = "panics";
    let more = "a.sources = r1 r2\na.sources.r2.type = trial\n\
                a.sources.r2.channels = c1\na.sources.r2.mode = panic";
    let (running, registry) = start(&configuration(log, more));
    until("it was started again", || registry.source("r2").restarts.get() >= 3).await;
    until("the events are there", || did(log).contains(&"r1 2".to_owned())).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[test]
fn a_component_that_cannot_work_with_its_settings_is_left_out_and_named() {
    let (plan, findings) = planned(&configuration("", "a.sources.r1.number = ten"));
    assert!(plan.sources.is_empty());
    assert_eq!(plan.sinks.len(), 1);
    let [finding] = &findings[..] else { panic!("one finding, not {findings:?}") };
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!((finding.key.as_str(), finding.place.line), ("a.sources.r1.number", 11));
    assert!(finding.message.contains("ten"), "{finding}");
    assert!(finding.message.ends_with("; the source is left out"), "{finding}");
    let (plan, findings) = planned(&configuration("", "a.sinks.k1.number = ten"));
    assert!(plan.sinks.is_empty());
    assert!(findings[0].message.ends_with("; the sink is left out"), "{}", findings[0]);
}

#[tokio::test]
async fn a_source_that_has_read_all_its_input_does_not_end_the_agent() {
    let log = "once";
    let (running, _) = start(&configuration(log, "a.sources.r1.mode = once"));
    timeout(TIMEOUT, running.all_started()).await.unwrap();
    until("the events are there", || did(log).contains(&"r1 2".to_owned())).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

fn file_channel(name: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "a.channels.{name}.type = file\na.channels.{name}.checkpointDir = {dir}/checkpoint\n\
         a.channels.{name}.dataDirs = {dir}/data\na.channels.{name}.maxFileSize = 65536\n\
         a.channels.{name}.minimumRequiredSpace = 1048576\n"
    )
}

#[tokio::test]
async fn a_channel_that_cannot_be_opened_is_tried_again_while_the_rest_runs() {
    let log = "opens";
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    std::fs::write(&blocked, "a file where a directory is meant").unwrap();
    let more = format!(
        "a.channels = c1 c2\na.sources = r1 r2\na.sources.r2.type = trial\n\
         a.sources.r2.channels = c2\na.sources.r2.log = {log}\na.sources.r2.mode = once\n{}",
        file_channel("c2", &blocked)
    );
    let (running, registry) = start(&configuration(log, &more));
    until("the rest runs", || did(log).contains(&"r1 2".to_owned())).await;
    let mut started = std::pin::pin!(running.all_started());
    let early = timeout(Duration::from_millis(50), &mut started).await;
    assert!(early.is_err(), "said that all has started");
    until("it is ill", || value(&registry, "CHANNEL.c2", "Unhealthy") == MetricValue::Level(1))
        .await;
    assert_eq!(value(&registry, "CHANNEL.c2", "Open"), MetricValue::Flag(false));
    std::fs::remove_file(&blocked).unwrap();
    timeout(TIMEOUT, started).await.expect("it is opened once it can be");
    until("events enter it", || registry.channel("c2").event_put_success.get() == 3).await;
    assert_eq!(value(&registry, "CHANNEL.c2", "Unhealthy"), MetricValue::Level(0));
    assert_eq!(value(&registry, "CHANNEL.c2", "ChannelSize"), MetricValue::Level(3));
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);

    // The events of a file channel are there in the next run, and are not drained by the stop.
    let text = configuration("opens again", &file_channel("c1", &blocked))
        .replace("a.channels.c1.type = memory\n", "")
        .replace("a.sources = r1\n", "");
    let (running, _) = start(&text);
    until("they come out", || did("opens again").contains(&"r2 2".to_owned())).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

/// Does the first half of a test: `c2` is a file channel that cannot be opened until the returned
/// value is dropped.
fn blocked(dir: &Path) -> (std::path::PathBuf, String) {
    let blocked = dir.join("blocked");
    std::fs::write(&blocked, "a file where a directory is meant").unwrap();
    let channel = file_channel("c2", &blocked);
    (blocked, channel)
}

#[tokio::test]
async fn an_optional_channel_that_cannot_be_opened_blocks_no_source_and_joins_later() {
    let dir = tempfile::tempdir().unwrap();
    let (blocked, channel) = blocked(dir.path());
    let text = format!(
        "a.sources = r1\na.channels = c1 c2\na.sinks = k1\na.sinks.k1.type = null\n\
         a.sinks.k1.channel = c1\na.sources.r1.type = seq\na.sources.r1.channels = c2 c1\n\
         a.sources.r1.selector.optional = c2\na.channels.c1.type = memory\n{channel}"
    );
    let (running, registry) = start_plan(planned_with(&text, ComponentTypes::built_in()).0);
    let (source, optional) = (registry.source("r1"), registry.channel("c2"));
    until("events without it", || source.event_accepted.get() > 0).await;
    until("what it misses is counted", || source.optional_write_fail.get() > 0).await;
    assert_eq!(optional.event_put_success.get(), 0);
    std::fs::remove_file(&blocked).unwrap();
    until("it gets events", || optional.event_put_success.get() > 0).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[tokio::test]
async fn a_group_begins_with_the_sinks_whose_channel_is_open() {
    let log = "group begins";
    let dir = tempfile::tempdir().unwrap();
    let (blocked, channel) = blocked(dir.path());
    let more = format!(
        "a.channels = c1 c2\na.sources = r1 r2\na.sources.r2.type = trial\n\
         a.sources.r2.channels = c2\na.sources.r2.log = {log}\na.sinks = k2 k1\n\
         a.sinks.k2.type = trial\na.sinks.k2.channel = c2\na.sinks.k2.log = {log}\n\
         a.sinkgroups = g\na.sinkgroups.g.sinks = k2 k1\n\
         a.sinkgroups.g.processor.type = failover\n\
         a.sinkgroups.g.processor.priority.k2 = 9\n\
         a.sinkgroups.g.processor.priority.k1 = 1\n{channel}"
    );
    let (running, _) = start(&configuration(log, &more));
    until("the open one is emptied", || did(log).contains(&"r1 2".to_owned())).await;
    std::fs::remove_file(&blocked).unwrap();
    until("so is the other", || did(log).contains(&"r2 2".to_owned())).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_start_blocks_neither_a_source_nor_another_sink() {
    let log = "refuses";
    let more = "a.sinks = k1 k2\na.sinks.k1.mode = refuse\na.sinks.k2.type = trial\n\
                a.sinks.k2.channel = c1\na.sinks.k2.log = refuses";
    let began = tokio::time::Instant::now();
    let (running, _) = start(&configuration(log, more));
    until("the events are through", || did(log).contains(&"r1 2".to_owned())).await;
    // By the clock of the test, which does not advance while anything can run.
    assert!(began.elapsed() < Duration::from_secs(1), "held up for {:?}", began.elapsed());
    let mut first = did(log)[..2].to_vec();
    first.sort();
    assert_eq!(first, ["k1 refuses", "k2 open"], "sinks are tried before sources run");
    until("it is tried again", || did(log).iter().filter(|d| *d == "k1 refuses").count() > 1).await;
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
}

/// Returns the value of an attribute, as the registry shows it.
fn value(registry: &MetricsRegistry, key: &str, attribute: &str) -> MetricValue {
    let readings = registry.snapshot();
    let reading = readings.iter().find(|r| r.key() == key).unwrap_or_else(|| panic!("no {key}"));
    let found = reading.values.iter().find(|(name, _)| *name == attribute);
    found.unwrap_or_else(|| panic!("{key} has no {attribute}")).1
}

fn counts(registry: &MetricsRegistry, key: &str, expected: &[(&str, u64)]) {
    for (attribute, expected) in expected {
        assert_eq!(
            value(registry, key, attribute),
            MetricValue::Count(*expected),
            "{key} {attribute}"
        );
    }
}

/// A source of ten events in three batches, a memory channel and a file channel, a sink for each.
fn counting_agent(dir: &Path) -> AgentPlan {
    let text = format!(
        "a.sources = r1\na.channels = c1 c2\na.sinks = k1 k2\n\
         a.sources.r1.type = seq\na.sources.r1.totalEvents = 10\na.sources.r1.batchSize = 4\n\
         a.sources.r1.channels = c1 c2\na.channels.c1.type = memory\n\
         a.channels.c1.capacity = 200\n{}a.channels.c2.capacity = 20000\n\
         a.sinks.k1.type = null\na.sinks.k1.channel = c1\n\
         a.sinks.k2.type = file_roll\na.sinks.k2.channel = c2\n\
         a.sinks.k2.sink.directory = {}\n",
        file_channel("c2", dir),
        dir.join("out").display()
    );
    planned_with(&text, ComponentTypes::built_in()).0
}

#[tokio::test]
async fn a_running_agent_counts_under_flumes_names() {
    let dir = tempfile::tempdir().unwrap();
    let (running, registry) = start_plan(counting_agent(dir.path()));
    for sink in ["k1", "k2"] {
        let counters = registry.sink(sink);
        until("all is drained", || counters.event_drain_success.get() == 10).await;
    }
    timeout(TIMEOUT, running.all_started()).await.unwrap();
    let source = registry.source("r1");
    until("it has ended", || source.done.get() > 0).await;
    counts(
        &registry,
        "SOURCE.r1",
        &[
            ("EventReceivedCount", 10),
            ("EventAcceptedCount", 10),
            ("AppendBatchReceivedCount", 3),
            ("AppendBatchAcceptedCount", 3),
            ("ChannelWriteFail", 0),
        ],
    );
    for (channel, capacity) in [("CHANNEL.c1", 200), ("CHANNEL.c2", 20_000)] {
        counts(
            &registry,
            channel,
            &[
                ("EventPutAttemptCount", 10),
                ("EventPutSuccessCount", 10),
                ("EventTakeSuccessCount", 10),
                ("CheckpointWriteErrorCount", 0),
            ],
        );
        assert_eq!(value(&registry, channel, "ChannelCapacity"), MetricValue::Level(capacity));
        // The gauge is current, although only the snapshot has read the channel.
        assert_eq!(value(&registry, channel, "ChannelSize"), MetricValue::Level(0));
        assert_eq!(value(&registry, channel, "ChannelFillPercentage"), MetricValue::Percent(0.0));
        assert_eq!(value(&registry, channel, "Open"), MetricValue::Flag(true));
        assert_eq!(value(&registry, channel, "StopTime"), MetricValue::Level(0));
    }
    for sink in ["SINK.k1", "SINK.k2"] {
        counts(&registry, sink, &[("EventDrainAttemptCount", 10), ("EventWriteFail", 0)]);
        assert_eq!(value(&registry, sink, "StopTime"), MetricValue::Level(0));
    }
    // Only a component that connects outside has a connection.
    counts(&registry, "SINK.k1", &[("ConnectionCreatedCount", 0)]);
    counts(&registry, "SINK.k2", &[("ConnectionCreatedCount", 1)]);
    assert_eq!(running.stop(TIMEOUT).await, [""; 0]);
    for channel in ["CHANNEL.c1", "CHANNEL.c2"] {
        assert_eq!(value(&registry, channel, "Open"), MetricValue::Flag(false));
        assert_eq!(value(&registry, channel, "Closed"), MetricValue::Level(1));
    }
    counts(&registry, "SINK.k2", &[("ConnectionClosedCount", 1)]);
    for component in ["SOURCE.r1", "SINK.k1", "CHANNEL.c2"] {
        let MetricValue::Level(began) = value(&registry, component, "StartTime") else { panic!() };
        let MetricValue::Level(ended) = value(&registry, component, "StopTime") else { panic!() };
        assert!(began > 1_600_000_000_000 && ended > 1_600_000_000_000, "{component}");
    }
}
