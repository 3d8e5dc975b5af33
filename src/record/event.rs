//! Events inside a put frame: two lengths, the headers if there are any, the body.
//!
//! Eight bytes of overhead for an event without headers, and no allocation for it in either
//! direction: a decoded body is a slice of the block it was read in.

use super::Refusal;
use super::cursor::{Reader, Writer};
use crate::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
use crate::event::{Event, Headers};
use bytes::Bytes;

/// Bytes of an event's two lengths.
pub const EVENT_HEADER_BYTES: usize = 8;

/// Bytes of the count in front of the headers.
const COUNT_BYTES: usize = 4;

/// Bytes of the two lengths in front of each header.
const HEADER_LENGTHS_BYTES: usize = 8;

// Every length of an event that put takes fits its field of four bytes.
const _: () = assert!(
    (COUNT_BYTES + HEADERS_MAX * HEADER_LENGTHS_BYTES + EVENT_BYTES_MAX) as u64 <= u32::MAX as u64
);

/// Bytes that [`encode`] writes for `event`.
#[must_use]
pub fn encoded_len(event: &Event) -> usize {
    EVENT_HEADER_BYTES + headers_len(&event.headers) + event.body.len()
}

fn headers_len(headers: &Headers) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let texts: usize = headers.iter().map(|(n, v)| HEADER_LENGTHS_BYTES + n.len() + v.len()).sum();
    COUNT_BYTES + texts
}

/// Writes `event` to the start of `out` and answers how many bytes that took.
///
/// # Panics
/// `out` is shorter than [`encoded_len`], or a text has 4 GiB or more: put refuses events beyond
/// [`EVENT_BYTES_MAX`] or [`HEADERS_MAX`].
pub fn encode(event: &Event, out: &mut [u8]) -> usize {
    let mut w = Writer::new(out);
    w.len(headers_len(&event.headers));
    w.len(event.body.len());
    if !event.headers.is_empty() {
        w.len(event.headers.len());
        for (name, value) in event.headers.iter() {
            w.len(name.len());
            w.len(value.len());
            w.bytes(name.as_bytes());
            w.bytes(value.as_bytes());
        }
    }
    w.bytes(&event.body);
    w.at()
}

/// Reads the event at `*at` of `bytes`, a put frame's events, and moves `at` behind it. The body
/// shares the memory of `bytes`.
///
/// # Errors
/// The event is cut short, or its headers are not what [`encode`] writes; `at` stays.
pub fn decode(bytes: &Bytes, at: &mut usize) -> Result<Event, Refusal> {
    let (headers, body, end) = read(bytes, *at)?;
    let body = if body.is_empty() { Bytes::new() } else { bytes.slice(body) };
    *at = end;
    Ok(Event { headers, body })
}

/// As [`decode`], but the body gets memory of its own: for takers whose events would keep more
/// blocks in memory than the byte budget allows.
///
/// # Errors
/// As [`decode`].
pub fn decode_copied(bytes: &[u8], at: &mut usize) -> Result<Event, Refusal> {
    let (headers, body, end) = read(bytes, *at)?;
    *at = end;
    Ok(Event { headers, body: Bytes::copy_from_slice(&bytes[body]) })
}

/// Moves `at` behind the event at `*at` without looking into it.
///
/// # Errors
/// The event is cut short; `at` stays.
pub fn skip(bytes: &[u8], at: &mut usize) -> Result<(), Refusal> {
    let mut r = Reader::starting_at(bytes, *at);
    let (headers, body) = (r.len()?, r.len()?);
    r.take(headers)?;
    r.take(body)?;
    *at = r.at();
    Ok(())
}

/// Headers, place of the body, and end of the event at `at`.
fn read(bytes: &[u8], at: usize) -> Result<(Headers, std::ops::Range<usize>, usize), Refusal> {
    let mut r = Reader::starting_at(bytes, at);
    let (headers_len, body_len) = (r.len()?, r.len()?);
    let headers = match headers_len {
        0 => Headers::new(),
        _ => decode_headers(r.take(headers_len)?)?,
    };
    let body_at = r.at();
    r.take(body_len)?;
    Ok((headers, body_at..r.at(), r.at()))
}

fn decode_headers(bytes: &[u8]) -> Result<Headers, Refusal> {
    let mut r = Reader::new(bytes);
    let count = r.len()?;
    if count == 0 {
        return Err(Refusal::Field("header count"));
    }
    // The bytes that are there bound the allocation, whatever the count says.
    if count > r.left() / HEADER_LENGTHS_BYTES {
        return Err(Refusal::Bounds);
    }
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_len, value_len) = (r.len()?, r.len()?);
        let name = r.text(name_len)?.to_owned();
        list.push((name, r.text(value_len)?.to_owned()));
    }
    r.end()?;
    Ok(Headers::from_distinct(list))
}
