//! Which format the files of a sink have.

use super::FileFormat;
use super::sequence_file::{SequenceFile, ValueClass};
use super::text::TextFormat;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};

/// The keys of the formats.
pub(crate) const KEYS: [Key; 5] = [
    Key {
        name: "hdfs.fileType",
        kind: KeyKind::Word,
        default: "SequenceFile",
        meaning: "SequenceFile, or DataStream for what the serializer writes.",
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
        meaning: "Compression; only none is available.",
    },
    Key {
        name: "serializer",
        kind: KeyKind::Word,
        default: "TEXT",
        meaning: "DataStream: TEXT or HEADER_AND_TEXT, or Flume's class name of one of these.",
    },
    Key {
        name: "serializer.appendNewline",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Whether each event ends with a newline.",
    },
];

/// The format of a sink's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FormatSettings {
    /// Hadoop's records.
    SequenceFile {
        /// Whether values are `Text`.
        text: bool,
    },
    /// Lines.
    Text {
        /// Whether a newline ends each event.
        appends_newline: bool,
        /// Whether headers come first.
        with_headers: bool,
    },
}

impl FormatSettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// A word that is not known, or a combination that cannot work.
    pub(crate) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let kinds = &["SequenceFile", "DataStream", "CompressedStream"];
        let kind = reader.word("hdfs.fileType", kinds)?.unwrap_or("SequenceFile");
        let codec = reader.text("hdfs.codeC");
        if kind == "CompressedStream" {
            let message = "CompressedStream is not available yet; use DataStream";
            return Err(reader.error("hdfs.fileType", message));
        }
        if let Some(codec) = codec {
            if kind == "DataStream" {
                let message = "a DataStream has no codec: remove this key";
                return Err(reader.error("hdfs.codeC", message));
            }
            if !codec.eq_ignore_ascii_case("none") {
                let message = format!("\"{codec}\": compression is not available yet; use none");
                return Err(reader.error("hdfs.codeC", message));
            }
        }
        if kind == "SequenceFile" {
            let formats = &["Writable", "Text"];
            let text = reader.word("hdfs.writeFormat", formats)? == Some("Text");
            return Ok(Self::SequenceFile { text });
        }
        let with_headers = serializer_has_headers(reader)?;
        let appends_newline = reader.boolean("serializer.appendNewline", true);
        Ok(Self::Text { appends_newline, with_headers })
    }

    /// Returns the extension that the format gives a name, with its dot.
    pub(crate) fn extension(&self) -> Option<&'static str> {
        None
    }

    /// Returns the writer of one file.
    pub(crate) fn create(&self) -> Box<dyn FileFormat> {
        match *self {
            Self::SequenceFile { text } => {
                let class = if text { ValueClass::Text } else { ValueClass::Bytes };
                Box::new(SequenceFile::new(class))
            }
            Self::Text { appends_newline, with_headers } => {
                Box::new(TextFormat { appends_newline, with_headers })
            }
        }
    }
}

fn serializer_has_headers(reader: &SettingsReader<'_>) -> Result<bool, SettingError> {
    const PACKAGE: &str = "org.apache.flume.serialization.";
    let name = reader.text("serializer").unwrap_or("TEXT");
    let class = name.strip_suffix("$Builder").unwrap_or(name).strip_prefix(PACKAGE);
    let is = |alias: &str, of: &str| name.eq_ignore_ascii_case(alias) || class == Some(of);
    if is("TEXT", "BodyTextEventSerializer") {
        Ok(false)
    } else if is("HEADER_AND_TEXT", "HeaderAndBodyTextEventSerializer") {
        Ok(true)
    } else {
        let message =
            format!("\"{name}\" is neither TEXT nor HEADER_AND_TEXT; others are not available yet");
        Err(reader.error("serializer", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::Settings;

    fn read(pairs: &[(&str, &str)]) -> Result<FormatSettings, SettingError> {
        FormatSettings::read(&mut SettingsReader::new(&Settings::from_pairs("k1", pairs)))
    }

    #[test]
    fn formats_are_found_and_impossible_combinations_refused() {
        assert_eq!(read(&[]).unwrap(), FormatSettings::SequenceFile { text: false });
        let text = [("hdfs.writeFormat", "text"), ("hdfs.codeC", "none")];
        assert_eq!(read(&text).unwrap(), FormatSettings::SequenceFile { text: true });
        let class = "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder";
        let lines = [("hdfs.fileType", "datastream"), ("serializer", class)];
        let expected = FormatSettings::Text { appends_newline: true, with_headers: true };
        assert_eq!(read(&lines).unwrap(), expected);
        for (key, pairs) in [
            ("k1.hdfs.codeC", &[("hdfs.fileType", "DataStream"), ("hdfs.codeC", "none")][..]),
            ("k1.hdfs.codeC", &[("hdfs.codeC", "gzip")]),
            ("k1.hdfs.fileType", &[("hdfs.fileType", "CompressedStream")]),
            ("k1.hdfs.fileType", &[("hdfs.fileType", "Text")]),
            ("k1.serializer", &[("hdfs.fileType", "DataStream"), ("serializer", "x.Own$Builder")]),
        ] {
            assert_eq!(read(pairs).unwrap_err().key, key, "{pairs:?}");
        }
    }
}
