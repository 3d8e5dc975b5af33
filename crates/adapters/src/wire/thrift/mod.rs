//! Thrift as far as Flume, Scribe and HBase speak it: messages in the compact or the binary protocol, framed or not,
//! Flume's `ThriftSourceProtocol`, Scribe's `Log`, and the calls of HBase's Thrift2 gateway that write.
//!
//! Limits: a frame has at most the bytes that the caller allows; [`DEPTH_MAX`] levels within an ignored value.
//!
//! In reading order: [`frame`] cuts frames out of a stream, [`values`] reads and writes the values of both
//! protocols, [`call`] implements the calls and their replies, [`hbase`] those of HBase's gateway.
//!
//! Written without the Apache library, which allocates a text as long as its announced length; here only received
//! bytes are allocated.

pub mod call;
pub mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod hbase;
#[cfg(any(test, feature = "testing"))]
pub mod hbase_decode;
#[cfg(test)]
mod tests;
pub mod values;

pub use values::DEPTH_MAX;

/// The encoding of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThriftProtocol {
    /// `TCompactProtocol`.
    Compact,
    /// `TBinaryProtocol`; messages without a version are accepted as well.
    Binary,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThriftError {
    /// They end too early.
    #[error("the message ends within a value")]
    Short,
    /// It does not begin like a message of this protocol.
    #[error(
        "this is not a message of the protocol that is set; do both sides have the same, compact or binary"
    )]
    NoMessage,
    /// A value has an unknown type.
    #[error("the type of value {0} is unknown")]
    Kind(u8),
    /// A length or a number is impossible.
    #[error("a length or a number is impossible")]
    Number,
    /// Structures are nested too deeply.
    #[error("values are nested too deep")]
    Deep,
    /// A required field is missing.
    #[error("the required field {0} is missing")]
    Missing(&'static str),
    /// A frame is longer than allowed.
    #[error("a request of {bytes} bytes; {max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An event has more headers than a channel takes.
    #[error("an event with {headers} headers; {max} are allowed")]
    TooManyHeaders {
        /// Their number.
        headers: usize,
        /// The limit.
        max: usize,
    },
    /// A reply is not to the call.
    #[error("the answer is to another call")]
    OtherAnswer,
}
