//! `deadLetter.*` of a sink: where events go that the destination refuses for good.

use crate::base::files::home_directory;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use std::path::PathBuf;

/// Default number of refusals of an event before it is moved.
pub const AFTER_REFUSALS: u32 = 5;

/// Default limit of the file in bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// The keys of every sink. Flume has none of them.
pub const KEYS: [Key; 4] = [
    Key {
        name: "deadLetter.directory",
        kind: KeyKind::Path,
        default: "",
        meaning: "Directory for events that the destination refuses for good, as lines of JSON in the file AGENT.SINK.jsonl. Without this key and the next one such an event stays, as in Flume, and blocks the channel.",
    },
    Key {
        name: "deadLetter.channel",
        kind: KeyKind::Word,
        default: "",
        meaning: "File channel of the same agent for such events instead, with the headers deadLetter.sink, deadLetter.cause and deadLetter.time.",
    },
    Key {
        name: "deadLetter.afterRefusals",
        kind: KeyKind::Number,
        default: "5",
        meaning: "How often the destination has to refuse an event before it is moved, 1 to 1000000. One that can never fit (no path, not the schema, too large) is moved at once.",
    },
    Key {
        name: "deadLetter.maxBytes",
        kind: KeyKind::Number,
        default: "1073741824",
        meaning: "Bytes of the file in deadLetter.directory at most, from 4096; then events stay in the channel until the file is moved away.",
    },
];

/// Handling of an event that is refused repeatedly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// Refusals before it is moved, at least 1. A final refusal is enough by itself.
    pub after_refusals: u32,
    /// Its destination.
    pub place: DeadLetterPlace,
}

impl DeadLetterSettings {
    /// Returns those of a sink that never blocks its channel with a refused event, where the configuration sets
    /// none: the first refusal counts, and the file is in `~/.flume/dead-letters`. `None` without a home directory.
    #[must_use]
    pub fn below_home() -> Option<Self> {
        let path = home_directory()?.join(".flume/dead-letters");
        let place = DeadLetterPlace::Directory { path, bytes_max: MAX_BYTES };
        Some(Self { after_refusals: 1, place })
    }
}

/// The destination of undeliverable events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterPlace {
    /// A file in this directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Most bytes of the file.
        bytes_max: u64,
    },
    /// The channel of this name.
    Channel(String),
}

/// Reads the sink's settings; `None`: refused events stay until they are delivered.
///
/// # Errors
/// Both destinations are set, or a number is outside its range.
pub fn read(reader: &mut SettingsReader<'_>) -> Result<Option<DeadLetterSettings>, SettingError> {
    let after = reader.number("deadLetter.afterRefusals", 1..=1_000_000)?;
    let bytes_max = reader.number("deadLetter.maxBytes", 4096..=u64::MAX)?;
    let directory = reader.text("deadLetter.directory").filter(|path| !path.is_empty());
    let channel = reader.text("deadLetter.channel").filter(|name| !name.is_empty());
    let place = match (directory, channel) {
        (Some(_), Some(_)) => {
            let message = "an event goes to one place: remove this key or deadLetter.directory";
            return Err(reader.error("deadLetter.channel", message));
        }
        (Some(path), None) => DeadLetterPlace::Directory {
            path: PathBuf::from(path),
            bytes_max: bytes_max.unwrap_or(MAX_BYTES),
        },
        (None, Some(name)) => DeadLetterPlace::Channel(name.trim().to_owned()),
        (None, None) => {
            for key in ["deadLetter.afterRefusals", "deadLetter.maxBytes"] {
                if reader.text(key).is_some() {
                    let message =
                        "has no effect without deadLetter.directory or deadLetter.channel";
                    reader.find(Severity::Warning, key, message);
                }
            }
            return Ok(None);
        }
    };
    if matches!(place, DeadLetterPlace::Channel(_)) && bytes_max.is_some() {
        let message = "has no effect with deadLetter.channel, which has a capacity of its own";
        reader.find(Severity::Warning, "deadLetter.maxBytes", message);
    }
    Ok(Some(DeadLetterSettings { after_refusals: after.unwrap_or(AFTER_REFUSALS), place }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ConfigFinding, Settings};

    fn read_pairs(
        pairs: &[(&str, &str)],
    ) -> (Result<Option<DeadLetterSettings>, SettingError>, Vec<ConfigFinding>) {
        let settings = Settings::from_pairs("k1", pairs);
        let mut reader = SettingsReader::new(&settings);
        let read = read(&mut reader);
        (read, reader.into_findings())
    }

    #[test]
    fn nothing_is_set_unless_a_place_is() {
        let (read, found) = read_pairs(&[]);
        assert!(read.unwrap().is_none() && found.is_empty());
        let (read, found) = read_pairs(&[("deadLetter.afterRefusals", "3")]);
        assert!(read.unwrap().is_none());
        assert_eq!(found[0].key, "k1.deadLetter.afterRefusals");
    }

    #[test]
    fn a_place_has_its_limits() {
        let (read, found) = read_pairs(&[("deadLetter.directory", "/var/dead")]);
        let path = PathBuf::from("/var/dead");
        let place = DeadLetterPlace::Directory { path, bytes_max: MAX_BYTES };
        assert_eq!(read.unwrap(), Some(DeadLetterSettings { after_refusals: 5, place }));
        assert!(found.is_empty());
        let pairs = [("deadLetter.channel", "dead"), ("deadLetter.afterRefusals", "1")];
        let place = DeadLetterPlace::Channel("dead".to_owned());
        let wanted = DeadLetterSettings { after_refusals: 1, place };
        assert_eq!(read_pairs(&pairs).0.unwrap(), Some(wanted));
    }

    #[test]
    fn two_places_and_numbers_out_of_range_are_refused_by_name() {
        let both = [("deadLetter.directory", "/d"), ("deadLetter.channel", "c")];
        for (pairs, key) in [
            (&both[..], "k1.deadLetter.channel"),
            (&[("deadLetter.afterRefusals", "0")][..], "k1.deadLetter.afterRefusals"),
            (&[("deadLetter.maxBytes", "1")][..], "k1.deadLetter.maxBytes"),
        ] {
            assert_eq!(read_pairs(pairs).0.expect_err("refused").key, key);
        }
    }
}
