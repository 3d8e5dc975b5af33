//! What a deserializer is, and what it reads from.

use crate::source::file_reading::FileOffset;
use millpond::Event;
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::io;

/// The reason why no further event can be read from a file.
#[derive(Debug, thiserror::Error)]
pub(in crate::source::spooldir) enum DeserializeError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(
        "byte {offset} is not {charset}; set inputCharset to the encoding of the file, or decodeErrorPolicy to REPLACE or IGNORE"
    )]
    Undecodable { offset: u64, charset: String },
    #[error("it cannot be read as an Avro container file at byte {offset}: {what}")]
    NoContainer { offset: u64, what: String },
}

/// Reads events from a file.
pub(in crate::source::spooldir) trait Deserializer: Send {
    /// Returns the next event, `None` at the end. `whole` means that the file no longer grows: the rest after the
    /// last line end is a line, too.
    fn next(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<Event>, DeserializeError>;

    /// Returns the position of the next event.
    fn point(&self, input: &dyn SpooledInput) -> FileOffset {
        FileOffset::at(input.offset())
    }
}

/// A file as seen by deserializers.
pub(in crate::source::spooldir) trait SpooledInput {
    fn offset(&self) -> u64;
    fn unused(&self) -> &[u8];
    fn skip(&mut self, count: usize);
    fn seek(&mut self, offset: u64);
    fn has(&mut self, count: usize) -> io::Result<bool>;
    fn find(&mut self, byte: u8, max: usize) -> io::Result<Option<usize>>;
}

/// The handling of a byte that is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::spooldir) enum DecodeErrorPolicy {
    /// Sets the file aside there.
    Fail,
    /// Replaces it by U+FFFD.
    Replace,
    /// Skips it.
    Ignore,
}

/// Returns a number, reduced to the limit here where Flume has none.
pub(super) fn bounded(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: usize,
    max: usize,
) -> Result<usize, SettingError> {
    let Some(number) = reader.number(key, 1..=u64::MAX)? else { return Ok(default) };
    match usize::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        _ => {
            reader.find(
                Severity::Warning,
                key,
                format!("{number} is taken as {max}, the most here"),
            );
            Ok(max)
        }
    }
}
