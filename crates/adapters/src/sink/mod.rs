//! Sinks: components that take events from a channel and deliver them. An adapter is one file or folder and one line
//! in [`TYPES`].
//!
//! An adapter delivers one batch at a time and reports whether it arrived; the flow takes, commits, rolls back and
//! backs off. Shared by adapters: the [`serializer`]s, which turn events into the bytes of a file, and [`java_text`],
//! which prints headers as Java does.
//!
//! Invariant: when `deliver` returns Ok, the batch is safe at its destination. After an error no partial event
//! remains that could not be distinguished from a repetition, as far as the destination allows undoing it.

use millpond_flow::sink::SinkType;

pub(crate) mod java_text;
pub mod rpc;
pub mod serializer;

pub mod avro;
pub mod external;
pub mod file_roll;
pub mod hbase;
pub mod http;
pub mod irc;
pub mod logger;
pub mod null;
pub mod thrift;

#[cfg(test)]
pub(crate) mod test_support;

/// All sink types.
pub const TYPES: &[&SinkType] = &[
    &avro::TYPE,
    &external::TYPE,
    &file_roll::TYPE,
    &hbase::TYPE,
    &http::TYPE,
    &irc::TYPE,
    &logger::TYPE,
    &null::TYPE,
    &thrift::TYPE,
];
