//! Serializers: events to the bytes of a file. Also used by sinks that write elsewhere than to a
//! local disk.
//!
//! A serializer writes whole batches. What one call writes stands on its own: cut a file behind
//! any batch and it is a legal file.

mod avro_event;
#[cfg(test)]
pub(crate) use avro_event::reading;
mod text;

use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;
use std::io::{self, Write};

/// Writes events to files of one format.
pub(crate) trait Serializer: Send {
    /// Writes what a file begins with.
    ///
    /// # Errors
    /// Those of `out`.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes `batch`.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()>;

    /// Whether each batch has a price in the file, so that small ones make it larger and slower to
    /// read.
    fn prefers_large_batches(&self) -> bool {
        false
    }
}

/// The keys of every serializer behind `sink.serializer`, for tables of sinks.
pub(crate) const FILE_ROLL_KEYS: [Key; 4] = [
    Key {
        name: "sink.serializer",
        kind: Kind::Word,
        default: "TEXT",
        meaning: "Format of the files: TEXT, HEADER_AND_TEXT or AVRO_EVENT, or Flume's class name of one.",
    },
    Key {
        name: "sink.serializer.appendNewline",
        kind: Kind::Boolean,
        default: "true",
        meaning: "TEXT and HEADER_AND_TEXT: end each event with a newline.",
    },
    Key {
        name: "sink.serializer.syncIntervalBytes",
        kind: Kind::Number,
        default: "2048000",
        meaning: "AVRO_EVENT: bytes after which a block of the file ends; each batch ends one too.",
    },
    Key {
        name: "sink.serializer.compressionCodec",
        kind: Kind::Word,
        default: "null",
        meaning: "AVRO_EVENT: null, deflate or snappy, for each block of the file.",
    },
];

/// The serializer that `key` names (`sink.serializer`), with its own keys behind it.
///
/// # Errors
/// An unknown name, or a setting of the serializer that it cannot work with.
pub(crate) fn build(
    reader: &mut SettingsReader<'_>,
    key: &str,
) -> Result<Box<dyn Serializer>, SettingError> {
    let name = reader.text(key).unwrap_or("TEXT");
    let is = |alias: &str, class: &str| {
        name.eq_ignore_ascii_case(alias) || name.strip_suffix("$Builder").unwrap_or(name) == class
    };
    if is("text", "org.apache.flume.serialization.BodyTextEventSerializer") {
        Ok(Box::new(text::Text::build(reader, key, false)))
    } else if is(
        "header_and_text",
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer",
    ) {
        Ok(Box::new(text::Text::build(reader, key, true)))
    } else if is("avro_event", "org.apache.flume.serialization.FlumeEventAvroEventSerializer") {
        Ok(Box::new(avro_event::AvroEvent::build(reader, key)?))
    } else {
        Err(reader.error(
            key,
            format!("\"{name}\" is none of TEXT, HEADER_AND_TEXT and AVRO_EVENT; Java classes cannot be loaded"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    #[test]
    fn serializers_are_found_by_alias_and_by_class() {
        for name in [
            "TEXT",
            "text",
            "Header_And_Text",
            "avro_event",
            "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
            "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder",
            "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder",
        ] {
            let settings = Settings::from_pairs("k1", &[("sink.serializer", name)]);
            assert!(
                build(&mut SettingsReader::new(&settings), "sink.serializer").is_ok(),
                "{name}"
            );
        }
        let settings =
            Settings::from_pairs("k1", &[("sink.serializer", "com.example.Own$Builder")]);
        let Err(error) = build(&mut SettingsReader::new(&settings), "sink.serializer") else {
            panic!("an unknown class was taken")
        };
        assert_eq!(error.key, "k1.sink.serializer");
    }
}
