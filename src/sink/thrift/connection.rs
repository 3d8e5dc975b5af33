//! A connection to a Thrift source: every step has a deadline.

use crate::base::limits::CONNECTION_READ_BYTES;
use crate::event::Event;
use crate::net::dial::{DialError, Layers, dial};
use crate::net::stream::Stream;
use crate::net::tls::TlsError;
use crate::wire::thrift::call::{Answer, FAILED, OK, answer, put_append_batch};
use crate::wire::thrift::{Protocol, ThriftError, frame};
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer: a status, or an exception with some words.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection; do both sides have the same protocol")]
    Closed,
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] ThriftError),
    #[error("the server answered FAILED: its channel is full or out of order")]
    Failed,
    #[error("the server answered with the status {0}")]
    Status(i32),
    #[error("the server answered with the exception {code}: {words}")]
    Exception { code: i32, words: String },
}

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    input: BytesMut,
    sequence: i32,
    pub(crate) since: Instant,
}

impl Connection {
    /// Opened to the server at `host` and `port`.
    pub(crate) async fn open(
        host: &str,
        port: u16,
        layers: Layers<'_>,
        patience: Duration,
    ) -> Result<Self, SendError> {
        let since = Instant::now();
        let stream = dial(host, port, layers, patience).await?;
        Ok(Self { stream, input: BytesMut::new(), sequence: 0, since })
    }

    /// What it goes over.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether the server has hung up, or says something unasked, while nothing was sent.
    pub(crate) fn is_over(&mut self) -> bool {
        !self.stream.is_quiet()
    }

    /// Sends `events` as one call and returns once the server has committed them.
    pub(crate) async fn append(
        &mut self,
        protocol: Protocol,
        events: &[Event],
        patience: Duration,
    ) -> Result<(), SendError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut call = frame::begin();
        put_append_batch(&mut call, protocol, self.sequence, events);
        frame::finish(&mut call);
        let deadline = Instant::now() + patience;
        let late = |_| SendError::Silent(patience);
        let written = async {
            self.stream.write_all(&call).await?;
            self.stream.flush().await
        };
        timeout_at(deadline, written).await.map_err(late)??;
        drop(call);
        let frame = timeout_at(deadline, self.frame()).await.map_err(late)??;
        match answer(protocol, self.sequence, &frame)? {
            Answer::Status(OK) => Ok(()),
            Answer::Status(FAILED) => Err(SendError::Failed),
            Answer::Status(other) => Err(SendError::Status(other)),
            Answer::Exception { code, words } => Err(SendError::Exception { code, words }),
        }
    }

    async fn frame(&mut self) -> Result<bytes::Bytes, SendError> {
        loop {
            if let Some(frame) = frame::next(&mut self.input, ANSWER_BYTES_MAX)? {
                return Ok(frame);
            }
            if self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES).await? == 0 {
                return Err(SendError::Closed);
            }
        }
    }
}
