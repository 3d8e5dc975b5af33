//! Sinks: doors through which events go out. One adapter is one file or folder and one line in
//! [`TYPES`].
//!
//! An adapter delivers one batch at a time and says whether it arrived; the flow takes, commits,
//! rolls back and backs off. Beside the adapters stand the [`serializer`]s, which turn events
//! into the bytes of a file, and [`java_text`], which prints headers as Java does.
//!
//! Invariant: when `deliver` answers Ok the batch is where the sink puts it, safely. After an
//! error no half of an event stays where a repetition could not be told from it, as far as the
//! far side lets us take it back.

use crate::flow::sink::SinkType;

pub(crate) mod calls;
pub(crate) mod java_text;
pub(crate) mod serializer;

pub mod avro;
pub mod external;
pub mod file_roll;
pub mod http;
pub mod irc;
pub mod logger;
pub mod null;
pub mod thrift;

#[cfg(test)]
pub(crate) mod trial;

/// Every type of sink.
pub const TYPES: &[&SinkType] = &[
    &avro::TYPE,
    &external::TYPE,
    &file_roll::TYPE,
    &http::TYPE,
    &irc::TYPE,
    &logger::TYPE,
    &null::TYPE,
    &thrift::TYPE,
];
