//! `avro`: events by Flume's Avro RPC, each call answered.
//!
//! Limits: those of [`crate::wire::avro`] and `maxRequestBytes` for one call, `maxConnections`,
//! [`ClientLimits`](crate::flow::client_limits) for what all clients make the process hold,
//! [`REQUEST_IDLE_SECONDS_MAX`] for a request that stopped half-way, `requestTimeout` for one that
//! comes in little by little, [`ANSWER_SECONDS_MAX`] for a client that does not read.
//!
//! The story: a session cuts calls out of its stream and carries them out one after the other. The
//! events of a call are one transaction. `OK` is sent once it is committed; when the channel
//! refuses it or its outcome is not known, `FAILED`, and the client sends all of it again. What
//! cannot be understood is answered with an error in words; only a stream that cannot be read on
//! ends the connection. While a commit runs the session does not read: the client feels the
//! channel's pace.
//!
//! Invariants: answers are in the order of the calls, unlike in Flume, which carries out calls of
//! one connection side by side; an `OK` is never sent before its commit; a client whose protocol
//! does not mean the same bytes is refused and never misread.

mod session;

#[cfg(test)]
mod tests;

use super::filter::{FILTER_KEYS, Filter};
use super::listener::Listening;
use crate::base::limits::{
    AVRO_REQUEST_BYTES_MAX, CONNECTIONS_MAX_DEFAULT, REQUEST_SECONDS_MAX_DEFAULT,
};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity, joined};
use crate::config::tls::{self, SERVER_KEYS};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use session::{Acquaintances, Bounds, Session};
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::base::limits::{ANSWER_SECONDS_MAX, REQUEST_IDLE_SECONDS_MAX};

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
        kind: Kind::Host,
        default: "",
        meaning: "Address or host name to listen on.",
    },
    Key {
        name: "port",
        kind: Kind::Port,
        default: "",
        meaning: "TCP port to listen on; 0 for any free one.",
    },
    Key {
        name: "threads",
        kind: Kind::Number,
        default: "0",
        meaning: "Has no effect, as in Flume since 1.10.",
    },
    Key {
        name: "compression-type",
        kind: Kind::Word,
        default: "none",
        meaning: "none or deflate, as the clients have it: a whole connection is one zlib stream.",
    },
    Key {
        name: "maxConnections",
        kind: Kind::Number,
        default: "20000",
        meaning: "Connections open at once; more are closed. Flume has no such limit.",
    },
    Key {
        name: "maxRequestBytes",
        kind: Kind::Number,
        default: "67108864",
        meaning: "Bytes of a request at most, which is the default; a client that sends more is answered with an error that says so, and stays connected. Flume has no such limit.",
    },
    Key {
        name: "requestTimeout",
        kind: Kind::Number,
        default: "120000",
        meaning: "Milliseconds from the first to the last byte of a request; a slower client's connection is closed. Flume has no such limit.",
    },
];

struct Avro {
    listening: Listening,
    acquaintances: Arc<Acquaintances>,
    bounds: Bounds,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Avro, SettingError> {
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
    let filter = Filter::read(reader, tls.as_ref())?;
    Ok(Avro {
        listening: Listening::new(host, port, connections_max, b"")
            .with_tls(tls)
            .compressed(deflate)
            .filtered(filter),
        acquaintances: Arc::default(),
        bounds: Bounds {
            request_bytes: reader
                .number("maxRequestBytes", 1024..=AVRO_REQUEST_BYTES_MAX)?
                .unwrap_or(AVRO_REQUEST_BYTES_MAX),
            request_timeout: reader
                .millis("requestTimeout", 1..=u64::from(u32::MAX))?
                .unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)),
        },
    })
}

impl Source for Avro {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let name: Arc<str> = Arc::from(context.name.as_str());
        Box::pin(self.listening.serve(context, move |arrival| {
            let (name, context) = (name.clone(), context.clone());
            let acquaintances = self.acquaintances.clone();
            let bounds = self.bounds;
            async move {
                let (peer, client) = (arrival.peer, Arc::clone(&arrival.client));
                let Some(stream) = arrival.greet().await else { return };
                Session::new(name, peer, stream, client, acquaintances, bounds, &context)
                    .run()
                    .await;
            }
        }))
    }
}
