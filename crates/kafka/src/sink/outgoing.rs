//! What of an event goes into a record.

use super::keys::KafkaSinkSettings;
use crate::client::{Deliveries, KafkaProducer, OutRecord, SendError};
use crate::record;
use crate::topic_name;
use bytes::Bytes;
use millpond::Event;
use std::borrow::Cow;

/// Header with the key of the record.
const KEY: &str = "key";

/// A record that an event becomes.
pub(super) struct Outgoing<'a> {
    topic: Cow<'a, str>,
    /// True if the configuration alone names the topic.
    pub(super) is_own_topic: bool,
    partition: Option<i32>,
    key: Option<&'a str>,
    value: Bytes,
    timestamp_ms: Option<i64>,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Outgoing<'a> {
    /// Returns the record of `event`, or why it can have none.
    pub(super) fn of(settings: &'a KafkaSinkSettings, event: &'a Event) -> Result<Self, String> {
        let from_header =
            settings.topic_header.as_ref().and_then(|header| event.headers.get(header));
        let is_own_topic = from_header.is_none() && settings.topic.plain().is_some();
        let topic = match (from_header, settings.topic.plain()) {
            (Some(name), _) | (None, Some(name)) => Cow::Borrowed(name),
            (None, None) => Cow::Owned(settings.topic.expand(event)?),
        };
        // That of the configuration was checked when it was read.
        if !is_own_topic && let Some(fault) = topic_name::fault(&topic) {
            return Err(fault);
        }
        let in_header =
            settings.partition_header.as_ref().and_then(|header| event.headers.get(header));
        let partition = match in_header {
            None => settings.partition,
            Some(text) => {
                let number = text.trim().parse().ok().filter(|number| *number >= 0);
                Some(number.ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    format!("its partition \"{}\" is not a number from 0", shown.escape_debug())
                })?)
            }
        };
        let timestamp = settings.timestamp_header.as_ref().and_then(|name| event.headers.get(name));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        for (name, to) in &settings.headers {
            headers.extend(event.headers.get(name).map(|value| (to.as_str(), value)));
        }
        if settings.all_headers {
            headers.extend(event.headers.iter());
        }
        Ok(Self {
            topic,
            is_own_topic,
            partition,
            key: event.headers.get(KEY),
            value: if settings.as_datum {
                record::encode(event).into()
            } else {
                event.body.clone()
            },
            timestamp_ms: timestamp.and_then(|text| text.trim().parse().ok()).filter(|ms| *ms >= 0),
            headers,
        })
    }

    pub(super) fn send(
        &self,
        producer: &KafkaProducer,
        set: &Deliveries,
        number: usize,
    ) -> Result<(), SendError> {
        let record = OutRecord {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.map(str::as_bytes),
            value: &self.value,
            timestamp_ms: self.timestamp_ms,
            headers: &self.headers,
        };
        producer.send(&record, set, number)
    }
}
