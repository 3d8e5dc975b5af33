//! Reads configuration files into one table of keys, in which later files override earlier ones.

use super::findings::ConfigFindings;
use super::properties::{self, MalformedEscape};
use millpond_flow::base::limits::{CONFIG_BYTES_MAX, CONFIG_KEYS_MAX};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::settings::{ConfigSetting, SettingPlace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A UTF-8 byte order mark, read as ISO-8859-1.
const BYTE_ORDER_MARK: &str = "\u{EF}\u{BB}\u{BF}";

/// Why a configuration file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: SmallFileError,
    },
    /// Its text is encoded in UTF-16.
    #[error("configuration {}: its text is UTF-16; save it as UTF-8, without a byte order mark", path.display())]
    Utf16 {
        /// The file.
        path: PathBuf,
    },
    /// It contains a malformed escape.
    #[error("{place}: {source}; Flume reads nothing of such a file")]
    Escape {
        /// Its place.
        place: SettingPlace,
        /// The error.
        source: MalformedEscape,
    },
    /// It has too many keys.
    #[error("{place}: here is key {}, and {CONFIG_KEYS_MAX} are what a configuration may have; is it one", CONFIG_KEYS_MAX + 1)]
    Keys {
        /// The place of the first one beyond the limit.
        place: SettingPlace,
    },
}

/// Keys and values, trimmed as in Flume, and not yet interpolated.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    pub(super) entries: BTreeMap<String, ConfigSetting>,
}

/// The text of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigText {
    /// The file's path, or the name of another origin.
    pub name: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads `paths` and merges them as [`merged`] does.
pub(super) fn read(paths: &[&Path], findings: &mut ConfigFindings) -> Result<KeyTable, FileError> {
    let read = |path: &&Path| {
        let bytes = read_whole(path, CONFIG_BYTES_MAX);
        let bytes = bytes.map_err(|source| FileError::Read { path: path.to_path_buf(), source })?;
        Ok(ConfigText { name: path.to_path_buf(), bytes })
    };
    let texts: Vec<ConfigText> = paths.iter().map(read).collect::<Result<_, FileError>>()?;
    merged(&texts, findings)
}

/// Merges `texts` into a table; a later text silently overrides keys of an earlier one, as in Flume. A duplicate
/// key within one text is a finding.
pub(super) fn merged(
    texts: &[ConfigText],
    findings: &mut ConfigFindings,
) -> Result<KeyTable, FileError> {
    let mut table = KeyTable::default();
    for text in texts {
        let own = parse(&Arc::from(text.name.as_path()), &text.bytes, findings)?;
        table.entries.extend(own.entries);
    }
    Ok(table)
}

/// Parses `bytes`, named `file`, into a table.
pub(super) fn parse(
    file: &Arc<Path>,
    bytes: &[u8],
    findings: &mut ConfigFindings,
) -> Result<KeyTable, FileError> {
    let place = |line| SettingPlace { file: Arc::clone(file), line };
    if is_utf16(bytes) {
        return Err(FileError::Utf16 { path: file.to_path_buf() });
    }
    let mut table = KeyTable::default();
    for (at, entry) in properties::entries(bytes).enumerate() {
        let entry =
            entry.map_err(|source| FileError::Escape { place: place(source.line), source })?;
        let place = place(entry.line);
        if at == CONFIG_KEYS_MAX {
            return Err(FileError::Keys { place });
        }
        let key = trim(&entry.key).to_owned();
        let marked = key.strip_prefix(BYTE_ORDER_MARK).filter(|_| at == 0);
        if marked.is_some_and(|key| key.is_empty() || key.starts_with(['#', '!'])) {
            // For Java it is a key, which is never read.
            findings.warn(
                &place,
                "",
                "the file begins with a byte order mark, and Java does not treat its first line as a comment; the line is ignored; save the file without the mark",
            );
            continue;
        }
        if marked.is_some() {
            findings.warn(
                &place,
                "",
                "the file begins with a byte order mark, which is part of the first key, as in Java; save it without",
            );
        }
        if entry.broken_surrogate {
            findings.warn(&place, &key, "holds half a surrogate pair, replaced by U+FFFD");
        }
        let value = trim(&entry.value).to_owned();
        if entry.lost_backslash {
            let words = "has a backslash that is dropped from the value, as in Flume; write \\\\ for a literal backslash";
            findings.note(&place, &key, words);
        }
        let setting = ConfigSetting { value, place: place.clone() };
        if let Some(before) = table.entries.insert(key.clone(), setting) {
            findings.warn(
                &place,
                &key,
                format!(
                    "is set a second time; the value of line {} does not count, as in Flume",
                    before.place.line
                ),
            );
        }
    }
    Ok(table)
}

/// Returns true if the text is UTF-16: it begins with that byte order mark, or every other byte of its beginning
/// is mostly zero and the bytes between them never are. Properties files contain no zero byte.
fn is_utf16(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 1024;
    const UNITS_MIN: usize = 4;
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return true;
    }
    let (units, _) = bytes[..bytes.len().min(LOOKED_AT)].as_chunks::<2>();
    let zeros = |at: usize| units.iter().filter(|unit| unit[at] == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    units.len() >= UNITS_MIN && first.min(second) == 0 && first.max(second) > units.len() / 2
}

/// Java's `String.trim`: removes blanks and control characters up to U+0020, and nothing else.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}
