//! What the log says as an error asks somebody to act, so a document says how.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};

const PAGE: &str = "docs/operations.md";
const SECTION: &str = "### Lines that ask for action";

/// The fixed words of each line at the level ERROR, with their place.
fn error_lines(source: &Source, text: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (at, _) in source.code.match_indices("tracing::error!(") {
        let open = at + "tracing::error!".len();
        // In the code without strings the brackets close where they do for the compiler.
        let end = source::item_end(source.code.as_bytes(), open).min(text.len());
        let call = text.get(open..end).unwrap_or_default();
        lines.push((source.place(at), first_literal(call)));
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

/// Words beside what is filled in. Without any the line is another's, which has its own.
fn has_words(literal: &str) -> bool {
    let fixed: String = literal
        .split('{')
        .map(|part| part.rsplit_once('}').map_or(part, |(_, fixed)| fixed))
        .collect();
    fixed.chars().filter(|letter| letter.is_alphabetic()).count() >= 3
}

/// What the first column of the section's table quotes.
fn quoted(page: &str) -> Vec<String> {
    let section = page.split(SECTION).nth(1).unwrap_or_default();
    let section = section.split("\n##").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

fn complaints(lines: &[(String, String)], quoted: &[String]) -> Vec<String> {
    let unknown = lines.iter().filter(|(_, words)| {
        has_words(words) && !quoted.iter().any(|part| words.contains(part.as_str()))
    });
    let missing = unknown.map(|(place, words)| format!("{place}: {PAGE} has no row for: {words}"));
    let unsaid = quoted.iter().filter(|part| !lines.iter().any(|(_, w)| w.contains(part.as_str())));
    missing.chain(unsaid.map(|part| format!("{PAGE}: nothing logs `{part}` as an error"))).collect()
}

#[test]
fn every_error_of_the_log_has_a_row_that_says_what_to_do() {
    let mut lines = Vec::new();
    for source in source::production() {
        let text = source::read(&source.path);
        lines.extend(error_lines(&source, &text));
    }
    assert!(lines.len() > 20, "the lines were found");
    let rows = quoted(&source::read(PAGE));
    assert!(rows.len() > 10, "the table was found");
    nothing_to_complain_about("the log and its document differ", &complaints(&lines, &rows));
}

#[test]
fn an_error_without_a_row_and_a_row_without_an_error_are_found() {
    let text = "fn a() { tracing::error!(sink = self.name, \"it {why} \\\n        burns; run\"); }\n\
                fn b() { tracing::error!(\"{error}\"); }";
    let lines = error_lines(&Source::new("src/a.rs", text), text);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].1, "it {why} burns; run");
    let rows = |words: &str| quoted(&format!("{SECTION}\n\n| line | do |\n|---|---|\n{words}\n"));
    assert_eq!(complaints(&lines, &rows("| `burns` | run |")), Vec::<String>::new());
    assert_eq!(complaints(&lines, &rows("| `freezes` | run |")).len(), 2);
}
