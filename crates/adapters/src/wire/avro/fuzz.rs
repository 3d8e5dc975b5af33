//! Entry points of the fuzz targets; crates/agent/tests/hostile and the unit tests run them too.

use super::call::{AvroCall, AvroReply, MeasuredCall, put_append, put_append_batch};
use super::exchange::{AvroExchange, ReplyError};
use super::frame::{self, AvroFramer};
use super::handshake::{HandshakeRequest, HandshakeResponse};
use super::protocol;
use super::values::AvroReader;
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::{AVRO_DECODED_BYTES_MAX, HEADERS_MAX};

/// Takes any bytes as a stream, a handshake, a call, a reply and a protocol. What is accepted must be equal after
/// encoding and decoding.
///
/// # Panics
/// That does not hold.
pub fn avro(bytes: &[u8]) {
    stream(bytes);
    message(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = protocol::check(text);
    }
}

fn stream(bytes: &[u8]) {
    let (mut frames, mut input) = (AvroFramer::new(), BytesMut::from(bytes));
    while let Ok(Some(found)) = frames.next(&mut input) {
        message(&found.message);
        if !found.is_whole {
            continue;
        }
        let mut again = frame::begin();
        again.extend_from_slice(&found.message);
        frame::finish(&mut again, found.serial);
        let read = AvroFramer::new().next(&mut BytesMut::from(&again[..]));
        assert_eq!(read, Ok(Some(found)), "a frame reads back");
    }
    assert!(frames.held_bytes() <= bytes.len(), "nothing is held that has not come");
}

fn message(bytes: &[u8]) {
    let mut values = AvroReader::new(bytes);
    if let Ok(request) = HandshakeRequest::decode(&mut values) {
        let mut again = Vec::new();
        request.encode(&mut again);
        assert_eq!(
            HandshakeRequest::decode(&mut AvroReader::new(&again)),
            Ok(request),
            "a request reads back"
        );
        call(values.rest());
    }
    if let Ok(response) = HandshakeResponse::decode(&mut AvroReader::new(bytes)) {
        let mut again = Vec::new();
        response.encode(&mut again);
        let read = HandshakeResponse::decode(&mut AvroReader::new(&again));
        assert_eq!(read, Ok(response), "a response reads back");
    }
    call(bytes);
    if let Ok(answer) = AvroReply::decode(bytes) {
        let mut again = Vec::new();
        answer.encode(&mut again);
        assert_eq!(AvroReply::decode(&again), Ok(answer), "an answer reads back");
    }
}

fn call(bytes: &[u8]) {
    let Ok(measured) = MeasuredCall::new(bytes) else { return };
    let announced = measured.decoded_bytes;
    // In addition to the events themselves: the search for duplicate headers of one event.
    assert!(announced <= AVRO_DECODED_BYTES_MAX + 256 * HEADERS_MAX, "the limit holds");
    let call = measured.decode().expect("what was looked over can be decoded");
    let mut again = Vec::new();
    let events = match &call {
        AvroCall::Ping => return,
        AvroCall::Append(event) => {
            put_append(&mut again, event);
            std::slice::from_ref(event)
        }
        AvroCall::AppendBatch(events) => {
            put_append_batch(&mut again, events);
            events
        }
    };
    let taken: usize = events.iter().map(Event::size_bytes).sum();
    assert!(taken <= announced, "more memory than was announced");
    let read = MeasuredCall::new(&again).and_then(MeasuredCall::decode);
    // Invalid UTF-8 has grown and may now exceed the limit.
    assert!(read.is_err() || read == Ok(call), "a call reads back");
}

/// Takes any bytes as the stream to a client that has called twice, in one piece and in several, and as the
/// message of the expected frame.
///
/// # Panics
/// The result depends on the pieces, or a complete frame is not processed.
pub fn exchange(bytes: &[u8]) {
    let cut = bytes.first().map_or(1, |first| usize::from(*first % 64) + 1);
    let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
    assert_eq!(answers(&pieces), answers(&[bytes]), "a reply does not depend on its pieces");
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

/// Returns the replies to two calls, and what ended them.
fn answers(pieces: &[&[u8]]) -> (Vec<AvroReply>, Result<(), ReplyError>) {
    let (mut exchange, mut input) = (AvroExchange::new(), BytesMut::new());
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
