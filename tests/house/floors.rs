//! Floors point down only: a module imports from strictly lower floors and itself.
//!
//! The engine's modules are in the table by their names, those of the crate `millpond-flow` as
//! `flow::NAME`; `flow` alone is whatever else that crate has. Between crates the compiler holds the order
//! too. What a crate's `lib.rs` re-exports is on no floor.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};
use std::collections::BTreeMap;

/// The floors, lowest first. DESIGN.md has the same table.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["event", "disk"]),
    (2, &["record"]),
    (3, &["log", "layout"]),
    (4, &["recovery"]),
    (5, &["channel"]),
    (6, &["flow::base", "sim"]),
    (7, &["flow::codes", "flow::date", "flow::metrics", "flow::net"]),
    (8, &["flow::pattern", "flow::settings", "flow::wire"]),
    (9, &["flow"]),
    (
        10,
        &[
            "adapters::wire",
            "config",
            "hdfs::file_system",
            "jms",
            "kafka::settings",
            "kafka::topic_name",
            "observe::svg",
            "zookeeper",
        ],
    ),
    (
        11,
        &[
            "adapters::sink",
            "adapters::source",
            "kafka::client",
            "kafka::dead_letters",
            "kafka::record",
            "observe::admin",
            "observe::graph",
            "observe::monitor",
            "observe::top",
            "tools::bench",
            "tools::torture",
        ],
    ),
    (12, &["hdfs::format"]),
    (13, &["hdfs::sink", "kafka::channel", "kafka::sink", "kafka::source"]),
    (14, &["agent::agent"]),
    (15, &["agent::cli"]),
    (16, &["agent::main"]),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// Returns how the table calls `module` of a crate: the engine's is "".
fn listed(of_crate: &str, module: &str) -> String {
    let name = format!("{of_crate}::{module}");
    match of_crate {
        "" => module.to_owned(),
        _ if floor(&name).is_some() || floor(of_crate).is_none() => name,
        _ => of_crate.to_owned(),
    }
}

/// Returns the crate of a file, the top-level module it belongs to, and how deep below the top its items stand.
fn home(path: &str) -> (&str, &str, usize) {
    let (of_crate, inside) = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.split_once("/src/"))
        .unwrap_or(("", path.trim_start_matches("src/")));
    let inside = inside.trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    (of_crate, inside.split('/').next().unwrap_or(inside), inside.split('/').count())
}

/// Returns the crate that a path beginning with `word` leads into, for a file of the crate `own`.
fn led_into<'w>(word: &'w str, own: &'w str) -> Option<&'w str> {
    match word {
        "crate" => Some(own),
        // From another crate the engine is reached through what its lib.rs re-exports.
        "millpond" if own.is_empty() => Some(""),
        _ => word.strip_prefix("millpond_"),
    }
}

/// Returns the top-level modules that the code names, as the table calls them, each with the place of the name.
fn references(source: &Source) -> Vec<(usize, String)> {
    let (own, _, depth) = home(&source.path);
    let words = source.words();
    let mut found = Vec::new();
    let mut supers = 0;
    for (i, (at, word)) in words.iter().enumerate() {
        let after = at + word.len();
        if !source.code[after..].trim_start().starts_with("::") {
            supers = 0;
            continue;
        }
        supers = if *word == "super" { supers + 1 } else { 0 };
        let climbs_out = *word == "super" && supers >= depth;
        let next_is_super = words.get(i + 1).is_some_and(|(_, w)| *w == "super");
        let Some(into) = led_into(word, own).or((climbs_out && !next_is_super).then_some(own))
        else {
            continue;
        };
        let (from, _) = source.next_visible(after).unwrap_or((after, 0));
        let names = first_segments(source, from + 2).into_iter();
        // Only names of modules count: `crate::Event` would be an export of the crate's top.
        // A macro of the engine names its items as they are reached from outside.
        let in_macro = source.code[..*at].ends_with('$');
        let modules = names.filter(|(_, name)| {
            let is_module = name != "self" && name.starts_with(|c: char| c.is_ascii_lowercase());
            is_module && !(in_macro && name == "internal")
        });
        found.extend(modules.map(|(at, name)| (at, listed(into, &name))));
    }
    found
}

/// Returns the first path segments at `at`: one name, or those of a `{…}` group at its own depth.
fn first_segments(source: &Source, at: usize) -> Vec<(usize, String)> {
    let name_at = |from: usize| {
        let bytes = source.code.as_bytes();
        let end = (from..bytes.len()).find(|i| !source::is_word(bytes[*i])).unwrap_or(from);
        (end > from).then(|| (from, source.code[from..end].to_owned()))
    };
    let Some((start, first)) = source.next_visible(at) else { return Vec::new() };
    if first != b'{' {
        return name_at(start).into_iter().collect();
    }
    let (mut names, mut depth, mut expecting) = (Vec::new(), 0usize, false);
    for (i, byte) in source.code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => {
                depth += 1;
                expecting = depth == 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            b',' if depth == 1 => expecting = true,
            b if expecting && source::is_word(b) => {
                names.extend(name_at(i));
                expecting = false;
            }
            _ => {}
        }
    }
    names
}

fn complaints(source: &Source) -> Vec<String> {
    let (of_crate, module, _) = home(&source.path);
    if matches!(module, "lib" | "internal") {
        return Vec::new(); // it declares the modules and re-exports their items
    }
    let own_name = listed(of_crate, module);
    let Some(own) = floor(&own_name) else {
        return vec![format!("{}: module `{own_name}` is on no floor", source.path)];
    };
    let mut complaints = Vec::new();
    for (at, name) in references(source) {
        match floor(&name) {
            Some(theirs) if theirs >= own && name != own_name => complaints.push(format!(
                "{}: `{own_name}` (floor {own}) uses `{name}` (floor {theirs})",
                source.place(at)
            )),
            None => {
                complaints.push(format!("{}: `{name}` is on no floor", source.place(at)));
            }
            _ => {}
        }
    }
    complaints
}

#[test]
fn floors_point_down_only() {
    let all: Vec<String> = source::production().iter().flat_map(complaints).collect();
    nothing_to_complain_about("a module imports from a floor that is not below it", &all);
}

#[test]
fn the_design_has_the_same_floors() {
    let design = source::read("DESIGN.md");
    let mut table = BTreeMap::new();
    for line in design.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, number, modules, ..] = cells[..]
            && let Ok(number) = number.parse::<u8>()
        {
            let modules = modules.split_whitespace().map(|m| m.trim_matches('`').to_owned());
            table.insert(number, modules.collect::<Vec<String>>());
        }
    }
    let expected: BTreeMap<u8, Vec<String>> = FLOORS
        .iter()
        .map(|(n, modules)| (*n, modules.iter().map(|m| (*m).to_owned()).collect()))
        .collect();
    assert_eq!(table, expected, "DESIGN.md's table of floors is not the one the tests hold");
}

#[test]
fn an_import_that_points_upward_is_found() {
    let bad = [
        ("src/log/mod.rs", "use crate::channel::Channel;"),
        ("src/log/mod.rs", "fn f() { crate::agent::run(); }"),
        ("src/log/mod.rs", "use crate::{base::ids, disk::{File, Disk}, flow::sink};"),
        ("src/log/mod.rs", "use super::recovery::open;"),
        ("src/log/stripe/ring.rs", "use super::super::super::recovery::open;"),
        ("src/event/mod.rs", "use crate::disk::Disk;"),
        ("src/layout/names.rs", "use crate::log::Log;"),
        ("crates/adapters/src/source/netcat.rs", "use crate::sink::TYPES;"),
        ("crates/agent/src/main.rs", "use millpond_agent::nowhere::x;"),
        ("src/attic/mod.rs", ""),
        ("src/disk/mod.rs", "macro_rules! m { () => { $crate::log::Log } }"),
    ];
    for (path, text) in bad {
        let found = complaints(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

#[test]
fn an_import_that_points_down_is_left_alone() {
    let good = [
        ("src/log/mod.rs", "use crate::{base::ids::{self, Sequence}, record::State};"),
        ("src/log/stripe/ring.rs", "use super::super::fence::Fence; use super::block;"),
        ("src/log/mod.rs", "use crate::log::stripe; // crate::agent"),
        ("src/log/mod.rs", "#[cfg(test)] mod tests { use crate::recovery::open; }"),
        ("crates/agent/src/main.rs", "use millpond_agent::cli; fn main() { cli::run(); }"),
        ("src/lib.rs", "pub mod agent;"),
    ];
    for (path, text) in good {
        let found = complaints(&Source::new(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}
