//! A connection to an Avro source, for a command: one call at a time, each with a deadline.

use crate::base::limits::CONNECTION_READ_BYTES;
use crate::event::Event;
use crate::wire::avro::call::Answer;
use crate::wire::avro::exchange::{Exchange, NoAnswer};
use bytes::BytesMut;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server did not answer in time")]
    Silent,
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the server answered FAILED: its channel is full or out of order; send the rest later")]
    Failed,
    #[error("the server answered with an error: {0}")]
    Refused(String),
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) request: Duration,
}

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    exchange: Exchange,
    input: BytesMut,
}

impl Connection {
    pub(super) fn open(host: &str, port: u16, patience: Patience) -> Result<Self, SendError> {
        let failed = |source| SendError::Connect { host: host.to_owned(), port, source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, patience.connect) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.set_read_timeout(Some(patience.request)).map_err(failed)?;
                    stream.set_write_timeout(Some(patience.request)).map_err(failed)?;
                    return Ok(Self { stream, exchange: Exchange::new(), input: BytesMut::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Sends `events` as one call and returns once the server has committed them.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<(), SendError> {
        let call = self.exchange.call(events);
        self.stream.write_all(&call).map_err(late)?;
        match self.answer()? {
            Answer::Ok => Ok(()),
            Answer::Failed => Err(SendError::Failed),
            Answer::Unknown => Err(SendError::Refused("UNKNOWN".to_owned())),
            Answer::Error(words) => Err(SendError::Refused(words)),
        }
    }

    fn answer(&mut self) -> Result<Answer, SendError> {
        loop {
            if let Some(answer) = self.exchange.answer(&mut self.input)? {
                return Ok(answer);
            }
            let mut read = [0; CONNECTION_READ_BYTES];
            match self.stream.read(&mut read) {
                Ok(0) => return Err(SendError::Closed),
                Ok(n) => self.input.extend_from_slice(&read[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(late(error)),
            }
        }
    }
}

/// A deadline that passed, told from other errors.
fn late(error: io::Error) -> SendError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SendError::Silent,
        _ => SendError::Broken(error),
    }
}
