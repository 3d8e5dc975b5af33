//! Entry point of the fuzz target; crates/agent/tests/hostile and the unit tests run it too.

use super::call::{ThriftCall, ThriftMessage, ThriftService, answer, put_append_batch};
use super::{ThriftProtocol, frame, hbase};
use bytes::BytesMut;
use millpond_flow::base::limits::THRIFT_REQUEST_BYTES_MAX_DEFAULT;

/// Takes any bytes as a stream and as a message, in both protocols. What is accepted must be equal after encoding
/// and decoding, and take no more memory than measured.
///
/// # Panics
/// That does not hold.
pub fn thrift(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(found)) = frame::next(&mut input, THRIFT_REQUEST_BYTES_MAX_DEFAULT) {
        message(&found);
    }
    assert!(input.len() <= bytes.len(), "nothing is held that has not come");
    message(bytes);
}

fn message(bytes: &[u8]) {
    for protocol in [ThriftProtocol::Compact, ThriftProtocol::Binary] {
        let _ = answer(protocol, 1, bytes);
        let _ = hbase::reply(protocol, 1, bytes);
        if let Ok(Some(len)) = hbase::message_bytes(protocol, bytes) {
            assert!(len <= bytes.len(), "a message is not longer than what has come");
        }
        for service in [ThriftService::Flume, ThriftService::Scribe] {
            let Ok(message) = ThriftMessage::new(protocol, bytes) else { continue };
            let measured = message.decoded_bytes();
            let Ok(call) = message.call(service) else { continue };
            let events = match call {
                ThriftCall::Append(event) => vec![event],
                ThriftCall::AppendBatch(events) | ThriftCall::Log(Some(events)) => events,
                ThriftCall::Log(None) => continue,
            };
            let held: usize = events.iter().map(|event| 64 + 48 * event.headers.len()).sum();
            let measured = measured.expect("what is decoded can be measured");
            assert!(held <= measured + 2 * bytes.len() + 128, "more than was measured");
            let mut again = Vec::new();
            put_append_batch(&mut again, protocol, 1, &events);
            let read = ThriftMessage::new(protocol, &again).expect("a call reads back");
            assert_eq!(read.call(ThriftService::Flume), Ok(ThriftCall::AppendBatch(events)));
        }
    }
}
