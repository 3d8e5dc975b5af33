//! Floors point down only: a top-level module imports from strictly lower floors and itself.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};
use std::collections::BTreeMap;

/// The floors, lowest first. DESIGN.md has the same table. `main` is the binary's own file.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["event", "metrics", "disk", "net", "codes"]),
    (2, &["record", "wire", "config", "pattern"]),
    (3, &["log"]),
    (4, &["recovery"]),
    (5, &["channel"]),
    (6, &["flow"]),
    (7, &["source", "sink"]),
    (8, &["monitor", "admin", "import", "top", "bench", "torture", "graph"]),
    (9, &["agent"]),
    (10, &["cli"]),
    (11, &["main"]),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// The top-level module a file belongs to and how deep below the top its items stand.
fn home(path: &str) -> (String, usize) {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let parts: Vec<&str> = inside.split('/').collect();
    (parts[0].to_owned(), parts.len())
}

/// The top-level modules that the code names, each with the place of the name.
fn references(source: &Source) -> Vec<(usize, String)> {
    let (_, depth) = home(&source.path);
    let words = source.words();
    let mut found = Vec::new();
    let mut supers = 0;
    for (i, (at, word)) in words.iter().enumerate() {
        let after = at + word.len();
        let climbs = *word == "super" && source.code[after..].trim_start().starts_with("::");
        supers = if climbs { supers + 1 } else { 0 };
        let roots = *word == "crate" || *word == "millpond" || (climbs && supers >= depth);
        if roots && source.code[after..].trim_start().starts_with("::") {
            let next_is_super = words.get(i + 1).is_some_and(|(_, w)| *w == "super");
            if !next_is_super {
                let (from, _) = source.next_visible(after).unwrap_or((after, 0));
                found.extend(first_segments(source, from + 2));
            }
        }
    }
    found
}

/// The first path segments at `at`: one name, or those of a `{…}` group at its own depth.
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
    let (module, _) = home(&source.path);
    if module == "lib" {
        return Vec::new(); // it declares the modules and uses none
    }
    let Some(own) = floor(&module) else {
        return vec![format!("{}: module `{module}` stands on no floor", source.path)];
    };
    let mut complaints = Vec::new();
    for (at, name) in references(source) {
        // Only names of modules count: `crate::Event` would be an export of the crate's top.
        match floor(&name) {
            Some(theirs) if theirs >= own && name != module => complaints.push(format!(
                "{}: `{module}` (floor {own}) uses `{name}` (floor {theirs})",
                source.place(at)
            )),
            None if name != "self" && name.starts_with(|c: char| c.is_ascii_lowercase()) => {
                complaints.push(format!("{}: `{name}` stands on no floor", source.place(at)));
            }
            _ => {}
        }
    }
    complaints
}

#[test]
fn floors_point_down_only() {
    let all: Vec<String> = source::production().iter().flat_map(complaints).collect();
    nothing_to_complain_about("a module leans on a floor that is not below it", &all);
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
        ("src/source/netcat.rs", "use crate::sink::TYPES;"),
        ("src/main.rs", "use millpond::nowhere::x;"),
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
        ("src/main.rs", "use millpond::cli; fn main() { cli::run(); }"),
        ("src/lib.rs", "pub mod agent;"),
    ];
    for (path, text) in good {
        let found = complaints(&Source::new(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}
