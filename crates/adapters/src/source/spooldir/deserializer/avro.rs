//! `AVRO`: each datum of an Avro container file is an event, byte for byte; a header holds the schema or its
//! fingerprint.
//!
//! A position in such a file is the start of a block and a number of data after it.

use super::deserialize::{DeserializeError, Deserializer, SpooledInput};
use crate::source::file_reading::FileOffset;
use crate::wire::avro::AvroError;
use crate::wire::avro::codec::AvroCodec;
use crate::wire::avro::container::{MAGIC, MARKER_BYTES};
use crate::wire::avro::schema::{AvroSchema, DecodeBudget, without_blanks};
use crate::wire::avro::values::AvroReader;
use bytes::Bytes;
use millpond::Event;
use millpond_flow::base::limits::{
    AVRO_BLOCK_BYTES_MAX, AVRO_DATA_WITHOUT_BYTES_MAX, AVRO_HEADER_BYTES_MAX,
};
use millpond_flow::settings::{SettingError, SettingsReader};

const LONGER: &str = "a block is longer than its data";

/// The form of the schema header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SchemaType {
    /// The fingerprint in hexadecimal.
    Hash,
    /// The schema itself.
    Literal,
}

impl SchemaType {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let word = reader.word("deserializer.schemaType", &["HASH", "LITERAL"])?;
        Ok(if word == Some("LITERAL") { Self::Literal } else { Self::Hash })
    }
}

/// The data of one container file.
pub(super) struct AvroContainer {
    schema_type: SchemaType,
    /// The start position, until the header was read.
    from: Option<FileOffset>,
    header: Option<ContainerHeader>,
    block: ContainerBlock,
}

struct ContainerHeader {
    schema: AvroSchema,
    codec: AvroCodec,
    sync: [u8; MARKER_BYTES],
    /// The name of the schema header.
    key: &'static str,
    value: String,
}

/// The block being read.
struct ContainerBlock {
    bytes: Bytes,
    /// Offsets of its start and of the next block.
    begin: u64,
    next: u64,
    count: u64,
    done: u64,
    steps: DecodeBudget,
}

impl Default for ContainerBlock {
    fn default() -> Self {
        let (begin, next, count, done) = (0, 0, 0, 0);
        Self { bytes: Bytes::new(), begin, next, count, done, steps: DecodeBudget::for_bytes(0) }
    }
}

impl AvroContainer {
    pub(super) fn new(schema_type: SchemaType, from: FileOffset) -> Self {
        Self { schema_type, from: Some(from), header: None, block: ContainerBlock::default() }
    }

    /// Reads the header, and moves to the start position; false when the file does not contain all of that yet.
    fn begin(
        &mut self,
        input: &mut dyn SpooledInput,
        from: FileOffset,
        whole: bool,
    ) -> Result<bool, DeserializeError> {
        input.seek(0);
        // Reads in growing steps: few headers have more than some kilobytes.
        let mut wanted = 4096;
        let (header, len) = loop {
            let there = input.has(wanted)?;
            match header(input.unused(), self.schema_type) {
                Err(AvroError::Short(_)) if there && wanted < AVRO_HEADER_BYTES_MAX => wanted *= 2,
                Err(AvroError::Short(_)) if !there && !whole => return Ok(false),
                Err(error) => return Err(unlike(0, &error.to_string())),
                Ok(None) => {
                    return Err(unlike(
                        0,
                        "it does not begin as one, or its schema cannot be read, or its codec is none of null, deflate, snappy, bzip2, xz and zstandard",
                    ));
                }
                Ok(Some(found)) => break found,
            }
        };
        self.header = Some(header);
        input.seek(from.offset.max(len as u64));
        self.block.next = input.offset();
        for _ in 0..from.skip {
            self.datum(input, whole)?;
        }
        Ok(true)
    }

    /// Returns the bytes of the next datum.
    fn datum(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<Bytes>, DeserializeError> {
        while self.block.done == self.block.count {
            if !self.next_block(input, whole)? {
                return Ok(None);
            }
        }
        let Some(header) = &self.header else { return Ok(None) };
        let mut values = AvroReader::new(&self.block.bytes);
        let skipped = header.schema.skip(&mut values, &mut self.block.steps);
        skipped.map_err(|error| unlike(self.block.begin, &error.to_string()))?;
        let len = self.block.bytes.len() - values.rest().len();
        // Checked before the last datum is returned: a reader that resumes after it starts in the next block.
        if self.block.done + 1 == self.block.count && !values.rest().is_empty() {
            return Err(unlike(self.block.begin, LONGER));
        }
        self.block.done += 1;
        Ok(Some(self.block.bytes.split_to(len)))
    }

    fn next_block(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<bool, DeserializeError> {
        let Some(header) = &self.header else { return Ok(false) };
        let begin = input.offset();
        let bad = |what: &str| unlike(begin, what);
        if !input.has(1)? {
            return Ok(false);
        }
        // Two numbers of ten bytes at most; a growing file may not contain them yet.
        if !input.has(20)? && !whole {
            return Ok(false);
        }
        let mut values = AvroReader::new(input.unused());
        let number = |number: Result<i64, AvroError>| {
            number
                .ok()
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| bad("a block does not begin as one"))
        };
        let (count, len) = (number(values.long("a count"))?, number(values.long("a length"))?);
        let head = input.unused().len() - values.rest().len();
        let len = usize::try_from(len).ok().filter(|len| *len <= AVRO_BLOCK_BYTES_MAX);
        let len = len.ok_or_else(|| bad("a block is larger than can be read"))?;
        let size = head + len + MARKER_BYTES;
        if !input.has(size)? {
            return if whole { Err(bad("it ends within a block")) } else { Ok(false) };
        }
        let block = &input.unused()[..size];
        if block[head + len..] != header.sync {
            return Err(bad("a block does not end with the file's marker"));
        }
        let packed = &block[head..head + len];
        let data = header.codec.unpack(packed, AVRO_BLOCK_BYTES_MAX);
        let bytes = Bytes::from(data.map_err(|error| bad(&error.to_string()))?.into_owned());
        // The count of data without bytes is otherwise unlimited.
        if count > bytes.len() as u64 + AVRO_DATA_WITHOUT_BYTES_MAX {
            return Err(bad("a block has more data than bytes"));
        }
        if count == 0 && !bytes.is_empty() {
            return Err(bad(LONGER));
        }
        input.skip(size);
        let steps = DecodeBudget::for_bytes(bytes.len());
        self.block = ContainerBlock { bytes, begin, next: input.offset(), count, done: 0, steps };
        Ok(true)
    }
}

impl Deserializer for AvroContainer {
    fn next(
        &mut self,
        input: &mut dyn SpooledInput,
        whole: bool,
    ) -> Result<Option<Event>, DeserializeError> {
        if let Some(from) = self.from {
            if !self.begin(input, from, whole)? {
                return Ok(None);
            }
            self.from = None;
        }
        let Some(body) = self.datum(input, whole)? else { return Ok(None) };
        let Some(header) = &self.header else { return Ok(None) };
        let mut event = Event::new(body);
        event.headers.set(header.key, header.value.as_str());
        Ok(Some(event))
    }

    fn point(&self, _input: &dyn SpooledInput) -> FileOffset {
        match self.from {
            Some(from) => from,
            None if self.block.done == self.block.count => FileOffset::at(self.block.next),
            None => FileOffset { offset: self.block.begin, skip: self.block.done },
        }
    }
}

fn unlike(offset: u64, what: &str) -> DeserializeError {
    DeserializeError::NoContainer { offset, what: what.to_owned() }
}

/// Returns the header of a file and its length; `None` when it is invalid.
fn header(
    start: &[u8],
    schema_type: SchemaType,
) -> Result<Option<(ContainerHeader, usize)>, AvroError> {
    if start.len() < MAGIC.len() && MAGIC.starts_with(start) {
        return Err(AvroError::Short("the header"));
    }
    let Some(rest) = start.strip_prefix(MAGIC) else { return Ok(None) };
    let mut values = AvroReader::new(rest);
    let (mut text, mut codec) = (None, AvroCodec::Null);
    loop {
        let number = values.long("the metadata")?;
        if number == 0 {
            break;
        }
        if number < 0 {
            values.long("the metadata")?;
        }
        for _ in 0..number.unsigned_abs() {
            let key = values.bytes("the metadata")?;
            let value = values.bytes("the metadata")?;
            match (key, value) {
                (b"avro.schema", schema) => text = std::str::from_utf8(schema).ok(),
                (b"avro.codec", name) => {
                    let known = std::str::from_utf8(name).ok().and_then(AvroCodec::named);
                    let Some(known) = known else { return Ok(None) };
                    codec = known;
                }
                _ => {}
            }
        }
    }
    let marker = values.take(MARKER_BYTES, "the marker")?;
    let Some((text, schema)) = text.and_then(|text| Some((text, AvroSchema::parse(text).ok()?)))
    else {
        return Ok(None);
    };
    let mut sync = [0; MARKER_BYTES];
    sync.copy_from_slice(marker);
    let (key, value) = match schema_type {
        SchemaType::Hash => {
            let hex = schema.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
            ("flume.avro.schema.hash", hex)
        }
        SchemaType::Literal => ("flume.avro.schema.literal", without_blanks(text)),
    };
    let len = start.len() - values.rest().len();
    Ok(Some((ContainerHeader { schema, codec, sync, key, value }, len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::file_reading::buffered_file::BufferedFile;
    use crate::wire::avro::container;
    use crate::wire::avro::values::put_long;
    use std::io;
    use std::os::unix::fs::FileExt;

    struct FixedBytes(Vec<u8>);

    impl FileExt for FixedBytes {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(out.len()).min(100);
            out[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!("nothing is written")
        }
    }

    const SCHEMA: &str = r#"{"type" : "record", "name":"R","namespace":"x.y","doc":"d", "fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"],"default":null}]}"#;

    /// Returns a file of two blocks, as given to a Flume 1.11.
    fn file() -> Vec<u8> {
        packed(AvroCodec::Null)
    }

    fn packed(codec: AvroCodec) -> Vec<u8> {
        let (mut out, marker) = (Vec::new(), [7; MARKER_BYTES]);
        container::put_header(&mut out, SCHEMA, codec, &marker);
        for data in [&[&b"\x02\x00"[..], b"\x0d\x02\x04hi"][..], &[b"\xd8\x04\x00"]] {
            container::write_block(&mut out, data.len(), &data.concat(), codec, &marker).unwrap();
        }
        out
    }

    type Read = (Vec<(Event, FileOffset)>, Option<String>);

    fn read(bytes: Vec<u8>, schema_type: SchemaType, from: FileOffset, whole: bool) -> Read {
        let mut input = BufferedFile::new(FixedBytes(bytes), from.offset);
        let mut container = AvroContainer::new(schema_type, from);
        let mut out = Vec::new();
        loop {
            match container.next(&mut input, whole) {
                Ok(Some(event)) => out.push((event, container.point(&input))),
                Ok(None) => return (out, None),
                Err(error) => return (out, Some(error.to_string())),
            }
        }
    }

    /// The headers are those that Flume 1.11 sets for this file.
    #[test]
    fn each_datum_is_an_event_with_flumes_headers() {
        let (events, error) = read(file(), SchemaType::Hash, FileOffset::default(), true);
        assert_eq!(error, None);
        let bodies: Vec<&[u8]> = events.iter().map(|(event, _)| &event.body[..]).collect();
        assert_eq!(bodies, [&b"\x02\x00"[..], b"\x0d\x02\x04hi", b"\xd8\x04\x00"]);
        let hash = events[2].0.headers.get("flume.avro.schema.hash");
        assert_eq!(hash, Some("8d3b2687b34c371c"));
        let (events, _) = read(file(), SchemaType::Literal, FileOffset::default(), true);
        let literal = r#"{"type":"record","name":"R","namespace":"x.y","doc":"d","fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"],"default":null}]}"#;
        assert_eq!(events[0].0.headers.get("flume.avro.schema.literal"), Some(literal));
    }

    #[test]
    fn reading_resumes_after_any_datum() {
        for codec in AvroCodec::ALL {
            let (all, _) = read(packed(codec), SchemaType::Hash, FileOffset::default(), true);
            assert_eq!(all.len(), 3, "{codec:?}");
            for (done, (_, from)) in all.iter().enumerate() {
                let (rest, error) = read(packed(codec), SchemaType::Hash, *from, true);
                assert_eq!((rest, error), (all[done + 1..].to_vec(), None), "after {done}");
            }
        }
    }

    #[test]
    fn a_truncated_file_is_waited_for_while_it_grows_and_refused_when_whole() {
        let bytes = file();
        for len in 0..bytes.len() {
            let (growing, error) =
                read(bytes[..len].to_vec(), SchemaType::Hash, FileOffset::default(), false);
            assert_eq!(error, None, "{len}");
            let (whole, error) =
                read(bytes[..len].to_vec(), SchemaType::Hash, FileOffset::default(), true);
            assert_eq!(whole, growing, "{len}");
            let at_a_block = [bytes.len() - 21, bytes.len() - 21 - 25].contains(&len);
            assert_eq!(error.is_none(), at_a_block, "{len}: {error:?}");
        }
    }

    #[test]
    fn an_invalid_container_and_false_block_sizes_are_refused() {
        let sound = file();
        let unknown = packed(AvroCodec::Snappy);
        let at = unknown.windows(6).position(|word| word == b"snappy").unwrap();
        let mut unknown = unknown;
        unknown[at] = b'z';
        let mut bad_marker = sound.clone();
        *bad_marker.last_mut().unwrap() ^= 1;
        for bytes in [b"no container at all".to_vec(), bad_marker, unknown] {
            let (_, error) = read(bytes, SchemaType::Hash, FileOffset::default(), true);
            assert!(error.is_some_and(|error| error.contains("Avro")));
        }
        // No changed byte makes the reader panic or loop.
        for sound in [sound, packed(AvroCodec::Deflate), packed(AvroCodec::Snappy)] {
            for at in 0..sound.len() {
                for mask in [1, 0x80, 0xff] {
                    let mut bytes = sound.clone();
                    bytes[at] ^= mask;
                    let (events, _) = read(bytes, SchemaType::Hash, FileOffset::default(), true);
                    assert!(events.len() < 1000);
                }
            }
        }
    }

    #[test]
    fn decompression_bombs_are_stopped_early() {
        let marker = [7; MARKER_BYTES];
        let bomb = |schema: &str, codec, count, data: &[u8]| {
            let mut out = Vec::new();
            container::put_header(&mut out, schema, codec, &marker);
            container::write_block(&mut out, count, data, codec, &marker).unwrap();
            read(out, SchemaType::Hash, FileOffset::default(), true)
        };
        // More data without bytes than any writer produces; and the most that is read.
        let (events, error) = bomb("\"null\"", AvroCodec::Null, 1001, b"");
        assert!(events.is_empty() && error.is_some_and(|e| e.contains("more data than bytes")));
        let (events, error) = bomb("\"null\"", AvroCodec::Null, 1000, b"");
        assert_eq!((events.len(), error), (1000, None));
        // Each of a few data contains a million values: the limit holds for the block as a whole.
        let nulls = r#"{"type":"array","items":"null"}"#;
        let mut million = Vec::new();
        put_long(&mut million, 400_000);
        put_long(&mut million, 0);
        let (events, error) = bomb(nulls, AvroCodec::Null, 5, &million.repeat(5));
        assert!(events.len() < 5 && error.is_some_and(|e| e.contains("take no bytes")));
        // Bytes that belong to no datum are detected wherever reading begins.
        for (count, whole) in [(0, 0), (1, 0), (2, 1)] {
            let (events, error) = bomb("\"int\"", AvroCodec::Null, count, b"\x02\x04\x06");
            assert!(events.len() == whole && error.is_some_and(|e| e.contains(LONGER)), "{count}");
        }
        let size = AVRO_BLOCK_BYTES_MAX + 1;
        let (events, error) = bomb("\"bytes\"", AvroCodec::Deflate, 1, &vec![0; size]);
        assert!(events.is_empty() && error.is_some_and(|e| e.contains("more than")));
    }
}
