//! The channel against the mock cluster of librdkafka: the contract of channels, and what Kafka adds.

mod real_kafka;

use super::*;
use crate::client::tests::{Cluster, LIMIT, cluster_of};
use crate::client::{Deliveries, OutRecord};
use crate::record;
use millpond::{CommitError, Event, PutError, RefusedReason, SystemClock};
use millpond_flow::metrics::MetricsRegistry;
use millpond_flow::settings::{Settings, SettingsReader};
use millpond_sim::contract::{self, Wanted};

/// A channel with these further settings.
fn channel(servers: &str, more: &[(&str, &str)]) -> KafkaChannel {
    let mut pairs = vec![
        ("kafka.bootstrap.servers", servers),
        ("kafka.topic", "c"),
        ("kafka.pollTimeout", "3000"),
        ("kafka.producer.delivery.timeout.ms", "3000"),
    ];
    pairs.extend(more);
    let settings = Settings::from_pairs("c1", &pairs);
    let settings = KafkaChannelSettings::read(&mut SettingsReader::new(&settings)).unwrap();
    let context = ChannelContext {
        agent: "a1".to_owned(),
        name: "c1".to_owned(),
        clock: Arc::new(SystemClock::new()),
        counters: MetricsRegistry::default().channel("c1"),
    };
    KafkaChannel::open(Arc::new(settings), &context).unwrap()
}

/// A channel whose takes begin when all that was put has been read: one that begins earlier may get a part.
struct SyncedChannel(KafkaChannel);

impl SyncedChannel {
    fn wait(&self) {
        for _ in 0..100 {
            let read = self.0.0.reader.buffer().read_events();
            if read >= self.0.status().events {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Channel for SyncedChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        self.0.begin_put()
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        self.wait();
        self.0.begin_take()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.0.source_offset(source)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}

/// Joins the group, so that a take finds what was put without waiting for that.
fn joined(channel: KafkaChannel) -> KafkaChannel {
    channel.0.reader.start().unwrap();
    for _ in 0..600 {
        if !channel.0.reader.buffer().assigned().is_empty() {
            return channel;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no partition was assigned: {:?}", channel.0.reader.fault());
}

fn topic(partitions: i32) -> Cluster {
    cluster_of(&[("c", partitions)])
}

fn make(wanted: Wanted) -> Arc<dyn Channel> {
    // It has to live as long as the channel.
    let cluster = Box::leak(Box::new(topic(1)));
    let numbers = [wanted.capacity.to_string(), wanted.transaction_capacity.to_string()];
    let pairs = [("capacity", numbers[0].as_str()), ("transactionCapacity", &numbers[1])];
    Arc::new(SyncedChannel(joined(channel(&cluster.bootstrap_servers(), &pairs))))
}

fn put(channel: &KafkaChannel, bodies: &[&str]) {
    let mut put = channel.begin_put();
    for body in bodies {
        put.put(Event::new((*body).to_owned())).unwrap();
    }
    put.commit().unwrap();
}

fn bodies(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
}

mod contract_of_channels {
    use super::*;

    contract::channel_contract!(
        make,
        comes_out_as_it_went_in,
        in_order,
        what_was_not_committed_never_appears,
        rolled_back_takes_return_to_the_front_in_order,
        dropping_a_take_rolls_it_back,
        put_all_adds_every_event_or_none,
        a_full_put_transaction_stays_usable,
        a_full_take_transaction_stays_usable,
        counts_add_up,
        transactions_without_events_commit,
        an_event_at_the_limit_of_headers_comes_back,
        many_takers_get_everything_once,
        a_closed_channel_refuses,
    );
}

#[test]
fn key_and_headers_come_back_and_a_take_that_a_close_overtakes_is_refused() {
    let cluster = topic(2);
    let servers = cluster.bootstrap_servers();
    let first = SyncedChannel(joined(channel(&servers, &[])));
    let mut out = first.begin_put();
    for number in 0..10 {
        let event = Event::packed(&[("key", "k"), ("h", "v")], format!("{number}").as_bytes());
        out.put(event).unwrap();
    }
    out.commit().unwrap();
    let mut take = first.begin_take();
    let events = take.take(4).unwrap();
    assert_eq!(bodies(&events), ["0", "1", "2", "3"]);
    assert_eq!((events[0].headers.get("key"), events[0].headers.get("h")), (Some("k"), Some("v")));
    take.commit().unwrap();
    assert_eq!(first.status().taken, 4);
    let mut open = first.begin_take();
    assert_eq!(bodies(&open.take(2).unwrap()), ["4", "5"]);
    assert!(matches!(first.close(), Ok(())));
    let refused = open.commit();
    assert_eq!(refused, Err(CommitError::Refused(RefusedReason::Closed)));
}

#[test]
fn a_missing_partition_and_a_large_event_are_refused_and_nothing_is_sent() {
    let cluster = topic(2);
    let servers = cluster.bootstrap_servers();
    let pairs = [("partitionIdHeader", "p"), ("kafka.producer.max.request.size", "2000")];
    let channel = joined(channel(&servers, &pairs));
    let mut put = channel.begin_put();
    put.put(Event::packed(&[("p", "1")], b"good")).unwrap();
    for wrong in ["7", "x", "-1"] {
        let refused = put.put(Event::packed(&[("p", wrong)], b"bad"));
        assert!(matches!(refused, Err(PutError::NoPlace(_))), "{wrong}: {refused:?}");
    }
    let refused = put.put(Event::packed(&[], &[b'x'; 2000]));
    assert!(matches!(refused, Err(PutError::EventTooLarge { max: 2000, .. })), "{refused:?}");
    put.rollback();
    let mut second = channel.begin_put();
    second.put(Event::packed(&[("p", "1")], b"alone")).unwrap();
    second.commit().unwrap();
    let mut take = channel.begin_take();
    assert_eq!(bodies(&take.take(9).unwrap()), ["alone"]);
    take.commit().unwrap();
}

#[test]
fn a_record_that_is_not_an_event_goes_to_the_dead_letters_and_is_passed() {
    let cluster = topic(1);
    let servers = cluster.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let channel = joined(channel(&servers, &[("deadLetter.directory", path)]));
    let producer = channel.0.producer().unwrap();
    let sent = Deliveries::default();
    let datum = record::encode(&Event::new("after"));
    for (number, value) in [&b"plain text"[..], &datum].into_iter().enumerate() {
        let record = OutRecord {
            topic: "c",
            partition: None,
            key: None,
            value,
            timestamp_ms: None,
            headers: &[],
        };
        producer.send(&record, &sent, number).unwrap();
    }
    assert_eq!(sent.complete_blocking(LIMIT), Some(Vec::new()));
    let mut take = channel.begin_take();
    assert_eq!(bodies(&take.take(9).unwrap()), ["after"]);
    take.commit().unwrap();
    let stored = std::fs::read_to_string(directory.path().join("a1.c1.jsonl")).unwrap();
    assert!(stored.contains("plain text") && stored.contains("\"offset\":\"0\""), "{stored}");
    assert_eq!(stored.lines().count(), 1);
}

#[test]
fn the_lag_is_what_waits_and_a_broker_that_is_not_there_is_said_in_time() {
    let cluster = topic(2);
    let channel_of = joined(channel(&cluster.bootstrap_servers(), &[]));
    put(&channel_of, &["a", "b", "c"]);
    let until = |events: u64| {
        for _ in 0..200 {
            if channel_of.status().events == events {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{:?}", channel_of.status());
    };
    until(3);
    let mut take = channel_of.begin_take();
    let mut taken = 0;
    while taken < 3 {
        taken += take.take(9).unwrap().len();
    }
    take.commit().unwrap();
    until(0);
    assert!(!channel_of.status().refuses());

    let away = channel("127.0.0.1:1", &[("kafka.pollTimeout", "100")]);
    let mut put = away.begin_put();
    put.put(Event::new("x")).unwrap();
    let failure = put.commit().unwrap_err();
    let CommitError::Refused(RefusedReason::Unreachable(fault)) = &failure.error else {
        panic!("{failure:?}");
    };
    assert!(fault.to_string().contains("127.0.0.1:1"), "{fault}");
    assert!(failure.transaction.is_some(), "it can be tried again");
    assert!(away.status().refuses());
    let refused = away.begin_take().take(1).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1:1"), "{refused}");
}
