//! The calls of Flume's `ThriftSourceProtocol` and of Scribe, and their answers.

use super::values::{CALL, EXCEPTION, Head, Kind, REPLY, Reader, Writer};
use super::{Protocol, ThriftError};
use crate::base::limits::HEADERS_MAX;
use crate::event::{Event, Headers};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes of memory that an element or entry takes beside its own bytes.
const ITEM_BYTES: usize = 96;
/// Bytes that a header takes while those of its event are read, where they are many: its place in a list and in a
/// table of places, both of which double.
const MANY_ITEM_BYTES: usize = 256;
/// Headers of an event among which a double is looked for one by one.
const HEADERS_FEW: usize = 16;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// One event to be taken: `append`.
    Append(Event),
    /// Several, together: `appendBatch`.
    AppendBatch(Vec<Event>),
    /// Entries of Scribe, their category as a header; `None` for no list at all.
    Log(Option<Vec<Event>>),
}

/// Whose calls are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Flume's.
    Flume,
    /// Scribe's.
    Scribe,
}

/// A message whose head was read.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Its head.
    pub head: Head<'a>,
    reader: Reader<'a>,
}

/// Why a call is not carried out: what Thrift calls an application exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such method. The name is the client's: in a log it stands in quotes, with escapes.
    #[error("there is no method {0:?}")]
    Unknown(String),
    /// Its arguments cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ThriftError),
}

impl CallError {
    /// Thrift's number of the exception.
    fn code(&self) -> i32 {
        match self {
            Self::Unknown(_) => 1,
            Self::Unreadable(_) => 7,
        }
    }

    /// What the client is answered: Thrift's own words.
    fn words(&self) -> String {
        match self {
            Self::Unknown(name) => format!("Invalid method name: '{name}'"),
            Self::Unreadable(error) => error.to_string(),
        }
    }
}

impl<'a> Message<'a> {
    /// Reads the head of `frame`.
    ///
    /// # Errors
    /// It is no message of this protocol.
    pub fn new(protocol: Protocol, frame: &'a [u8]) -> Result<Self, ThriftError> {
        let mut reader = Reader::new(protocol, frame);
        Ok(Self { head: reader.head()?, reader })
    }

    /// Bytes of memory that decoding takes at most.
    ///
    /// # Errors
    /// It is not whole, or nested too deep.
    pub fn decoded_bytes(&self) -> Result<usize, ThriftError> {
        let mut reader = self.reader.clone();
        reader.skip(Kind::Struct, false)?;
        let many = if reader.widest > HEADERS_FEW { reader.widest.min(HEADERS_MAX) } else { 0 };
        let items = reader.items.saturating_mul(ITEM_BYTES);
        Ok(items.saturating_add(many * MANY_ITEM_BYTES).saturating_add(reader.growth))
    }

    /// The call.
    ///
    /// # Errors
    /// There is no such method, or its arguments are not what it needs.
    pub fn call(mut self, service: Service) -> Result<Call, CallError> {
        let reader = &mut self.reader;
        Ok(match (service, &*self.head.name) {
            (Service::Flume, "append") => Call::Append(append(reader)?),
            (Service::Flume, "appendBatch") => {
                let events = list(reader, flume_event)?.ok_or(ThriftError::Missing("events"))?;
                Call::AppendBatch(events)
            }
            (Service::Scribe, "Log") => Call::Log(list(reader, log_entry)?),
            (_, name) => return Err(CallError::Unknown(name.chars().take(100).collect())),
        })
    }
}

fn append(reader: &mut Reader<'_>) -> Result<Event, ThriftError> {
    let (mut event, mut last) = (None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, Kind::Struct) => event = Some(flume_event(reader)?),
            _ => reader.skip(field.kind, true)?,
        }
    }
    event.ok_or(ThriftError::Missing("event"))
}

/// The list of the first argument.
fn list(
    reader: &mut Reader<'_>,
    element: fn(&mut Reader<'_>) -> Result<Event, ThriftError>,
) -> Result<Option<Vec<Event>>, ThriftError> {
    let (mut events, mut last) = (None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, Kind::List) => {
                let (length, kind) = reader.list()?;
                if length > 0 && kind != Kind::Struct {
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

fn flume_event(reader: &mut Reader<'_>) -> Result<Event, ThriftError> {
    let (mut headers, mut body, mut last) = (None, None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, Kind::Map) => headers = Some(headers_of(reader)?),
            // A copy, so that an event does not keep the whole request in memory.
            (2, Kind::Bytes) => body = Some(Bytes::copy_from_slice(reader.bytes()?)),
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(Event {
        headers: headers.ok_or(ThriftError::Missing("headers"))?,
        body: body.ok_or(ThriftError::Missing("body"))?,
    })
}

fn headers_of(reader: &mut Reader<'_>) -> Result<Headers, ThriftError> {
    let (length, key, value) = reader.map()?;
    if length > 0 && (key, value) != (Kind::Bytes, Kind::Bytes) {
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

fn log_entry(reader: &mut Reader<'_>) -> Result<Event, ThriftError> {
    let (mut event, mut last) = (Event::default(), 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, Kind::Bytes) => event.headers.set("category", reader.text()?),
            (2, Kind::Bytes) => {
                // Text, as it is for Flume.
                event.body = Bytes::from(reader.text()?.into_owned());
            }
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(event)
}

/// Status of Flume's answers, and of Scribe's (OK, TRY_LATER).
pub const OK: i32 = 0;
/// Nothing was taken: send it again.
pub const FAILED: i32 = 1;

/// The answer to the call `head` with `status`. `is_old` as in [`Writer::head`].
pub fn put_status(
    out: &mut Vec<u8>,
    protocol: Protocol,
    head: &Head<'_>,
    status: i32,
    is_old: bool,
) {
    let mut writer = Writer::new(protocol, out);
    writer.head(&Head { kind: REPLY, ..head.clone() }, is_old);
    writer.field(0, Kind::I32, 0);
    writer.i32(status);
    writer.end();
}

/// The answer to the call `head` that cannot be carried out.
pub fn put_exception(
    out: &mut Vec<u8>,
    protocol: Protocol,
    head: &Head<'_>,
    error: &CallError,
    is_old: bool,
) {
    let mut writer = Writer::new(protocol, out);
    writer.head(&Head { kind: EXCEPTION, ..head.clone() }, is_old);
    writer.field(1, Kind::Bytes, 0);
    writer.bytes(error.words().as_bytes());
    writer.field(2, Kind::I32, 1);
    writer.i32(error.code());
    writer.end();
}

/// The call `appendBatch` of `events`.
pub fn put_append_batch(out: &mut Vec<u8>, protocol: Protocol, sequence: i32, events: &[Event]) {
    let mut writer = Writer::new(protocol, out);
    writer.head(&Head { name: Cow::Borrowed("appendBatch"), kind: CALL, sequence }, false);
    writer.field(1, Kind::List, 0);
    writer.list(events.len(), Kind::Struct);
    for event in events {
        writer.field(1, Kind::Map, 0);
        writer.map(event.headers.len(), Kind::Bytes, Kind::Bytes);
        for (name, value) in event.headers.iter() {
            writer.bytes(name.as_bytes());
            writer.bytes(value.as_bytes());
        }
        writer.field(2, Kind::Bytes, 1);
        writer.bytes(&event.body);
        writer.end();
    }
    writer.end();
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status: 0 for OK, 1 for FAILED, 2 for ERROR.
    Status(i32),
    /// An exception.
    Exception {
        /// Its number in Thrift's list: 6 for an internal error, 7 for a call that cannot be read.
        code: i32,
        /// In words.
        words: String,
    },
}

/// The answer in `frame` to the call `sequence`.
///
/// # Errors
/// It is none, or one to another call.
pub fn answer(protocol: Protocol, sequence: i32, frame: &[u8]) -> Result<Answer, ThriftError> {
    let mut reader = Reader::new(protocol, frame);
    let head = reader.head()?;
    if head.sequence != sequence || !matches!(head.kind, REPLY | EXCEPTION) {
        return Err(ThriftError::OtherAnswer);
    }
    let (mut status, mut words, mut code, mut last) = (None, String::new(), 0, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (head.kind, field.number, field.kind) {
            (EXCEPTION, 2, Kind::I32) => code = reader.i32()?,
            (REPLY, 0, Kind::I32) => status = Some(reader.i32()?),
            (EXCEPTION, 1, Kind::Bytes) => words = reader.text()?.chars().take(500).collect(),
            _ => reader.skip(field.kind, true)?,
        }
    }
    match (head.kind, status) {
        (EXCEPTION, _) => Ok(Answer::Exception { code, words }),
        (_, Some(status)) => Ok(Answer::Status(status)),
        _ => Err(ThriftError::Missing("status")),
    }
}
