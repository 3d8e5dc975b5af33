//! SequenceFile of Hadoop, version 6, without compression.
//!
//! A file begins with `SEQ`, the version, the classes of keys and values, two zero bytes (no compression), an empty
//! map of metadata and a random marker of 16 bytes. A record is its length, the length of its key, key and value. A
//! length of -1 precedes the marker again; readers that begin in the middle look for it. Each batch ends with one.

use super::{FileFormat, FormatError};
use millpond::{Clock, Event, SystemClock};
use std::hash::{BuildHasher, Hasher, RandomState};

/// A key (8 bytes) and the longest prefix of a value (5 bytes) on top of a body.
const RECORD_OVERHEAD_BYTES: usize = 13;
const KEY_CLASS: &str = "org.apache.hadoop.io.LongWritable";
const KEY_BYTES: u32 = 8;

/// The class of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueClass {
    /// `BytesWritable`: the length in four bytes, the body.
    Bytes,
    /// `Text`: the length as Hadoop's variable number, the body.
    Text,
}

/// Writes each event as a record: the time of its `timestamp` header, or of the clock, and its body.
pub(super) struct SequenceFile {
    value_class: ValueClass,
    marker: [u8; 16],
    clock: SystemClock,
}

impl SequenceFile {
    pub(super) fn new(value_class: ValueClass) -> Self {
        let random = || RandomState::new().build_hasher().finish().to_be_bytes();
        let mut marker = [0; 16];
        marker[..8].copy_from_slice(&random());
        marker[8..].copy_from_slice(&random());
        Self { value_class, marker, clock: SystemClock::new() }
    }

    fn put_record(&self, event: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let body = &event.body;
        let too_long = FormatError::BodyTooLong { bytes: body.len() };
        let most = i32::MAX as usize - RECORD_OVERHEAD_BYTES;
        if body.len() > most {
            return Err(too_long);
        }
        let length = u32::try_from(body.len()).map_err(|_| too_long)?;
        let mut prefix = Vec::with_capacity(5);
        match self.value_class {
            ValueClass::Bytes => prefix.extend_from_slice(&length.to_be_bytes()),
            ValueClass::Text => put_variable(length, &mut prefix),
        }
        let time = event.headers.get("timestamp").and_then(|text| text.parse::<i64>().ok());
        let now = || i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let prefix_bytes = u32::from(u8::try_from(prefix.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&(KEY_BYTES + prefix_bytes + length).to_be_bytes());
        out.extend_from_slice(&KEY_BYTES.to_be_bytes());
        out.extend_from_slice(&time.unwrap_or_else(now).to_be_bytes());
        out.extend_from_slice(&prefix);
        out.extend_from_slice(body);
        Ok(())
    }
}

impl FileFormat for SequenceFile {
    fn begin(&mut self, _: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(b"SEQ\x06");
        let value_class = match self.value_class {
            ValueClass::Bytes => "org.apache.hadoop.io.BytesWritable",
            ValueClass::Text => "org.apache.hadoop.io.Text",
        };
        for class in [KEY_CLASS, value_class] {
            out.push(u8::try_from(class.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(class.as_bytes());
        }
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.marker);
        Ok(())
    }

    fn append_batch(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), FormatError> {
        for event in events {
            self.put_record(event, out)?;
        }
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&self.marker);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
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

    #[test]
    fn a_file_has_header_records_and_markers() {
        let mut format = SequenceFile::new(ValueClass::Text);
        let mut event = Event::new("ab");
        event.headers.set("timestamp", "258");
        let mut out = Vec::new();
        format.begin(&event, &mut out).unwrap();
        let marker = format.marker;
        assert!(out.starts_with(b"SEQ\x06\x21org.apache.hadoop.io.LongWritable\x19org.apache.hadoop.io.Text\0\0\0\0\0\0"));
        assert!(out.ends_with(&marker));
        out.clear();
        format.append_batch(&[event], &mut out).unwrap();
        let mut expected = vec![0, 0, 0, 11, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2, 2, b'a', b'b'];
        expected.extend_from_slice(&[255; 4]);
        expected.extend_from_slice(&marker);
        assert_eq!(out, expected);
    }
}
