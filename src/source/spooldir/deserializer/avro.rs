//! `AVRO`: each datum of an Avro container file is an event, as it stands there; a header has the
//! schema or its fingerprint.
//!
//! A place in such a file is the start of a block and a number of data behind it.

use super::{Deserializer, Source, Unreadable};
use crate::base::limits::{
    AVRO_BLOCK_BYTES_MAX, AVRO_DATA_WITHOUT_BYTES_MAX, AVRO_HEADER_BYTES_MAX,
};
use crate::config::settings::{SettingError, SettingsReader};
use crate::event::Event;
use crate::source::reading::Point;
use crate::source::reading::input::Input;
use crate::wire::avro::WireError;
use crate::wire::avro::codec::Codec;
use crate::wire::avro::container::{MAGIC, MARKER_BYTES};
use crate::wire::avro::schema::{Schema, Steps, without_blanks};
use crate::wire::avro::values::Values;
use bytes::Bytes;
use std::io;
use std::os::unix::fs::FileExt;

const LONGER: &str = "a block is longer than its data";

/// What an event says of its schema.
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
pub(super) struct Container {
    schema_type: SchemaType,
    /// Where to begin, until the header was read.
    from: Option<Point>,
    header: Option<Header>,
    block: Block,
}

struct Header {
    schema: Schema,
    codec: Codec,
    sync: [u8; MARKER_BYTES],
    /// The event's header.
    key: &'static str,
    value: String,
}

/// The block that is being read.
struct Block {
    bytes: Bytes,
    /// Where it begins in the file, and where the next one does.
    begin: u64,
    next: u64,
    count: u64,
    done: u64,
    steps: Steps,
}

impl Default for Block {
    fn default() -> Self {
        let (begin, next, count, done) = (0, 0, 0, 0);
        Self { bytes: Bytes::new(), begin, next, count, done, steps: Steps::for_bytes(0) }
    }
}

impl Container {
    pub(super) fn new(schema_type: SchemaType, from: Point) -> Self {
        Self { schema_type, from: Some(from), header: None, block: Block::default() }
    }

    /// Reads the header, and goes to where reading has to go on; false when not all of that is
    /// there yet.
    fn begin(
        &mut self,
        input: &mut dyn Source,
        from: Point,
        whole: bool,
    ) -> Result<bool, Unreadable> {
        input.seek(0);
        // As long as it is, no further: few have more than some kilobytes.
        let mut wanted = 4096;
        let (header, len) = loop {
            let there = input.has(wanted)?;
            match header(input.unused(), self.schema_type) {
                Err(WireError::Short(_)) if there && wanted < AVRO_HEADER_BYTES_MAX => wanted *= 2,
                Err(WireError::Short(_)) if !there && !whole => return Ok(false),
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

    /// The bytes of the next datum.
    fn datum(&mut self, input: &mut dyn Source, whole: bool) -> Result<Option<Bytes>, Unreadable> {
        while self.block.done == self.block.count {
            if !self.next_block(input, whole)? {
                return Ok(None);
            }
        }
        let Some(header) = &self.header else { return Ok(None) };
        let mut values = Values::new(&self.block.bytes);
        let skipped = header.schema.skip(&mut values, &mut self.block.steps);
        skipped.map_err(|error| unlike(self.block.begin, &error.to_string()))?;
        let len = self.block.bytes.len() - values.rest().len();
        // Before the last one is handed over: whoever goes on behind it begins in the next block.
        if self.block.done + 1 == self.block.count && !values.rest().is_empty() {
            return Err(unlike(self.block.begin, LONGER));
        }
        self.block.done += 1;
        Ok(Some(self.block.bytes.split_to(len)))
    }

    fn next_block(&mut self, input: &mut dyn Source, whole: bool) -> Result<bool, Unreadable> {
        let Some(header) = &self.header else { return Ok(false) };
        let begin = input.offset();
        let bad = |what: &str| unlike(begin, what);
        if !input.has(1)? {
            return Ok(false);
        }
        // Two numbers of ten bytes at most; a file that grows may not have them yet.
        if !input.has(20)? && !whole {
            return Ok(false);
        }
        let mut values = Values::new(input.unused());
        let number = |number: Result<i64, WireError>| {
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
        // Data of no bytes could be as many as a number can say.
        if count > bytes.len() as u64 + AVRO_DATA_WITHOUT_BYTES_MAX {
            return Err(bad("a block has more data than bytes"));
        }
        if count == 0 && !bytes.is_empty() {
            return Err(bad(LONGER));
        }
        input.skip(size);
        let steps = Steps::for_bytes(bytes.len());
        self.block = Block { bytes, begin, next: input.offset(), count, done: 0, steps };
        Ok(true)
    }
}

impl Deserializer for Container {
    fn next(&mut self, input: &mut dyn Source, whole: bool) -> Result<Option<Event>, Unreadable> {
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

    fn point(&self, _input: &dyn Source) -> Point {
        match self.from {
            Some(from) => from,
            None if self.block.done == self.block.count => Point::at(self.block.next),
            None => Point { offset: self.block.begin, skip: self.block.done },
        }
    }
}

fn unlike(offset: u64, what: &str) -> Unreadable {
    Unreadable::NoContainer { offset, what: what.to_owned() }
}

/// The header at the front of a file and its length; `None` when it cannot be used.
fn header(start: &[u8], schema_type: SchemaType) -> Result<Option<(Header, usize)>, WireError> {
    if start.len() < MAGIC.len() && MAGIC.starts_with(start) {
        return Err(WireError::Short("the header"));
    }
    let Some(rest) = start.strip_prefix(MAGIC) else { return Ok(None) };
    let mut values = Values::new(rest);
    let (mut text, mut codec) = (None, Codec::Null);
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
                    let known = std::str::from_utf8(name).ok().and_then(Codec::named);
                    let Some(known) = known else { return Ok(None) };
                    codec = known;
                }
                _ => {}
            }
        }
    }
    let marker = values.take(MARKER_BYTES, "the marker")?;
    let Some((text, schema)) = text.and_then(|text| Some((text, Schema::parse(text).ok()?))) else {
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
    Ok(Some((Header { schema, codec, sync, key, value }, len)))
}

/// Any bytes as a container file: read whole, gone on with behind each datum, and while it grows.
///
/// # Panics
/// What is read depends on where reading began, or on how much of the file was there.
pub fn fuzz(bytes: &[u8]) {
    let all = events(bytes, Point::default(), true);
    let is_cut = all.len() == FUZZED_MAX;
    for from in all
        .iter()
        .take(if is_cut { 0 } else { FUZZED_MAX })
        .step_by(1 + all.len() / 8)
        .map(|(_, point)| *point)
    {
        let rest = events(bytes, from, true);
        assert!(all.ends_with(&rest), "after {from:?} the same follows");
    }
    let cut = bytes.len() / 2;
    let growing = events(&bytes[..cut], Point::default(), false);
    assert!(all.starts_with(&growing), "what is there of a file is its beginning");
}

/// Events at most that [`fuzz`] looks at.
const FUZZED_MAX: usize = 2000;

fn events(bytes: &[u8], from: Point, whole: bool) -> Vec<(Event, Point)> {
    let mut input = Input::new(Fuzzed(bytes), from.offset);
    let mut container = Container::new(SchemaType::Hash, from);
    let mut events = Vec::new();
    while let Ok(Some(event)) = container.next(&mut input, whole) {
        events.push((event, container.point(&input)));
        if events.len() == FUZZED_MAX {
            break;
        }
    }
    events
}

/// A file in memory.
struct Fuzzed<'a>(&'a [u8]);

impl FileExt for Fuzzed<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let count = out.len().min(self.0.len() - at);
        out[..count].copy_from_slice(&self.0[at..at + count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("nothing is written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::avro::container;
    use crate::wire::avro::values::put_long;

    struct Held(Vec<u8>);

    impl FileExt for Held {
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

    /// A file of two blocks, as a Flume 1.11 was given it to read.
    fn file() -> Vec<u8> {
        packed(Codec::Null)
    }

    fn packed(codec: Codec) -> Vec<u8> {
        let (mut out, marker) = (Vec::new(), [7; MARKER_BYTES]);
        container::put_header(&mut out, SCHEMA, codec, &marker);
        for data in [&[&b"\x02\x00"[..], b"\x0d\x02\x04hi"][..], &[b"\xd8\x04\x00"]] {
            container::write_block(&mut out, data.len(), &data.concat(), codec, &marker).unwrap();
        }
        out
    }

    type Read = (Vec<(Event, Point)>, Option<String>);

    fn read(bytes: Vec<u8>, schema_type: SchemaType, from: Point, whole: bool) -> Read {
        let mut input = Input::new(Held(bytes), from.offset);
        let mut container = Container::new(schema_type, from);
        let mut out = Vec::new();
        loop {
            match container.next(&mut input, whole) {
                Ok(Some(event)) => out.push((event, container.point(&input))),
                Ok(None) => return (out, None),
                Err(error) => return (out, Some(error.to_string())),
            }
        }
    }

    /// The headers are what a Flume 1.11 sets for this file.
    #[test]
    fn each_datum_is_an_event_with_flumes_headers() {
        let (events, error) = read(file(), SchemaType::Hash, Point::default(), true);
        assert_eq!(error, None);
        let bodies: Vec<&[u8]> = events.iter().map(|(event, _)| &event.body[..]).collect();
        assert_eq!(bodies, [&b"\x02\x00"[..], b"\x0d\x02\x04hi", b"\xd8\x04\x00"]);
        let hash = events[2].0.headers.get("flume.avro.schema.hash");
        assert_eq!(hash, Some("8d3b2687b34c371c"));
        let (events, _) = read(file(), SchemaType::Literal, Point::default(), true);
        let literal = r#"{"type":"record","name":"R","namespace":"x.y","doc":"d","fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"],"default":null}]}"#;
        assert_eq!(events[0].0.headers.get("flume.avro.schema.literal"), Some(literal));
    }

    #[test]
    fn reading_goes_on_behind_any_datum() {
        for codec in Codec::ALL {
            let (all, _) = read(packed(codec), SchemaType::Hash, Point::default(), true);
            assert_eq!(all.len(), 3, "{codec:?}");
            for (done, (_, from)) in all.iter().enumerate() {
                let (rest, error) = read(packed(codec), SchemaType::Hash, *from, true);
                assert_eq!((rest, error), (all[done + 1..].to_vec(), None), "behind {done}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_waits_while_it_grows_and_is_named_when_it_does_not() {
        let bytes = file();
        for len in 0..bytes.len() {
            let (growing, error) =
                read(bytes[..len].to_vec(), SchemaType::Hash, Point::default(), false);
            assert_eq!(error, None, "{len}");
            let (whole, error) =
                read(bytes[..len].to_vec(), SchemaType::Hash, Point::default(), true);
            assert_eq!(whole, growing, "{len}");
            let at_a_block = [bytes.len() - 21, bytes.len() - 21 - 25].contains(&len);
            assert_eq!(error.is_none(), at_a_block, "{len}: {error:?}");
        }
    }

    #[test]
    fn what_is_no_container_or_lies_about_its_blocks_is_named() {
        let sound = file();
        let unknown = packed(Codec::Snappy);
        let at = unknown.windows(6).position(|word| word == b"snappy").unwrap();
        let mut unknown = unknown;
        unknown[at] = b'z';
        let mut bad_marker = sound.clone();
        *bad_marker.last_mut().unwrap() ^= 1;
        for bytes in [b"no container at all".to_vec(), bad_marker, unknown] {
            let (_, error) = read(bytes, SchemaType::Hash, Point::default(), true);
            assert!(error.is_some_and(|error| error.contains("Avro")));
        }
        // No byte of it makes the reader fall over or go on without end.
        for sound in [sound, packed(Codec::Deflate), packed(Codec::Snappy)] {
            for at in 0..sound.len() {
                for mask in [1, 0x80, 0xff] {
                    let mut bytes = sound.clone();
                    bytes[at] ^= mask;
                    let (events, _) = read(bytes, SchemaType::Hash, Point::default(), true);
                    assert!(events.len() < 1000);
                }
            }
        }
    }

    #[test]
    fn bombs_end_soon_and_are_named() {
        let marker = [7; MARKER_BYTES];
        let bomb = |schema: &str, codec, count, data: &[u8]| {
            let mut out = Vec::new();
            container::put_header(&mut out, schema, codec, &marker);
            container::write_block(&mut out, count, data, codec, &marker).unwrap();
            read(out, SchemaType::Hash, Point::default(), true)
        };
        // Data without bytes, more than anybody writes; and the most that is read.
        let (events, error) = bomb("\"null\"", Codec::Null, 1001, b"");
        assert!(events.is_empty() && error.is_some_and(|e| e.contains("more data than bytes")));
        let (events, error) = bomb("\"null\"", Codec::Null, 1000, b"");
        assert_eq!((events.len(), error), (1000, None));
        // Each of few data means a million values: together they have the steps of one block.
        let nulls = r#"{"type":"array","items":"null"}"#;
        let mut million = Vec::new();
        put_long(&mut million, 400_000);
        put_long(&mut million, 0);
        let (events, error) = bomb(nulls, Codec::Null, 5, &million.repeat(5));
        assert!(events.len() < 5 && error.is_some_and(|e| e.contains("take no bytes")));
        // Bytes that belong to no datum are noticed wherever reading begins.
        for (count, whole) in [(0, 0), (1, 0), (2, 1)] {
            let (events, error) = bomb("\"int\"", Codec::Null, count, b"\x02\x04\x06");
            assert!(events.len() == whole && error.is_some_and(|e| e.contains(LONGER)), "{count}");
        }
        let size = AVRO_BLOCK_BYTES_MAX + 1;
        let (events, error) = bomb("\"bytes\"", Codec::Deflate, 1, &vec![0; size]);
        assert!(events.is_empty() && error.is_some_and(|e| e.contains("more than")));
    }
}
