//! Entry points of the fuzz targets; crates/agent/tests/hostile runs them too.

use super::catalogue::Catalogue;
use super::file;
use super::findings::ConfigFindings;
use super::interpolation::Lookups;
use super::load_context::LoadContext;
use super::loader::from_table;
use super::properties::parse;
use super::sections;
use jiff::Zoned;
use millpond_flow::base::limits::VALUE_BYTES_MAX;
use millpond_flow::settings::{ConfigSetting, SettingPlace};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Most agents of one file that are read.
const AGENTS_MAX: usize = 4;

/// Parses any bytes as a `.properties` file, writes the result with every character escaped, and parses that
/// again.
///
/// # Panics
/// The second result differs.
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
    let pairs = |of: &[super::properties::PropertyEntry]| -> Vec<(String, String)> {
        of.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    assert_eq!(pairs(&read), pairs(&entries), "entries read back");
}

fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Parses any bytes as a `.properties` file and resolves the references of its values.
///
/// # Panics
/// A value grows beyond its limit, or text without references changes.
pub fn interpolation(bytes: &[u8]) {
    let Ok(entries) = parse(bytes) else { return };
    let (texts, keys): (Vec<String>, BTreeMap<String, ConfigSetting>) = entries
        .into_iter()
        .map(|entry| {
            let setting =
                ConfigSetting { value: entry.value.clone(), place: SettingPlace::nowhere() };
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

/// Reads any bytes as a configuration file and validates its agents with the types of `catalogue`.
///
/// # Panics
/// A finding is about a line that the file does not have.
pub fn settings(bytes: &[u8], catalogue: &Catalogue) {
    let path = Path::new("flume.conf");
    let table = || file::parse(&Arc::from(path), bytes, &mut ConfigFindings::default());
    let Ok(first) = table() else { return };
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let system = BTreeMap::new();
    // Fuzzing runs no program.
    let no_program = |_: &str, _: &str| Err("no program is run".to_owned());
    for agent in sections::agents(&first).into_iter().take(AGENTS_MAX) {
        let origin = LoadContext {
            path,
            agent: &agent,
            system: &system,
            environment: &|_| None,
            program: &no_program,
        };
        let found = from_table(&first, &origin, catalogue, ConfigFindings::default());
        let findings = match &found {
            Ok(loaded) => &loaded.findings,
            Err(error) => error.findings(),
        };
        let beyond = findings.iter().find(|finding| finding.place.line as usize > lines);
        assert!(beyond.is_none(), "a finding is about a line that is there: {beyond:?}");
    }
}
