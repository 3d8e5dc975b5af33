//! Which format the files of a sink have.

use super::FileFormat;
use super::codec::Codec;
use super::sequence_file::{Compression, SequenceFile, ValueClass};
use super::stream::StreamFormat;
use millpond_adapters::sink::serializer;
use millpond_flow::settings::{Key, KeyKind, SettingError, Settings, SettingsReader};

/// The keys of the formats.
pub(crate) const KEYS: [Key; 10] = [
    Key {
        name: "hdfs.fileType",
        kind: KeyKind::Word,
        default: "SequenceFile",
        meaning: "SequenceFile; DataStream for what the serializer writes; CompressedStream for the same compressed by hdfs.codeC.",
    },
    Key {
        name: "hdfs.writeFormat",
        kind: KeyKind::Word,
        default: "Writable",
        meaning: "Values of a SequenceFile: Writable (BytesWritable) or Text; case does not count, unlike in Flume.",
    },
    Key {
        name: "hdfs.codeC",
        kind: KeyKind::Word,
        default: "none",
        meaning: "Compression of a SequenceFile or CompressedStream: default, deflate, gzip, bzip2, snappy, lz4 or zstandard, in any case, or Hadoop's class name of one.",
    },
    Key {
        name: "hdfs.compressionType",
        kind: KeyKind::Word,
        default: "BLOCK",
        meaning: "What hdfs.codeC compresses in a SequenceFile: BLOCK for many records together, RECORD for each value. Flume has BLOCK only.",
    },
    Key {
        name: "serializer",
        kind: KeyKind::Word,
        default: "TEXT",
        meaning: "DataStream and CompressedStream: TEXT, HEADER_AND_TEXT, AVRO_EVENT, or Flume's class name of one of these or of AvroEventSerializer.",
    },
    Key {
        name: "serializer.appendNewline",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "TEXT and HEADER_AND_TEXT: end each event with a newline.",
    },
    Key {
        name: "serializer.syncIntervalBytes",
        kind: KeyKind::Number,
        default: "2048000",
        meaning: "Avro: bytes after which a block of the file ends; each batch ends one too.",
    },
    Key {
        name: "serializer.compressionCodec",
        kind: KeyKind::Word,
        default: "null",
        meaning: "Avro: null, deflate, snappy, bzip2, xz or zstandard, for each block of the file.",
    },
    Key {
        name: "serializer.schemaURL",
        kind: KeyKind::Text,
        default: "",
        meaning: "AvroEventSerializer: the schema of events that name none, as file:/path.",
    },
    Key {
        name: "serializer.schemaDirectory",
        kind: KeyKind::Path,
        default: "",
        meaning: "AvroEventSerializer: directory below which the file named by an event's flume.avro.schema.url must be; without it only that of schemaURL is allowed.",
    },
];

/// Where the keys of the serializer begin.
const SERIALIZER: &str = "serializer";

/// The format of a sink's files.
#[derive(Clone, Debug)]
pub(crate) struct FormatSettings {
    kind: FormatKind,
}

#[derive(Clone, Debug)]
enum FormatKind {
    SequenceFile {
        value_class: ValueClass,
        compression: Compression,
    },
    Stream {
        /// The serializer's keys, which were read without an error before.
        serializer: Settings,
        codec: Option<Codec>,
    },
}

impl FormatSettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// A word that is not known, or a combination that cannot work.
    pub(crate) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let kinds = &["SequenceFile", "DataStream", "CompressedStream"];
        let file_type = reader.word("hdfs.fileType", kinds)?.unwrap_or("SequenceFile");
        let codec = read_codec(reader)?;
        let kind = match file_type {
            "SequenceFile" => FormatKind::SequenceFile {
                value_class: read_value_class(reader)?,
                compression: read_compression(reader, codec)?,
            },
            "CompressedStream" if codec.is_none() => {
                let message = format!("a CompressedStream needs a codec: one of {}", Codec::NAMES);
                return Err(reader.error("hdfs.codeC", message));
            }
            "DataStream" if reader.text("hdfs.codeC").is_some() => {
                let message = "a DataStream has no codec: remove this key, or set hdfs.fileType to CompressedStream";
                return Err(reader.error("hdfs.codeC", message));
            }
            _ => FormatKind::Stream { serializer: read_serializer(reader)?, codec },
        };
        Ok(Self { kind })
    }

    /// Returns the extension that the format gives a name, with its dot.
    #[must_use]
    pub(crate) fn extension(&self) -> Option<&'static str> {
        let codec = match &self.kind {
            FormatKind::SequenceFile { compression, .. } => compression.codec(),
            FormatKind::Stream { codec, .. } => *codec,
        };
        codec.map(Codec::extension)
    }

    /// Returns the writer of one file.
    #[must_use]
    pub(crate) fn create(&self) -> Box<dyn FileFormat> {
        match &self.kind {
            FormatKind::SequenceFile { value_class, compression } => {
                Box::new(SequenceFile::new(*value_class, *compression))
            }
            FormatKind::Stream { serializer, codec } => {
                let built = serializer::build(&mut SettingsReader::new(serializer), SERIALIZER);
                let serializer = built.expect("these settings were read without an error before");
                Box::new(StreamFormat { serializer, codec: *codec, pending_header: Vec::new() })
            }
        }
    }
}

/// Returns the codec; `none` is the absence of one.
fn read_codec(reader: &SettingsReader<'_>) -> Result<Option<Codec>, SettingError> {
    let key = "hdfs.codeC";
    let Some(name) = reader.text(key).filter(|name| !name.eq_ignore_ascii_case("none")) else {
        return Ok(None);
    };
    match Codec::named(name) {
        Some(codec) => Ok(Some(codec)),
        None => {
            let message = format!(
                "\"{name}\" is not a known codec: use none, {}, or Hadoop's class name of one",
                Codec::NAMES
            );
            Err(reader.error(key, message))
        }
    }
}

fn read_value_class(reader: &mut SettingsReader<'_>) -> Result<ValueClass, SettingError> {
    const PACKAGE: &str = "org.apache.flume.sink.hdfs.";
    let key = "hdfs.writeFormat";
    let class = reader.text(key).and_then(|name| name.strip_prefix(PACKAGE));
    match class.map(|class| class.strip_suffix("$Builder").unwrap_or(class)) {
        Some("HDFSTextSerializer") => return Ok(ValueClass::Text),
        Some("HDFSWritableSerializer") => return Ok(ValueClass::Bytes),
        _ => {}
    }
    Ok(match reader.word(key, &["Writable", "Text"])? {
        Some("Text") => ValueClass::Text,
        _ => ValueClass::Bytes,
    })
}

fn read_compression(
    reader: &mut SettingsReader<'_>,
    codec: Option<Codec>,
) -> Result<Compression, SettingError> {
    let key = "hdfs.compressionType";
    match (reader.word(key, &["BLOCK", "RECORD"])?, codec) {
        (None, None) => Ok(Compression::Nothing),
        (Some(_), None) => Err(reader.error(key, "nothing is compressed without hdfs.codeC")),
        (Some("RECORD"), Some(codec)) => Ok(Compression::Records(codec)),
        (_, Some(codec)) => Ok(Compression::Blocks(codec)),
    }
}

/// Returns the serializer's keys, checked by building one.
fn read_serializer(reader: &mut SettingsReader<'_>) -> Result<Settings, SettingError> {
    serializer::build(reader, SERIALIZER)?;
    let all = reader.settings();
    let mut own = Settings::new(all.prefix.clone(), all.name.clone());
    let entries = all.entries.iter().filter(|(key, _)| key.starts_with(SERIALIZER));
    own.entries.extend(entries.map(|(key, setting)| (key.clone(), setting.clone())));
    Ok(own)
}
