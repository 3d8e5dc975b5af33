//! A client's side of a connection, without its socket: calls to bytes, bytes to answers.

use super::WireError;
use super::call::{Answer, put_append_batch};
use super::frame::{self, Frames};
use super::handshake::{ClientName, Match, Request, Response};
use super::protocol::{self, Foreign, HASH, TEXT};
use super::values::Values;
use crate::event::Event;
use bytes::BytesMut;

/// Why what a server sends is no answer. The connection cannot be used any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// It cannot be read.
    #[error("what the server answers is not Avro RPC: {0}")]
    Unreadable(#[from] WireError),
    /// It did not take this side's protocol.
    #[error("the server does not know the protocol")]
    Unknown,
    /// It speaks another one.
    #[error("the server does not understand what is sent here: {0}")]
    Foreign(#[from] Foreign),
    /// It answers what was not asked.
    #[error("the server answered another call")]
    OtherCall,
}

/// One connection of a client: one call at a time.
///
/// # Examples
/// ```
/// # use millpond::event::Event;
/// # use millpond::wire::avro::exchange::Exchange;
/// # use bytes::BytesMut;
/// let mut exchange = Exchange::new();
/// let request = exchange.call(&[Event::new("a line")]);
/// assert!(request.len() > 12, "a frame, with the handshake in front");
/// // Send it; hand in what arrives until there is an answer.
/// assert_eq!(exchange.answer(&mut BytesMut::new()), Ok(None));
/// ```
#[derive(Debug, Default)]
pub struct Exchange {
    frames: Frames,
    serial: u32,
    established: bool,
    /// The agent and the sink that it says it is.
    client: (String, String),
}

impl Exchange {
    /// A connection on which nothing was sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same of a client that tells its name.
    #[must_use]
    pub fn of(client: ClientName<'_>) -> Self {
        let client = (client.agent.to_owned(), client.sink.to_owned());
        Self { client, ..Self::default() }
    }

    /// The bytes of a call of `appendBatch`.
    #[must_use]
    pub fn call(&mut self, events: &[Event]) -> Vec<u8> {
        let mut out = frame::begin();
        if !self.established {
            // The text goes along at once: few servers know this one's hash, and asking for it
            // would cost another round trip.
            let client_text = Some(TEXT);
            let client = ClientName { agent: &self.client.0, sink: &self.client.1 };
            Request { client_hash: HASH, client_text, server_hash: HASH, client }.encode(&mut out);
        }
        put_append_batch(&mut out, events);
        self.serial = self.serial.wrapping_add(1);
        frame::finish(&mut out, self.serial);
        out
    }

    /// Consumes what has arrived; `None` when the answer to the call is not whole yet.
    ///
    /// # Errors
    /// It is no answer.
    pub fn answer(&mut self, input: &mut BytesMut) -> Result<Option<Answer>, NoAnswer> {
        let Some(frame) = self.frames.next(input)? else { return Ok(None) };
        if frame.serial != self.serial {
            return Err(NoAnswer::OtherCall);
        }
        if !frame.is_whole {
            let max = self.frames.bytes_max();
            return Err(WireError::TooLarge { what: "an answer", max }.into());
        }
        let mut values = Values::new(&frame.message);
        if !self.established {
            let response = Response::decode(&mut values)?;
            if response.matched == Match::None {
                return Err(NoAnswer::Unknown);
            }
            response.server_text.map_or(Ok(()), protocol::check)?;
            self.established = true;
        }
        Ok(Some(Answer::decode(values.rest())?))
    }
}
