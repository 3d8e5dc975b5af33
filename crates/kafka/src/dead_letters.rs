//! Where records go that are not events: the keys, and their values.

use millpond_flow::settings::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, key};
use std::path::PathBuf;

/// The key of the directory.
pub(crate) const DIRECTORY: Key = key(
    "deadLetter.directory",
    KeyKind::Path,
    "~/.flume/dead-letters",
    "Directory for records that are not Flume's events; Flume drops them.",
);

/// The key of the size.
pub(crate) const MAX_BYTES: Key = key(
    "deadLetter.maxBytes",
    KeyKind::Number,
    "1073741824",
    "Bytes of the file in deadLetter.directory at most, from 4096; then nothing more is read until the file is moved away.",
);

/// The directory, and the most bytes of the file there; `None` where there is no home directory either.
pub(crate) type DeadLetterFile = Option<(PathBuf, u64)>;

/// Reads the keys.
pub(crate) fn read(reader: &mut SettingsReader<'_>) -> Result<DeadLetterFile, SettingError> {
    let bytes_max = reader.number("deadLetter.maxBytes", 4096..=u64::MAX)?;
    let given = reader.text("deadLetter.directory").filter(|path| !path.is_empty());
    let below_home = match DeadLetterSettings::below_home().map(|settings| settings.place) {
        Some(DeadLetterPlace::Directory { path, bytes_max }) => Some((path, bytes_max)),
        _ => None,
    };
    let default = below_home.as_ref().map_or(1 << 30, |(_, bytes_max)| *bytes_max);
    let directory = given.map(PathBuf::from).or(below_home.map(|(path, _)| path));
    Ok(directory.map(|path| (path, bytes_max.unwrap_or(default))))
}
