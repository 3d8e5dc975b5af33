//! The source against the mock cluster of librdkafka.

mod real_kafka;

use super::*;
use crate::client::tests::{Cluster, LIMIT, cluster_of, record, settings as client_settings};
use crate::client::{Deliveries, KafkaConsumer, KafkaProducer, TopicPartition};
use crate::settings::ClientRole;
use millpond::{
    Channel, Event, FileChannel, FileChannelOptions, MemoryChannel, MemoryOptions, SystemClock,
};
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::context::{SourceStage, StopSignal};
use millpond_flow::intake::{ChannelProcessor, NamedChannel};
use millpond_flow::selector::Replicating;
use millpond_flow::settings::{Settings, SettingsReader};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A source that runs.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Failure>>,
}

impl Running {
    /// Stops it and waits for its end.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }
}

fn context(channel: &Arc<dyn Channel>) -> (watch::Sender<bool>, SourceContext) {
    let (stop, signal) = StopSignal::new();
    let named = NamedChannel { name: "c1".to_owned(), channel: Arc::clone(channel) };
    let selector = Box::new(Replicating::new(&["c1".to_owned()], &[]).0);
    let counters = Arc::default();
    let intake = ChannelProcessor::new("r1", selector, vec![named], Arc::clone(&counters));
    let context = SourceContext {
        name: "r1".to_owned(),
        intake: Arc::new(intake),
        stop: signal,
        begun: watch::channel(SourceStage::No).0,
        clock: Arc::new(SystemClock::new()),
        counters,
        client_errors: Arc::default(),
        clients: ClientLimits::for_tests(),
    };
    (stop, context)
}

/// Runs a source over `channel`, again after a failure as the flow does.
fn run(servers: &str, topic: &str, more: &[(&str, &str)], channel: &Arc<dyn Channel>) -> Running {
    let group = format!("g-{topic}");
    let mut pairs = vec![
        ("kafka.bootstrap.servers", servers),
        ("kafka.topics", topic),
        ("kafka.consumer.group.id", group.as_str()),
        ("kafka.consumer.auto.offset.reset", "earliest"),
        ("batchDurationMillis", "200"),
    ];
    pairs.extend(more);
    let settings = Settings::from_pairs("r1", &pairs);
    let source = KafkaSourceSettings::read(&mut SettingsReader::new(&settings)).unwrap();
    let source = KafkaSource(Arc::new(source));
    let (stop, context) = context(channel);
    let task = tokio::spawn(async move {
        loop {
            match source.run(&context).await {
                Ok(()) => return Ok(()),
                Err(_) if context.stop.fired() => return Ok(()),
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        }
    });
    Running { stop, task }
}

fn memory(capacity: usize) -> Arc<dyn Channel> {
    let options = MemoryOptions {
        capacity: capacity as u64,
        transaction_capacity: capacity,
        keep_alive: Duration::ZERO,
        ..MemoryOptions::default()
    };
    Arc::new(MemoryChannel::new(options).unwrap())
}

fn file(directory: &std::path::Path) -> Arc<dyn Channel> {
    let mut options = FileChannelOptions::new(directory.join("cp"), [directory.join("data")]);
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 1 << 20;
    options.keep_alive = Duration::ZERO;
    Arc::new(FileChannel::open(options).unwrap())
}

fn produce(servers: &str, topic: &str, bodies: &[String]) {
    let settings = client_settings(servers, ClientRole::Producer, &[]);
    let (producer, sent) = (KafkaProducer::new(&settings, "p").unwrap(), Deliveries::default());
    for (number, body) in bodies.iter().enumerate() {
        producer.send(&record(topic, body.as_bytes()), &sent, number).unwrap();
    }
    assert_eq!(sent.complete_blocking(LIMIT), Some(Vec::new()));
}

/// Takes events until `count` are there, and for a second more.
async fn taken(channel: &Arc<dyn Channel>, count: usize) -> Vec<Event> {
    let mut all = Vec::new();
    let mut quiet = 0;
    while quiet < if all.len() < count { 150 } else { 5 } {
        let mut take = channel.begin_take();
        let events = take.take_async(100).await.unwrap();
        quiet = if events.is_empty() { quiet + 1 } else { 0 };
        all.extend(events);
        take.commit_async().await.unwrap();
        if quiet > 0 {
            sleep(Duration::from_millis(200)).await;
        }
    }
    all
}

fn bodies(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| String::from_utf8_lossy(&event.body).into_owned();
    let mut all: Vec<String> = events.iter().map(text).collect();
    all.sort_by_key(|body| body.parse::<u32>().unwrap_or(u32::MAX));
    all
}

fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

fn topic() -> Cluster {
    cluster_of(&[("t", 2)])
}

#[tokio::test(flavor = "multi_thread")]
async fn records_become_events_and_their_offsets_are_committed() {
    let cluster = topic();
    let servers = cluster.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    let channel = file(directory.path());
    produce(&servers, "t", &numbers(0, 50));
    let running = run(&servers, "t", &[], &channel);
    let events = taken(&channel, 50).await;
    assert_eq!(bodies(&events), numbers(0, 50));
    assert!(events.iter().all(|event| event.headers.get("topic") == Some("t")));
    running.stop().await;
    let pairs = [("kafka.consumer.group.id", "g-t")];
    let settings = client_settings(&servers, ClientRole::Consumer, &pairs);
    let reader = KafkaConsumer::new(&settings, "reader").unwrap();
    let all = [0, 1].map(|partition| TopicPartition { topic: "t".into(), partition });
    let committed = reader.committed(&all, LIMIT).unwrap();
    assert_eq!(committed.iter().map(|place| place.offset).sum::<i64>(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_channel_gets_what_it_has_room_for_and_the_rest_later() {
    let cluster = topic();
    let servers = cluster.bootstrap_servers();
    let channel = memory(5);
    produce(&servers, "t", &numbers(0, 23));
    let running = run(&servers, "t", &[("batchSize", "1000")], &channel);
    for _ in 0..300 {
        if channel.status().events == 5 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(channel.status().events, 5);
    assert_eq!(bodies(&taken(&channel, 23).await), numbers(0, 23));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_an_event_goes_to_the_dead_letters() {
    let cluster = topic();
    let servers = cluster.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let channel = memory(100);
    let datum = crate::record::encode(&Event::new("1"));
    produce(&servers, "t", &["plain text".to_owned(), String::from_utf8(datum).unwrap()]);
    let more = [("useFlumeEventFormat", "true"), ("deadLetter.directory", path)];
    let running = run(&servers, "t", &more, &channel);
    assert_eq!(bodies(&taken(&channel, 1).await), ["1"]);
    running.stop().await;
    let files: Vec<_> = std::fs::read_dir(path).unwrap().collect();
    let stored = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    assert!(stored.contains("plain text") && stored.lines().count() == 1, "{stored}");
}
