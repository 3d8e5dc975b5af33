//! The settings of the source.

use crate::client;
use crate::dead_letters::{self, DIRECTORY, DeadLetterFile, MAX_BYTES};
use crate::settings::{BOOTSTRAP, ClientRole, ClientSettings, JAAS_FILE};
use crate::topic_name;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, key};
use std::time::Duration;

/// All keys.
pub(super) const KEYS: [Key; 18] = [
    key(BOOTSTRAP, KeyKind::Text, "", "Brokers to begin with, as host:port, separated by commas."),
    key("kafka.topics", KeyKind::Text, "", "Topics, separated by commas."),
    key(
        "kafka.topics.regex",
        KeyKind::Text,
        "",
        "Regular expression of whole names of topics, instead of kafka.topics; topics that are made later are read too.",
    ),
    key(
        "kafka.consumer.group.id",
        KeyKind::Text,
        "flume",
        "Consumer group: sources of one group share the partitions.",
    ),
    key(
        "batchSize",
        KeyKind::Number,
        "1000",
        "Records of a batch, 1 to 100000; at most the channel's transactionCapacity are used.",
    ),
    key(
        "batchDurationMillis",
        KeyKind::Number,
        "1000",
        "Milliseconds until a batch that is not full is put, 1 to 60000.",
    ),
    key(
        "useFlumeEventFormat",
        KeyKind::Boolean,
        "false",
        "Whether a value is Flume's Avro datum, with the headers, and not the body alone.",
    ),
    key("setTopicHeader", KeyKind::Boolean, "true", "Whether events get topicHeader."),
    key("topicHeader", KeyKind::Text, "topic", "Header with the topic."),
    key(
        "header.*",
        KeyKind::Text,
        "",
        "header.NAME: the record's header whose value the event's header NAME gets.",
    ),
    DIRECTORY,
    MAX_BYTES,
    key("kafka.consumer.*", KeyKind::Text, "", "Settings of Java's consumer; see docs/kafka.md."),
    key(
        JAAS_FILE,
        KeyKind::Path,
        "",
        "JAAS file with the section KafkaClient, if kafka.consumer.sasl.jaas.config is not set.",
    ),
    key("topic", KeyKind::Text, "", "Old name of kafka.topics, with one topic."),
    key("groupId", KeyKind::Text, "", "Old name of kafka.consumer.group.id."),
    key("zookeeperConnect", KeyKind::Text, "", "Accepted without effect."),
    key("migrateZookeeperOffsets", KeyKind::Boolean, "", "Accepted without effect."),
];

/// Most records of a batch.
const BATCH_MAX: usize = 100_000;

/// The settings of a source.
#[derive(Debug)]
pub(super) struct KafkaSourceSettings {
    pub(super) client: ClientSettings,
    /// Names, or one regular expression that begins with `^`.
    pub(super) topics: Vec<String>,
    pub(super) batch: usize,
    pub(super) batch_duration: Duration,
    pub(super) as_datum: bool,
    pub(super) topic_header: Option<String>,
    /// Headers of the event, and of the record.
    pub(super) headers: Vec<(String, String)>,
    pub(super) dead_letters: DeadLetterFile,
    pub(super) agent: String,
}

impl KafkaSourceSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let old = [("groupId", "group.id")];
        let mut client = ClientSettings::read_with_old_keys(reader, ClientRole::Consumer, &old)?;
        if client.servers().is_empty() {
            return Err(reader.error(BOOTSTRAP, "is required and not set (host:port of a broker)"));
        }
        client.set_default("group.id", "flume");
        // Topics that are made later are found within 5 s.
        client.set("topic.metadata.refresh.interval.ms", "5000");
        let topics = topics(reader)?;
        let dead_letters = dead_letters::read(reader)?;
        client::check(&client).map_err(|(key, what)| reader.error(&key, what))?;
        let topic_header = reader.text("topicHeader").filter(|name| !name.is_empty());
        let topic_header = topic_header.unwrap_or("topic").to_owned();
        let headers = reader.settings().subset("header.").entries;
        let duration = reader.millis("batchDurationMillis", 1..=60_000)?;
        Ok(Self {
            client,
            topics,
            batch: reader.number("batchSize", 1..=BATCH_MAX)?.unwrap_or(1000),
            batch_duration: duration.unwrap_or(Duration::from_secs(1)),
            as_datum: reader.boolean("useFlumeEventFormat", false),
            topic_header: reader.boolean("setTopicHeader", true).then_some(topic_header),
            headers: headers.into_iter().map(|(name, set)| (name, set.value)).collect(),
            dead_letters,
            agent: reader.agent().to_owned(),
        })
    }
}

/// Returns a regular expression of Java's, for whole names of topics, as the client takes it: a POSIX extended one
/// that begins with `^`.
fn whole_names(java: &str) -> Result<String, String> {
    let inner = java.strip_prefix('^').unwrap_or(java);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let mut posix = String::new();
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let (text, used) = match (c, after.chars().next()) {
            ('\\', Some('d')) => ("[0-9]".to_owned(), 2),
            ('\\', Some('w')) => ("[A-Za-z0-9_]".to_owned(), 2),
            ('\\', Some('D')) => ("[^0-9]".to_owned(), 2),
            ('\\', Some('W')) => ("[^A-Za-z0-9_]".to_owned(), 2),
            ('\\', Some(letter)) if letter.is_ascii_alphanumeric() => {
                return Err(format!(
                    "has \\{letter}, which the Kafka client does not have; write it with [ and ]"
                ));
            }
            ('\\', Some(sign)) => (format!("\\{sign}"), 1 + sign.len_utf8()),
            ('(', Some('?')) if after.starts_with("?:") => ("(".to_owned(), 3),
            ('(', Some('?')) => {
                return Err("has a group with (?, which the Kafka client does not have".to_owned());
            }
            _ => (c.to_string(), c.len_utf8()),
        };
        posix.push_str(&text);
        rest = &rest[used..];
    }
    Ok(format!("^({posix})$"))
}

/// Returns what to subscribe to.
fn topics(reader: &SettingsReader<'_>) -> Result<Vec<String>, SettingError> {
    let text = |key: &str| reader.text(key).map(str::trim).filter(|text| !text.is_empty());
    if let Some(regex) = text("kafka.topics.regex") {
        return whole_names(regex)
            .map(|regex| vec![regex])
            .map_err(|what| reader.error("kafka.topics.regex", what));
    }
    let names = text("kafka.topics").or_else(|| text("topic"));
    let names = names.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        let message = "is required and not set, nor is kafka.topics.regex";
        return Err(reader.error("kafka.topics", message));
    }
    match names.iter().find_map(|name| topic_name::fault(name)) {
        Some(fault) => Err(reader.error("kafka.topics", fault.replace("its topic", "the topic"))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_is_of_whole_names_and_in_words_of_the_client() {
        for (java, posix) in [
            ("logs-.*", "^(logs-.*)$"),
            ("^a\\.b$", "^(a\\.b)$"),
            ("t\\d+|(?:x|y)\\w", "^(t[0-9]+|(x|y)[A-Za-z0-9_])$"),
        ] {
            assert_eq!(whole_names(java).as_deref(), Ok(posix), "{java}");
        }
        for wrong in ["\\p{L}", "(?=a)b", "a\\b"] {
            assert!(whole_names(wrong).is_err(), "{wrong}");
        }
    }
}
