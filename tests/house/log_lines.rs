//! Errors of the log, and some warnings, ask the operator to act: each has a code, which `millpond
//! explain` and docs/codes.md explain.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};
use std::collections::BTreeSet;

/// A warning with one of these asks its reader to act.
const ASKS: &[&str] = &["raise ", "name a ", "Give ", "free some"];
/// Codes in variables: the argument of `say_error` of the log floor, the code of an error or alarm.
const HANDED: &[&str] = &["code", "%code"];

/// A call of a macro such as `tracing::error!`.
struct Line {
    place: String,
    /// Its code: a constant's name, or one of [`HANDED`].
    code: Option<String>,
    words: String,
}

fn lines_of(macro_name: &str, source: &Source, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, _) in source.code.match_indices(&format!("{macro_name}(")) {
        let open = at + macro_name.len();
        // In the code without strings the brackets close where they do for the compiler.
        let end = source::item_end(source.code.as_bytes(), open).min(text.len());
        let call = text.get(open + 1..end).unwrap_or_default();
        let code = code_of(call.trim_start());
        lines.push(Line { place: source.place(at), code, words: first_literal(call) });
    }
    lines
}

/// Returns the code in the first field of a call.
fn code_of(call: &str) -> Option<String> {
    if let Some(rest) = call.strip_prefix("code = %codes::") {
        return Some(rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next()?.to_owned());
    }
    let handed = HANDED.iter().find(|field| call.starts_with(&format!("{field},")));
    handed.map(|field| (*field).to_owned())
}

/// Returns the first string of a call as it is printed, in one line.
fn first_literal(call: &str) -> String {
    let Some((_, rest)) = call.split_once('"') else { return String::new() };
    let mut literal = String::new();
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('\n') => {
                    letters = letters.as_str().trim_start().chars();
                }
                Some(other) => literal.push(other),
                None => break,
            },
            letter => literal.push(letter),
        }
    }
    literal
}

/// Returns the names of all codes, from the tables.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["src/base/codes", "crates/flow/src/codes"] {
        for (_, text) in source::all_files(folder) {
            let table = text.split("codes! {").nth(1).unwrap_or_default();
            let entry = |line: &str| {
                let (name, rest) = line.trim().split_once(" = ")?;
                let numbered = rest.starts_with(|c: char| c.is_ascii_digit());
                (numbered && rest.ends_with('{')).then(|| name.to_owned())
            };
            names.extend(table.lines().filter_map(entry));
        }
    }
    names
}

/// Returns complaints about lines that must have a code and have none of a table.
fn complaints(
    lines: &[Line],
    names: &BTreeSet<String>,
    has_to: impl Fn(&Line) -> bool,
) -> Vec<String> {
    let says = |line: &Line| match &line.code {
        None if has_to(line) => Some("has no code as its first field, `code = %codes::NAME`"),
        Some(code) if !HANDED.contains(&&**code) && !names.contains(code) => {
            Some("has a code that no table has")
        }
        _ => None,
    };
    lines
        .iter()
        .filter_map(|line| Some(format!("{}: {}: {}", line.place, says(line)?, line.words)))
        .collect()
}

/// Returns all log lines of a level in the program.
fn logged(macro_name: &str) -> Vec<Line> {
    let of = |source: &Source| lines_of(macro_name, source, &source::read(&source.path));
    source::production().iter().flat_map(of).collect()
}

#[test]
fn every_error_of_the_log_has_a_code() {
    let (lines, names) = (logged("tracing::error!"), names());
    assert!(lines.len() > 20 && names.len() > 50, "lines and tables were found");
    nothing_to_complain_about("an error of the log", &complaints(&lines, &names, |_| true));
}

#[test]
fn every_warning_that_tells_to_do_something_has_a_code() {
    let (lines, names) = (logged("tracing::warn!"), names());
    assert!(lines.len() > 50, "the lines were found");
    let asks = |line: &Line| ASKS.iter().any(|ask| line.words.contains(ask));
    nothing_to_complain_about("a warning of the log", &complaints(&lines, &names, asks));
}

#[test]
fn every_code_is_used() {
    let sources = source::production();
    let tables = ["src/base/codes/", "crates/flow/src/codes/"];
    let calls = sources.iter().filter(|s| !tables.iter().any(|table| s.path.starts_with(table)));
    let used: BTreeSet<&str> = calls.flat_map(|s| s.words()).map(|(_, word)| word).collect();
    let idle: Vec<String> = names().into_iter().filter(|n| !used.contains(n.as_str())).collect();
    nothing_to_complain_about("a code that nothing gives", &idle);
}

#[test]
fn a_line_without_a_code_and_one_with_a_wrong_code_are_found() {
    let text = "fn a() { tracing::error!(code = %codes::FIRE, sink = self.name, \"it {why} \\\n        burns; run\"); }\n\
                fn b() { tracing::error!(%code, \"{error}\"); tracing::error!(sink = 1, code = %codes::FIRE, \"late\"); }";
    let lines = lines_of("tracing::error!", &Source::new("src/a.rs", text), text);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].words, "it {why} burns; run");
    let found = |name: &str| complaints(&lines, &BTreeSet::from([name.to_owned()]), |_| true);
    assert_eq!(found("FIRE").len(), 1, "the last has its code too late");
    assert_eq!(found("WATER").len(), 2);
    // A warning without a request needs no code.
    assert!(complaints(&lines, &BTreeSet::from(["FIRE".to_owned()]), |_| false).is_empty());
}

/// Returns the places of `source` that write a line of the process's log.
fn written_there(source: &Source) -> Vec<String> {
    let words = source.code.match_indices("tracing");
    let writes = words.filter(|(at, _)| !source.code[*at..].starts_with("tracing::Level"));
    writes
        .map(|(at, _)| format!("{}: hand it out through Wakeups::log_lines", source.place(at)))
        .collect()
}

/// A blocked log output would stop every stripe.
#[test]
fn no_line_of_the_log_is_written_under_the_lock_of_a_channel() {
    let sources = source::production();
    let machine: Vec<_> = sources.iter().filter(|s| s.path.starts_with("src/log/")).collect();
    assert!(machine.len() > 10, "the files were found");
    let complaints: Vec<String> = machine.into_iter().flat_map(written_there).collect();
    nothing_to_complain_about("a line of the log in the log floor", &complaints);
    let text = "use tracing::Level;\nuse tracing::warn;\nfn a() { tracing::info!(\"late\"); }";
    assert_eq!(written_there(&Source::new("src/log/a.rs", text)).len(), 2);
}
