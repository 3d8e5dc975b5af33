//! Spool files: events as they are, until a Parquet file is made of them.
//!
//! A spool file begins with eight bytes that name the format, eight random ones (its *mark*), and a frame with the
//! settings of the Parquet file, as JSON. After that each batch is one or more frames, and a frame without a byte ends a
//! file that was closed in order. A frame is the mark, the length of what follows in four bytes, its CRC-32 with that
//! length, and the events: each has the number of its headers, their names and values, and the body, every one after
//! its length in four bytes. All numbers are little-endian.

use super::settings::ParquetSettings;
use crate::format::{FileFormat, FormatError};
use millpond::Event;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Names the format and its version.
pub(super) const MAGIC: &[u8; 8] = b"MPPQSPL1";
/// Bytes before the payload of a frame.
pub(super) const FRAME_HEADER_BYTES: usize = 16;
/// Bytes of events after which a frame ends.
const FRAME_BYTES: usize = 4 << 20;
/// Bytes of a frame: an event that is larger is refused.
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 30;

/// Writes a spool file.
pub(crate) struct SpoolFormat {
    settings: ParquetSettings,
    mark: [u8; 8],
}

impl SpoolFormat {
    pub(crate) fn new(settings: ParquetSettings) -> Self {
        let mark = RandomState::new().build_hasher().finish().to_le_bytes();
        Self { settings, mark }
    }

    fn put_frame(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let too_long = FormatError::BodyTooLong { bytes: payload.len() };
        if payload.len() > BATCH_BYTES_MAX {
            return Err(too_long);
        }
        let length = u32::try_from(payload.len()).map_err(|_| too_long)?.to_le_bytes();
        out.extend_from_slice(&self.mark);
        out.extend_from_slice(&length);
        out.extend_from_slice(&checksum(length, payload).to_le_bytes());
        out.extend_from_slice(payload);
        Ok(())
    }
}

/// Returns the checksum of a frame.
pub(super) fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

impl FileFormat for SpoolFormat {
    fn begin(&mut self, _: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let settings = serde_json::json!({
            "schema": self.settings.text,
            "ofEvent": self.settings.of_event,
            "compression": self.settings.codec.name(),
            "rowGroupBytes": self.settings.row_group_bytes,
        });
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.mark);
        self.put_frame(settings.to_string().as_bytes(), out)
    }

    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut payload = Vec::new();
        for event in events {
            put_event(event, &mut payload)?;
            if payload.len() >= FRAME_BYTES {
                self.put_frame(&payload, out)?;
                payload.clear();
            }
        }
        if payload.is_empty() { Ok(()) } else { self.put_frame(&payload, out) }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.put_frame(&[], out)
    }
}

fn put_event(event: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let too_long = FormatError::BodyTooLong { bytes: event.size_bytes() };
    let mut put = |bytes: Option<&[u8]>, count: usize| {
        let count = u32::try_from(count).map_err(|_| too_long.clone())?;
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(bytes.unwrap_or_default());
        Ok::<(), FormatError>(())
    };
    put(None, event.headers.len())?;
    for (name, value) in event.headers.iter() {
        put(Some(name.as_bytes()), name.len())?;
        put(Some(value.as_bytes()), value.len())?;
    }
    put(Some(&event.body), event.body.len())
}
