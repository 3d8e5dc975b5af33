//! Tests that docs/flume-compat.md, with docs/external.md, has exactly the types that can be built,
//! every key with its default, the unavailable types with the reason, and no difference that
//! `validate` does not report.

mod differences;
mod rows;
mod unsupported;

use super::build::ComponentTypes;
use millpond_config::TypeEntry;
use millpond_config::types::{self, ComponentKind, TypeStatus};
use millpond_flow::base::limits::{IRC_LINES_TOGETHER, IRC_PACE_MS};
use millpond_flow::settings::tls::{CLIENT_KEYS, SERVER_KEYS};
use millpond_flow::settings::{Key, dead_letter};
use rows::{rows, type_rows};

const DOCUMENT: &str = concat!(
    include_str!("../../../../docs/flume-compat.md"),
    include_str!("../../../../docs/external.md"),
);

/// Channels have no mark, only a heading.
const CHANNELS: [(&str, &str); 3] = [
    ("file", "File channel keys\n"),
    ("memory", "Memory channel keys\n"),
    ("spillablememory", "Spillable memory channel keys\n"),
];

/// Returns the sections under `marks` such as `<!-- source netcat -->`, which are below their
/// headings.
fn section(mark: &str) -> Option<&'static str> {
    DOCUMENT.split("\n## ").find(|section| section.contains(&format!("<!-- {mark} -->")))
}

fn tls() -> &'static str {
    DOCUMENT.split("\n## ").find(|section| section.starts_with("TLS\n")).expect("a section")
}

/// Returns the texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns whether the text names the key: as it is or, if users choose a part of the key, up to
/// that part.
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

/// Returns what is missing of these types, or superfluous.
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

/// Returns keys in the first column of a section's tables that none of its types knows.
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
                strangers.push(format!("{part}: unknown key {name}"));
            }
        }
    }
    strangers
}

/// Returns rows whose default differs from the registry's, or whose state is unknown.
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

/// Returns the text of a key's state.
const STATES: [&str; 5] = ["honoured", "accepted", "refused", "better", "`true` is refused"];

/// Returns the complaints about types that share one table, a row each: keys that the type does not
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
        // `key` (`default`; others), `key`: a bracket belongs to the key before it.
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
                None => complaints.push(format!("{part} {name}: unknown key {named}")),
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

/// Common keys of sources, which are documented where they matter.
const EVERY_SOURCE: [&str; 2] = ["backoffSleepIncrement", "maxBackoffSleep"];

#[test]
fn the_document_has_every_type_and_key_and_no_others() {
    let catalogue = ComponentTypes::built_in().catalogue();
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
    let catalogue = ComponentTypes::built_in().catalogue();
    let found = |part, name: &str| catalogue.find(part, name).map(|entry| entry.names[0]);
    let parts = [
        ComponentKind::Source,
        ComponentKind::Sink,
        ComponentKind::Channel,
        ComponentKind::Selector,
        ComponentKind::Interceptor,
        ComponentKind::SinkProcessor,
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
        // All of its names find the same type, or none does if it is unavailable.
        let first = found(flumes.part, flumes.names[0]);
        for name in flumes.names {
            for text in [(*name).to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(found(flumes.part, &text), first, "{:?} {text}", flumes.part);
            }
        }
        assert!(first.is_none() || flumes.status == TypeStatus::Planned, "{:?}", flumes.names);
    }
}

#[test]
fn the_document_has_the_pace_of_the_irc_sink() {
    assert_eq!((IRC_LINES_TOGETHER, IRC_PACE_MS), (5, 2000));
    let section = section("sink irc").expect("a section").replace('\n', " ");
    assert!(
        section.contains("many lines five are sent at once and five more every 2 s"),
        "{section}"
    );
}
