//! Formats of files: events to bytes, without input or output.
//!
//! Limits: a block of a compressed SequenceFile ends after [`sequence_file::BLOCK_BYTES`] of keys and values, one of
//! snappy and lz4 after [`codec::FRAME_BYTES`]; gzip, bzip2 and deflate compress as the events are written. Only
//! zstandard holds the uncompressed batch.
//!
//! Each call of [`FileFormat::append_batch`] ends with a complete member or block: a file that is cut there is
//! readable.

mod codec;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod sequence_file;
mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use settings::{FormatSettings, KEYS};

use millpond::Event;
use std::io;

/// Writes events as the bytes of one file; one value for each open file.
pub(crate) trait FileFormat: Send {
    /// Adds the beginning of a file whose first event is `first`.
    ///
    /// # Errors
    /// No file can begin with this event.
    fn begin(&mut self, first: &Event, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Adds `events`, complete.
    ///
    /// # Errors
    /// One of them fits in no file of this format. What `out` has then is not to be written.
    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Adds the end of a file.
    ///
    /// # Errors
    /// The end cannot be made; what was appended before is readable all the same.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let _ = out;
        Ok(())
    }

    /// Returns the bytes that `event` counts for `hdfs.rollSize`: those of its body.
    fn payload_bytes(&self, event: &Event) -> u64 {
        event.body.len() as u64
    }
}

/// Why events are in no file of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FormatError {
    /// A body is longer than a record may be.
    #[error("a body of {bytes} bytes is longer than a record of this format may be")]
    BodyTooLong {
        /// The bytes of the body.
        bytes: usize,
    },
    /// An event has another Avro schema than the file.
    #[error(
        "an event has another Avro schema than its file: events of one path and prefix need one schema"
    )]
    OtherSchema,
    /// An event does not fit the columns of a file.
    #[error("an event does not fit the schema of its Parquet file: {cause}")]
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))] // only Parquet has columns
    Misfit {
        /// Which column, and why.
        cause: String,
    },
    /// An event fits in no file, by its headers and the configuration.
    #[error("{cause}")]
    NoFile {
        /// Why.
        cause: String,
    },
    /// The schema of an event cannot be read now.
    #[error("{cause}")]
    NotNow {
        /// Why.
        cause: String,
    },
    /// The serializer or the codec failed.
    #[error("the events cannot be written as {format}: {cause}")]
    Encode {
        /// The serializer or codec.
        format: &'static str,
        /// What it reported.
        cause: String,
    },
}

impl FormatError {
    /// Returns true if no retry can help, unless files that the configuration names are repaired.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::NotNow { .. })
    }

    /// Returns true if no retry can ever help: the event itself does not fit.
    pub(crate) fn is_of_the_event(&self) -> bool {
        matches!(self, Self::BodyTooLong { .. } | Self::Misfit { .. } | Self::NoFile { .. })
    }

    fn encode(format: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Encode { format, cause: error.to_string() }
    }
}
