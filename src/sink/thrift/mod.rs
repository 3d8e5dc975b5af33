//! `thrift`: batches to a Thrift source, of millpond or of Flume, one call each.
//!
//! Limits: `batch-size` events and [`CALL_BYTES`] a call (one event may be larger);
//! `connect-timeout` for a connection, `request-timeout` for a call and its answer.
//!
//! The story is that of the avro sink: one connection, opened when it is needed, closed after any failure
//! but FAILED, which says that the server took nothing and is there. A batch of many bytes goes in several
//! calls; when a later one fails, the whole batch comes again.
//!
//! Invariant: no wait without a deadline.

pub(crate) mod connection;

#[cfg(test)]
mod tests;

use super::calls::{connector, corrected, note_peer, pieces, try_stores};
use crate::base::limits::THRIFT_REQUEST_BYTES_MAX_DEFAULT;
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity, joined};
use crate::config::tls::{self, CLIENT_KEYS};
use crate::event::Event;
use crate::flow::sink::{Failure, Sink, SinkContext, SinkType};
use crate::net::dial::Layers;
use crate::net::tls::{ClientTls, Reloading};
use crate::wire::thrift::Protocol;
use connection::{Connection, SendError};
use std::time::Duration;

/// The type `thrift`.
pub const TYPE: SinkType = SinkType {
    names: &["thrift", "org.apache.flume.sink.ThriftSink"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

/// Bytes of events after which a call is sent although the batch has more: Flume's source takes frames
/// of 16384000 bytes.
pub const CALL_BYTES: usize = 8 * 1024 * 1024;

const BATCH_EVENTS: u64 = 100;
const WAIT_MS: u64 = 20_000;
/// Shorter waits are taken for a mistake, as in Flume.
const WAIT_MS_MIN: u64 = 1000;

const KEYS: &[Key] = &joined::<25>(&[&OWN_KEYS, &CLIENT_KEYS]);

const KERBEROS: &str = "Of Kerberos.";

const OWN_KEYS: [Key; 12] = [
    Key {
        name: "hostname",
        kind: Kind::Host,
        default: "",
        meaning: "The server's name or address.",
    },
    Key { name: "port", kind: Kind::Port, default: "", meaning: "The server's port." },
    Key {
        name: "protocol",
        kind: Kind::Word,
        default: "compact",
        meaning: "compact or binary, in small letters; any other word is taken as compact, as in Flume.",
    },
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
        meaning: "Milliseconds for a connection; in Flume without effect, there is no bound. Less than 1000 is taken as 20000.",
    },
    Key {
        name: "request-timeout",
        kind: Kind::Number,
        default: "20000",
        meaning: "Milliseconds for a call and its answer. Less than 1000 is taken as 20000, as in Flume.",
    },
    Key {
        name: "reset-connection-interval",
        kind: Kind::Number,
        default: "0",
        meaning: "Seconds after which the connection is made anew, so that a load balancer can choose again; 0 for never.",
    },
    Key {
        name: "maxConnections",
        kind: Kind::Number,
        default: "1",
        meaning: "Has no effect: a sink has one connection, as in Flume.",
    },
    Key {
        name: "kerberos",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether the sink shows a Kerberos ticket: true is refused, there is no Kerberos here.",
    },
    Key { name: "client-principal", kind: Kind::Text, default: "", meaning: KERBEROS },
    Key { name: "client-keytab", kind: Kind::Path, default: "", meaning: KERBEROS },
    Key { name: "server-principal", kind: Kind::Text, default: "", meaning: KERBEROS },
];

struct Thrift {
    host: String,
    port: u16,
    protocol: Protocol,
    batch_events: usize,
    connect_timeout: Duration,
    request_timeout: Duration,
    tls: Option<Reloading<ClientTls>>,
    /// A connection older than this is made anew.
    age_max: Option<Duration>,
    connection: Option<Connection>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Thrift, SettingError> {
    if reader.truth("kerberos", false)? {
        return Err(reader.error("kerberos", "there is no Kerberos here; set false, and use TLS"));
    }
    let host = reader.host("hostname", None)?;
    let port = reader.number("port", 1..=u16::MAX)?;
    let port = port.ok_or_else(|| reader.error("port", "is required and not set (a port)"))?;
    let protocol = match reader.text("protocol").unwrap_or("compact") {
        "binary" => Protocol::Binary,
        "compact" => Protocol::Compact,
        other => {
            let message = format!(
                "\"{other}\" is taken as compact, as in Flume; there are compact and binary"
            );
            reader.find(Severity::Warning, "protocol", message);
            Protocol::Compact
        }
    };
    if reader.number::<i64>("maxConnections", i64::MIN..=i64::MAX)?.is_some_and(|n| n != 1) {
        let message = "has no effect, as in Flume: a sink has one connection";
        reader.find(Severity::Note, "maxConnections", message);
    }
    let batch = corrected(reader, "batch-size", 1, BATCH_EVENTS);
    let connect = corrected(reader, "connect-timeout", WAIT_MS_MIN, WAIT_MS);
    let request = corrected(reader, "request-timeout", WAIT_MS_MIN, WAIT_MS);
    let age_max = reader.seconds("reset-connection-interval", 0..=u64::from(u32::MAX))?;
    Ok(Thrift {
        host,
        port,
        protocol,
        batch_events: usize::try_from(batch).unwrap_or(usize::MAX),
        connect_timeout: Duration::from_millis(connect),
        request_timeout: Duration::from_millis(request),
        tls: tls::client(reader)?.map(Reloading::new),
        age_max: age_max.filter(|age| !age.is_zero()),
        connection: None,
    })
}

/// What a server says that cannot read the events of a call, or does not take ones so large.
const UNREADABLE_CALL: i32 = 7;

impl Thrift {
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
        let layers = Layers { tls: connector.as_ref(), zlib: None };
        Connection::open(&self.host, self.port, layers, self.connect_timeout).await
    }

    fn hang_up(&mut self, context: &SinkContext) {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
        }
    }

    async fn send(&mut self, context: &SinkContext, batch: &[Event]) -> Result<(), SendError> {
        let (protocol, patience) = (self.protocol, self.request_timeout);
        let connection = self.connected(context).await?;
        for call in pieces(batch, CALL_BYTES) {
            connection.append(protocol, call, patience).await?;
        }
        Ok(())
    }
}

impl Sink for Thrift {
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
        Box::pin(async move {
            let large = |event: &&Event| event.size_bytes() > THRIFT_REQUEST_BYTES_MAX_DEFAULT;
            if let Some(event) = batch.iter().find(large) {
                let bytes = event.body.len();
                tracing::warn!(
                    code = %codes::EVENT_TOO_LARGE_FOR_SERVER,
                    sink = context.name,
                    bytes,
                    "an event may be too large for the server"
                );
            }
            let Err(error) = self.send(context, batch).await else { return Ok(()) };
            if !matches!(error, SendError::Failed) {
                self.hang_up(context);
            }
            let what = format!("cannot send to {}:{}", self.host, self.port);
            let refused = matches!(error, SendError::Exception { code: UNREADABLE_CALL, .. });
            let failure = Failure::caused(what, error);
            Err(if refused { failure.refused() } else { failure })
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.hang_up(context);
        Box::pin(async { Ok(()) })
    }
}
