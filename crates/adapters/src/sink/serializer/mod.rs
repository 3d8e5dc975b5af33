//! Serializers: from events to the bytes of a file. Also used by sinks that do not write to a local disk.
//!
//! A serializer writes whole batches. The output of each call is complete: a file cut after any batch is valid.

mod avro_datum;
mod avro_event;
mod avro_file;
#[cfg(test)]
pub(crate) use avro_event::reading;
mod serialize;
mod text;

use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
pub use serialize::Serializer;

/// The keys of every serializer after `sink.serializer`, for tables of sinks.
pub(crate) const FILE_ROLL_KEYS: [Key; 6] = [
    Key {
        name: "sink.serializer",
        kind: KeyKind::Word,
        default: "TEXT",
        meaning: "Format of the files: TEXT, HEADER_AND_TEXT, AVRO_EVENT, or Flume's class name of one of these or of AvroEventSerializer.",
    },
    Key {
        name: "sink.serializer.appendNewline",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "TEXT and HEADER_AND_TEXT: end each event with a newline.",
    },
    Key {
        name: "sink.serializer.syncIntervalBytes",
        kind: KeyKind::Number,
        default: "2048000",
        meaning: "Avro: bytes after which a block of the file ends; each batch ends one too.",
    },
    Key {
        name: "sink.serializer.compressionCodec",
        kind: KeyKind::Word,
        default: "null",
        meaning: "Avro: null, deflate, snappy, bzip2, xz or zstandard, for each block of the file.",
    },
    Key {
        name: "sink.serializer.schemaURL",
        kind: KeyKind::Text,
        default: "",
        meaning: "AvroEventSerializer: the schema of events that name none, as file:/path.",
    },
    Key {
        name: "sink.serializer.schemaDirectory",
        kind: KeyKind::Path,
        default: "",
        meaning: "AvroEventSerializer: directory below which the file named by an event's flume.avro.schema.url must be; without it only that of schemaURL is allowed. Flume reads whatever URL an event names.",
    },
];

/// Builds the serializer that `key` names (`sink.serializer`), with its own keys below that.
///
/// # Errors
/// An unknown name, or an invalid setting of the serializer.
pub fn build(
    reader: &mut SettingsReader<'_>,
    key: &str,
) -> Result<Box<dyn Serializer>, SettingError> {
    let name = reader.text(key).unwrap_or("TEXT");
    let is = |alias: &str, class: &str| {
        name.eq_ignore_ascii_case(alias) || name.strip_suffix("$Builder").unwrap_or(name) == class
    };
    if is("text", "org.apache.flume.serialization.BodyTextEventSerializer") {
        Ok(Box::new(text::TextSerializer::build(reader, key, false)))
    } else if is(
        "header_and_text",
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer",
    ) {
        Ok(Box::new(text::TextSerializer::build(reader, key, true)))
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
    use millpond_flow::settings::Settings;

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
