//! `avro`: batches to an Avro source, of millpond or of Flume, one call each.
//!
//! Limits: `batch-size` events and [`CALL_BYTES`] a call (one event may be larger, up to
//! [`AVRO_REQUEST_BYTES_MAX`]); `connect-timeout` for a connection, `request-timeout` for a call
//! and its answer.
//!
//! The story: one connection, opened when it is needed. A batch of many bytes goes in several
//! calls; when a later one fails, the whole batch comes again, so what the server has committed of
//! it comes twice. After any failure the connection is closed: what arrives on it later could be
//! the answer to another call. A connection that the server has closed while nothing was to be
//! sent is noticed before the next batch, which then needs no second try. In the handshake's metadata, over
//! which Flume reads, the sink tells the names of its agent and its own: a source of ours can say who is
//! missing.
//!
//! Invariant: no wait without a deadline. A server that accepts and never answers, that answers
//! half, or whose packets go nowhere fails the batch within `request-timeout`.

pub(crate) mod connection;
#[cfg(test)]
mod tests;

use super::calls::{connector, corrected, note_peer, pieces, try_stores, wire_bytes};
use crate::base::limits::AVRO_REQUEST_BYTES_MAX;
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity, joined};
use crate::config::tls::{self, CLIENT_KEYS};
use crate::event::Event;
use crate::flow::sink::{Failure, Sink, SinkContext, SinkType};
use crate::net::dial::Layers;
use crate::net::tls::{ClientTls, Reloading};
use crate::wire::avro::handshake::ClientName;
use connection::{Connection, Patience, SendError};
use std::time::Duration;

/// The type `avro`.
pub const TYPE: SinkType = SinkType {
    names: &["avro", "org.apache.flume.sink.AvroSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

/// Bytes of events after which a call is sent although the batch has more.
pub const CALL_BYTES: usize = 8 * 1024 * 1024;

const BATCH_EVENTS: u64 = 100;
/// Of compression, as in Flume.
const LEVEL: u32 = 6;
const WAIT_MS: u64 = 20_000;
/// Shorter waits are taken for a mistake, as in Flume.
const WAIT_MS_MIN: u64 = 1000;
/// The frame and what a call has beside its events, with room.
const CALL_OVERHEAD_BYTES: usize = 4096;

const KEYS: &[Key] = &joined::<22>(&[&OWN_KEYS, &CLIENT_KEYS]);

const OWN_KEYS: [Key; 9] = [
    Key {
        name: "hostname",
        kind: Kind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: Kind::Port, default: "", meaning: "The server's port." },
    Key {
        name: "batch-size",
        kind: Kind::Number,
        default: "100",
        meaning: "Events per transaction and call. Less than 1 is taken as 100, as in Flume.",
    },
    Key {
        name: "connect-timeout",
        kind: Kind::Number,
        default: "20000",
        meaning: "Milliseconds for a connection. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "request-timeout",
        kind: Kind::Number,
        default: "20000",
        meaning: "Milliseconds for a call and its answer, handshake included. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "reset-connection-interval",
        kind: Kind::Number,
        default: "0",
        meaning: "Seconds after which the connection is made anew, so that a load balancer can choose again; 0 for never.",
    },
    Key {
        name: "compression-type",
        kind: Kind::Word,
        default: "none",
        meaning: "none or deflate, as the server has it: the whole connection is one zlib stream.",
    },
    Key {
        name: "compression-level",
        kind: Kind::Number,
        default: "6",
        meaning: "From 0, which packs nothing, to 9, which packs most.",
    },
    Key {
        name: "maxIoWorkers",
        kind: Kind::Number,
        default: "",
        meaning: "Has no effect, as in Flume since 1.10.",
    },
];

struct Avro {
    host: String,
    port: u16,
    batch_events: usize,
    patience: Patience,
    tls: Option<Reloading<ClientTls>>,
    /// The level of compression, if there is any.
    zlib: Option<u32>,
    /// A connection older than this is made anew.
    age_max: Option<Duration>,
    connection: Option<Connection>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Avro, SettingError> {
    let host = reader.host("hostname", None)?;
    let port = reader.number("port", 1..=u16::MAX)?;
    let port = port.ok_or_else(|| reader.error("port", "is required and not set (a port)"))?;
    let deflate = reader.word("compression-type", &["none", "deflate"])? == Some("deflate");
    let level = reader.number("compression-level", 0..=9)?.unwrap_or(LEVEL);
    if !deflate && reader.text("compression-level").is_some() {
        let message = "has no effect without compression-type = deflate";
        reader.find(Severity::Warning, "compression-level", message);
    }
    let batch = corrected(reader, "batch-size", 1, BATCH_EVENTS);
    let connect = corrected(reader, "connect-timeout", WAIT_MS_MIN, WAIT_MS);
    let request = corrected(reader, "request-timeout", WAIT_MS_MIN, WAIT_MS);
    let age_max = reader.seconds("reset-connection-interval", 0..=u64::from(u32::MAX))?;
    Ok(Avro {
        host,
        port,
        batch_events: usize::try_from(batch).unwrap_or(usize::MAX),
        patience: Patience {
            connect: Duration::from_millis(connect),
            request: Duration::from_millis(request),
        },
        tls: tls::client(reader)?.map(Reloading::new),
        zlib: deflate.then_some(level),
        age_max: age_max.filter(|age| !age.is_zero()),
        connection: None,
    })
}

impl Avro {
    async fn connected(&mut self, context: &SinkContext) -> Result<&mut Connection, SendError> {
        let age_max = self.age_max;
        let old = |open: &Connection| age_max.is_some_and(|max| open.since.elapsed() >= max);
        if self.connection.as_mut().is_some_and(|open| open.is_over() || old(open)) {
            self.hang_up(context);
        }
        if self.connection.is_none() {
            let opened = self.open(context).await;
            let connection = opened.inspect_err(|_| context.counters.connection_failed.add(1))?;
            context.counters.connection_created.add(1);
            note_peer(connection.stream(), context);
            tracing::info!(sink = context.name, "connected to {}:{}", self.host, self.port);
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("it was opened above"))
    }

    async fn open(&mut self, context: &SinkContext) -> Result<Connection, SendError> {
        let connector = connector(self.tls.as_ref(), context).await?;
        let layers = Layers { tls: connector.as_ref(), zlib: self.zlib };
        let client = ClientName { agent: &context.agent, sink: &context.name };
        Connection::open(&self.host, self.port, layers, self.patience, client).await
    }

    fn hang_up(&mut self, context: &SinkContext) {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
        }
    }

    async fn send(
        &mut self,
        context: &SinkContext,
        batch: &[Event],
        mut earlier: Option<BoxFuture<'_, bool>>,
    ) -> Result<(), SendError> {
        let patience = self.patience.request;
        let connection = self.connected(context).await?;
        for call in pieces(batch, CALL_BYTES) {
            connection.append(call, patience, earlier.take()).await?;
        }
        Ok(())
    }

    async fn deliver_all(
        &mut self,
        context: &SinkContext,
        batch: &[Event],
        earlier: Option<BoxFuture<'_, bool>>,
    ) -> Result<(), Failure> {
        let large =
            |event: &&Event| wire_bytes(event) + CALL_OVERHEAD_BYTES > AVRO_REQUEST_BYTES_MAX;
        if let Some(event) = batch.iter().find(large) {
            let bytes = event.body.len();
            tracing::warn!(code = %codes::EVENT_TOO_LARGE_FOR_SERVER, sink = context.name, bytes, "an event may be too large for the server");
        }
        let sent = self.send(context, batch, earlier).await;
        sent.map_err(|error| {
            self.hang_up(context);
            self.failure("cannot send to", error)
        })
    }

    fn failure(&self, what: &str, cause: SendError) -> Failure {
        let refused = matches!(cause, SendError::Refused(_));
        let failure = Failure::caused(format!("{what} {}:{}", self.host, self.port), cause);
        if refused { failure.refused() } else { failure }
    }
}

impl Sink for Avro {
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(try_stores(self.tls.as_ref()))
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn batch_events(&self) -> usize {
        self.batch_events
    }

    fn is_ready(&mut self) -> bool {
        self.connection.as_mut().is_some_and(|open| !open.is_over())
    }

    fn connect<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let connected = self.connected(context).await.map(drop);
            connected
                .map_err(|error| Failure::caused(format!("{}:{}", self.host, self.port), error))
        })
    }

    /// As in Flume a server that is not there yet is no reason not to start.
    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if let Err(error) = self.connected(context).await {
                tracing::warn!(sink = context.name, "{}:{}: {error}", self.host, self.port);
            }
            Ok(())
        })
    }

    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.deliver_all(context, batch, None))
    }

    fn deliver_behind<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
        earlier: BoxFuture<'a, bool>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.deliver_all(context, batch, Some(earlier)))
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.hang_up(context);
        Box::pin(async { Ok(()) })
    }
}
