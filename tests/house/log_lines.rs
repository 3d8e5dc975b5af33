//! What the log says as an error asks somebody to act, and so do some warnings: a document says how.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};

const PAGE: &str = "docs/operations.md";
const ERRORS: &str = "### Lines that ask for action";
const WARNINGS: &str = "### Warnings that may need you";
/// A warning with one of these tells its reader to do something.
const ASKS: &[&str] = &["raise ", "name a ", "Give ", "free some"];

/// What each line of a macro such as `tracing::error!` says, with its place; `…` where words are filled in.
fn lines_of(macro_name: &str, source: &Source, text: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (at, _) in source.code.match_indices(&format!("{macro_name}(")) {
        let open = at + macro_name.len();
        // In the code without strings the brackets close where they do for the compiler.
        let end = source::item_end(source.code.as_bytes(), open).min(text.len());
        let call = text.get(open..end).unwrap_or_default();
        lines.push((source.place(at), with_gaps(&first_literal(call))));
    }
    lines
}

/// The first string of a call as it is read, in one line.
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

/// `a {b} c` as people read it: `a … c`.
fn with_gaps(literal: &str) -> String {
    let mut parts = literal.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |words, part| {
        let fixed = part.split_once('}').map_or(part, |(_, fixed)| fixed);
        format!("{words}…{fixed}")
    })
}

/// Words beside what is filled in. Without any the line is another's, which has its own.
fn has_words(line: &str) -> bool {
    line.chars().filter(|letter| letter.is_alphabetic()).count() >= 3
}

/// What the first column of a section's table quotes.
fn quoted(page: &str, section: &str) -> Vec<String> {
    let section = page.split(section).nth(1).unwrap_or_default();
    let section = section.split("\n##").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// Lines that `ask` and have no row, and rows of which nothing logs.
fn complaints(
    lines: &[(String, String)],
    quoted: &[String],
    ask: impl Fn(&str) -> bool,
) -> Vec<String> {
    let unknown = lines.iter().filter(|(_, words)| {
        ask(words) && !quoted.iter().any(|part| words.contains(part.as_str()))
    });
    let missing = unknown.map(|(place, words)| format!("{place}: {PAGE} has no row for: {words}"));
    let unsaid = quoted.iter().filter(|part| !lines.iter().any(|(_, w)| w.contains(part.as_str())));
    missing
        .chain(unsaid.map(|part| format!("{PAGE}: nothing logs `{part}` at that level")))
        .collect()
}

/// All lines of a level in the program.
fn logged(macro_name: &str) -> Vec<(String, String)> {
    let of = |source: &Source| lines_of(macro_name, source, &source::read(&source.path));
    source::production().iter().flat_map(of).collect()
}

fn asks(words: &str) -> bool {
    ASKS.iter().any(|ask| words.contains(ask))
}

#[test]
fn every_error_of_the_log_has_a_row_that_says_what_to_do() {
    // What the log floor says is written when its lock is left.
    let lines = [logged("tracing::error!"), logged("self.say_error")].concat();
    assert!(lines.len() > 20, "the lines were found");
    let rows = quoted(&source::read(PAGE), ERRORS);
    assert!(rows.len() > 10, "the table was found");
    let complaints = complaints(&lines, &rows, has_words);
    nothing_to_complain_about("the log and its document differ", &complaints);
}

#[test]
fn every_warning_that_tells_to_do_something_has_a_row() {
    let lines = [logged("tracing::warn!"), logged("self.say_warning")].concat();
    assert!(lines.len() > 50, "the lines were found");
    let rows = quoted(&source::read(PAGE), WARNINGS);
    assert!(rows.len() > 10, "the table was found");
    let complaints = complaints(&lines, &rows, asks);
    nothing_to_complain_about("the log and its document differ", &complaints);
}

#[test]
fn a_line_without_a_row_and_a_row_without_a_line_are_found() {
    let text = "fn a() { tracing::error!(sink = self.name, \"it {why} \\\n        burns; run\"); }\n\
                fn b() { tracing::error!(\"{error}\"); }";
    let lines = lines_of("tracing::error!", &Source::new("src/a.rs", text), text);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].1, "it … burns; run");
    let rows =
        |words: &str| quoted(&format!("{ERRORS}\n\n| line | do |\n|---|---|\n{words}\n"), ERRORS);
    assert_eq!(
        complaints(&lines, &rows("| `it … burns` | run |"), has_words),
        Vec::<String>::new()
    );
    assert_eq!(complaints(&lines, &rows("| `freezes` | run |"), has_words).len(), 2);
    // A warning that asks for nothing needs no row, one that does needs it.
    assert_eq!(complaints(&lines, &[], asks).len(), 0);
    let ask = [("src/a.rs:1".to_owned(), "refused; raise the limit".to_owned())];
    assert_eq!(complaints(&ask, &[], asks).len(), 1);
}
