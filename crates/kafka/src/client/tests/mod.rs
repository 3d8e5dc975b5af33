//! Tests against the mock cluster that is part of librdkafka: no broker is needed.

pub(crate) mod real_broker;

use super::*;
use crate::settings::{BOOTSTRAP, ClientRole, ClientSettings};
use millpond_flow::settings::{Settings, SettingsReader};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::time::Duration;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A mock cluster of one broker with these topics of two partitions.
pub(crate) fn cluster(topics: &[&str]) -> Cluster {
    cluster_of(&topics.iter().map(|topic| (*topic, 2)).collect::<Vec<_>>())
}

/// A mock cluster of one broker with topics of these numbers of partitions.
pub(crate) fn cluster_of(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).unwrap();
    }
    cluster
}

pub(crate) fn settings(servers: &str, role: ClientRole, pairs: &[(&str, &str)]) -> ClientSettings {
    let mut all = vec![(BOOTSTRAP, servers)];
    all.extend(pairs);
    let settings = Settings::from_pairs("k1", &all);
    ClientSettings::read(&mut SettingsReader::new(&settings), role).unwrap()
}

fn producer(servers: &str) -> KafkaProducer {
    KafkaProducer::new(&settings(servers, ClientRole::Producer, &[]), "k1").unwrap()
}

pub(crate) fn record<'a>(topic: &'a str, value: &'a [u8]) -> OutRecord<'a> {
    OutRecord { topic, partition: None, key: None, value, timestamp_ms: None, headers: &[] }
}

fn consumer(servers: &str, topics: &[&str]) -> KafkaConsumer {
    let pairs =
        [("kafka.consumer.group.id", "g"), ("kafka.consumer.auto.offset.reset", "earliest")];
    let consumer =
        KafkaConsumer::new(&settings(servers, ClientRole::Consumer, &pairs), "r1").unwrap();
    consumer.subscribe(topics).unwrap();
    consumer
}

fn next_record(consumer: &KafkaConsumer) -> Option<Record> {
    for _ in 0..200 {
        match consumer.poll(Duration::from_millis(100)) {
            Polled::Record(record) => return Some(record),
            Polled::Assigned(partitions) => {
                let from = partitions.into_iter().map(|at| PartitionOffset { at, offset: None });
                consumer.assign(&from.collect::<Vec<_>>()).unwrap();
            }
            Polled::Revoked { partitions, .. } => consumer.unassign(&partitions).unwrap(),
            Polled::Nothing | Polled::Failed(_) => {}
        }
    }
    None
}

#[test]
fn records_come_back_with_key_header_time_and_partition() {
    let cluster = cluster(&["t"]);
    let servers = cluster.bootstrap_servers();
    let (producer, set) = (producer(&servers), Deliveries::default());
    let out = OutRecord {
        partition: Some(1),
        key: Some(b"k"),
        timestamp_ms: Some(1_600_000_000_123),
        headers: &[("h", "v")],
        ..record("t", b"body")
    };
    producer.send(&out, &set, 0).unwrap();
    assert_eq!(set.complete_blocking(LIMIT), Some(Vec::new()));
    let consumer = consumer(&servers, &["t"]);
    let read = next_record(&consumer).unwrap();
    assert_eq!((&*read.at.topic, read.at.partition, read.offset), ("t", 1, 0));
    assert_eq!(read.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(read.value.as_deref(), Some(&b"body"[..]));
    assert_eq!(read.timestamp_ms, Some(1_600_000_000_123));
    assert_eq!(read.headers, [("h".to_owned(), bytes::Bytes::from_static(b"v"))]);
    let at = read.at.clone();
    consumer.commit(&[(at.clone(), 1)], true).unwrap();
    let committed = consumer.committed(std::slice::from_ref(&at), LIMIT).unwrap();
    assert_eq!((committed[0].at.clone(), committed[0].offset), (at.clone(), 1));
    assert_eq!(consumer.bounds(&at, LIMIT).unwrap(), (0, 1));
    assert_eq!(consumer.partitions("t", LIMIT).unwrap(), [0, 1]);
}

#[test]
fn a_record_that_can_never_be_sent_is_refused_and_its_neighbours_arrive() {
    let cluster = cluster(&["t"]);
    let producer = producer(&cluster.bootstrap_servers());
    let set = Deliveries::default();
    let wrong_partition = OutRecord { partition: Some(7), ..record("t", b"bad") };
    let large = vec![b'x'; 2 << 20];
    producer.send(&record("t", b"good"), &set, 0).unwrap();
    let mut refused: Vec<(usize, ErrorKind)> = Vec::new();
    for (number, bad) in
        [(1, &wrong_partition), (2, &record("t", &large)), (3, &record("no topic", b"bad"))]
    {
        match producer.send(bad, &set, number) {
            Ok(()) => {}
            Err(SendError::Failed(error)) => refused.push((number, error.kind)),
            Err(SendError::Full) => panic!("there is room"),
        }
    }
    let failed = set.complete_blocking(LIMIT).unwrap();
    refused.extend(failed.iter().map(|one| (one.number, one.error.kind)));
    refused.sort_by_key(|one| one.0);
    let kind = ErrorKind::Refused;
    assert_eq!(refused[..2], [(1, kind), (2, kind)], "{failed:?}");
}

#[test]
fn a_broker_that_is_not_there_is_said_with_its_address_in_time() {
    let pairs = [("kafka.producer.delivery.timeout.ms", "600")];
    let settings = settings("127.0.0.1:1", ClientRole::Producer, &pairs);
    let (producer, set) = (KafkaProducer::new(&settings, "k1").unwrap(), Deliveries::default());
    producer.send(&record("t", b"x"), &set, 0).unwrap();
    let failed = set.complete_blocking(LIMIT).unwrap();
    let error = &failed[0].error;
    assert_eq!(error.kind, ErrorKind::Retriable);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_value_that_the_client_does_not_take_names_its_key() {
    let pairs = [("kafka.producer.linger.ms", "soon")];
    let settings = settings("h:1", ClientRole::Producer, &pairs);
    let (key, what) = check(&settings).unwrap_err();
    assert_eq!(key, "kafka.producer.linger.ms");
    assert!(!what.is_empty());
}

#[test]
fn a_transaction_is_aborted_and_the_next_one_takes_offsets_along() {
    let cluster = cluster(&["t"]);
    let servers = cluster.bootstrap_servers();
    let pairs = [("kafka.producer.transactional.id", "a1.k1")];
    let settings_of = settings(&servers, ClientRole::Producer, &pairs);
    let producer = KafkaProducer::new(&settings_of, "k1").unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer.begin().unwrap();
    let set = Deliveries::default();
    producer.send(&record("t", b"x"), &set, 0).unwrap();
    assert_eq!(set.complete_blocking(LIMIT), Some(Vec::new()));
    producer.abort(LIMIT).unwrap();
    producer.begin().unwrap();
    let group = [("kafka.consumer.group.id", "places")];
    let group =
        KafkaConsumer::new(&settings(&servers, ClientRole::Consumer, &group), "k1").unwrap();
    let at = TopicPartition { topic: "t".into(), partition: 0 };
    let place = CommittedPlace { at, offset: 7, metadata: "1/0:5-9".to_owned() };
    producer.send_offsets(std::slice::from_ref(&place), &group, LIMIT).unwrap();
    producer.commit(LIMIT).unwrap();
}
