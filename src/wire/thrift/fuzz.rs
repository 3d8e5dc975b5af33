//! What the fuzz target calls; tests/hostile and the unit tests run it too.

use super::call::{Call, Message, Service, answer, put_append_batch};
use super::{Protocol, frame};
use crate::base::limits::THRIFT_REQUEST_BYTES_MAX_DEFAULT;
use bytes::BytesMut;

/// Any bytes as a stream and as a message, in both protocols. What is accepted is encoded and decoded
/// to the same again, and takes no more than was measured.
///
/// # Panics
/// It is not.
pub fn thrift(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(found)) = frame::next(&mut input, THRIFT_REQUEST_BYTES_MAX_DEFAULT) {
        message(&found);
    }
    assert!(input.len() <= bytes.len(), "nothing is held that has not come");
    message(bytes);
}

fn message(bytes: &[u8]) {
    for protocol in [Protocol::Compact, Protocol::Binary] {
        let _ = answer(protocol, 1, bytes);
        for service in [Service::Flume, Service::Scribe] {
            let Ok(message) = Message::new(protocol, bytes) else { continue };
            let measured = message.decoded_bytes();
            let Ok(call) = message.call(service) else { continue };
            let events = match call {
                Call::Append(event) => vec![event],
                Call::AppendBatch(events) | Call::Log(Some(events)) => events,
                Call::Log(None) => continue,
            };
            let held: usize = events.iter().map(|event| 64 + 48 * event.headers.len()).sum();
            let measured = measured.expect("what is decoded can be measured");
            assert!(held <= measured + 2 * bytes.len() + 128, "more than was measured");
            let mut again = Vec::new();
            put_append_batch(&mut again, protocol, 1, &events);
            let read = Message::new(protocol, &again).expect("a call reads back");
            assert_eq!(read.call(Service::Flume), Ok(Call::AppendBatch(events)));
        }
    }
}
