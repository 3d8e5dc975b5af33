//! `tool`: Flume's tools, of which `fcintegritytool` is the only one, refused by name with the
//! replacement.
//!
//! Flume's tool takes one file after the other and overwrites what it finds wrong. A millpond
//! channel is inspected as a whole, with its checkpoint directory, which Flume's tool does not get;
//! so nothing is done here for it.

use super::exit::CommandError;
use millpond::internal::layout::MEMBER_NAME;
use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

pub(super) fn run(words: &[OsString]) -> Result<(), CommandError> {
    let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.eq_ignore_ascii_case("fcintegritytool") {
        let what =
            if name.is_empty() { "which tool?".to_owned() } else { format!("no tool {name}:") };
        return Err(CommandError::Usage(format!(
            "{what} Flume has only fcintegritytool, which `millpond channel check` and `millpond channel repair` replace"
        )));
    }
    let directories = data_directories(words);
    let list = match directories.is_empty() {
        true => "DIR[,DIR...]".to_owned(),
        false => directories.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(","),
    };
    // A data directory of millpond is recognised by its member file.
    let ours = directories.iter().find(|directory| directory.join(MEMBER_NAME).is_file());
    let what = match (ours, directories.first()) {
        (Some(directory), _) => format!(
            "fcintegritytool is for Flume's files, and {} belongs to a millpond channel",
            directory.display()
        ),
        (None, Some(directory)) => format!(
            "fcintegritytool is not here: millpond does not read the file channel of Flume ({}), Flume's own tool does",
            directory.display()
        ),
        (None, None) => "fcintegritytool is not here".to_owned(),
    };
    Err(CommandError::Usage(format!(
        "{what}; a millpond channel is verified by `millpond channel check --checkpoint-dir DIR --data-dirs {list}`, and `millpond channel repair` with the same words sets damage aside; nothing was read or changed"
    )))
}

/// Returns the directories of `-l DIRS` or `--dataDirs DIRS`.
fn data_directories(words: &[OsString]) -> Vec<PathBuf> {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    let mut list = None;
    while let Some(word) = words.next() {
        if ["-l", "--dataDirs"].contains(&&*word) {
            list = words.next().map(Cow::into_owned);
        } else if let Some(given) = word.strip_prefix("--dataDirs=").or(word.strip_prefix("-l")) {
            list = Some(given.to_owned());
        }
    }
    let list = list.unwrap_or_default();
    list.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}
