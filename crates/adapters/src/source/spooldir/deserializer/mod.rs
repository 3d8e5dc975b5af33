//! Deserializers: from the bytes of a file to events.

mod avro;
#[cfg(any(test, feature = "testing"))]
mod avro_fuzz;
mod blob;
mod deserialize;
mod line;

#[cfg(any(test, feature = "testing"))]
pub use avro_fuzz::fuzz;
use deserialize::{DecodeErrorPolicy, SpooledInput};
pub(super) use deserialize::{DeserializeError, Deserializer};

use crate::source::file_reading::FileOffset;
use crate::source::file_reading::buffered_file::BufferedFile;
use crate::wire::text::TextEncoding;
use avro::{AvroContainer, SchemaType};
use blob::BlobDeserializer;
use line::LineDeserializer;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use std::io;
use std::os::unix::fs::FileExt;

impl<F: FileExt> SpooledInput for BufferedFile<F> {
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

/// Settings that map files to events.
#[derive(Clone, Debug)]
pub(super) struct DeserializerFormat {
    kind: FormatKind,
}

#[derive(Clone, Debug)]
enum FormatKind {
    Line { line: line::LineFormat },
    Avro { schema_type: SchemaType },
    Blob { bytes_max: usize },
}

pub(super) const KEYS: [Key; 10] = [
    Key {
        name: "inputCharset",
        kind: KeyKind::Word,
        default: "UTF-8",
        meaning: "Encoding of the files, for LINE.",
    },
    Key {
        name: "decodeErrorPolicy",
        kind: KeyKind::Word,
        default: "FAIL",
        meaning: "What a byte that is not text does: FAIL sets the file aside there, with an error (in Flume the source stops for good), REPLACE puts U+FFFD in its place, IGNORE leaves it out.",
    },
    Key {
        name: "deserializer",
        kind: KeyKind::Word,
        default: "LINE",
        meaning: "LINE, AVRO (container files) or org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder (whole files).",
    },
    Key {
        name: "deserializer.maxLineLength",
        kind: KeyKind::Number,
        default: "2048",
        meaning: "Characters of a line; a longer one becomes several events, as in Flume. At most 33554432.",
    },
    Key {
        name: "deserializer.outputCharset",
        kind: KeyKind::Word,
        default: "UTF-8",
        meaning: "Encoding of the bodies, for LINE.",
    },
    Key {
        name: "deserializer.schemaType",
        kind: KeyKind::Word,
        default: "HASH",
        meaning: "The schema header of AVRO events: HASH (the header flume.avro.schema.hash) or LITERAL (flume.avro.schema.literal).",
    },
    Key {
        name: "deserializer.maxBlobLength",
        kind: KeyKind::Number,
        default: "100000000",
        meaning: "Bytes of an event of BlobDeserializer; a longer file becomes several. At most 267386880.",
    },
    Key {
        name: "bufferMaxLineLength",
        kind: KeyKind::Number,
        default: "",
        meaning: "The old name of deserializer.maxLineLength, which it overrides for LINE.",
    },
    Key {
        name: "bufferMaxLines",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Has no effect, as in Flume.",
    },
    Key {
        name: "deserializer.*",
        kind: KeyKind::Text,
        default: "",
        meaning: "Of another deserializer; has no effect.",
    },
];

const LINE: &[&str] = &["LINE", "org.apache.flume.serialization.LineDeserializer$Builder"];
const AVRO: &[&str] = &["AVRO", "org.apache.flume.serialization.AvroEventDeserializer$Builder"];
const BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";

impl DeserializerFormat {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let text = |reader: &SettingsReader<'_>, key: &str| {
            let name = reader.text(key).unwrap_or("UTF-8");
            TextEncoding::named(name).map(|text| (text, name.to_owned())).ok_or_else(|| {
                reader.error(key, format!("\"{name}\" is not {}", TextEncoding::LEGAL))
            })
        };
        let (input, input_name) = text(reader, "inputCharset")?;
        let policy = reader.word("decodeErrorPolicy", &["FAIL", "REPLACE", "IGNORE"])?;
        let on_bad_text = match policy {
            Some("REPLACE") => DecodeErrorPolicy::Replace,
            Some("IGNORE") => DecodeErrorPolicy::Ignore,
            _ => DecodeErrorPolicy::Fail,
        };
        let named = reader.text("deserializer").unwrap_or("LINE");
        let kind = if LINE.iter().any(|name| name.eq_ignore_ascii_case(named)) {
            let (output, _) = text(reader, "deserializer.outputCharset")?;
            let chars_max = line::chars_max(reader)?;
            FormatKind::Line {
                line: line::LineFormat { input, input_name, output, on_bad_text, chars_max },
            }
        } else if AVRO.iter().any(|name| name.eq_ignore_ascii_case(named)) {
            FormatKind::Avro { schema_type: SchemaType::read(reader)? }
        } else if named == BLOB {
            FormatKind::Blob { bytes_max: blob::bytes_max(reader)? }
        } else {
            let message = format!(
                "\"{named}\" is not a built-in deserializer; supported are LINE, AVRO and {BLOB}"
            );
            return Err(reader.error("deserializer", message));
        };
        Ok(Self { kind })
    }

    /// Opens a deserializer for a file that begins with `start`, resuming at `from`.
    pub(super) fn open(
        &self,
        start: &[u8],
        from: FileOffset,
    ) -> (Box<dyn Deserializer>, FileOffset) {
        match &self.kind {
            FormatKind::Line { line } => {
                let (lines, begins) = LineDeserializer::new(line.clone(), start);
                (Box::new(lines), FileOffset::at(from.offset.max(begins as u64)))
            }
            FormatKind::Avro { schema_type } => {
                (Box::new(AvroContainer::new(*schema_type, from)), from)
            }
            FormatKind::Blob { bytes_max } => (Box::new(BlobDeserializer::new(*bytes_max)), from),
        }
    }
}
