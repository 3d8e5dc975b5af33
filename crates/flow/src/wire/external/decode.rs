//! Parses the lines of an external process.

use super::{VERSION, cut};
use crate::base::limits::{EXTERNAL_POSITION_BYTES_MAX, HEADERS_MAX};
use base64ct::{Base64, Encoding};
use millpond::{Event, Headers};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A message of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessMessage {
    /// It has read the greeting and supports this version.
    Ready,
    /// A source's batch, or an interceptor's reply to one.
    Batch(ProcessBatch),
    /// A sink has delivered the batch of this number.
    Ok(u64),
    /// The batch of this number is not delivered, or not intercepted.
    Failed {
        /// The batch.
        number: u64,
        /// The reason, in its words.
        why: String,
        /// True if it will never accept these events.
        refused: bool,
    },
    /// It cannot go on, for this reason.
    Error(String),
    /// A source has no further events.
    End,
}

/// A batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessBatch {
    /// Its number.
    pub number: u64,
    /// Its events.
    pub events: Vec<Event>,
    /// The source's position after it.
    pub position: Option<String>,
}

/// A line that is not a message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct MessageError {
    /// The error and its column.
    words: String,
}

/// Parses one line, without its newline, with at most `events_max` events.
///
/// # Errors
/// It is not a message.
pub fn line(line: &[u8], events_max: usize) -> Result<ProcessMessage, MessageError> {
    let none = |error: &dyn fmt::Display| MessageError { words: cut(&error.to_string()) };
    let mut json = serde_json::Deserializer::from_slice(line);
    let parts = MessageParts { events_max }.deserialize(&mut json).map_err(|error| none(&error))?;
    json.end().map_err(|error| none(&error))?;
    parts.whole().map_err(|error| none(&error))
}

/// All fields that a message can have.
#[derive(Default)]
struct MessageFields {
    ready: Option<u32>,
    batch: Option<u64>,
    events: Option<Vec<Event>>,
    position: Option<String>,
    ok: Option<u64>,
    failed: Option<u64>,
    why: Option<String>,
    refused: Option<bool>,
    error: Option<String>,
    end: Option<bool>,
}

impl MessageFields {
    fn whole(self) -> Result<ProcessMessage, &'static str> {
        let kinds = [
            self.ready.is_some(),
            self.batch.is_some(),
            self.ok.is_some(),
            self.failed.is_some(),
            self.error.is_some(),
            self.end.is_some(),
        ];
        match kinds.iter().filter(|there| **there).count() {
            0 => return Err("none of ready, batch, ok, failed, error and end is there"),
            1 => {}
            _ => return Err("more than one of ready, batch, ok, failed, error and end is there"),
        }
        if self.batch.is_none() && (self.events.is_some() || self.position.is_some()) {
            return Err("events and position belong to a batch");
        }
        if self.failed.is_none() && self.why.is_some() {
            return Err("why belongs to failed");
        }
        if self.failed.is_none() && self.refused.is_some() {
            return Err("refused belongs to failed");
        }
        if self.ready.is_some_and(|version| version != VERSION) {
            return Err("ready names another version of the protocol; this one is 1");
        }
        if self.end == Some(false) {
            return Err("end is true");
        }
        Ok(match (self.batch, self.ok, self.failed, self.error) {
            (Some(number), ..) => {
                let events = self.events.ok_or("a batch has events")?;
                ProcessMessage::Batch(ProcessBatch { number, events, position: self.position })
            }
            (_, Some(number), ..) => ProcessMessage::Ok(number),
            (_, _, Some(number), _) => {
                let refused = self.refused.unwrap_or_default();
                ProcessMessage::Failed { number, why: cut(&self.why.unwrap_or_default()), refused }
            }
            (.., Some(why)) => ProcessMessage::Error(cut(&why)),
            _ if self.ready.is_some() => ProcessMessage::Ready,
            _ => ProcessMessage::End,
        })
    }
}

struct MessageParts {
    events_max: usize,
}

/// Reads the value of a key that may occur only once.
fn once<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
    map: &mut A,
    key: &'static str,
    place: &mut Option<S::Value>,
    seed: S,
) -> Result<(), A::Error> {
    match place.replace(map.next_value_seed(seed)?) {
        None => Ok(()),
        Some(_) => Err(Error::duplicate_field(key)),
    }
}

const KEYS: &[&str] =
    &["ready", "batch", "events", "position", "ok", "failed", "why", "refused", "error", "end"];

impl<'de> DeserializeSeed<'de> for MessageParts {
    type Value = MessageFields;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<MessageFields, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageParts {
    type Value = MessageFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MessageFields, A::Error> {
        use std::marker::PhantomData as Plain;
        let mut found = MessageFields::default();
        while let Some(key) = map.next_key_seed(MessageText)? {
            match &*key {
                "ready" => once(&mut map, "ready", &mut found.ready, Plain)?,
                "batch" => once(&mut map, "batch", &mut found.batch, Plain)?,
                "events" => {
                    once(&mut map, "events", &mut found.events, BoundedEvents(self.events_max))?;
                }
                "position" => {
                    let mut position = found.position.take().map(Some);
                    once(&mut map, "position", &mut position, Plain::<Option<String>>)?;
                    found.position = position.flatten();
                }
                "ok" => once(&mut map, "ok", &mut found.ok, Plain)?,
                "failed" => once(&mut map, "failed", &mut found.failed, Plain)?,
                "why" => once(&mut map, "why", &mut found.why, Plain)?,
                "refused" => once(&mut map, "refused", &mut found.refused, Plain)?,
                "error" => once(&mut map, "error", &mut found.error, Plain)?,
                "end" => once(&mut map, "end", &mut found.end, Plain)?,
                other => return Err(Error::unknown_field(&cut(other), KEYS)),
            }
        }
        if found.position.as_ref().is_some_and(|p| p.len() > EXTERNAL_POSITION_BYTES_MAX) {
            return Err(Error::custom(format_args!(
                "a position has {EXTERNAL_POSITION_BYTES_MAX} bytes at most"
            )));
        }
        Ok(found)
    }
}

/// A text, borrowed from the line if it has no escapes.
struct MessageText;

impl<'de> DeserializeSeed<'de> for MessageText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MessageText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// An array of at most this number of events.
struct BoundedEvents(usize);

impl<'de> DeserializeSeed<'de> for BoundedEvents {
    type Value = Vec<Event>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BoundedEvents {
    type Value = Vec<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = list.next_element_seed(DecodedEvent)? {
            if events.len() == self.0 {
                return Err(Error::custom(format_args!("a batch has {} events at most", self.0)));
            }
            events.push(event);
        }
        Ok(events)
    }
}

/// One event.
struct DecodedEvent;

impl<'de> DeserializeSeed<'de> for DecodedEvent {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Event, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DecodedEvent {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, an object with headers and body or body64")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let (mut headers, mut body) = (None, None);
        while let Some(key) = map.next_key_seed(MessageText)? {
            match &*key {
                "headers" => once(&mut map, "headers", &mut headers, EventHeaders)?,
                "body" => {
                    let text = map.next_value::<String>()?.into_bytes();
                    set_body(&mut body, text)?;
                }
                "body64" => {
                    let text = map.next_value_seed(MessageText)?;
                    let bytes = Base64::decode_vec(&text).map_err(|_| {
                        Error::custom("body64 is not base64 of RFC 4648, padded and without blanks")
                    })?;
                    set_body(&mut body, bytes)?;
                }
                other => {
                    return Err(Error::unknown_field(&cut(other), &["headers", "body", "body64"]));
                }
            }
        }
        let body = body.ok_or_else(|| Error::custom("an event has a body or a body64"))?;
        Ok(Event { headers: headers.unwrap_or_default(), body: body.into() })
    }
}

fn set_body<E: Error>(body: &mut Option<Vec<u8>>, bytes: Vec<u8>) -> Result<(), E> {
    match body.replace(bytes) {
        None => Ok(()),
        Some(_) => Err(Error::custom("an event has one body or body64")),
    }
}

/// The headers of an event.
struct EventHeaders;

impl<'de> DeserializeSeed<'de> for EventHeaders {
    type Value = Headers;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Headers, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventHeaders {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers, an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut list: Vec<(String, String)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if list.len() == HEADERS_MAX {
                return Err(Error::custom(format_args!(
                    "an event has {HEADERS_MAX} headers at most"
                )));
            }
            list.push(entry);
        }
        let mut names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::custom("a header is there twice"));
        }
        Ok(Headers::from_distinct(&list))
    }
}
