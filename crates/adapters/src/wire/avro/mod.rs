//! Avro RPC as Flume speaks it: `append` and `appendBatch` of `AvroSourceProtocol` over Netty's
//! framing.
//!
//! Limits: [`AVRO_REQUEST_BYTES_MAX`] a message, [`AVRO_SEGMENTS_MAX`] pieces of it,
//! [`AVRO_PROTOCOL_BYTES_MAX`] of a peer's protocol text, [`AVRO_DECODED_BYTES_MAX`] in memory for
//! the events of one call, [`HEADERS_MAX`] headers of an event.
//!
//! From outside to inside: [`frame`] cuts the stream of bytes into messages, each with a serial number that its
//! reply repeats. The first message of a connection begins with a [`handshake`], in which the two sides learn
//! each other's [`protocol`]. The rest is a [`call`] or its reply, made of Avro's [`values`]. An [`exchange`] is
//! a client's side of all that.
//!
//! The format is that of the Avro specification 1.11 ("Protocol Wire Format"); the framing is not
//! part of it and is what Avro's `NettyTransportCodec` writes.
//!
//! [`schema`], [`container`] and [`codec`] are for data files.

pub mod call;
pub mod codec;
pub mod container;
pub mod exchange;
pub mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod handshake;
pub mod protocol;
pub mod schema;
pub mod values;

#[cfg(test)]
mod tests;

#[cfg(doc)]
use millpond_flow::base::limits::{
    AVRO_DECODED_BYTES_MAX, AVRO_PROTOCOL_BYTES_MAX, AVRO_REQUEST_BYTES_MAX, AVRO_SEGMENTS_MAX,
    HEADERS_MAX,
};

/// Why bytes are not valid Avro RPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AvroError {
    /// The bytes end within a value.
    #[error("the message ends within {0}")]
    Short(&'static str),
    /// There are bytes after the last value.
    #[error("there are {0} bytes after the last value of the message")]
    Trailing(usize),
    /// An invalid number.
    #[error("{number} cannot be {what}")]
    Number {
        /// Its meaning.
        what: &'static str,
        /// The number.
        number: i64,
    },
    /// A variable-length number of more than ten bytes or 64 bits.
    #[error("{0} is a number of more than 64 bits")]
    TooLong(&'static str),
    /// Invalid UTF-8 in a text that must be valid.
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
        /// The things counted.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// An unknown remote message.
    #[error("no such remote message: {0:?}")]
    UnknownMessage(String),
}
