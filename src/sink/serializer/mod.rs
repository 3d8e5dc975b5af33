//! Serializers: events to the bytes of a file. Also used by sinks that write elsewhere than to a
//! local disk.
//!
//! A serializer writes whole batches. What one call writes stands on its own: cut a file behind
//! any batch and it is a legal file.

mod avro_datum;
mod avro_event;
mod avro_file;
#[cfg(test)]
pub(crate) use avro_event::reading;
mod text;

use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::sink::Failure;
use std::io::{self, Write};

/// Writes events to files of one format.
pub(crate) trait Serializer: Send {
    /// Looks at a batch before anything of it is written: events that go into different files, in
    /// groups; `None` when all of them may share one. One file by default.
    ///
    /// # Errors
    /// An event has no place in any file, or not now.
    fn groups(&mut self, batch: &[Event]) -> Result<Option<Vec<Vec<Event>>>, Failure> {
        let _ = batch;
        Ok(None)
    }

    /// Whether the file that was begun last takes a group that begins with `event`. Yes by default.
    fn goes_on(&self, event: &Event) -> bool {
        let _ = event;
        true
    }

    /// Writes what a file begins with whose first event is `first`.
    ///
    /// # Errors
    /// Those of `out`.
    fn begin(&mut self, first: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Writes `batch`.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()>;

    /// Whether there may be events that have no place in any file, now or later. No by default.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Whether a file without a byte is a legal one. Yes by default.
    fn may_be_empty(&self) -> bool {
        true
    }

    /// Whether each batch has a price in the file, so that small ones make it larger and slower to
    /// read.
    fn prefers_large_batches(&self) -> bool {
        false
    }
}

/// The keys of every serializer behind `sink.serializer`, for tables of sinks.
pub(crate) const FILE_ROLL_KEYS: [Key; 6] = [
    Key {
        name: "sink.serializer",
        kind: Kind::Word,
        default: "TEXT",
        meaning: "Format of the files: TEXT, HEADER_AND_TEXT, AVRO_EVENT, or Flume's class name of one of these or of AvroEventSerializer.",
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
        meaning: "Avro: bytes after which a block of the file ends; each batch ends one too.",
    },
    Key {
        name: "sink.serializer.compressionCodec",
        kind: Kind::Word,
        default: "null",
        meaning: "Avro: null, deflate, snappy, bzip2, xz or zstandard, for each block of the file.",
    },
    Key {
        name: "sink.serializer.schemaURL",
        kind: Kind::Text,
        default: "",
        meaning: "AvroEventSerializer: where the schema of events is that name none, file:/path.",
    },
    Key {
        name: "sink.serializer.schemaDirectory",
        kind: Kind::Path,
        default: "",
        meaning: "AvroEventSerializer: directory below which the file may lie that an event's flume.avro.schema.url names; without it none may but that of schemaURL. Flume reads whatever URL an event names.",
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
    } else if avro_datum::CLASSES.iter().any(|class| is("", class)) {
        Ok(Box::new(avro_datum::AvroDatum::build(reader, key)?))
    } else {
        Err(reader.error(
            key,
            format!("\"{name}\" is none of TEXT, HEADER_AND_TEXT, AVRO_EVENT and org.apache.flume.sink.hdfs.AvroEventSerializer$Builder; Java classes cannot be loaded"),
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
            "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
            "org.apache.flume.serialization.AvroEventSerializer$Builder",
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
