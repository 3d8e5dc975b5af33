//! The settings of the channel.

use crate::client;
use crate::dead_letters::{self, DIRECTORY, DeadLetterFile, MAX_BYTES};
use crate::settings::{BOOTSTRAP, ClientRole, ClientSettings, JAAS_FILE};
use crate::topic_name;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, key};
use std::time::Duration;

/// All keys.
pub(super) const KEYS: [Key; 19] = [
    key(BOOTSTRAP, KeyKind::Text, "", "Brokers to begin with, as host:port, separated by commas."),
    key("kafka.topic", KeyKind::Text, "flume-channel", "The topic that holds the events."),
    key(
        "kafka.consumer.group.id",
        KeyKind::Text,
        "flume",
        "Consumer group of the takes: agents with one group share the events.",
    ),
    key(
        "parseAsFlumeEvent",
        KeyKind::Boolean,
        "true",
        "Whether a value is Flume's Avro datum, with the headers, and not the body alone.",
    ),
    key(
        "kafka.pollTimeout",
        KeyKind::Number,
        "500",
        "Milliseconds that a take waits for an event, 0 to 60000.",
    ),
    key(
        "defaultPartitionId",
        KeyKind::Number,
        "",
        "Partition of events without partitionIdHeader.",
    ),
    key(
        "partitionIdHeader",
        KeyKind::Text,
        "",
        "Header with the number of the partition; an event whose number cannot be used is refused alone.",
    ),
    key(
        "capacity",
        KeyKind::Number,
        "1000000000",
        "Waiting events that count as full, from 1: for the fill figure and its alarm, and for sources that wait for room; puts are not limited. Flume has no such key.",
    ),
    key(
        "transactionCapacity",
        KeyKind::Number,
        "10000",
        "Events of one transaction at most, 1 to 100000. Flume has no such key.",
    ),
    DIRECTORY,
    MAX_BYTES,
    key("kafka.producer.*", KeyKind::Text, "", "Settings of Java's producer; see docs/kafka.md."),
    key("kafka.consumer.*", KeyKind::Text, "", "Settings of Java's consumer; see docs/kafka.md."),
    key(
        JAAS_FILE,
        KeyKind::Path,
        "",
        "JAAS file with the section KafkaClient, if sasl.jaas.config is not set.",
    ),
    key("topic", KeyKind::Text, "", "Old name of kafka.topic."),
    key("brokerList", KeyKind::Text, "", "Old name of kafka.bootstrap.servers."),
    key("groupId", KeyKind::Text, "", "Old name of kafka.consumer.group.id."),
    key(
        "readSmallestOffset",
        KeyKind::Boolean,
        "",
        "Old form of kafka.consumer.auto.offset.reset: true is earliest, false is latest.",
    ),
    key("zookeeperConnect", KeyKind::Text, "", "Accepted without effect."),
];

/// Most events of a transaction.
const TRANSACTION_EVENTS_MAX: usize = 100_000;
/// Most milliseconds that a take waits.
const POLL_MS_MAX: u64 = 60_000;
/// How long the client tries to deliver a record, milliseconds: a put that is not confirmed by then is in doubt.
const DELIVERY_MS: &str = "8000";

/// The settings of a channel.
#[derive(Debug)]
pub(super) struct KafkaChannelSettings {
    pub(super) producer: ClientSettings,
    pub(super) consumer: ClientSettings,
    pub(super) topic: String,
    pub(super) as_datum: bool,
    pub(super) partition: Option<i32>,
    pub(super) partition_header: Option<String>,
    pub(super) capacity: u64,
    pub(super) transaction_capacity: usize,
    pub(super) keep_alive: Duration,
    /// Most bytes of a record, its key and value together.
    pub(super) record_bytes_max: usize,
    /// True if a group without an offset begins with the oldest record.
    pub(super) is_from_oldest: bool,
    pub(super) dead_letters: DeadLetterFile,
}

impl KafkaChannelSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let servers = ("brokerList", "bootstrap.servers");
        let mut producer =
            ClientSettings::read_with_old_keys(reader, ClientRole::Producer, &[servers])?;
        let old = [servers, ("groupId", "group.id")];
        let mut consumer = ClientSettings::read_with_old_keys(reader, ClientRole::Consumer, &old)?;
        if producer.servers().is_empty() {
            return Err(reader.error(BOOTSTRAP, "is required and not set (host:port of a broker)"));
        }
        defaults(reader, &mut producer, &mut consumer);
        let text = |key: &str| reader.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let topic = text("kafka.topic").or_else(|| text("topic"));
        let topic = topic.unwrap_or_else(|| "flume-channel".to_owned());
        if let Some(fault) = topic_name::fault(&topic) {
            return Err(reader.error("kafka.topic", fault.replace("its topic", "the topic")));
        }
        let partition_header = text("partitionIdHeader");
        let dead_letters = dead_letters::read(reader)?;
        for settings in [&producer, &consumer] {
            client::check(settings).map_err(|(key, what)| reader.error(&key, what))?;
        }
        let record_bytes_max = producer.get("message.max.bytes").and_then(|max| max.parse().ok());
        Ok(Self {
            topic,
            as_datum: reader.boolean("parseAsFlumeEvent", true),
            partition: reader.number("defaultPartitionId", 0..=i32::MAX)?,
            partition_header,
            capacity: reader.number("capacity", 1..=u64::MAX)?.unwrap_or(1_000_000_000),
            transaction_capacity: reader
                .number("transactionCapacity", 1..=TRANSACTION_EVENTS_MAX)?
                .unwrap_or(10_000),
            keep_alive: Duration::from_millis(
                reader.number("kafka.pollTimeout", 0..=POLL_MS_MAX)?.unwrap_or(500),
            ),
            record_bytes_max: record_bytes_max.unwrap_or(1 << 20),
            is_from_oldest: consumer.get("auto.offset.reset") != Some("latest"),
            dead_letters,
            producer,
            consumer,
        })
    }
}

/// Sets what Flume's channel has by default.
fn defaults(
    reader: &mut SettingsReader<'_>,
    producer: &mut ClientSettings,
    consumer: &mut ClientSettings,
) {
    consumer.set_default("group.id", "flume");
    let oldest = reader.boolean("readSmallestOffset", true);
    consumer.set_default("auto.offset.reset", if oldest { "earliest" } else { "latest" });
    // A topic that is made later is found within 5 s.
    consumer.set("topic.metadata.refresh.interval.ms", "5000");
    producer.set("topic.metadata.refresh.interval.ms", "5000");
    producer.set_default("delivery.timeout.ms", DELIVERY_MS);
    if producer.is_given("transactional.id") {
        let key = producer.key_of("transactional.id").unwrap_or("kafka.producer.transactional.id");
        let message = "has no effect: a put is confirmed by all in-sync replicas as a whole, without a transaction of Kafka";
        let key = key.to_owned();
        reader.find(Severity::Warning, &key, message);
        producer.unset("transactional.id");
    }
}
