//! `BlobDeserializer`: a whole file is an event.

use super::{Deserializer, Source, Unreadable, bounded};
use crate::base::limits::SPOOL_BLOB_BYTES_MAX;
use crate::config::settings::{SettingError, SettingsReader};
use crate::event::Event;
use bytes::Bytes;

/// Files as they are, in pieces of at most `bytes_max` bytes.
pub(super) struct Blob {
    bytes_max: usize,
}

impl Blob {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max }
    }
}

pub(super) fn bytes_max(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    bounded(reader, "deserializer.maxBlobLength", 100_000_000, SPOOL_BLOB_BYTES_MAX)
}

impl Deserializer for Blob {
    fn next(&mut self, input: &mut dyn Source, whole: bool) -> Result<Option<Event>, Unreadable> {
        // Of a file that still grows only what can be no shorter.
        let full = input.has(self.bytes_max)?;
        let count = input.unused().len().min(self.bytes_max);
        if count == 0 || !(full || whole) {
            return Ok(None);
        }
        let body = Bytes::copy_from_slice(&input.unused()[..count]);
        input.skip(count);
        Ok(Some(Event::new(body)))
    }
}
