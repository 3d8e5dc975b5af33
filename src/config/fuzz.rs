//! What the fuzz targets call; tests/hostile runs them too.

use super::catalogue::Catalogue;
use super::file;
use super::findings::Findings;
use super::interpolate::Lookups;
use super::load::{Origin, from_table};
use super::properties::parse;
use super::sections;
use super::settings::{Place, Setting};
use crate::base::limits::VALUE_BYTES_MAX;
use jiff::Zoned;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Agents of one file that are read.
const AGENTS_MAX: usize = 4;

/// Any bytes as a `.properties` file. What it holds is written with every character escaped, and
/// has to be read as the same.
///
/// # Panics
/// It is not.
pub fn properties(bytes: &[u8]) {
    let Ok(entries) = parse(bytes) else { return };
    assert!(entries.len() <= bytes.len(), "an entry takes a byte at least");
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let mut again = String::new();
    for entry in &entries {
        assert!((1..=lines).contains(&(entry.line as usize)), "an entry begins on a line");
        again += &format!("{}={}\n", escaped(&entry.key), escaped(&entry.value));
    }
    let read = parse(again.as_bytes()).expect("every escape is whole");
    let pairs = |of: &[super::properties::Entry]| -> Vec<(String, String)> {
        of.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    assert_eq!(pairs(&read), pairs(&entries), "entries read back");
}

fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Any bytes as a `.properties` file whose values refer to each other.
///
/// # Panics
/// A value grows beyond its limit, or text without references changes.
pub fn interpolation(bytes: &[u8]) {
    let Ok(entries) = parse(bytes) else { return };
    let (texts, keys): (Vec<String>, BTreeMap<String, Setting>) = entries
        .into_iter()
        .map(|entry| {
            let setting = Setting { value: entry.value.clone(), place: Place::nowhere() };
            (entry.value, (entry.key, setting))
        })
        .unzip();
    let environment = |name: &str| name.strip_prefix("E").map(str::to_owned);
    let system = BTreeMap::from([("s".to_owned(), "${a}".to_owned())]);
    let now = Zoned::new(jiff::Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC);
    let mut lookups = Lookups {
        system: &system,
        environment: &environment,
        now: &now,
        keys: &keys,
        environment_by_name: false,
    };
    for text in texts.iter().take(64) {
        for by_name in [false, true] {
            lookups.environment_by_name = by_name;
            let Ok(resolved) = lookups.resolve(text) else { continue };
            assert!(resolved.text.len() <= 2 * VALUE_BYTES_MAX, "the limit and one value beyond");
            assert!(text.contains("${") || resolved.text == *text, "nothing to replace");
        }
    }
}

/// Any bytes as a configuration file: its agents are validated as if they were to run, with the
/// types of `catalogue`.
///
/// # Panics
/// Something is said about a line that the file does not have.
pub fn settings(bytes: &[u8], catalogue: &Catalogue) {
    let path = Path::new("flume.conf");
    let table = || file::parse(&Arc::from(path), bytes, &mut Findings::default());
    let Ok(first) = table() else { return };
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let system = BTreeMap::new();
    // Bytes from anywhere run no program.
    let nobody = |_: &str, _: &str| Err("nobody is asked".to_owned());
    for agent in sections::agents(&first).into_iter().take(AGENTS_MAX) {
        let origin = Origin {
            path,
            agent: &agent,
            system: &system,
            environment: &|_| None,
            program: &nobody,
        };
        let found = from_table(&first, &origin, catalogue, Findings::default());
        let findings = match &found {
            Ok(loaded) => &loaded.findings,
            Err(error) => error.findings(),
        };
        let beyond = findings.iter().find(|finding| finding.place.line as usize > lines);
        assert!(beyond.is_none(), "a finding is about a line that is there: {beyond:?}");
    }
}
