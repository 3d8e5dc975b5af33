//! `millpond.properties` in the configuration directory: settings that are not part of Flume's
//! files.
//!
//! A key there is the `-D` option `millpond.KEY`, and the option wins where both are given.

use millpond_config::properties;
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::settings::flume_names;
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name.
pub(crate) const NAME: &str = "millpond.properties";
/// The prefix of its keys as options.
const PREFIX: &str = "millpond.";
/// The valid keys, one of them with a class appended.
const KEYS: [&str; 6] = [
    "admin.socket",
    "clients.memoryBytes",
    "external.CLASS",
    "log.fileBytesMax",
    "log.filesMax",
    "log.format",
];

/// Returns the file's settings as options, and warnings.
pub(crate) fn read(conf: &Path) -> (BTreeMap<String, String>, Vec<String>) {
    let path = conf.join(NAME);
    let (mut options, mut warnings) = (BTreeMap::new(), Vec::new());
    let bytes = match read_whole(&path, CONFIG_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(SmallFileError::Missing) => return (options, warnings),
        Err(error) => {
            warnings.push(format!("{}: not used: {error}", path.display()));
            return (options, warnings);
        }
    };
    let entries = match properties::parse(&bytes) {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(format!("{}:{}: not used: {error}", path.display(), error.line));
            return (options, warnings);
        }
    };
    for entry in entries {
        let (key, value) = (entry.key.trim(), entry.value.trim());
        let is_external = key.strip_prefix("external.").is_some_and(|class| !class.is_empty());
        let place = format!("{}:{}", path.display(), entry.line);
        if !is_external && !KEYS.contains(&key) {
            let hint = flume_names::did_you_mean(key, KEYS);
            warnings.push(format!("{place}: {key}: no such setting{hint}"));
        } else if options.insert(format!("{PREFIX}{key}"), value.to_owned()).is_some() {
            warnings.push(format!("{place}: {key}: is set a second time; this one counts"));
        }
    }
    (options, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let conf = tempfile::tempdir().expect("a directory");
        std::fs::write(conf.path().join(NAME), text).expect("written");
        let (options, warnings) = read(conf.path());
        let warnings = warnings.iter().map(|w| w.split_once(NAME).expect("named").1.to_owned());
        (options.into_iter().collect(), warnings.collect())
    }

    #[test]
    fn what_stands_in_the_file_is_an_option_and_what_is_none_is_named() {
        let (options, warnings) = file(
            "# a map\nexternal.com.x.My$Builder = python3  my.py\nlog.format=json\n\
             extrenal.com.x.Y = z\nexternal. = z\nlog.format = text\n",
        );
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = [
            pair("millpond.external.com.x.My$Builder", "python3  my.py"),
            pair("millpond.log.format", "text"),
        ];
        assert_eq!(options, expected);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with(":4: extrenal.com.x.Y: no such setting"), "{warnings:?}");
        assert!(warnings[2].starts_with(":6: log.format: is set a second time"), "{warnings:?}");
        assert_eq!(read(Path::new("/nonexistent")), (BTreeMap::new(), Vec::new()));
        let (options, warnings) = file("a = \\u12g4\n");
        assert!(options.is_empty() && warnings[0].starts_with(":1: not used"), "{warnings:?}");
    }
}
