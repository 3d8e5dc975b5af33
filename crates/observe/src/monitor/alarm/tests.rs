//! Tests of the evaluator with simulated time.

use super::alarm_record::Alarm;
use super::evaluator::{AlarmChange, AlarmEvaluator, PersistedAlarms};
use super::observation::{AgentSnapshot, EvaluationTime, FreeSpace};
use super::settings::AlarmSettings;
use millpond::internal::disk::Space;
use millpond::{Clock, FaultCause, FaultKind, FaultPlace, ManualClock, StripeStatus, SystemClock};
use millpond_config::{Catalogue, ConfigText, TypeEntry, load_texts};
use millpond_flow::codes;
use millpond_flow::metrics::{
    ChannelReading, ClientConnection, ClientId, ComponentId, ComponentRole, MetricsRegistry,
    SinkPhase,
};
use millpond_flow::processor::ProcessorType;
use millpond_flow::selector::SelectorType;
use millpond_flow::settings::ConfigFinding;
use millpond_flow::sink::SinkType;
use millpond_flow::source::SourceType;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod clients;
mod sources;

/// Two sources, a channel in memory and one on disk, a sink and a group.
const AGENT: &str = "a.sources = r1 r2\na.channels = c1 c2\na.sinks = k1 k2 k3\na.sinkgroups = g1\n\
    a.sources.r1.type = avro\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = 0\na.sources.r1.channels = c1\n\
    a.sources.r2.type = netcat\na.sources.r2.bind = 127.0.0.1\na.sources.r2.port = 0\na.sources.r2.channels = c2\n\
    a.channels.c1.type = memory\na.channels.c2.type = file\na.channels.c2.checkpointDir = /c2/checkpoint\n\
    a.channels.c2.dataDirs = /c2/data1,/c2/data2\na.channels.c2.minimumRequiredSpace = 1048576\n\
    a.sinks.k1.type = null\na.sinks.k1.channel = c1\na.sinks.k2.type = null\na.sinks.k2.channel = c2\n\
    a.sinks.k3.type = null\na.sinks.k3.channel = c2\na.sinkgroups.g1.sinks = k2 k3\n\
    a.sinkgroups.g1.processor.type = failover\na.sinkgroups.g1.processor.priority.k2 = 1\n\
    a.sinkgroups.g1.processor.priority.k3 = 2\n";

/// Returns the catalogue of the agents here.
pub(super) fn catalogue() -> Catalogue {
    let source = |kind: &&SourceType| TypeEntry { names: kind.names, keys: kind.keys };
    let selector = |kind: &&SelectorType| TypeEntry { names: kind.names, keys: kind.keys };
    let processor = |kind: &&ProcessorType| TypeEntry { names: kind.names, keys: kind.keys };
    let sink = |kind: &&SinkType| TypeEntry { names: kind.names, keys: kind.keys };
    Catalogue {
        sources: millpond_adapters::source::TYPES.iter().map(source).collect(),
        selectors: millpond_flow::selector::TYPES.iter().map(selector).collect(),
        sink_processors: millpond_flow::processor::TYPES.iter().map(processor).collect(),
        sinks: millpond_adapters::sink::TYPES.iter().map(sink).collect(),
        ..Catalogue::built_in()
    }
}

/// Returns the settings that `more` lines below `a.alarms.` make, and the findings in them.
pub(super) fn read(more: &str) -> (AlarmSettings, Vec<ConfigFinding>) {
    let mut text = AGENT.to_owned();
    for line in more.lines() {
        let _ = writeln!(text, "a.alarms.{}", line.trim());
    }
    let texts = [ConfigText { name: PathBuf::from("a.conf"), bytes: text.into_bytes() }];
    let loaded = load_texts(&texts, "a", &BTreeMap::new(), &catalogue()).expect("it can run");
    assert_eq!(loaded.findings, [], "only alarms are looked at here");
    AlarmSettings::read(&loaded.agent)
}

/// A healthy agent, and an evaluator that looks at it once a second.
struct AlarmHarness {
    evaluator: AlarmEvaluator,
    seconds: u64,
    registry: MetricsRegistry,
    channels: Arc<Mutex<BTreeMap<String, ChannelReading>>>,
    spaces: BTreeMap<PathBuf, FreeSpace>,
    refused: Option<String>,
    /// How far the wall clock was set forward.
    wall_jump_ms: u64,
}

impl AlarmHarness {
    fn new(more: &str) -> Self {
        Self::with(more, PersistedAlarms::default())
    }

    fn with(more: &str, kept: PersistedAlarms) -> Self {
        let (settings, findings) = read(more);
        assert_eq!(findings, []);
        let registry = MetricsRegistry::default();
        let member = |role, name: &str, kind| ComponentId { role, name: name.to_owned(), kind };
        registry.keep(&[
            member(ComponentRole::Source, "r1", "avro"),
            member(ComponentRole::Source, "r2", "netcat"),
            member(ComponentRole::Channel, "c1", "memory"),
            member(ComponentRole::Channel, "c2", "file"),
            member(ComponentRole::Sink, "k1", "null"),
            member(ComponentRole::Sink, "k2", "null"),
            member(ComponentRole::Sink, "k3", "null"),
        ]);
        let channels = Arc::new(Mutex::new(BTreeMap::new()));
        for name in ["c1", "c2"] {
            registry.channel(name).open.set(1);
            registry.channel(name).capacity.set(100);
            channels.lock().unwrap().insert(name.to_owned(), ChannelReading::default());
            let shown = Arc::clone(&channels);
            let look = move || shown.lock().unwrap().get(name).cloned();
            registry.watch_channel(name, Arc::new(look));
        }
        for name in ["r1", "r2"] {
            registry.source(name).started(1);
            registry.source(name).up.set(1);
        }
        let evaluator = AlarmEvaluator::new(Arc::new(settings), kept);
        let (spaces, refused) = (BTreeMap::new(), None);
        Self { evaluator, seconds: 0, registry, channels, spaces, refused, wall_jump_ms: 0 }
    }

    /// Evaluates once, a second after the last time; returns the changes as text.
    fn look(&mut self) -> Vec<String> {
        self.seconds += 1;
        let sources = self.registry.components().sources;
        let unheard = sources.iter().map(|(name, source)| (name.clone(), source.clients.unheard()));
        let unheard = unheard.collect();
        let heard = sources.into_iter();
        let view = AgentSnapshot {
            readings: self.registry.snapshot(),
            heard: heard.map(|(name, source)| (name, source.clients.take_heard())).collect(),
            unheard,
            spaces: self.spaces.clone(),
            refused: self.refused.clone(),
            last: Vec::new(),
        };
        let now = Duration::from_secs(self.seconds);
        let at = EvaluationTime {
            now,
            wall_ms: 1_700_000_000_000 + self.seconds * 1000 + self.wall_jump_ms,
        };
        let named = |alarm: &Alarm| {
            let words =
                format!("{} {} {}", alarm.kind.entry().id(), alarm.component, alarm.subject);
            words.trim_end().to_owned()
        };
        let words = |change: AlarmChange| match change {
            AlarmChange::Raised(alarm) => format!("raised {}", named(&alarm)),
            AlarmChange::Still(alarm) => format!("still {}", named(&alarm)),
            AlarmChange::Cleared(alarm) => {
                let why = alarm.cleared.as_ref().expect("it is over").why.clone();
                format!("cleared {}: {why}", named(&alarm))
            }
            AlarmChange::Note(words) => format!("note {words}"),
        };
        self.evaluator.look(at, &view).into_iter().map(words).collect()
    }

    /// Evaluates so often; returns the changes, with the second of each, from 1.
    fn pass(&mut self, seconds: u64) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        for second in 1..=seconds {
            all.extend(self.look().into_iter().map(|words| (second, words)));
        }
        all
    }

    fn size(&self, channel: &str, events: u64) {
        self.registry.channel(channel).size.set(events);
    }

    fn set(&self, channel: &str, reading: ChannelReading) {
        self.channels.lock().unwrap().insert(channel.to_owned(), reading);
    }

    fn meet(&self, address: [u8; 4], agent: &str, sink: &str) -> ClientConnection {
        let client = ClientId::new(address.into(), agent, sink);
        let contact = self.registry.source("r1").clients.meet(client).expect("there is room");
        contact.accepted();
        contact
    }

    /// Returns the next run of the agent, with what this one stored.
    fn restarted(self, more: &str) -> Self {
        Self::with(more, self.evaluator.kept())
    }
}

fn at(second: u64, words: &str) -> (u64, String) {
    (second, words.to_owned())
}

#[test]
fn an_agent_that_is_well_has_no_alarm() {
    let mut rig = AlarmHarness::new("");
    assert_eq!(rig.pass(1000), []);
    assert!(!rig.evaluator.take_changed());
    assert_eq!(rig.evaluator.kept(), PersistedAlarms { next: 1, ..PersistedAlarms::default() });
}

#[test]
fn a_channel_is_full_when_it_stays_so_and_is_not_when_it_has_come_well_below() {
    let mut rig = AlarmHarness::new("channelFill.seconds = 5\nsinkStalled.enabled = false");
    rig.size("c1", 80);
    assert_eq!(rig.pass(5), []);
    // A short dip is not a recovery, and does not restart the wait.
    rig.size("c1", 10);
    assert_eq!(rig.pass(3), []);
    rig.size("c1", 95);
    assert_eq!(rig.pass(30), [at(1, "raised 90001 CHANNEL.c1")]);
    let [alarm] = &rig.evaluator.active()[..] else { panic!("one") };
    assert_eq!(alarm.parameters["channelFillPercentage"], "95");
    assert_eq!(alarm.parameters["channelSize"], "95");
    // Between the two limits nothing changes.
    rig.size("c1", 75);
    assert_eq!(rig.pass(100), []);
    rig.size("c1", 69);
    assert_eq!(rig.pass(9), []);
    rig.size("c1", 81);
    assert_eq!(rig.pass(100), []);
    rig.size("c1", 0);
    assert_eq!(rig.pass(100), [at(11, "cleared 90001 CHANNEL.c1: the problem is over")]);
    assert_eq!(rig.evaluator.history().len(), 1);
}

#[test]
fn what_is_good_must_be_seen_to_be_good_without_a_break() {
    let mut rig = AlarmHarness::new("channelFill.seconds = 0\nsinkStalled.enabled = false");
    rig.size("c1", 80);
    assert_eq!(rig.pass(1), [at(1, "raised 90001 CHANNEL.c1")]);
    rig.size("c1", 69);
    assert_eq!(rig.pass(9), []);
    rig.size("c1", 75);
    assert_eq!(rig.pass(5), [], "between the limits");
    rig.size("c1", 69);
    assert_eq!(rig.pass(9), []);
    // The counts of a closed channel say nothing.
    let open = rig.channels.lock().unwrap().remove("c1").expect("open");
    rig.size("c1", 0);
    assert_eq!(rig.pass(50), [], "it cannot be seen");
    rig.size("c2", 100);
    rig.channels.lock().unwrap().remove("c2");
    assert_eq!(rig.pass(50), [], "nor is it found bad");
    rig.set("c1", open);
    assert_eq!(rig.pass(50), [at(11, "cleared 90001 CHANNEL.c1: the problem is over")]);
}

#[test]
fn a_channel_fails_when_it_is_closed_or_says_why_it_refuses() {
    let mut rig = AlarmHarness::new("channelFailing.seconds = 0");
    let channel = rig.registry.channel("c1");
    channel.unhealthy.set(1);
    assert_eq!(rig.pass(50), [], "for its capacity it may refuse");
    let trouble = Some("no disk".to_owned());
    rig.set("c1", ChannelReading { trouble, ..ChannelReading::default() });
    assert_eq!(rig.pass(3), [at(1, "raised 90010 CHANNEL.c1")]);
    rig.set("c1", ChannelReading::default());
    assert_eq!(rig.pass(20), [at(11, "cleared 90010 CHANNEL.c1: the problem is over")]);
    channel.open.set(0);
    rig.channels.lock().unwrap().remove("c1");
    assert_eq!(rig.pass(3), [at(1, "raised 90010 CHANNEL.c1")]);
}

#[test]
fn one_component_can_have_settings_of_its_own() {
    let mut rig = AlarmHarness::new(
        "channelFill.seconds = 0\nchannelFill.c2.percent = 95\nchannelFill.c2.severity = minor\n\
         channelSize.c2.events = 50\nchannelSize.seconds = 0\nsinkStalled.enabled = false",
    );
    rig.size("c1", 90);
    rig.size("c2", 90);
    let raised = [at(1, "raised 90001 CHANNEL.c1"), at(1, "raised 90002 CHANNEL.c2")];
    assert_eq!(rig.pass(3), raised);
    rig.size("c2", 96);
    assert_eq!(rig.pass(3), [at(1, "raised 90001 CHANNEL.c2")]);
    let active = rig.evaluator.active();
    let severities: Vec<&str> = active.iter().map(|alarm| alarm.severity.word()).collect();
    assert_eq!(severities, ["major", "minor", "major"]);
    // An alarm that a changed configuration does not watch any more is cleared.
    let (settings, _) = read("channelFill.enabled = false\nsinkStalled.enabled = false");
    rig.evaluator.adopt(Arc::new(settings));
    let gone = "it is no longer watched";
    let cleared = [
        at(1, &format!("cleared 90001 CHANNEL.c1: {gone}")),
        at(1, &format!("cleared 90001 CHANNEL.c2: {gone}")),
        at(1, &format!("cleared 90002 CHANNEL.c2: {gone}")),
    ];
    assert_eq!(rig.pass(3), cleared);
}

#[test]
fn a_sink_that_hangs_is_seen_in_its_time_and_one_that_is_slow_is_not() {
    let mut rig = AlarmHarness::new("sinkStalled.seconds = 20");
    rig.size("c1", 5);
    for _ in 0..10 {
        assert_eq!(rig.pass(15), [], "it delivers, slowly");
        rig.registry.sink("k1").delivery.note(Duration::ZERO);
    }
    assert_eq!(rig.pass(30), [at(21, "raised 90004 SINK.k1")]);
    let [alarm] = &rig.evaluator.active()[..] else { panic!("one") };
    assert!(alarm.message.contains("5 events waiting in c1"), "{}", alarm.message);
    rig.registry.sink("k1").delivery.note(Duration::ZERO);
    assert_eq!(rig.pass(5), [at(1, "cleared 90004 SINK.k1: the problem is over")]);
    // With nothing to deliver, no delivery is right.
    rig.size("c1", 0);
    assert_eq!(rig.pass(100), []);
    rig.size("c1", 1);
    assert_eq!(rig.pass(50), [at(20, "raised 90004 SINK.k1")]);
}

#[test]
fn a_sink_that_waits_for_what_another_holds_is_not_blamed() {
    let mut rig = AlarmHarness::new("sinkStalled.seconds = 20");
    let (sink, clock) = (rig.registry.sink("k1"), Arc::new(SystemClock::new()) as Arc<dyn Clock>);
    rig.size("c1", 5);
    sink.phases.enter(SinkPhase::Waiting, &clock);
    assert_eq!(rig.pass(100), []);
    sink.phases.enter(SinkPhase::Delivering, &clock);
    assert_eq!(rig.pass(50), [at(20, "raised 90004 SINK.k1")]);
    sink.phases.enter(SinkPhase::Waiting, &clock);
    assert_eq!(rig.pass(50), [], "that is not a delivery");
    sink.delivery.note(Duration::ZERO);
    assert_eq!(rig.pass(5), [at(1, "cleared 90004 SINK.k1: the problem is over")]);
}

#[test]
fn a_group_that_waits_is_not_blamed_although_one_of_its_sinks_rests() {
    let mut rig = AlarmHarness::new("sinkStalled.seconds = 20");
    let clock = Arc::new(SystemClock::new()) as Arc<dyn Clock>;
    rig.size("c2", 5);
    rig.registry.sink("k3").phases.enter(SinkPhase::Resting, &clock);
    rig.registry.sink("k2").phases.enter(SinkPhase::Waiting, &clock);
    assert_eq!(rig.pass(100), []);
    rig.registry.sink("k2").phases.enter(SinkPhase::Resting, &clock);
    assert_eq!(rig.pass(50), [at(20, "raised 90004 SINKGROUP.g1")]);
}

#[test]
fn a_sink_that_hangs_is_said_to_hang_although_tries_failed_before() {
    for (hangs, says) in [(true, "it has waited for a reply for 2"), (false, "its attempts fail")] {
        let mut rig = AlarmHarness::new("sinkStalled.seconds = 20");
        let (sink, time) = (rig.registry.sink("k1"), Arc::new(ManualClock::default()));
        let clock = time.clone() as Arc<dyn Clock>;
        rig.size("c1", 5);
        sink.failing.set(1);
        sink.failure.note(&codes::SINK_FAILING, "Connection refused", 0);
        for _ in 0..25 {
            if !hangs {
                sink.phases.enter(SinkPhase::Resting, &clock);
            }
            sink.phases.enter(SinkPhase::Delivering, &clock);
            time.advance(Duration::from_secs(1));
            rig.look();
        }
        let [alarm] = &rig.evaluator.active()[..] else { panic!("one") };
        assert!(alarm.message.contains(says), "{}", alarm.message);
        let cause = alarm.message.ends_with("its attempts fail: Connection refused (MP-3001)");
        assert_eq!(cause, !hangs, "{}", alarm.message);
        let parameters = ["cause", "causeCode"].map(|key| alarm.parameters.get(key).cloned());
        let known = ["Connection refused", "MP-3001"].map(|text| Some(text.to_owned()));
        assert_eq!(parameters == known, !hangs, "{:?}", alarm.parameters);
    }
}

#[test]
fn a_group_delivers_when_one_of_its_sinks_does() {
    let mut rig = AlarmHarness::new("sinkStalled.seconds = 5");
    rig.size("c2", 5);
    for _ in 0..10 {
        assert_eq!(rig.pass(4), []);
        rig.registry.sink("k3").delivery.note(Duration::ZERO);
    }
    assert_eq!(rig.pass(10), [at(6, "raised 90004 SINKGROUP.g1")]);
    // Dead letters and dropped events did not arrive.
    rig.registry.sink("k2").dead_letter.add(1);
    rig.registry.sink("k2").dropped.add(1);
    assert_eq!(rig.pass(2), []);
    rig.registry.sink("k2").delivery.note(Duration::ZERO);
    assert_eq!(rig.pass(2), [at(1, "cleared 90004 SINKGROUP.g1: the problem is over")]);
}

#[test]
fn stripes_quarantine_and_channels_that_refuse_are_seen() {
    let mut rig = AlarmHarness::new("stripeSuspended.seconds = 2\nchannelFailing.seconds = 3");
    let hung = |why: &str| FaultCause::new(FaultKind::Hung, FaultPlace::default(), why);
    let stripe = |directory: &str, suspended: Option<&str>| StripeStatus {
        directory: directory.to_owned(),
        suspended: suspended.map(hung),
        ..StripeStatus::default()
    };
    let reading = |suspended, quarantined, trouble: Option<&str>| ChannelReading {
        stripes: vec![stripe("/c2/data1", None), stripe("/c2/data2", suspended)],
        trouble: trouble.map(str::to_owned),
        quarantined,
        ..ChannelReading::default()
    };
    rig.set("c2", reading(None, 0, None));
    assert_eq!(rig.pass(5), []);
    rig.set("c2", reading(Some("no answer"), 2, None));
    let raised = [at(1, "raised 90007 CHANNEL.c2"), at(3, "raised 90005 CHANNEL.c2 /c2/data2")];
    assert_eq!(rig.pass(5), raised);
    // While it is closed nothing newer is known.
    rig.channels.lock().unwrap().remove("c2");
    rig.registry.channel("c2").open.set(0);
    assert_eq!(rig.pass(5), [at(4, "raised 90010 CHANNEL.c2")]);
    rig.registry.channel("c2").open.set(1);
    rig.set("c2", reading(None, 2, None));
    let cleared = [
        at(11, "cleared 90005 CHANNEL.c2 /c2/data2: the problem is over"),
        at(11, "cleared 90010 CHANNEL.c2: the problem is over"),
    ];
    let mut seen = rig.pass(20);
    seen.sort();
    assert_eq!(seen, cleared);
    // Damaged events stay damaged; only a person can mark them as dealt with.
    let (settings, _) = read("quarantine.c2.events = 2");
    rig.evaluator.adopt(Arc::new(settings));
    assert_eq!(rig.pass(5), [at(1, "cleared 90007 CHANNEL.c2: the problem is over")]);
}

#[test]
fn an_event_that_waits_for_too_long_is_seen() {
    let mut rig = AlarmHarness::new("oldestEvent.c2.seconds = 60");
    let waits = |rig: &AlarmHarness, seconds| {
        let oldest = Duration::from_secs(seconds);
        rig.set("c2", ChannelReading { oldest, ..ChannelReading::default() });
    };
    // As long as allowed, and a part of a second.
    rig.set(
        "c2",
        ChannelReading { oldest: Duration::from_millis(60_900), ..ChannelReading::default() },
    );
    assert_eq!(rig.pass(5), []);
    waits(&rig, 61);
    assert_eq!(rig.pass(5), [at(1, "raised 90003 CHANNEL.c2")]);
    waits(&rig, 0);
    assert_eq!(rig.pass(20), [at(11, "cleared 90003 CHANNEL.c2: the problem is over")]);
}

#[test]
fn a_disk_has_one_alarm_and_needs_what_its_channel_needs() {
    let mut rig = AlarmHarness::new(
        "diskSpace.seconds = 0\ndiskSpace.freeBytes = 0\ndiskSpace.freePercent = 10",
    );
    let room = |available_bytes, device| {
        let space = Space { available_bytes, total_bytes: 100_000_000 };
        FreeSpace { space, device }
    };
    let put = |rig: &mut AlarmHarness, directory: &str, available, device| {
        rig.spaces.insert(PathBuf::from(directory), room(available, device));
    };
    put(&mut rig, "/c2/data1", 50_000_000, 1);
    put(&mut rig, "/c2/checkpoint", 50_000_000, 1);
    assert_eq!(rig.pass(3), [], "one hangs, and nothing is known of it");
    put(&mut rig, "/c2/data1", 9_999_999, 1);
    put(&mut rig, "/c2/checkpoint", 9_999_999, 1);
    assert_eq!(rig.pass(3), [at(1, "raised 90006 CHANNEL.c2 /c2/data1")]);
    // A little more is not a recovery.
    put(&mut rig, "/c2/data1", 10_500_000, 1);
    assert_eq!(rig.pass(50), []);
    put(&mut rig, "/c2/data1", 11_000_000, 1);
    assert_eq!(rig.pass(50), [at(11, "cleared 90006 CHANNEL.c2 /c2/data1: the problem is over")]);
    let mut rig = AlarmHarness::new(
        "diskSpace.seconds = 0\ndiskSpace.freeBytes = 0\ndiskSpace.freePercent = 0",
    );
    put(&mut rig, "/c2/data2", 1_048_575, 1);
    assert_eq!(rig.pass(2), [at(1, "raised 90006 CHANNEL.c2 /c2/data2")]);
}

#[test]
fn a_disk_smaller_than_free_bytes_can_be_healthy_and_shows_the_numbers_of_now() {
    let mib = 1 << 20;
    let put = |rig: &mut AlarmHarness, available_mib: u64, total_mib: u64| {
        let space = Space { available_bytes: available_mib * mib, total_bytes: total_mib * mib };
        rig.spaces.insert(PathBuf::from("/c2/data2"), FreeSpace { space, device: 1 });
    };
    let message = |rig: &AlarmHarness| rig.evaluator.active()[0].message.clone();
    let raised = [at(1, "raised 90006 CHANNEL.c2 /c2/data2")];
    let mut rig = AlarmHarness::new("diskSpace.seconds = 0");
    put(&mut rig, 147, 182);
    assert_eq!(rig.pass(5), [], "most of it is free");
    put(&mut rig, 9, 200);
    assert_eq!(rig.pass(1), raised);
    assert_eq!(message(&rig), "9216 KiB of 200 MiB are free for /c2/data2; the limit is 10 MiB");
    put(&mut rig, 0, 200);
    assert_eq!(rig.pass(5), []);
    assert!(message(&rig).starts_with("0 bytes of 200 MiB are free"), "{}", message(&rig));
    put(&mut rig, 147, 200);
    assert_eq!(rig.pass(20), [at(11, "cleared 90006 CHANNEL.c2 /c2/data2: the problem is over")]);
    // A large disk has enough with less than a share of it, unless only the share is set.
    put(&mut rig, 2048, 10 << 20);
    assert_eq!(rig.pass(5), []);
    put(&mut rig, 1023, 10 << 20);
    assert_eq!(rig.pass(1), raised);
    let mut rig = AlarmHarness::new("diskSpace.seconds = 0\ndiskSpace.freePercent = 20");
    put(&mut rig, 1 << 20, 10 << 20);
    assert_eq!(rig.pass(1), raised, "ten percent");
    let mut rig = AlarmHarness::new("diskSpace.seconds = 0\ndiskSpace.c2.freeBytes = 104857600");
    put(&mut rig, 99, 182);
    assert_eq!(rig.pass(1), raised, "half of it");
}

#[test]
fn a_source_that_falls_again_and_again_has_one_alarm() {
    let mut rig = AlarmHarness::new("sourceFailing.seconds = 20");
    let source = rig.registry.source("r2");
    let mut seen = Vec::new();
    for _ in 0..10 {
        source.restarts.add(1);
        source.up.set(0);
        seen.extend(rig.pass(2));
        source.up.set(1);
        seen.extend(rig.pass(3));
    }
    assert_eq!(seen, [at(1, "raised 90008 SOURCE.r2")]);
    assert_eq!(rig.pass(30), [at(18, "cleared 90008 SOURCE.r2: the problem is over")]);
    // A source that has read all its input does not fail.
    source.up.set(0);
    source.stopped(7);
    assert_eq!(rig.pass(100), []);
}

#[test]
fn a_refused_configuration_is_an_alarm_until_one_is_taken_over() {
    let mut rig = AlarmHarness::new("");
    rig.refused = Some("a.channels: no".to_owned());
    assert_eq!(rig.pass(5), [at(1, "raised 90009 AGENT.a")]);
    rig.refused = None;
    assert_eq!(rig.pass(5), [at(1, "cleared 90009 AGENT.a: the problem is over")]);
}

#[test]
fn without_alarms_nothing_is_looked_at() {
    let mut rig = AlarmHarness::new("enabled = false");
    rig.size("c1", 100);
    rig.refused = Some("no".to_owned());
    assert_eq!(rig.pass(1000), []);
}

#[test]
fn a_certificate_that_ends_soon_is_an_alarm_until_a_later_one_is_used() {
    let mut rig = AlarmHarness::new("certificateExpires.k1.days = 30");
    let day = 86_400;
    let now = 1_700_000_000;
    let (source, sink) = (rig.registry.source("r1"), rig.registry.sink("k1"));
    source.certificate_end.set(now + 15 * day);
    sink.peer_certificate_end.set(now + 29 * day);
    assert_eq!(rig.pass(5), [at(1, "raised 90016 SINK.k1 server")]);
    source.certificate_end.set(now + 14 * day);
    sink.certificate_end.set(now - 1);
    let raised = ["raised 90016 SINK.k1 own", "raised 90016 SOURCE.r1 own"];
    let mut seen = rig.pass(5);
    seen.sort();
    assert_eq!(seen, raised.map(|words| at(1, words)));
    source.certificate_end.set(now + 400 * day);
    sink.certificate_end.set(0);
    sink.peer_certificate_end.set(now + 31 * day);
    assert_eq!(rig.pass(5).len(), 3);
    assert_eq!(rig.pass(100), []);
}

#[test]
fn a_source_that_takes_nothing_is_an_alarm_only_where_a_setting_says_so() {
    let mut rig =
        AlarmHarness::new("sourceSilent.r2.seconds = 30\nsourceSilent.r2.severity = minor");
    assert_eq!(rig.pass(31), [at(31, "raised 90012 SOURCE.r2")]);
    rig.registry.source("r2").event_accepted.add(1);
    assert_eq!(rig.pass(29), [at(1, "cleared 90012 SOURCE.r2: the problem is over")]);
    rig.registry.source("r2").event_accepted.add(1);
    assert_eq!(rig.pass(30), []);
    assert_eq!(rig.pass(5), [at(1, "raised 90012 SOURCE.r2")]);
    let [alarm] = &rig.evaluator.active()[..] else { panic!("one") };
    assert_eq!(
        (&*alarm.parameters["silentSeconds"], &*alarm.parameters["eventsTotal"]),
        ("34", "2")
    );
}

#[test]
fn a_sink_of_a_group_that_fails_is_an_alarm_although_another_delivers() {
    let mut rig = AlarmHarness::new("sinkFailing.k3.seconds = 20");
    for sink in ["k1", "k2", "k3"] {
        rig.registry.sink(sink).failing.set(1);
    }
    rig.registry.sink("k3").failure.note(&codes::SINK_FAILING, "no such host", 0);
    let raised = [at(21, "raised 90013 SINK.k3"), at(61, "raised 90013 SINK.k2")];
    assert_eq!(rig.pass(100), raised, "one that is alone has an alarm of its own");
    let active = rig.evaluator.active();
    let of = |name: &str| active.iter().find(|alarm| alarm.component == name).expect("raised");
    let words = &of("SINK.k3").message;
    assert!(words.contains("continues without it: no such host (MP-"), "{words}");
    rig.registry.sink("k2").failing.set(0);
    let mut seen = rig.pass(30);
    seen.iter_mut().for_each(|seen| seen.0 = 0);
    assert_eq!(seen, [at(0, "cleared 90013 SINK.k2: the problem is over")]);
}
