//! Tests that `validate` reports every documented difference from Flume for a configuration that
//! has it.

use super::rows::{Row, rows, type_rows};
use super::{CHANNELS, DOCUMENT, section};
use crate::agent::build::ComponentTypes;
use millpond_config::difference::Difference;
use millpond_config::difference_notes::notes;
use millpond_config::differences::DIFFERENCES;
use millpond_config::types::ComponentKind;
use millpond_config::{Catalogue, ConfigText, TypeEntry, load_texts};
use millpond_flow::settings::Key;
use std::collections::BTreeMap;

/// Rows about a value for which `validate` has a finding of its own.
const SAID_OF_THE_VALUE: &[(&str, &str)] = &[("spooldir", "fileSuffix"), ("http", "handler")];

/// Phrases that compare with Flume and find no difference.
const ALIKE: &[&str] = &[
    "as in Flume",
    "As in Flume",
    "as Flume",
    "in Flume's JSON",
    "Flume's JSON, replaced",
    "Flume's class name",
    "mean in Flume",
    "are Flume's",
    "Flume's own `.flumespool",
];

/// Returns whether the text describes a difference from Flume.
fn contrasts(text: &str) -> bool {
    ALIKE.iter().fold(text.to_owned(), |text, alike| text.replace(alike, "")).contains("Flume")
}

fn about(part: ComponentKind, name: &str) -> Vec<&'static Difference> {
    DIFFERENCES.iter().filter(|d| d.part == part && d.types.contains(&name)).collect()
}

/// Returns the documented differences of a section that no note reports.
fn unsaid(part: ComponentKind, entry: &TypeEntry, section: &'static str) -> Vec<String> {
    let name = entry.names[0];
    let notes = about(part, name);
    // Several types share a section.
    let its_own = |key: &&str| entry.keys.iter().any(|known| known.name == *key);
    let mut unsaid = Vec::new();
    // An accepted or refused key has a finding of its own.
    let says = |row: &&Row| match row.state {
        "better" => true,
        "honoured" => contrasts(row.meaning),
        _ => false,
    };
    for row in rows(section).iter().filter(says) {
        let exempt = |key: &&str| SAID_OF_THE_VALUE.contains(&(name, *key));
        let noted = |key: &&str| notes.iter().any(|note| note.keys.contains(key));
        if row.keys.iter().any(its_own) && !row.keys.iter().any(|key| exempt(key) || noted(key)) {
            unsaid.push(format!("{name}: {:?} {}", row.keys, row.meaning));
        }
    }
    let prose: Vec<&str> = section.lines().filter(|line| !line.starts_with('|')).collect();
    if contrasts(&prose.join("\n")) && !notes.iter().any(|note| note.keys.is_empty()) {
        unsaid.push(format!("{name}: the text below its table"));
    }
    unsaid
}

fn complaints(part: ComponentKind, mark: &str, entries: &[TypeEntry]) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in entries.iter().filter(|entry| entry.names[0] != "external") {
        let name = entry.names[0];
        let section = match CHANNELS
            .iter()
            .find(|(channel, _)| part == ComponentKind::Channel && *channel == name)
        {
            Some((_, heading)) => DOCUMENT.split("\n## ").find(|s| s.starts_with(heading)),
            None => section(&format!("{mark} {name}")),
        };
        let section = section.expect("every type has its section");
        let types = type_rows(section);
        let own = types.iter().find(|[types, ..]| types.starts_with(&format!("`{name}`")));
        match own {
            // In a table of types each has its row.
            Some([.., against]) if contrasts(against) && about(part, name).is_empty() => {
                complaints.push(format!("{name}: {against}"));
            }
            Some(_) => {}
            None => complaints.extend(unsaid(part, entry, section)),
        }
    }
    complaints
}

fn sorts(catalogue: &Catalogue) -> [(ComponentKind, &'static str, &[TypeEntry]); 6] {
    [
        (ComponentKind::Source, "source", &catalogue.sources),
        (ComponentKind::Channel, "channel", &catalogue.channels),
        (ComponentKind::Sink, "sink", &catalogue.sinks),
        (ComponentKind::Interceptor, "interceptor", &catalogue.interceptors),
        (ComponentKind::Selector, "selector", &catalogue.selectors),
        (ComponentKind::SinkProcessor, "processor", &catalogue.sink_processors),
    ]
}

#[test]
fn validate_has_a_note_for_whatever_the_document_says_against_flume() {
    let catalogue = ComponentTypes::built_in().catalogue();
    let found: Vec<String> = sorts(&catalogue)
        .into_iter()
        .flat_map(|(part, mark, entries)| complaints(part, mark, entries))
        .collect();
    assert!(found.is_empty(), "no note says:\n{}", found.join("\n"));
}

#[test]
fn a_difference_is_about_types_and_keys_that_there_are() {
    let catalogue = ComponentTypes::built_in().catalogue();
    for difference in DIFFERENCES {
        for name in difference.types {
            let mut entries = catalogue.entries(difference.part).iter();
            let Some(entry) = entries.find(|entry| entry.names[0] == *name) else {
                let is_left_out = match *name {
                    "hdfs" => !cfg!(feature = "hdfs"),
                    "jms" => !cfg!(feature = "jms"),
                    "kafka" => !cfg!(feature = "kafka"),
                    _ => false,
                };
                assert!(is_left_out, "there is no type {name}");
                continue;
            };
            let keys = difference.keys.iter().filter(|key| !difference.with.contains(*key));
            for key in keys.chain([&difference.with]).filter(|key| !key.is_empty()) {
                let fits = |known: &Key| match known.name.strip_suffix('*') {
                    Some(prefix) => key.starts_with(prefix),
                    None => known.name == *key,
                };
                assert!(entry.keys.iter().any(fits), "{name} has no key {key}");
            }
        }
    }
}

#[cfg(feature = "hdfs")]
#[test]
fn differences_of_the_hdfs_sink_are_said_of_the_keys_that_are_set() {
    let lines = "a.sinks.k.type=hdfs\na.sinks.k.hdfs.path=/x/%Y\n";
    for (key, words) in [
        ("hdfs.round=true", "_no_path"),
        ("hdfs.round=true", "no existing file is replaced"),
        ("hdfs.writeFormat=text", "ignores case"),
        ("hdfs.callTimeout=0", "is an hour"),
        ("hdfs.rollTimerPoolSize=3", "there are no such threads"),
    ] {
        let said = noted(&format!("{lines}a.sinks.k.{key}\n"));
        assert!(said.contains(words), "{key}: {said}");
        let is_of_the_type = key == "hdfs.round=true";
        assert_eq!(noted(lines).contains(words), is_of_the_type, "{key} is not set");
    }
}

/// Returns the notes about an agent with these lines.
fn noted(lines: &str) -> String {
    let bytes = format!(
        "a.sources=s\na.channels=c\na.sinks=k\na.channels.c.type=memory\na.sources.s.channels=c\n\
         a.sinks.k.channel=c\na.sources.s.type=seq\na.sinks.k.type=null\n{lines}"
    );
    let text = ConfigText { name: "a.conf".into(), bytes: bytes.into_bytes() };
    let loaded =
        load_texts(&[text], "a", &BTreeMap::new(), &ComponentTypes::built_in().catalogue());
    let notes = notes(&loaded.expect(lines).agent);
    notes.into_iter().map(|note| note.message).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_difference_is_said_of_the_values_that_it_is_about() {
    let (handlers, blob) = ("org.apache.flume.source.http.", "to BLOBHandler then");
    let morphline = "org.apache.flume.sink.solr.morphline.BlobHandler";
    let builder = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    for (part, kind, key, value, says, expected) in [
        ("sources.s", "http", "ssl", "true", "TLS 1.2", true),
        ("sources.s", "http", "ssl", "TRUE", "TLS 1.2", true),
        ("sources.s", "http", "ssl", "false", "TLS 1.2", false),
        ("sinks.k", "avro", "ssl", "true", "the certificate must be", true),
        ("sinks.k", "avro", "ssl", "false", "the certificate must be", false),
        ("sinks.k", "avro", "ssl", "false", "TLS 1.2", false),
        ("sources.s", "http", "handler", &format!("{handlers}JSONHandler"), blob, false),
        ("sources.s", "http", "handler", &format!("{handlers}JSONHandler"), "maxBlobLength", false),
        ("sources.s", "http", "handler", &format!("{handlers}BLOBHandler"), blob, true),
        ("sources.s", "http", "handler", &format!("{handlers}BLOBHandler"), "maxBlobLength", false),
        ("sources.s", "http", "handler", morphline, "maxBlobLength", true),
        ("sources.s", "http", "handler", morphline, blob, false),
        ("sources.s", "spooldir", "deserializer", "LINE", "AVRO", false),
        ("sources.s", "spooldir", "deserializer", "avro", "AVRO", true),
        ("sinks.k", "file_roll", "sink.serializer", "TEXT", "AvroEventSerializer", false),
        ("sinks.k", "file_roll", "sink.serializer", builder, "AvroEventSerializer", true),
        ("sources.s", "netcat", "encoding", "utf-8", "bytes that are invalid", true),
    ] {
        let said = noted(&format!("a.{part}.type={kind}\na.{part}.{key}={value}\n"));
        assert_eq!(said.contains(says), expected, "{kind} {key} {value}: {said}");
    }
}
