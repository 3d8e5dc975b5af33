//! From the bytes of a file to events.

mod avro;
pub use avro::fuzz;
mod blob;
mod line;

use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::event::Event;
use crate::source::reading::Point;
use crate::source::reading::input::Input;
use crate::wire::text::Text;
use avro::{Container, SchemaType};
use blob::Blob;
use line::Lines;
use std::io;
use std::os::unix::fs::FileExt;

/// Why no further event comes out of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(
        "byte {offset} is not {charset}; set inputCharset to what the file is written in, or decodeErrorPolicy to REPLACE or IGNORE"
    )]
    Undecodable { offset: u64, charset: String },
    #[error("it cannot be read as an Avro container file at byte {offset}: {what}")]
    NoContainer { offset: u64, what: String },
}

/// Reads events from a file.
pub(super) trait Deserializer: Send {
    /// The next event, `None` at the end. `whole` says that the file grows no more: what stands
    /// behind the last line's end is a line, too.
    fn next(&mut self, input: &mut dyn Source, whole: bool) -> Result<Option<Event>, Unreadable>;

    /// Where the next event begins.
    fn point(&self, input: &dyn Source) -> Point {
        Point::at(input.offset())
    }
}

/// A file as deserializers see it.
pub(super) trait Source {
    fn offset(&self) -> u64;
    fn unused(&self) -> &[u8];
    fn skip(&mut self, count: usize);
    fn seek(&mut self, offset: u64);
    fn has(&mut self, count: usize) -> io::Result<bool>;
    fn find(&mut self, byte: u8, max: usize) -> io::Result<Option<usize>>;
}

impl<F: FileExt> Source for Input<F> {
    fn offset(&self) -> u64 {
        Self::offset(self)
    }

    fn unused(&self) -> &[u8] {
        Self::unused(self)
    }

    fn skip(&mut self, count: usize) {
        Self::skip(self, count);
    }

    fn seek(&mut self, offset: u64) {
        Self::seek(self, offset);
    }

    fn has(&mut self, count: usize) -> io::Result<bool> {
        Self::has(self, count)
    }

    fn find(&mut self, byte: u8, max: usize) -> io::Result<Option<usize>> {
        Self::find(self, byte, max)
    }
}

/// What a byte that is no text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnBadText {
    /// The file is set aside there.
    Fail,
    /// U+FFFD stands for it.
    Replace,
    /// It is left out.
    Ignore,
}

/// How files become events.
#[derive(Clone, Debug)]
pub(super) struct Format {
    kind: Kinds,
}

#[derive(Clone, Debug)]
enum Kinds {
    Line { line: line::Format },
    Avro { schema_type: SchemaType },
    Blob { bytes_max: usize },
}

pub(super) const KEYS: [Key; 10] = [
    Key {
        name: "inputCharset",
        kind: Kind::Word,
        default: "UTF-8",
        meaning: "Encoding of the files, for LINE.",
    },
    Key {
        name: "decodeErrorPolicy",
        kind: Kind::Word,
        default: "FAIL",
        meaning: "What a byte that is not text does: FAIL sets the file aside there, with an error (in Flume the source is dead from then on), REPLACE puts U+FFFD in its place, IGNORE leaves it out.",
    },
    Key {
        name: "deserializer",
        kind: Kind::Word,
        default: "LINE",
        meaning: "LINE, AVRO (container files) or org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder (whole files).",
    },
    Key {
        name: "deserializer.maxLineLength",
        kind: Kind::Number,
        default: "2048",
        meaning: "Characters of a line; a longer one becomes several events, as in Flume. At most 33554432.",
    },
    Key {
        name: "deserializer.outputCharset",
        kind: Kind::Word,
        default: "UTF-8",
        meaning: "Encoding of the bodies, for LINE.",
    },
    Key {
        name: "deserializer.schemaType",
        kind: Kind::Word,
        default: "HASH",
        meaning: "What an event of AVRO says of its schema: HASH (the header flume.avro.schema.hash) or LITERAL (flume.avro.schema.literal).",
    },
    Key {
        name: "deserializer.maxBlobLength",
        kind: Kind::Number,
        default: "100000000",
        meaning: "Bytes of an event of BlobDeserializer; a longer file becomes several. At most 267386880.",
    },
    Key {
        name: "bufferMaxLineLength",
        kind: Kind::Number,
        default: "",
        meaning: "The old name of deserializer.maxLineLength, which it overrides for LINE.",
    },
    Key {
        name: "bufferMaxLines",
        kind: Kind::Number,
        default: "100",
        meaning: "Has no effect, as in Flume.",
    },
    Key {
        name: "deserializer.*",
        kind: Kind::Text,
        default: "",
        meaning: "Of another deserializer; has no effect.",
    },
];

const LINE: &[&str] = &["LINE", "org.apache.flume.serialization.LineDeserializer$Builder"];
const AVRO: &[&str] = &["AVRO", "org.apache.flume.serialization.AvroEventDeserializer$Builder"];
const BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";

impl Format {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let text = |reader: &SettingsReader<'_>, key: &str| {
            let name = reader.text(key).unwrap_or("UTF-8");
            Text::named(name)
                .map(|text| (text, name.to_owned()))
                .ok_or_else(|| reader.error(key, format!("\"{name}\" is not {}", Text::LEGAL)))
        };
        let (input, input_name) = text(reader, "inputCharset")?;
        let policy = reader.word("decodeErrorPolicy", &["FAIL", "REPLACE", "IGNORE"])?;
        let on_bad_text = match policy {
            Some("REPLACE") => OnBadText::Replace,
            Some("IGNORE") => OnBadText::Ignore,
            _ => OnBadText::Fail,
        };
        let named = reader.text("deserializer").unwrap_or("LINE");
        let kind = if LINE.iter().any(|name| name.eq_ignore_ascii_case(named)) {
            let (output, _) = text(reader, "deserializer.outputCharset")?;
            let chars_max = line::chars_max(reader)?;
            Kinds::Line { line: line::Format { input, input_name, output, on_bad_text, chars_max } }
        } else if AVRO.iter().any(|name| name.eq_ignore_ascii_case(named)) {
            Kinds::Avro { schema_type: SchemaType::read(reader)? }
        } else if named == BLOB {
            Kinds::Blob { bytes_max: blob::bytes_max(reader)? }
        } else {
            let message = format!(
                "\"{named}\" is not a deserializer that is built in; there are LINE, AVRO and {BLOB}"
            );
            return Err(reader.error("deserializer", message));
        };
        Ok(Self { kind })
    }

    /// A deserializer of a file that begins with `start`, to go on at `from`.
    pub(super) fn open(&self, start: &[u8], from: Point) -> (Box<dyn Deserializer>, Point) {
        match &self.kind {
            Kinds::Line { line } => {
                let (lines, begins) = Lines::new(line.clone(), start);
                (Box::new(lines), Point::at(from.offset.max(begins as u64)))
            }
            Kinds::Avro { schema_type } => (Box::new(Container::new(*schema_type, from)), from),
            Kinds::Blob { bytes_max } => (Box::new(Blob::new(*bytes_max)), from),
        }
    }
}

/// A number of which Flume takes any; what is beyond the limit here becomes the limit.
fn bounded(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: usize,
    max: usize,
) -> Result<usize, SettingError> {
    let Some(number) = reader.number(key, 1..=u64::MAX)? else { return Ok(default) };
    match usize::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        _ => {
            reader.find(
                Severity::Warning,
                key,
                format!("{number} is taken as {max}, the most here"),
            );
            Ok(max)
        }
    }
}
