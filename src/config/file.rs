//! Configuration files as one table of keys, the later file's word counting.

use super::findings::Findings;
use super::properties::{self, MalformedEscape};
use super::settings::{Place, Setting};
use crate::base::limits::{CONFIG_BYTES_MAX, CONFIG_KEYS_MAX};
use crate::base::read_whole::{ReadWholeError, read_whole};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a UTF-8 byte order mark reads in ISO-8859-1.
const BYTE_ORDER_MARK: &str = "\u{EF}\u{BB}\u{BF}";

/// Why a configuration file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file itself.
    #[error("configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadWholeError,
    },
    /// Its text.
    #[error("{place}: {source}; Flume reads nothing of such a file")]
    Escape {
        /// Where.
        place: Place,
        /// What is wrong with it.
        source: MalformedEscape,
    },
    /// How many keys it has.
    #[error("{place}: here is key {}, and {CONFIG_KEYS_MAX} are what a configuration may have; is it one", CONFIG_KEYS_MAX + 1)]
    Keys {
        /// Where there are too many.
        place: Place,
    },
}

/// Keys and values, trimmed as Flume trims them, and not yet interpolated.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Setting>,
}

/// The text of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The file's path, or what else it was had from is called.
    pub name: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads `paths` as [`merged`] has them.
pub(super) fn read(paths: &[&Path], findings: &mut Findings) -> Result<Table, FileError> {
    let read = |path: &&Path| {
        let bytes = read_whole(path, CONFIG_BYTES_MAX);
        let bytes = bytes.map_err(|source| FileError::Read { path: path.to_path_buf(), source })?;
        Ok(Text { name: path.to_path_buf(), bytes })
    };
    let texts: Vec<Text> = paths.iter().map(read).collect::<Result<_, FileError>>()?;
    merged(&texts, findings)
}

/// The table of `texts`, one after the other; a later one's key replaces an earlier one's, silently, as
/// in Flume. Within one text a key that is set twice is a finding.
pub(super) fn merged(texts: &[Text], findings: &mut Findings) -> Result<Table, FileError> {
    let mut table = Table::default();
    for text in texts {
        let own = parse(&Arc::from(text.name.as_path()), &text.bytes, findings)?;
        table.entries.extend(own.entries);
    }
    Ok(table)
}

/// The table that `bytes` hold, `file` being their name.
pub(super) fn parse(
    file: &Arc<Path>,
    bytes: &[u8],
    findings: &mut Findings,
) -> Result<Table, FileError> {
    let place = |line| Place { file: Arc::clone(file), line };
    let mut table = Table::default();
    for (at, entry) in properties::entries(bytes).enumerate() {
        let entry =
            entry.map_err(|source| FileError::Escape { place: place(source.line), source })?;
        let place = place(entry.line);
        if at == CONFIG_KEYS_MAX {
            return Err(FileError::Keys { place });
        }
        let key = trim(&entry.key).to_owned();
        if at == 0 && key.starts_with(BYTE_ORDER_MARK) {
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
            let words = "has a backslash that is no part of the value, as in Flume; write \\\\ for one that is meant";
            findings.note(&place, &key, words);
        }
        let setting = Setting { value, place: place.clone() };
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

/// Java's `String.trim`: everything up to the blank, control characters too, and nothing else.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}
