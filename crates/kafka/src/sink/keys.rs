//! The settings of the sink.

use super::topic::TopicTemplate;
use crate::client;
use crate::settings::{BOOTSTRAP, ClientRole, ClientSettings, JAAS_FILE};
use crate::topic_name;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, key};

/// All keys.
pub(super) const KEYS: [Key; 23] = [
    key(BOOTSTRAP, KeyKind::Text, "", "Brokers to begin with, as host:port, separated by commas."),
    key(
        "kafka.topic",
        KeyKind::Text,
        "default-flume-topic",
        "Topic, with escapes; expanded also without allowTopicOverride, unlike Flume's.",
    ),
    key("flumeBatchSize", KeyKind::Number, "100", "Events of a batch, 1 to 100000."),
    key(
        "kafka.flumeBatchSize",
        KeyKind::Number,
        "",
        "Another name of flumeBatchSize; Flume ignores it.",
    ),
    key(
        "useFlumeEventFormat",
        KeyKind::Boolean,
        "false",
        "Whether a value is Flume's Avro datum, with the headers, and not the body alone.",
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
        "Header with the number of the partition; an event whose number cannot be used goes to the dead letters.",
    ),
    key("allowTopicOverride", KeyKind::Boolean, "true", "Whether topicHeader is looked at."),
    key("topicHeader", KeyKind::Text, "topic", "Header with the topic of an event."),
    key(
        "timestampHeader",
        KeyKind::Text,
        "",
        "Header with the time of the record in milliseconds; now if it is not a number.",
    ),
    key(
        "header.*",
        KeyKind::Text,
        "",
        "header.NAME: the record's header that gets the event's header NAME.",
    ),
    key(
        "sendHeaders",
        KeyKind::Boolean,
        "false",
        "Whether all headers of an event become headers of the record. Flume has no such key.",
    ),
    key(
        "transactional",
        KeyKind::Boolean,
        "false",
        "Whether readers with read_committed see each event once, whatever fails; see docs/kafka.md. The channel is of type file and has no other sink. Flume has no such key.",
    ),
    key(
        "transactional.topic",
        KeyKind::Text,
        "",
        "Topic under whose name the sink's progress is kept, with transactional; kafka.topic if that has no escapes. Flume has no such key.",
    ),
    key("kafka.producer.*", KeyKind::Text, "", "Settings of Java's producer; see docs/kafka.md."),
    key(
        JAAS_FILE,
        KeyKind::Path,
        "",
        "JAAS file with the section KafkaClient, if kafka.producer.sasl.jaas.config is not set.",
    ),
    key("topic", KeyKind::Text, "", "Old name of kafka.topic."),
    key("brokerList", KeyKind::Text, "", "Old name of kafka.bootstrap.servers."),
    key("batchSize", KeyKind::Number, "", "Old name of flumeBatchSize."),
    key("requiredAcks", KeyKind::Number, "", "Old name of kafka.producer.acks; -1 is all."),
    key("serializer.class", KeyKind::Text, "", "Accepted without effect."),
    key("key.serializer.class", KeyKind::Text, "", "Accepted without effect."),
    key("message.send.max.retries", KeyKind::Number, "", "Accepted without effect."),
];

/// Most events of a batch.
const BATCH_EVENTS_MAX: usize = 100_000;

/// The settings of a sink.
pub(super) struct KafkaSinkSettings {
    pub(super) client: ClientSettings,
    pub(super) topic: TopicTemplate,
    pub(super) batch_events: usize,
    pub(super) as_datum: bool,
    pub(super) partition: Option<i32>,
    pub(super) partition_header: Option<String>,
    pub(super) topic_header: Option<String>,
    pub(super) timestamp_header: Option<String>,
    /// Headers of the event, and of the record.
    pub(super) headers: Vec<(String, String)>,
    pub(super) all_headers: bool,
    /// The topic of the progress, with transactions.
    pub(super) transactional: Option<TransactionSettings>,
}

/// What transactions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TransactionSettings {
    pub(super) id: String,
    pub(super) topic: String,
}

impl KafkaSinkSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let old = [("brokerList", "bootstrap.servers"), ("requiredAcks", "acks")];
        let mut client = ClientSettings::read_with_old_keys(reader, ClientRole::Producer, &old)?;
        if client.servers().is_empty() {
            return Err(reader.error(BOOTSTRAP, "is required and not set (host:port of a broker)"));
        }
        let text = |key: &str| reader.text(key).filter(|text| !text.is_empty());
        let topic = text("kafka.topic").or_else(|| text("topic")).unwrap_or("default-flume-topic");
        let topic = TopicTemplate::read(topic).map_err(|what| reader.error("kafka.topic", what))?;
        if let Some(fault) = topic.plain().and_then(topic_name::fault) {
            return Err(reader.error("kafka.topic", fault.replace("its topic", "the topic")));
        }
        let named = |key: &str| reader.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let (partition_header, timestamp_header) =
            (named("partitionIdHeader"), named("timestampHeader"));
        let topic_header = named("topicHeader").unwrap_or_else(|| "topic".to_owned());
        let headers = reader.settings().subset("header.").entries;
        let headers = headers.into_iter().map(|(name, set)| (name, set.value)).collect();
        let batch_key = ["flumeBatchSize", "kafka.flumeBatchSize", "batchSize"];
        let batch_key = batch_key.into_iter().find(|key| reader.text(key).is_some());
        let batch_events = match batch_key {
            Some(key) => reader.number(key, 1..=BATCH_EVENTS_MAX)?.unwrap_or(100),
            None => 100,
        };
        let transactional = transactions(reader, &mut client, &topic)?;
        client::check(&client).map_err(|(key, what)| reader.error(&key, what))?;
        Ok(Self {
            client,
            topic,
            batch_events,
            as_datum: reader.boolean("useFlumeEventFormat", false),
            partition: reader.number("defaultPartitionId", 0..=i32::MAX)?,
            partition_header,
            topic_header: reader.boolean("allowTopicOverride", true).then_some(topic_header),
            timestamp_header,
            headers,
            all_headers: reader.boolean("sendHeaders", false),
            transactional,
        })
    }
}

fn transactions(
    reader: &mut SettingsReader<'_>,
    client: &mut ClientSettings,
    topic: &TopicTemplate,
) -> Result<Option<TransactionSettings>, SettingError> {
    let wanted = reader.truth("transactional", client.is_given("transactional.id"))?;
    if !wanted {
        if reader.text("transactional.topic").is_some() {
            let message = "has no effect without transactional = true";
            reader.find(Severity::Warning, "transactional.topic", message);
        }
        return Ok(None);
    }
    let given = reader.text("transactional.topic").filter(|name| !name.is_empty());
    let Some(topic) = given.or_else(|| topic.plain()) else {
        let message = "is required with transactional where kafka.topic has escapes: an existing topic under whose name the progress is kept";
        return Err(reader.error("transactional.topic", message));
    };
    if let Some(fault) = topic_name::fault(topic) {
        return Err(reader.error("transactional.topic", fault.replace("its topic", "the topic")));
    }
    if client.get("acks") != Some("all") || client.get("enable.idempotence") != Some("true") {
        let key = client.key_of("acks").unwrap_or("kafka.producer.enable.idempotence").to_owned();
        return Err(reader.error(&key, "has to be all, with idempotence, for transactional"));
    }
    let id = match client.get("transactional.id") {
        Some(id) => id.to_owned(),
        None => format!("millpond.{}.{}", reader.agent(), reader.name()),
    };
    client.set("transactional.id", id.clone());
    Ok(Some(TransactionSettings { id, topic: topic.to_owned() }))
}
