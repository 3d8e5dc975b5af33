//! The sink on a real broker.

use super::*;
use crate::client::tests::real_broker::Broker;
use millpond::{FileChannel, FileChannelOptions};

async fn sink(servers: &str, topic: &str, pairs: &[(&str, &str)]) -> KafkaSink {
    let mut all = vec![("kafka.topic", topic)];
    all.extend(pairs);
    let mut sink = build(servers, &all).0.unwrap();
    for tried in 0.. {
        match sink.start(&context()).await {
            Ok(()) => break,
            Err(error) if tried > 5 => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    sink
}

async fn deliver_until_done(sink: &mut KafkaSink, batch: &[Event]) {
    for tried in 0.. {
        match sink.deliver(&context(), batch).await {
            Ok(()) => return,
            Err(error) if tried > 20 => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

fn numbered(from: usize, to: usize) -> Vec<Event> {
    (from..to).map(|n| event(&[("key", &format!("k{n}"))], &format!("{n:04}"))).collect()
}

fn file_channel(directory: &std::path::Path) -> Arc<dyn Channel> {
    let mut options = FileChannelOptions::new(directory.join("cp"), [directory.join("data")]);
    options.segment_bytes = 1 << 20;
    options.minimum_required_space = 1 << 20;
    Arc::new(FileChannel::open(options).unwrap())
}

fn put(channel: &Arc<dyn Channel>, events: Vec<Event>) {
    let mut put = channel.begin_put();
    for event in events {
        put.put(event).unwrap();
    }
    put.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_refuses_bad_events_and_their_neighbours_arrive_once() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    // The producer takes more than the broker does (1 MiB), so that the broker refuses.
    let pairs = [("partitionIdHeader", "p"), ("kafka.producer.max.request.size", "8000000")];
    let mut sink = sink(&broker.at, &topic, &pairs).await;
    let large = "x".repeat(3 << 20);
    let batch = [
        event(&[], "good 0"),
        event(&[("p", "77")], "no such partition"),
        event(&[("topic", "a/b")], "no name"),
        event(&[], &large),
        event(&[], "good 1"),
    ];
    let failure = sink.deliver(&context(), &batch).await.unwrap_err();
    let refused: Vec<usize> = failure.refused_events().iter().map(|one| one.index).collect();
    assert_eq!(refused, [1, 2, 3], "{failure}");
    deliver_until_done(&mut sink, &[event(&[], "good 2")]).await;
    assert_eq!(broker.values(&topic, "read_uncommitted"), ["good 0", "good 1", "good 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_killed_and_frozen_loses_nothing() {
    let Some(broker) = Broker::here() else { return };
    let topic = Broker::topic();
    let pairs = [
        ("kafka.producer.delivery.timeout.ms", "3000"),
        ("kafka.producer.request.timeout.ms", "1500"),
    ];
    let mut sink = sink(&broker.at, &topic, &pairs).await;
    deliver_until_done(&mut sink, &numbered(0, 50)).await;
    Broker::control("kill");
    let failure = sink.deliver(&context(), &numbered(50, 100)).await.unwrap_err();
    assert!(failure.refused_events().is_empty(), "{failure}");
    Broker::control("start");
    deliver_until_done(&mut sink, &numbered(50, 100)).await;
    Broker::control("freeze");
    let failure = sink.deliver(&context(), &numbered(100, 150)).await.unwrap_err();
    assert!(failure.refused_events().is_empty(), "{failure}");
    Broker::control("thaw");
    deliver_until_done(&mut sink, &numbered(100, 150)).await;
    let mut found = broker.values(&topic, "read_uncommitted");
    found.dedup();
    let wanted: Vec<String> = (0..150).map(|n| format!("{n:04}")).collect();
    assert_eq!(found, wanted);
}

/// A crash between Kafka's commit and the channel's: the same events are handed out again.
#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_transactions_repeat_nothing_after_a_crash() {
    let Some(broker) = Broker::here() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (topic, channel) = (Broker::topic(), file_channel(directory.path()));
    let id = format!("id-{topic}");
    let pairs = [("transactional", "true"), ("kafka.producer.transactional.id", id.as_str())];
    put(&channel, numbered(0, 40));
    let mut first = sink(&broker.at, &topic, &pairs).await;
    let mut take = channel.begin_take();
    let batch = take.take(25).unwrap();
    first.place(BatchPlace { channel: Arc::clone(&channel), ranges: take.ranges() });
    deliver_until_done(&mut first, &batch).await;
    take.rollback();
    // The first one is not stopped: the second one fences it.
    let mut second = sink(&broker.at, &topic, &pairs).await;
    let mut take = channel.begin_take();
    let batch = take.take(40).unwrap();
    second.place(BatchPlace { channel: Arc::clone(&channel), ranges: take.ranges() });
    deliver_until_done(&mut second, &batch).await;
    take.commit().unwrap();
    put(&channel, numbered(40, 45));
    let mut take = channel.begin_take();
    let batch = take.take(5).unwrap();
    first.place(BatchPlace { channel: Arc::clone(&channel), ranges: take.ranges() });
    let fenced = first.deliver(&context(), &batch).await.unwrap_err().to_string();
    assert!(fenced.contains("transactional id"), "{fenced}");
    second.place(BatchPlace { channel: Arc::clone(&channel), ranges: take.ranges() });
    deliver_until_done(&mut second, &batch).await;
    take.commit().unwrap();
    let wanted: Vec<String> = (0..45).map(|n| format!("{n:04}")).collect();
    assert_eq!(broker.values(&topic, "read_committed"), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_transactions_leave_bad_events_out_and_commit_the_rest() {
    let Some(broker) = Broker::here() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (topic, channel) = (Broker::topic(), file_channel(directory.path()));
    let id = format!("id-{topic}");
    let pairs = [
        ("transactional", "true"),
        ("kafka.producer.transactional.id", id.as_str()),
        ("kafka.producer.max.request.size", "8000000"),
    ];
    put(
        &channel,
        vec![event(&[], "good 0"), event(&[], &"x".repeat(3 << 20)), event(&[], "good 1")],
    );
    let mut sink = sink(&broker.at, &topic, &pairs).await;
    let mut take = channel.begin_take();
    let batch = take.take(3).unwrap();
    for tried in 0.. {
        sink.place(BatchPlace { channel: Arc::clone(&channel), ranges: take.ranges() });
        let failure = sink.deliver(&context(), &batch).await.unwrap_err();
        let refused: Vec<usize> = failure.refused_events().iter().map(|one| one.index).collect();
        if refused == [1] {
            break;
        }
        assert!(refused.is_empty() && tried < 10, "{failure}");
    }
    take.commit().unwrap();
    assert_eq!(broker.values(&topic, "read_committed"), ["good 0", "good 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_kafka_accepts_a_user_by_sasl_and_names_a_wrong_password() {
    let Some(broker) = Broker::here() else { return };
    let Ok(at) = std::env::var("MILLPOND_KAFKA_SASL") else { return };
    let line = |class: &str, password: &str| {
        format!("org.apache.kafka.{class} required username=\"pond\" password=\"{password}\";")
    };
    let mut all = vec![("PLAIN", "PlainLoginModule")];
    if cfg!(feature = "ssl") {
        all.push(("SCRAM-SHA-256", "ScramLoginModule"));
    }
    for (mechanism, class) in all {
        let topic = Broker::topic();
        let user = |password: &str| {
            [
                ("kafka.producer.security.protocol", "SASL_PLAINTEXT".to_owned()),
                ("kafka.producer.sasl.mechanism", mechanism.to_owned()),
                ("kafka.producer.sasl.jaas.config", line(class, password)),
                ("kafka.producer.delivery.timeout.ms", "4000".to_owned()),
            ]
        };
        let wrong = user("nearly");
        let wrong: Vec<(&str, &str)> = wrong.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut refused = sink(&at, &topic, &wrong).await;
        let words = refused.deliver(&context(), &numbered(0, 1)).await.unwrap_err().to_string();
        assert!(words.to_lowercase().contains("authentication"), "{words}");
        assert!(!words.contains("nearly"), "{words}");
        let right = user("pond-secret");
        let right: Vec<(&str, &str)> = right.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut sink = sink(&at, &topic, &right).await;
        deliver_until_done(&mut sink, &numbered(0, 3)).await;
        assert_eq!(broker.values(&topic, "read_uncommitted"), ["0000", "0001", "0002"]);
    }
}
