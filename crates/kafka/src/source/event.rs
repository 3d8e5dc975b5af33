//! What event a record becomes.

use super::keys::KafkaSourceSettings;
use crate::client::Record;
use crate::record;
use millpond::{Event, Headers};

/// Returns the event of a record, or why it is not one.
///
/// With `useFlumeEventFormat` the event's own headers stay, except `key`. Headers of the record that the configuration
/// names replace all others.
pub(super) fn of(settings: &KafkaSourceSettings, record: &Record) -> Result<Event, String> {
    let value = record.value.clone().unwrap_or_default();
    let mut event = match settings.as_datum && record.value.is_some() {
        true => record::decode(&value)
            .map_err(|error| format!("the record is not an event of Flume: {error}"))?,
        false => Event { headers: Headers::default(), body: value },
    };
    let headers = &mut event.headers;
    let mut set_missing = |name: &str, value: &str| {
        if headers.get(name).is_none() {
            headers.set(name, value);
        }
    };
    if let Some(time) = record.timestamp_ms {
        set_missing("timestamp", &time.to_string());
    }
    if let Some(name) = &settings.topic_header {
        set_missing(name, &record.at.topic);
    }
    set_missing("partition", &record.at.partition.to_string());
    set_missing("offset", &record.offset.to_string());
    for (name, from) in &settings.headers {
        let last = record.headers.iter().rev().find(|(key, _)| key == from);
        if let Some((_, value)) = last {
            headers.set(name, String::from_utf8_lossy(value));
        }
    }
    if let Some(key) = &record.key {
        headers.set("key", String::from_utf8_lossy(key));
    }
    Ok(event)
}

/// Returns the record as an event for the dead letters: its value, and where it was.
pub(super) fn undecodable(record: &Record) -> Event {
    let numbers = [record.at.partition.to_string(), record.offset.to_string()];
    let headers = [
        ("topic", &*record.at.topic),
        ("partition", numbers[0].as_str()),
        ("offset", numbers[1].as_str()),
    ];
    Event {
        headers: headers.into_iter().collect::<Headers>(),
        body: record.value.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TopicPartition;
    use bytes::Bytes;
    use millpond_flow::settings::{Settings, SettingsReader};

    fn settings(more: &[(&str, &str)]) -> KafkaSourceSettings {
        let mut pairs = vec![("kafka.bootstrap.servers", "h:1"), ("kafka.topics", "a, b")];
        pairs.extend(more);
        let settings = Settings::from_pairs("r1", &pairs);
        KafkaSourceSettings::read(&mut SettingsReader::new(&settings)).unwrap()
    }

    fn record(value: &'static [u8]) -> Record {
        Record {
            at: TopicPartition { topic: "a".into(), partition: 3 },
            offset: 7,
            timestamp_ms: Some(12),
            key: Some(Bytes::from_static(b"k\xff")),
            value: Some(Bytes::from_static(value)),
            headers: [("h", "first"), ("h", "last"), ("o", "99")]
                .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())))
                .to_vec(),
        }
    }

    #[test]
    fn headers_say_where_a_record_was_and_mapped_ones_win() {
        let event = of(&settings(&[("header.x", "h"), ("header.offset", "o")]), &record(b"body"));
        let event = event.unwrap();
        let expected = [
            ("key", "k\u{fffd}"),
            ("offset", "99"),
            ("partition", "3"),
            ("timestamp", "12"),
            ("topic", "a"),
            ("x", "last"),
        ];
        let mut found: Vec<(&str, &str)> = event.headers.iter().collect();
        found.sort_unstable();
        assert_eq!((found.as_slice(), &event.body[..]), (&expected[..], &b"body"[..]));
        let pairs = [("setTopicHeader", "false")];
        assert_eq!(of(&settings(&pairs), &record(b"")).unwrap().headers.get("topic"), None);
    }

    #[test]
    fn an_event_of_flume_keeps_its_headers_except_the_key() {
        let own = Event::packed(&[("offset", "own"), ("key", "own")], b"x");
        let mut read = record(b"");
        read.value = Some(record::encode(&own).into());
        let flume = settings(&[("useFlumeEventFormat", "true")]);
        let event = of(&flume, &read).unwrap();
        assert_eq!(event.headers.get("offset"), Some("own"));
        assert_eq!(event.headers.get("key"), Some("k\u{fffd}"));
        assert!(of(&flume, &record(b"text")).unwrap_err().contains("not an event"));
        read.value = None;
        assert!(of(&flume, &read).unwrap().body.is_empty(), "a deleted key");
    }
}
