//! A sink that sends each batch in calls with replies, over one connection.
//!
//! The connection is opened when needed, reopened at an age if one is configured, and closed after any failure: a
//! later reply on it could belong to another call. A batch of many bytes is sent in several calls; when a later one
//! fails, the whole batch is repeated, and the part that the server has committed is duplicated. A connection that
//! the server has closed while idle is noticed before the next batch, which then needs no second try.

use super::connection::{RpcCodec, RpcConnection, RpcError, RpcTimeouts};
use super::{connector, corrected, note_peer, pieces, try_stores};
use millpond::{BoxFuture, Event};
use millpond_flow::codes;
use millpond_flow::net::connect::Layers;
use millpond_flow::net::tls::{ClientTls, StoreReloader};
use millpond_flow::settings::{SettingError, SettingsReader, tls};
use millpond_flow::sink::{Failure, Sink, SinkContext};
use std::time::Duration;

/// Bytes of events after which a call is sent although the batch has more: Flume's Thrift source accepts frames of
/// 16384000 bytes.
pub(crate) const CALL_BYTES: usize = 8 * 1024 * 1024;

const BATCH_EVENTS: u64 = 100;
const WAIT_MS: u64 = 20_000;
/// Shorter timeouts are treated as a mistake, as in Flume.
const WAIT_MS_MIN: u64 = 1000;

/// What differs between the protocols.
pub(crate) trait RpcProtocol: Send {
    /// Returns the codec of a new connection.
    fn codec(&self, context: &SinkContext) -> Box<dyn RpcCodec>;

    /// Returns whether servers may find an event too large.
    fn is_large(&self, event: &Event) -> bool;

    /// Returns whether a connection stays usable after FAILED.
    fn survives_failed(&self) -> bool {
        false
    }

    /// Returns whether a call may be sent but for its last byte before the previous batch is acknowledged.
    fn sends_ahead(&self) -> bool {
        false
    }
}

/// The sink.
pub(crate) struct RpcSink {
    host: String,
    port: u16,
    batch_events: usize,
    timeouts: RpcTimeouts,
    tls: Option<StoreReloader<ClientTls>>,
    /// The compression level, if compressed.
    zlib: Option<u32>,
    /// Age after which the connection is reopened.
    age_max: Option<Duration>,
    protocol: Box<dyn RpcProtocol>,
    connection: Option<RpcConnection>,
}

impl RpcSink {
    /// Reads the settings that all protocols have.
    pub(crate) fn build(
        reader: &mut SettingsReader<'_>,
        protocol: Box<dyn RpcProtocol>,
        zlib: Option<u32>,
    ) -> Result<Self, SettingError> {
        let host = reader.host("hostname", None)?;
        let port = reader.number("port", 1..=u16::MAX)?;
        let port = port.ok_or_else(|| reader.error("port", "is required and not set (a port)"))?;
        let batch = corrected(reader, "batch-size", 1, BATCH_EVENTS);
        let connect = corrected(reader, "connect-timeout", WAIT_MS_MIN, WAIT_MS);
        let request = corrected(reader, "request-timeout", WAIT_MS_MIN, WAIT_MS);
        let age_max = reader.seconds("reset-connection-interval", 0..=u64::from(u32::MAX))?;
        Ok(Self {
            host,
            port,
            batch_events: usize::try_from(batch).unwrap_or(usize::MAX),
            timeouts: RpcTimeouts {
                connect: Duration::from_millis(connect),
                request: Duration::from_millis(request),
            },
            tls: tls::client(reader)?.map(StoreReloader::new),
            zlib,
            age_max: age_max.filter(|age| !age.is_zero()),
            protocol,
            connection: None,
        })
    }

    async fn connected(&mut self, context: &SinkContext) -> Result<&mut RpcConnection, RpcError> {
        let age_max = self.age_max;
        let old = |open: &RpcConnection| age_max.is_some_and(|max| open.since.elapsed() >= max);
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

    async fn open(&mut self, context: &SinkContext) -> Result<RpcConnection, RpcError> {
        let connector = connector(self.tls.as_ref(), context).await?;
        let layers = Layers { tls: connector.as_ref(), zlib: self.zlib };
        let codec = self.protocol.codec(context);
        RpcConnection::open(&self.host, self.port, layers, self.timeouts.connect, codec).await
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
    ) -> Result<(), RpcError> {
        let timeout = self.timeouts.request;
        let connection = self.connected(context).await?;
        for call in pieces(batch, CALL_BYTES) {
            connection.append(call, timeout, earlier.take()).await?;
        }
        Ok(())
    }

    async fn deliver_all(
        &mut self,
        context: &SinkContext,
        batch: &[Event],
        earlier: Option<BoxFuture<'_, bool>>,
    ) -> Result<(), Failure> {
        if let Some(event) = batch.iter().find(|event| self.protocol.is_large(event)) {
            let bytes = event.body.len();
            tracing::warn!(code = %codes::EVENT_TOO_LARGE_FOR_SERVER, sink = context.name, bytes, "an event may be too large for the server");
        }
        let Err(error) = self.send(context, batch, earlier).await else { return Ok(()) };
        if !(matches!(error, RpcError::Failed) && self.protocol.survives_failed()) {
            self.hang_up(context);
        }
        let is_refusal = matches!(error, RpcError::Refused(_));
        let what = format!("cannot send to {}:{}", self.host, self.port);
        let failure = Failure::caused(what, error);
        Err(if is_refusal { failure.refused() } else { failure })
    }
}

impl Sink for RpcSink {
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

    /// As in Flume, an unreachable server does not prevent the start.
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

    fn deliver_pipelined<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
        earlier: BoxFuture<'a, bool>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.protocol.sends_ahead() {
                return self.deliver_all(context, batch, Some(earlier)).await;
            }
            if earlier.await {
                return self.deliver_all(context, batch, None).await;
            }
            Err(Failure::new(RpcError::Unacknowledged.to_string()))
        })
    }

    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        self.hang_up(context);
        Box::pin(async { Ok(()) })
    }
}
