//! `AVRO_EVENT`: an Avro object container file of events.

use super::avro_file::AvroFile;
use super::serialize::Serializer;
use crate::wire::avro::values::{put_bytes, put_count, put_long};
use millpond::Event;
use millpond_flow::settings::{SettingError, SettingsReader};
use std::io::{self, Write};

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// The serializer of an Avro container of `{headers, body}` records.
pub(super) struct AvroEvent(AvroFile);

impl AvroEvent {
    pub(super) fn build(reader: &mut SettingsReader<'_>, key: &str) -> Result<Self, SettingError> {
        AvroFile::build(reader, key).map(Self)
    }
}

impl Serializer for AvroEvent {
    fn begin(&mut self, _: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.0.begin(SCHEMA, out)
    }

    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()> {
        self.0.write(batch, put_event, out)
    }

    fn may_be_empty(&self) -> bool {
        false
    }

    /// Each batch makes a block of its own, with count, length and marker.
    fn prefers_large_batches(&self) -> bool {
        true
    }
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    if !event.headers.is_empty() {
        put_count(out, event.headers.len());
        for (name, value) in event.headers.iter() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_long(out, 0);
    put_bytes(out, &event.body);
}

#[cfg(test)]
pub(crate) mod reading {
    //! A reader of such files that shares no code with the writer.

    /// Headers and body.
    pub(crate) type Read = (Vec<(String, String)>, Vec<u8>);

    /// Returns `(headers, body)` of each event of each block. Panics on anything invalid.
    pub(crate) fn blocks(file: &[u8]) -> Vec<Vec<Read>> {
        let mut at = Cursor(file);
        assert_eq!(at.take(4), b"Obj\x01");
        let meta = at.map();
        assert_eq!(meta[0].0, "avro.schema");
        assert_eq!(meta[1].0, "avro.codec");
        let codec = meta[1].1.as_str();
        let marker = at.take(16).to_vec();
        let mut blocks = Vec::new();
        while !at.0.is_empty() {
            let (count, bytes) = (at.long(), at.long());
            let data = unpacked(codec, at.take(bytes as usize));
            let mut block = Cursor(&data);
            let events = (0..count).map(|_| (block.map(), block.bytes().to_vec())).collect();
            assert!(block.0.is_empty(), "the block is longer than its events");
            assert_eq!(at.take(16), marker);
            blocks.push(events);
        }
        blocks
    }

    fn unpacked(codec: &str, block: &[u8]) -> Vec<u8> {
        match codec {
            // Formats without a second implementation here: Flume's own jars read these files.
            "bzip2" | "xz" | "zstandard" => {
                let codec = crate::wire::avro::codec::AvroCodec::named(codec).unwrap();
                codec.unpack(block, 1 << 20).unwrap().into_owned()
            }
            "null" => block.to_vec(),
            "deflate" => {
                let mut data = Vec::new();
                let mut decoder = flate2::bufread::DeflateDecoder::new(block);
                std::io::Read::read_to_end(&mut decoder, &mut data).unwrap();
                data
            }
            "snappy" => {
                let (packed, sum) = block.split_last_chunk().unwrap();
                let data = snap::raw::Decoder::new().decompress_vec(packed).unwrap();
                assert_eq!(u32::from_be_bytes(*sum), crc32fast::hash(&data));
                data
            }
            other => panic!("{other}"),
        }
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
    use millpond_flow::settings::Settings;

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
        serializer.begin(&Event::default(), &mut out).unwrap();
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
    fn an_event_is_encoded_as_specified() {
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
    fn a_block_ends_after_the_sync_interval() {
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
    fn blocks_are_compressed_if_configured() {
        let batch: Vec<Event> = (0..100).map(|_| Event::new("the same again")).collect();
        let plain = written(&mut serializer(&[]).unwrap(), &[&batch]).len();
        for codec in ["deflate", "snappy", "bzip2", "xz", "zstandard"] {
            let mut serializer = serializer(&[("s.compressionCodec", codec)]).unwrap();
            let file = written(&mut serializer, &[&batch, &batch[..1]]);
            assert!(file.len() < plain / 2, "{codec}: {} of {plain} bytes", file.len());
            let blocks = reading::blocks(&file);
            assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [100, 1], "{codec}");
            assert!(blocks.iter().flatten().all(|(_, body)| body == b"the same again"), "{codec}");
        }
    }

    #[test]
    fn an_unknown_codec_counts_as_none_as_in_flume() {
        let file = written(&mut serializer(&[("s.compressionCodec", "nonsense")]).unwrap(), &[]);
        assert!(file.windows(10).any(|window| window == b"codec\x08null"));
    }
}
