//! The connection to one of several Thrift2 gateways.
//!
//! Limits: [`REPLY_BYTES_MAX`] for a reply; the connect timeout for each gateway that is tried, the timeout of calls
//! for a call with its reply.
//!
//! The gateways are tried in their order, from the one that worked last. A connection on which a call failed without a
//! readable reply is closed, because a later reply could belong to another call, and the next gateway is tried at the
//! next attempt. Before anything is written through a new connection the gateway is asked for the table, so that a
//! missing or disabled one is named at once: a gateway repeats writes to it for minutes before it replies.

use crate::sink::rpc::{connector, note_peer};
use crate::wire::thrift::hbase::{HbaseException, HbaseTarget, message_bytes, put_exists, reply};
use crate::wire::thrift::{ThriftError, ThriftProtocol, frame};
use bytes::BytesMut;
use millpond_flow::base::limits::CONNECTION_READ_BYTES;
use millpond_flow::net::connect::{ConnectError, Layers, connect};
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::{ClientTls, StoreReloader, TlsError};
use millpond_flow::sink::SinkContext;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

/// Most bytes of a reply: of an exception, with Java's stack traces for each server.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Bytes from which a call may be more than a gateway accepts: half of the 2 MiB of
/// `hbase.regionserver.thrift.framed.max_frame_size_in_mb`, whose gateway closes the connection without a reply.
pub(super) const LARGE_CALL_BYTES: usize = 1024 * 1024;

/// The address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GatewayAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error("{0}: {1}")]
    Connect(GatewayAddress, #[source] ConnectError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the connection to {0} broke: {1}")]
    Broken(GatewayAddress, #[source] io::Error),
    #[error(
        "{0} closed the connection instead of a reply; are thrift.framed and thrift.protocol those of the gateway"
    )]
    Closed(GatewayAddress),
    #[error("{0} did not reply within {millis} ms: it cannot reach HBase, or a region of the table is not available", millis = .1.as_millis())]
    Timeout(GatewayAddress, Duration),
    #[error(
        "the reply of {0} cannot be read: {1}; are thrift.framed and thrift.protocol those of the gateway"
    )]
    Unreadable(GatewayAddress, #[source] ThriftError),
    /// The gateway works, and says why HBase did not do it.
    #[error("{1}")]
    Exception(GatewayAddress, HbaseException),
}

/// Settings of the connections.
pub(super) struct GatewaySettings {
    /// At least one.
    pub(super) addresses: Vec<GatewayAddress>,
    pub(super) protocol: ThriftProtocol,
    pub(super) framed: bool,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) tls: Option<StoreReloader<ClientTls>>,
}

struct OpenConnection {
    stream: Stream,
    input: BytesMut,
    sequence: i32,
    /// Whether the table was seen through it.
    is_checked: bool,
}

/// The gateways and the connection to one of them.
pub(super) struct Gateway {
    pub(super) settings: GatewaySettings,
    /// The index of the gateway that is connected, or tried next.
    at: usize,
    connection: Option<OpenConnection>,
}

impl Gateway {
    pub(super) fn new(settings: GatewaySettings) -> Self {
        Self { settings, at: 0, connection: None }
    }

    fn address(&self) -> GatewayAddress {
        self.settings.addresses[self.at].clone()
    }

    /// Returns true if there is a connection that the gateway has not closed.
    pub(super) fn is_ready(&mut self) -> bool {
        self.connection.as_mut().is_some_and(|open| open.input.is_empty() && open.stream.is_quiet())
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self, context: &SinkContext) {
        if self.connection.take().is_some() {
            context.counters.connection_closed.add(1);
        }
    }

    /// Lets the next attempt begin with the next gateway.
    fn move_on(&mut self, context: &SinkContext) {
        self.hang_up(context);
        self.at = (self.at + 1) % self.settings.addresses.len();
    }

    /// Connects to the first gateway that accepts, unless connected, and looks for the table.
    pub(super) async fn connected(
        &mut self,
        context: &SinkContext,
        target: HbaseTarget<'_>,
    ) -> Result<(), GatewayError> {
        if !self.is_ready() {
            self.hang_up(context);
            let mut left = self.settings.addresses.len();
            while let Err(error) = self.open(context).await {
                context.counters.connection_failed.add(1);
                self.move_on(context);
                left -= 1;
                if left == 0 {
                    return Err(error);
                }
                tracing::warn!(sink = context.name, "{error}: trying {}", self.address());
            }
        }
        if self.connection.as_ref().is_some_and(|open| open.is_checked) {
            return Ok(());
        }
        match self
            .exchange(context, |out, protocol, number| {
                put_exists(out, protocol, number, target);
            })
            .await
        {
            Ok(()) => {}
            // Its events are refused one by one: they may go to the dead letters.
            Err(GatewayError::Exception(_, error)) if is_missing_family(&error) => {}
            Err(error) => return Err(error),
        }
        if let Some(open) = &mut self.connection {
            open.is_checked = true;
        }
        Ok(())
    }

    async fn open(&mut self, context: &SinkContext) -> Result<(), GatewayError> {
        let address = self.address();
        let connector = connector(self.settings.tls.as_ref(), context).await?;
        let layers = Layers { tls: connector.as_ref(), zlib: None };
        let timeout = self.settings.connect_timeout;
        let stream = connect(&address.host, address.port, layers, timeout).await;
        let stream = stream.map_err(|error| GatewayError::Connect(address.clone(), error))?;
        context.counters.connection_created.add(1);
        note_peer(&stream, context);
        tracing::info!(sink = context.name, "connected to the gateway {address}");
        let input = BytesMut::new();
        self.connection = Some(OpenConnection { stream, input, sequence: 0, is_checked: false });
        Ok(())
    }

    /// Makes a call on the open connection; `write` appends the call with this number.
    pub(super) async fn exchange(
        &mut self,
        context: &SinkContext,
        write: impl Fn(&mut Vec<u8>, ThriftProtocol, i32),
    ) -> Result<(), GatewayError> {
        let (protocol, framed) = (self.settings.protocol, self.settings.framed);
        let (address, timeout) = (self.address(), self.settings.timeout);
        let Some(open) = &mut self.connection else { return Err(GatewayError::Closed(address)) };
        open.sequence = open.sequence.wrapping_add(1);
        let mut call = if framed { frame::begin() } else { Vec::new() };
        write(&mut call, protocol, open.sequence);
        if framed {
            frame::finish(&mut call);
        }
        let deadline = Instant::now() + timeout;
        let done = match timeout_at(deadline, open.exchange(&call, protocol, framed)).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(error))) => {
                // The next attempt looks for the table first.
                open.is_checked = false;
                let moves = !is_missing_family(&error) && self.settings.addresses.len() > 1;
                if moves {
                    self.move_on(context);
                }
                return Err(GatewayError::Exception(address, error));
            }
            Ok(Err(ExchangeError::Io(error))) => GatewayError::Broken(address, error),
            Ok(Err(ExchangeError::Closed)) => GatewayError::Closed(address),
            Ok(Err(ExchangeError::Reply(error))) => GatewayError::Unreadable(address, error),
            Err(_) => GatewayError::Timeout(address, timeout),
        };
        self.move_on(context);
        Err(done)
    }
}

enum ExchangeError {
    Io(io::Error),
    Closed,
    Reply(ThriftError),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl OpenConnection {
    /// Sends the call and returns its reply: `None` if it was done.
    async fn exchange(
        &mut self,
        call: &[u8],
        protocol: ThriftProtocol,
        framed: bool,
    ) -> Result<Option<HbaseException>, ExchangeError> {
        self.stream.write_all(call).await?;
        self.stream.flush().await?;
        loop {
            let message = next_message(&mut self.input, protocol, framed);
            if let Some(message) = message.map_err(ExchangeError::Reply)? {
                return reply(protocol, self.sequence, &message).map_err(ExchangeError::Reply);
            }
            if self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES).await? == 0 {
                return Err(ExchangeError::Closed);
            }
        }
    }
}

/// Removes the next message from `input`; `None` while it is incomplete.
fn next_message(
    input: &mut BytesMut,
    protocol: ThriftProtocol,
    framed: bool,
) -> Result<Option<BytesMut>, ThriftError> {
    if framed {
        return Ok(frame::next(input, REPLY_BYTES_MAX)?.map(BytesMut::from));
    }
    match message_bytes(protocol, input)? {
        Some(len) => Ok(Some(input.split_to(len))),
        None if input.len() > REPLY_BYTES_MAX => {
            Err(ThriftError::TooLong { bytes: input.len(), max: REPLY_BYTES_MAX })
        }
        None => Ok(None),
    }
}

/// Returns true if the table has no such column family.
pub(super) fn is_missing_family(error: &HbaseException) -> bool {
    matches!(error, HbaseException::Io(message) if message.contains("NoSuchColumnFamilyException"))
}
