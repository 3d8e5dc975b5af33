//! What the fuzz targets call; tests/hostile and the unit tests run them too.

use super::call::{Answer, Call, Measured, put_append, put_append_batch};
use super::exchange::{Exchange, NoAnswer};
use super::frame::{self, Frames};
use super::handshake::{Request, Response};
use super::protocol;
use super::values::Values;
use crate::base::limits::{AVRO_DECODED_BYTES_MAX, HEADERS_MAX};
use crate::event::Event;
use bytes::BytesMut;

/// Any bytes as a stream, as a handshake, as a call, as an answer and as a protocol. What is
/// accepted is encoded and decoded to the same again.
///
/// # Panics
/// It is not.
pub fn avro(bytes: &[u8]) {
    stream(bytes);
    message(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = protocol::check(text);
    }
}

fn stream(bytes: &[u8]) {
    let (mut frames, mut input) = (Frames::new(), BytesMut::from(bytes));
    while let Ok(Some(found)) = frames.next(&mut input) {
        message(&found.message);
        if !found.is_whole {
            continue;
        }
        let mut again = frame::begin();
        again.extend_from_slice(&found.message);
        frame::finish(&mut again, found.serial);
        let read = Frames::new().next(&mut BytesMut::from(&again[..]));
        assert_eq!(read, Ok(Some(found)), "a frame reads back");
    }
    assert!(frames.held_bytes() <= bytes.len(), "nothing is held that has not come");
}

fn message(bytes: &[u8]) {
    let mut values = Values::new(bytes);
    if let Ok(request) = Request::decode(&mut values) {
        let mut again = Vec::new();
        request.encode(&mut again);
        assert_eq!(Request::decode(&mut Values::new(&again)), Ok(request), "a request reads back");
        call(values.rest());
    }
    if let Ok(response) = Response::decode(&mut Values::new(bytes)) {
        let mut again = Vec::new();
        response.encode(&mut again);
        let read = Response::decode(&mut Values::new(&again));
        assert_eq!(read, Ok(response), "a response reads back");
    }
    call(bytes);
    if let Ok(answer) = Answer::decode(bytes) {
        let mut again = Vec::new();
        answer.encode(&mut again);
        assert_eq!(Answer::decode(&again), Ok(answer), "an answer reads back");
    }
}

fn call(bytes: &[u8]) {
    let Ok(measured) = Measured::new(bytes) else { return };
    let announced = measured.decoded_bytes;
    // Beside the events themselves there is what finds doubles among the headers of one.
    assert!(announced <= AVRO_DECODED_BYTES_MAX + 256 * HEADERS_MAX, "the limit holds");
    let call = measured.decode().expect("what was looked over can be decoded");
    let mut again = Vec::new();
    let events = match &call {
        Call::Ping => return,
        Call::Append(event) => {
            put_append(&mut again, event);
            std::slice::from_ref(event)
        }
        Call::AppendBatch(events) => {
            put_append_batch(&mut again, events);
            events
        }
    };
    let taken: usize = events.iter().map(Event::size_bytes).sum();
    assert!(taken <= announced, "more memory than was announced");
    let read = Measured::new(&again).and_then(Measured::decode);
    // Text that was no UTF-8 has grown and may now be beyond the limit.
    assert!(read.is_err() || read == Ok(call), "a call reads back");
}

/// Any bytes as what a server sends to a client that has called twice: as a stream, in one piece
/// and in several, and as the message of the frame that is due.
///
/// # Panics
/// The answer depends on how it arrives, or a whole frame is waited on.
pub fn exchange(bytes: &[u8]) {
    let cut = bytes.first().map_or(1, |first| usize::from(*first % 64) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
    assert_eq!(answers(&pieces), answers(&[bytes]), "an answer does not depend on its pieces");
    let mut framed = Vec::new();
    for serial in 1..=2 {
        let mut one = frame::begin();
        one.extend_from_slice(bytes);
        frame::finish(&mut one, serial);
        framed.extend(one);
    }
    let (found, end) = answers(&[&framed]);
    assert!(found.len() == 2 || end.is_err(), "a whole frame is an answer, or none");
}

/// The answers to two calls, and what ended them.
fn answers(pieces: &[&[u8]]) -> (Vec<Answer>, Result<(), NoAnswer>) {
    let (mut exchange, mut input) = (Exchange::new(), BytesMut::new());
    let mut found = Vec::new();
    let _ = exchange.call(&[Event::new("a line")]);
    for piece in pieces {
        input.extend_from_slice(piece);
        while found.len() < 2 {
            match exchange.answer(&mut input) {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    found.push(answer);
                    let _ = exchange.call(&[]);
                }
                Err(end) => return (found, Err(end)),
            }
        }
    }
    (found, Ok(()))
}
