//! A connection to a server of events, with a deadline for every step, so that every failure of the server is noticed.

use bytes::BytesMut;
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::CONNECTION_READ_BYTES;
use millpond_flow::net::connect::{ConnectError, Layers, connect};
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::TlsError;
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

/// The calls and replies of one connection, as bytes.
pub trait RpcCodec: Send {
    /// Returns the bytes of a call that passes on `events`.
    fn call(&mut self, events: &[Event]) -> Vec<u8>;

    /// Returns the reply to the last call from the front of `input`; `None` until all of it has come.
    ///
    /// # Errors
    /// It is not a reply to that call. The connection cannot be used any further.
    fn reply(&mut self, input: &mut BytesMut) -> Result<Option<RpcReply>, UnreadableReply>;

    /// Returns what may be the cause if the server closes the connection instead of replying, as the end of a sentence.
    fn why_closed(&self) -> &'static str {
        ""
    }
}

/// What is wrong with a reply.
pub(crate) type UnreadableReply = Box<dyn Error + Send + Sync>;

/// The reply to a call.
#[derive(Debug)]
pub enum RpcReply {
    /// Every event is committed.
    Ok,
    /// The channel did not take them; the same call may succeed later.
    Failed,
    /// The server does not take these events, now or later.
    Refused(String),
    /// An error of the server itself, such as its memory or protocol.
    Error(String),
}

/// The reason why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each message says what its variant is
pub enum RpcError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection{0}")]
    Closed(&'static str),
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("{0}")]
    Unreadable(UnreadableReply),
    #[error("the server replied FAILED: its channel is full or out of order")]
    Failed,
    /// Concerns the events of the call.
    #[error("{0}")]
    Refused(String),
    /// Concerns the server itself, not these events.
    #[error("{0}")]
    Error(String),
    #[error("the batch before it was not acknowledged")]
    Unacknowledged,
}

/// Time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcTimeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the reply to a call.
    pub request: Duration,
}

/// An open connection.
pub struct RpcConnection {
    stream: Stream,
    codec: Box<dyn RpcCodec>,
    input: BytesMut,
    pub(crate) since: Instant,
}

impl RpcConnection {
    /// Connects to the server at `host` and `port`.
    pub async fn open(
        host: &str,
        port: u16,
        layers: Layers<'_>,
        connect_timeout: Duration,
        codec: Box<dyn RpcCodec>,
    ) -> Result<Self, RpcError> {
        let since = Instant::now();
        let stream = connect(host, port, layers, connect_timeout).await?;
        Ok(Self { stream, codec, input: BytesMut::new(), since })
    }

    /// Sends `events` as one call and returns once the server has committed them. The call is not completed before
    /// `earlier` has resolved to true.
    pub async fn append(
        &mut self,
        events: &[Event],
        timeout: Duration,
        earlier: Option<BoxFuture<'_, bool>>,
    ) -> Result<(), RpcError> {
        let call = self.codec.call(events);
        let (mut deadline, mut rest) = (Instant::now() + timeout, &call[..]);
        let late = |_| RpcError::Timeout(timeout);
        if let Some(earlier) = earlier {
            let (now, held_back) = call.split_at(call.len() - 1);
            timeout_at(deadline, self.write(now)).await.map_err(late)??;
            if !earlier.await {
                return Err(RpcError::Unacknowledged);
            }
            // The wait does not count against the server.
            (deadline, rest) = (Instant::now() + timeout, held_back);
        }
        timeout_at(deadline, self.write(rest)).await.map_err(late)??;
        drop(call);
        match timeout_at(deadline, self.reply()).await.map_err(late)?? {
            RpcReply::Ok => Ok(()),
            RpcReply::Failed => Err(RpcError::Failed),
            RpcReply::Refused(words) => Err(RpcError::Refused(words)),
            RpcReply::Error(words) => Err(RpcError::Error(words)),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn reply(&mut self) -> Result<RpcReply, RpcError> {
        loop {
            if let Some(reply) = self.codec.reply(&mut self.input).map_err(RpcError::Unreadable)? {
                return Ok(reply);
            }
            if self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES).await? == 0 {
                return Err(RpcError::Closed(self.codec.why_closed()));
            }
        }
    }

    /// Returns its stream.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Returns whether the server has closed the connection, or sent something unasked, while it was idle.
    pub fn is_over(&mut self) -> bool {
        !self.stream.is_quiet()
    }
}
