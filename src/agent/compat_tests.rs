//! docs/flume-compat.md, with docs/external.md, has every type that can be built, every key that it knows with its
//! default, and no others; the types that are not here, and why; and no difference that `validate` does not say.

mod absent;
mod differences;
mod rows;

use super::build::Types;
use crate::base::limits::{IRC_LINES_TOGETHER, IRC_PACE_MS};
use crate::config::TypeEntry;
use crate::config::dead_letter;
use crate::config::settings::Key;
use crate::config::tls::{CLIENT_KEYS, SERVER_KEYS};
use crate::config::types::{self, Part, Status};
use rows::{rows, type_rows};

const DOCUMENT: &str =
    concat!(include_str!("../../docs/flume-compat.md"), include_str!("../../docs/external.md"),);

/// Channels have no mark but a heading.
const CHANNELS: [(&str, &str); 3] = [
    ("file", "File channel keys\n"),
    ("memory", "Memory channel keys\n"),
    ("spillablememory", "Spillable memory channel keys\n"),
];

/// The sections under `marks` such as `<!-- source netcat -->`, which stand below their headings.
fn section(mark: &str) -> Option<&'static str> {
    DOCUMENT.split("\n## ").find(|section| section.contains(&format!("<!-- {mark} -->")))
}

fn tls() -> &'static str {
    DOCUMENT.split("\n## ").find(|section| section.starts_with("TLS\n")).expect("a section")
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether the text names the key: as it is or, of one with a part that users choose, up to there.
fn names(text: &str, key: &str) -> bool {
    quoted(text).any(|name| match key.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix) || prefix.ends_with(name),
        None => name == key,
    })
}

fn row(key: &Key) -> String {
    let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
    format!("| `{}` | {default} | honoured | {} |", key.name, key.meaning)
}

/// What is missing of these types, or there for nothing.
fn complaints(part: &str, types: &[TypeEntry]) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in types {
        let name = entry.names[0];
        let Some(section) = section(&format!("{part} {name}")) else {
            complaints.push(format!("no section has <!-- {part} {name} -->"));
            complaints.extend(entry.keys.iter().map(row));
            continue;
        };
        let is_tls = |key: &Key| {
            SERVER_KEYS.iter().chain(&CLIENT_KEYS).any(|known| known.name == key.name)
                && section.contains("(#tls)")
                && names(tls(), key.name)
        };
        let missing = entry.keys.iter().filter(|key| !names(section, key.name) && !is_tls(key));
        complaints.extend(missing.map(|key| format!("{part} {name}: {}", row(key))));
    }
    complaints
}

/// Keys in the first column of a section's tables that none of its types knows.
fn strangers(part: &str, types: &[TypeEntry]) -> Vec<String> {
    let mut strangers = Vec::new();
    for section in DOCUMENT.split("\n## ") {
        let here =
            |entry: &&TypeEntry| section.contains(&format!("<!-- {part} {} -->", entry.names[0]));
        let here: Vec<&TypeEntry> = types.iter().filter(here).collect();
        if here.is_empty() {
            continue;
        }
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let text: Vec<String> = cells.map(|cell| format!("`{cell}")).collect();
        for name in text.iter().flat_map(|cell| quoted(cell)) {
            let known = |key: &&Key| match key.name.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => key.name == name,
            };
            let mut keys = here.iter().flat_map(|entry| entry.keys);
            let elsewhere =
                EVERY_SOURCE.contains(&name) || section.contains("(#tls)") && names(tls(), name);
            if !keys.any(|key| known(&key)) && !elsewhere {
                strangers.push(format!("{part}: nobody knows the key {name}"));
            }
        }
    }
    strangers
}

/// Rows whose default is another one than the registry has, or that have a state nobody knows.
fn other_than_built(part: &str, types: &[TypeEntry]) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in types {
        let name = entry.names[0];
        let Some(section) = section(&format!("{part} {name}")) else { continue };
        for row in rows(section) {
            if !STATES.contains(&row.state) {
                complaints.push(format!("{part} {name}: {:?} is {}", row.keys, row.state));
            }
            for (at, named) in row.keys.iter().enumerate() {
                let Some(key) = entry.keys.iter().find(|key| key.name == *named) else { continue };
                if !row.has_default(at, key.default) {
                    let (built, written) = (key.default, row.default);
                    let what = format!("{part} {name}: {named} is \"{built}\", not {written}");
                    complaints.push(what);
                }
            }
        }
    }
    complaints
}

/// What stands as the state of a key.
const STATES: [&str; 5] = ["honoured", "accepted", "refused", "better", "`true` is refused"];

/// The same for the sorts that stand in one table, a row for each type: keys that the type does not
/// know, and defaults in brackets that it does not have.
fn other_in_tables(part: &str, types: &[TypeEntry]) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in types.iter().filter(|entry| entry.names != ["external"]) {
        let name = entry.names[0];
        let rows = section(&format!("{part} {name}")).map(type_rows).unwrap_or_default();
        let names = |types: &str| quoted(types).any(|name| entry.names.contains(&name));
        let Some([_, keys, _]) = rows.into_iter().find(|[types, ..]| names(types)) else {
            complaints.push(format!("{part} {name} has no row"));
            continue;
        };
        // `key` (`default`; others), `key`: a bracket belongs to the key in front of it.
        let mut rest = keys;
        while let Some((_, from)) = rest.split_once('`') {
            let Some((named, behind)) = from.split_once('`') else { break };
            let bracket = behind.strip_prefix(" (").and_then(|b| b.split_once(')'));
            let (written, after) = bracket.unwrap_or(("", behind));
            rest = after;
            let known = |key: &&Key| match key.name.strip_suffix('*') {
                Some(prefix) => named.starts_with(prefix),
                None => key.name == named,
            };
            let written = quoted(written).next().unwrap_or_default();
            match entry.keys.iter().find(known) {
                None => complaints.push(format!("{part} {name}: nobody knows the key {named}")),
                Some(key) if key.default != written => complaints.push(format!(
                    "{part} {name}: {named} is \"{}\", not \"{written}\"",
                    key.default
                )),
                Some(_) => {}
            }
        }
    }
    complaints
}

/// Keys that sources have in common, which stand with those where they matter.
const EVERY_SOURCE: [&str; 2] = ["backoffSleepIncrement", "maxBackoffSleep"];

#[test]
fn the_document_has_every_type_and_key_and_no_others() {
    let catalogue = Types::built_in().catalogue();
    let mut complaints: Vec<String> = [
        ("source", &catalogue.sources),
        ("sink", &catalogue.sinks),
        ("interceptor", &catalogue.interceptors),
        ("selector", &catalogue.selectors),
        ("processor", &catalogue.sink_processors),
    ]
    .into_iter()
    .flat_map(|(part, types)| {
        let mut found = complaints(part, types);
        if matches!(part, "source" | "sink") {
            found.extend(strangers(part, types));
            found.extend(other_than_built(part, types));
        } else {
            found.extend(other_in_tables(part, types));
        }
        found
    })
    .collect();
    let every_sink = section("every sink").unwrap_or_default();
    let missing = dead_letter::KEYS.iter().filter(|key| !names(every_sink, key.name));
    complaints.extend(missing.map(|key| format!("every sink: {}", row(key))));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_name_of_a_type_finds_it_alias_and_class_in_any_case() {
    let catalogue = Types::built_in().catalogue();
    let found = |part, name: &str| catalogue.find(part, name).map(|entry| entry.names[0]);
    let parts = [
        Part::Source,
        Part::Sink,
        Part::Channel,
        Part::Selector,
        Part::Interceptor,
        Part::SinkProcessor,
    ];
    for part in parts {
        for entry in catalogue.entries(part) {
            for name in entry.names {
                for text in [(*name).to_owned(), name.to_lowercase(), name.to_uppercase()] {
                    assert_eq!(found(part, &text), Some(entry.names[0]), "{part:?} {text}");
                }
            }
        }
    }
    for flumes in types::TYPES {
        // All of its names find the same one, or none does where it is not to be had.
        let first = found(flumes.part, flumes.names[0]);
        for name in flumes.names {
            for text in [(*name).to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(found(flumes.part, &text), first, "{:?} {text}", flumes.part);
            }
        }
        assert!(first.is_none() || flumes.status == Status::Planned, "{:?}", flumes.names);
    }
}

#[test]
fn the_document_has_the_pace_of_the_irc_sink() {
    assert_eq!((IRC_LINES_TOGETHER, IRC_PACE_MS), (5, 2000));
    let section = section("sink irc").expect("a section").replace('\n', " ");
    assert!(section.contains("many lines five go at once and five more every 2 s"), "{section}");
}
