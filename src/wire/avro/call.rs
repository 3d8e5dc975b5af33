//! Calls and their answers.

use super::WireError;
use super::values::{Values, put_bytes, put_count, put_long};
use crate::base::limits::{AVRO_DECODED_BYTES_MAX, HEADERS_MAX};
use crate::event::{Event, Headers};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;

/// A header's name and value have a byte of length each at least.
const HEADER_BYTES_MIN: usize = 2;
/// An event has a byte for its headers and one for its body at least.
const EVENT_BYTES_MIN: usize = 2;
/// Bytes that an event keeps beside each name and each value.
const HEADER_LENGTH_BYTES: usize = 4;
/// Bytes that a header takes while those of its event are read, where they are many: its place in a list and in a
/// table of places, both of which double.
const MANY_HEADER_BYTES: usize = 256;
/// Headers of an event up to which looking through them is quicker than hashing.
const FEW_HEADERS: usize = 16;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing: only the handshake.
    Ping,
    /// `append`: one event.
    Append(Event),
    /// `appendBatch`: any number of events, one transaction.
    AppendBatch(Vec<Event>),
}

/// A call that was looked over: it can be decoded, and takes so much memory.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    message: &'a [u8],
    /// What there is in it.
    pub outline: Outline,
    /// Bytes that the decoded call will take.
    pub decoded_bytes: usize,
}

/// What was found in a message: enough to decode it without looking it over again.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    name: Name,
    /// Where its parameters begin.
    parameters_at: usize,
    events: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Ping,
    Append,
    AppendBatch,
}

impl<'a> Measured<'a> {
    /// Looks over what follows the handshake, without allocating: a few bytes on the wire may
    /// become many in memory, and who decodes wants to know before.
    ///
    /// # Errors
    /// It is no call of this protocol, or beyond the limits.
    pub fn new(message: &'a [u8]) -> Result<Self, WireError> {
        let mut values = Values::new(message);
        values.skip_map("the call's metadata")?;
        let name = match values.bytes("the message's name")? {
            b"" => Name::Ping,
            b"append" => Name::Append,
            b"appendBatch" => Name::AppendBatch,
            other => {
                let shown = &other[..other.len().min(100)];
                return Err(WireError::UnknownMessage(String::from_utf8_lossy(shown).into_owned()));
            }
        };
        let parameters_at = message.len() - values.rest().len();
        let mut size = Size::default();
        match name {
            Name::Ping => {}
            Name::Append => size.event(&mut values)?,
            Name::AppendBatch => loop {
                let events = values.block(EVENT_BYTES_MIN, "the count of events")?;
                if events == 0 {
                    break;
                }
                for _ in 0..events {
                    size.event(&mut values)?;
                }
            },
        }
        if name != Name::Ping {
            values.end()?;
        }
        let many = if size.widest > FEW_HEADERS { size.widest * MANY_HEADER_BYTES } else { 0 };
        let outline = Outline { name, parameters_at, events: size.events };
        Ok(Self { message, outline, decoded_bytes: size.bytes + many })
    }

    /// Decodes it. Bodies are copied out of the message, which can go.
    ///
    /// # Errors
    /// None but those of [`Measured::new`].
    pub fn decode(self) -> Result<Call, WireError> {
        self.outline.decode(self.message)
    }
}

impl Outline {
    /// Decodes the `message` that this was found in.
    ///
    /// # Errors
    /// None but those of [`Measured::new`], unless it is another one.
    pub fn decode(self, message: &[u8]) -> Result<Call, WireError> {
        let parameters = message.get(self.parameters_at..).ok_or(WireError::Short("a call"))?;
        let values = &mut Values::new(parameters);
        Ok(match self.name {
            Name::Ping => Call::Ping,
            Name::Append => Call::Append(event(values)?),
            Name::AppendBatch => {
                let mut events = Vec::with_capacity(self.events);
                loop {
                    let block = values.block(EVENT_BYTES_MIN, "the count of events")?;
                    if block == 0 {
                        break Call::AppendBatch(events);
                    }
                    for _ in 0..block {
                        events.push(event(values)?);
                    }
                }
            }
        })
    }
}

/// What events will take.
#[derive(Default)]
struct Size {
    events: usize,
    bytes: usize,
    /// Headers of the event that has the most.
    widest: usize,
}

impl Size {
    fn event(&mut self, values: &mut Values<'_>) -> Result<(), WireError> {
        let mut headers = 0;
        let mut bytes = size_of::<Event>();
        loop {
            let block = values.block(HEADER_BYTES_MIN, "the count of headers")?;
            if block == 0 {
                break;
            }
            headers += block;
            if headers > HEADERS_MAX {
                return Err(WireError::TooMany { what: "headers of an event", max: HEADERS_MAX });
            }
            for _ in 0..block * 2 {
                let text = values.bytes("a header")?;
                // What is no UTF-8 grows to three bytes for one.
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
            return Err(WireError::TooLarge { what, max: AVRO_DECODED_BYTES_MAX });
        }
        Ok(())
    }
}

fn event(values: &mut Values<'_>) -> Result<Event, WireError> {
    let headers = headers(values)?;
    let body = Bytes::copy_from_slice(values.bytes("a body")?);
    Ok(Event { headers, body })
}

/// A map may name a header twice: the last value counts, as in Java.
fn headers(values: &mut Values<'_>) -> Result<Headers, WireError> {
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
        // So that what is there already is not copied time and again while the call grows.
        out.reserve(events.iter().map(encoded_bytes).sum());
        put_count(out, events.len());
        events.iter().for_each(|event| put_event(out, event));
    }
    put_long(out, 0);
}

/// Bytes of an event in a call, about.
fn encoded_bytes(event: &Event) -> usize {
    event.size_bytes() + 4 * event.headers.len() + 8
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
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

/// What the text of an error begins with when a server of ours cannot read the events of a call.
pub const UNREADABLE: &str = "the events cannot be read: ";

/// The same when it finds them too large.
pub const TOO_LARGE: &str = "the request has more than ";

/// What a server says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every event is committed.
    Ok,
    /// The channel did not take all of them: send all again.
    Failed,
    /// The server does not know.
    Unknown,
    /// The call could not be carried out, in words.
    Error(String),
}

impl Answer {
    /// Appends it.
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
    /// It is no answer to a call of this protocol.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut values = Values::new(message);
        values.skip_map("the answer's metadata")?;
        let answer = if values.boolean("the answer's error flag")? {
            match values.long("the index of an error")? {
                0 => {
                    let words = values.bytes("an error")?;
                    Self::Error(String::from_utf8_lossy(words).into_owned())
                }
                number => {
                    return Err(WireError::Number { what: "the index of an error", number });
                }
            }
        } else {
            match values.long("a status")? {
                0 => Self::Ok,
                1 => Self::Failed,
                2 => Self::Unknown,
                number => return Err(WireError::Number { what: "a status", number }),
            }
        };
        values.end()?;
        Ok(answer)
    }
}
