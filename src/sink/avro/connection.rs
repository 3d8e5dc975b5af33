//! A connection to an Avro source: every step has a deadline, so that a server that is gone is
//! noticed whatever way it went.

use crate::base::limits::CONNECTION_READ_BYTES;
use crate::event::Event;
use crate::wire::avro::call::Answer;
use crate::wire::avro::exchange::{Exchange, NoAnswer};
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Quiet time after which the kernel asks whether the other side is there, and between further
/// questions; how many without an answer end the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectLate(Duration),
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
    #[error("the server answered with an error: {0}")]
    Refused(String),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) request: Duration,
}

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    exchange: Exchange,
    input: BytesMut,
    pub(super) since: Instant,
}

impl Connection {
    pub(super) async fn open(host: &str, port: u16, patience: Patience) -> Result<Self, SendError> {
        let now = Instant::now();
        let opened = timeout_at(now + patience.connect, TcpStream::connect((host, port))).await;
        let stream = opened
            .map_err(|_| SendError::ConnectLate(patience.connect))?
            .map_err(SendError::Connect)?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(Self { stream, exchange: Exchange::new(), input: BytesMut::new(), since: now })
    }

    /// Sends `events` as one call and returns once the server has committed them.
    pub(super) async fn append(
        &mut self,
        events: &[Event],
        patience: Duration,
    ) -> Result<(), SendError> {
        let call = self.exchange.call(events);
        let deadline = Instant::now() + patience;
        let late = |_| SendError::Silent(patience);
        timeout_at(deadline, self.stream.write_all(&call)).await.map_err(late)??;
        drop(call);
        let answer = timeout_at(deadline, self.answer()).await.map_err(late)??;
        match answer {
            Answer::Ok => Ok(()),
            Answer::Failed => Err(SendError::Failed),
            Answer::Unknown => Err(SendError::Refused("UNKNOWN".to_owned())),
            Answer::Error(words) => Err(SendError::Refused(words)),
        }
    }

    async fn answer(&mut self) -> Result<Answer, SendError> {
        loop {
            if let Some(answer) = self.exchange.answer(&mut self.input)? {
                return Ok(answer);
            }
            self.input.reserve(CONNECTION_READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(SendError::Closed);
            }
        }
    }

    /// Whether the server has hung up, or says something unasked, while nothing was sent.
    pub(super) fn is_over(&self) -> bool {
        let mut byte = [0; 1];
        !matches!(self.stream.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
