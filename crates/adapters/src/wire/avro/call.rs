//! Calls and their replies.

use super::AvroError;
use super::values::{AvroReader, put_bytes, put_count, put_long};
use bytes::Bytes;
use millpond::{Event, Headers};
use millpond_flow::base::limits::{AVRO_DECODED_BYTES_MAX, HEADERS_MAX};
use std::borrow::Cow;
use std::collections::HashMap;

/// A header's name and value have at least a length byte each.
const HEADER_BYTES_MIN: usize = 2;
/// An event has at least a byte for its headers and one for its body.
const EVENT_BYTES_MIN: usize = 2;
/// Bytes that an event stores in addition to each name and each value.
const HEADER_LENGTH_BYTES: usize = 4;
/// Bytes that a header takes while those of its event are read, where they are many: its entries in a list and in
/// a hash table, which both double.
const MANY_HEADER_BYTES: usize = 256;
/// Largest number of headers for which a linear search is faster than hashing.
const FEW_HEADERS: usize = 16;

/// The request of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvroCall {
    /// No call: only the handshake.
    Ping,
    /// `append`: one event.
    Append(Event),
    /// `appendBatch`: any number of events, one transaction.
    AppendBatch(Vec<Event>),
}

/// A validated call with the memory that decoding it takes.
#[derive(Clone, Debug)]
pub struct MeasuredCall<'a> {
    message: &'a [u8],
    /// Its outline.
    pub outline: CallOutline,
    /// Bytes that the decoded call will take.
    pub decoded_bytes: usize,
}

/// What was found in a message, so that it can be decoded without validating it again.
#[derive(Clone, Copy, Debug)]
pub struct CallOutline {
    name: CallName,
    /// Offset of its parameters.
    parameters_at: usize,
    events: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallName {
    Ping,
    Append,
    AppendBatch,
}

impl<'a> MeasuredCall<'a> {
    /// Validates what follows the handshake, without allocating: a few bytes on the wire may become many in
    /// memory, and the caller has to know the number before decoding.
    ///
    /// # Errors
    /// It is not a call of this protocol, or exceeds the limits.
    pub fn new(message: &'a [u8]) -> Result<Self, AvroError> {
        let mut values = AvroReader::new(message);
        values.skip_map("the call's metadata")?;
        let name = match values.bytes("the message's name")? {
            b"" => CallName::Ping,
            b"append" => CallName::Append,
            b"appendBatch" => CallName::AppendBatch,
            other => {
                let shown = &other[..other.len().min(100)];
                return Err(AvroError::UnknownMessage(String::from_utf8_lossy(shown).into_owned()));
            }
        };
        let parameters_at = message.len() - values.rest().len();
        let mut size = EventSize::default();
        match name {
            CallName::Ping => {}
            CallName::Append => size.event(&mut values)?,
            CallName::AppendBatch => loop {
                let events = values.block(EVENT_BYTES_MIN, "the count of events")?;
                if events == 0 {
                    break;
                }
                for _ in 0..events {
                    size.event(&mut values)?;
                }
            },
        }
        if name != CallName::Ping {
            values.end()?;
        }
        let many = if size.widest > FEW_HEADERS { size.widest * MANY_HEADER_BYTES } else { 0 };
        let outline = CallOutline { name, parameters_at, events: size.events };
        Ok(Self { message, outline, decoded_bytes: size.bytes + many })
    }

    /// Decodes it. Bodies are copied out of the message, which can be dropped.
    ///
    /// # Errors
    /// Those of [`MeasuredCall::new`] only.
    pub fn decode(self) -> Result<AvroCall, AvroError> {
        self.outline.decode(self.message)
    }
}

impl CallOutline {
    /// Decodes the `message` that this outline is of.
    ///
    /// # Errors
    /// Those of [`MeasuredCall::new`] only, unless it is another message.
    pub fn decode(self, message: &[u8]) -> Result<AvroCall, AvroError> {
        let parameters = message.get(self.parameters_at..).ok_or(AvroError::Short("a call"))?;
        let values = &mut AvroReader::new(parameters);
        Ok(match self.name {
            CallName::Ping => AvroCall::Ping,
            CallName::Append => AvroCall::Append(event(values)?),
            CallName::AppendBatch => {
                let mut events = Vec::with_capacity(self.events);
                loop {
                    let block = values.block(EVENT_BYTES_MIN, "the count of events")?;
                    if block == 0 {
                        break AvroCall::AppendBatch(events);
                    }
                    for _ in 0..block {
                        events.push(event(values)?);
                    }
                }
            }
        })
    }
}

/// Size of decoded events.
#[derive(Default)]
struct EventSize {
    events: usize,
    bytes: usize,
    /// The largest number of headers of one event.
    widest: usize,
}

impl EventSize {
    fn event(&mut self, values: &mut AvroReader<'_>) -> Result<(), AvroError> {
        let mut headers = 0;
        let mut bytes = size_of::<Event>();
        loop {
            let block = values.block(HEADER_BYTES_MIN, "the count of headers")?;
            if block == 0 {
                break;
            }
            headers += block;
            if headers > HEADERS_MAX {
                return Err(AvroError::TooMany { what: "headers of an event", max: HEADERS_MAX });
            }
            for _ in 0..block * 2 {
                let text = values.bytes("a header")?;
                // Invalid UTF-8 grows from one byte to three.
                let grown = if std::str::from_utf8(text).is_ok() { 1 } else { 3 };
                bytes += text.len() * grown + HEADER_LENGTH_BYTES;
            }
        }
        bytes += values.bytes("a body")?.len();
        self.widest = self.widest.max(headers);
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > AVRO_DECODED_BYTES_MAX {
            let what = "events that take in memory";
            return Err(AvroError::TooLarge { what, max: AVRO_DECODED_BYTES_MAX });
        }
        Ok(())
    }
}

/// Decodes one event that is encoded by itself, without a call.
///
/// # Errors
/// It is not an event, exceeds a limit, or there are bytes after it.
pub fn decode_event(datum: &[u8]) -> Result<Event, AvroError> {
    let mut measured = AvroReader::new(datum);
    EventSize::default().event(&mut measured)?;
    measured.end()?;
    event(&mut AvroReader::new(datum))
}

fn event(values: &mut AvroReader<'_>) -> Result<Event, AvroError> {
    let headers = headers(values)?;
    let body = Bytes::copy_from_slice(values.bytes("a body")?);
    Ok(Event { headers, body })
}

/// Reads a map, which may contain a header twice: the last value counts, as in Java.
fn headers(values: &mut AvroReader<'_>) -> Result<Headers, AvroError> {
    let mut list: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
    loop {
        let block = values.block(HEADER_BYTES_MIN, "the count of headers")?;
        if block == 0 {
            return Ok(Headers::from_distinct(&list));
        }
        for _ in 0..block {
            let name = String::from_utf8_lossy(values.bytes("a header")?);
            let value = String::from_utf8_lossy(values.bytes("a header")?);
            let known = if list.len() <= FEW_HEADERS {
                list.iter().position(|(n, _)| *n == name)
            } else {
                if places.is_empty() {
                    places.extend(list.iter().enumerate().map(|(at, (n, _))| (n.clone(), at)));
                }
                places.get(&name).copied()
            };
            match known {
                Some(at) => list[at].1 = value,
                None => {
                    if !places.is_empty() {
                        places.insert(name.clone(), list.len());
                    }
                    list.push((name, value));
                }
            }
        }
    }
}

/// Appends a call of `append`.
pub fn put_append(out: &mut Vec<u8>, event: &Event) {
    put_long(out, 0);
    put_bytes(out, b"append");
    put_event(out, event);
}

/// Appends a call of `appendBatch`.
pub fn put_append_batch(out: &mut Vec<u8>, events: &[Event]) {
    put_long(out, 0);
    put_bytes(out, b"appendBatch");
    if !events.is_empty() {
        // Reserved at once, so that the call is not copied repeatedly while it grows.
        out.reserve(events.iter().map(encoded_bytes).sum());
        put_count(out, events.len());
        events.iter().for_each(|event| put_event(out, event));
    }
    put_long(out, 0);
}

/// Returns the approximate bytes of an event in a call or by itself.
#[must_use]
pub fn encoded_bytes(event: &Event) -> usize {
    event.size_bytes() + 4 * event.headers.len() + 8
}

/// Appends one event, as in a call.
pub fn put_event(out: &mut Vec<u8>, event: &Event) {
    if !event.headers.is_empty() {
        put_count(out, event.headers.len());
        for (name, value) in event.headers.iter() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_long(out, 0);
    put_bytes(out, &event.body);
}

/// Prefix of the error text of millpond's server for unreadable events.
pub const UNREADABLE: &str = "the events cannot be read: ";

/// Prefix of the error text of millpond's server for too large requests.
pub const TOO_LARGE: &str = "the request has more than ";

/// A server's reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvroReply {
    /// Every event is committed.
    Ok,
    /// The channel did not take all of them: the client sends all again.
    Failed,
    /// The outcome is unknown.
    Unknown,
    /// The call failed, with this text.
    Error(String),
}

impl AvroReply {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, 0);
        match self {
            Self::Ok => out.extend_from_slice(&[0, 0]),
            Self::Failed => out.extend_from_slice(&[0, 2]),
            Self::Unknown => out.extend_from_slice(&[0, 4]),
            Self::Error(words) => {
                out.extend_from_slice(&[1, 0]);
                put_bytes(out, words.as_bytes());
            }
        }
    }

    /// Reads what follows the handshake, to the end.
    ///
    /// # Errors
    /// It is not a reply to a call of this protocol.
    pub fn decode(message: &[u8]) -> Result<Self, AvroError> {
        let mut values = AvroReader::new(message);
        values.skip_map("the answer's metadata")?;
        let answer = if values.boolean("the answer's error flag")? {
            match values.long("the index of an error")? {
                0 => {
                    let words = values.bytes("an error")?;
                    Self::Error(String::from_utf8_lossy(words).into_owned())
                }
                number => {
                    return Err(AvroError::Number { what: "the index of an error", number });
                }
            }
        } else {
            match values.long("a status")? {
                0 => Self::Ok,
                1 => Self::Failed,
                2 => Self::Unknown,
                number => return Err(AvroError::Number { what: "a status", number }),
            }
        };
        values.end()?;
        Ok(answer)
    }
}
