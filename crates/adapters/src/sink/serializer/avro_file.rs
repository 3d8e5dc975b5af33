//! Common parts of Avro container files: the codec, the blocks, the marker.
//!
//! A block contains one batch, or the part of it up to the sync interval.

use crate::wire::avro::codec::AvroCodec;
use crate::wire::avro::container::{self, MARKER_BYTES};
use millpond::Event;
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::io::{self, Write};

/// Writes consecutive container files.
pub(super) struct AvroFile {
    block_bytes: usize,
    codec: AvroCodec,
    /// Different for each file, so that no block of one file is taken for one of another.
    marker: [u8; MARKER_BYTES],
}

impl AvroFile {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str) -> Result<Self, SettingError> {
        let codec = read_codec(reader, &format!("{key}.compressionCodec"));
        let block_bytes =
            reader.number(&format!("{key}.syncIntervalBytes"), 32..=1 << 30)?.unwrap_or(2_048_000);
        Ok(Self { block_bytes, codec, marker: [0; MARKER_BYTES] })
    }

    /// Writes a file's header.
    pub(super) fn begin(&mut self, schema: &str, out: &mut dyn Write) -> io::Result<()> {
        self.marker = fresh_marker()?;
        let mut header = Vec::new();
        container::put_header(&mut header, schema, self.codec, &self.marker);
        out.write_all(&header)
    }

    /// Writes `batch`; `put` appends an event to a block.
    pub(super) fn write(
        &mut self,
        batch: &[Event],
        put: fn(&mut Vec<u8>, &Event),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (mut block, mut events) = (Vec::new(), 0);
        for (i, event) in batch.iter().enumerate() {
            put(&mut block, event);
            events += 1;
            if block.len() >= self.block_bytes || i + 1 == batch.len() {
                container::write_block(out, events, &block, self.codec, &self.marker)?;
                block.clear();
                events = 0;
            }
        }
        Ok(())
    }
}

/// Reads the codec. As in Flume, an unknown name leaves files uncompressed.
fn read_codec(reader: &mut SettingsReader<'_>, key: &str) -> AvroCodec {
    let name = reader.text(key).unwrap_or("null");
    AvroCodec::named(name).unwrap_or_else(|| {
        let message = format!(
            "\"{name}\" is not a codec of Avro, which are {}; files are not compressed",
            AvroCodec::NAMES
        );
        reader.find(Severity::Warning, key, message);
        AvroCodec::Null
    })
}

fn fresh_marker() -> io::Result<[u8; MARKER_BYTES]> {
    let mut marker = [0; MARKER_BYTES];
    let mut filled = 0;
    while filled < marker.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut marker[filled..], flags)?;
    }
    Ok(marker)
}
