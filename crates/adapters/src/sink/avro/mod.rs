//! `avro`: sends batches to an Avro source, of millpond or of Flume, one call each.
//!
//! Limits: `batch-size` events and [`CALL_BYTES`] a call (one event may be larger, up to [`AVRO_REQUEST_BYTES_MAX`]);
//! `connect-timeout` for a connection, `request-timeout` for a call and its reply.
//!
//! Connections and calls are those of the [`RpcSink`]. The handshake's metadata, which Flume ignores, contains the
//! names of the agent and the sink, so that a source of millpond can name a missing client.
//!
//! Invariant: no wait without a deadline. A server that accepts and never replies, that replies in part, or whose
//! packets are lost fails the batch within `request-timeout`.

#[cfg(test)]
mod tests;

use super::rpc::connection::{RpcCodec, RpcReply, UnreadableReply};
use super::rpc::sink::{RpcProtocol, RpcSink};
use super::rpc::wire_bytes;
use crate::wire::avro::call::{AvroReply, TOO_LARGE, UNREADABLE};
use crate::wire::avro::exchange::AvroExchange;
use crate::wire::avro::handshake::ClientName;
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::AVRO_REQUEST_BYTES_MAX;
use millpond_flow::settings::tls::CLIENT_KEYS;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::sink::{SinkContext, SinkType};

#[cfg(doc)]
use super::rpc::sink::CALL_BYTES;

/// The type `avro`.
pub const TYPE: SinkType = SinkType {
    names: &["avro", "org.apache.flume.sink.AvroSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

/// The compression level, as in Flume.
const LEVEL: u32 = 6;
/// The frame and the other parts of a call besides its events, with room to spare.
const CALL_OVERHEAD_BYTES: usize = 4096;

const KEYS: &[Key] = &joined::<22>(&[&OWN_KEYS, &CLIENT_KEYS]);

const OWN_KEYS: [Key; 9] = [
    Key {
        name: "hostname",
        kind: KeyKind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: KeyKind::Port, default: "", meaning: "The server's port." },
    Key {
        name: "batch-size",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Events per transaction and call. Less than 1 is taken as 100, as in Flume.",
    },
    Key {
        name: "connect-timeout",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Milliseconds for a connection. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "request-timeout",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Milliseconds for a call and its reply, handshake included. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "reset-connection-interval",
        kind: KeyKind::Number,
        default: "0",
        meaning: "Seconds after which the connection is reopened, so that a load balancer can choose again; 0 for never.",
    },
    Key {
        name: "compression-type",
        kind: KeyKind::Word,
        default: "none",
        meaning: "none or deflate, as configured for the server: the whole connection is one zlib stream.",
    },
    Key {
        name: "compression-level",
        kind: KeyKind::Number,
        default: "6",
        meaning: "From 0, no compression, to 9, the most.",
    },
    Key {
        name: "maxIoWorkers",
        kind: KeyKind::Number,
        default: "",
        meaning: "Has no effect, as in Flume since 1.10.",
    },
];

fn build(reader: &mut SettingsReader<'_>) -> Result<RpcSink, SettingError> {
    let deflate = reader.word("compression-type", &["none", "deflate"])? == Some("deflate");
    let level = reader.number("compression-level", 0..=9)?.unwrap_or(LEVEL);
    if !deflate && reader.text("compression-level").is_some() {
        let message = "has no effect without compression-type = deflate";
        reader.find(Severity::Warning, "compression-level", message);
    }
    RpcSink::build(reader, Box::new(AvroRpc), deflate.then_some(level))
}

/// Avro RPC.
struct AvroRpc;

impl RpcProtocol for AvroRpc {
    fn codec(&self, context: &SinkContext) -> Box<dyn RpcCodec> {
        Box::new(AvroExchange::of(ClientName { agent: &context.agent, sink: &context.name }))
    }

    fn is_large(&self, event: &Event) -> bool {
        wire_bytes(event) + CALL_OVERHEAD_BYTES > AVRO_REQUEST_BYTES_MAX
    }

    fn sends_ahead(&self) -> bool {
        true
    }
}

impl RpcCodec for AvroExchange {
    fn call(&mut self, events: &[Event]) -> Vec<u8> {
        Self::call(self, events)
    }

    fn reply(&mut self, input: &mut BytesMut) -> Result<Option<RpcReply>, UnreadableReply> {
        Ok(self.answer(input)?.map(|reply| match reply {
            AvroReply::Ok => RpcReply::Ok,
            AvroReply::Failed => RpcReply::Failed,
            AvroReply::Unknown => RpcReply::Error("the server replied UNKNOWN".to_owned()),
            AvroReply::Error(words) if is_about_events(&words) => {
                RpcReply::Refused(format!("the server does not take these events: {words}"))
            }
            AvroReply::Error(words) => {
                RpcReply::Error(format!("the server replied with an error: {words}"))
            }
        }))
    }
}

/// Returns whether an error means that the server cannot read these events or finds them too large, which will recur.
/// Every error of Flume's protocol is a text: in Java the exception's class and message. A server short of memory,
/// for example, also returns an error, and accepts the same events later.
fn is_about_events(words: &str) -> bool {
    const OF_JAVA: [&str; 4] = [
        "org.apache.avro.AvroRemoteException",
        "org.apache.avro.AvroTypeException",
        "org.apache.avro.SystemLimitException",
        "org.apache.avro.AvroRuntimeException: Malformed data",
    ];
    words.starts_with(UNREADABLE)
        || words.starts_with(TOO_LARGE)
        || OF_JAVA.iter().any(|class| words.starts_with(class))
}
