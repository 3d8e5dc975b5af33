//! `thrift` and the Scribe source: events by Thrift, each call with a reply.
//!
//! Limits: `maxRequestBytes` a call, `maxConnections`, [`ClientLimits`](millpond_flow::client_limits) for the memory of
//! all clients, [`REQUEST_IDLE_SECONDS_MAX`] for a request that stopped half-way, `requestTimeout` for one that
//! trickles in, [`ANSWER_SECONDS_MAX`] for a client that does not read.
//!
//! A session splits its stream into frames and carries them out in order. The events of a call are one transaction.
//! OK is sent once it is committed; when the channel refuses it or its outcome is unknown, FAILED (to Scribe
//! TRY_LATER), and the client sends the whole call again. The reply to a call that cannot be carried out is an
//! exception; only a stream that cannot be read further ends the connection.

mod framing;
pub mod scribe;
mod session;
#[cfg(test)]
mod tests;

use super::ip_filter::{FILTER_KEYS, IpFilter};
use super::listener::SourceListener;
use crate::source::rpc_session::RpcSession;
use crate::source::thrift::framing::ThriftFraming;
use crate::wire::thrift::ThriftProtocol;
use crate::wire::thrift::call::ThriftService;
use millpond::BoxFuture;
use millpond_flow::base::limits::{
    CONNECTIONS_MAX_DEFAULT, REQUEST_BYTES_MAX, REQUEST_SECONDS_MAX_DEFAULT,
    THRIFT_REQUEST_BYTES_MAX_DEFAULT,
};
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use millpond_flow::base::limits::{ANSWER_SECONDS_MAX, REQUEST_IDLE_SECONDS_MAX};

/// The type `thrift`.
pub const TYPE: SourceType = SourceType {
    names: &["thrift", "org.apache.flume.source.ThriftSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const MAX_CONNECTIONS: Key = Key {
    name: "maxConnections",
    kind: KeyKind::Number,
    default: "20000",
    meaning: "Connections open at once; more are closed. Flume has no such limit.",
};
const REQUEST_TIMEOUT: Key = Key {
    name: "requestTimeout",
    kind: KeyKind::Number,
    default: "120000",
    meaning: "Milliseconds from the first to the last byte of a request; a slower client's connection is closed. Flume has no such limit.",
};

const KEYS: &[Key] = &joined::<26>(&[
    &[
        Key {
            name: "bind",
            kind: KeyKind::Host,
            default: "",
            meaning: "Address or host name to listen on.",
        },
        Key {
            name: "port",
            kind: KeyKind::Port,
            default: "",
            meaning: "TCP port to listen on; 0 for any free one.",
        },
        Key {
            name: "threads",
            kind: KeyKind::Number,
            default: "0",
            meaning: "Has no effect: connections need no threads.",
        },
        Key {
            name: "protocol",
            kind: KeyKind::Word,
            default: "compact",
            meaning: "compact or binary, in small letters; any other word is taken as compact, as in Flume.",
        },
        Key {
            name: "maxRequestBytes",
            kind: KeyKind::Number,
            default: "67108864",
            meaning: "Bytes of a request; a longer one ends its connection. Flume's limit is 16384000.",
        },
        MAX_CONNECTIONS,
        REQUEST_TIMEOUT,
        Key {
            name: "kerberos",
            kind: KeyKind::Boolean,
            default: "false",
            meaning: "Whether clients present a Kerberos ticket; true is refused, as Kerberos is not supported.",
        },
        Key { name: "agent-principal", kind: KeyKind::Text, default: "", meaning: "Of Kerberos." },
        Key { name: "agent-keytab", kind: KeyKind::Path, default: "", meaning: "Of Kerberos." },
    ],
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

/// A source of framed calls.
struct ThriftSource {
    listening: SourceListener,
    speech: ThriftFraming,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<ThriftSource, SettingError> {
    if reader.truth("kerberos", false)? {
        let message = "Kerberos is not supported, and the source does not accept unauthenticated clients in its place; set false, and use TLS and a firewall";
        return Err(reader.error("kerberos", message));
    }
    let host = reader.host("bind", None)?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    if reader.number::<i64>("threads", i64::MIN..=i64::MAX)?.is_some_and(|threads| threads > 0) {
        reader.find(Severity::Note, "threads", "has no effect: connections need no threads");
    }
    let protocol = protocol(reader);
    let max = reader.number("maxRequestBytes", 1024..=REQUEST_BYTES_MAX)?;
    let speech = ThriftFraming {
        service: ThriftService::Flume,
        protocol,
        is_old: false,
        request_bytes_max: max.unwrap_or(THRIFT_REQUEST_BYTES_MAX_DEFAULT),
        request_timeout: request_timeout(reader)?,
    };
    let tls = tls::server(reader)?;
    let filter = IpFilter::read(reader, tls.as_ref())?;
    let listening = SourceListener::new(host, port, connections(reader)?, b"");
    let listening = listening.with_tls(tls).filtered(filter);
    Ok(ThriftSource { listening, speech })
}

fn protocol(reader: &mut SettingsReader<'_>) -> ThriftProtocol {
    match reader.text("protocol").unwrap_or("compact") {
        "binary" => ThriftProtocol::Binary,
        "compact" => ThriftProtocol::Compact,
        other => {
            let message = format!(
                "\"{other}\" is taken as compact, as in Flume; there are compact and binary"
            );
            reader.find(Severity::Warning, "protocol", message);
            ThriftProtocol::Compact
        }
    }
}

fn connections(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    Ok(reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT))
}

fn request_timeout(reader: &mut SettingsReader<'_>) -> Result<Duration, SettingError> {
    let timeout = reader.millis("requestTimeout", 1..=u64::from(u32::MAX))?;
    Ok(timeout.unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)))
}

impl Source for ThriftSource {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        Box::pin(self.listening.serve(context, move |arrival| {
            let (context, speech) = (Arc::clone(&shared), self.speech);
            async move {
                let rpc = RpcSession::greet(arrival, context, speech.request_timeout).await;
                if let Some(rpc) = rpc {
                    session::run(rpc, speech).await;
                }
            }
        }))
    }
}
