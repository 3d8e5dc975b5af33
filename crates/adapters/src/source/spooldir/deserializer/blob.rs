//! `BlobDeserializer`: a whole file is an event.

use super::deserialize::{DeserializeError, Deserializer, SpooledInput, bounded};
use bytes::Bytes;
use millpond::Event;
use millpond_flow::base::limits::SPOOL_BLOB_BYTES_MAX;
use millpond_flow::settings::{SettingError, SettingsReader};

/// Whole files, in pieces of at most `bytes_max` bytes.
pub(super) struct BlobDeserializer {
    bytes_max: usize,
}

impl BlobDeserializer {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max }
    }
}

pub(super) fn bytes_max(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    bounded(reader, "deserializer.maxBlobLength", 100_000_000, SPOOL_BLOB_BYTES_MAX)
}

impl Deserializer for BlobDeserializer {
    fn next(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<Event>, DeserializeError> {
        // Of a growing file only full pieces are returned.
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
