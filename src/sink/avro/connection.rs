//! A connection to an Avro source: every step has a deadline, so that a server that is gone is
//! noticed whatever way it went.

use crate::base::limits::CONNECTION_READ_BYTES;
use crate::channel::BoxFuture;
use crate::event::Event;
use crate::net::dial::{DialError, Layers, dial};
use crate::net::stream::Stream;
use crate::net::tls::TlsError;
use crate::wire::avro::call::{Answer, TOO_LARGE, UNREADABLE};
use crate::wire::avro::exchange::{Exchange, NoAnswer};
use crate::wire::avro::handshake::ClientName;
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the server answered FAILED: its channel is full or out of order")]
    Failed,
    #[error("the server answered UNKNOWN")]
    Unknown,
    /// About the events of the call.
    #[error("the server does not take these events: {0}")]
    Refused(String),
    /// About the server itself: memory, its protocol, whatever is not the fault of these events.
    #[error("the server answered with an error: {0}")]
    Error(String),
    #[error("the batch before it was not acknowledged")]
    Unacknowledged,
}

/// Whether an error says that these very events are what the server cannot read or finds too large, which
/// they will be the next time as well. Every error of Flume's protocol is a text: of Java the exception's class and message.
/// A server without memory, for one, answers with an error too, and takes the same events when it has some.
fn is_about_events(words: &str) -> bool {
    const OF_JAVA: [&str; 4] = [
        "org.apache.avro.AvroRemoteException",
        "org.apache.avro.AvroTypeException",
        "org.apache.avro.SystemLimitException",
        "org.apache.avro.AvroRuntimeException: Malformed data",
    ];
    words.starts_with(UNREADABLE)
        || words.starts_with(TOO_LARGE)
        || OF_JAVA.iter().any(|class| words.starts_with(class))
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
}

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    exchange: Exchange,
    input: BytesMut,
    pub(crate) since: Instant,
}

impl Connection {
    pub(crate) async fn open(
        host: &str,
        port: u16,
        layers: Layers<'_>,
        patience: Patience,
        client: ClientName<'_>,
    ) -> Result<Self, SendError> {
        let since = Instant::now();
        let stream = dial(host, port, layers, patience.connect).await?;
        Ok(Self { stream, exchange: Exchange::of(client), input: BytesMut::new(), since })
    }

    /// Sends `events` as one call and returns once the server has committed them. The call is not
    /// complete before `earlier` has answered true.
    pub(crate) async fn append(
        &mut self,
        events: &[Event],
        patience: Duration,
        earlier: Option<BoxFuture<'_, bool>>,
    ) -> Result<(), SendError> {
        let call = self.exchange.call(events);
        let (mut deadline, mut rest) = (Instant::now() + patience, &call[..]);
        let late = |_| SendError::Silent(patience);
        if let Some(earlier) = earlier {
            let (now, held_back) = call.split_at(call.len() - 1);
            timeout_at(deadline, self.write(now)).await.map_err(late)??;
            if !earlier.await {
                return Err(SendError::Unacknowledged);
            }
            // That it waited is not the server's fault.
            (deadline, rest) = (Instant::now() + patience, held_back);
        }
        timeout_at(deadline, self.write(rest)).await.map_err(late)??;
        drop(call);
        let answer = timeout_at(deadline, self.answer()).await.map_err(late)??;
        match answer {
            Answer::Ok => Ok(()),
            Answer::Failed => Err(SendError::Failed),
            Answer::Unknown => Err(SendError::Unknown),
            Answer::Error(words) if is_about_events(&words) => Err(SendError::Refused(words)),
            Answer::Error(words) => Err(SendError::Error(words)),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn answer(&mut self) -> Result<Answer, SendError> {
        loop {
            if let Some(answer) = self.exchange.answer(&mut self.input)? {
                return Ok(answer);
            }
            if self.stream.read_some(&mut self.input, CONNECTION_READ_BYTES).await? == 0 {
                return Err(SendError::Closed);
            }
        }
    }

    /// What it goes over.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether the server has hung up, or says something unasked, while nothing was sent.
    pub(crate) fn is_over(&mut self) -> bool {
        !self.stream.is_quiet()
    }
}
