//! Formats of files: events to bytes, without input or output.
//!
//! Each call of [`FileFormat::append_batch`] ends with something complete: a file that is cut there can be read.

mod sequence_file;
mod settings;
mod text;

pub(crate) use settings::{FormatSettings, KEYS};

use millpond::Event;

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
    /// One of them fits in no file of this format.
    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Adds the end of a file.
    ///
    /// # Errors
    /// It cannot be made.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Returns the bytes that `event` counts for `hdfs.rollSize`: those of its body.
    fn payload_bytes(&self, event: &Event) -> u64 {
        event.body.len() as u64
    }
}

/// Why an event fits in no file of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FormatError {
    /// Its body is longer than a record may be.
    #[error("a body of {bytes} bytes is longer than a record of this format may be")]
    BodyTooLong {
        /// The bytes of the body.
        bytes: usize,
    },
}
