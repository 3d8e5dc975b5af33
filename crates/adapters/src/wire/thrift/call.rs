//! The calls of Flume's `ThriftSourceProtocol` and of Scribe, and their replies.

use super::values::{
    CALL, EXCEPTION, MessageHeader, REPLY, ThriftReader, ThriftType, ThriftWriter,
};
use super::{ThriftError, ThriftProtocol};
use bytes::Bytes;
use millpond::{Event, Headers};
use millpond_flow::base::limits::HEADERS_MAX;
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes of memory that an element or entry takes in addition to its own bytes.
const ITEM_BYTES: usize = 96;
/// Bytes that a header takes while those of its event are read, where they are many: its entries in a list and in
/// a hash table, which both double.
const MANY_ITEM_BYTES: usize = 256;
/// Largest number of headers of an event that are searched linearly for duplicates.
const HEADERS_FEW: usize = 16;

/// A client's call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThriftCall {
    /// `append`: one event.
    Append(Event),
    /// `appendBatch`: several events, together.
    AppendBatch(Vec<Event>),
    /// Scribe's entries, with their category as a header; `None` if the list is missing.
    Log(Option<Vec<Event>>),
}

/// The service whose calls are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThriftService {
    /// Flume's.
    Flume,
    /// Scribe's.
    Scribe,
}

/// A message whose head was read.
#[derive(Clone, Debug)]
pub struct ThriftMessage<'a> {
    /// Its head.
    pub head: MessageHeader<'a>,
    reader: ThriftReader<'a>,
}

/// Why a call is refused: Thrift's application exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such method. The client chose the name: a log shows it in quotes, with escapes.
    #[error("there is no method {0:?}")]
    Unknown(String),
    /// Its arguments cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ThriftError),
}

impl CallError {
    /// Returns Thrift's number of the exception.
    fn code(&self) -> i32 {
        match self {
            Self::Unknown(_) => 1,
            Self::Unreadable(_) => 7,
        }
    }

    /// Returns the text for the client, as Thrift's own libraries word it.
    fn words(&self) -> String {
        match self {
            Self::Unknown(name) => format!("Invalid method name: '{name}'"),
            Self::Unreadable(error) => error.to_string(),
        }
    }
}

impl<'a> ThriftMessage<'a> {
    /// Reads the head of `frame`.
    ///
    /// # Errors
    /// It is not a message of this protocol.
    pub fn new(protocol: ThriftProtocol, frame: &'a [u8]) -> Result<Self, ThriftError> {
        let mut reader = ThriftReader::new(protocol, frame);
        Ok(Self { head: reader.head()?, reader })
    }

    /// Returns the most bytes of memory that decoding takes.
    ///
    /// # Errors
    /// It is incomplete, or nested too deeply.
    pub fn decoded_bytes(&self) -> Result<usize, ThriftError> {
        let mut reader = self.reader.clone();
        reader.skip(ThriftType::Struct, false)?;
        let many = if reader.widest > HEADERS_FEW { reader.widest.min(HEADERS_MAX) } else { 0 };
        let items = reader.items.saturating_mul(ITEM_BYTES);
        Ok(items.saturating_add(many * MANY_ITEM_BYTES).saturating_add(reader.growth))
    }

    /// Decodes the call.
    ///
    /// # Errors
    /// There is no such method, or its arguments are invalid.
    pub fn call(mut self, service: ThriftService) -> Result<ThriftCall, CallError> {
        let reader = &mut self.reader;
        Ok(match (service, &*self.head.name) {
            (ThriftService::Flume, "append") => ThriftCall::Append(append(reader)?),
            (ThriftService::Flume, "appendBatch") => {
                let events = list(reader, flume_event)?.ok_or(ThriftError::Missing("events"))?;
                ThriftCall::AppendBatch(events)
            }
            (ThriftService::Scribe, "Log") => ThriftCall::Log(list(reader, log_entry)?),
            (_, name) => return Err(CallError::Unknown(name.chars().take(100).collect())),
        })
    }
}

fn append(reader: &mut ThriftReader<'_>) -> Result<Event, ThriftError> {
    let (mut event, mut last) = (None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, ThriftType::Struct) => event = Some(flume_event(reader)?),
            _ => reader.skip(field.kind, true)?,
        }
    }
    event.ok_or(ThriftError::Missing("event"))
}

/// Reads the list of the first argument.
fn list(
    reader: &mut ThriftReader<'_>,
    element: fn(&mut ThriftReader<'_>) -> Result<Event, ThriftError>,
) -> Result<Option<Vec<Event>>, ThriftError> {
    let (mut events, mut last) = (None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, ThriftType::List) => {
                let (length, kind) = reader.list()?;
                if length > 0 && kind != ThriftType::Struct {
                    return Err(ThriftError::Missing("events"));
                }
                let list: Result<Vec<_>, _> = (0..length).map(|_| element(reader)).collect();
                events = Some(list?);
            }
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(events)
}

fn flume_event(reader: &mut ThriftReader<'_>) -> Result<Event, ThriftError> {
    let (mut headers, mut body, mut last) = (None, None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, ThriftType::Map) => headers = Some(headers_of(reader)?),
            // Copied, so that an event does not keep the whole request in memory.
            (2, ThriftType::Bytes) => body = Some(Bytes::copy_from_slice(reader.bytes()?)),
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(Event {
        headers: headers.ok_or(ThriftError::Missing("headers"))?,
        body: body.ok_or(ThriftError::Missing("body"))?,
    })
}

fn headers_of(reader: &mut ThriftReader<'_>) -> Result<Headers, ThriftError> {
    let (length, key, value) = reader.map()?;
    if length > 0 && (key, value) != (ThriftType::Bytes, ThriftType::Bytes) {
        return Err(ThriftError::Missing("headers"));
    }
    if length > HEADERS_MAX {
        return Err(ThriftError::TooManyHeaders { headers: length, max: HEADERS_MAX });
    }
    if length <= HEADERS_FEW {
        let mut headers = Headers::new();
        for _ in 0..length {
            let name = reader.text()?;
            headers.set(name, reader.text()?);
        }
        return Ok(headers);
    }
    let mut list: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for _ in 0..length {
        let (name, value) = (reader.text()?, reader.text()?);
        match places.get(&name) {
            Some(&at) => list[at].1 = value,
            None => {
                places.insert(name.clone(), list.len());
                list.push((name, value));
            }
        }
    }
    Ok(Headers::from_distinct(&list))
}

fn log_entry(reader: &mut ThriftReader<'_>) -> Result<Event, ThriftError> {
    let (mut event, mut last) = (Event::default(), 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, ThriftType::Bytes) => event.headers.set("category", reader.text()?),
            (2, ThriftType::Bytes) => {
                // Decoded as text, as in Flume.
                event.body = Bytes::from(reader.text()?.into_owned());
            }
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(event)
}

/// Status of Flume's replies, and of Scribe's (OK, TRY_LATER).
pub const OK: i32 = 0;
/// Nothing was taken; the client sends it again.
pub const FAILED: i32 = 1;

/// Writes the reply to the call `head` with `status`. `is_old` as in [`ThriftWriter::head`].
pub fn put_status(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    head: &MessageHeader<'_>,
    status: i32,
    is_old: bool,
) {
    let mut writer = ThriftWriter::new(protocol, out);
    writer.head(&MessageHeader { kind: REPLY, ..head.clone() }, is_old);
    writer.field(0, ThriftType::I32, 0);
    writer.i32(status);
    writer.end();
}

/// Writes the exception for the call `head`.
pub fn put_exception(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    head: &MessageHeader<'_>,
    error: &CallError,
    is_old: bool,
) {
    let mut writer = ThriftWriter::new(protocol, out);
    writer.head(&MessageHeader { kind: EXCEPTION, ..head.clone() }, is_old);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(error.words().as_bytes());
    writer.field(2, ThriftType::I32, 1);
    writer.i32(error.code());
    writer.end();
}

/// Writes the call `appendBatch` of `events`.
pub fn put_append_batch(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    sequence: i32,
    events: &[Event],
) {
    let mut writer = ThriftWriter::new(protocol, out);
    writer.head(&MessageHeader { name: Cow::Borrowed("appendBatch"), kind: CALL, sequence }, false);
    writer.field(1, ThriftType::List, 0);
    writer.list(events.len(), ThriftType::Struct);
    for event in events {
        writer.field(1, ThriftType::Map, 0);
        writer.map(event.headers.len(), ThriftType::Bytes, ThriftType::Bytes);
        for (name, value) in event.headers.iter() {
            writer.bytes(name.as_bytes());
            writer.bytes(value.as_bytes());
        }
        writer.field(2, ThriftType::Bytes, 1);
        writer.bytes(&event.body);
        writer.end();
    }
    writer.end();
}

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThriftReply {
    /// A status: 0 for OK, 1 for FAILED, 2 for ERROR.
    Status(i32),
    /// An exception.
    Exception {
        /// Its number in Thrift's list: 6 for an internal error, 7 for a call that cannot be read.
        code: i32,
        /// Its text.
        words: String,
    },
}

/// Reads the reply in `frame` to the call `sequence`.
///
/// # Errors
/// It is invalid, or a reply to another call.
pub fn answer(
    protocol: ThriftProtocol,
    sequence: i32,
    frame: &[u8],
) -> Result<ThriftReply, ThriftError> {
    let mut reader = ThriftReader::new(protocol, frame);
    let head = reader.head()?;
    if head.sequence != sequence || !matches!(head.kind, REPLY | EXCEPTION) {
        return Err(ThriftError::OtherAnswer);
    }
    let (mut status, mut words, mut code, mut last) = (None, String::new(), 0, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (head.kind, field.number, field.kind) {
            (EXCEPTION, 2, ThriftType::I32) => code = reader.i32()?,
            (REPLY, 0, ThriftType::I32) => status = Some(reader.i32()?),
            (EXCEPTION, 1, ThriftType::Bytes) => words = reader.text()?.chars().take(500).collect(),
            _ => reader.skip(field.kind, true)?,
        }
    }
    match (head.kind, status) {
        (EXCEPTION, _) => Ok(ThriftReply::Exception { code, words }),
        (_, Some(status)) => Ok(ThriftReply::Status(status)),
        _ => Err(ThriftError::Missing("status")),
    }
}
