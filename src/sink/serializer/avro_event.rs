//! `AVRO_EVENT`: an Avro object container file of events.
//!
//! The file is a header (magic, metadata with the schema, a sync marker of 16 bytes) and blocks,
//! each a count, a length, the events and the marker again. A block holds one batch, or a part of
//! it that passed the sync interval. See the Avro specification, "Object Container Files".

use super::Serializer;
use crate::config::settings::{SettingError, SettingsReader, Severity};
use crate::event::Event;
use std::io::{self, Write};

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;
const MAGIC: &[u8] = b"Obj\x01";
const CODECS_REFUSED: [&str; 5] = ["deflate", "snappy", "bzip2", "xz", "zstandard"];

/// An Avro container of `{headers, body}` records.
pub(super) struct AvroEvent {
    block_bytes: usize,
    /// Another for each file, so that no block of one file passes for one of another.
    marker: [u8; 16],
}

impl AvroEvent {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str) -> Result<Self, SettingError> {
        let codec_key = format!("{key}.compressionCodec");
        let codec = reader.text(&codec_key).unwrap_or("null");
        if CODECS_REFUSED.contains(&codec) {
            let message = format!("\"{codec}\" is not supported yet; leave it out or set null");
            return Err(reader.error(&codec_key, message));
        }
        if codec != "null" {
            let message = format!("\"{codec}\" is no codec of Avro; files are not compressed");
            reader.find(Severity::Warning, &codec_key, message);
        }
        let block_bytes =
            reader.number(&format!("{key}.syncIntervalBytes"), 32..=1 << 30)?.unwrap_or(2_048_000);
        Ok(Self { block_bytes, marker: [0; 16] })
    }
}

impl Serializer for AvroEvent {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.marker = fresh_marker()?;
        let mut header = MAGIC.to_vec();
        put_long(&mut header, 2);
        put_bytes(&mut header, b"avro.schema");
        put_bytes(&mut header, SCHEMA.as_bytes());
        put_bytes(&mut header, b"avro.codec");
        put_bytes(&mut header, b"null");
        put_long(&mut header, 0);
        header.extend_from_slice(&self.marker);
        out.write_all(&header)
    }

    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()> {
        let (mut block, mut events) = (Vec::new(), 0);
        for (i, event) in batch.iter().enumerate() {
            put_event(&mut block, event);
            events += 1;
            if block.len() >= self.block_bytes || i + 1 == batch.len() {
                let mut head = Vec::with_capacity(20);
                put_long(&mut head, events);
                put_long(&mut head, block.len());
                out.write_all(&head)?;
                out.write_all(&block)?;
                out.write_all(&self.marker)?;
                block.clear();
                events = 0;
            }
        }
        Ok(())
    }

    /// Each makes a block of its own, with its count, length and marker.
    fn prefers_large_batches(&self) -> bool {
        true
    }
}

fn fresh_marker() -> io::Result<[u8; 16]> {
    let mut marker = [0; 16];
    let mut filled = 0;
    while filled < marker.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut marker[filled..], flags)?;
    }
    Ok(marker)
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    if !event.headers.is_empty() {
        put_long(out, event.headers.len());
        for (name, value) in event.headers.iter() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_long(out, 0);
    put_bytes(out, &event.body);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A count or length: zigzag, then seven bits a byte, the lowest first.
fn put_long(out: &mut Vec<u8>, number: usize) {
    let mut rest = (number as u64) << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
pub(crate) mod reading {
    //! A reader of such files that shares no code with the writer.

    /// Headers and body.
    pub(crate) type Read = (Vec<(String, String)>, Vec<u8>);

    /// `(headers, body)` of each event of each block. Panics on anything illegal.
    pub(crate) fn blocks(file: &[u8]) -> Vec<Vec<Read>> {
        let mut at = Cursor(file);
        assert_eq!(at.take(4), b"Obj\x01");
        let meta = at.map();
        assert_eq!(meta[0].0, "avro.schema");
        assert_eq!(meta[1], ("avro.codec".to_owned(), "null".to_owned()));
        let marker = at.take(16).to_vec();
        let mut blocks = Vec::new();
        while !at.0.is_empty() {
            let (count, bytes) = (at.long(), at.long());
            let mut block = Cursor(at.take(bytes as usize));
            let events = (0..count).map(|_| (block.map(), block.bytes().to_vec())).collect();
            assert!(block.0.is_empty(), "the block is longer than its events");
            assert_eq!(at.take(16), marker);
            blocks.push(events);
        }
        blocks
    }

    struct Cursor<'a>(&'a [u8]);

    impl<'a> Cursor<'a> {
        fn take(&mut self, n: usize) -> &'a [u8] {
            let (taken, rest) = self.0.split_at(n);
            self.0 = rest;
            taken
        }

        fn long(&mut self) -> i64 {
            let (mut shift, mut raw) = (0, 0u64);
            loop {
                let byte = self.take(1)[0];
                raw |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return (raw >> 1) as i64 ^ -((raw & 1) as i64);
                }
            }
        }

        fn bytes(&mut self) -> &'a [u8] {
            let n = self.long();
            self.take(n as usize)
        }

        fn text(&mut self) -> String {
            String::from_utf8(self.bytes().to_vec()).unwrap()
        }

        fn map(&mut self) -> Vec<(String, String)> {
            let mut map = Vec::new();
            loop {
                match self.long() {
                    0 => return map,
                    n => map.extend((0..n).map(|_| (self.text(), self.text()))),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    fn serializer(pairs: &[(&str, &str)]) -> Result<AvroEvent, SettingError> {
        let settings = Settings::from_pairs("k1", pairs);
        AvroEvent::build(&mut SettingsReader::new(&settings), "s")
    }

    fn events() -> Vec<Event> {
        let mut second = Event::new(vec![7; 300]);
        second.headers = [("k", "v"), ("日", "志")].into_iter().collect();
        vec![Event::new("hello"), second, Event::new("")]
    }

    fn written(serializer: &mut AvroEvent, batches: &[&[Event]]) -> Vec<u8> {
        let mut out = Vec::new();
        serializer.begin(&mut out).unwrap();
        for batch in batches {
            serializer.write(batch, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn the_file_begins_as_flumes_does() {
        let mut serializer = serializer(&[]).unwrap();
        let file = written(&mut serializer, &[]);
        let mut start = b"Obj\x01\x04\x16avro.schema".to_vec();
        // 133 bytes of schema: zigzag 266.
        start.extend_from_slice(&[0x8A, 0x02]);
        assert_eq!(SCHEMA.len(), 133);
        start.extend_from_slice(SCHEMA.as_bytes());
        start.extend_from_slice(b"\x14avro.codec\x08null\x00");
        assert_eq!(file[..start.len()], start);
        assert_eq!(file.len(), start.len() + 16);
    }

    #[test]
    fn an_event_is_encoded_as_the_specification_says() {
        let mut out = Vec::new();
        let mut event = Event::new("hi");
        event.headers.set("k", "v");
        put_event(&mut out, &event);
        assert_eq!(out, b"\x02\x02k\x02v\x00\x04hi");
        out.clear();
        put_event(&mut out, &Event::default());
        assert_eq!(out, b"\x00\x00");
    }

    #[test]
    fn each_batch_is_a_block_of_its_own() {
        let batch = events();
        let file = written(&mut serializer(&[]).unwrap(), &[&batch[..2], &batch[2..]]);
        let blocks = reading::blocks(&file);
        assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        for (event, (headers, body)) in batch.iter().zip(blocks.iter().flatten()) {
            assert_eq!(&event.body[..], body);
            assert_eq!(event.headers, headers.iter().cloned().collect());
        }
    }

    #[test]
    fn a_block_ends_behind_the_sync_interval() {
        let batch = events();
        let mut serializer = serializer(&[("s.syncIntervalBytes", "64")]).unwrap();
        let blocks = reading::blocks(&written(&mut serializer, &[&batch]));
        assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn each_file_has_its_own_marker() {
        let mut serializer = serializer(&[]).unwrap();
        let (a, b) = (written(&mut serializer, &[]), written(&mut serializer, &[]));
        assert_ne!(a[a.len() - 16..], b[b.len() - 16..]);
    }

    #[test]
    fn compression_is_refused_and_an_unknown_codec_is_none() {
        assert!(serializer(&[("s.compressionCodec", "deflate")]).is_err());
        assert!(serializer(&[("s.compressionCodec", "null")]).is_ok());
        assert!(serializer(&[("s.compressionCodec", "nonsense")]).is_ok());
    }
}
