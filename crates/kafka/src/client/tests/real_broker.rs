//! A real broker for tests: `MILLPOND_KAFKA` is its address, `MILLPOND_KAFKA_SASL` that of its listener with SASL, and
//! `MILLPOND_KAFKA_CONTROL` a program that is called with kill, freeze, thaw or start. `.ci/kafka` has all of them.

use super::settings;
use crate::client::{KafkaConsumer, PartitionOffset, Polled, TopicPartition};
use crate::settings::ClientRole;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The broker; `None`, said, where there is none.
pub(crate) struct Broker {
    pub(crate) at: String,
}

static TOPICS: AtomicU32 = AtomicU32::new(0);

impl Broker {
    pub(crate) fn here() -> Option<Self> {
        let Ok(at) = std::env::var("MILLPOND_KAFKA") else {
            println!("left out tests of a real Kafka: MILLPOND_KAFKA names no broker");
            return None;
        };
        Some(Self { at })
    }

    pub(crate) fn control(verb: &str) {
        let program = std::env::var("MILLPOND_KAFKA_CONTROL").unwrap();
        assert!(Command::new(program).arg(verb).status().unwrap().success(), "{verb}");
    }

    /// A name of a topic that nothing else uses.
    pub(crate) fn topic() -> String {
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        format!("t-{}-{number}", std::process::id())
    }

    /// All values of a topic, as a reader with this isolation sees them.
    pub(crate) fn values(&self, topic: &str, isolation: &str) -> Vec<String> {
        let pairs =
            [("kafka.consumer.group.id", "reader"), ("kafka.consumer.isolation.level", isolation)];
        let settings = settings(&self.at, ClientRole::Consumer, &pairs);
        let consumer = KafkaConsumer::new(&settings, "reader").unwrap();
        let limit = Duration::from_secs(20);
        let all: Vec<PartitionOffset> = consumer
            .partitions(topic, limit)
            .unwrap()
            .into_iter()
            .map(|partition| TopicPartition { topic: topic.into(), partition })
            .map(|at| PartitionOffset { at, offset: Some(0) })
            .collect();
        consumer.assign(&all).unwrap();
        let mut found = Vec::new();
        let mut quiet = 0;
        while quiet < 15 {
            if let Polled::Record(record) = consumer.poll(Duration::from_millis(200)) {
                found.push(String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap());
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
        found.sort();
        found
    }
}
