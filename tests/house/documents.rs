//! Documents: the links, tests and terms that they name exist.

use crate::names::parts;
use crate::nothing_to_complain_about;
use crate::source;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let mut documents = vec![source::top().join("README.md"), source::top().join("DESIGN.md")];
    source::walk(&source::top().join("docs"), "md", &mut documents);
    documents
}

/// Returns the links of a Markdown text that point into the project.
fn links(text: &str) -> Vec<String> {
    text.match_indices("](")
        .filter_map(|(at, open)| text[at + open.len()..].split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

fn dead_links(document: &Path, text: &str) -> Vec<String> {
    let folder = document.parent().unwrap_or(Path::new("."));
    links(text)
        .into_iter()
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{}: {target} is not there", document.display()))
        .collect()
}

#[test]
fn links_inside_the_project_lead_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document can be read");
        dead.extend(dead_links(&document, &text));
    }
    nothing_to_complain_about("a link has no target", &dead);
}

#[test]
fn every_document_is_named_in_the_readme() {
    let readme = source::read("README.md");
    for document in documents() {
        let name = document.file_name().expect("a document has a name").to_string_lossy();
        assert!(name == "README.md" || readme.contains(&*name), "README.md does not name {name}");
    }
}

#[test]
fn the_glossary_has_every_term_of_the_engine() {
    let glossary = source::read("docs/glossary.md");
    for term in [
        "event",
        "batch",
        "transaction",
        "frame",
        "block",
        "segment",
        "stripe",
        "sequence",
        "watermark",
        "frontier",
        "lease",
        "checkpoint",
        "epoch",
        "fence",
        "void",
        "state record",
        "seal",
        "acknowledge",
        "in doubt",
        "reader group",
        "hot window",
    ] {
        let entry = format!("**{term}**");
        assert!(glossary.contains(&entry), "docs/glossary.md has no entry {entry}");
    }
}

/// Terms of the glossary that have no name of their own in the code, each with its name there.
const NAMED_OTHERWISE: &[(&str, &str)] = &[("reader group", "main group"), ("tear", "torn")];

/// Returns the terms of a glossary.
fn terms(glossary: &str) -> Vec<String> {
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| **"));
    rows.filter_map(|row| Some(row.split_once("** |")?.0.to_owned())).collect()
}

/// Returns those of `terms` whose words, in their order, are not part of any of `names`. The last
/// word may have another ending: `preallocation` is in `preallocate`.
fn not_named(terms: &[String], names: &[Vec<String>]) -> Vec<String> {
    let is_there = |words: &[&str]| {
        let (last, first) = words.split_last().expect("a term has a word");
        let stem = &last[..last.len().saturating_sub(3).max(last.len().min(5))];
        names.iter().flat_map(|name| name.windows(words.len())).any(|part| {
            let same = part.iter().zip(first).all(|(a, b)| a == b);
            same && part.last().is_some_and(|word| word.starts_with(stem))
        })
    };
    let in_code = |term: &str| {
        let otherwise = NAMED_OTHERWISE.iter().find(|(named, _)| *named == term);
        otherwise.map_or(term, |(_, name)| *name).to_lowercase().replace('-', " ")
    };
    let missing = |term: &&String| !is_there(&in_code(term).split(' ').collect::<Vec<_>>());
    terms.iter().filter(missing).cloned().collect()
}

#[test]
fn every_term_of_the_glossary_is_in_the_code() {
    let mut names = std::collections::BTreeSet::new();
    for source in source::production() {
        names.extend(source.words().into_iter().map(|(_, name)| parts(name)));
    }
    let names: Vec<_> = names.into_iter().collect();
    let terms = terms(&source::read("docs/glossary.md"));
    assert!(terms.len() > 40, "the table was found");
    for (term, _) in NAMED_OTHERWISE {
        assert!(terms.iter().any(|t| t == term), "{term} is not in the glossary");
    }
    nothing_to_complain_about("a term that no name in the code has", &not_named(&terms, &names));
}

#[test]
fn a_term_that_the_code_does_not_have_is_found() {
    let glossary = "| term | meaning |\n|---|---|\n| **in doubt** | a |\n| **fence** | b |\n\
                    | **preallocation** | c |\n| **moon phase** | d |\n";
    let names = ["InDoubt", "fence_at", "preallocate", "moonPhase"].map(parts);
    assert_eq!(not_named(&terms(glossary), &names), [""; 0]);
    assert_eq!(not_named(&terms(glossary), &names[1..3]), ["in doubt", "moon phase"]);
    assert_eq!(not_named(&["phase moon".to_owned()], &names), ["phase moon"]);
}

/// Returns the reasons of `crates/flow/src/metrics/drops.rs`, by their names in the code.
fn drop_reasons() -> Vec<String> {
    let text = source::read("crates/flow/src/metrics/drops.rs");
    let all = text.split("pub const ALL").nth(1).and_then(|rest| rest.split("];").next());
    let names = all.expect("the list of reasons").split("Self::").skip(1);
    names.map(|name| name.trim_end_matches([',', ' ', '\n']).to_owned()).collect()
}

#[test]
fn every_reason_for_a_drop_is_counted_somewhere_and_no_other() {
    let reasons = drop_reasons();
    assert!(reasons.len() > 10, "{reasons:?}");
    let mut counted = std::collections::BTreeSet::new();
    for source in source::production() {
        if source.path == "crates/flow/src/metrics/drops.rs" {
            continue;
        }
        for rest in source.code.split("DropReason::").skip(1) {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            counted.insert(rest[..end].to_owned());
        }
    }
    let missing: Vec<_> = reasons.iter().filter(|reason| !counted.contains(*reason)).collect();
    assert!(missing.is_empty(), "nothing counts {missing:?}");
}

#[test]
fn the_readme_marks_its_two_commands() {
    let readme = source::read("README.md");
    for mark in ["<!-- run -->", "<!-- test -->"] {
        let after = readme.split(mark).nth(1).unwrap_or_else(|| panic!("README.md lacks {mark}"));
        let command = after.lines().find(|l| l.starts_with("cargo ")).unwrap_or_default();
        assert!(!command.is_empty(), "no command follows {mark}");
    }
}

#[test]
fn unsafe_files_are_named_in_the_design() {
    let design = source::read("DESIGN.md");
    for file in ["src/disk/memory.rs", "crates/agent/src/cli/allocator.rs"] {
        assert!(design.contains(file), "{file}");
    }
}

#[test]
fn a_dead_link_is_found() {
    let here = source::top().join("README.md");
    assert_eq!(dead_links(&here, "see [a](docs/nowhere.md#x) and [b](https://c.d)").len(), 1);
    assert!(dead_links(&here, "see [a](Cargo.toml) and [b](#below)").is_empty());
}

/// Files that a document tells its reader to create.
const TO_CREATE: &[&str] = &["crates/adapters/src/source/heartbeat.rs"];

/// Returns the source files that a Markdown text names in backquotes and that end none of `paths`.
fn unknown_files(text: &str, paths: &[String]) -> Vec<String> {
    let is_path = |name: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        name.len() > 3 && name.ends_with(".rs") && name.chars().all(plain)
    };
    let quoted = text.split('`').skip(1).step_by(2).filter(is_path);
    let is_there = |name: &str| {
        let end = format!("/{name}");
        TO_CREATE.contains(&name) || paths.iter().any(|path| path.ends_with(&end))
    };
    quoted.filter(|name| !is_there(name)).map(str::to_owned).collect()
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "benches", "fuzz", "docs"] {
        source::walk(&source::top().join(folder), "rs", &mut files);
    }
    let paths: Vec<_> = files.iter().map(|f| f.to_string_lossy().replace('\\', "/")).collect();
    let mut unknown = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document can be read");
        let names = unknown_files(&text, &paths);
        unknown.extend(names.iter().map(|name| format!("{}: {name}", document.display())));
    }
    nothing_to_complain_about("a document names a source file that does not exist", &unknown);
}

#[test]
fn a_source_file_that_does_not_exist_is_found() {
    let paths = ["/p/src/log/lease.rs".to_owned()];
    let text = "`lease.rs`, `log/lease.rs` and `g/lease.rs`:\n```\nmod a; // b.rs\n```\n`gone.rs` `a b.rs` `.rs`";
    assert_eq!(unknown_files(text, &paths), ["g/lease.rs", "gone.rs"]);
}

/// Names of tests in a section of a document: everything in backquotes that is long enough to be
/// a sentence.
fn named_tests(document: &str, section: &str) -> Vec<String> {
    let section = document.split(section).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = section.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.matches('_').count() >= 3).map(str::to_owned).collect()
}

/// Returns those of `named` that are not a function below `folders`.
fn not_there(named: Vec<String>, folders: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    for folder in folders {
        source::walk(&source::top().join(folder), "rs", &mut files);
    }
    let all: String =
        files.iter().map(|f| std::fs::read_to_string(f).expect("source can be read")).collect();
    named.into_iter().filter(|name| !all.contains(&format!("fn {name}("))).collect()
}

#[test]
fn every_rule_of_the_engine_names_a_test_that_is_there() {
    let named = named_tests(&source::read("DESIGN.md"), "## Rules of the engine and their tests");
    assert!(named.len() > 40, "the table was found");
    let missing = not_there(named, &["tests/engine", "src", "crates"]);
    nothing_to_complain_about("DESIGN.md names a test that is not there", &missing);
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let page = source::read("docs/durability.md");
    let named = named_tests(&page, "## Which tests verify which guarantee");
    assert!(named.len() > 20, "the table was found");
    let missing =
        not_there(named, &["tests/engine", "crates/agent/tests/agent", "tests/simulation"]);
    nothing_to_complain_about("docs/durability.md names a test that is not there", &missing);
    assert_eq!(not_there(vec!["no_such_test_is_there".to_owned()], &["tests/engine"]).len(), 1);
}
