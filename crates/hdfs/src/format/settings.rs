//! Which format the files of a sink have.

use super::codec::Codec;
#[cfg(feature = "parquet")]
use super::parquet::{Columns, ParquetSettings, SpoolFormat};
use super::sequence_file::{Compression, SequenceFile, ValueClass};
use super::stream::StreamFormat;
use super::{FileFormat, FormatError};
use millpond_adapters::sink::serializer;
use millpond_flow::settings::{Key, KeyKind, SettingError, Settings, SettingsReader, Severity};

/// The keys of the formats.
pub(crate) const KEYS: [Key; 16] = [
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
        meaning: "DataStream and CompressedStream: TEXT, HEADER_AND_TEXT, AVRO_EVENT, or Flume's class name of one of these or of AvroEventSerializer. DataStream also: parquet.",
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
    Key {
        name: "serializer.schema",
        kind: KeyKind::Text,
        default: "",
        meaning: "parquet: the columns, as a message type of Parquet; each body is a JSON object. Without it the columns are headers, timestamp and body. Flume has no such key.",
    },
    Key {
        name: "serializer.schemaFile",
        kind: KeyKind::Path,
        default: "",
        meaning: "parquet: a file with what serializer.schema would have. Flume has no such key.",
    },
    Key {
        name: "serializer.bodyType",
        kind: KeyKind::Word,
        default: "binary",
        meaning: "parquet without a schema: type of the column body, binary or string; a string has to be UTF-8. Flume has no such key.",
    },
    Key {
        name: "serializer.unknownFields",
        kind: KeyKind::Word,
        default: "drop",
        meaning: "parquet: fields of a body without a column: drop (with a warning) or refuse the event. A column _extra keeps them. Flume has no such key.",
    },
    Key {
        name: "serializer.compression",
        kind: KeyKind::Word,
        default: "snappy",
        meaning: "parquet: snappy, gzip, lz4 or none. Flume has no such key.",
    },
    Key {
        name: "serializer.rowGroupBytes",
        kind: KeyKind::Number,
        default: "67108864",
        meaning: "parquet: bytes of values in a row group before compression, 1 MiB to 1 GiB; two row groups are in memory at a time. Flume has no such key.",
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
    #[cfg(feature = "parquet")]
    Parquet(ParquetSettings),
}

/// Checks events of one batch before anything of it is written.
pub(crate) struct EventCheck<'a> {
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))] // only Parquet checks events
    kind: &'a FormatKind,
    #[cfg(feature = "parquet")]
    scratch: Option<Columns>,
}

impl EventCheck<'_> {
    /// Checks that `event` fits in a file; returns the name of a field that is not written, if there is one.
    ///
    /// # Errors
    /// It fits in no file.
    #[cfg_attr(not(feature = "parquet"), allow(clippy::unused_self, clippy::unnecessary_wraps))]
    pub(crate) fn check(&mut self, event: &millpond::Event) -> Result<Option<String>, FormatError> {
        #[cfg(feature = "parquet")]
        if let FormatKind::Parquet(settings) = self.kind {
            let scratch = self.scratch.get_or_insert_with(|| settings.scratch());
            let misfit =
                |misfit: super::parquet::Misfit| FormatError::Misfit { cause: misfit.to_string() };
            return settings.check(event, scratch).map(|lost| lost.first()).map_err(misfit);
        }
        let _ = event;
        Ok(None)
    }
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
        if reader.text(SERIALIZER).is_some_and(|name| name.eq_ignore_ascii_case("parquet")) {
            return Ok(Self { kind: read_parquet(reader, file_type, codec)? });
        }
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

    /// Returns whether files are made when they are complete, from a spool.
    pub(crate) fn is_spooled(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "parquet")]
            FormatKind::Parquet(_) => true,
            FormatKind::SequenceFile { .. } | FormatKind::Stream { .. } => false,
        }
    }

    /// Returns the check of a batch's events.
    pub(crate) fn event_check(&self) -> EventCheck<'_> {
        EventCheck {
            kind: &self.kind,
            #[cfg(feature = "parquet")]
            scratch: None,
        }
    }

    /// Returns the extension that the format gives a name, with its dot.
    #[must_use]
    pub(crate) fn extension(&self) -> Option<&'static str> {
        let codec = match &self.kind {
            #[cfg(feature = "parquet")]
            FormatKind::Parquet(_) => return Some(".parquet"),
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
            #[cfg(feature = "parquet")]
            FormatKind::Parquet(settings) => Box::new(SpoolFormat::new(settings.clone())),
            FormatKind::Stream { serializer, codec } => {
                let built = serializer::build(&mut SettingsReader::new(serializer), SERIALIZER);
                let serializer = built.expect("these settings were read without an error before");
                Box::new(StreamFormat { serializer, codec: *codec, pending_header: Vec::new() })
            }
        }
    }
}

/// Reads the keys of Parquet files.
fn read_parquet(
    reader: &mut SettingsReader<'_>,
    file_type: &str,
    codec: Option<Codec>,
) -> Result<FormatKind, SettingError> {
    if file_type != "DataStream" {
        let message = "has to be DataStream with serializer = parquet, whose files have a format and a compression of their own";
        return Err(reader.error("hdfs.fileType", message));
    }
    if codec.is_some() || reader.text("hdfs.codeC").is_some() {
        let message = "a Parquet file is compressed by serializer.compression: remove this key";
        return Err(reader.error("hdfs.codeC", message));
    }
    for key in ["hdfs.rollCount", "hdfs.rollSize"] {
        if reader.text(key).is_none() {
            let message = "is not set: with Flume's default, files have at most 10 events or 1 KiB of bodies, which is small for Parquet; set it, to 0 for no limit";
            reader.find(Severity::Warning, key, message);
        }
    }
    #[cfg(feature = "parquet")]
    return ParquetSettings::read(reader).map(FormatKind::Parquet);
    #[cfg(not(feature = "parquet"))]
    Err(reader.error(
        SERIALIZER,
        "parquet: this build has no Parquet; build with the feature parquet or full",
    ))
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
