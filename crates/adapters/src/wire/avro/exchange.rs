//! A client's side of a connection without its socket: calls to bytes, bytes to replies.

use super::AvroError;
use super::call::{AvroReply, put_append_batch};
use super::frame::{self, AvroFramer};
use super::handshake::{ClientName, HandshakeMatch, HandshakeRequest, HandshakeResponse};
use super::protocol::{self, HASH, ProtocolMismatch, TEXT};
use super::values::AvroReader;
use bytes::BytesMut;
use millpond::Event;

/// Why received bytes are not a valid reply. The connection cannot be used any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It cannot be read.
    #[error("the server's reply is not Avro RPC: {0}")]
    Unreadable(#[from] AvroError),
    /// The server did not accept this side's protocol.
    #[error("the server does not know the protocol")]
    Unknown,
    /// The server speaks another protocol.
    #[error("the server does not understand what is sent here: {0}")]
    Foreign(#[from] ProtocolMismatch),
    /// The reply is to another call.
    #[error("the server answered another call")]
    OtherCall,
}

/// A client's connection, with one call at a time.
///
/// # Examples
/// ```
/// # use millpond::Event;
/// # use millpond_adapters::wire::avro::exchange::AvroExchange;
/// # use bytes::BytesMut;
/// let mut exchange = AvroExchange::new();
/// let request = exchange.call(&[Event::new("a line")]);
/// assert!(request.len() > 12, "a frame, with the handshake in front");
/// // Send it; hand in what arrives until there is an answer.
/// assert_eq!(exchange.answer(&mut BytesMut::new()), Ok(None));
/// ```
#[derive(Debug, Default)]
pub struct AvroExchange {
    frames: AvroFramer,
    serial: u32,
    established: bool,
    /// The names of agent and sink that the client states.
    client: (String, String),
}

impl AvroExchange {
    /// Returns a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a new connection of a client that states its name.
    #[must_use]
    pub fn of(client: ClientName<'_>) -> Self {
        let client = (client.agent.to_owned(), client.sink.to_owned());
        Self { client, ..Self::default() }
    }

    /// Returns the bytes of a call of `appendBatch`.
    #[must_use]
    pub fn call(&mut self, events: &[Event]) -> Vec<u8> {
        let mut out = frame::begin();
        if !self.established {
            // The text is sent at once: few servers know this client's hash, and a request for the text would
            // cost another round trip.
            let client_text = Some(TEXT);
            let client = ClientName { agent: &self.client.0, sink: &self.client.1 };
            HandshakeRequest { client_hash: HASH, client_text, server_hash: HASH, client }
                .encode(&mut out);
        }
        put_append_batch(&mut out, events);
        self.serial = self.serial.wrapping_add(1);
        frame::finish(&mut out, self.serial);
        out
    }

    /// Consumes received bytes; `None` while the reply to the call is incomplete.
    ///
    /// # Errors
    /// It is not a valid reply.
    pub fn answer(&mut self, input: &mut BytesMut) -> Result<Option<AvroReply>, ReplyError> {
        let Some(frame) = self.frames.next(input)? else { return Ok(None) };
        if frame.serial != self.serial {
            return Err(ReplyError::OtherCall);
        }
        if !frame.is_whole {
            let max = self.frames.bytes_max();
            return Err(AvroError::TooLarge { what: "an answer", max }.into());
        }
        let mut values = AvroReader::new(&frame.message);
        if !self.established {
            let response = HandshakeResponse::decode(&mut values)?;
            if response.matched == HandshakeMatch::None {
                return Err(ReplyError::Unknown);
            }
            response.server_text.map_or(Ok(()), protocol::check)?;
            self.established = true;
        }
        Ok(Some(AvroReply::decode(values.rest())?))
    }
}
