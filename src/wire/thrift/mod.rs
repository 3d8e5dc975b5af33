//! Thrift as far as Flume and Scribe speak it: framed messages in the compact or the binary protocol,
//! Flume's `ThriftSourceProtocol` and Scribe's `Log`.
//!
//! Limits: a frame has the bytes that the caller allows; [`DEPTH_MAX`] levels within what is left out.
//!
//! The story, in reading order: [`frame`] cuts frames out of a stream, [`values`] reads and writes what
//! the two protocols have in common, [`call`] knows the calls and their answers.
//!
//! Written by hand, since what a peer announces must not be allocated before it has come: the Apache
//! library makes room for a text as long as its length says it is.

pub mod call;
pub mod frame;
pub mod fuzz;
#[cfg(test)]
mod tests;
pub mod values;

pub use values::DEPTH_MAX;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `TCompactProtocol`.
    Compact,
    /// `TBinaryProtocol`; messages without a version are read as well.
    Binary,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThriftError {
    /// They end too early.
    #[error("the message ends within a value")]
    Short,
    /// It begins like no message of this protocol.
    #[error(
        "this is not a message of the protocol that is set; do both sides have the same, compact or binary"
    )]
    NoMessage,
    /// A value is of a kind that there is not.
    #[error("there is no kind of value {0}")]
    Kind(u8),
    /// A length or a number is impossible.
    #[error("a length or a number is impossible")]
    Number,
    /// Structures within structures.
    #[error("values are nested too deep")]
    Deep,
    /// A field is missing that has to be there.
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
    /// An answer is none to the call.
    #[error("the answer is to another call")]
    OtherAnswer,
}
