//! SequenceFile of Hadoop, version 6: uncompressed, with each value compressed, or in compressed blocks.
//!
//! A file begins with `SEQ`, the version, the classes of keys and values, whether values and whether blocks are
//! compressed, the codec's class if so, an empty map of metadata and a random marker of 16 bytes. A record is its
//! length, the length of its key, key and value. A length of -1 precedes the marker again; readers that begin in the
//! middle look for it. A block is such a marker, the number of records, and four compressed buffers with their
//! lengths: lengths of keys, keys, lengths of values, values.
//!
//! Each batch ends a block, or ends with a marker; within one a marker comes every [`MARKER_INTERVAL_BYTES`].

use super::codec::Codec;
use super::{FileFormat, FormatError};
use millpond::{Clock, Event, SystemClock};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Keys and values after which a block ends; Hadoop's `io.seqfile.compress.blocksize`.
pub(super) const BLOCK_BYTES: usize = 1_000_000;

/// Most bytes between two markers, except within a record. Hadoop's is the same.
const MARKER_INTERVAL_BYTES: usize = 100 * 1024;

/// A key (8 bytes) and the longest prefix of a value (5 bytes) on top of a body.
const RECORD_OVERHEAD_BYTES: usize = 13;
const KEY_CLASS: &str = "org.apache.hadoop.io.LongWritable";
const KEY_BYTES: u32 = 8;
const MARKER_BYTES: usize = 16;

/// The class of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueClass {
    /// `BytesWritable`: the length in four bytes, the body.
    Bytes,
    /// `Text`: the length as Hadoop's variable number, the body.
    Text,
}

/// What is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Nothing,
    /// Each value.
    Records(Codec),
    /// Keys and values of many records.
    Blocks(Codec),
}

impl Compression {
    pub(super) fn codec(self) -> Option<Codec> {
        match self {
            Self::Nothing => None,
            Self::Records(codec) | Self::Blocks(codec) => Some(codec),
        }
    }
}

/// Writes each event as a record: the time of its `timestamp` header, or of the clock, and its body.
pub(super) struct SequenceFile {
    value_class: ValueClass,
    compression: Compression,
    pub(super) marker: [u8; MARKER_BYTES],
    clock: SystemClock,
}

/// The records of a block.
#[derive(Default)]
struct Block {
    records: u32,
    key_lengths: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u8>,
    values: Vec<u8>,
}

impl SequenceFile {
    pub(super) fn new(value_class: ValueClass, compression: Compression) -> Self {
        let random = || RandomState::new().build_hasher().finish().to_be_bytes();
        let mut marker = [0; MARKER_BYTES];
        marker[..8].copy_from_slice(&random());
        marker[8..].copy_from_slice(&random());
        Self { value_class, compression, marker, clock: SystemClock::new() }
    }

    fn key(&self, event: &Event) -> [u8; KEY_BYTES as usize] {
        let time = event.headers.get("timestamp").and_then(|text| text.parse::<i64>().ok());
        let now = || i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        time.unwrap_or_else(now).to_be_bytes()
    }

    /// Appends the value of `event`, uncompressed; returns its bytes.
    fn put_value(&self, event: &Event, out: &mut Vec<u8>) -> Result<u32, FormatError> {
        let (body, before) = (&event.body, out.len());
        let too_long = FormatError::BodyTooLong { bytes: body.len() };
        if body.len() > i32::MAX as usize - RECORD_OVERHEAD_BYTES {
            return Err(too_long);
        }
        let length = u32::try_from(body.len()).map_err(|_| too_long.clone())?;
        match self.value_class {
            ValueClass::Bytes => out.extend_from_slice(&length.to_be_bytes()),
            ValueClass::Text => put_variable(length, out),
        }
        out.extend_from_slice(body);
        u32::try_from(out.len() - before).map_err(|_| too_long)
    }

    fn put_record(
        &self,
        event: &Event,
        codec: Option<Codec>,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&KEY_BYTES.to_be_bytes());
        out.extend_from_slice(&self.key(event));
        match codec {
            None => {
                self.put_value(event, out)?;
            }
            Some(codec) => {
                let mut value = Vec::with_capacity(event.body.len() + 5);
                self.put_value(event, &mut value)?;
                pack(codec, &value, out)?;
            }
        }
        // The record's length counts the key and the value, not the two lengths.
        let length = i32::try_from(out.len() - start - 8)
            .map_err(|_| FormatError::BodyTooLong { bytes: event.body.len() })?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn put_marker(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&self.marker);
    }

    fn put_records(
        &self,
        events: &[Event],
        codec: Option<Codec>,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let mut since = out.len();
        for event in events {
            if out.len() - since >= MARKER_INTERVAL_BYTES {
                self.put_marker(out);
                since = out.len();
            }
            self.put_record(event, codec, out)?;
        }
        self.put_marker(out);
        Ok(())
    }

    fn put_blocks(
        &self,
        events: &[Event],
        codec: Codec,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let mut block = Block::default();
        for event in events {
            block.records += 1;
            put_variable(KEY_BYTES, &mut block.key_lengths);
            block.keys.extend_from_slice(&self.key(event));
            let length = self.put_value(event, &mut block.values)?;
            put_variable(length, &mut block.value_lengths);
            if block.keys.len() + block.values.len() >= BLOCK_BYTES {
                self.put_block(std::mem::take(&mut block), codec, out)?;
            }
        }
        if block.records > 0 {
            self.put_block(block, codec, out)?;
        }
        Ok(())
    }

    fn put_block(&self, block: Block, codec: Codec, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.put_marker(out);
        put_variable(block.records, out);
        for buffer in [block.key_lengths, block.keys, block.value_lengths, block.values] {
            let mut packed = Vec::new();
            pack(codec, &buffer, &mut packed)?;
            let length = i32::try_from(packed.len())
                .map_err(|_| FormatError::BodyTooLong { bytes: buffer.len() })?;
            put_variable(length.unsigned_abs(), out);
            out.extend_from_slice(&packed);
        }
        Ok(())
    }
}

fn pack(codec: Codec, data: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let packed = codec.compress(|writer| writer.write_all(data), out);
    packed.map_err(FormatError::encode(codec.name()))
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("names of classes are short");
    put_variable(length, out);
    out.extend_from_slice(text.as_bytes());
}

impl FileFormat for SequenceFile {
    fn begin(&mut self, _: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(b"SEQ\x06");
        put_text(KEY_CLASS, out);
        let value_class = match self.value_class {
            ValueClass::Bytes => "org.apache.hadoop.io.BytesWritable",
            ValueClass::Text => "org.apache.hadoop.io.Text",
        };
        put_text(value_class, out);
        let codec = self.compression.codec();
        out.push(u8::from(codec.is_some()));
        out.push(u8::from(matches!(self.compression, Compression::Blocks(_))));
        if let Some(codec) = codec {
            put_text(&codec.class_path(), out);
        }
        // No metadata.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.marker);
        Ok(())
    }

    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError> {
        match self.compression {
            Compression::Nothing => self.put_records(events, None, out),
            Compression::Records(codec) => self.put_records(events, Some(codec), out),
            Compression::Blocks(codec) => self.put_blocks(events, codec, out),
        }
    }
}

/// Adds `number` as `WritableUtils.writeVInt` does: one byte up to 127, else a byte that has the number of bytes.
fn put_variable(number: u32, out: &mut Vec<u8>) {
    if number <= 127 {
        out.push(number.to_be_bytes()[3]);
        return;
    }
    let bytes = number.to_be_bytes();
    let skipped = usize::try_from(number.leading_zeros() / 8).unwrap_or(0);
    let count = u8::try_from(4 - skipped).unwrap_or(4);
    // -113 for one byte, -114 for two, and so on.
    out.push(0x90 - count);
    out.extend_from_slice(&bytes[skipped..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_numbers_are_those_of_hadoop() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x8f, 0x80]),
            (255, &[0x8f, 0xff]),
            (256, &[0x8e, 1, 0]),
            (70_000, &[0x8d, 1, 0x11, 0x70]),
            (20_000_000, &[0x8c, 1, 0x31, 0x2d, 0]),
        ] {
            let mut out = Vec::new();
            put_variable(number, &mut out);
            assert_eq!(out, bytes, "{number}");
        }
    }
}
