//! A connection to an Avro source, for a command: one call at a time, each with a deadline.

use crate::base::limits::CONNECTION_READ_BYTES;
use crate::event::Event;
use crate::wire::avro::WireError;
use crate::wire::avro::call::{Answer, put_append_batch};
use crate::wire::avro::frame::{self, Frames};
use crate::wire::avro::handshake::{Match, Request, Response};
use crate::wire::avro::protocol::{self, Foreign, HASH, TEXT};
use crate::wire::avro::values::Values;
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
    #[error("what the server answers is not Avro RPC: {0}")]
    Unreadable(#[from] WireError),
    #[error("the server does not know the protocol")]
    Unknown,
    #[error("the server does not understand what is sent here: {0}")]
    Foreign(#[from] Foreign),
    #[error("the server answered another call")]
    OtherCall,
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
    frames: Frames,
    input: BytesMut,
    serial: u32,
    established: bool,
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
                    return Ok(Self {
                        stream,
                        frames: Frames::new(),
                        input: BytesMut::new(),
                        serial: 0,
                        established: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Sends `events` as one call and returns once the server has committed them.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<(), SendError> {
        let mut out = frame::begin();
        if !self.established {
            // The text goes along at once: few servers know this one's hash, and asking for it
            // would cost another round trip.
            let client_text = Some(TEXT);
            Request { client_hash: HASH, client_text, server_hash: HASH }.encode(&mut out);
        }
        put_append_batch(&mut out, events);
        self.serial = self.serial.wrapping_add(1);
        frame::finish(&mut out, self.serial);
        self.stream.write_all(&out).map_err(late)?;
        match self.answer()? {
            Answer::Ok => Ok(()),
            Answer::Failed => Err(SendError::Failed),
            Answer::Unknown => Err(SendError::Refused("UNKNOWN".to_owned())),
            Answer::Error(words) => Err(SendError::Refused(words)),
        }
    }

    fn answer(&mut self) -> Result<Answer, SendError> {
        let frame = loop {
            if let Some(frame) = self.frames.next(&mut self.input)? {
                break frame;
            }
            let mut read = [0; CONNECTION_READ_BYTES];
            match self.stream.read(&mut read) {
                Ok(0) => return Err(SendError::Closed),
                Ok(n) => self.input.extend_from_slice(&read[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(late(error)),
            }
        };
        if frame.serial != self.serial {
            return Err(SendError::OtherCall);
        }
        let mut values = Values::new(&frame.message);
        if !self.established {
            let response = Response::decode(&mut values)?;
            if response.matched == Match::None {
                return Err(SendError::Unknown);
            }
            response.server_text.map_or(Ok(()), protocol::check)?;
            self.established = true;
        }
        Ok(Answer::decode(values.rest())?)
    }
}

/// A deadline that passed, told from other errors.
fn late(error: io::Error) -> SendError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SendError::Silent,
        _ => SendError::Broken(error),
    }
}
