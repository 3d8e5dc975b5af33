//! `thrift`: sends batches to a Thrift source, of millpond or of Flume, one call each.
//!
//! Limits: `batch-size` events and [`CALL_BYTES`] a call (one event may be larger); `connect-timeout` for a
//! connection, `request-timeout` for a call and its reply.
//!
//! Connections and calls are those of the [`RpcSink`]. FAILED means that the server is working and committed nothing:
//! the connection stays open.
//!
//! Invariant: no wait without a deadline.

#[cfg(test)]
mod tests;

use super::rpc::connection::{RpcCodec, RpcReply, UnreadableReply};
use super::rpc::sink::{RpcProtocol, RpcSink};
use crate::wire::thrift::call::{FAILED, OK, ThriftReply, answer, put_append_batch};
use crate::wire::thrift::{ThriftProtocol, frame};
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::THRIFT_REQUEST_BYTES_MAX_DEFAULT;
use millpond_flow::settings::tls::CLIENT_KEYS;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::sink::{SinkContext, SinkType};

#[cfg(doc)]
use super::rpc::sink::CALL_BYTES;

/// The type `thrift`.
pub const TYPE: SinkType = SinkType {
    names: &["thrift", "org.apache.flume.sink.ThriftSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &joined::<25>(&[&OWN_KEYS, &CLIENT_KEYS]);

const KERBEROS: &str = "Of Kerberos.";

const OWN_KEYS: [Key; 12] = [
    Key {
        name: "hostname",
        kind: KeyKind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: KeyKind::Port, default: "", meaning: "The server's port." },
    Key {
        name: "protocol",
        kind: KeyKind::Word,
        default: "compact",
        meaning: "compact or binary, in small letters; any other word is taken as compact, as in Flume.",
    },
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
        meaning: "Milliseconds for a connection; in Flume without effect, there is no bound. Less than 1000 is taken as 20000.",
    },
    Key {
        name: "request-timeout",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Milliseconds for a call and its reply. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "reset-connection-interval",
        kind: KeyKind::Number,
        default: "0",
        meaning: "Seconds after which the connection is reopened, so that a load balancer can choose again; 0 for never.",
    },
    Key {
        name: "maxConnections",
        kind: KeyKind::Number,
        default: "1",
        meaning: "Has no effect: a sink has one connection, as in Flume.",
    },
    Key {
        name: "kerberos",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether the sink presents a Kerberos ticket; true is refused, as Kerberos is not supported.",
    },
    Key { name: "client-principal", kind: KeyKind::Text, default: "", meaning: KERBEROS },
    Key { name: "client-keytab", kind: KeyKind::Path, default: "", meaning: KERBEROS },
    Key { name: "server-principal", kind: KeyKind::Text, default: "", meaning: KERBEROS },
];

fn build(reader: &mut SettingsReader<'_>) -> Result<RpcSink, SettingError> {
    if reader.truth("kerberos", false)? {
        return Err(reader.error("kerberos", "there is no Kerberos here; set false, and use TLS"));
    }
    let protocol = match reader.text("protocol").unwrap_or("compact") {
        "binary" => ThriftProtocol::Binary,
        "compact" => ThriftProtocol::Compact,
        other => {
            let message = format!(
                "\"{other}\" is taken as compact, as in Flume; there are compact and binary"
            );
            reader.find(Severity::Warning, "protocol", message);
            ThriftProtocol::Compact
        }
    };
    if reader.number::<i64>("maxConnections", i64::MIN..=i64::MAX)?.is_some_and(|n| n != 1) {
        let message = "has no effect, as in Flume: a sink has one connection";
        reader.find(Severity::Note, "maxConnections", message);
    }
    RpcSink::build(reader, Box::new(ThriftRpc(protocol)), None)
}

/// Thrift RPC.
struct ThriftRpc(ThriftProtocol);

impl RpcProtocol for ThriftRpc {
    fn codec(&self, _: &SinkContext) -> Box<dyn RpcCodec> {
        Box::new(ThriftCalls::new(self.0))
    }

    fn is_large(&self, event: &Event) -> bool {
        event.size_bytes() > THRIFT_REQUEST_BYTES_MAX_DEFAULT
    }

    fn survives_failed(&self) -> bool {
        true
    }
}

/// Most bytes of a reply: a status, or an exception with a message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The exception code of a server that cannot read the events of a call, or finds them too large.
const UNREADABLE_CALL: i32 = 7;

/// The calls of one connection.
pub struct ThriftCalls {
    protocol: ThriftProtocol,
    sequence: i32,
}

impl ThriftCalls {
    /// Returns the calls of a new connection.
    pub fn new(protocol: ThriftProtocol) -> Self {
        Self { protocol, sequence: 0 }
    }
}

impl RpcCodec for ThriftCalls {
    fn call(&mut self, events: &[Event]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut call = frame::begin();
        put_append_batch(&mut call, self.protocol, self.sequence, events);
        frame::finish(&mut call);
        call
    }

    fn reply(&mut self, input: &mut BytesMut) -> Result<Option<RpcReply>, UnreadableReply> {
        let next = frame::next(input, ANSWER_BYTES_MAX);
        let read = next.and_then(|frame| {
            frame.map(|frame| answer(self.protocol, self.sequence, &frame)).transpose()
        });
        let reply = read.map_err(|error| format!("the reply cannot be read: {error}"))?;
        Ok(reply.map(|reply| match reply {
            ThriftReply::Status(OK) => RpcReply::Ok,
            ThriftReply::Status(FAILED) => RpcReply::Failed,
            ThriftReply::Status(other) => {
                RpcReply::Error(format!("the server replied with the status {other}"))
            }
            ThriftReply::Exception { code, words } => {
                let words = format!("the server replied with the exception {code}: {words}");
                if code == UNREADABLE_CALL {
                    RpcReply::Refused(words)
                } else {
                    RpcReply::Error(words)
                }
            }
        }))
    }

    fn why_closed(&self) -> &'static str {
        "; do both sides have the same protocol"
    }
}
