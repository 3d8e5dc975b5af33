//! `avro`: events by Flume's Avro RPC, each call with a reply.
//!
//! Limits: those of [`crate::wire::avro`] and `maxRequestBytes` for one call, `maxConnections`,
//! [`ClientLimits`](millpond_flow::client_limits) for the memory of all clients, [`REQUEST_IDLE_SECONDS_MAX`] for a
//! request that stopped half-way, `requestTimeout` for one that trickles in, [`ANSWER_SECONDS_MAX`] for a client that
//! does not read.
//!
//! A session splits its stream into calls and carries them out in order. The events of a call are one transaction.
//! `OK` is sent once it is committed; when the channel refuses it or its outcome is unknown, `FAILED`, and the client
//! sends the whole call again. The reply to a call that cannot be decoded is an error with a message; only a stream
//! that cannot be read further ends the connection. While a commit runs the session does not read: the client is
//! slowed to the channel's pace.
//!
//! Invariants: replies are in the order of the calls, unlike in Flume, which carries out calls of one connection
//! concurrently; `OK` is never sent before its commit; a client with an incompatible protocol is refused and never
//! misread.

mod session;

#[cfg(test)]
mod tests;

use super::ip_filter::{FILTER_KEYS, IpFilter};
use super::listener::SourceListener;
use crate::source::rpc_session::RpcSession;
use millpond::BoxFuture;
use millpond_flow::base::limits::{
    AVRO_REQUEST_BYTES_MAX, CONNECTIONS_MAX_DEFAULT, REQUEST_SECONDS_MAX_DEFAULT,
};
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use session::{AvroSession, KnownProtocols};
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use millpond_flow::base::limits::{ANSWER_SECONDS_MAX, REQUEST_IDLE_SECONDS_MAX};

/// The type `avro`.
pub const TYPE: SourceType = SourceType {
    names: &["avro", "org.apache.flume.source.AvroSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &joined::<23>(&[&OWN_KEYS, &FILTER_KEYS, &SERVER_KEYS]);

const OWN_KEYS: [Key; 7] = [
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
        meaning: "Has no effect, as in Flume since 1.10.",
    },
    Key {
        name: "compression-type",
        kind: KeyKind::Word,
        default: "none",
        meaning: "none or deflate, as configured for the clients: a whole connection is one zlib stream.",
    },
    Key {
        name: "maxConnections",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Connections open at once; more are closed. Flume has no such limit.",
    },
    Key {
        name: "maxRequestBytes",
        kind: KeyKind::Number,
        default: "67108864",
        meaning: "Bytes of a request at most, which is the default; a client that sends more gets an error that names the limit, and stays connected. Flume has no such limit.",
    },
    Key {
        name: "requestTimeout",
        kind: KeyKind::Number,
        default: "120000",
        meaning: "Milliseconds from the first to the last byte of a request; a slower client's connection is closed. Flume has no such limit.",
    },
];

struct AvroSource {
    listening: SourceListener,
    known_protocols: Arc<KnownProtocols>,
    request_bytes_max: usize,
    request_timeout: Duration,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<AvroSource, SettingError> {
    let deflate = reader.word("compression-type", &["none", "deflate"])? == Some("deflate");
    let host = reader.host("bind", None)?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    if reader.number::<i64>("threads", i64::MIN..=i64::MAX)?.is_some_and(|threads| threads != 0) {
        let message = "has no effect, as in Flume since 1.10: connections need no threads";
        reader.find(Severity::Warning, "threads", message);
    }
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let tls = tls::server(reader)?;
    let filter = IpFilter::read(reader, tls.as_ref())?;
    Ok(AvroSource {
        listening: SourceListener::new(host, port, connections_max, b"")
            .with_tls(tls)
            .compressed(deflate)
            .filtered(filter),
        known_protocols: Arc::default(),
        request_bytes_max: reader
            .number("maxRequestBytes", 1024..=AVRO_REQUEST_BYTES_MAX)?
            .unwrap_or(AVRO_REQUEST_BYTES_MAX),
        request_timeout: reader
            .millis("requestTimeout", 1..=u64::from(u32::MAX))?
            .unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)),
    })
}

impl Source for AvroSource {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        Box::pin(self.listening.serve(context, move |arrival| {
            let (context, known) = (Arc::clone(&shared), Arc::clone(&self.known_protocols));
            let (bytes, timeout) = (self.request_bytes_max, self.request_timeout);
            async move {
                if let Some(rpc) = RpcSession::greet(arrival, context, timeout).await {
                    AvroSession::new(rpc, known, bytes).run().await;
                }
            }
        }))
    }
}
