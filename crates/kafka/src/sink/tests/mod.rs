//! Against the mock cluster of librdkafka.

mod real_kafka;

use super::*;
use crate::client::tests::{Cluster, cluster, settings as client_settings};
use crate::client::{KafkaConsumer, PartitionOffset, Polled, TopicPartition};
use crate::settings::ClientRole;
use millpond::{Channel, MemoryChannel, MemoryOptions, SystemClock};
use millpond_flow::context::StopSignal;
use millpond_flow::settings::{ConfigFinding, Settings};
use std::sync::Arc;
use std::time::Duration;

fn context() -> SinkContext {
    SinkContext {
        agent: "a1".to_owned(),
        name: "k1".to_owned(),
        stop: StopSignal::new().1,
        clock: Arc::new(SystemClock::new()),
        counters: Arc::default(),
        gives_up: true,
    }
}

fn build(
    servers: &str,
    pairs: &[(&str, &str)],
) -> (Result<KafkaSink, SettingError>, Vec<ConfigFinding>) {
    let mut all = vec![("kafka.bootstrap.servers", servers), ("kafka.topic", "t")];
    all.extend(pairs);
    let settings = Settings::from_pairs("k1", &all);
    let mut reader = SettingsReader::new(&settings);
    (KafkaSink::build(&mut reader), reader.into_findings())
}

async fn started(cluster: &Cluster, pairs: &[(&str, &str)]) -> KafkaSink {
    let mut sink = build(&cluster.bootstrap_servers(), pairs).0.unwrap();
    sink.start(&context()).await.unwrap();
    sink
}

/// All values of a topic, partition by partition.
fn values(cluster: &Cluster, topic: &str, count: usize) -> Vec<String> {
    let pairs = [("kafka.consumer.group.id", "reader")];
    let settings = client_settings(&cluster.bootstrap_servers(), ClientRole::Consumer, &pairs);
    let consumer = KafkaConsumer::new(&settings, "reader").unwrap();
    let all = [0, 1].map(|partition| PartitionOffset {
        at: TopicPartition { topic: topic.into(), partition },
        offset: Some(0),
    });
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    for _ in 0..100 {
        if let Polled::Record(record) = consumer.poll(Duration::from_millis(100)) {
            found.push(String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap());
        } else if found.len() >= count {
            break;
        }
    }
    found.sort();
    found
}

fn event(headers: &[(&str, &str)], body: &str) -> Event {
    Event::packed(headers, body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_is_named_and_its_neighbours_arrive_once() {
    let cluster = cluster(&["t"]);
    let large = "x".repeat(2 << 20);
    let mut sink = started(&cluster, &[("partitionIdHeader", "p")]).await;
    let batch = [
        event(&[], "good 0"),
        event(&[("p", "x")], "no number"),
        event(&[("p", "9")], "no such partition"),
        event(&[("topic", "a b")], "bad topic"),
        event(&[], &large),
        event(&[("p", "1")], "good 1"),
    ];
    let failure = sink.deliver(&context(), &batch).await.unwrap_err();
    let refused: Vec<usize> = failure.refused_events().iter().map(|one| one.index).collect();
    assert_eq!(refused, [1, 2, 3, 4], "{failure}");
    for (index, word) in [(0, "partition"), (1, "partition"), (2, "topic"), (3, "larger")] {
        let why = &failure.refused_events()[index].why;
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(values(&cluster, "t", 2), ["good 0", "good 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_fails_the_batch_and_not_its_events() {
    let pairs = [("kafka.producer.delivery.timeout.ms", "500")];
    let mut sink = build("127.0.0.1:1", &pairs).0.unwrap();
    sink.start(&context()).await.unwrap();
    let failure = sink.deliver(&context(), &[event(&[], "x")]).await.unwrap_err();
    assert!(failure.refused_events().is_empty() && !failure.is_refusal());
    let words = failure.to_string();
    assert!(words.contains("1 of 1 events") && words.contains("127.0.0.1:1"), "{words}");
    let limit = Duration::from_secs(3);
    timeout(limit, sink.stop(&context())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_need_a_channel_whose_events_have_places() {
    let cluster = cluster(&["t"]);
    let mut sink = started(&cluster, &[("transactional", "true")]).await;
    let channel: Arc<dyn Channel> = Arc::new(MemoryChannel::new(MemoryOptions::default()).unwrap());
    sink.place(BatchPlace { channel, ranges: None });
    let failure = sink.deliver(&context(), &[event(&[], "x")]).await.unwrap_err();
    assert!(failure.to_string().contains("type file"), "{failure}");
}

#[test]
fn old_keys_and_both_names_of_the_batch_size_count() {
    for (pairs, events) in [
        (&[("flumeBatchSize", "7")][..], 7),
        (&[("kafka.flumeBatchSize", "8")], 8),
        (&[("batchSize", "9"), ("requiredAcks", "-1")], 9),
        (&[("flumeBatchSize", "7"), ("batchSize", "9")], 7),
        (&[], 100),
    ] {
        let (sink, findings) = build("h:1", pairs);
        assert_eq!(sink.unwrap().settings.batch_events, events);
        assert_eq!(findings, []);
    }
    let settings = Settings::from_pairs("k1", &[("brokerList", "old:9092"), ("topic", "o")]);
    let sink = KafkaSink::build(&mut SettingsReader::new(&settings)).unwrap();
    assert_eq!(
        (sink.settings.client.servers(), sink.settings.topic.plain()),
        ("old:9092", Some("o"))
    );
}

#[test]
fn settings_that_cannot_work_name_their_key() {
    for (key, value) in [
        ("kafka.bootstrap.servers", ""),
        ("kafka.topic", "a b"),
        ("flumeBatchSize", "0"),
        ("defaultPartitionId", "-1"),
        ("kafka.producer.linger.ms", "soon"),
        ("transactional", "yes"),
    ] {
        let error = build("h:1", &[(key, value)]).0.err().unwrap_or_else(|| panic!("{key}"));
        assert_eq!(error.key, format!("k1.{key}"));
    }
    let escaped = [("kafka.topic", "t-%Y"), ("transactional", "true")];
    assert_eq!(
        build("h:1", &escaped).0.err().map(|error| error.key),
        Some("k1.transactional.topic".to_owned())
    );
    let acks = [("kafka.producer.acks", "1"), ("transactional", "true")];
    assert_eq!(
        build("h:1", &acks).0.err().map(|error| error.key),
        Some("k1.kafka.producer.acks".to_owned())
    );
}
