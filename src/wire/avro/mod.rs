//! Avro RPC as Flume speaks it: `append` and `appendBatch` of `AvroSourceProtocol` over Netty's
//! framing.
//!
//! Limits: [`AVRO_REQUEST_BYTES_MAX`] a message, [`AVRO_SEGMENTS_MAX`] pieces of it,
//! [`AVRO_PROTOCOL_BYTES_MAX`] of a peer's protocol text, [`AVRO_DECODED_BYTES_MAX`] in memory for
//! the events of one call, [`HEADERS_MAX`] headers of an event.
//!
//! From outside to inside: [`frame`] cuts the stream of bytes into messages, each with a serial
//! number that its answer repeats. The first message of a connection begins with a
//! [`handshake`], in which the two sides learn each other's [`protocol`]. What remains is a
//! [`call`] or its answer, made of Avro's [`values`]. An [`exchange`] is a client's side of all that.
//!
//! The format is that of the Avro specification 1.11 ("Protocol Wire Format"); the framing is not
//! part of it and is what Avro's `NettyTransportCodec` writes.
//!
//! Beside that stand files of data: [`schema`], [`container`] and [`codec`].

pub mod call;
pub mod codec;
pub mod container;
pub mod exchange;
pub mod frame;
pub mod fuzz;
pub mod handshake;
pub mod protocol;
pub mod schema;
pub mod values;

#[cfg(test)]
mod tests;

#[cfg(doc)]
use crate::base::limits::{
    AVRO_DECODED_BYTES_MAX, AVRO_PROTOCOL_BYTES_MAX, AVRO_REQUEST_BYTES_MAX, AVRO_SEGMENTS_MAX,
    HEADERS_MAX,
};

/// Why bytes are not what Avro RPC says they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end within a value.
    #[error("the message ends within {0}")]
    Short(&'static str),
    /// Bytes are left behind the last value.
    #[error("{0} bytes are left behind the last value of the message")]
    Trailing(usize),
    /// A number that cannot be meant.
    #[error("{number} cannot be {what}")]
    Number {
        /// What it should have been.
        what: &'static str,
        /// The number.
        number: i64,
    },
    /// A variable-length number of more than ten bytes or 64 bits.
    #[error("{0} is a number of more than 64 bits")]
    TooLong(&'static str),
    /// Text that is not UTF-8 where that matters.
    #[error("{0} is not UTF-8")]
    NoText(&'static str),
    /// More than a limit allows.
    #[error("{what} of more than {max} bytes; send smaller batches")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Too many of something.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A message that this protocol does not have.
    #[error("no such remote message: {0:?}")]
    UnknownMessage(String),
}
