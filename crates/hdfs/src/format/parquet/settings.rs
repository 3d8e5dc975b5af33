//! The settings of Parquet files.

use super::columns::Columns;
use super::misfit::{Misfit, MisfitReason};
use super::schema::{EVENT_SCHEMA, ParquetSchema, SCHEMA_BYTES_MAX, TEXT_EVENT_SCHEMA};
use super::shred::ExtraFields;
use millpond::Event;
use millpond_flow::base::small_file::read_whole;
use millpond_flow::settings::{SettingError, SettingsReader};
use parquet::basic::{Compression, GzipLevel};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

/// Bytes of values in a row group, before compression.
const ROW_GROUP_BYTES: usize = 64 << 20;
const ROW_GROUP_BYTES_RANGE: RangeInclusive<usize> = 1 << 20..=1 << 30;

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageCodec {
    Snappy,
    Gzip,
    Lz4,
    None,
}

impl PageCodec {
    const ALL: [(&str, Self); 4] =
        [("snappy", Self::Snappy), ("gzip", Self::Gzip), ("lz4", Self::Lz4), ("none", Self::None)];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(own, _)| *own == name).map(|(_, codec)| *codec)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, codec)| *codec == self).map_or("none", |(name, _)| name)
    }

    pub(super) fn compression(self) -> Compression {
        match self {
            Self::Snappy => Compression::SNAPPY,
            Self::Gzip => Compression::GZIP(GzipLevel::default()),
            Self::Lz4 => Compression::LZ4_RAW,
            Self::None => Compression::UNCOMPRESSED,
        }
    }
}

/// What files are written with.
#[derive(Clone, Debug)]
pub(crate) struct ParquetSettings {
    /// The message type, as it was given.
    pub(super) text: String,
    /// The schema is that of events, not of their bodies.
    pub(super) of_event: bool,
    pub(super) schema: Arc<ParquetSchema>,
    pub(super) codec: PageCodec,
    pub(super) row_group_bytes: usize,
    refuses_unknown: bool,
}

impl ParquetSettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// A value that is not known, or a schema that cannot be used.
    pub(crate) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let (key, text) = schema_text(reader)?;
        let body_type = reader.word("serializer.bodyType", &["binary", "string"])?;
        if body_type.is_some() && text.is_some() {
            let message = "has no effect with a schema: give the type of the column _body there";
            return Err(reader.error("serializer.bodyType", message));
        }
        let of_event = text.is_none();
        let text = text.unwrap_or_else(|| {
            if body_type == Some("string") { TEXT_EVENT_SCHEMA } else { EVENT_SCHEMA }.to_owned()
        });
        let unknown = reader.word("serializer.unknownFields", &["drop", "refuse"])?;
        let row_group_bytes = reader
            .number("serializer.rowGroupBytes", ROW_GROUP_BYTES_RANGE)?
            .unwrap_or(ROW_GROUP_BYTES);
        let codec = read_codec(reader)?;
        let settings = Self::new(text, of_event, codec, row_group_bytes);
        let settings = settings.map_err(|message| reader.error(key, message))?;
        let refuses_unknown = unknown == Some("refuse");
        if refuses_unknown && settings.schema.keeps_extra() {
            let message = "refuse contradicts the column _extra of the schema, which keeps such fields: remove one of them";
            return Err(reader.error("serializer.unknownFields", message));
        }
        Ok(Self { refuses_unknown, ..settings })
    }

    /// Returns the settings of files with the message type `text`. The error is for a person.
    pub(super) fn new(
        text: String,
        of_event: bool,
        codec: PageCodec,
        row_group_bytes: usize,
    ) -> Result<Self, String> {
        let schema = Arc::new(ParquetSchema::read(&text, of_event)?);
        let row_group_bytes =
            row_group_bytes.clamp(*ROW_GROUP_BYTES_RANGE.start(), *ROW_GROUP_BYTES_RANGE.end());
        Ok(Self { text, of_event, schema, codec, row_group_bytes, refuses_unknown: false })
    }

    /// Returns what [`check`](Self::check) needs, for any number of events.
    pub(crate) fn scratch(&self) -> Columns {
        self.schema.columns()
    }

    /// Checks that `event` fits; returns the fields that are lost.
    ///
    /// # Errors
    /// It does not fit.
    pub(crate) fn check(
        &self,
        event: &Event,
        scratch: &mut Columns,
    ) -> Result<ExtraFields, Misfit> {
        scratch.clear();
        let extra = self.schema.shred(event, scratch)?;
        match extra.first().filter(|_| self.refuses_unknown) {
            Some(name) => Err(Misfit::new(MisfitReason::UnknownField).within(&name)),
            None => Ok(extra),
        }
    }
}

/// Returns the message type, if there is one, and the key to name in an error.
fn schema_text(
    reader: &SettingsReader<'_>,
) -> Result<(&'static str, Option<String>), SettingError> {
    let (text_key, file_key) = ("serializer.schema", "serializer.schemaFile");
    let set = |key: &str| reader.text(key).filter(|text| !text.is_empty());
    match (set(text_key), set(file_key)) {
        (Some(_), Some(_)) => {
            Err(reader.error(file_key, "contradicts serializer.schema: remove one of them"))
        }
        (Some(text), None) => Ok((text_key, Some(text.to_owned()))),
        (None, None) => Ok((text_key, None)),
        (None, Some(path)) => {
            let read = read_whole(Path::new(path), SCHEMA_BYTES_MAX as u64);
            let bytes = read.map_err(|error| {
                reader.error(file_key, format!("the file {path} cannot be read: {error}"))
            })?;
            let text = String::from_utf8(bytes)
                .map_err(|_| reader.error(file_key, format!("the file {path} is not UTF-8")))?;
            Ok((file_key, Some(text)))
        }
    }
}

fn read_codec(reader: &mut SettingsReader<'_>) -> Result<PageCodec, SettingError> {
    let key = "serializer.compression";
    let Some(name) = reader.text(key).filter(|name| !name.is_empty()) else {
        return Ok(PageCodec::Snappy);
    };
    PageCodec::named(&name.to_ascii_lowercase()).ok_or_else(|| {
        let message = match name.to_ascii_lowercase().as_str() {
            "zstd" | "zstandard" | "brotli" | "lzo" => format!(
                "\"{name}\" needs a C library, which this program does not have: use snappy, gzip, lz4 or none"
            ),
            _ => format!("\"{name}\" is none of snappy, gzip, lz4 and none"),
        };
        reader.error(key, message)
    })
}
