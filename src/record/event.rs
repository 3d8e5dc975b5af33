//! Events inside a put frame: two lengths, the headers if there are any, the body.
//!
//! Eight bytes of overhead for an event without headers, and no allocation in either direction: decoded headers and
//! bodies are slices of their block.

use super::DecodeError;
use super::cursor::{Reader, Writer};
use crate::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
use crate::event::{Event, Headers};
use bytes::Bytes;
use std::ops::Range;

/// Bytes of an event's two lengths.
pub const EVENT_HEADER_BYTES: usize = 8;

/// Bytes of the count before the headers.
const COUNT_BYTES: usize = 4;

/// Bytes of the two lengths before each header.
const HEADER_LENGTHS_BYTES: usize = 8;

// Every length of an event that put takes fits its field of four bytes.
const _: () = assert!(
    (COUNT_BYTES + HEADERS_MAX * HEADER_LENGTHS_BYTES + EVENT_BYTES_MAX) as u64 <= u32::MAX as u64
);

/// Returns the bytes that [`encode`] writes for `event`.
#[must_use]
pub fn encoded_len(event: &Event) -> usize {
    EVENT_HEADER_BYTES + headers_len(&event.headers) + event.body.len()
}

fn headers_len(headers: &Headers) -> usize {
    if headers.is_empty() {
        return 0;
    }
    COUNT_BYTES + headers.encoded().len()
}

/// Writes `event` to the start of `out` and returns its length in bytes.
///
/// # Panics
/// `out` is shorter than [`encoded_len`], or a text has 4 GiB or more: put refuses events beyond [`EVENT_BYTES_MAX`] or
/// [`HEADERS_MAX`].
pub fn encode(event: &Event, out: &mut [u8]) -> usize {
    let mut w = Writer::new(out);
    w.len(headers_len(&event.headers));
    w.len(event.body.len());
    if !event.headers.is_empty() {
        w.len(event.headers.len());
        w.bytes(event.headers.encoded());
    }
    w.bytes(&event.body);
    w.at()
}

/// Reads the event at `*at` of `bytes`, a put frame's events, and moves `at` to its end. Headers and body share the
/// memory of `bytes`.
///
/// # Errors
/// The event is cut short, or its headers are not what [`encode`] writes; `at` is unchanged.
pub fn decode(bytes: &Bytes, at: &mut usize) -> Result<Event, DecodeError> {
    let places = EventSpans::read(bytes, *at)?;
    let shared = |range: Range<usize>| {
        if range.is_empty() { Bytes::new() } else { bytes.slice(range) }
    };
    *at = places.body.end;
    let headers = Headers::from_encoded(places.count, shared(places.headers));
    Ok(Event { headers, body: shared(places.body) })
}

/// Like [`decode`], but the event gets memory of its own: for takers whose events would keep more blocks in memory than
/// the byte budget allows.
///
/// # Errors
/// As [`decode`].
pub fn decode_copied(bytes: &[u8], at: &mut usize) -> Result<Event, DecodeError> {
    let end = EventSpans::read(bytes, *at)?.body.end;
    let own = Bytes::copy_from_slice(&bytes[*at..end]);
    *at = end;
    decode(&own, &mut 0)
}

/// Moves `at` to the end of the event at `*at` without decoding it.
///
/// # Errors
/// The event is cut short; `at` is unchanged.
pub fn skip(bytes: &[u8], at: &mut usize) -> Result<(), DecodeError> {
    let mut r = Reader::starting_at(bytes, *at);
    let (headers, body) = (r.len()?, r.len()?);
    r.take(headers)?;
    r.take(body)?;
    *at = r.at();
    Ok(())
}

/// The places of an event's parts, its headers checked.
struct EventSpans {
    count: u32,
    /// Without their count.
    headers: Range<usize>,
    body: Range<usize>,
}

impl EventSpans {
    fn read(bytes: &[u8], at: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::starting_at(bytes, at);
        let (headers_len, body_len) = (r.len()?, r.len()?);
        let headers_at = r.at();
        let count = match headers_len {
            0 => 0,
            _ => check_headers(r.take(headers_len)?)?,
        };
        let body_at = r.at();
        r.take(body_len)?;
        let counted = if count == 0 { 0 } else { COUNT_BYTES };
        Ok(Self { count, headers: headers_at + counted..body_at, body: body_at..r.at() })
    }
}

/// Their count.
fn check_headers(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut r = Reader::new(bytes);
    let count = r.u32()?;
    if count == 0 {
        return Err(DecodeError::Field("header count"));
    }
    // Before the headers are counted: the count may be larger than what is there.
    if count as usize > r.left() / HEADER_LENGTHS_BYTES {
        return Err(DecodeError::Bounds);
    }
    for _ in 0..count {
        let (name_len, value_len) = (r.len()?, r.len()?);
        r.text(name_len)?;
        r.text(value_len)?;
    }
    r.end()?;
    Ok(count)
}
